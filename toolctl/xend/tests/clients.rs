//! Debian's programs that run `xm`, `xl` or `xen`, or speak the Xen-API, unmodified, against a node with stand-in monitors.
//!
//! ```text
//!   target/assets/clients (packages unpacked) -- PATH with xm, xl, xen --> toolctl --> xend --> stand-in monitors
//!                                              \-- 127.0.0.1:PORT, Xen-API --------/
//! ```
//! docs/compatibility.md has the table of what is run here.

mod support;

#[path = "support/moving.rs"]
mod moving;

use noxen_xend_api::Request;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::{asset, eventually, free_port, toolctl, Lab};

/// The tree that `cargo xtask assets` unpacked.
fn tree() -> PathBuf {
    asset("clients")
}

/// A node on which toolctl goes by `names`.
fn node(names: &[&str]) -> Lab {
    let lab = Lab::new();
    let bin = lab.root().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    for name in names {
        symlink(toolctl(), bin.join(name)).unwrap();
    }
    lab
}

/// `program` with the node's commands on its path and the unpacked Python modules.
fn client(lab: &Lab, program: &Path) -> Command {
    let tree = tree();
    let path = std::env::var("PATH").unwrap_or_default();
    let modules = [
        "usr/share/ganeti/3.0",
        "usr/share/fence",
        "usr/lib/python3/dist-packages",
    ]
    .map(|module| tree.join(module).display().to_string());
    let mut command = lab.command(program);
    command
        .env(
            "PATH",
            format!("{}:{path}", lab.root().join("bin").display()),
        )
        .env("PYTHONPATH", modules.join(":"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NOXEN_VMM", env!("CARGO_BIN_EXE_xend-fake-monitor"));
    command
}

/// Standard output of a run that must end well.
#[track_caller]
fn said(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {text}{errors}", output.status);
    text
}

/// A config file of a domain of 64 MiB.
fn config_file(lab: &Lab, name: &str) -> PathBuf {
    let path = lab.root().join(format!("{name}.cfg"));
    let kernel = lab.root().join("kernel-ok");
    let text = format!(
        "name = \"{name}\"\nkernel = \"{}\"\nmemory = 64\n",
        kernel.display()
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Ganeti's own hypervisor class for Xen PV, every method that it drives an instance by.
const GANETI: &str = r#"
import os, sys
from ganeti import constants, errors, objects
from ganeti.hypervisor import hv_xen

lab = sys.argv[1]
params = dict(constants.HVC_DEFAULTS[constants.HT_XEN_PVM])
assert params[constants.HV_XEN_CMD] == "xm"
params[constants.HV_KERNEL_PATH] = lab + "/kernel-ok"
params[constants.HV_CPU_MASK] = "0"
instance = objects.Instance(
    name="web1.example.org", nics=[], disks=[], hypervisor=constants.HT_XEN_PVM, hvparams=params,
    beparams={constants.BE_MAXMEM: 64, constants.BE_MINMEM: 64, constants.BE_VCPUS: 2})
os.makedirs(lab + "/ganeti")
class Hypervisor(hv_xen.XenPvmHypervisor):
    # Where files go and how often is asked; nothing else.
    REBOOT_RETRY_INTERVAL = 1
    _EnsureDirs = classmethod(lambda *a, **k: None)
xen = Hypervisor(_cfgdir=lab + "/ganeti")
print("verify:", xen.Verify(hvparams=params))
node = xen.GetNodeInfo(hvparams=params)
print("node:", node["cpu_total"] > 0, node["memory_total"] > node["memory_free"] > 0, node["hv_version"])
xen.StartInstance(instance, [], False)
print("list:", xen.ListInstances(hvparams=params))
before = xen.GetInstanceInfo(instance.name, hvparams=params)
print("info:", before[0], before[2:5])
xen.BalloonInstanceMemory(instance, 48)
xen.RebootInstance(instance)
after = xen.GetInstanceInfo(instance.name, hvparams=params)
print("rebooted:", after[1] > before[1], after[4])
try:
    xen.MigrateInstance("cluster", instance, "127.0.0.1", True)
except errors.HypervisorError as error:
    print("migration refused:", "not listening" in str(error))
xen.StopInstance(instance)
print("stopped:", xen.ListInstances(hvparams=params))
xen.StartInstance(instance, [], True)
print("paused:", xen.GetInstanceInfo(instance.name, hvparams=params)[4])
xen.StopInstance(instance, force=True)
print("destroyed:", xen.ListInstances(hvparams=params))
xen.StartInstance(instance, [], False)
params[constants.HV_MIGRATION_PORT] = int(sys.argv[2])
xen.MigrateInstance("cluster", instance, "127.0.0.1", True)
xen.FinalizeMigrationSource(instance, True, True)
print("migrated:", xen.ListInstances(hvparams=params), os.path.exists(lab + "/ganeti/web1.example.org"))
"#;

#[test]
fn ganeti_starts_balloons_reboots_moves_and_stops_an_instance_through_xm() {
    let lab = node(&["xm"]);
    let (there, port) = moving::target("^localhost$");
    let out = said(
        client(&lab, Path::new("python3"))
            .args(["-c", GANETI])
            .arg(lab.root())
            .arg(port.to_string())
            .output()
            .unwrap(),
    );
    assert_eq!(
        out,
        "verify: None\nnode: True True (4, 17)\nlist: ['web1.example.org']\ninfo: web1.example.org [64, 2, 0]\n\
         rebooted: True 0\nmigration refused: True\nstopped: []\npaused: 0\ndestroyed: []\n\
         migrated: [] False\n"
    );
    assert!(lab.guests().is_empty());
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
    let moved = there.guest("web1.example.org").unwrap();
    assert_eq!((moved.memory_mib, moved.vcpus), (64, 2));
}

/// `ocf:heartbeat:Xen ACTION`, which moves to `target`; its status.
fn ocf(lab: &Lab, file: &Path, action: &str, target: &str) -> i32 {
    let root = tree().join("usr/lib/ocf");
    let output = client(lab, &root.join("resource.d/heartbeat/Xen"))
        .arg(action)
        .env("OCF_ROOT", &root)
        .env("HA_RSCTMP", lab.root().join("rsctmp"))
        .env("OCF_RESOURCE_INSTANCE", "web")
        .env("OCF_RESOURCE_TYPE", "Xen")
        .env("OCF_RESKEY_xmfile", file)
        .env("OCF_RESKEY_CRM_meta_timeout", "20000")
        // A monitor action without an interval is a probe, which does not try again for five seconds.
        .env("OCF_RESKEY_CRM_meta_interval", "0")
        .env("OCF_RESKEY_CRM_meta_migrate_target", target)
        .output()
        .unwrap();
    output.status.code().unwrap()
}

/// The actions of a cluster, as either tool; `names` are those that the node has.
fn pacemaker(names: &[&str]) {
    const OK: i32 = 0;
    const GENERIC: i32 = 1;
    const NOT_INSTALLED: i32 = 5;
    const NOT_RUNNING: i32 = 7;
    let lab = node(names);
    // The agent names no port: it is the one at which this cluster's hosts take domains in.
    let (there, port) = moving::target("^localhost$");
    lab.stop();
    lab.settings(&format!("(xend-relocation-port {port})"));
    lab.start();
    let file = config_file(&lab, "web");
    let ocf = |action: &str| ocf(&lab, &file, action, "host.invalid");
    for (action, status) in [
        ("validate-all", OK),
        ("monitor", NOT_RUNNING),
        ("start", OK),
        ("start", OK),
        ("monitor", OK),
        ("migrate_to", GENERIC),
        ("monitor", OK),
        ("stop", OK),
        ("monitor", NOT_RUNNING),
    ] {
        assert_eq!(ocf(action), status, "{action} with {names:?}");
    }
    assert_eq!(ocf("start"), OK);
    assert_eq!(
        self::ocf(&lab, &file, "migrate_to", "127.0.0.1"),
        OK,
        "{names:?}"
    );
    assert_eq!(ocf("monitor"), NOT_RUNNING, "{names:?}");
    eventually("it runs over there", || there.guest("web").map(|_| ()));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ocf("start"), NOT_INSTALLED, "{names:?}");
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
}

#[test]
fn pacemakers_agent_validates_starts_monitors_moves_and_stops_a_domain_as_xm() {
    pacemaker(&["xm"]);
}

#[test]
fn pacemakers_agent_validates_starts_monitors_moves_and_stops_a_domain_as_xl() {
    pacemaker(&["xm", "xl"]);
}

#[test]
fn config_that_xen_tools_writes_is_created() {
    let lab = node(&["xm"]);
    let tree = tree();
    let images = lab.root().join("domains/guest1");
    std::fs::create_dir_all(&images).unwrap();
    for image in ["disk.img", "swap.img"] {
        std::fs::write(images.join(image), [0; 4096]).unwrap();
    }
    // As xen-create-image hands a partition on.
    let partition =
        |text: &str, image: &str| format!("{text}:file::{}", images.join(image).display());
    let written = client(&lab, Path::new("perl"))
        .arg("-I")
        .arg(tree.join("usr/share/perl5"))
        .arg(tree.join("usr/bin/xt-create-xen-config"))
        .arg("--output")
        .arg(lab.root())
        .arg("--template")
        .arg(tree.join("etc/xen-tools/xm.tmpl"))
        .env("hostname", "guest1")
        .env("memory", "64Mb")
        .env("maxmem", "128Mb")
        .env("vcpus", "2")
        .env("kernel", lab.root().join("kernel-ok"))
        .env("dir", lab.root())
        .env("disk_device", "xvda")
        .env("serial_device", "hvc0")
        .env("NUMPARTITIONS", "2")
        .env("PARTITION1", partition("swap:128Mb:swap::", "swap.img"))
        .env(
            "PARTITION2",
            partition("disk:4Gb:ext4:/:noatime", "disk.img"),
        )
        .output()
        .unwrap();
    said(written);
    let file = lab.root().join("guest1.cfg");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("created\n# by xen-tools 4.9.2"), "{text}");
    let dry = said(
        client(&lab, &lab.root().join("bin/xm"))
            .args(["create", "--dryrun", "--quiet"])
            .arg(&file)
            .output()
            .unwrap(),
    );
    for part in [
        "(name guest1)",
        "(memory 64)",
        "(maxmem 128)",
        "(vcpus 2)",
        "xvda2",
        "disk.img",
    ] {
        assert!(dry.contains(part), "{part}: {dry}\n{text}");
    }
}

/// Runs the script under Debian's paths: /usr/lib/xen-common and the defaults laid over the host's, and a /proc/xen/privcmd. (/proc itself
/// cannot have a file added, so what the programs read of it is linked into a file system that looks like it.)
const XENDOMAINS: &str = r#"
set -e
tree=$1; lab=$2; verb=$3
mkdir -p "$lab/proc"
mount --rbind /proc "$lab/proc"
mount -t tmpfs none /proc
mkdir /proc/xen && : >/proc/xen/privcmd
for entry in self thread-self mounts meminfo stat cpuinfo uptime sys filesystems; do ln -s "$lab/proc/$entry" /proc/; done
mkdir -p /usr/lib/xen-common && mount --bind "$tree/usr/lib/xen-common" /usr/lib/xen-common
: >>/etc/default/xendomains && mount --bind "$lab/default" /etc/default/xendomains
exec "$tree/etc/init.d/xendomains" "$verb"
"#;

fn xendomains(lab: &Lab, verb: &str) -> String {
    let mut command = client(lab, Path::new("unshare"));
    command
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            XENDOMAINS,
            "sh",
        ])
        .arg(tree())
        .arg(lab.root())
        .arg(verb);
    said(command.output().unwrap())
}

#[test]
fn debians_xendomains_script_starts_the_domains_of_auto_saves_and_restores_them() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: mounting needs root");
        return;
    }
    let lab = node(&["xen"]);
    let auto = lab.root().join("auto");
    std::fs::create_dir_all(&auto).unwrap();
    for name in ["db", "web"] {
        symlink(config_file(&lab, name), auto.join(name)).unwrap();
    }
    let settings = format!(
        "XENDOMAINS_AUTO={}\nXENDOMAINS_SAVE={}\nXENDOMAINS_RESTORE=true\nXENDOMAINS_STOP_MAXWAIT=20\n",
        auto.display(),
        lab.root().join("save").display()
    );
    std::fs::write(lab.root().join("default"), settings).unwrap();
    let out = xendomains(&lab, "start");
    assert!(out.contains("Starting Xen domain db (from "), "{out}");
    let mut names: Vec<String> = lab.guests().into_iter().map(|guest| guest.name).collect();
    names.sort();
    assert_eq!(names, ["db", "web"], "{out}");
    let out = xendomains(&lab, "start");
    assert!(out.contains("Xen domain web already running"), "{out}");
    let out = xendomains(&lab, "stop");
    assert!(out.contains("Saving Xen domain db ("), "{out}");
    assert!(lab.guests().is_empty(), "{out}");
    let out = xendomains(&lab, "start");
    assert!(out.contains("Restoring Xen domain"), "{out}");
    let mut names: Vec<String> = lab.guests().into_iter().map(|guest| guest.name).collect();
    names.sort();
    assert_eq!(names, ["db", "web"], "{out}");
}

#[test]
fn fence_xenapi_lists_powers_on_and_powers_off_a_managed_domain() {
    let lab = Lab::new();
    lab.stop();
    let port = free_port();
    lab.settings(&format!(
        "(xen-api-server ((127.0.0.1:{port} none '^localhost$')))"
    ));
    lab.start();
    let config = Box::new(lab.config("fenced"));
    lab.ask(&Request::New { config }).unwrap();
    let fence = |action: &str| {
        let output = client(&lab, Path::new("python3"))
            .arg(tree().join("usr/sbin/fence_xenapi"))
            .args([
                "-s",
                &format!("http://127.0.0.1:{port}"),
                "-l",
                "root",
                "-p",
                "x",
            ])
            .args(["-n", "fenced", "-o", action])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.code().unwrap(), text)
    };
    let (status, list) = fence("list");
    assert!(status == 0 && list.ends_with(",fenced"), "{list}");
    for (action, status, text) in [
        ("status", 2, "Status: OFF"),
        ("on", 0, "Success: Powered ON"),
        ("status", 0, "Status: ON"),
        ("off", 0, "Success: Powered OFF"),
        ("status", 2, "Status: OFF"),
    ] {
        assert_eq!(fence(action), (status, text.into()), "{action}");
    }
}

/// What Debian's bash completion for xl and sosreport's plugin read.
#[test]
fn completion_and_sosreport_get_what_they_read() {
    let lab = node(&["xm", "xl"]);
    lab.run(lab.config("web"));
    let shell = |line: &str| {
        said(
            client(&lab, Path::new("sh"))
                .args(["-ec", line])
                .output()
                .unwrap(),
        )
    };
    let commands = shell("xl help 2>/dev/null | sed '1,4d' | awk '/^ [^ ]/ {print $1}'");
    for command in ["list", "create", "migrate"] {
        assert!(commands.lines().any(|line| line == command), "{commands}");
    }
    let text = shell("xm dmesg; xm info; xm list; xm list --long");
    assert!(
        text.contains("(name web)") && text.contains("total_memory"),
        "{text}"
    );
}
