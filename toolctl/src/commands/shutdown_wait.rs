//! The `--wait` of `shutdown` and `reboot`.
//!
//! ```text
//!   every second: list --> Terminated: gone, or shut down and kept --> "Domain X terminated"
//!                      --> Rebooted: restart count has changed     --> "Domain X rebooted"
//!                                    missing for 30 lists in a row --> "Domain X destroyed for failing to reboot"
//!   nobody left --> "All domains terminated" / "All domains rebooted"
//! ```

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::progress::Progress;
use noxen_xend_api::{DomainInfo, StateFilter};
use std::time::Duration;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The domain's end.
    Terminated,
    /// Its restart.
    Rebooted,
}

/// How long between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// A rebooting domain may be missing from this many lists.
const PATIENCE: u32 = 30;

/// A domain that is waited for.
struct Awaited {
    before: DomainInfo,
    missing: u32,
}

pub(super) fn wait(
    context: &mut Context,
    targets: Vec<DomainInfo>,
    what: What,
) -> Result<(), Failure> {
    let mut awaited: Vec<Awaited> = targets
        .into_iter()
        .map(|before| Awaited { before, missing: 0 })
        .collect();
    // One line for the whole wait, not one for each look; it makes way for what happens.
    let begin = |left: usize| Progress::start(Some(format!("Waiting for domains: {left}")));
    let mut progress = begin(awaited.len());
    loop {
        let now = context.saying(None, |context| context.domains(&[], StateFilter::All))?;
        let mut lines = Vec::new();
        awaited.retain_mut(|one| match look(one, &now, what) {
            Some(line) => {
                lines.push(line);
                false
            }
            None => true,
        });
        if !lines.is_empty() {
            drop(progress);
            for line in lines {
                context.line(line)?;
            }
            // What has happened so far is seen at once.
            context.out.flush()?;
            progress = begin(awaited.len());
        }
        if awaited.is_empty() {
            break;
        }
        std::thread::sleep(INTERVAL);
    }
    drop(progress);
    context.line(match what {
        What::Terminated => "All domains terminated",
        What::Rebooted => "All domains rebooted",
    })
}

/// The line to print once nothing more is to be waited for.
fn look(one: &mut Awaited, now: &[DomainInfo], what: What) -> Option<String> {
    let name = &one.before.name;
    let same = |domain: &&DomainInfo| domain.uuid == one.before.uuid && domain.domid.is_some();
    let found = now.iter().find(same);
    match (what, found) {
        (What::Terminated, None) => Some(format!("Domain {name} terminated")),
        (What::Terminated, Some(domain)) => {
            let ended = domain.state.shutdown || domain.state.crashed;
            // on_poweroff=restart: the old one is gone though its successor runs.
            let successor = domain.domid != one.before.domid;
            (ended || successor).then(|| format!("Domain {name} terminated"))
        }
        (What::Rebooted, Some(domain)) => {
            one.missing = 0;
            (domain.restart_count != one.before.restart_count)
                .then(|| format!("Domain {name} rebooted"))
        }
        (What::Rebooted, None) => {
            one.missing += 1;
            (one.missing > PATIENCE)
                .then(|| format!("Domain {name} destroyed for failing to reboot"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::fake;

    fn awaited() -> Awaited {
        Awaited {
            before: fake::domain("a", 3),
            missing: 0,
        }
    }

    #[test]
    fn termination_is_absence_or_a_kept_corpse() {
        let gone = look(
            &mut awaited(),
            &[fake::domain_with("b", "other")],
            What::Terminated,
        );
        assert_eq!(gone.as_deref(), Some("Domain a terminated"));
        let mut domain = fake::domain("a", 3);
        assert_eq!(
            look(&mut awaited(), &[domain.clone()], What::Terminated),
            None
        );
        domain.state.shutdown = true;
        assert!(look(&mut awaited(), &[domain], What::Terminated).is_some());
    }

    #[test]
    fn reboot_is_a_new_count_and_absence_is_borne_for_thirty_looks() {
        let mut one = awaited();
        for _ in 0..PATIENCE {
            assert_eq!(look(&mut one, &[], What::Rebooted), None);
        }
        assert_eq!(
            look(&mut one, &[], What::Rebooted).as_deref(),
            Some("Domain a destroyed for failing to reboot")
        );
        let mut after = fake::domain("a", 4);
        assert_eq!(look(&mut awaited(), &[after.clone()], What::Rebooted), None);
        after.restart_count = 1;
        assert_eq!(
            look(&mut awaited(), &[after], What::Rebooted).as_deref(),
            Some("Domain a rebooted")
        );
    }
}
