//! xend as a service: settings, socket activation, scopes, and the limits of its socket.

mod support;

use noxen_xend_api::Request;
use noxen_xenstore::client::Nodes;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{eventually, is_alive, Lab};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The domain `tenant` gets half a processor at most.
fn cap_at_half(lab: &Lab) {
    let change = noxen_xend_api::Change::Credit {
        weight: None,
        cap: Some(50),
    };
    let domain = "tenant".into();
    lab.ask(&Request::Change { domain, change }).unwrap();
}

#[test]
fn settings_with_a_mistake_keep_xend_from_starting_and_name_it() {
    let lab = Lab::new();
    let made = lab.run(lab.config("tenant"));
    lab.settings("(xend-http-server maybe)");
    let said = lab.xend(&["reload"]);
    assert_eq!(said.status.code(), Some(1));
    assert_eq!(
        text(&said.stderr),
        "Exception reloading xend: invalid xend config xend-http-server: expected bool: maybe\n"
    );
    assert_eq!(lab.xend(&["status"]).status.code(), Some(0));
    lab.stop();
    let said = lab.xend(&["start"]);
    assert_eq!(said.status.code(), Some(1));
    assert_eq!(
        text(&said.stderr),
        "Exception starting xend: invalid xend config xend-http-server: expected bool: maybe\n"
    );
    assert_eq!(lab.xend(&["status"]).status.code(), Some(3));
    assert!(is_alive(made.pid.unwrap()));
    lab.settings("(xend-relocation-ssl-server yes)");
    let said = lab.xend(&["start"]);
    assert_eq!(said.status.code(), Some(1));
    let line = "Exception starting xend: xend-relocation-ssl-server: xend-relocation-server-ssl-key-file is not set";
    assert!(text(&said.stderr).starts_with(line), "{said:?}");
    lab.settings("(resource-label-change-script x) (vif-scirpt x)");
    lab.start();
    let log = lab.log();
    let config = lab.paths().xend_config();
    for remark in [
        "resource-label-change-script is set to x, but this version has no access control",
        "vif-scirpt is no setting of xend's and has no effect; is vif-script meant?",
    ] {
        assert!(
            log.contains(&format!("{}: {remark}", config.display())),
            "{log}"
        );
    }
}

#[test]
fn settings_reloaded_move_the_log_and_change_what_new_domains_get() {
    let lab = Lab::new();
    let limit = |domid: u32| {
        let path = format!("/local/domain/{domid}/console/limit");
        lab.store().read(&path).unwrap()
    };
    lab.create(lab.config("one")).unwrap();
    assert_eq!(limit(1), "1048576");
    lab.settings(
        "(logfile /var/log/elsewhere.log) (loglevel INFO) (console-limit 64) (vif-script mine)",
    );
    assert_eq!(lab.xend(&["reload"]).status.code(), Some(0));
    let moved = lab.root().join("var/log/elsewhere.log");
    let log = eventually("the log is elsewhere", || {
        let log = std::fs::read_to_string(&moved).ok()?;
        log.contains("xend reloaded").then_some(log)
    });
    assert!(log.contains("vif-script has changed; that takes effect when xend is restarted"));
    lab.create(lab.config("two")).unwrap();
    assert_eq!(limit(2), "65536");
    lab.destroy("two");
    let log = std::fs::read_to_string(&moved).unwrap();
    assert!(
        log.contains("] INFO (") && !log.contains("] DEBUG ("),
        "{log}"
    );
    let said = lab.command(support::toolctl()).arg("log").output().unwrap();
    assert!(text(&said.stdout).contains("xend reloaded"), "{said:?}");
}

#[test]
fn domain_0_keeps_its_least_memory_whatever_is_asked_for() {
    let lab = Lab::new();
    lab.settings("(dom0-min-mem 100000000)");
    assert_eq!(lab.xend(&["reload"]).status.code(), Some(0));
    let refusal = eventually("the setting counts", || {
        let fault = lab.create(lab.config("tenant"));
        let refusal = fault.err();
        if refusal.is_none() {
            lab.destroy("tenant");
        }
        refusal
    });
    assert!(
        refusal.message.contains("the host has 0 MiB left"),
        "{}",
        refusal.message
    );
}

#[test]
fn network_script_is_run_with_start_when_xend_starts() {
    let lab = Lab::new();
    lab.stop();
    let out = lab.root().join("said");
    lab.script("network-test", &format!("echo \"$@\" >>{}", out.display()));
    lab.settings("(network-script 'network-test netdev=eth7')");
    lab.start();
    assert_eq!(
        std::fs::read_to_string(&out).unwrap(),
        "netdev=eth7 start\n"
    );
    lab.stop();
    assert_eq!(
        std::fs::read_to_string(&out).unwrap(),
        "netdev=eth7 start\n"
    );
    lab.script("network-test", "echo no such device >&2; exit 1");
    lab.start();
    let log = lab.log();
    assert!(
        log.contains("no such device; domains may have no network"),
        "{log}"
    );
}

/// xend as systemd would run it: on a socket that was there before it.
struct Activated<'a> {
    lab: &'a Lab,
    child: Child,
}

impl<'a> Activated<'a> {
    fn new(lab: &'a Lab) -> Activated<'a> {
        let socket = lab.paths().xend_socket();
        // systemd-socket-activate does not remove an old one.
        let _ = std::fs::remove_file(&socket);
        let mut command = lab.command(Path::new("systemd-socket-activate"));
        // It passes on only the variables that are named.
        for variable in [
            "NOXEN_ROOT",
            "NOXEN_VMM",
            "NOXEN_XENSTORED",
            "NOXEN_KVM",
            "NOXEN_TUN",
            "PATH",
        ] {
            command.arg(format!("--setenv={variable}"));
        }
        command.arg(format!("--listen={}", socket.display()));
        command.args([env!("CARGO_BIN_EXE_xend"), "start", "--foreground"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command
            .spawn()
            .expect("systemd-socket-activate (package systemd)");
        eventually("the socket is there", || socket.exists().then_some(()));
        Activated { lab, child }
    }
}

impl Drop for Activated<'_> {
    fn drop(&mut self) {
        let _ = self.lab.xend(&["stop"]);
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(self.lab.paths().xend_socket());
    }
}

#[test]
fn socket_of_systemd_starts_xend_and_outlives_it() {
    let lab = Lab::new();
    let made = lab.run(lab.config("tenant"));
    lab.stop();
    let mut systemd = Activated::new(&lab);
    assert_eq!(lab.xend(&["status"]).status.code(), Some(3));
    // The first question starts it; it waits in the socket until the domains are taken up.
    let found = lab.guest("tenant").unwrap();
    assert_eq!((found.domid, found.pid), (made.domid, made.pid));
    assert_eq!(lab.pid(), systemd.child.id());
    assert_eq!(lab.xend(&["start"]).status.code(), Some(0));
    lab.stop();
    assert!(lab.paths().xend_socket().exists());
    assert!(systemd.child.wait().unwrap().success());
    assert!(is_alive(made.pid.unwrap()));
    drop(systemd);
    lab.start();
    assert_eq!(lab.guest("tenant").unwrap().pid, made.pid);
}

#[test]
fn systemd_is_told_when_xend_is_ready_and_when_it_stops() {
    let lab = Lab::new();
    lab.stop();
    let path = lab.root().join("notify");
    let notify = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    notify
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut xend = lab
        .command(Path::new(env!("CARGO_BIN_EXE_xend")))
        .args(["start", "--foreground"])
        .env("NOTIFY_SOCKET", &path)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let heard = || {
        let mut buffer = [0; 256];
        let n = notify.recv(&mut buffer).unwrap();
        text(&buffer[..n]).trim().to_owned()
    };
    assert_eq!(heard(), "READY=1");
    let made = lab.run(lab.config("tenant"));
    let environment = std::fs::read(format!("/proc/{}/environ", made.pid.unwrap())).unwrap();
    assert!(!text(&environment).contains("NOTIFY_SOCKET"));
    lab.stop();
    assert_eq!(heard(), "STOPPING=1");
    assert!(xend.wait().unwrap().success());
    lab.start();
}

#[test]
fn domain_is_started_in_a_scope_of_its_own_where_systemd_runs() {
    let lab = Lab::new();
    lab.stop();
    let said = lab.root().join("said");
    let program = |name: &str, then: &str| {
        let text = format!(
            "#!/bin/sh\necho \"{name} $*\" >>{}\n{then}\n",
            said.display()
        );
        lab.program(name, &text)
    };
    // What the real one does, but for the unit: the same process becomes the program.
    let run = "while [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\"";
    let directory = program("systemd-run", run);
    program("systemctl", "exit 0");
    let start = lab
        .command(Path::new(env!("CARGO_BIN_EXE_xend")))
        .arg("start")
        .env("NOXEN_SYSTEMD_RUN", directory.join("systemd-run"))
        .output()
        .unwrap();
    assert!(start.status.success(), "{start:?}");
    let mut config = lab.config("tenant");
    config.cpu_weight = Some(512);
    let made = lab.run(config);
    assert!(is_alive(made.pid.unwrap()));
    cap_at_half(&lab);
    let said = std::fs::read_to_string(&said).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with(
            "systemd-run --scope --quiet --collect --unit=noxen-1.scope --slice=noxen.slice \
             --description=Domain tenant --property=Before=xendomains.service --property=CPUWeight=200 --property=CPUQuota= -- /"
        ) && lines[0].contains("xend-fake-monitor --spec-fd "),
        "{said}"
    );
    assert_eq!(
        lines[1],
        "systemctl set-property --runtime noxen-1.scope CPUWeight=200 CPUQuota=50%"
    );
    // The next xend knows it as the same process.
    lab.kill_all_of_xend();
    lab.start();
    assert_eq!(lab.guest("tenant").unwrap().pid, made.pid);
}

#[test]
fn domain_is_started_by_systemctl_where_the_template_is_installed() {
    let lab = Lab::new();
    lab.stop();
    let said = lab.root().join("said");
    let xend = env!("CARGO_BIN_EXE_xend");
    // What systemd does: a process that is no child of xend's and knows nothing but the instance.
    let text = format!(
        "#!/bin/sh\necho \"systemctl $*\" >>{said}\n[ \"$3\" = start ] || exit 0\nid=${{4#noxen@}}\n\
         setsid {xend} run-domain ${{id%.service}} </dev/null >/dev/null 2>>{said} &\n",
        said = said.display()
    );
    let directory = lab.program("systemctl", &text);
    let start = lab
        .command(Path::new(xend))
        .arg("start")
        .env("NOXEN_SYSTEMCTL", directory.join("systemctl"))
        .output()
        .unwrap();
    assert!(start.status.success(), "{start:?}");
    let mut config = lab.config("tenant");
    config.cpu_weight = Some(512);
    let made = lab.run(config);
    let pid = made.pid.unwrap();
    let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(
        arguments.contains("xend-fake-monitor\0--spec-fd\0"),
        "{arguments:?}"
    );
    cap_at_half(&lab);
    let told = "systemctl --no-ask-password --quiet start noxen@1.service\n\
         systemctl set-property --runtime noxen@1.service CPUWeight=200 CPUQuota=\n\
         systemctl set-property --runtime noxen@1.service CPUWeight=200 CPUQuota=50%\n";
    assert_eq!(std::fs::read_to_string(&said).unwrap(), told);
    // The next xend knows it as the same process.
    lab.kill_all_of_xend();
    lab.start();
    assert_eq!(lab.guest("tenant").unwrap().pid, made.pid);
}

#[test]
fn store_is_started_as_its_unit_where_systemd_runs() {
    let lab = Lab::new();
    lab.stop();
    let pid = std::fs::read_to_string(lab.root().join("var/run/xenstore.pid")).unwrap();
    support::kill(pid.trim().parse().unwrap());
    let said = lab.root().join("said");
    let text = format!(
        "#!/bin/sh\necho \"$*\" >>{}\nexec \"$NOXEN_XENSTORED\"\n",
        said.display()
    );
    let directory = lab.program("systemctl", &text);
    let path = std::env::var("PATH").unwrap();
    let start = lab
        .command(Path::new(env!("CARGO_BIN_EXE_xend")))
        .arg("start")
        .env("NOXEN_XENSTORED_UNIT", "xenstored.service")
        .env("PATH", format!("{}:{path}", directory.display()))
        .output()
        .unwrap();
    assert!(start.status.success(), "{start:?}");
    assert_eq!(
        std::fs::read_to_string(&said).unwrap(),
        "start xenstored.service\n"
    );
}

#[test]
fn units_are_such_as_systemd_takes() {
    let lab = Lab::new();
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/systemd");
    let directory = lab.root().join("units");
    std::fs::create_dir_all(&directory).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]);
    for entry in std::fs::read_dir(units).unwrap() {
        let path = entry.unwrap().path();
        // It wants programs that exist.
        let unit = std::fs::read_to_string(&path).unwrap();
        let unit = unit
            .replace("/usr/bin/xenstored", "/bin/true")
            .replace("/usr/bin/xend", "/bin/true")
            .replace("/etc/init.d/xendomains", "/bin/true");
        let copy = directory.join(path.file_name().unwrap());
        std::fs::write(&copy, unit).unwrap();
        verify.arg(copy);
    }
    assert!(verify.get_args().len() > 6);
    let said = verify.output().expect("systemd-analyze (package systemd)");
    assert!(
        said.status.success() && said.stderr.is_empty(),
        "{}",
        text(&said.stderr)
    );
}

#[test]
fn sockets_and_records_are_for_root_only() {
    let lab = Lab::new();
    lab.create(lab.config("tenant")).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let paths = lab.paths();
    assert_eq!(mode(&paths.xend_socket()), 0o600);
    for directory in [
        paths.xend_run_dir(),
        paths.domains_run_dir(),
        paths.domain_run_dir(1),
        paths.running_dir(),
    ] {
        assert_eq!(mode(&directory), 0o700, "{}", directory.display());
    }
    assert_eq!(mode(&paths.running_dir().join("1.json")), 0o600);
    assert_eq!(mode(&paths.xend_log()), 0o640);
}

#[test]
fn connection_129_is_told_to_come_later() {
    let lab = Lab::new();
    let connect = || UnixStream::connect(lab.paths().xend_socket()).unwrap();
    let ping = |stream: &mut UnixStream| {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let _ = stream.write_all(b"{\"request\":\"ping\"}\n");
        let mut line = [0; 256];
        let n = stream.read(&mut line).unwrap();
        text(&line[..n])
    };
    // Each is asked, so that it is known to have its place.
    let mut held: Vec<UnixStream> = (0..128)
        .map(|_| {
            let mut stream = connect();
            assert!(ping(&mut stream).starts_with("{\"ok\""));
            stream
        })
        .collect();
    let refused = ping(&mut connect());
    assert!(
        refused.contains("xend serves 128 connections already; try again later"),
        "{refused}"
    );
    held.pop();
    eventually("a place is free again", || {
        ping(&mut connect()).starts_with("{\"ok\"").then_some(())
    });
}

#[test]
fn log_of_a_domain_over_its_limit_is_set_aside_before_the_next_of_that_name() {
    let lab = Lab::new();
    let path = lab.paths().domain_log_dir().join("tenant.log");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let aside = path.with_extension("log.1");
    std::fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
    lab.create(lab.config("tenant")).unwrap();
    assert!(!aside.exists());
    lab.destroy("tenant");
    // Now it has more than 1 MiB.
    lab.create(lab.config("tenant")).unwrap();
    assert!(std::fs::metadata(&aside).unwrap().len() > 1 << 20);
    let log = std::fs::read_to_string(&path).unwrap();
    assert!(log.starts_with("domain 2 built"), "{log}");
}

#[test]
fn domain_that_is_not_built_in_time_is_taken_apart() {
    let lab = Lab::new();
    lab.stop();
    let said = lab.xend(&["start", "--build-limit", "0.2"]);
    assert!(said.status.success());
    let mut config = lab.config("slow");
    config.kernel = lab.kernel("slow", "wait /nonexistent");
    let refusal = lab.refusal(config);
    assert!(
        refusal.starts_with("noxen-vmm did not build the domain within 0.2 s; see "),
        "{refusal}"
    );
    assert!(lab.traces().is_empty(), "{:?}", lab.traces());
    assert_eq!(noxen_xend::create::BUILD, Duration::from_secs(120));
}
