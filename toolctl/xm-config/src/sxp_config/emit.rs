//! [`DomainConfig`] to `(vm ...)`.

use super::devices;
use crate::error::{ConfigError, Result};
use crate::sxp::Node;
use noxen_xend_api::{cmdline, Cpus, DomainConfig, Hvm};

/// The expression that `xm create` would have sent; fails on device texts that no device can be built from.
pub fn to_sxp(config: &DomainConfig) -> Result<Node> {
    let mut vm = Node::list("vm", Vec::new());
    let mut put = |key: &str, value: &str| {
        if !value.is_empty() {
            vm.push(Node::pair(key, value));
        }
    };
    let number = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
    put("name", &config.name);
    put("memory", &config.memory.to_string());
    put("maxmem", &number(config.maxmem));
    put(
        "shadow_memory",
        &number(Some(config.shadow_memory).filter(|&mib| mib != 0)),
    );
    put("vcpus", &config.vcpus.to_string());
    put(
        "vcpu_avail",
        &config
            .vcpu_avail
            .map(|mask| mask.to_string())
            .unwrap_or_default(),
    );
    put("features", &config.features);
    put("on_poweroff", &config.on_poweroff);
    put("on_reboot", &config.on_reboot);
    put("on_crash", &config.on_crash);
    put("on_xend_start", &config.on_xend_start);
    put("on_xend_stop", &config.on_xend_stop);
    put("uuid", config.uuid.as_deref().unwrap_or(""));
    put("cpu", &number(config.cpu));
    put("cpu_weight", &number(config.cpu_weight));
    put("cpu_cap", &number(config.cpu_cap));
    put("bootloader", &config.bootloader);
    put(
        "bootloader_args",
        if config.bootloader.is_empty() {
            ""
        } else {
            &config.bootargs
        },
    );
    put("localtime", if config.localtime { "1" } else { "" });
    put(
        "rtc_timeoffset",
        &number(Some(config.rtc_timeoffset).filter(|&s| s != 0)),
    );
    match &config.cpus {
        Cpus::Any => {}
        Cpus::All(set) => vm.push(Node::pair("cpus", set.as_str())),
        Cpus::PerVcpu(sets) => {
            let sets = sets.iter().map(Node::atom).collect();
            vm.push(Node::List(vec![Node::atom("cpus"), Node::List(sets)]));
        }
    }
    vm.push(Node::list("image", vec![image(config)?]));
    vm.push(Node::pair("s3_integrity", "1"));
    for device in devices::emit(config)? {
        vm.push(Node::list("device", vec![device]));
    }
    if let Some(label) = devices::security(config)? {
        vm.push(label);
    }
    Ok(vm)
}

fn image(config: &DomainConfig) -> Result<Node> {
    let mut image = Node::list(&config.builder, Vec::new());
    let mut put = |key: &str, value: &str| {
        if !value.is_empty() {
            image.push(Node::pair(key, value));
        }
    };
    let args = cmdline::args(config).map_err(|error| ConfigError::config(error.to_string()))?;
    put("kernel", &config.kernel);
    put("ramdisk", &config.ramdisk);
    put("ip", &cmdline::ip_value(config).unwrap_or_default());
    put("root", &config.root);
    put("args", &args);
    put("kernel_tuning", if config.kernel_tuning { "" } else { "0" });
    if config.is_hvm() {
        let hvm = &config.hvm;
        let flag = |value: bool| if value { "1" } else { "0" };
        put("loader", &hvm.loader);
        put("firmware_override", &hvm.firmware_override);
        put("device_model", &hvm.device_model);
        put("boot", &hvm.boot);
        put("serial", &hvm.serial);
        put("acpi", flag(hvm.acpi));
        put("apic", flag(hvm.apic));
        put("pae", flag(hvm.pae));
        put("nx", if hvm.nx { "" } else { "0" });
        put("hpet", if hvm.hpet { "1" } else { "" });
        put("viridian", if hvm.viridian { "1" } else { "" });
        put("timer_mode", &hvm.timer_mode.to_string());
        put("fda", &hvm.fda);
        put("fdb", &hvm.fdb);
        put("stdvga", if hvm.stdvga { "1" } else { "" });
        put("nographic", if hvm.nographic { "1" } else { "" });
        put("vncconsole", if hvm.vncconsole { "1" } else { "" });
        put("xen_platform_pci", flag(hvm.xen_platform_pci));
        put("usb", if hvm.usb { "1" } else { "" });
        put("usbdevice", &hvm.usbdevice.join(","));
        put("soundhw", &hvm.soundhw);
        put("monitor", if hvm.monitor { "1" } else { "" });
        put("unbuilt", &hvm.unbuilt.join(","));
        rules(&mut image, hvm);
        for (key, value) in hvm.screen.pairs() {
            image.push(Node::pair(key, value));
        }
    }
    if config.is_pvh() {
        let hvm = &config.hvm;
        let mut put = |key, says: bool, value| {
            if says {
                image.push(Node::pair(key, value));
            }
        };
        put("acpi", !hvm.acpi, "0");
        put("nx", !hvm.nx, "0");
        put("viridian", hvm.viridian, "1");
        rules(&mut image, hvm);
    }
    Ok(image)
}

/// What CPUID tells.
fn rules(image: &mut Node, hvm: &Hvm) {
    for (key, items) in [("cpuid", &hvm.cpuid), ("cpuid_check", &hvm.cpuid_check)] {
        if !items.is_empty() {
            let items = items.iter().map(Node::atom).collect();
            image.push(Node::list(key, vec![Node::List(items)]));
        }
    }
}
