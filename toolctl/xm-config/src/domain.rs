//! [`Settings`] to the typed [`DomainConfig`] that xend is sent.
//!
//! Values are passed on as written; xend checks their ranges. Here only the kind matters: a number must be one.

use crate::error::{ConfigError, Result};
use crate::keys;
use crate::settings::{Setting, Settings};
use crate::xl;
use noxen_xend_api::{Cpus, Disk, DomainConfig, Hvm, Vfb, Vif};

/// The configuration that `settings` describe. File names become absolute.
pub fn domain_config(settings: &Settings) -> Result<DomainConfig> {
    let defaults = DomainConfig::default();
    let text =
        |name: &str, default: &str| settings.text(name).unwrap_or_else(|| default.to_owned());
    let whole = |name: &str, default: i64| Ok(settings.whole(name)?.unwrap_or(default));
    let flag = |name: &str| -> Result<bool> { Ok(settings.whole(name)?.unwrap_or(0) != 0) };
    let some = |name: &str| settings.text(name).filter(|text| !text.is_empty());
    let mut config = DomainConfig {
        name: text("name", ""),
        uuid: some("uuid"),
        builder: builder(settings)?,
        kernel: absolute(&text("kernel", "")),
        ramdisk: absolute(&text("ramdisk", "")),
        features: text("features", ""),
        memory: whole("memory", defaults.memory)?,
        maxmem: settings.whole("maxmem")?,
        shadow_memory: whole("shadow_memory", 0)?,
        vcpus: whole("vcpus", defaults.vcpus)?,
        vcpu_avail: settings.whole("vcpu_avail")?.map(i64::cast_unsigned),
        cpu: settings.whole("cpu")?,
        cpus: match settings.get("cpus") {
            None => Cpus::Any,
            Some(Setting::List(sets)) => Cpus::PerVcpu(sets.clone()),
            Some(_) => Cpus::All(text("cpus", "")),
        },
        cpu_weight: settings.whole("cpu_weight")?,
        cpu_cap: match settings.whole("cpu_cap")? {
            Some(cap) => Some(cap),
            None => settings.whole("cap")?,
        },
        bootloader: match text("bootloader", "").as_str() {
            "pygrub" => "/usr/bin/pygrub".into(),
            other => other.to_owned(),
        },
        bootargs: match some("bootargs") {
            Some(args) => args,
            None => match settings.get("bootloader_args") {
                Some(Setting::List(words)) => words.join(" "),
                _ => text("bootloader_args", ""),
            },
        },
        kernel_tuning: settings.whole("kernel_tuning")?.unwrap_or(1) != 0,
        on_poweroff: text("on_poweroff", &defaults.on_poweroff),
        on_reboot: text("on_reboot", &defaults.on_reboot),
        on_crash: text("on_crash", &defaults.on_crash),
        on_xend_start: text("on_xend_start", &defaults.on_xend_start),
        on_xend_stop: text("on_xend_stop", &defaults.on_xend_stop),
        root: strip(&text("root", ""), "root="),
        extra: text("extra", &text("cmdline", "")),
        ip: strip(&text("ip", ""), "ip="),
        netmask: text("netmask", ""),
        gateway: text("gateway", ""),
        hostname: text("hostname", ""),
        interface: text("interface", ""),
        dhcp: text("dhcp", "off"),
        nfs_server: some("nfs_server"),
        nfs_root: some("nfs_root"),
        disk: devices(settings, "disk", disk)?,
        vif: devices(settings, "vif", Vif::parse)?,
        vfb: settings.list("vfb"),
        vtpm: settings.list("vtpm"),
        pci: settings.list("pci"),
        vscsi: settings.list("vscsi"),
        ioports: settings.list("ioports"),
        irq: settings.list("irq"),
        access_control: settings.list("access_control"),
        localtime: flag("localtime")?,
        rtc_timeoffset: whole("rtc_timeoffset", 0)?,
        hvm: hvm(settings)?,
    };
    if !config.bootloader.is_empty() && config.bootargs.is_empty() {
        // Its menu is not shown anywhere.
        config.bootargs = "-q".into();
    }
    if let Some(most) = settings
        .whole("maxvcpus")?
        .filter(|&most| most > config.vcpus)
    {
        // xl's vcpus are those online at boot, out of maxvcpus.
        let online = u32::try_from(config.vcpus)
            .ok()
            .and_then(|count| 1u64.checked_shl(count));
        config.vcpu_avail = config.vcpu_avail.or(online.map(|above| above - 1));
        config.vcpus = most;
    }
    // These have no place in what xend is sent, where the other lists are judged.
    for name in ["vif2", "vusb"].into_iter().chain(keys::refused_of_xl()) {
        if is_set(settings, name) {
            return Err(ConfigError::config(format!(
                "Invalid Configuration: {name} is not supported yet; remove {name} from the configuration"
            )));
        }
    }
    if let Some(restart) = some("restart") {
        let [poweroff, reboot, crash] = match restart.as_str() {
            "onreboot" => ["destroy", "restart", "destroy"],
            "always" => ["restart"; 3],
            "never" => ["destroy"; 3],
            other => {
                return Err(ConfigError::config(format!(
                    "Invalid value for restart: {other}; it is onreboot, always or never"
                )))
            }
        };
        config.on_poweroff = poweroff.into();
        config.on_reboot = reboot.into();
        config.on_crash = crash.into();
    }
    Ok(config)
}

/// Variables of HVM domains that change what the guest is, and of which nothing is built yet.
const UNBUILT: [&str; 4] = ["parallel", "monitor_path", "isa", "sdl"];

/// Variables of an HVM domain's display.
const SCREEN: [&str; 7] = [
    "vnc",
    "vnclisten",
    "vncdisplay",
    "vncunused",
    "vncpasswd",
    "keymap",
    "videoram",
];

fn hvm(settings: &Settings) -> Result<Hvm> {
    let defaults = Hvm::default();
    let text = |name: &str| settings.text(name).unwrap_or_default();
    let flag = |name: &str| -> Result<bool> { Ok(settings.whole(name)?.unwrap_or(1) != 0) };
    let no = |name: &str| -> Result<bool> { Ok(settings.whole(name)?.unwrap_or(0) != 0) };
    let unbuilt = UNBUILT.iter().filter(|name| is_set(settings, name));
    Ok(Hvm {
        boot: settings.text("boot").unwrap_or(defaults.boot),
        serial: text("serial"),
        acpi: flag("acpi")?,
        apic: flag("apic")?,
        pae: flag("pae")?,
        nx: flag("nx")?,
        hpet: no("hpet")?,
        viridian: no("viridian")?,
        timer_mode: settings.whole("timer_mode")?.unwrap_or(defaults.timer_mode),
        cpuid: cpuid(settings, "cpuid")?,
        cpuid_check: cpuid(settings, "cpuid_check")?,
        usb: no("usb")?,
        usbdevice: texts(settings, "usbdevice"),
        monitor: no("monitor")?,
        soundhw: text("soundhw"),
        device_model: text("device_model"),
        loader: loader(settings),
        firmware_override: absolute(&text("firmware_override")),
        screen: screen(settings)?,
        stdvga: no("stdvga")?,
        nographic: no("nographic")?,
        vncconsole: no("vncconsole")?,
        fda: absolute(&text("fda")),
        fdb: absolute(&text("fdb")),
        xen_platform_pci: no("xen_platform_pci")?,
        unbuilt: unbuilt.map(|name| name.to_string()).collect(),
    })
}

/// The items of `name`, which have xm's or xl's form.
fn cpuid(settings: &Settings, name: &str) -> Result<Vec<String>> {
    let items = texts(settings, name);
    let judged = noxen_xend_api::cpuid::parse(&items);
    judged.map_err(|error| ConfigError::config(error.to_string()))?;
    Ok(items)
}

/// The texts of a list, or the one text that is none.
fn texts(settings: &Settings, name: &str) -> Vec<String> {
    match settings.get(name) {
        Some(Setting::List(_)) | None => settings.list(name),
        Some(_) => settings
            .text(name)
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect(),
    }
}

/// The display by the variables that an item of `vfb` has as keys.
fn screen(settings: &Settings) -> Result<Vfb> {
    let mut screen = Vfb::default();
    for key in SCREEN {
        if let Some(value) = settings.text(key) {
            let set = screen.set(key, value.trim());
            set.map_err(|error| ConfigError::config(error.to_string()))?;
        }
    }
    Ok(screen)
}

/// A list with members, or a text or number that says something.
fn is_set(settings: &Settings, name: &str) -> bool {
    match settings.get(name) {
        None => false,
        Some(Setting::List(members)) => !members.is_empty(),
        Some(_) => settings
            .text(name)
            .is_some_and(|text| !matches!(text.as_str(), "" | "0")),
    }
}

/// A disk in xm's form or xl's.
fn disk(text: &str) -> std::result::Result<Disk, xl::disk::XlDiskError> {
    match xl::disk::is_xl(text) {
        true => xl::disk::parse(text),
        false => Ok(Disk::parse(text)?),
    }
}

/// The texts of `name`, each made a device.
fn devices<T, E: std::fmt::Display>(
    settings: &Settings,
    name: &str,
    parse: fn(&str) -> std::result::Result<T, E>,
) -> Result<Vec<T>> {
    let texts = settings.list(name);
    let parsed = texts.iter().map(|text| parse(text));
    parsed
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| ConfigError::config(error.to_string()))
}

/// `builder`, or what xl's `type` and its older `pvh` say in its place.
fn builder(settings: &Settings) -> Result<String> {
    let by_builder = settings.text("builder").map(|name| match name.as_str() {
        // xl's.
        "generic" => "linux".to_owned(),
        _ => name,
    });
    let by_type = match settings.text("type").as_deref() {
        None => None,
        Some("pv") => Some("linux"),
        Some("hvm") => Some("hvm"),
        Some("pvh") => Some("pvh"),
        Some(other) => {
            return Err(ConfigError::config(format!(
                "Invalid Configuration: type = '{other}': it is pv, hvm or pvh"
            )))
        }
    };
    let by_pvh = (settings.whole("pvh")?.unwrap_or(0) != 0).then_some("pvh");
    let all = [by_builder.as_deref(), by_type, by_pvh];
    let mut named = all.into_iter().flatten();
    let first = named.next().unwrap_or("linux").to_owned();
    match named.find(|other| *other != first) {
        Some(other) => Err(ConfigError::config(format!(
            "Invalid Configuration: builder, type and pvh contradict each other: one wants a domain of kind '{first}', another '{other}'"
        ))),
        None => Ok(first),
    }
}

/// `loader`; with xl's `type = 'hvm'` a kernel that is no hvmloader is started by the firmware that there is.
fn loader(settings: &Settings) -> String {
    let text = |name: &str| settings.text(name).unwrap_or_default();
    let is_xls = settings.text("builder").is_none() && text("type") == "hvm";
    let kernel = text("kernel");
    let is_firmware = kernel.contains("hvmloader") || kernel.ends_with(".bin");
    match text("loader") {
        loader if loader.is_empty() && is_xls && !kernel.is_empty() && !is_firmware => {
            "/usr/lib/xen/boot/hvmloader".into()
        }
        loader => absolute(&loader),
    }
}

fn strip(text: &str, prefix: &str) -> String {
    text.strip_prefix(prefix).unwrap_or(text).to_owned()
}

fn absolute(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    match std::path::absolute(path) {
        Ok(path) => path.display().to_string(),
        Err(_) => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{load_source, Options};

    fn config(source: &str, words: &[&str]) -> Result<DomainConfig> {
        let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
        domain_config(&load_source(source, "./d", &words, &Options::default())?.settings)
    }

    #[test]
    fn config_of_a_whole_file_has_its_values() {
        let config = config(
            "kernel='/k'\nramdisk='r'\nmemory='96'\nvcpus=2.0\nroot='root=/dev/xvda1 ro'\nextra='3'\ncpus=['0', '1']\n\
             vcpu_avail=3\ncpu_weight=512\non_crash='preserve'\nvif=['']\n",
            &["extra=single"],
        )
        .unwrap();
        assert_eq!(
            (config.kernel.as_str(), config.memory, config.vcpus),
            ("/k", 96, 2)
        );
        assert!(config.ramdisk.starts_with('/') && config.ramdisk.ends_with("/r"));
        assert_eq!(config.root, "/dev/xvda1 ro");
        assert_eq!(config.extra, "single");
        assert_eq!(config.cpus, Cpus::PerVcpu(vec!["0".into(), "1".into()]));
        assert_eq!((config.vcpu_avail, config.cpu_weight), (Some(3), Some(512)));
        assert_eq!(
            (config.on_poweroff.as_str(), config.on_crash.as_str()),
            ("destroy", "preserve")
        );
        assert_eq!(config.vif, [Vif::default()]);
        assert_eq!(config.name, "d");
    }

    #[test]
    fn hvm_variables_have_xms_defaults_and_unbuilt_ones_are_named() {
        let plain = config("builder='hvm'\nkernel='/usr/lib/xen/boot/hvmloader'\n", &[]).unwrap();
        assert!(plain.is_hvm());
        assert_eq!(plain.hvm, Hvm::default());
        let text =
            "builder='hvm'\nboot='dca'\nserial='pty'\nacpi=0\nusb=1\nusbdevice='tablet'\nsoundhw='es1370'\nisa=1\nsdl=0\n";
        let hvm = config(text, &[]).unwrap().hvm;
        assert_eq!((hvm.boot.as_str(), hvm.serial.as_str()), ("dca", "pty"));
        assert_eq!((hvm.acpi, hvm.apic, hvm.pae), (false, true, true));
        assert_eq!(hvm.unbuilt, ["isa"]);
        assert_eq!(hvm.soundhw, "es1370");
        assert_eq!((hvm.usb, hvm.usbdevice), (true, vec!["tablet".to_owned()]));
        let text = "builder='hvm'\nfirmware_override='/x/hvmloader'\n";
        let hvm = config(text, &[]).unwrap().hvm;
        assert_eq!(hvm.firmware_override, "/x/hvmloader");
    }

    #[test]
    fn kind_of_domain_is_what_xm_or_xl_calls_it() {
        let kind = |text: &str| config(&format!("{text}\nkernel='/k'\n"), &[]).map(|c| c.builder);
        for (text, expected) in [
            ("", "linux"),
            ("type='pv'", "linux"),
            ("builder='generic'", "linux"),
            ("type='hvm'", "hvm"),
            ("type='pvh'", "pvh"),
            ("pvh=1", "pvh"),
            ("type='pvh'\npvh=1", "pvh"),
            ("builder='hvm'\ntype='hvm'\npvh=0", "hvm"),
        ] {
            assert_eq!(kind(text).unwrap(), expected, "{text}");
        }
        for text in ["type='hvm'\npvh=1", "builder='hvm'\ntype='pv'"] {
            let error = kind(text).unwrap_err().to_string();
            assert!(error.contains("contradict"), "{error}");
        }
        let error = kind("type='vm'").unwrap_err().to_string();
        assert!(error.contains("type = 'vm'"), "{error}");
    }

    #[test]
    fn kernel_of_xls_hvm_domain_is_started_by_the_firmware() {
        let both = |text: &str| {
            let config = config(text, &[]).unwrap();
            (config.kernel, config.hvm.loader)
        };
        let hvmloader = "/usr/lib/xen/boot/hvmloader".to_owned();
        let linux = "type='hvm'\nkernel='/boot/vmlinuz'\n";
        assert_eq!(both(linux), ("/boot/vmlinuz".into(), hvmloader.clone()));
        let none = "type='hvm'\nkernel='/usr/lib/xen/boot/hvmloader'\n";
        assert_eq!(both(none), (hvmloader, String::new()));
        let xm = "builder='hvm'\nkernel='/opt/bios.bin'\n";
        assert_eq!(both(xm), ("/opt/bios.bin".into(), String::new()));
    }

    #[test]
    fn hvm_cpu_is_what_its_variables_say() {
        let text = "builder='hvm'\nnx=0\nhpet=1\nviridian=1\ntimer_mode=3\ncpuid=['1:ecx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx0,edx=0x1', 'host,tm=0']\n\
                    cpuid_check=['7,0:ebx=0x0']\n";
        let hvm = config(text, &[]).unwrap().hvm;
        assert_eq!((hvm.nx, hvm.viridian, hvm.timer_mode), (false, true, 3));
        assert!(hvm.hpet);
        assert_eq!(hvm.cpuid.len(), 2);
        assert_eq!(hvm.cpuid_check, ["7,0:ebx=0x0"]);
        let xl = config("type='hvm'\ncpuid='host,sse3=0'\n", &[]).unwrap();
        assert_eq!(xl.hvm.cpuid, ["host,sse3=0"]);
        let wrong = config("builder='hvm'\ncpuid=['1:ecx=01']\n", &[]).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "cpuid: We should specify all the bits of the register ecx for input 1"
        );
    }

    #[test]
    fn hvm_display_and_floppies_are_what_their_variables_say() {
        let text = "builder='hvm'\nvnc=1\nvncdisplay='3'\nvncunused=0\nvncpasswd=''\nvideoram=16\nstdvga=1\nfda='/a.img'\n";
        let hvm = config(text, &["vnclisten=127.0.0.1"]).unwrap().hvm;
        let screen = "vnc=1,vncdisplay=3,vnclisten=127.0.0.1,vncpasswd=,vncunused=0,videoram=16";
        assert_eq!(hvm.screen, Vfb::parse(screen).unwrap());
        assert!(hvm.stdvga && !hvm.nographic);
        assert_eq!((hvm.fda.as_str(), hvm.fdb.as_str()), ("/a.img", ""));
        let line = config("builder='hvm'\nkeymap='a\\nb'\n", &[]).unwrap_err();
        assert!(line.to_string().contains("keymap"), "{line}");
    }

    #[test]
    fn deprecated_restart_sets_all_three_actions() {
        let config = config("restart = 'never'\n", &[]).unwrap();
        assert_eq!(config.on_reboot, "destroy");
        assert!(super::tests::config("restart = 'often'\n", &[]).is_err());
    }

    #[test]
    fn devices_that_cannot_be_passed_on_are_refused() {
        assert!(config("vusb = []\n", &[]).is_ok());
        assert_eq!(
            config("vusb = ['x=1']\n", &[]).unwrap_err().to_string(),
            "Invalid Configuration: vusb is not supported yet; remove vusb from the configuration"
        );
    }

    #[test]
    fn number_that_is_none_is_an_error() {
        assert_eq!(
            config("memory = 'lots'\n", &[]).unwrap_err().to_string(),
            "Invalid Configuration: memory must be a whole number, found 'lots'"
        );
        assert!(config("vcpus = 1e300\n", &[]).is_err());
    }
}
