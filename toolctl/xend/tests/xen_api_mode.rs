//! `xm` in its Xen-API mode, against xend's own Xen-API: on the unix socket, and by TLS with a certificate of one's own.

mod support;

use noxen_xend_api::{Request, Response};
use std::path::Path;
use std::process::Output;
use support::{certificate, free_port, toolctl, Lab};

/// A node whose xm is told by `/etc/xen/xm-config.xml` whom to talk to.
struct Mode(Lab);

impl Mode {
    fn new(lab: Lab, server: &str) -> Mode {
        let etc = lab.root().join("etc/xen");
        std::fs::create_dir_all(&etc).unwrap();
        let text = format!("<xm><server type='Xen-API' {server}/></xm>\n");
        std::fs::write(etc.join("xm-config.xml"), text).unwrap();
        Mode(lab)
    }

    fn output(&self, args: &[&str]) -> Output {
        self.0.command(toolctl()).args(args).output().unwrap()
    }

    /// What a command that succeeds prints.
    #[track_caller]
    fn xm(&self, args: &str) -> String {
        let words: Vec<&str> = args.split(' ').collect();
        let out = self.output(&words);
        let error = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(
            (out.status.code(), error.as_str()),
            (Some(0), ""),
            "xm {args}"
        );
        String::from_utf8(out.stdout).unwrap()
    }

    /// The line of one that does not.
    #[track_caller]
    fn refusal(&self, args: &str) -> String {
        let words: Vec<&str> = args.split(' ').collect();
        let out = self.output(&words);
        assert_eq!(out.status.code(), Some(1), "xm {args}");
        let text = String::from_utf8(out.stderr).unwrap();
        text.lines().next().unwrap_or_default().to_owned()
    }

    /// Columns of `xm list`.
    #[track_caller]
    fn row(&self, domain: &str) -> Vec<String> {
        let text = self.xm(&format!("list {domain}"));
        let row = text.lines().nth(1).unwrap();
        row.split_whitespace().map(str::to_owned).collect()
    }
}

#[test]
fn domain_is_created_changed_suspended_and_deleted_by_the_xen_api() {
    let lab = Lab::new();
    lab.script("block", "say hotplug-status connected");
    let image = lab.image("disk.img", "data");
    let (kernel, directory) = (lab.config("x").kernel, lab.root().display().to_string());
    let xm = Mode::new(lab, "username='root'");
    let file = format!("{directory}/web1");
    let text = format!("kernel = '{kernel}'\nmemory = 64\nvcpus = 2\nroot = '/dev/xvda ro'\ndisk = ['file:{image},xvda,w']\n");
    std::fs::write(&file, text).unwrap();
    let out = xm.xm(&format!("create {file} name=web1"));
    assert_eq!(
        out,
        format!("Using config file \"{file}\".\nStarted domain web1 (id=1)\n")
    );
    assert_eq!(xm.row("web1")[1..4], ["1", "64", "2"]);
    let info = xm.0.guest("web1").unwrap();
    assert!(info.state.letters() != "--p---", "{info:?}");

    xm.xm("pause web1");
    assert_eq!(xm.row("1")[4], "--p---");
    xm.xm("unpause 1");
    xm.xm("mem-set web1 48");
    xm.xm("vcpu-pin web1 0 0");
    assert!(xm
        .xm("vcpu-list web1")
        .lines()
        .nth(1)
        .unwrap()
        .ends_with(" 0"));
    xm.xm("rename web1 web2");
    assert_eq!(xm.xm("domid web2"), "1\n");
    assert_eq!(xm.xm("domname 1"), "web2\n");
    xm.xm(&format!("new {file} name=net vif=mac=00:16:3e:00:00:09"));
    let vifs = xm.xm("network-list net --json");
    assert!(vifs.contains("00:16:3e:00:00:09"), "{vifs}");
    xm.xm("delete net");
    // A whole PC, with what it says of itself.
    let pc = format!("{directory}/pc");
    let text = "builder = 'hvm'\nkernel = 'hvmloader'\nmemory = 64\nboot = 'dc'\nserial = 'pty'\nstdvga = 1\nlocaltime = 1\nvncdisplay = 7\n\
        hpet = 1\nusbdevice = 'tablet'\ncpuid = ['1:ecx=0x0,edx=0x1']\n";
    std::fs::write(&pc, text).unwrap();
    xm.xm(&format!("new {pc}"));
    let Response::Config { config } =
        xm.0.ask(&Request::Config {
            domain: "pc".into(),
        })
        .unwrap()
    else {
        panic!()
    };
    assert!(config.is_hvm() && config.hvm.stdvga && config.localtime && config.hvm.hpet);
    assert_eq!(config.hvm.usbdevice, ["tablet"]);
    assert_eq!(config.hvm.cpuid, ["1:ecx=0x0,edx=0x1"]);
    assert_eq!(
        (config.hvm.boot.as_str(), config.hvm.serial.as_str()),
        ("dc", "pty")
    );
    assert!(
        config.vfb.concat().contains("vncdisplay=7"),
        "{:?}",
        config.vfb
    );
    assert!(xm.xm("list -l pc").contains("(order dc)"));
    xm.xm("delete pc");
    let refusal = xm.refusal(&format!("new {pc} soundhw=all"));
    assert!(
        refusal.contains("no attribute of a VM has soundhw"),
        "{refusal}"
    );
    let second = xm.0.image("second.img", "more");
    xm.xm(&format!("block-attach web2 file:{second} xvdb r"));
    let disks = xm.xm("block-list web2");
    assert!(
        disks.contains("51712") && disks.contains("51728"),
        "{disks}"
    );
    xm.xm("block-detach web2 xvdb");
    assert!(xm.xm("info").contains("xen_major              : "));
    assert!(xm.xm("list -l web2").contains("(power_state Running)"));
    assert!(xm.xm("log").contains("web2"));
    xm.xm("dmesg");
    xm.xm("uptime web2");

    // It is managed: it stays when it halts.
    xm.xm("suspend web2");
    assert_eq!(xm.row("web2")[1..5], ["-1", "48", "2", "------"]);
    assert!(xm.xm("list --state=suspended").contains("web2"));
    xm.xm("resume web2");
    xm.xm("shutdown -w web2");
    assert_eq!(xm.row("web2")[4], "------");
    assert_eq!(
        xm.refusal("pause web2"),
        "Error: the domain is halted; this is done to one that is running"
    );
    xm.xm("mem-set web2 40");
    xm.xm("start web2");
    assert_eq!(xm.row("web2")[2], "40");
    xm.xm("destroy web2");
    xm.xm("delete web2");
    assert_eq!(xm.refusal("domid web2"), "Error: Domain 'web2' not found.");
    assert!(xm.0.guests().is_empty());

    // One that cannot be built leaves nothing.
    let refusal = xm.refusal(&format!("create {file} name=bad kernel=/nonexistent"));
    assert!(refusal.contains("/nonexistent"), "{refusal}");
    assert!(xm.0.guest("bad").is_none());
    for (command, words) in [
        (
            "sched-sedf web2",
            "Error: This function is not supported by Xen-API",
        ),
        (
            "top -b -i 1",
            "Error: This function is not supported by Xen-API",
        ),
        (
            "info -c",
            "Error: This function is not supported by Xen-API",
        ),
        (
            &format!("create {file} name=c vif=ip=10.0.0.1") as &str,
            "Error: This function is not supported by Xen-API: no attribute of a VIF has ip",
        ),
    ] {
        assert_eq!(xm.refusal(command), words, "{command}");
    }
    assert!(xm.0.guest("c").is_none());
    assert!(xm
        .xm("network-show")
        .starts_with("Name                 VIFs "));
    let networks: serde_json::Value = serde_json::from_str(&xm.xm("network-show --json")).unwrap();
    let page = include_str!("../../../docs/json.md");
    let (_, part) = page.split_once("\n## network-show\n").unwrap();
    let part = part.split("\n## ").next().unwrap();
    for network in networks.as_array().unwrap() {
        for (name, value) in network.as_object().unwrap() {
            let list = if value.is_array() { "[]" } else { "" };
            assert!(
                part.contains(&format!("| `[].{name}{list}` | text |")),
                "{name}"
            );
        }
    }
    assert!(xm.refusal("network-new br7").contains("ip link"));
}

#[test]
fn tls_server_is_believed_by_its_certificate_only() {
    let lab = Lab::new();
    lab.stop();
    let (key, cert) = certificate(lab.root());
    let port = free_port();
    lab.settings(&format!(
        "(xen-api-server ((127.0.0.1:{port} none '^localhost$' {} {})))\n",
        key.display(),
        cert.display()
    ));
    lab.start();
    let uri = format!("uri='https://localhost:{port}/'");
    let xm = Mode::new(lab, &format!("{uri} certificate='{}'", cert.display()));
    assert_eq!(xm.row("Domain-0")[1], "0");
    let away = xm.refusal("console Domain-0");
    assert!(away.contains(&format!("localhost:{port}")), "{away}");
    let Mode(lab) = xm;
    let xm = Mode::new(lab, &uri);
    let refusal = xm.refusal("list");
    assert!(refusal.contains("invalid peer certificate"), "{refusal}");
    let Mode(lab) = xm;
    let xm = Mode::new(lab, &format!("uri='http://localhost:{port}/'"));
    assert!(xm.refusal("list").starts_with("Error: "), "in the clear");
    let broken = Path::new("etc/xen/xm-config.xml");
    std::fs::write(xm.0.root().join(broken), "<xm").unwrap();
    let out = xm.output(&["domid", "0"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        said.starts_with("Ignoring invalid configuration file ") && out.status.success(),
        "{said}"
    );
}
