//! A domain out of a configuration: its VM, its devices, its start.

use super::{number, word};
use crate::error::Error;
use crate::session::{Record, Session};
use dxr::Value;
use noxen_xend_api::{cmdline, Cpus, DeviceConfig, DomainConfig, Response, Vfb};

impl Session {
    /// `create`: a failure on the way takes the VM away again.
    pub(super) fn create(&mut self, config: &DomainConfig) -> Result<Response, Error> {
        let reference = self.keep(config)?;
        let made = self
            .with_devices(&reference, config)
            .and_then(|()| self.start(&reference));
        if made.is_err() {
            // The first failure is the one to report.
            let _ = self.call("VM.destroy", &[word(&reference)]);
        }
        made
    }

    /// The VM, halted and without devices; its reference.
    pub(super) fn keep(&mut self, config: &DomainConfig) -> Result<String, Error> {
        let record = vm_record(config)?;
        self.text("VM.create", &[Value::Struct(record)])
    }

    pub(super) fn with_devices(
        &mut self,
        reference: &str,
        config: &DomainConfig,
    ) -> Result<(), Error> {
        let disks = config.disk.iter().cloned().map(DeviceConfig::Disk);
        let vifs = config.vif.iter().cloned().map(DeviceConfig::Vif);
        for device in disks.chain(vifs) {
            self.attach(reference, &device)?;
        }
        let mut screens = Vec::new();
        for text in &config.vfb {
            screens.push(Vfb::parse(text).map_err(|e| Error::not_supported(e.to_string()))?);
        }
        // What a whole PC says of its display is an item of vfb here.
        if config.is_hvm() && screens.is_empty() && config.hvm.screen != Vfb::default() {
            screens.push(config.hvm.screen.clone());
        }
        for vfb in screens {
            let pairs = vfb.pairs();
            let config = pairs.map(|(key, value)| (key.to_owned(), word(value)));
            let console = Record::from([
                ("VM".to_owned(), word(reference)),
                ("protocol".to_owned(), word("rfb")),
                ("other_config".to_owned(), Value::Struct(config.collect())),
            ]);
            self.call("console.create", &[Value::Struct(console)])?;
        }
        Ok(())
    }

    /// Started and left paused.
    pub(super) fn start(&mut self, reference: &str) -> Result<Response, Error> {
        let flags = [Value::Boolean(true), Value::Boolean(false)];
        self.call("VM.start", &[&[word(reference)], &flags[..]].concat())?;
        self.one(reference)
    }
}

/// The record that `VM.create` is given; an error names what no attribute is there for.
pub fn vm_record(config: &DomainConfig) -> Result<Record, Error> {
    let without = [
        ("builder", config.builder != "linux" && !config.is_hvm()),
        ("features", !config.features.is_empty()),
        ("vtpm", !config.vtpm.is_empty()),
        ("pci", !config.pci.is_empty()),
        ("vscsi", !config.vscsi.is_empty()),
        ("ioports", !config.ioports.is_empty()),
        ("irq", !config.irq.is_empty()),
        ("access_control", !config.access_control.is_empty()),
        ("localtime", config.localtime && !config.is_hvm()),
        (
            "rtc_timeoffset",
            config.rtc_timeoffset != 0 && !config.is_hvm(),
        ),
        ("cpu", config.cpu.is_some()),
        ("kernel_tuning = 0", !config.kernel_tuning),
        ("on_xend_stop", config.on_xend_stop != "ignore"),
        ("soundhw", !config.hvm.soundhw.is_empty()),
        (
            "firmware_override",
            !config.hvm.firmware_override.is_empty(),
        ),
    ];
    if let Some((name, _)) = without.into_iter().find(|(_, set)| *set) {
        return Err(Error::not_supported(format!(
            "no attribute of a VM has {name}"
        )));
    }
    if let Some(name) = config.hvm.unbuilt.first().filter(|_| config.is_hvm()) {
        return Err(Error::not_supported(format!(
            "no attribute of a VM has {name}"
        )));
    }
    let args = cmdline::compose(config).map_err(|e| Error::not_supported(e.to_string()))?;
    let bytes = |mib: i64| number(mib.saturating_mul(1 << 20));
    let starting = config
        .vcpu_avail
        .map_or(config.vcpus, |mask| mask.count_ones().into());
    let action = |action: &str| {
        word(match action {
            "coredump-destroy" => "coredump_and_destroy".to_owned(),
            "coredump-restart" => "coredump_and_restart".to_owned(),
            other => other.replace('-', "_"),
        })
    };
    let mut parameters = Record::new();
    let mut parameter = |key: String, value: Value| drop(parameters.insert(key, value));
    if let Some(weight) = config.cpu_weight {
        parameter("weight".into(), number(weight));
    }
    if let Some(cap) = config.cpu_cap {
        parameter("cap".into(), number(cap));
    }
    let vcpus = usize::try_from(config.vcpus).unwrap_or(0).min(256);
    let sets = match &config.cpus {
        Cpus::Any => Vec::new(),
        Cpus::All(set) => vec![set.clone(); vcpus],
        Cpus::PerVcpu(sets) => sets.clone(),
    };
    for (vcpu, set) in sets.iter().enumerate().filter(|(_, set)| !set.is_empty()) {
        parameter(format!("cpumap{vcpu}"), word(set));
    }
    let mut record: Record = [
        ("name_label", word(&config.name)),
        ("name_description", word("")),
        ("user_version", number(1)),
        ("is_a_template", Value::Boolean(false)),
        (
            "auto_power_on",
            Value::Boolean(config.on_xend_start == "start"),
        ),
        ("memory_static_min", number(0)),
        ("memory_static_max", bytes(config.maxmem_mib())),
        ("memory_dynamic_min", bytes(config.memory)),
        ("memory_dynamic_max", bytes(config.memory)),
        ("VCPUs_max", number(config.vcpus)),
        ("VCPUs_at_startup", number(starting)),
        ("VCPUs_params", Value::Struct(parameters)),
        ("actions_after_shutdown", action(&config.on_poweroff)),
        ("actions_after_reboot", action(&config.on_reboot)),
        ("actions_after_crash", action(&config.on_crash)),
        ("PV_bootloader", word(&config.bootloader)),
        ("PV_bootloader_args", word(&config.bootargs)),
        ("PV_kernel", word(&config.kernel)),
        ("PV_ramdisk", word(&config.ramdisk)),
        ("PV_args", word(args)),
        ("platform", Value::Struct(platform(config))),
        ("other_config", Value::Struct(Record::new())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if config.is_hvm() {
        let order = ("order".to_owned(), word(&config.hvm.boot));
        record.insert("HVM_boot_policy".into(), word("BIOS order"));
        record.insert("HVM_boot_params".into(), Value::Struct([order].into()));
    }
    if let Some(uuid) = &config.uuid {
        record.insert("uuid".into(), word(uuid));
    }
    Ok(record)
}

/// Variables of a whole PC that are set, under their names.
fn platform(config: &DomainConfig) -> Record {
    if !config.is_hvm() {
        return Record::new();
    }
    let hvm = &config.hvm;
    let flag = |on: bool| u8::from(on).to_string();
    let all = [
        ("acpi", flag(hvm.acpi)),
        ("apic", flag(hvm.apic)),
        ("pae", flag(hvm.pae)),
        ("nx", flag(hvm.nx)),
        ("hpet", flag(hvm.hpet)),
        ("viridian", flag(hvm.viridian)),
        ("timer_mode", hvm.timer_mode.to_string()),
        // Items of cpuid have commas.
        ("cpuid", hvm.cpuid.join(";")),
        ("cpuid_check", hvm.cpuid_check.join(";")),
        ("usb", flag(hvm.usb)),
        ("usbdevice", hvm.usbdevice.join(",")),
        ("monitor", flag(hvm.monitor)),
        ("stdvga", flag(hvm.stdvga)),
        ("nographic", flag(hvm.nographic)),
        ("xen_platform_pci", flag(hvm.xen_platform_pci)),
        ("localtime", flag(config.localtime)),
        ("rtc_timeoffset", config.rtc_timeoffset.to_string()),
        ("serial", hvm.serial.clone()),
        ("loader", hvm.loader.clone()),
        ("fda", hvm.fda.clone()),
        ("fdb", hvm.fdb.clone()),
    ];
    let set = all.into_iter().filter(|(_, text)| !text.is_empty());
    set.map(|(name, text)| (name.to_owned(), word(text)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_of_a_pc_is_in_its_platform() {
        let mut config = DomainConfig {
            builder: "hvm".into(),
            ..DomainConfig::default()
        };
        config.hvm.usbdevice = vec!["tablet".into(), "keyboard".into()];
        config.hvm.cpuid = vec!["1:ecx=0x0,edx=0x1".into(), "host,tm=0".into()];
        let told = platform(&config);
        assert_eq!(told["usbdevice"], word("tablet,keyboard"));
        assert_eq!(told["cpuid"], word("1:ecx=0x0,edx=0x1;host,tm=0"));
        assert_eq!((&told["nx"], &told["timer_mode"]), (&word("1"), &word("1")));
        assert!(!told.contains_key("cpuid_check"));
    }

    #[test]
    fn what_no_attribute_has_is_named() {
        let config = DomainConfig {
            name: "a".into(),
            memory: 64,
            cpus: Cpus::All("0".into()),
            vcpus: 2,
            ..DomainConfig::default()
        };
        let told = vm_record(&config).unwrap();
        assert_eq!(told["memory_dynamic_max"], word("67108864"));
        assert!(matches!(&told["VCPUs_params"], Value::Struct(all) if all.len() == 2));
        let config = DomainConfig {
            pci: vec!["01:00.0".into()],
            ..config
        };
        assert!(vm_record(&config).unwrap_err().to_string().contains("pci"));
    }
}
