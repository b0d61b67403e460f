//! `(vm ...)` or `(domain ...)` to [`DomainConfig`].

use super::devices;
use crate::error::{ConfigError, Result};
use crate::sxp::Node;
use noxen_xend_api::{Cpus, DomainConfig, Hvm, Vfb};

/// Reads what `create -F` is given. Keys that xend only ever printed (`domid`, `state`, ..) are skipped, as xend did.
pub fn from_sxp(node: &Node) -> Result<DomainConfig> {
    let tag = node.key().unwrap_or("");
    if !matches!(tag, "vm" | "domain") {
        let shown: String = tag.chars().take(40).collect();
        return Err(ConfigError::config(format!(
            "expected (vm ...), found ({shown} ...)"
        )));
    }
    let defaults = DomainConfig::default();
    let text = |key: &str, default: &str| node.get(key).unwrap_or(default).to_owned();
    let number = |key: &str| -> Result<Option<i64>> {
        match node.get(key).map(str::trim) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                let shown: String = text.chars().take(40).collect();
                ConfigError::config(format!(
                    "Invalid Configuration: {key} must be a whole number, found '{shown}'"
                ))
            }),
        }
    };
    let mut config = DomainConfig {
        name: text("name", ""),
        uuid: node
            .get("uuid")
            .filter(|text| !text.is_empty())
            .map(String::from),
        features: text("features", ""),
        memory: number("memory")?.unwrap_or(defaults.memory),
        maxmem: number("maxmem")?,
        shadow_memory: number("shadow_memory")?.unwrap_or(0),
        vcpus: number("vcpus")?.unwrap_or(defaults.vcpus),
        vcpu_avail: number("vcpu_avail")?.map(i64::cast_unsigned),
        cpu: number("cpu")?,
        cpus: cpus(node),
        cpu_weight: number("cpu_weight")?,
        cpu_cap: number("cpu_cap")?,
        bootloader: text("bootloader", ""),
        bootargs: text("bootloader_args", ""),
        on_poweroff: text("on_poweroff", &defaults.on_poweroff),
        on_reboot: text("on_reboot", &defaults.on_reboot),
        on_crash: text("on_crash", &defaults.on_crash),
        on_xend_start: text("on_xend_start", &defaults.on_xend_start),
        on_xend_stop: text("on_xend_stop", &defaults.on_xend_stop),
        localtime: number("localtime")?.unwrap_or(0) != 0,
        rtc_timeoffset: number("rtc_timeoffset")?.unwrap_or(0),
        ..defaults
    };
    image(node, &mut config)?;
    for device in node.children("device") {
        for inner in device.members() {
            devices::accept(inner, &mut config)?;
        }
    }
    if let Some(label) = node
        .child("security")
        .and_then(|security| security.members().first())
    {
        security(label, &mut config);
    }
    Ok(config)
}

fn image(node: &Node, config: &mut DomainConfig) -> Result<()> {
    let Some(image) = node
        .child("image")
        .and_then(|image| image.members().first())
    else {
        return Ok(());
    };
    let text = |key: &str| image.get(key).unwrap_or("").to_owned();
    config.builder = image.key().unwrap_or("linux").to_owned();
    config.kernel = text("kernel");
    config.ramdisk = text("ramdisk");
    config.root = text("root");
    config.extra = text("args");
    config.kernel_tuning = text("kernel_tuning") != "0";
    let defaults = std::mem::take(&mut config.hvm);
    let flag = |key: &str| !matches!(text(key).trim(), "" | "0");
    let words = |key: &str| -> Vec<String> {
        let text = text(key);
        let words = text.split(',').filter(|word| !word.is_empty());
        words.map(String::from).collect()
    };
    let items = |key: &str| -> Vec<String> {
        let all = image.child(key).and_then(|list| list.members().first());
        let atoms = all.map_or(&[][..], |list| match list {
            Node::List(atoms) => atoms,
            one => std::slice::from_ref(one),
        });
        let text = |atom: &Node| match atom {
            Node::Atom(text) => Some(text.clone()),
            Node::List(_) => None,
        };
        atoms.iter().filter_map(text).collect()
    };
    let mut screen = Vfb::default();
    for key in Vfb::KEYS {
        if let Some(value) = image.get(key) {
            let set = screen.set(key, value);
            set.map_err(|error| ConfigError::config(error.to_string()))?;
        }
    }
    config.hvm = Hvm {
        boot: image.get("boot").map_or(defaults.boot, String::from),
        serial: text("serial"),
        acpi: text("acpi") != "0",
        apic: text("apic") != "0",
        pae: text("pae") != "0",
        nx: text("nx") != "0",
        hpet: flag("hpet"),
        viridian: flag("viridian"),
        timer_mode: match text("timer_mode").trim() {
            "" => defaults.timer_mode,
            mode => mode.parse().map_err(|_| {
                ConfigError::config(format!("timer_mode = {mode}: a whole number from 0 to 3"))
            })?,
        },
        cpuid: items("cpuid"),
        cpuid_check: items("cpuid_check"),
        usb: flag("usb"),
        usbdevice: words("usbdevice"),
        monitor: flag("monitor"),
        soundhw: text("soundhw"),
        device_model: text("device_model"),
        loader: text("loader"),
        firmware_override: text("firmware_override"),
        screen,
        stdvga: flag("stdvga"),
        nographic: flag("nographic"),
        vncconsole: flag("vncconsole"),
        fda: text("fda"),
        fdb: text("fdb"),
        xen_platform_pci: flag("xen_platform_pci"),
        unbuilt: words("unbuilt"),
    };
    let ip = text("ip");
    let parts: Vec<&str> = ip.split(':').collect();
    match parts.as_slice() {
        [""] => {}
        [client, server, gateway, netmask, hostname, interface, autoconf] => {
            config.ip = client.to_string();
            config.nfs_server = Some(server.to_string());
            config.gateway = gateway.to_string();
            config.netmask = netmask.to_string();
            config.hostname = hostname.to_string();
            config.interface = interface.to_string();
            config.dhcp = autoconf.to_string();
        }
        _ => config.extra = format!("ip={ip} {}", config.extra),
    }
    Ok(())
}

/// `(cpus 0-3)`, `(cpus (0 1))` one set a vCPU, or `(cpus ((0 1) ()))` lists of CPUs a vCPU.
fn cpus(node: &Node) -> Cpus {
    let Some(members) = node.child("cpus").map(Node::members) else {
        return Cpus::Any;
    };
    match members {
        [Node::Atom(set)] => Cpus::All(set.clone()),
        [Node::List(sets)]
            if sets
                .iter()
                .any(|set| !matches!(set, Node::List(all) if all.is_empty())) =>
        {
            Cpus::PerVcpu(
                sets.iter()
                    .map(|set| match set {
                        Node::Atom(text) => text.clone(),
                        Node::List(all) => all
                            .iter()
                            .filter_map(Node::text)
                            .collect::<Vec<_>>()
                            .join(","),
                    })
                    .collect(),
            )
        }
        _ => Cpus::Any,
    }
}

fn security(label: &Node, config: &mut DomainConfig) {
    let label = match label {
        Node::List(all) if label.key().is_none() => all.first(),
        _ => Some(label),
    };
    if let Some(label) = label {
        let get = |key: &str| label.get(key).unwrap_or("");
        config.access_control = vec![format!("policy={},label={}", get("policy"), get("label"))];
    }
}
