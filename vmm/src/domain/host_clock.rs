//! The host's clock, as far as a guest's time depends on it: a guest reads the TSC, which KVM keeps together between vCPUs only
//! where the host trusts it.

/// What Linux says about its clocks (Documentation/ABI/testing/sysfs-devices-system-clocksource).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockSources {
    /// Those that it would take, separated by blanks.
    pub available: String,
    /// The one that it goes by.
    pub current: String,
}

impl ClockSources {
    /// Of this host, if it says so.
    pub fn read() -> Option<ClockSources> {
        const DIRECTORY: &str = "/sys/devices/system/clocksource/clocksource0";
        let read = |name| std::fs::read_to_string(format!("{DIRECTORY}/{name}")).ok();
        Some(ClockSources {
            available: read("available_clocksource")?,
            current: read("current_clocksource")?,
        })
    }
}

/// What to tell the administrator when the host does not trust its TSC. Its kernel takes a TSC that it found unstable out of the list
/// of clocks, and KVM then no longer keeps the TSCs of a domain's vCPUs together. A host that goes by another clock of its
/// choice, but could go by the TSC, is all right.
pub fn distrusted_tsc(clocks: &ClockSources, vcpus: u32) -> Option<String> {
    if clocks
        .available
        .split_whitespace()
        .any(|name| name == "tsc")
    {
        return None;
    }
    let harm = match vcpus {
        1 => "its time may jump",
        _ => "the clocks of its vCPUs will drift apart, and the guest may stand still",
    };
    Some(format!(
        "the host's clock is {:?}, and its kernel distrusts the TSC, which is this domain's clock: {harm}; see `dmesg | grep -i tsc` on the host",
        clocks.current.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(available: &str) -> ClockSources {
        ClockSources {
            available: available.to_owned(),
            current: format!("{}\n", available.split(' ').next().unwrap()),
        }
    }

    #[test]
    fn host_without_a_tsc_it_trusts_is_named_with_what_will_happen() {
        let text = distrusted_tsc(&clocks("hpet acpi_pm \n"), 2).unwrap();
        assert!(text.starts_with("the host's clock is \"hpet\", and its kernel distrusts the TSC"));
        assert!(text.contains("drift apart"), "{text}");
        let text = distrusted_tsc(&clocks("hpet acpi_pm \n"), 1).unwrap();
        assert!(text.contains("may jump"), "{text}");
    }

    #[test]
    fn host_that_could_use_its_tsc_is_not_complained_of() {
        for available in ["tsc hpet acpi_pm \n", "kvm-clock tsc acpi_pm \n"] {
            assert_eq!(distrusted_tsc(&clocks(available), 4), None);
        }
    }
}
