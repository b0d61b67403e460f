//! A configuration judged before anything is made of it (xm-reference: "Validation errors").
//!
//! ```text
//!   DomainConfig --check--> Plan (typed, in range)  or  one line why not
//! ```
//! Nothing here looks at the host; `resources` does.

use crate::hvm;
use crate::lifecycle::Action;
use crate::pinning::{self, Pinning};
use noxen_control::spec::Pvh;
use noxen_xend_api::{cmdline, DomainConfig, Fault};

/// Most vCPUs of a domain.
pub const MAX_VCPUS: i64 = 32;
/// Least memory, MiB: below it not even a kernel image fits.
const MIN_MEMORY_MIB: i64 = 4;
/// Most memory, MiB, that arithmetic and page tables here are made for (16 TiB).
const MAX_MEMORY_MIB: i64 = 16 << 20;

/// A configuration in range.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// MiB.
    pub memory_mib: u64,
    /// MiB.
    pub maxmem_mib: u64,
    /// vCPUs.
    pub vcpus: u32,
    /// Bit mask of those that are online at boot.
    pub vcpu_avail: u64,
    /// Whole command line.
    pub cmdline: String,
    /// The PC of an HVM domain.
    pub hvm: Option<hvm::Machine>,
    /// The machine of a PVH domain.
    pub pvh: Option<Pvh>,
    /// Host CPUs of each vCPU.
    pub pinning: Pinning,
}

/// Checks `config`; `host_cpus` is how many CPUs a `cpus=` may name.
pub fn check(config: &DomainConfig, host_cpus: u32) -> Result<Plan, Fault> {
    check_name(&config.name)?;
    if let Some(uuid) = &config.uuid {
        check_uuid(uuid)?;
    }
    check_built(config)?;
    let (memory_mib, maxmem_mib) = check_memory(config)?;
    let vcpus = check_vcpus(config)?;
    for (event, value) in [
        ("on_poweroff", &config.on_poweroff),
        ("on_reboot", &config.on_reboot),
        ("on_crash", &config.on_crash),
    ] {
        if Action::parse(value).is_none() {
            return Err(Fault::generic(format!(
                "Invalid event handling mode: {event} = '{value}'; use destroy, restart, preserve, \
                 rename-restart, coredump-destroy or coredump-restart"
            )));
        }
    }
    check_scheduling(config, vcpus)?;
    let hvm = match config.is_hvm() {
        true => Some(hvm::check(config)?),
        false => None,
    };
    let pvh = match config.is_pvh() {
        true => Some(hvm::check_pvh(config)?),
        false => None,
    };
    if hvm.is_none() && config.kernel.is_empty() && config.bootloader.is_empty() {
        return Err(Fault::generic(
            "Kernel image does not exist: the configuration sets no kernel",
        ));
    }
    let cmdline = cmdline::compose(config).map_err(|e| Fault::generic(e.to_string()))?;
    Ok(Plan {
        memory_mib,
        maxmem_mib,
        vcpus,
        vcpu_avail: config.vcpu_avail.unwrap_or(u64::MAX) & (u64::MAX >> (64 - vcpus)),
        cmdline,
        hvm,
        pvh,
        pinning: pinning::configured(config, vcpus, host_cpus)
            .map_err(|e| Fault::generic(e.to_string()))?,
    })
}

/// May a domain be called `name`?
pub fn check_name(name: &str) -> Result<(), Fault> {
    if name.is_empty() {
        return Err(Fault::generic("Missing VM Name"));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || "_-.:/+".contains(c);
    // The name is a file's name in the log directory as well, so it may not climb.
    if !name.chars().all(good) || name.len() > 128 || name.split('/').any(|p| p == "..") {
        let shown: String = name.chars().take(40).collect();
        return Err(Fault::generic(format!(
            "Invalid VM Name '{}': up to 128 letters, digits and _-.:/+ are possible, without '..'",
            shown.escape_debug()
        )));
    }
    Ok(())
}

fn check_uuid(uuid: &str) -> Result<(), Fault> {
    let groups: Vec<&str> = uuid.split('-').collect();
    let shape = groups.iter().map(|g| g.len()).collect::<Vec<_>>() == [8, 4, 4, 4, 12];
    let hex = groups
        .iter()
        .all(|g| g.bytes().all(|b| b.is_ascii_hexdigit()));
    if shape && hex {
        return Ok(());
    }
    Err(Fault::generic(format!(
        "Invalid Configuration: uuid '{uuid}' is not of the form 8-4-4-4-12 hexadecimal digits"
    )))
}

/// What a configuration may ask for that this version cannot do is an error, never silently left out.
fn check_built(config: &DomainConfig) -> Result<(), Fault> {
    if !matches!(config.builder.as_str(), "linux" | "hvm" | "pvh") {
        return Err(Fault::generic(format!(
            "Invalid Configuration: there is no builder '{}'; use 'linux', 'hvm' or 'pvh'",
            config.builder
        )));
    }
    for (key, values) in [
        ("vtpm", &config.vtpm),
        ("pci", &config.pci),
        ("vscsi", &config.vscsi),
        ("ioports", &config.ioports),
        ("irq", &config.irq),
        ("access_control", &config.access_control),
    ] {
        if !values.is_empty() {
            return Err(not_built(key));
        }
    }
    Ok(())
}

/// The refusal of a variable of which nothing is built.
pub fn not_built(key: &str) -> Fault {
    Fault::generic(format!(
        "Invalid Configuration: {key} is not supported yet; remove {key} from the configuration"
    ))
}

/// Variables of `config` that are set, do no harm and have no effect yet.
pub fn unapplied(config: &DomainConfig) -> Vec<&'static str> {
    [
        ("features", !config.features.is_empty()),
        ("localtime", config.localtime && !config.is_hvm()),
        (
            "rtc_timeoffset",
            config.rtc_timeoffset != 0 && !config.is_hvm(),
        ),
        ("shadow_memory", config.shadow_memory != 0),
        ("on_xend_stop", config.on_xend_stop == "suspend"),
    ]
    .into_iter()
    .filter_map(|(name, set)| set.then_some(name))
    .collect()
}

fn check_memory(config: &DomainConfig) -> Result<(u64, u64), Fault> {
    let memory = config.memory;
    if memory < MIN_MEMORY_MIB {
        return Err(Fault::generic(format!(
            "Invalid Configuration: memory = {memory}: a domain needs at least {MIN_MEMORY_MIB} MiB"
        )));
    }
    let maxmem = config.maxmem_mib();
    if maxmem < memory {
        return Err(Fault::generic(format!(
            "Invalid Configuration: maxmem = {maxmem} is less than memory = {memory}; raise maxmem or remove it"
        )));
    }
    if maxmem > MAX_MEMORY_MIB {
        let key = if memory > MAX_MEMORY_MIB {
            "memory"
        } else {
            "maxmem"
        };
        return Err(Fault::generic(format!(
            "Invalid Configuration: {key} = {}: at most {MAX_MEMORY_MIB} MiB are possible",
            memory.max(maxmem)
        )));
    }
    Ok((memory.unsigned_abs(), maxmem.unsigned_abs()))
}

fn check_vcpus(config: &DomainConfig) -> Result<u32, Fault> {
    let vcpus = config.vcpus;
    if !(1..=MAX_VCPUS).contains(&vcpus) {
        return Err(Fault::generic(format!(
            "Invalid Configuration: vcpus = {vcpus}: a domain has 1 to {MAX_VCPUS} vCPUs"
        )));
    }
    if config.vcpu_avail.is_some_and(|avail| avail & 1 == 0) {
        return Err(Fault::generic(format!(
            "Invalid Configuration: vcpu_avail = {:#x}: vCPU 0, which boots, must be among them (bit 0)",
            config.vcpu_avail.unwrap_or(0)
        )));
    }
    Ok(vcpus.unsigned_abs() as u32)
}

fn check_scheduling(config: &DomainConfig, vcpus: u32) -> Result<(), Fault> {
    if let Some(weight) = config.cpu_weight {
        if !(1..=65535).contains(&weight) {
            return Err(Fault::generic(
                "Cpu weight out of range, valid values are within range from 1 to 65535",
            ));
        }
    }
    if let Some(cap) = config.cpu_cap {
        let most = i64::from(vcpus) * 100;
        if !(0..=most).contains(&cap) {
            return Err(Fault::generic(format!(
                "Cpu cap out of range, valid range is from 0 to {most} for specified number of vcpus"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
