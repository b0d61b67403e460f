use super::*;
use crate::domain::domain_config;
use crate::limits::Limits;
use crate::load::{load_source, Options};
use crate::sxp::{parse, Node};
use noxen_xend_api::{cmdline, DomainConfig};

fn config(source: &str) -> DomainConfig {
    let loaded = load_source(source, "./d", &[], &Options::default()).unwrap();
    domain_config(&loaded.settings).unwrap()
}

fn emit_error(source: &str) -> String {
    let loaded = load_source(source, "./d", &[], &Options::default()).unwrap();
    domain_config(&loaded.settings)
        .and_then(|config| to_sxp(&config))
        .unwrap_err()
        .to_string()
}

const FULL: &str = "name='tenant03'\nmemory=192\nmaxmem=256\nvcpus=2\non_crash='preserve'\nkernel='/boot/vmlinuz-guest'\n\
    ramdisk='/boot/initrd-guest'\ndhcp='dhcp'\nroot='/dev/xvda1 ro'\nextra='3 selinux=0'\n\
    disk=['phy:vg0/t3,xvda1,w', 'tap:aio:/srv/img/data.img,xvdb,r']\nvif=['mac=00:16:3e:00:01:03, bridge=xenbr0']\n\
    pci=['04:02.0', '0000:07:1f.3']\nvtpm=['instance=1,backend=0']\nvfb=['vnc=1,vnclisten=127.0.0.1,vncunused=1']\n\
    access_control=['policy=mytest,label=A-Bank']\ncpus='0-1'\n";

#[test]
fn dry_run_prints_as_xm_did() {
    let wanted = "(vm
    (name tenant03)
    (memory 192)
    (maxmem 256)
    (vcpus 2)
    (on_poweroff destroy)
    (on_reboot restart)
    (on_crash preserve)
    (on_xend_start ignore)
    (on_xend_stop ignore)
    (cpus 0-1)
    (image
        (linux
            (kernel /boot/vmlinuz-guest)
            (ramdisk /boot/initrd-guest)
            (ip :127.0.255.255::::eth0:dhcp)
            (root '/dev/xvda1 ro')
            (args '3 selinux=0')
        )
    )
    (s3_integrity 1)
    (device (vbd (uname phy:vg0/t3) (dev xvda1) (mode w)))
    (device (tap (uname tap:aio:/srv/img/data.img) (dev xvdb) (mode r)))
    (device
        (pci
            (dev (domain 0x0) (bus 0x4) (slot 0x2) (func 0x0))
            (dev (domain 0x0) (bus 0x7) (slot 0x1f) (func 0x3))
        )
    )
    (device (vif (mac 00:16:3e:00:01:03) (bridge xenbr0)))
    (device (vtpm (pref_instance 1) (backend 0)))
    (device (vkbd))
    (device (vfb (vnc 1) (vnclisten 127.0.0.1) (vncunused 1)))
    (security ((access_control (policy mytest) (label A-Bank))))
)";
    assert_eq!(to_sxp(&config(FULL)).unwrap().pretty(), wanted);
}

#[test]
fn printed_configuration_reads_back_to_the_same_domain() {
    let first = config(FULL);
    let text = to_sxp(&first).unwrap().pretty();
    let second = from_sxp(&parse(&text, &Limits::default()).unwrap()).unwrap();
    assert_eq!(to_sxp(&second).unwrap().pretty(), text);
    assert_eq!(cmdline::compose(&first), cmdline::compose(&second));
}

#[test]
fn kernel_tuning_off_survives_printing_and_is_absent_otherwise() {
    let off = config("name='a'\nkernel='/k'\nkernel_tuning=0\n");
    assert!(!off.kernel_tuning);
    let text = to_sxp(&off).unwrap().pretty();
    let again = from_sxp(&parse(&text, &Limits::default()).unwrap()).unwrap();
    assert!(!again.kernel_tuning, "{text}");
    let plain = config("name='a'\nkernel='/k'\n");
    assert!(plain.kernel_tuning);
    assert!(!to_sxp(&plain).unwrap().pretty().contains("kernel_tuning"));
}

#[test]
fn device_texts_that_mean_nothing_have_xms_errors() {
    for (source, wanted) in [
        ("disk=['phy:a,b']", "Invalid disk specifier: phy:a,b"),
        ("disk=['']", "Invalid disk specifier: "),
        ("disk=['a,xvda,w']", "Invalid disk specifier: a,xvda,w"),
        (
            "disk=['phy:a,xvda,x']",
            "Invalid mode 'x' in disk phy:a,xvda,x; it is r, w or w!",
        ),
        ("vif=['colour=red']", "Invalid vif option: colour"),
        (
            "vif=['bridge']",
            "'bridge' should be a pair, separated by an equals sign.",
        ),
        ("vfb=['x=1']", "configuration option x unknown to vfbs"),
        ("pci=['zz:1.0']", "Error in PCI slot syntax \"zz:1.0\""),
        ("pci=['01:02.0,speed=9']", "Invalid pci option: speed"),
        ("vscsi=['sda']", "vscsi syntax error \"sda\""),
        (
            "ioports=['3f8-2f8']",
            "Invalid i/o port range specifier: 3f8-2f8",
        ),
        (
            "vtpm=['instance=0']",
            "VM config error: vTPM instance must not be 0.",
        ),
        (
            "access_control=['a=b','c=d']",
            "VM config error: Multiple access_control definitions!",
        ),
        ("nfs_root='/srv'", "Must set nfs root and nfs server"),
    ] {
        assert_eq!(emit_error(source), wanted, "{source}");
    }
}

#[test]
fn empty_cdrom_and_empty_vifs_are_allowed() {
    let text = to_sxp(&config("disk=[',hdc:cdrom,r']\nvif=['','']"))
        .unwrap()
        .to_string();
    assert!(
        text.contains("(vbd (uname ) (dev hdc:cdrom) (mode r))"),
        "{text}"
    );
    assert_eq!(text.matches("(device (vif))").count(), 2);
}

#[test]
fn expression_of_another_kind_is_refused() {
    let read = |text: &str| from_sxp(&parse(text, &Limits::default()).unwrap()).map(|_| ());
    assert_eq!(
        read("(network (name a))").unwrap_err().to_string(),
        "expected (vm ...), found (network ...)"
    );
    assert_eq!(
        read("(vm (memory much))").unwrap_err().to_string(),
        "Invalid Configuration: memory must be a whole number, found 'much'"
    );
    assert_eq!(
        read("(vm (device (warp (speed 9))))")
            .unwrap_err()
            .to_string(),
        "device class 'warp' is not known"
    );
}

#[test]
fn listing_of_a_running_domain_is_accepted() {
    let text = "(domain (domid 3) (name a) (cpus (() ())) (memory 64) (image (linux (kernel /k) (args 'root=/dev/xvda1 ro 3'))) \
        (state -b----) (device (console (protocol vt100) (location 3))))";
    let config = from_sxp(&parse(text, &Limits::default()).unwrap()).unwrap();
    assert_eq!((config.name.as_str(), config.memory), ("a", 64));
    assert_eq!(config.cpus, noxen_xend_api::Cpus::Any);
    assert_eq!(Node::pair("a", "b").key(), Some("a"));
}

#[test]
fn hvm_cpu_reads_back_to_the_same_domain() {
    let text = "builder='hvm'\nkernel='/usr/lib/xen/boot/hvmloader'\nnx=0\nhpet=1\nviridian=1\ntimer_mode=3\nusbdevice=['tablet', 'keyboard']\n\
        cpuid=['7,0:ebx=0x0,ecx=0x1', 'host,tm=0']\ncpuid_check=['1:edx=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx1']\n";
    let config = config(text);
    let printed = to_sxp(&config).unwrap().pretty();
    let back = from_sxp(&parse(&printed, &Limits::default()).unwrap()).unwrap();
    assert_eq!(back.hvm, config.hvm, "{printed}");
    let wrong = printed.replace("timer_mode 3", "timer_mode often");
    let wrong = from_sxp(&parse(&wrong, &Limits::default()).unwrap()).unwrap_err();
    assert!(wrong.to_string().contains("timer_mode = often"), "{wrong}");
}

#[test]
fn pvh_machine_reads_back_to_the_same_domain() {
    let text = "type='pvh'\nkernel='/k'\nacpi=0\nnx=0\ncpuid=['1:ecx=0x1']\n";
    let config = config(text);
    let printed = to_sxp(&config).unwrap().pretty();
    let back = from_sxp(&parse(&printed, &Limits::default()).unwrap()).unwrap();
    assert_eq!(
        (back.builder.as_str(), &back.hvm),
        ("pvh", &config.hvm),
        "{printed}"
    );
}

#[test]
fn hvm_display_and_floppies_read_back_to_the_same_domain() {
    let text = "builder='hvm'\nkernel='/usr/lib/xen/boot/hvmloader'\nvnc=1\nvncdisplay=2\nvncpasswd=''\nkeymap='de'\nvideoram=32\nstdvga=1\n\
        nographic=1\nfda='/a.img'\nfdb='/b.img'\n";
    let config = config(text);
    let printed = to_sxp(&config).unwrap().pretty();
    let back = from_sxp(&parse(&printed, &Limits::default()).unwrap()).unwrap();
    assert_eq!(back.hvm, config.hvm, "{printed}");
}
