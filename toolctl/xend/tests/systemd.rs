//! A node under a real systemd: Debian's, as process 1 of a container.
//!
//! ```text
//!   target/assets/debian/root.img ── support/container.sh ── systemd ── xenstored.socket, xend.socket, xend.service
//!                                                               └── noxen.slice ── noxen@1.service: a stand-in for noxen-vmm
//! ```
//! It needs root, namespaces, loop devices, overlayfs and cgroup2.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use support::{asset, eventually, is_alive};

/// A running system.
struct Container {
    directory: PathBuf,
    group: PathBuf,
    outer: Child,
    init: u32,
}

/// The place of cgroup2 on this host.
fn groups() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mut lines = mounts.lines().map(|line| line.split(' '));
    let found = lines.find_map(|mut words| {
        let place = words.nth(1)?.to_owned();
        (words.next() == Some("cgroup2")).then_some(place)
    });
    PathBuf::from(found.expect("a mounted cgroup2"))
}

/// What is laid over the image: our programs and units, the stand-in for noxen-vmm, nothing that a container cannot have.
fn lay_out(files: &Path) {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let copy = |from: &Path, to: &str| {
        let to = files.join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    };
    let write = |path: &str, text: &str| {
        let path = files.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    copy(Path::new(env!("CARGO_BIN_EXE_xend")), "usr/bin/xend");
    let monitor = Path::new(env!("CARGO_BIN_EXE_xend-fake-monitor"));
    copy(monitor, "usr/bin/noxen-vmm");
    copy(support::xenstored(), "usr/bin/xenstored");
    copy(support::toolctl(), "usr/bin/xm");
    for unit in std::fs::read_dir(configs.join("systemd")).unwrap() {
        let path = unit.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        copy(&path, &format!("etc/systemd/system/{name}"));
    }
    for script in ["init.d/xendomains", "default/xendomains"] {
        copy(&configs.join(script), &format!("etc/{script}"));
    }
    write(
        "etc/systemd/system/xend.service.d/stand-in.conf",
        "[Service]\nEnvironment=NOXEN_KVM=/dev/null NOXEN_TUN=/dev/null\n",
    );
    for unit in ["networking.service", "console-getty.service"] {
        let link = files.join("etc/systemd/system").join(unit);
        std::os::unix::fs::symlink("/dev/null", link).unwrap();
    }
    write("root/kernel", "ok");
    for name in ["web", "two"] {
        let text = format!("name = '{name}'\nkernel = '/root/kernel'\nmemory = 16\n");
        write(&format!("root/{name}.cfg"), &text);
    }
}

impl Container {
    /// Starts it and waits until its systemd has nothing left to do.
    fn start() -> Container {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("noxen-container-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        let group = groups().join(name);
        let (files, logs) = (directory.join("files"), directory.join("logs"));
        for path in [&files, &logs, &group] {
            std::fs::create_dir_all(path).unwrap();
        }
        lay_out(&files);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/container.sh");
        let said = std::fs::File::create(directory.join("said")).unwrap();
        let mut outer = Command::new("sh")
            .arg(script)
            .arg(asset("debian/root.img"))
            .args([&files, &logs, &group])
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap();
        let init = eventually("the container's process 1", || {
            if let Some(status) = outer.try_wait().unwrap() {
                let said = std::fs::read_to_string(directory.join("said"));
                panic!("the container ended with {status}: {said:?}");
            }
            let id = outer.id();
            let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
            let init: u32 = children.ok()?.trim().parse().ok()?;
            let name = std::fs::read_to_string(format!("/proc/{init}/comm")).ok()?;
            (name == "systemd\n").then_some(init)
        });
        let container = Container {
            directory,
            group,
            outer,
            init,
        };
        // Before its socket is there, systemctl fails.
        eventually("the container has started", || {
            let (state, _) = container.said("systemctl is-system-running --wait");
            match state.trim() {
                "running" => Some(()),
                "degraded" => panic!("{}", container.run("systemctl --failed --no-pager")),
                _ => None,
            }
        });
        container
    }

    /// Runs a line of shell inside: both of its outputs, and whether it went well.
    fn said(&self, line: &str) -> (String, bool) {
        let out = Command::new("nsenter")
            .args(["--mount", "--pid", "--cgroup", "--uts", "--ipc", "--net"])
            .arg(format!("--target={}", self.init))
            .args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
            .args(["sh", "-c", &format!("exec 2>&1; {line}")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        (text, out.status.success())
    }

    /// The same of a line that must go well: its outputs.
    #[track_caller]
    fn run(&self, line: &str) -> String {
        let (text, well) = self.said(line);
        assert!(well, "{line}: {text}\n{}", self.log());
        text
    }

    /// xend.log.
    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("logs/xend.log")).unwrap_or_default()
    }

    /// A property of a unit.
    fn property(&self, unit: &str, name: &str) -> String {
        let said = self.run(&format!("systemctl show --value -p {name} {unit}"));
        said.trim().to_owned()
    }

    /// Names in `xm list`, domain 0 not among them.
    fn domains(&self) -> Vec<String> {
        let table = self.run("xm list");
        let rows = table.lines().skip(1);
        let names = rows.filter_map(|row| row.split_whitespace().next());
        names
            .filter(|name| *name != "Domain-0")
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        support::kill(self.outer.id());
        let _ = self.outer.wait();
        eventually("the container is gone", || {
            (!is_alive(self.init)).then_some(())
        });
        // Groups that its systemd has made are empty by now; one below the other.
        let _ = Command::new("find")
            .arg(&self.group)
            .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
            .status();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn domains_are_units_that_outlive_xend_and_are_shut_down_before_the_host() {
    let mut host = Container::start();
    let units = "xenstored.socket xend.socket xenstored.service xend.service";
    host.run(&format!("systemctl enable --now {units}"));
    assert_eq!(
        host.run(&format!("systemctl is-active {units}")),
        "active\n".repeat(4)
    );
    host.run("xm create /root/web.cfg");
    let unit = "noxen@1.service";
    assert_eq!(host.property(unit, "Description"), "Xen domain 1");
    let shown = host.run("systemctl status --no-pager noxen@1");
    assert!(shown.contains("Status: \"Domain web\""), "{shown}");
    let members = "cat /sys/fs/cgroup/noxen.slice/noxen@1.service/cgroup.procs";
    let monitor = host.run(members);
    assert_eq!(monitor.lines().count(), 1, "{monitor}");
    // It is the stand-in, with the descriptors that it knows by number, and nothing of the one that it was before.
    assert_eq!(host.property(unit, "MainPID"), monitor.trim());
    let said = host.run(&format!("tr '\\0' ' ' </proc/{}/cmdline", monitor.trim()));
    assert!(said.contains("noxen-vmm --spec-fd "), "{said}");
    let left = host.said("ls /run/noxen/domains/1/start.sock").0;
    assert!(left.contains("No such file"), "{left}");

    // xend goes and comes; who asks meanwhile waits at systemd's socket.
    let before = host.property("xend.service", "MainPID");
    host.run("systemctl restart xend.service");
    assert_ne!(host.property("xend.service", "MainPID"), before);
    assert_eq!(
        (host.domains(), host.run(members)),
        (vec!["web".to_owned()], monitor.clone())
    );
    host.run("systemctl stop xend.service");
    assert_eq!(
        host.said("systemctl is-active xend.service").0,
        "inactive\n"
    );
    assert_eq!(host.domains(), ["web"]);
    assert_eq!(host.property("xend.service", "ActiveState"), "active");
    // So does the store, in a unit of its own; and xend when it is killed.
    host.run("systemctl restart xenstored.service && systemctl kill -s KILL xend.service");
    assert_eq!(host.domains(), ["web"]);
    host.run("systemctl reload xend.service");
    assert_eq!(host.run(members), monitor);
    host.run("xm sched-credit -d web -w 512 -c 50");
    assert_eq!(host.property(unit, "CPUWeight"), "200");
    assert_eq!(host.property(unit, "CPUQuotaPerSecUSec"), "500ms");
    assert_eq!(
        host.property(unit, "ControlGroup"),
        "/noxen.slice/noxen@1.service"
    );
    // Where the host has the controller of CPUs in cgroup2 (and not in the old hierarchy), they are the group's.
    if host
        .run("cat /sys/fs/cgroup/cgroup.controllers")
        .split_whitespace()
        .any(|c| c == "cpu")
    {
        let group = "/sys/fs/cgroup/noxen.slice/noxen@1.service";
        let set = host.run(&format!("cat {group}/cpu.weight {group}/cpu.max"));
        assert_eq!(set, "200\n50000 100000\n");
    }

    // A domain that ends takes its unit with it, and what was set of it.
    let gone = |domid: u32| {
        eventually("the unit is gone", || {
            let state = host.property(&format!("noxen@{domid}.service"), "ActiveState");
            (state == "inactive").then_some(())
        });
        let units = host.run("systemctl list-units --all --plain --no-legend 'noxen@*'");
        assert!(!units.contains(&format!("noxen@{domid}.")), "{units}");
        let kept = host.said("ls /run/systemd/system.control").0;
        assert!(!kept.contains(&format!("noxen@{domid}.")), "{kept}");
    };
    host.run("xm create /root/two.cfg cpu_weight=512");
    assert_eq!(host.property("noxen@2.service", "CPUWeight"), "200");
    host.run("xm destroy two");
    gone(2);
    // Stopped as a unit, its guest shuts down in good order.
    host.run("xm create /root/two.cfg && systemctl stop noxen@3.service");
    gone(3);
    assert!(
        host.log()
            .contains("domain two (id=3) has shut down: poweroff"),
        "{}",
        host.log()
    );
    // Killed as a unit, it is gone, and only it.
    host.run("xm create /root/two.cfg && systemctl kill -s KILL noxen@4.service");
    eventually("xend knows that it is gone", || {
        (host.domains() == ["web"]).then_some(())
    });
    gone(4);
    assert_eq!(host.run(members), monitor);
    // Nobody makes a domain that way.
    host.said("systemctl start noxen@77.service");
    let journal = "journalctl --no-pager -u noxen@77.service";
    eventually("the reason in the journal", || {
        let text = host.said(journal).0;
        text.contains("domains are made by xm create").then_some(())
    });
    gone(77);

    // The host goes down: xendomains acts first. The domain is a new one, for the stand-in looks for no new store.
    host.run("sed -i 's/^XENDOMAINS_SAVE=.*/XENDOMAINS_SAVE=/' /etc/default/xendomains");
    host.run("systemctl start xendomains.service && xm destroy web && xm create /root/web.cfg");
    host.said("systemctl --no-block poweroff");
    eventually("the container is down", || host.outer.try_wait().unwrap());
    let log = host.log();
    assert!(
        log.contains("domain web (id=5) has shut down: poweroff"),
        "{log}"
    );
    assert!(!log.contains("domain web (id=5) died"), "{log}");
}

#[test]
fn domain_is_a_scope_where_the_template_is_not_installed() {
    let host = Container::start();
    host.run("rm /etc/systemd/system/noxen@.service && systemctl daemon-reload");
    host.run("systemctl enable --now xenstored.socket xend.socket xend.service");
    host.run("xm create /root/web.cfg");
    assert_eq!(host.property("noxen-1.scope", "Description"), "Domain web");
    let members = "cat /sys/fs/cgroup/noxen.slice/noxen-1.scope/cgroup.procs";
    let monitor = host.run(members);
    assert_eq!(monitor.lines().count(), 1, "{monitor}");
    // The template comes with an upgrade: the domain stays what it is, the next one is a service.
    let template = include_str!("../../../configs/systemd/noxen@.service");
    std::fs::write(host.directory.join("logs/template"), template).unwrap();
    host.run(
        "cp /var/log/xen/template /etc/systemd/system/noxen@.service && systemctl daemon-reload",
    );
    host.run("systemctl restart xend.service && xm sched-credit -d web -w 512");
    assert_eq!(host.property("noxen-1.scope", "CPUWeight"), "200");
    host.run("xm create /root/two.cfg");
    assert_eq!(host.property("noxen@2.service", "ActiveState"), "active");
    assert_eq!(host.run(members), monitor);
    host.run("xm destroy web && xm destroy two");
}
