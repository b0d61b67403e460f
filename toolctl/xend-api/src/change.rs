//! [`Change`]: what can be changed of a domain that exists, and what schedulers tell of it.

use serde::{Deserialize, Serialize};

/// One change of one domain.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "change", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// Host CPUs that a vCPU may use.
    Pin {
        /// Which vCPU; none: each of them.
        vcpu: Option<u32>,
        /// `0-3,^1,5`, or `all`.
        cpus: String,
    },
    /// How many vCPUs are to be online.
    Vcpus {
        /// The first so many.
        count: i64,
    },
    /// How much memory the guest is to have.
    Memory {
        /// MiB.
        mib: i64,
    },
    /// The most memory that the guest may have.
    MaxMemory {
        /// MiB.
        mib: i64,
    },
    /// Another name.
    Name {
        /// The new one.
        name: String,
    },
    /// Its share of the host's CPUs; what is absent stays.
    Credit {
        /// 1 to 65535.
        weight: Option<i64>,
        /// Per cent of one CPU; 0: no cap.
        cap: Option<i64>,
    },
    /// How much CPU time it has in each period; what is absent stays.
    Sedf(SedfChange),
    /// A request key for its kernel.
    Sysrq {
        /// One character.
        key: char,
    },
    /// A trigger.
    Trigger {
        /// `nmi`, `reset`, `init`, `s3resume` or `power`.
        trigger: String,
        /// vCPU.
        vcpu: u32,
    },
}

/// New values of [`Sedf`].
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct SedfChange {
    /// Milliseconds.
    pub period_ms: Option<f64>,
    /// Milliseconds.
    pub slice_ms: Option<f64>,
    /// Milliseconds.
    pub latency_ms: Option<f64>,
    /// May it have what nobody wants?
    pub extra: Option<bool>,
    /// Weight.
    pub weight: Option<i64>,
}

/// Parameters of xm's `sched-sedf`: CPU time that a domain has in each period.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Sedf {
    /// Milliseconds.
    pub period_ms: f64,
    /// CPU time in each period, milliseconds.
    pub slice_ms: f64,
    /// Milliseconds; kept, without a counterpart in Linux's scheduler.
    pub latency_ms: f64,
    /// It may have more than its slice when CPUs are idle: then the slice bounds nothing.
    pub extra: bool,
    /// Weight; 0: that of sched-credit.
    pub weight: i64,
}

impl Default for Sedf {
    /// What a domain has that nothing was set for.
    fn default() -> Sedf {
        Sedf {
            period_ms: 100.0,
            slice_ms: 0.0,
            latency_ms: 0.0,
            extra: true,
            weight: 0,
        }
    }
}

impl Change {
    /// The request key that `text` is; none unless it is one character.
    pub fn sysrq(text: &str) -> Option<Change> {
        let mut letters = text.chars();
        match (letters.next(), letters.next()) {
            (Some(key), None) => Some(Change::Sysrq { key }),
            _ => None,
        }
    }
}

/// What the scheduler knows of a domain.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Share {
    /// Name.
    pub name: String,
    /// Domain id; none for a managed domain that does not run.
    pub domid: Option<u32>,
    /// Weight; 256 unless set.
    pub weight: i64,
    /// Per cent of one CPU; 0: no cap.
    pub cap: i64,
    /// Period, slice and so on.
    pub sedf: Sedf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_roundtrips_and_refuses_what_it_does_not_know() {
        let change = Change::Pin {
            vcpu: None,
            cpus: "all".into(),
        };
        let text = serde_json::to_string(&change).unwrap();
        assert_eq!(serde_json::from_str::<Change>(&text).unwrap(), change);
        let text = r#"{"change":"vcpus","count":2,"now":true}"#;
        assert!(serde_json::from_str::<Change>(text).is_err());
    }
}
