//! Records of VMs as what the listings show.

use super::word;
use crate::error::Error;
use crate::session::{list, map, number, shown, text, Record, Session};
use dxr::Value;
use noxen_xend_api::{
    DomainInfo, DomainState, DomainVcpus, Response, Sedf, Share, StateFilter, VcpuInfo,
};
use std::collections::BTreeMap;
use std::time::SystemTime;
use time::macros::format_description;
use time::PrimitiveDateTime;

/// A VM with its metrics.
struct Vm {
    record: Record,
    metrics: Record,
}

impl Session {
    /// Those named in that order, or all by name.
    fn vms(&mut self, names: &[String]) -> Result<Vec<Vm>, Error> {
        if !names.is_empty() {
            return names.iter().map(|name| self.vm(name)).collect();
        }
        let mut metrics = self.records("VM_metrics")?;
        let mut all: Vec<Vm> = self
            .records("VM")?
            .into_values()
            .map(|record| Vm {
                metrics: metrics
                    .remove(&text(&record, "metrics"))
                    .unwrap_or_default(),
                record,
            })
            .collect();
        all.sort_by_key(|vm| text(&vm.record, "name_label"));
        Ok(all)
    }

    fn vm(&mut self, domain: &str) -> Result<Vm, Error> {
        let reference = self.find(domain)?;
        let record = self.record("VM.get_record", &[word(reference)])?;
        let metrics = text(&record, "metrics");
        // A server may have none of one that does not run.
        let metrics = self.record("VM_metrics.get_record", &[word(metrics)]);
        Ok(Vm {
            metrics: metrics.unwrap_or_default(),
            record,
        })
    }

    pub(super) fn list(&mut self, names: &[String], state: StateFilter) -> Result<Response, Error> {
        let all = self.vms(names)?;
        let domains = all.iter().map(Vm::info).filter(|info| state.takes(info));
        Ok(Response::Domains {
            domains: domains.collect(),
        })
    }

    pub(super) fn one(&mut self, domain: &str) -> Result<Response, Error> {
        let domain = Box::new(self.vm(domain)?.info());
        Ok(Response::Domain { domain })
    }

    /// `(domain (ATTRIBUTE VALUE)..)`: the records themselves, as xm printed them in this mode.
    pub(super) fn forms(
        &mut self,
        names: &[String],
        state: StateFilter,
    ) -> Result<Response, Error> {
        let mut texts = Vec::new();
        for vm in self.vms(names)? {
            let info = vm.info();
            if !state.takes(&info) {
                continue;
            }
            let mut form = String::from("(domain");
            let known = [
                ("name".to_owned(), info.name.clone()),
                ("state".to_owned(), info.state.letters()),
                ("cpu_time".to_owned(), format!("{:.9}", info.cpu_time_s())),
            ];
            for (key, value) in known {
                form.push_str(&format!("\n    ({key} {})", quoted(&value)));
            }
            for (key, value) in &vm.record {
                form.push_str(&format!("\n    ({key}{})", member(value)));
            }
            form.push(')');
            texts.push(form);
        }
        Ok(Response::Texts { texts })
    }

    pub(super) fn vcpus(&mut self, names: &[String]) -> Result<Response, Error> {
        let host_cpus = self.references("host_cpu.get_all", &[])?.len();
        let host_cpus = u32::try_from(host_cpus).unwrap_or(u32::MAX).min(4096);
        let domains = self.vms(names)?;
        Ok(Response::Vcpus {
            domains: domains.iter().map(|vm| vm.vcpus(host_cpus)).collect(),
        })
    }

    /// Weight and cap; the Xen-API tells nothing of sched-sedf.
    pub(super) fn shares(&mut self, names: &[String]) -> Result<Response, Error> {
        let domains = self.vms(names)?;
        let share = |vm: &Vm| {
            let parameters = map(&vm.metrics, "VCPUs_params");
            let parameters = parameters.filter(|all| all.contains_key("weight"));
            let parameters = parameters.or_else(|| map(&vm.record, "VCPUs_params"));
            let get = |name| parameters.and_then(|all| number(all, name));
            let info = vm.info();
            Share {
                name: info.name,
                domid: info.domid,
                weight: get("weight").unwrap_or(256),
                cap: get("cap").unwrap_or(0),
                sedf: Sedf::default(),
            }
        };
        Ok(Response::Shares {
            domains: domains.iter().map(share).collect(),
        })
    }
}

impl Vm {
    fn info(&self) -> DomainInfo {
        let Vm { record, metrics } = self;
        let mib =
            |record: &Record, name| number::<u64>(record, name).map_or(0, |bytes| bytes >> 20);
        let domid: Option<u32> = number(record, "domid");
        let power = text(record, "power_state");
        let memory = match domid {
            Some(_) => mib(metrics, "memory_actual"),
            None => 0,
        };
        let start_time = metrics.get("start_time").and_then(moment).unwrap_or(0.0);
        let vcpus = number(record, "VCPUs_max").unwrap_or(0);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let uptime = now.map_or(0.0, |now| now.as_secs_f64()) - start_time;
        DomainInfo {
            name: text(record, "name_label"),
            domid,
            uuid: text(record, "uuid"),
            memory_mib: match memory {
                0 => mib(record, "memory_dynamic_max"),
                memory => memory,
            },
            maxmem_mib: mib(record, "memory_static_max"),
            vcpus,
            online_vcpus: match domid {
                Some(_) => number(metrics, "VCPUs_number").unwrap_or(vcpus),
                None => vcpus,
            },
            state: state(&power, &list(metrics, "state"), domid.is_some()),
            cpu_time_ns: self.times().values().sum(),
            start_time: match domid {
                Some(_) => start_time,
                None => 0.0,
            },
            uptime_s: match domid {
                Some(_) if start_time > 0.0 => uptime.max(0.0) as u64,
                _ => 0,
            },
            restart_count: number(metrics, "restart_count").unwrap_or(0),
            shutdown_reason: None,
            pid: None,
            console_tty: None,
            suspended: power == "Suspended",
            // As every VM but the host is.
            managed: domid != Some(0),
        }
    }

    /// Nanoseconds of CPU by virtual CPU, which servers other than Noxen's do not tell.
    fn times(&self) -> BTreeMap<u32, u64> {
        let all = map(&self.metrics, "VCPUs_time").into_iter().flatten();
        all.filter_map(|(vcpu, seconds)| {
            let seconds: f64 = shown(seconds).parse().ok()?;
            Some((vcpu.parse().ok()?, (seconds.max(0.0) * 1e9) as u64))
        })
        .collect()
    }

    fn vcpus(&self, host_cpus: u32) -> DomainVcpus {
        let info = self.info();
        let times = self.times();
        let of = |what: &str, vcpu: u32| {
            let all = map(&self.metrics, what).or_else(|| map(&self.record, what));
            all.and_then(|all| all.get(&vcpu.to_string())).cloned()
        };
        let vcpus = (0..info.vcpus.min(256)).map(|vcpu| {
            let flags = match of("VCPUs_flags", vcpu) {
                Some(Value::Array(all)) => all.iter().map(shown).collect(),
                _ => Vec::new(),
            };
            let is = |flag: &str| flags.iter().any(|known| known == flag);
            let parameters = map(&self.metrics, "VCPUs_params");
            let set = parameters.map(|all| text(all, &format!("cpumap{vcpu}")));
            VcpuInfo {
                vcpu,
                online: is("online") && info.domid.is_some(),
                running: is("running"),
                blocked: is("blocked"),
                cpu: of("VCPUs_CPU", vcpu).and_then(|cpu| shown(&cpu).parse().ok()),
                cpu_time_ns: times.get(&vcpu).copied().unwrap_or(0),
                affinity: match set.filter(|set| !set.is_empty()) {
                    Some(set) => cpus(&set, host_cpus),
                    None => (0..host_cpus).collect(),
                },
            }
        });
        DomainVcpus {
            vcpus: vcpus.collect(),
            name: info.name,
            domid: info.domid,
            host_cpus,
        }
    }
}

/// State letters out of the words of VM_metrics; a server that tells none has at least a power state.
fn state(power: &str, words: &[String], runs: bool) -> DomainState {
    let is = |word: &str| runs && words.iter().any(|known| known == word);
    DomainState {
        running: is("running"),
        blocked: is("blocked"),
        paused: is("paused") || (runs && words.is_empty() && power == "Paused"),
        shutdown: is("shutdown"),
        crashed: is("crashed") || (runs && power == "Crashed"),
        dying: is("dying"),
    }
}

/// Seconds since the epoch.
fn moment(value: &Value) -> Option<f64> {
    let format = format_description!("[year][month][day]T[hour]:[minute]:[second]");
    let text = match value {
        Value::String(text) => text.trim_end_matches('Z').to_owned(),
        Value::DateTime(time) => time.to_string(),
        _ => return None,
    };
    let at = PrimitiveDateTime::parse(&text, format).ok()?;
    Some(at.assume_utc().unix_timestamp() as f64)
}

/// `0-3,5` as numbers, of those that the host has.
fn cpus(set: &str, host_cpus: u32) -> Vec<u32> {
    let mut all = Vec::new();
    for part in set.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<u32>(), last.trim().parse::<u32>()) {
            all.extend(first..=last.min(host_cpus.saturating_sub(1)));
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// What stands behind a member's name.
fn member(value: &Value) -> String {
    match value {
        Value::Array(all) => all.iter().map(member).collect(),
        Value::Struct(all) => {
            let pairs = all.iter();
            pairs
                .map(|(key, value)| format!(" ({key}{})", member(value)))
                .collect()
        }
        other => match shown(other) {
            text if text.is_empty() => String::new(),
            text => format!(" {}", quoted(&text)),
        },
    }
}

/// A text as one atom.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.:/+@,".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => {
            let text = text.replace(char::is_control, " ");
            format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_sent() {
        let at = |text: &str| moment(&Value::String(text.into()));
        assert_eq!(at("19700101T00:01:40Z"), Some(100.0));
        assert_eq!(at("20240229T23:59:59"), Some(1_709_251_199.0));
        assert_eq!(at("yesterday"), None);
    }

    #[test]
    fn sets_of_cpus_stay_within_the_host() {
        assert_eq!(cpus("0-1,5", 8), [0, 1, 5]);
        assert_eq!(cpus("0-4294967295,x", 2), [0, 1]);
    }

    #[test]
    fn atoms_are_one_word() {
        assert_eq!(quoted("a-b"), "a-b");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's (b)"), "'it\\'s (b)'");
    }
}
