//! What happens when a guest stops: the decision, without doing it.
//!
//! ```text
//!   poweroff -> on_poweroff   \
//!   reboot   -> on_reboot      > destroy | restart | preserve | rename-restart   (coredump-*: dump first)
//!   crash    -> on_crash      /        \-- ran < guard seconds --> destroy
//!   suspend  -> preserve, anything else -> destroy
//! ```

use noxen_control::ShutdownReason;
use noxen_xend_api::DomainConfig;

/// A domain that ran for less than this many seconds is not restarted.
pub const RESTART_GUARD_S: f64 = 60.0;

/// Value of an `on_*` variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tear down.
    Destroy,
    /// Tear down and create again.
    Restart,
    /// Keep as it is.
    Preserve,
    /// Keep under another name and UUID, create a fresh one.
    RenameRestart,
    /// Dump, then tear down.
    CoredumpDestroy,
    /// Dump, then restart.
    CoredumpRestart,
}

impl Action {
    /// By its word.
    pub fn parse(word: &str) -> Option<Action> {
        Some(match word {
            "destroy" => Action::Destroy,
            "restart" => Action::Restart,
            "preserve" => Action::Preserve,
            "rename-restart" => Action::RenameRestart,
            "coredump-destroy" => Action::CoredumpDestroy,
            "coredump-restart" => Action::CoredumpRestart,
            _ => return None,
        })
    }
}

/// What to do with a domain that has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Tear down.
    Destroy,
    /// Tear down and create again.
    Restart,
    /// Keep.
    Preserve,
    /// Keep renamed, create again.
    RenameRestart,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub then: Then,
    /// A core dump was asked for first.
    pub dump: bool,
    /// A restart was asked for and refused since the domain ran too short.
    pub too_fast: bool,
}

/// Decides for a domain of `config` that stopped for `reason` after `elapsed_s` seconds.
pub fn decide(
    config: &DomainConfig,
    reason: ShutdownReason,
    elapsed_s: f64,
    guard_s: f64,
) -> Decision {
    let word = match reason {
        ShutdownReason::Poweroff => &config.on_poweroff,
        ShutdownReason::Reboot => &config.on_reboot,
        ShutdownReason::Crash => &config.on_crash,
        ShutdownReason::Suspend => "preserve",
        ShutdownReason::Watchdog | ShutdownReason::SoftReset => "destroy",
    };
    let (then, dump) = match Action::parse(word).unwrap_or(Action::Destroy) {
        Action::Destroy => (Then::Destroy, false),
        Action::Restart => (Then::Restart, false),
        Action::Preserve => (Then::Preserve, false),
        Action::RenameRestart => (Then::RenameRestart, false),
        Action::CoredumpDestroy => (Then::Destroy, true),
        Action::CoredumpRestart => (Then::Restart, true),
    };
    let restarts = matches!(then, Then::Restart | Then::RenameRestart);
    let too_fast = restarts && elapsed_s < guard_s;
    Decision {
        then: if too_fast { Then::Destroy } else { then },
        dump,
        too_fast,
    }
}

/// The word for `reason` in the store and in listings.
pub fn reason_word(reason: ShutdownReason) -> &'static str {
    match reason {
        ShutdownReason::Poweroff => "poweroff",
        ShutdownReason::Reboot => "reboot",
        ShutdownReason::Suspend => "suspend",
        ShutdownReason::Crash => "crash",
        ShutdownReason::Watchdog => "watchdog",
        ShutdownReason::SoftReset => "soft-reset",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(poweroff: &str, reboot: &str, crash: &str) -> DomainConfig {
        DomainConfig {
            on_poweroff: poweroff.into(),
            on_reboot: reboot.into(),
            on_crash: crash.into(),
            ..DomainConfig::default()
        }
    }

    fn then(config: &DomainConfig, reason: ShutdownReason, elapsed: f64) -> Then {
        decide(config, reason, elapsed, RESTART_GUARD_S).then
    }

    #[test]
    fn decide_by_default_destroys_on_poweroff_and_restarts_else() {
        let c = DomainConfig::default();
        assert_eq!(then(&c, ShutdownReason::Poweroff, 100.0), Then::Destroy);
        assert_eq!(then(&c, ShutdownReason::Reboot, 100.0), Then::Restart);
        assert_eq!(then(&c, ShutdownReason::Crash, 100.0), Then::Restart);
    }

    #[test]
    fn decide_restart_before_the_guard_destroys() {
        for action in ["restart", "rename-restart", "coredump-restart"] {
            let c = config(action, action, action);
            let decision = decide(&c, ShutdownReason::Reboot, 59.9, RESTART_GUARD_S);
            assert_eq!(decision.then, Then::Destroy, "{action}");
            assert!(decision.too_fast);
            assert!(!decide(&c, ShutdownReason::Reboot, 60.0, RESTART_GUARD_S).too_fast);
        }
    }

    #[test]
    fn decide_preserve_ignores_the_guard() {
        let c = config("preserve", "preserve", "preserve");
        let decision = decide(&c, ShutdownReason::Crash, 0.1, RESTART_GUARD_S);
        assert_eq!((decision.then, decision.too_fast), (Then::Preserve, false));
    }

    #[test]
    fn decide_coredump_values_ask_for_the_dump() {
        let c = config("destroy", "destroy", "coredump-destroy");
        let decision = decide(&c, ShutdownReason::Crash, 0.1, RESTART_GUARD_S);
        assert_eq!((decision.then, decision.dump), (Then::Destroy, true));
    }

    #[test]
    fn decide_other_reasons_destroy_whatever_is_configured() {
        let c = config("preserve", "preserve", "preserve");
        assert_eq!(then(&c, ShutdownReason::Watchdog, 100.0), Then::Destroy);
        assert_eq!(then(&c, ShutdownReason::SoftReset, 100.0), Then::Destroy);
        assert_eq!(then(&c, ShutdownReason::Suspend, 100.0), Then::Preserve);
    }
}
