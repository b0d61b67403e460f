//! Under which name the program was started. Scripts of the last ten years call `xl` (and Debian's `xen`) where both are there,
//! and read its JSON; under these names the few answers that they read are xl's, the rest is xm's.

use noxen_xend_api::{DomainConfig, DomainInfo};
use serde_json::{json, Value};
use std::ffi::OsStr;
use std::path::Path;

/// Whose answers are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// `toolctl`, `xm` and every other name.
    Xm,
    /// `xl`, `xen`.
    Xl,
}

impl Front {
    /// By the program's name as it was called, with or without its directory.
    pub fn of(program: &OsStr) -> Front {
        match Path::new(program).file_name().and_then(OsStr::to_str) {
            Some("xl" | "xen") => Front::Xl,
            _ => Front::Xm,
        }
    }

    /// A `name=value` word as xm reads it. xl's are lines of a configuration, so their texts stand in quotes.
    pub fn variable(self, word: &str) -> String {
        let unquoted = |value: &str| {
            ['"', '\''].into_iter().find_map(|quote| {
                let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
                (!inner.contains(quote)).then(|| inner.to_owned())
            })
        };
        match (self, word.split_once('=')) {
            (Front::Xl, Some((name, value))) => match unquoted(value.trim()) {
                Some(value) => format!("{}={value}", name.trim()),
                None => word.to_owned(),
            },
            _ => word.to_owned(),
        }
    }
}

const KIB: u64 = 1024;

/// A running domain as a member of `xl list -l`: the keys that programs read of it.
pub fn domain(domain: &DomainInfo) -> Value {
    json!({
        "domid": domain.domid,
        "config": {
            "c_info": { "type": "pv", "name": domain.name, "uuid": domain.uuid },
            "b_info": {
                "max_vcpus": domain.vcpus,
                "avail_vcpus": (0..domain.online_vcpus).collect::<Vec<u32>>(),
                "max_memkb": domain.maxmem_mib * KIB,
                "target_memkb": domain.memory_mib * KIB,
            },
        },
    })
}

/// A configuration as `xl create --dryrun` prints it.
pub fn configuration(config: &DomainConfig) -> Value {
    let kib = |mib: i64| u64::try_from(mib).unwrap_or(0).saturating_mul(KIB);
    json!({
        "c_info": { "type": "pv", "name": config.name, "uuid": config.uuid },
        "b_info": {
            "max_vcpus": config.vcpus,
            "max_memkb": kib(config.maxmem.unwrap_or(config.memory)),
            "target_memkb": kib(config.memory),
            "kernel": config.kernel,
            "ramdisk": config.ramdisk,
            "bootloader": config.bootloader,
        },
        "on_poweroff": config.on_poweroff,
        "on_reboot": config.on_reboot,
        "on_crash": config.on_crash,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_the_program_decides() {
        for (name, front) in [
            ("xl", Front::Xl),
            ("/usr/sbin/xl", Front::Xl),
            ("xen", Front::Xl),
            ("xm", Front::Xm),
            ("/usr/bin/toolctl", Front::Xm),
            ("xlx", Front::Xm),
            ("", Front::Xm),
        ] {
            assert_eq!(Front::of(OsStr::new(name)), front, "{name}");
        }
    }

    #[test]
    fn quotes_go_from_xls_texts_only() {
        let xl = |word| Front::Xl.variable(word);
        assert_eq!(xl("name=\"web\""), "name=web");
        assert_eq!(xl("name = 'web'"), "name=web");
        assert_eq!(xl("memory=64"), "memory=64");
        assert_eq!(xl("extra=\"a\" \"b\""), "extra=\"a\" \"b\"");
        assert_eq!(xl("name=\""), "name=\"");
        assert_eq!(Front::Xm.variable("name=\"web\""), "name=\"web\"");
    }
}
