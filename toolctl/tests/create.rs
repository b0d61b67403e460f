//! `create`: files, dry runs, the order of requests, and what is left after a failure.

mod common;

use common::*;
use noxen_xend_api::{Answer, DomainConfig, Request};

const PLAIN: &str = "kernel = '/boot/k'\nmemory = 64\nextra = 'quiet'\n";

fn builds(request: &Request) -> Answer {
    match request {
        Request::Create { config } => one(domain(&config.name, 3)),
        _ => ok(),
    }
}

fn names(asked: &Asked) -> Vec<String> {
    let word = |request: &Request| {
        let value = serde_json::to_value(request).unwrap();
        value["request"].as_str().unwrap().to_owned()
    };
    asked.lock().unwrap().iter().map(word).collect()
}

fn created(asked: &Asked) -> DomainConfig {
    let asked = asked.lock().unwrap();
    asked
        .iter()
        .find_map(|request| match request {
            Request::Create { config } => Some((**config).clone()),
            _ => None,
        })
        .unwrap()
}

#[test]
fn domain_is_built_connected_and_started() {
    let root = Root::new();
    let asked = serve(&root, builds);
    root.file("web.xm", PLAIN);
    root.run(&["create", "web.xm", "memory=96", "vcpus=2"]).is(
        0,
        "Using config file \"./web.xm\".\nStarted domain web.xm (id=3)\n",
        "",
    );
    assert_eq!(names(&asked), ["create", "wait-for-devices", "unpause"]);
    let config = created(&asked);
    assert_eq!(
        (config.memory, config.vcpus, config.kernel.as_str()),
        (96, 2, "/boot/k")
    );
    assert_eq!(
        (config.name.as_str(), config.extra.as_str()),
        ("web.xm", "quiet")
    );
}

#[test]
fn paused_and_quiet_do_less() {
    let root = Root::new();
    let asked = serve(&root, builds);
    root.file("web.xm", PLAIN);
    root.run(&["create", "-qp", "web.xm", "name=n"])
        .is(0, "", "");
    assert_eq!(names(&asked), ["create", "wait-for-devices"]);
    assert_eq!(created(&asked).name, "n");
}

#[test]
fn config_is_named_by_word_option_or_default_and_searched_along_the_path() {
    let root = Root::new();
    let asked = serve(&root, builds);
    std::fs::create_dir(root.path().join("etc")).unwrap();
    root.file("etc/web", PLAIN);
    root.file("xmdefconfig", PLAIN);
    let etc = root.path().join("etc");
    let path = format!("--path=.:{}", etc.display());
    let ran = root.run(&["create", &path, "web"]);
    assert!(
        ran.out
            .starts_with(&format!("Using config file \"{}/web\".\n", etc.display())),
        "{ran:?}"
    );
    assert_eq!(created(&asked).name, "web");
    assert!(root
        .run(&["create"])
        .out
        .starts_with("Using config file \"./xmdefconfig\".\n"));
    assert!(root
        .run(&["create", "-f", "etc/web", "other"])
        .out
        .starts_with("Using config file \"./etc/web\".\n"));
    let ran = root.run(&["create", "absent"]);
    assert_eq!(
        (ran.err.as_str(), ran.status),
        ("Error: Unable to open config file: absent\n", Some(1))
    );
    assert!(ran.out.starts_with("Usage: xm create "));
}

#[test]
fn dry_run_prints_the_expression_and_needs_no_xend() {
    let root = Root::new();
    root.file("web.xm", PLAIN);
    root.run(&["create", "-n", "web.xm", "name=n"]).is(
        0,
        "Using config file \"./web.xm\".
(vm
    (name n)
    (memory 64)
    (vcpus 1)
    (on_poweroff destroy)
    (on_reboot restart)
    (on_crash restart)
    (on_xend_start ignore)
    (on_xend_stop ignore)
    (image (linux (kernel /boot/k) (args quiet)))
    (s3_integrity 1)
)
",
        "",
    );
    let ran = root.run(&["create", "-n", "--json", "web.xm"]);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["memory"], 64);
}

#[test]
fn expression_file_is_taken_as_it_is() {
    let root = Root::new();
    let asked = serve(&root, builds);
    root.file("web.xm", PLAIN);
    let printed = root.run(&["create", "-qn", "web.xm"]);
    let file = root.file("web.sxp", &printed.out);
    root.run(&["create", "-F", &file, "memory=9999"])
        .is(0, "Started domain web.xm (id=3)\n", "");
    assert_eq!(created(&asked).memory, 64, "variables are ignored");
    let ran = root.run(&["create", "-F", "absent.sxp"]);
    assert_eq!(
        ran.err,
        "Error: Cannot read file absent.sxp: No such file or directory\n"
    );
    root.file("bad.sxp", "(vm (name x)");
    let ran = root.run(&["create", "-F", "bad.sxp"]);
    assert_eq!(
        ran.err,
        "Error: Errors were found at line 1 while processing bad.sxp:\n\t(vm (name x)\n\t^ bad.sxp:1:1: '(' is never closed\n"
    );
}

#[test]
fn mistakes_in_the_file_are_shown_with_a_caret_and_reach_nobody() {
    let root = Root::new();
    let asked = serve(&root, builds);
    for (source, wanted) in [
        (
            "memory = = 3\n",
            "Error: Errors were found at line 1 while processing ./x:\n\tmemory = = 3\n\t         ^ ./x:1:10: expected a value, found '='\n",
        ),
        ("memory = y\n", "Error: name 'y' is not defined\n\tmemory = y\n\t         ^ ./x:1:10\n"),
        (
            "class A: pass\n",
            "Error: ./x:1:1: class definition: not supported yet\n\tclass A: pass\n\t^ ./x:1:1\n",
        ),
        (
            "memmory = 64\n",
            "Error: unknown key 'memmory': did you mean 'memory'? (--lenient goes on without it)\n\tmemmory = 64\n\t^ ./x:1:1\n",
        ),
        ("disk = ['phy:a']\n", "Error: Invalid disk specifier: phy:a\n"),
        ("memory = 'lots'\n", "Error: Invalid Configuration: memory must be a whole number, found 'lots'\n"),
    ] {
        root.file("x", source);
        root.run(&["create", "x"]).is(1, "Using config file \"./x\".\n", wanted);
    }
    root.file("x", PLAIN);
    root.run(&["create", "x", "memory=lots"]).is(
        1,
        "Using config file \"./x\".\n",
        "Error: Invalid value: lots\n",
    );
    assert!(names(&asked).is_empty());
}

#[test]
fn lenient_warns_and_goes_on() {
    let root = Root::new();
    serve(&root, builds);
    root.file("x", "memmory = 64\nkernel = '/k'\n");
    root.run(&["create", "--lenient", "x"]).is(
        0,
        "Using config file \"./x\".\nStarted domain x (id=3)\n",
        "Warning: ./x:1:1: unknown key 'memmory': did you mean 'memory'?; ignored\n",
    );
}

#[test]
fn fault_of_the_build_is_printed_without_usage() {
    let root = Root::new();
    let asked = serve(&root, |_| generic("Kernel image does not exist: /boot/k"));
    root.file("x", PLAIN);
    root.run(&["create", "x"]).is(
        1,
        "Using config file \"./x\".\n",
        "Error: Kernel image does not exist: /boot/k\n",
    );
    assert_eq!(names(&asked), ["create"]);
}

#[test]
fn failure_after_the_build_destroys_the_domain() {
    for failing in ["wait-for-devices", "unpause", "console"] {
        let root = Root::new();
        let asked = serve(&root, move |request| {
            let value = serde_json::to_value(request).unwrap();
            match value["request"].as_str() {
                Some(word) if word == failing => generic("no"),
                _ => builds(request),
            }
        });
        root.file("x", PLAIN);
        let ran = root.run(&["create", "-c", "x"]);
        assert_eq!(ran.status, Some(1), "{failing}: {ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{failing}: {ran:?}");
        assert!(!ran.out.contains("Started"), "{failing}");
        let expected: &[&str] = match failing {
            "wait-for-devices" => &["create", "wait-for-devices", "destroy"],
            "console" => &["create", "wait-for-devices", "console", "destroy"],
            // The stand-in's answer to `console` is none, so `-c` ends there as well.
            _ => &["create", "wait-for-devices", "console", "destroy"],
        };
        assert_eq!(names(&asked), expected, "{failing}");
    }
    let root = Root::new();
    let asked = serve(&root, |request| match request {
        Request::Unpause { .. } => generic("vCPU 0 is stuck"),
        other => builds(other),
    });
    root.file("x", PLAIN);
    let ran = root.run(&["create", "x"]);
    assert_eq!(
        ran.err,
        "Error: Failed to unpause domain x: vCPU 0 is stuck\n"
    );
    assert_eq!(
        names(&asked),
        ["create", "wait-for-devices", "unpause", "destroy"]
    );
}

#[test]
fn program_with_a_checked_variable_computes_its_values() {
    let root = Root::new();
    let asked = serve(&root, builds);
    let file = "def positive(var, val):
    n = int(val)
    if n < 1:
        raise ValueError
    return n
xm_vars.var('vmid', use=\"slot number, 1 or larger\", check=positive)
xm_vars.check()
kernel  = \"/boot/vmlinuz-guest\"
memory  = 96 + 32 * vmid
name    = \"tenant%02d\" % vmid
extra   = \"3\"
print \"slot\", vmid
";
    root.file("tenant.cfg", file);
    root.run(&["create", "tenant.cfg", "vmid=3"]).is(
        0,
        "Using config file \"./tenant.cfg\".\nslot 3\nStarted domain tenant03 (id=3)\n",
        "",
    );
    assert_eq!(created(&asked).memory, 192);
    let ran = root.run(&["create", "tenant.cfg"]);
    assert_eq!(
        ran.err.lines().next(),
        Some("Error: vmid - int() argument must be a string or a number, not 'NoneType'")
    );
    assert_eq!(
        root.run(&["create", "tenant.cfg", "vmid=0"])
            .err
            .lines()
            .next(),
        Some("Error: vmid - ")
    );
}

#[test]
fn help_on_variables_tells_what_a_file_wants_to_be_given() {
    let root = Root::new();
    root.file(
        "vm.cfg",
        "xm_vars.var('vmid', use=\"slot number\")\nxm_vars.check()\nname = 'x' + vmid\n",
    );
    let ran = root.run(&["create", "--help_config", "vm.cfg"]);
    assert_eq!(ran.status, Some(0));
    assert!(ran.out.contains("\n  memory=MIB "), "{}", ran.out);
    assert_eq!(
        ran.err,
        "Configuration variables for ./vm.cfg:\nvmid         slot number\n"
    );
}

#[test]
fn file_that_exits_gives_the_command_its_status() {
    let root = Root::new();
    root.file("x", "import sys\nprint 'no'\nsys.exit(7)\n");
    root.run(&["create", "-q", "x"]).is(7, "no\n", "");
    root.file("x", "import sys\nsys.exit('not here')\n");
    root.run(&["create", "-q", "x"]).is(1, "", "not here\n");
}

#[test]
fn config_check_and_show_say_what_a_file_holds() {
    let root = Root::new();
    root.file(
        "x",
        "kernel = '/k'\nmemory = 2 * 32\ncpu_weight = 512\nvif = ['']\nvhpt = 1\n",
    );
    root.run(&["config", "show", "x"]).is(
        0,
        "cpu_weight = 512\nkernel = '/k'\nmemory = 64\nname = 'x'\nvhpt = 1\nvif = ['']\n",
        "",
    );
    let ran = root.run(&["config", "show", "--json", "x", "memory=7"]);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&value["memory"], &value["vif"]),
        (&serde_json::json!(7), &serde_json::json!([""]))
    );
    root.run(&["config", "check", "x"]).is(
        0,
        "./x: kernel, disks and what this host can give were not looked at, since xend does not run\n./x: vhpt: no effect: for ia64 only\n./x: no errors\n",
        "",
    );
    root.file("bad", "memory = 64\nmemmory = 65\n");
    root.run(&["config", "check", "bad"]).is(
        1,
        "",
        "Error: unknown key 'memmory': did you mean 'memory'? (--lenient goes on without it)\n\tmemmory = 65\n\t^ ./bad:2:1\n",
    );
    assert!(root
        .run(&["config"])
        .err
        .starts_with("Error: say check or show"));
}

#[test]
fn missing_file_prints_usage_without_the_list_of_variables() {
    let ran = Root::new().run(&["create", "absent"]);
    assert!(
        ran.out.starts_with("Usage: xm create ") && !ran.out.contains("memory=MIB"),
        "{}",
        ran.out
    );
}

#[test]
fn xml_dry_run_prints_the_document_of_the_xen_api_mode() {
    let root = Root::new();
    let file = root.file(
        "conf",
        "name = 'a<b'\nkernel = '/k'\nmemory = 64\nvcpus = 2\ncpus = '0'\ncpu_weight = 300\nextra = 'x=\"1\"'\n\
         disk = ['phy:vg0/a,xvda,w', 'file:/b.iso,xvdb:cdrom,r']\nvif = ['mac=00:16:3e:00:00:01,bridge=xenbr0']\n",
    );
    let ran = root.run(&["create", "-x", "--skipdtd", &file]);
    assert_eq!((ran.status, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(ran.out, include_str!("pages/xmldryrun.xml"));
    // A parser of XML's own reads it as it is meant.
    let script = "import sys, xml.etree.ElementTree as e\nx = e.parse(sys.stdin).getroot()\n\
        print(x.find('vm/name/label').text, x.find('vm/pv').get('args'), [d.get('src') for d in x.findall('vdi')])";
    let mut python = std::process::Command::new("python3");
    python.args(["-c", script]);
    python
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut python = python.spawn().unwrap();
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), ran.out.as_bytes()).unwrap();
    let told = python.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(told.stdout).unwrap(),
        "a<b x=\"1\" ['phy:vg0/a', 'file:/b.iso']\n"
    );
    let hvm = root.file("hvm", "name='h'\nbuilder='hvm'\nkernel='/k'\nmemory=64\n");
    let refused = root.run(&["new", "-x", &hvm]);
    assert_eq!(refused.status, Some(1));
    assert!(refused.err.contains("builder"), "{refused:?}");
}
