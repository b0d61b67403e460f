//! The lab itself: a Debian host whose kvm runs ring-0 code, and our guest initramfs in a VM of QEMU's.

use crate::in_lab;
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::console::{command, Console};
use std::time::Duration;

#[test]
fn host_kvm_device_is_there_and_cpu_has_virtualisation() {
    in_lab();
    assert!(std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok());
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let flags = cpuinfo.lines().find(|l| l.starts_with("flags")).unwrap();
    assert!(
        flags.split_whitespace().any(|f| f == "svm" || f == "vmx"),
        "{flags}"
    );
}

#[test]
fn host_out_directory_is_writable() {
    in_lab();
    let out = std::path::PathBuf::from(std::env::var_os("NOXEN_LAB_OUT").unwrap());
    let file = out.join("written");
    std::fs::write(&file, "x").unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
    std::fs::remove_file(file).unwrap();
}

/// A kernel under kvm from ring 0 to a login, without any of our own programs: when this fails, the
/// lab is at fault and not Noxen.
#[test]
fn host_kvm_boots_debian_to_our_login_under_qemu() {
    in_lab();
    let kernel = assets::vmlinux(Flavour::Generic).unwrap();
    let initramfs = assets::guest_initramfs(Flavour::Generic).unwrap();
    let mut console = Console::spawn(&command(
        "qemu-system-x86_64",
        &[
            "-enable-kvm",
            "-cpu",
            // QEMU's TCG hides a nested guest's XSETBV from KVM (see benches/src/boot.rs).
            "host,-xsave",
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
            "-m",
            "256",
            "-serial",
            "stdio",
            "-kernel",
            &kernel.display().to_string(),
            "-initrd",
            &initramfs.display().to_string(),
            "-append",
            "console=ttyS0 quiet",
        ],
    ))
    .unwrap();
    let limit = Duration::from_secs(120);
    console.expect("NOXEN-INIT up", limit).unwrap();
    console.login(limit).unwrap();
    assert_eq!(console.run("id -u", limit).unwrap(), "0\n");
    assert_eq!(console.run("storm 2 5", limit).unwrap(), "STORM ok 2\n");
    console.send("poweroff\n").unwrap();
    let status = console.wait(limit).unwrap();
    assert!(status.success(), "{status}");
}
