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
    let places = Places {
        fifo: Path::new("/var/run/xend/boot/xenbl.1"),
        files: Path::new("/var/run/xend/boot/files.1"),
    };
    let args = arguments(&config(), Path::new("/usr/bin/pygrub"), "/a", places).unwrap();
    assert_eq!(
        args,
        [
            "--args=root=/dev/xvda1 ro 3",
            "--output-format=sxp",
            "--output-directory=/var/run/xend/boot/files.1",
            "--output=/var/run/xend/boot/xenbl.1",
            "-q",
            "--entry=2",
            "/a"
        ]
    );
    let mut other = config();
    other.kernel = "/vmlinuz".into();
    let loader = Path::new("/usr/lib/xen/boot/domUloader");
    let args = arguments(&other, loader, "/a", places).unwrap();
    assert_eq!(args[0], "--kernel=/vmlinuz");
    assert!(
        !args.iter().any(|arg| arg.starts_with("--output-")),
        "{args:?}"
    );
}

fn judged(said: &str, directory: Option<PathBuf>) -> Result<Booted, Fault> {
    let mut booted = Booted {
        config: config(),
        temporary: Vec::new(),
        directory,
    };
    judge(said, &mut booted).map(|()| booted)
}

#[test]
fn answer_replaces_kernel_ramdisk_and_command_line() {
    let dir = TempDir::new("boot");
    let own = dir.path().join("own");
    std::fs::create_dir(&own).unwrap();
    let inside = own.join("boot_kernel.x");
    let outside = dir.path().join("boot_ramdisk.x");
    for file in [&inside, &outside] {
        std::fs::write(file, "k").unwrap();
    }
    // As pygrub of Xen 4 says it, without the outer parentheses.
    let said = format!(
        "linux (kernel '{}')(ramdisk '{}')(args 'root=/dev/xvda2 ro 3 quiet')",
        inside.display(),
        outside.display()
    );
    for said in [said.clone(), format!("({said})")] {
        let booted = judged(&said, None).unwrap();
        assert_eq!(booted.config.kernel, inside.display().to_string());
        assert_eq!(booted.config.ramdisk, outside.display().to_string());
        let line = cmdline::compose(&booted.config).unwrap();
        assert_eq!(line, "root=/dev/xvda2 ro 3 quiet");
        std::mem::forget(booted);
    }
    drop(judged(&said, Some(own.clone())).unwrap());
    assert!(!own.exists() && !outside.exists(), "its temporary files go");
}

#[test]
fn kernel_that_is_no_temporary_file_stays() {
    let said = "(linux (kernel /boot/vmlinuz)(ramdisk /var/run/../../boot/x))";
    assert!(judged(said, None).unwrap().temporary.is_empty());
}

#[test]
fn answer_that_is_none_is_an_error() {
    for (said, wanted) in [
        ("(linux (ramdisk /r))", "it names no kernel"),
        ("(netbsd (kernel /k))", "it names no kernel"),
        ("linux", "it names no kernel"),
        ("(linux (kernel /k)", "/usr/bin/pygrub"),
    ] {
        let fault = judged(said, None).unwrap_err();
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
