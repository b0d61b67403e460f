//! The example configurations are ones that xend takes.

mod support;

use noxen_xend_api::{Request, Response};
use noxen_xm_config::{domain_config, load_file, Options};
use std::path::PathBuf;

fn check(name: &str, words: &[&str]) -> noxen_xend_api::DomainConfig {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../configs")
        .join(name);
    let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
    let loaded = load_file(&path, &words, &Options::default()).unwrap();
    assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
    let config = domain_config(&loaded.settings).unwrap();
    let plan = noxen_xend::validate::check(&config, 64).unwrap();
    assert!(
        plan.cmdline.contains("console=hvc0"),
        "{name}: {}",
        plan.cmdline
    );
    config
}

#[test]
fn xmexample1_and_demo_make_one_domain_each() {
    assert_eq!(check("xmexample1", &[]).name, "ExampleDomain");
    assert_eq!(check("xmexample1", &["memory=512"]).memory, 512);
    let demo = check("demo.cfg", &[]);
    assert_eq!(
        (demo.name.as_str(), demo.vcpus, demo.on_crash.as_str()),
        ("demo", 2, "preserve")
    );
}

#[test]
fn xend_config_that_is_installed_has_nothing_to_remark_upon() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../configs/xend-config.sxp");
    let settings = noxen_xend::settings::Settings::load(&path).unwrap();
    assert_eq!(settings.remarks(), [""; 0]);
    assert_eq!(settings.int("dom0-min-mem"), 196);
    // What is commented out is the default, and is spelt right.
    let text = std::fs::read_to_string(&path).unwrap();
    let shown: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("#(")).collect();
    assert!(shown.len() > 4);
    for line in shown {
        let (key, value) = line.trim_end_matches(')').split_once(' ').unwrap();
        let default = noxen_xend::settings::Settings::default();
        let only_an_example = key == "network-script";
        assert!(only_an_example || default.text(key) == value, "{line}");
    }
}

#[test]
fn xmexample2_makes_a_domain_of_each_number() {
    let one = check("xmexample2", &["vmid=1"]);
    assert_eq!((one.name.as_str(), one.memory, one.vcpus), ("VM01", 256, 1));
    let two = check("xmexample2", &["vmid=2"]);
    assert_eq!((two.name.as_str(), two.memory, two.vcpus), ("VM02", 512, 2));
    assert!(two.extra.ends_with("systemd.hostname=vm2"), "{}", two.extra);
}

/// What xen-create-image of Debian's xen-tools 4.9.2 writes, comments left out.
const XEN_TOOLS: &str = "kernel      = '/boot/vmlinuz-6.1.0-18-amd64'
extra       = 'elevator=noop'
ramdisk     = '/boot/initrd.img-6.1.0-18-amd64'
vcpus       = '2'
memory      = '256'
maxmem      = '512'
root        = '/dev/xvda2 ro'
disk        = [
                  'phy:/dev/vg0/web-disk,xvda2,w',
                  'phy:/dev/vg0/web-swap,xvda1,w',
              ]
name        = 'web.example.org'
vif         = [ 'ip=192.168.1.7,mac=00:16:3E:3B:77:10,bridge=xenbr0' ]
on_poweroff = 'destroy'
on_reboot   = 'restart'
on_crash    = 'restart'
xen_shell = 'steve'
";

fn xen_tools(text: &str) -> noxen_xend_api::DomainConfig {
    let loaded = noxen_xm_config::load_source(text, "web.cfg", &[], &Options::default()).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let config = domain_config(&loaded.settings).unwrap();
    let config = noxen_xend::devices::complete(config).unwrap();
    noxen_xend::validate::check(&config, 64).unwrap();
    config
}

#[test]
fn config_of_xen_create_image_is_taken_as_it_is() {
    let config = xen_tools(XEN_TOOLS);
    let disks: Vec<_> = config
        .disk
        .iter()
        .map(|d| (d.number().unwrap(), d.text()))
        .collect();
    assert_eq!(
        disks,
        [
            (51714, "phy:/dev/vg0/web-disk,xvda2,w".to_owned()),
            (51713, "phy:/dev/vg0/web-swap,xvda1,w".to_owned())
        ]
    );
    assert_eq!(config.vif[0].mac.as_deref(), Some("00:16:3e:3b:77:10"));
    assert_eq!(config.vif[0].ip.as_deref(), Some("192.168.1.7"));
    assert_eq!(
        (config.memory, config.maxmem, config.vcpus),
        (256, Some(512), 2)
    );

    // With --pygrub and --dhcp it names no kernel.
    let pygrub = XEN_TOOLS
        .replace(
            "kernel      = '/boot/vmlinuz-6.1.0-18-amd64'\nextra       = 'elevator=noop'\n",
            "bootloader = 'pygrub'\n",
        )
        .replace("ramdisk     = '/boot/initrd.img-6.1.0-18-amd64'\n", "")
        .replace(
            "vif         = [ 'ip=192.168.1.7,mac=00:16:3E:3B:77:10,bridge=xenbr0' ]",
            "dhcp        = 'dhcp'\nvif         = [ '' ]",
        );
    let config = xen_tools(&pygrub);
    assert_eq!(config.bootloader, "/usr/bin/pygrub");
    assert!(config.vif[0].mac.is_some() && config.kernel.is_empty());
}

/// xend takes each example, on a kernel and an image that this host has in place of those that it names.
#[test]
fn every_example_is_one_that_xend_would_build() {
    let lab = support::Lab::new();
    let kernel = format!("kernel={}", lab.root().join("kernel-ok").display());
    let image = lab.image("disk.img", "x");
    let disk = |device: &str| format!("disk=file:{image},{device},w");
    let (xvda1, xvda, hda) = (disk("xvda1"), disk("xvda"), disk("hda"));
    let linux = [kernel.as_str(), "ramdisk="];
    let examples: [(&str, Vec<&str>); 7] = [
        ("xmexample1", linux.to_vec()),
        ("xmexample2", [&linux[..], &["vmid=3"]].concat()),
        ("xmexample3", [&linux[..], &["vmid=3", &xvda1]].concat()),
        (
            "xmexample.nbd",
            [&linux[..], &["server=storage", &xvda1]].concat(),
        ),
        ("xmexample.pv-grub", vec![&kernel, &xvda]),
        ("xmexample.hvm", vec![&hda]),
        ("xmexample.hvm-stubdom", vec![&hda]),
    ];
    for (name, words) in examples {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../configs")
            .join(name);
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let loaded = load_file(&path, &words, &Options::default()).unwrap();
        let config = Box::new(domain_config(&loaded.settings).unwrap());
        let judged = lab.ask(&Request::Check { config });
        assert_eq!(
            judged.map_err(|fault| fault.message),
            Ok(Response::Ok),
            "{name}"
        );
    }
}
