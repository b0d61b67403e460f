//! Help pages, mistakes and exit statuses.

mod common;

use common::*;
use noxen_xend_api::Request;
use std::os::unix::fs::PermissionsExt;

const SHORT: &str = include_str!("pages/short.txt");
const LONG: &str = include_str!("pages/long.txt");
const GROUPED: &str = include_str!("pages/grouped.txt");

#[test]
fn bare_command_prints_the_short_page_and_fails() {
    Root::new().run(&[]).is(1, SHORT, "");
}

#[test]
fn help_pages_have_their_statuses() {
    let root = Root::new();
    root.run(&["-h"]).is(0, LONG, "");
    root.run(&["--help"]).is(0, LONG, "");
    root.run(&["help"]).is(0, LONG, "");
    root.run(&["help", "nonsense", "more"]).is(0, LONG, "");
    root.run(&["help", "--long"]).is(0, GROUPED, "");
    let pause = "Usage: xm pause <Domain>\n\nPause execution of a domain.\n\n";
    root.run(&["help", "pause"]).is(0, pause, "");
    root.run(&["pause", "--help"]).is(1, pause, "");
    root.run(&["pause", "x", "-h"]).is(1, pause, "");
    root.run(&["nonsense", "-h"]).is(1, SHORT, "");
    let attach = root.run(&["help", "block-attach"]).out;
    assert!(attach.contains("phy:DEVICE, file:FILE"), "{attach}");
    let behind_an_error = root.run(&["block-attach"]).out;
    assert!(!behind_an_error.contains("phy:DEVICE"), "{behind_an_error}");
    root.run(&["shutdown", "-h"]).is(
        1,
        "Usage: xm shutdown <Domain> [-waRH]

Shutdown a domain.

  -w, --wait                     Wait for the domain to complete shutdown   
                                 before exiting.
  -a, --all                      Shutdown all guest domains.                
  -R, --reboot                   Ask for a reboot instead.                  
  -H, --halt                     Ask the guest to halt without powering off.

The guest is asked and may take its time or ignore it. With --wait the command
returns when the domain is gone, or has shut down and is kept by on_poweroff.

",
        "",
    );
}

#[test]
fn create_help_lists_options_and_variables() {
    let root = Root::new();
    let page = root.run(&["create", "-h"]);
    assert_eq!(page.status, Some(1));
    assert!(page.out.contains("  -n, --dryrun "), "{}", page.out);
    let variables = root.run(&["create", "--help_config"]);
    assert_eq!(variables.status, Some(0));
    assert!(page.out.ends_with(&variables.out));
    assert!(!variables.out.contains("--dryrun"));
}

#[test]
fn unknown_subcommand_is_named_before_the_short_page() {
    let root = Root::new();
    root.run(&["frob"])
        .is(1, SHORT, "Error: Subcommand frob not found!\n");
    // "re" is the beginning of several, "u" too short.
    root.run(&["re", "x"])
        .is(1, SHORT, "Error: Subcommand re not found!\n");
    root.run(&["u", "x"])
        .is(1, SHORT, "Error: Subcommand u not found!\n");
}

#[test]
fn unique_prefix_runs_the_command() {
    let root = Root::new();
    let asked = serve(&root, |_| ok());
    root.run(&["unp", "a"]).is(0, "", "");
    assert_eq!(
        asked.lock().unwrap().as_slice(),
        [Request::Unpause { domain: "a".into() }]
    );
}

#[test]
fn wrong_number_of_words_prints_usage() {
    let page = "Usage: xm domid <DomainName>\n\nConvert a domain name to domain id.\n\n";
    let root = Root::new();
    root.run(&["domid"])
        .is(1, page, "Error: 'xm domid' requires 1 argument.\n\n");
    root.run(&["domid", "a", "b"])
        .is(1, page, "Error: 'xm domid' requires 1 argument.\n\n");
    let ran = root.run(&["log", "x"]);
    assert_eq!(ran.err, "Error: 'xm log' requires 0 arguments.\n\n");
}

#[test]
fn wrong_option_prints_getopts_words_usage_and_an_empty_line() {
    let page = "Usage: xm domid <DomainName>\n\nConvert a domain name to domain id.\n\n\n";
    let root = Root::new();
    root.run(&["domid", "-z"])
        .is(1, page, "Error: option -z not recognized\n");
    root.run(&["domid", "--foo"])
        .is(1, page, "Error: option --foo not recognized\n");
    let ran = root.run(&["list", "--state"]);
    assert_eq!(ran.err, "Error: option --state requires argument\n");
    let ran = root.run(&["list", "--long=x"]);
    assert_eq!(ran.err, "Error: option --long must not have an argument\n");
}

#[test]
fn old_names_lead_to_new_ones_even_of_what_is_not_built() {
    let ran = Root::new().run(&["pool-start", "Pool-0"]);
    assert_eq!(ran.status, Some(1));
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(
        lines.first(),
        Some(&"Command pool-start is deprecated.  Please use xm cpupool-start instead.")
    );
    assert!(
        lines[1].starts_with("Error: 'xm cpupool-start' is not built yet: "),
        "{ran:?}"
    );
}

#[test]
fn fault_prints_usage_except_for_an_unknown_domain() {
    let root = Root::new();
    serve(&root, |request| match request {
        Request::Pause { domain } if domain == "0" => generic("Cannot pause privileged domain 0"),
        Request::Pause { domain } => no_such(domain),
        _ => ok(),
    });
    root.run(&["pause", "0"]).is(
        1,
        "Usage: xm pause <Domain>\n\nPause execution of a domain.\n\n",
        "Error: Cannot pause privileged domain 0\n",
    );
    root.run(&["pause", "x"])
        .is(3, "", "Error: Domain 'x' does not exist.\n");
    root.run(&["destroy", "x"]).is(0, "", "");
    let ran = root.run(&["reset", "x"]);
    assert!(
        ran.err
            .starts_with("Error: xend answered a request with something else"),
        "{ran:?}"
    );
}

#[test]
fn missing_xend_that_cannot_be_started_is_one_line() {
    let root = Root::new();
    let ran = root.run(&["list"]);
    assert_eq!(ran.status, Some(1));
    assert_eq!(ran.out, "");
    if rustix::process::geteuid().is_root() {
        assert_eq!(
            ran.err,
            "Error: Unable to connect to xend: /nonexistent/xend: No such file or directory. Is xend running?\n"
        );
    } else {
        assert_eq!(
            ran.err,
            "Error: Most commands need root access. Please try again as root.\n"
        );
    }
}

#[test]
fn missing_xend_is_started_on_demand() {
    let root = Root::new();
    // The stand-in asks the test to open the socket and returns once it is there, as `xend start` does.
    let script = root.file(
        "xend",
        "#!/bin/sh\n[ \"$1\" = start ] || exit 9\n: >\"$NOXEN_ROOT/started\"\n\
         while [ ! -S \"$NOXEN_ROOT/var/run/xend/noxen.sock\" ]; do sleep 0.02; done\n",
    );
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = root
        .toolctl()
        .env("NOXEN_XEND", &script)
        .arg("list")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let started = root.path().join("started");
    while !started.exists() {
        assert_eq!(child.try_wait().unwrap(), None, "toolctl gave up");
        std::thread::yield_now();
    }
    serve(&root, |_| domains(vec![]));
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.status, Some(0), "{ran:?}");
}

#[test]
fn garbage_from_xend_is_one_line() {
    use std::io::{Read, Write};
    let root = Root::new();
    let listener =
        std::os::unix::net::UnixListener::bind(root.path().join("var/run/xend/noxen.sock"))
            .unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 512]);
        let _ = stream.write_all(b"HTTP/1.1 400\n");
    });
    let ran = root.run(&["list"]);
    assert_eq!(ran.status, Some(1));
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    assert!(
        ran.err.starts_with("Error: xend answered \"HTTP/1.1 400"),
        "{}",
        ran.err
    );
}

#[test]
fn generated_files_are_written() {
    let root = Root::new();
    let dir = root.path().join("out");
    root.run(&["gen", "man", "--dir", dir.to_str().unwrap()])
        .is(0, "", "");
    root.run(&["gen", "completion", "--dir", dir.to_str().unwrap()])
        .is(0, "", "");
    for file in ["xm.1", "xmdomain.cfg.5", "xm.bash", "_xm", "xm.fish"] {
        assert!(
            std::fs::metadata(dir.join(file)).unwrap().len() > 500,
            "{file}"
        );
    }
    let ran = root.run(&["gen", "completion", "tcsh"]);
    assert_eq!(
        ran.err,
        "Error: no completion for 'tcsh'; it is bash, zsh or fish\n"
    );
}
