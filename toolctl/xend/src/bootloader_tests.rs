use super::*;
use crate::testing::TempDir;
use noxen_xend_api::Disk;

fn config() -> DomainConfig {
    DomainConfig {
        name: "a".into(),
        bootloader: "/usr/bin/pygrub".into(),
        bootargs: "-q --entry=2".into(),
        root: "/dev/xvda1 ro".into(),
        extra: "3".into(),
        disk: vec![Disk::parse("file:/a,xvda,w").unwrap()],
        ..DomainConfig::default()
    }
}

#[test]
fn arguments_are_those_of_the_protocol() {
    let fifo = Path::new("/var/run/xend/boot/xenbl.1");
    let args = arguments(&config(), Path::new("/usr/bin/pygrub"), "/a", fifo).unwrap();
    assert_eq!(
        args,
        [
            "--args=root=/dev/xvda1 ro 3",
            "--output-format=sxp",
            "--output-directory=/var/run/xend/boot",
            "--output=/var/run/xend/boot/xenbl.1",
            "-q",
            "--entry=2",
            "/a"
        ]
    );
    let mut other = config();
    other.kernel = "/vmlinuz".into();
    let args = arguments(
        &other,
        Path::new("/usr/lib/xen/boot/domUloader"),
        "/a",
        fifo,
    )
    .unwrap();
    assert_eq!(args[0], "--kernel=/vmlinuz");
    assert!(
        !args.iter().any(|arg| arg.starts_with("--output-")),
        "{args:?}"
    );
}

#[test]
fn answer_replaces_kernel_ramdisk_and_command_line() {
    let dir = TempDir::new("boot");
    let kernel = dir.path().join("boot_kernel.x");
    std::fs::write(&kernel, "k").unwrap();
    let said = format!(
        "(linux (kernel {})(ramdisk /boot/initrd)(args \"root=/dev/xvda2 ro 3 quiet\"))",
        kernel.display()
    );
    let booted = judge(&said, &config(), dir.path()).unwrap();
    assert_eq!(booted.config.kernel, kernel.display().to_string());
    assert_eq!(booted.config.ramdisk, "/boot/initrd");
    assert_eq!(
        cmdline::compose(&booted.config).unwrap(),
        "root=/dev/xvda2 ro 3 quiet"
    );
    assert_eq!(booted.temporary, [kernel.clone()]);
    drop(booted);
    assert!(!kernel.exists(), "its temporary files go");
}

#[test]
fn answer_that_is_none_is_an_error() {
    for (said, wanted) in [
        ("(linux (ramdisk /r))", "it names no kernel"),
        ("(netbsd (kernel /k))", "it names no kernel"),
        ("(linux (kernel /k)", "/usr/bin/pygrub"),
    ] {
        let fault = judge(said, &config(), Path::new("/nowhere")).unwrap_err();
        assert!(fault.message.contains(wanted), "{said}: {}", fault.message);
    }
}

#[test]
fn disk_that_no_boot_loader_can_read_is_named() {
    let mut none = config();
    none.disk.clear();
    assert_eq!(
        disk_of(&none).unwrap_err().message,
        "Had a bootloader specified, but no disks are bootable"
    );
    let mut packed = config();
    packed.disk = vec![Disk::parse("tap:qcow2:/a,xvda,w").unwrap()];
    assert!(disk_of(&packed)
        .unwrap_err()
        .message
        .starts_with("Disk isn't accessible: "));
    let mut gone = config();
    gone.disk = vec![Disk::parse("file:/nonexistent,xvda,w").unwrap()];
    assert!(disk_of(&gone)
        .unwrap_err()
        .message
        .starts_with("Disk isn't accessible: /nonexistent"));
}
