//! Attributes of a VM that is a whole PC: `HVM_boot_policy`, `HVM_boot_params`, `platform`.
//!
//! ```text
//!   HVM_boot_policy "BIOS order" <──> builder = hvm        "" <──> a kernel for Xen
//!   HVM_boot_params {order: dc}  <──> boot
//!   platform {acpi: 1, ..}       <──> the variables of the same names; lists are texts: usbdevice "tablet,mouse", cpuid "1:..;7,0:.."
//! ```

use super::failure::Failure;
use super::{record, Record};
use dxr::Value;
use noxen_xend_api::{DomainConfig, Hvm};

/// The one policy that there is.
pub const POLICY: &str = "BIOS order";

/// Between the items of `usbdevice`; between those of `cpuid`, which have commas.
const WORDS: &str = ",";
const RULES: &str = ";";

/// How the VM boots.
pub fn policy(config: &DomainConfig) -> &'static str {
    if config.is_hvm() {
        POLICY
    } else {
        ""
    }
}

/// Makes a whole PC of it, with the firmware that there is unless it names one.
pub fn choose(config: &mut DomainConfig) {
    config.builder = "hvm".into();
    if config.kernel.is_empty() {
        config.kernel = "hvmloader".into();
    }
}

/// `HVM_boot_params` of a configuration.
pub fn boot(config: &DomainConfig) -> Record {
    match config.is_hvm() {
        true => record::of([("order", record::text(&config.hvm.boot))]),
        false => Record::new(),
    }
}

/// `platform` of a configuration.
pub fn platform(config: &DomainConfig) -> Record {
    if !config.is_hvm() {
        return Record::new();
    }
    let Hvm {
        serial,
        acpi,
        apic,
        pae,
        nx,
        hpet,
        viridian,
        timer_mode,
        cpuid,
        cpuid_check,
        usb,
        usbdevice,
        monitor,
        loader,
        stdvga,
        nographic,
        fda,
        fdb,
        xen_platform_pci,
        ..
    } = &config.hvm;
    let flag = |on: bool| record::number(u8::from(on));
    record::of([
        ("acpi", flag(*acpi)),
        ("apic", flag(*apic)),
        ("pae", flag(*pae)),
        ("nx", flag(*nx)),
        ("hpet", flag(*hpet)),
        ("viridian", flag(*viridian)),
        ("timer_mode", record::number(*timer_mode)),
        ("cpuid", record::text(cpuid.join(RULES))),
        ("cpuid_check", record::text(cpuid_check.join(RULES))),
        ("usb", flag(*usb)),
        ("usbdevice", record::text(usbdevice.join(WORDS))),
        ("monitor", flag(*monitor)),
        ("stdvga", flag(*stdvga)),
        ("nographic", flag(*nographic)),
        ("xen_platform_pci", flag(*xen_platform_pci)),
        ("localtime", flag(config.localtime)),
        ("rtc_timeoffset", record::number(config.rtc_timeoffset)),
        ("serial", record::text(serial)),
        ("loader", record::text(loader)),
        ("fda", record::text(fda)),
        ("fdb", record::text(fdb)),
    ])
}

/// A value as the text that it is in a configuration.
pub fn word(key: &str, value: &Value) -> Result<String, Failure> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Boolean(truth) => Ok(u8::from(*truth).to_string()),
        Value::Integer(number) => Ok(number.to_string()),
        _ => Err(Failure::not_supported(
            key,
            "a structure",
            "a text is expected",
        )),
    }
}

/// What stands between the separators.
fn items(text: &str, separator: &str) -> Vec<String> {
    let items = text.split(separator).map(str::trim);
    let items = items.filter(|item| !item.is_empty());
    items.map(String::from).collect()
}

/// Sets `key` of the map that attribute `name` is.
pub fn set(config: &mut DomainConfig, name: &str, key: &str, value: &str) -> Result<(), Failure> {
    let refuse = |why: &str| Failure::not_supported(key, value, why);
    let flag = || match value {
        "1" | "true" | "True" => Ok(true),
        "0" | "false" | "False" | "" => Ok(false),
        _ => Err(refuse("it is 0 or 1")),
    };
    let rules = || {
        let rules = items(value, RULES);
        let judged = noxen_xend_api::cpuid::parse(&rules);
        judged.map(|_| rules).map_err(|error| error.to_string())
    };
    match (name, key) {
        ("HVM_boot_params", "order") => config.hvm.boot = value.to_owned(),
        ("platform", "acpi") => config.hvm.acpi = flag()?,
        ("platform", "apic") => config.hvm.apic = flag()?,
        ("platform", "pae") => config.hvm.pae = flag()?,
        ("platform", "nx") => config.hvm.nx = flag()?,
        ("platform", "hpet") => config.hvm.hpet = flag()?,
        ("platform", "viridian") => config.hvm.viridian = flag()?,
        ("platform", "timer_mode") => {
            let wrong = |_| refuse("a whole number is expected");
            config.hvm.timer_mode = value.parse().map_err(wrong)?;
        }
        ("platform", "cpuid") => config.hvm.cpuid = rules().map_err(|why| refuse(&why))?,
        ("platform", "cpuid_check") => {
            config.hvm.cpuid_check = rules().map_err(|why| refuse(&why))?;
        }
        ("platform", "usb") => config.hvm.usb = flag()?,
        ("platform", "usbdevice") => config.hvm.usbdevice = items(value, WORDS),
        ("platform", "monitor") => config.hvm.monitor = flag()?,
        ("platform", "stdvga") => config.hvm.stdvga = flag()?,
        ("platform", "nographic") => config.hvm.nographic = flag()?,
        ("platform", "xen_platform_pci") => config.hvm.xen_platform_pci = flag()?,
        ("platform", "localtime") => config.localtime = flag()?,
        ("platform", "rtc_timeoffset") => {
            let wrong = |_| refuse("a whole number is expected");
            config.rtc_timeoffset = value.parse().map_err(wrong)?;
        }
        ("platform", "serial") => config.hvm.serial = value.to_owned(),
        ("platform", "loader") => config.hvm.loader = value.to_owned(),
        ("platform", "fda") => config.hvm.fda = value.to_owned(),
        ("platform", "fdb") => config.hvm.fdb = value.to_owned(),
        // The devices are built in, whatever stood for them.
        ("platform", "device_model") => config.hvm.device_model = value.to_owned(),
        ("platform", "videoram" | "keymap") => {
            let screen = config.hvm.screen.set(key, value);
            screen.map_err(|error| refuse(&error.to_string()))?;
        }
        _ => return Err(Failure::not_supported(name, key, "nothing here takes it")),
    }
    Ok(())
}

/// Sets `key` back to what it is when nothing is said.
pub fn unset(config: &mut DomainConfig, name: &str, key: &str) {
    let usual = platform(&DomainConfig {
        builder: "hvm".into(),
        ..DomainConfig::default()
    });
    let usual = match (name, usual.get(key)) {
        ("HVM_boot_params", _) => Hvm::default().boot,
        (_, Some(Value::String(text))) => text.clone(),
        _ => return,
    };
    // A key that is not there has nothing to be set back.
    let _ = set(config, name, key, &usual);
}
