//! What a VM is built from, in attributes of its record and back.
//!
//! ```text
//!   VM.create(record) ──create──> DomainConfig ──New──> a halted managed domain
//!   VM.set_ATTR, add_to_ATTR, remove_from_ATTR ──set, add──> the halted one's DomainConfig ──Configure──> as it is from now on
//! ```
//! A domain has one amount of memory at a time, so `memory_dynamic_min` is `memory_dynamic_max`.

use super::failure::Failure;
use super::{hvm, record, Record};
use dxr::Value;
use noxen_xend_api::{Cpus, DomainConfig};

/// Attributes that say nothing about how a domain is built here; they are taken when they say nothing.
const EMPTY: &[&str] = &[
    "PCI_bus",
    "security_label",
    "actions_after_suspend",
    "other_config",
    "name_description",
];

/// The configuration that `VM.create` asks for.
pub fn create(wanted: &Record) -> Result<DomainConfig, Failure> {
    let mut config = DomainConfig::default();
    // The most memory bounds the rest, whatever their order in the record.
    for first in ["memory_static_max", "memory_dynamic_max", "VCPUs_max"] {
        if let Some(value) = wanted.get(first) {
            set(&mut config, first, value)?;
        }
    }
    if !wanted.contains_key("memory_dynamic_max") {
        config.memory = config.maxmem.unwrap_or(config.memory);
    }
    for (name, value) in wanted {
        match name.as_str() {
            "memory_static_max" | "memory_dynamic_max" | "VCPUs_max" => {}
            "uuid" => config.uuid = Some(text(name, value)?.to_owned()).filter(|u| !u.is_empty()),
            // What the server says of a VM, which clients send back with the rest.
            _ if !is_attribute(name) => {}
            _ => set(&mut config, name, value)?,
        }
    }
    Ok(config)
}

/// Can it be set?
fn is_attribute(name: &str) -> bool {
    const SET: &[&str] = &[
        "name_label",
        "is_a_template",
        "user_version",
        "auto_power_on",
        "memory_static_min",
        "memory_static_max",
        "memory_dynamic_min",
        "memory_dynamic_max",
        "VCPUs_max",
        "VCPUs_at_startup",
        "VCPUs_params",
        "actions_after_shutdown",
        "actions_after_reboot",
        "actions_after_crash",
        "PV_bootloader",
        "PV_bootloader_args",
        "PV_kernel",
        "PV_ramdisk",
        "PV_args",
        "HVM_boot_policy",
        "HVM_boot_params",
        "platform",
    ];
    SET.contains(&name) || EMPTY.contains(&name)
}

/// Sets attribute `name`; a [`Failure::ValueNotSupported`] says which value cannot be had.
pub fn set(config: &mut DomainConfig, name: &str, value: &Value) -> Result<(), Failure> {
    let refuse = |why: &str| Err(Failure::not_supported(name, &shown(value), why));
    match name {
        "name_label" => config.name = text(name, value)?.to_owned(),
        "auto_power_on" => {
            let word = if truth(value) { "start" } else { "ignore" };
            config.on_xend_start = word.into();
        }
        "is_a_template" if truth(value) => {
            return refuse("there are no templates; VM.clone copies any VM")
        }
        "is_a_template" | "user_version" | "memory_static_min" => {}
        "memory_static_max" => config.maxmem = Some(mib(name, value)?),
        "memory_dynamic_max" => config.memory = mib(name, value)?,
        "memory_dynamic_min" => {
            let least = mib(name, value)?;
            if least > config.memory {
                return refuse("it is more than memory_dynamic_max");
            }
        }
        "VCPUs_max" => config.vcpus = whole(name, value)?,
        "VCPUs_at_startup" => {
            let count = whole(name, value)?;
            config.vcpu_avail = match u32::try_from(count) {
                Ok(_) if count >= config.vcpus => None,
                Ok(count) if count > 0 => {
                    Some(u64::MAX.checked_shr(64 - count).unwrap_or(u64::MAX))
                }
                _ => return refuse("at least one virtual CPU starts"),
            };
        }
        "VCPUs_params" => {
            for (key, value) in map(name, value)? {
                add(config, name, key, text(key, value)?)?;
            }
        }
        "HVM_boot_policy" => match text(name, value)? {
            "" => config.builder = DomainConfig::default().builder,
            hvm::POLICY => hvm::choose(config),
            _ => return refuse("it is empty, or BIOS order"),
        },
        "HVM_boot_params" | "platform" => {
            for (key, value) in map(name, value)? {
                add(config, name, key, &hvm::word(key, value)?)?;
            }
        }
        "actions_after_shutdown" => config.on_poweroff = action(text(name, value)?),
        "actions_after_reboot" => config.on_reboot = action(text(name, value)?),
        "actions_after_crash" => config.on_crash = action(text(name, value)?),
        "PV_bootloader" => config.bootloader = text(name, value)?.to_owned(),
        "PV_bootloader_args" => config.bootargs = text(name, value)?.to_owned(),
        "PV_kernel" => config.kernel = text(name, value)?.to_owned(),
        "PV_ramdisk" => config.ramdisk = text(name, value)?.to_owned(),
        "PV_args" => {
            // It is the whole command line, so nothing is put before it any more.
            config.extra = text(name, value)?.to_owned();
            config.root.clear();
            config.ip.clear();
            config.dhcp = "off".into();
            (config.nfs_server, config.nfs_root) = (None, None);
        }
        _ if EMPTY.contains(&name) => match value {
            Value::String(text) if text.is_empty() => {}
            Value::Struct(members) if members.is_empty() => {}
            _ => return refuse("nothing here takes it"),
        },
        _ => return refuse("it cannot be set"),
    }
    Ok(())
}

/// Adds `key` to the map that attribute `name` is.
pub fn add(config: &mut DomainConfig, name: &str, key: &str, value: &str) -> Result<(), Failure> {
    let number = || {
        let wrong = |_| Failure::not_supported(key, value, "a whole number is expected");
        value.parse::<i64>().map_err(wrong)
    };
    match (name, parameter(key)) {
        ("VCPUs_params", Some(Parameter::Weight)) => config.cpu_weight = Some(number()?),
        ("VCPUs_params", Some(Parameter::Cap)) => config.cpu_cap = Some(number()?),
        ("VCPUs_params", Some(Parameter::Cpus(vcpu))) => {
            let vcpus = usize::try_from(config.vcpus).unwrap_or(0).min(64);
            let mut sets = config.cpus.of_each(vcpus);
            match sets.get_mut(vcpu as usize) {
                Some(set) => *set = value.to_owned(),
                None => {
                    return Err(Failure::not_supported(
                        key,
                        value,
                        "there is no such virtual CPU",
                    ))
                }
            }
            config.cpus = Cpus::PerVcpu(sets);
        }
        ("HVM_boot_params" | "platform", _) => hvm::set(config, name, key, value)?,
        _ => return Err(Failure::not_supported(name, key, "nothing here takes it")),
    }
    Ok(())
}

/// Removes `key` from the map that attribute `name` is; one that is not there is no error.
pub fn remove(config: &mut DomainConfig, name: &str, key: &str) {
    match (name, parameter(key)) {
        ("VCPUs_params", Some(Parameter::Weight)) => config.cpu_weight = None,
        ("VCPUs_params", Some(Parameter::Cap)) => config.cpu_cap = None,
        ("VCPUs_params", Some(Parameter::Cpus(vcpu))) => {
            if let Cpus::PerVcpu(sets) = &mut config.cpus {
                if let Some(set) = sets.get_mut(vcpu as usize) {
                    set.clear();
                }
            }
        }
        ("HVM_boot_params" | "platform", _) => hvm::unset(config, name, key),
        _ => {}
    }
}

/// A key of `VCPUs_params`.
pub enum Parameter {
    Weight,
    Cap,
    /// `cpumapN`: CPUs of the host for virtual CPU N.
    Cpus(u32),
}

/// By its name.
pub fn parameter(key: &str) -> Option<Parameter> {
    match key {
        "weight" => Some(Parameter::Weight),
        "cap" => Some(Parameter::Cap),
        _ => Some(Parameter::Cpus(key.strip_prefix("cpumap")?.parse().ok()?)),
    }
}

/// An action's word in a configuration.
fn action(word: &str) -> String {
    match word {
        "coredump_and_destroy" => "coredump-destroy".into(),
        "coredump_and_restart" => "coredump-restart".into(),
        other => other.replace('_', "-"),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().take(80).collect(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Integer(number) => number.to_string(),
        _ => "a structure".into(),
    }
}

fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, Failure> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Failure::not_supported(
            name,
            &shown(value),
            "a text is expected",
        )),
    }
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Boolean(truth) => *truth,
        Value::Integer(number) => *number != 0,
        Value::String(text) => matches!(text.as_str(), "1" | "true" | "True"),
        _ => false,
    }
}

fn whole(name: &str, value: &Value) -> Result<i64, Failure> {
    let wrong = || Failure::not_supported(name, &shown(value), "a whole number is expected");
    match value {
        Value::Integer(number) => Ok((*number).into()),
        Value::String(text) => text.parse().map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

/// Bytes as MiB.
fn mib(name: &str, value: &Value) -> Result<i64, Failure> {
    Ok(whole(name, value)? >> 20)
}

fn map<'a>(name: &str, value: &'a Value) -> Result<&'a Record, Failure> {
    match value {
        Value::Struct(members) => Ok(members),
        _ => Err(Failure::not_supported(
            name,
            &shown(value),
            "a record is expected",
        )),
    }
}

/// `VCPUs_params` of a configuration.
pub fn parameters(config: &DomainConfig) -> Record {
    let mut all = Record::new();
    all.insert(
        "weight".into(),
        record::number(config.cpu_weight.unwrap_or(256)),
    );
    all.insert("cap".into(), record::number(config.cpu_cap.unwrap_or(0)));
    if let Cpus::PerVcpu(sets) = &config.cpus {
        for (vcpu, set) in sets.iter().enumerate().filter(|(_, set)| !set.is_empty()) {
            all.insert(format!("cpumap{vcpu}"), record::text(set));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(attributes: &[(&str, Value)]) -> Record {
        let all = attributes.iter().cloned();
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    #[test]
    fn record_becomes_a_configuration_and_its_parameters_come_back() {
        let config = create(&wanted(&[
            ("name_label", record::text("a")),
            ("memory_static_max", record::number(256u64 << 20)),
            ("memory_dynamic_max", record::number(128u64 << 20)),
            ("VCPUs_max", record::number(4)),
            ("VCPUs_at_startup", record::number(2)),
            ("actions_after_crash", record::text("coredump_and_restart")),
            ("PV_args", record::text("root=/dev/xvda ro")),
            ("auto_power_on", Value::Boolean(true)),
            ("power_state", record::text("Halted")),
            (
                "VCPUs_params",
                Value::Struct(wanted(&[
                    ("weight", record::text("512")),
                    ("cpumap1", record::text("0,2")),
                ])),
            ),
        ]))
        .unwrap();
        assert_eq!(
            (config.memory, config.maxmem, config.vcpus),
            (128, Some(256), 4)
        );
        assert_eq!(config.vcpu_avail, Some(0b11));
        assert_eq!(
            (config.on_crash.as_str(), config.on_xend_start.as_str()),
            ("coredump-restart", "start")
        );
        assert_eq!(config.extra, "root=/dev/xvda ro");
        let told = parameters(&config);
        assert_eq!(
            (&told["weight"], &told["cpumap1"]),
            (&record::text("512"), &record::text("0,2"))
        );
        assert!(!told.contains_key("cpumap0"));
    }

    #[test]
    fn whole_pc_has_its_attributes_and_gives_them_back() {
        let platform = wanted(&[
            ("acpi", Value::Boolean(false)),
            ("localtime", record::text("1")),
            ("serial", record::text("pty")),
            ("videoram", record::text("16")),
            ("rtc_timeoffset", record::text("3600")),
            ("hpet", record::text("1")),
            ("timer_mode", record::text("3")),
            ("usbdevice", record::text("tablet, keyboard")),
            ("cpuid", record::text("1:ecx=0x0,edx=0x1;host,tm=0")),
        ]);
        let mut config = create(&wanted(&[
            ("name_label", record::text("pc")),
            ("HVM_boot_policy", record::text("BIOS order")),
            (
                "HVM_boot_params",
                Value::Struct(wanted(&[("order", record::text("dc"))])),
            ),
            ("platform", Value::Struct(platform)),
        ]))
        .unwrap();
        assert!(config.is_hvm());
        assert_eq!(
            (config.kernel.as_str(), config.hvm.boot.as_str()),
            ("hvmloader", "dc")
        );
        assert_eq!((config.localtime, config.rtc_timeoffset), (true, 3600));
        let told = hvm::platform(&config);
        for (key, value) in [
            ("acpi", "0"),
            ("apic", "1"),
            ("serial", "pty"),
            ("localtime", "1"),
            ("timer_mode", "3"),
            ("usbdevice", "tablet,keyboard"),
            ("cpuid", "1:ecx=0x0,edx=0x1;host,tm=0"),
        ] {
            assert_eq!(told[key], record::text(value), "{key}");
        }
        // What is told is taken again, and what is taken away is as xm's default has it.
        let mut again =
            create(&wanted(&[("HVM_boot_policy", record::text("BIOS order"))])).unwrap();
        set(&mut again, "platform", &Value::Struct(told.clone())).unwrap();
        assert_eq!(hvm::platform(&again), told);
        assert_eq!((again.hvm.hpet, again.hvm.cpuid.len()), (true, 2));
        for key in ["acpi", "usbdevice", "cpuid", "timer_mode"] {
            remove(&mut config, "platform", key);
        }
        assert!(config.hvm.usbdevice.is_empty() && config.hvm.cpuid.is_empty());
        assert_eq!(config.hvm.timer_mode, 1);
        remove(&mut config, "HVM_boot_params", "order");
        assert!(config.hvm.acpi && config.hvm.boot == "c");
        // A kernel for Xen has none of them.
        set(&mut config, "HVM_boot_policy", &record::text("")).unwrap();
        assert!(
            !config.is_hvm() && hvm::platform(&config).is_empty() && hvm::boot(&config).is_empty()
        );
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        for (name, value) in [
            ("memory_static_max", record::text("much")),
            ("HVM_boot_policy", record::text("whatever")),
            (
                "platform",
                Value::Struct(wanted(&[("soundhw", record::text("all"))])),
            ),
            (
                "platform",
                Value::Struct(wanted(&[("acpi", record::text("perhaps"))])),
            ),
            (
                "platform",
                Value::Struct(wanted(&[("cpuid", record::text("1:esi=0x1"))])),
            ),
            ("is_a_template", Value::Boolean(true)),
            ("VCPUs_at_startup", record::number(0)),
            ("PV_kernel", Value::Nil),
            (
                "VCPUs_params",
                Value::Struct(wanted(&[("cpumap99999", record::text("0"))])),
            ),
        ] {
            let Failure::ValueNotSupported(..) = create(&wanted(&[(name, value)])).unwrap_err()
            else {
                panic!("{name}");
            };
        }
    }
}
