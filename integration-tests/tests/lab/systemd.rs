//! Our units under a real systemd, in namespaces and a control group of its own.
//!
//! The domain's monitor is xend's stand-in: what is looked at is whose process it is, not what runs in it.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::node::{said, Said};
use noxen_integration_tests::{layout, wait};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What our units and systemd itself need to be there; what is in them does not matter here.
const TARGETS: [&str; 12] = [
    "basic",
    "multi-user",
    "network",
    "network-online",
    "paths",
    "remote-fs",
    "shutdown",
    "slices",
    "sockets",
    "sysinit",
    "timers",
    "umount",
];

/// Gives systemd places of its own: the lab may be a host with a systemd of its own, and a node that is in use.
const BOOT: &str = "
for place in /run /var/lib /var/log; do mount -t tmpfs lab $place; done
mount -t cgroup2 lab /sys/fs/cgroup
exec /lib/systemd/systemd --system --unit=lab.target --log-target=console --show-status=no
";

/// A running systemd that knows our units only. It ends, with all that it has started, when this is dropped.
struct Systemd {
    root: PathBuf,
    group: PathBuf,
    unshare: Child,
    pid: u32,
}

impl Systemd {
    fn boot() -> Systemd {
        let root = PathBuf::from(format!("/tmp/noxen-systemd-{}", std::process::id()));
        let units = root.join("units");
        std::fs::create_dir_all(&units).unwrap();
        let bare = "[Unit]\nDefaultDependencies=no\n";
        for target in TARGETS {
            std::fs::write(units.join(format!("{target}.target")), bare).unwrap();
        }
        let start = format!("{bare}Requires=xend.socket\nAfter=xend.socket\n");
        std::fs::write(units.join("lab.target"), start).unwrap();
        let bin = format!("{}/", layout::bin_dir().display());
        for entry in std::fs::read_dir(layout::repo_root().join("configs/systemd")).unwrap() {
            let path = entry.unwrap().path();
            let unit = std::fs::read_to_string(&path).unwrap();
            let unit = unit.replace("/usr/bin/", &bin);
            std::fs::write(units.join(path.file_name().unwrap()), unit).unwrap();
        }
        let dropped_in = units.join("xend.service.d");
        std::fs::create_dir_all(&dropped_in).unwrap();
        let stand_in = format!(
            "[Service]\nEnvironment=NOXEN_VMM={bin}xend-fake-monitor NOXEN_KVM=/dev/null\n"
        );
        std::fs::write(dropped_in.join("stand-in.conf"), stand_in).unwrap();
        let groups = root.join("cgroup");
        std::fs::create_dir_all(&groups).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "cgroup2", "lab"])
            .arg(&groups)
            .status();
        assert!(mounted.unwrap().success());
        let group = groups.join(format!("noxen-lab-{}", std::process::id()));
        std::fs::create_dir_all(&group).unwrap();
        let log = std::fs::File::create(root.join("log")).unwrap();
        let mut unshare = Command::new("sh")
            .args(["-ec", "echo $$ >\"$0/cgroup.procs\"; exec unshare \"$@\""])
            .arg(&group)
            .args(["--fork", "--pid", "--kill-child", "--mount", "--mount-proc"])
            .args(["--cgroup", "--uts", "sh", "-ec", BOOT])
            .env_clear()
            .env("container", "noxen-lab")
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("SYSTEMD_UNIT_PATH", &units)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let pid = wait::try_until(LIMIT, || {
            let text = std::fs::read_to_string(&children).ok()?;
            text.split_whitespace().next()?.parse().ok()
        });
        let Some(pid) = pid else {
            let _ = unshare.kill();
            panic!("systemd was not started");
        };
        let systemd = Systemd {
            root,
            group,
            unshare,
            pid,
        };
        wait::until("systemd has brought the socket up", LIMIT, || {
            (systemd.active("xend.socket") == "active").then_some(())
        });
        systemd
    }

    /// A command where systemd runs.
    fn run(&self, program: &str, args: &[&str]) -> Said {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid.to_string(), "--mount", "--pid", "--"]);
        command.arg(program).args(args);
        said(&mut command, LIMIT).unwrap()
    }

    fn toolctl(&self, args: &[&str]) -> String {
        let program = layout::bin_dir().join("toolctl");
        self.run(&program.display().to_string(), args).ok()
    }

    fn systemctl(&self, args: &[&str]) -> String {
        self.run("systemctl", args).ok()
    }

    /// `active`, `inactive`, `failed`, ...
    fn active(&self, unit: &str) -> String {
        let said = self.run("systemctl", &["is-active", unit]);
        said.stdout.trim().to_owned()
    }

    /// The domain's noxen-vmm, by its id among systemd's processes.
    fn monitor(&self, domid: &str) -> String {
        let path = format!("/var/run/noxen/domains/{domid}/pid");
        self.run("cat", &[&path]).ok().trim().to_owned()
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.root.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let show = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
            eprintln!("systemd: {}", show(&self.root.join("log")));
            eprintln!(
                "xend: {}",
                self.run("cat", &["/var/log/xen/xend.log"]).stdout
            );
        }
        // The end of a namespace's first process is the end of all in it.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        let emptied = wait::try_until(LIMIT, || remove_groups(&self.group).ok());
        if emptied.is_none() {
            eprintln!("{} is still in use", self.group.display());
        }
        let _ = Command::new("umount")
            .arg(self.root.join("cgroup"))
            .status();
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// Removes a control group with those below it; fails while a process is in one.
fn remove_groups(group: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    std::fs::remove_dir(group)
}

#[test]
fn domain_in_its_scope_outlives_restarts_and_stops_of_the_services() {
    in_lab();
    let systemd = Systemd::boot();
    assert_eq!(systemd.active("xend.service"), "inactive");
    // The first command starts xend through its socket, and xend's unit starts the store's.
    assert!(systemd.toolctl(&["list"]).contains("Domain-0"));
    assert_eq!(systemd.active("xend.service"), "active");
    assert_eq!(systemd.active("xenstored.service"), "active");

    let kernel = systemd.file("kernel", "ok");
    let text = format!("name = 'tenant'\nkernel = '{kernel}'\nmemory = 64\ncpu_weight = 512\n");
    let config = systemd.file("tenant.cfg", &text);
    systemd.toolctl(&["create", &config]);
    assert_eq!(systemd.active("noxen-1.scope"), "active");
    let monitor = systemd.monitor("1");
    let group = systemd
        .run("cat", &[&format!("/proc/{monitor}/cgroup")])
        .ok();
    assert!(
        group.trim_end().ends_with("/noxen.slice/noxen-1.scope"),
        "{group}"
    );
    let weight = systemd.systemctl(&["show", "--property=CPUWeight", "noxen-1.scope"]);
    assert_eq!(weight.trim(), "CPUWeight=200");

    systemd.systemctl(&["restart", "xend.service", "xenstored.service"]);
    assert_eq!(systemd.toolctl(&["domid", "tenant"]).trim(), "1");
    systemd.systemctl(&["reload", "xend.service"]);
    systemd.systemctl(&["stop", "xend.service", "xenstored.service"]);
    assert_eq!(systemd.active("xend.service"), "inactive");
    assert_eq!(systemd.active("noxen-1.scope"), "active");
    // And again through the socket.
    assert_eq!(systemd.toolctl(&["domid", "tenant"]).trim(), "1");
    assert_eq!(systemd.monitor("1"), monitor);
    systemd.toolctl(&["sched-credit", "-d", "tenant", "-w", "128"]);
    let weight = systemd.systemctl(&["show", "--property=CPUWeight", "noxen-1.scope"]);
    assert_eq!(weight.trim(), "CPUWeight=50");

    for (daemon, unit) in [("xend", "xend.service"), ("xenstore", "xenstored.service")] {
        let kill = format!("kill -9 $(cat /var/run/{daemon}.pid)");
        systemd.run("sh", &["-c", &kill]).ok();
        wait::until("it is started again", LIMIT, || {
            let restarts = systemd.systemctl(&["show", "--property=NRestarts", unit]);
            (restarts.trim() == "NRestarts=1" && systemd.active(unit) == "active").then_some(())
        });
        assert_eq!(systemd.toolctl(&["domid", "tenant"]).trim(), "1");
        assert_eq!(systemd.monitor("1"), monitor);
    }

    systemd.toolctl(&["destroy", "tenant"]);
    wait::until("the scope is gone", LIMIT, || {
        (systemd.active("noxen-1.scope") == "inactive").then_some(())
    });
}
