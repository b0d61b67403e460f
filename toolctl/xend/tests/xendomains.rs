//! `xendomains`: domains that come and go with the host.

mod support;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{eventually, toolctl, Lab};

fn script(name: &str) -> PathBuf {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/init.d");
    configs.join(name)
}

/// A node with `xendomains`, whose settings are the installed ones and then `settings`.
struct Host {
    lab: Lab,
}

impl Host {
    fn new(settings: &str) -> Host {
        let lab = Lab::new();
        std::fs::create_dir_all(lab.root().join("bin")).unwrap();
        symlink(toolctl(), lab.root().join("bin/xm")).unwrap();
        let auto = lab.root().join("etc/xen/auto");
        std::fs::create_dir_all(auto).unwrap();
        let installed = script("../default/xendomains");
        let text = std::fs::read_to_string(installed).unwrap();
        let default = lab.root().join("etc/default");
        std::fs::create_dir_all(&default).unwrap();
        let own = format!("{text}\nXENDOMAINS_CREATE_USLEEP=0\nXENDOMAINS_USLEEP=0\n{settings}\n");
        std::fs::write(default.join("xendomains"), own).unwrap();
        Host { lab }
    }

    fn auto(&self, file: &str, name: &str) {
        let kernel = self.lab.root().join("kernel-ok");
        let text = format!("name='{name}'\nkernel='{}'\nmemory=64\n", kernel.display());
        std::fs::write(self.lab.root().join("etc/xen/auto").join(file), text).unwrap();
    }

    /// Exit status and all that was said.
    fn xendomains(&self, verb: &str) -> (i32, String) {
        let mut command: Command = self.lab.command(&script("xendomains"));
        command.arg(verb);
        command.env("XENDOMAINS_PATH", self.lab.root().join("bin"));
        let said = command.output().unwrap();
        let text = [said.stdout, said.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (said.status.code().unwrap(), text)
    }

    fn lock(&self) -> PathBuf {
        self.lab.root().join("var/lock/subsys/xendomains")
    }

    fn names(&self) -> Vec<String> {
        let mut guests = self.lab.guests();
        guests.sort_by_key(|g| g.domid);
        guests.into_iter().map(|g| g.name).collect()
    }
}

#[test]
fn start_makes_the_domains_of_auto_in_order_and_stop_shuts_them_down() {
    let host = Host::new("");
    host.auto("20-web", "web");
    host.auto("10-db", "db");
    let (status, said) = host.xendomains("status");
    assert_eq!(
        (status, said.as_str()),
        (3, "Checking for xendomains: MISS AUTO: db web\n")
    );
    let (status, said) = host.xendomains("start");
    assert_eq!(
        (status, said.as_str()),
        (0, "Starting auto Xen domains: 10-db 20-web\n")
    );
    assert_eq!(host.names(), ["db", "web"]);
    assert!(host.lock().exists());
    assert_eq!(
        host.xendomains("status"),
        (0, "Checking for xendomains:\n".into())
    );
    let (status, said) = host.xendomains("start");
    assert_eq!(
        (status, said.as_str()),
        (0, "xendomains already running (lockfile exists)\n")
    );
    let (status, said) = host.xendomains("stop");
    assert_eq!(status, 0, "{said}");
    assert!(
        said.starts_with("Shutting down Xen domains: db(save)"),
        "{said}"
    );
    assert!(
        said.contains(" web(save)") && !said.contains("(shut)"),
        "{said}"
    );
    assert!(!said.contains("SHUTDOWN_ALL"), "{said}");
    assert!(host.names().is_empty());
    assert!(!host.lock().exists());
    assert_eq!(host.xendomains("stop"), (0, String::new()));
    // What was saved comes back, and its files go.
    let (status, said) = host.xendomains("start");
    assert_eq!(status, 0, "{said}");
    assert!(
        said.starts_with("Restoring Xen domains: db web\n"),
        "{said}"
    );
    assert_eq!(host.names(), ["db", "web"]);
    let save = host.lab.root().join("var/lib/xen/save");
    assert_eq!(std::fs::read_dir(save).unwrap().count(), 0);
}

#[test]
fn start_leaves_running_domains_alone_and_goes_on_after_one_that_fails() {
    let host = Host::new("");
    host.auto("1", "runs");
    host.auto("2", "fails");
    host.auto("3", "new");
    let config = host.lab.root().join("etc/xen/auto/2");
    std::fs::write(config, "name='fails'\nkernel='/nonexistent'\nmemory=64\n").unwrap();
    let made = host.lab.run(host.lab.config("runs"));
    let (status, said) = host.xendomains("start");
    assert_eq!(status, 1, "{said}");
    assert!(
        said.starts_with("Starting auto Xen domains: 1(skip) 2\n"),
        "{said}"
    );
    assert!(
        said.contains("An error occurred while creating domain 2: "),
        "{said}"
    );
    assert!(said.contains("/nonexistent"), "{said}");
    assert!(said.ends_with("! 3\n"), "{said}");
    assert_eq!(host.names(), ["runs", "new"]);
    assert_eq!(host.lab.guest("runs").unwrap().pid, made.pid);
}

#[test]
fn stop_with_auto_only_leaves_the_other_domains_running() {
    let host = Host::new("XENDOMAINS_AUTO_ONLY=true XENDOMAINS_SAVE=");
    host.auto("auto", "auto");
    host.lab.run(host.lab.config("manual"));
    assert_eq!(host.xendomains("start").0, 0);
    let (status, said) = host.xendomains("stop");
    assert_eq!(
        (status, said.replace('.', "").trim_end()),
        (0, "Shutting down Xen domains: auto(shut) manual(skip)")
    );
    assert_eq!(host.names(), ["manual"]);
}

#[test]
fn stop_that_takes_too_long_is_given_up_and_all_are_asked_once_more() {
    let host = Host::new("XENDOMAINS_STOP_MAXWAIT=1 XENDOMAINS_SAVE=");
    // Paused, it does not do what it is asked.
    host.lab.create(host.lab.config("deaf")).unwrap();
    let (status, said) = host.xendomains("stop");
    assert_eq!(status, 0, "{said}");
    assert!(
        said.starts_with("Shutting down Xen domains: deaf(shut)."),
        "{said}"
    );
    assert!(said.contains("Domain deaf was not shut down"), "{said}");
    assert!(said.contains(" SHUTDOWN_ALL ."), "{said}");
    assert_eq!(host.names(), ["deaf"]);
}

#[test]
fn stop_tries_sysrq_migration_and_saving_before_the_shutdown() {
    let host = Host::new(
        "XENDOMAINS_SYSRQ='s u' XENDOMAINS_MIGRATE='otherhost --live' XENDOMAINS_SAVE=/save",
    );
    host.lab.run(host.lab.config("tenant"));
    // An xm that writes down what it is asked and cannot migrate, but can save.
    std::fs::remove_file(host.lab.root().join("bin/xm")).unwrap();
    let said = host.lab.root().join("said");
    let text = format!(
        "#!/bin/sh\ncase $1 in list) exec {} \"$@\";; esac\necho \"$*\" >>{}\n\
         case $1 in migrate) echo 'Error: no such host' >&2; exit 1;; esac\n",
        toolctl().display(),
        said.display()
    );
    host.lab.program("xm", &text);
    let (status, output) = host.xendomains("stop");
    assert_eq!(status, 0, "{output}");
    let root = host.lab.root().display();
    assert_eq!(
        std::fs::read_to_string(&said).unwrap(),
        format!(
            "sysrq 1 s\nsysrq 1 u\nmigrate 1 otherhost --live\nsave 1 {root}/save/tenant\n\
             shutdown --all --halt --wait\n"
        )
    );
    // A dot a second, however slow this host is.
    let output = output.replace('.', "");
    assert!(output.contains("tenant(SR-s)(SR-u)(migr)"), "{output}");
    assert!(
        output.contains("Domain tenant was not migrated: Error: no such host"),
        "{output}"
    );
    assert!(
        output.contains("(save)") && !output.contains("(shut)"),
        "{output}"
    );
}

#[test]
fn start_restores_what_was_saved_and_keeps_what_it_cannot() {
    let host = Host::new("");
    let save = host.lab.root().join("var/lib/xen/save");
    std::fs::create_dir_all(&save).unwrap();
    for name in ["bad", "good"] {
        std::fs::write(save.join(name), "LinuxGuestRecord and more").unwrap();
    }
    std::fs::write(save.join("notes"), "no image").unwrap();
    host.auto("good", "good");
    std::fs::remove_file(host.lab.root().join("bin/xm")).unwrap();
    let text = "#!/bin/sh\ncase $* in *restore*/bad) echo 'Error: broken' >&2; exit 1;; *create*) echo 'Error: made' >&2; exit 1;; esac\n";
    host.lab.program("xm", text);
    let (status, said) = host.xendomains("start");
    assert_eq!(status, 1, "{said}");
    assert_eq!(
        said,
        "Restoring Xen domains: bad\nAn error occurred while restoring domain bad:\nError: broken\n! good\n\
         Starting auto Xen domains: good(skip)\n"
    );
    let mut left: Vec<_> = std::fs::read_dir(&save)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["bad", "notes"]);
    let (status, said) = host.xendomains("status");
    assert_eq!(status, 3);
    assert!(said.contains(" MISS SAVED: bad"), "{said}");
}

#[test]
fn restart_and_its_other_names_stop_and_start() {
    let host = Host::new("XENDOMAINS_SAVE=");
    host.auto("tenant", "tenant");
    for (n, verb) in ["start", "restart", "reload", "force-reload"]
        .into_iter()
        .enumerate()
    {
        let (status, said) = host.xendomains(verb);
        assert_eq!(status, 0, "{said}");
        assert_eq!(host.lab.guest("tenant").unwrap().domid, Some(n as u32 + 1));
    }
}

#[test]
fn mistakes_have_their_exit_codes() {
    let host = Host::new("XENDOMAINS_STOP_MAXWAIT=soon");
    let (status, said) = host.xendomains("start");
    assert_eq!(status, 6);
    assert!(
        said.contains("XENDOMAINS_STOP_MAXWAIT needs a number, found 'soon'"),
        "{said}"
    );
    std::fs::remove_file(host.lab.root().join("etc/default/xendomains")).unwrap();
    let (status, said) = host.xendomains("start");
    assert_eq!(status, 6);
    assert!(
        said.contains("etc/default/xendomains not existing"),
        "{said}"
    );
    assert_eq!(host.xendomains("stop").0, 0);
    let sysconfig = host.lab.root().join("etc/sysconfig");
    std::fs::create_dir_all(&sysconfig).unwrap();
    std::fs::write(sysconfig.join("xendomains"), "").unwrap();
    assert_eq!(host.xendomains("start").0, 0);
    let (status, said) = host.xendomains("dance");
    assert_eq!(status, 3);
    assert!(
        said.contains("{start|stop|restart|reload|force-reload|status}"),
        "{said}"
    );
    std::fs::remove_file(host.lab.root().join("bin/xm")).unwrap();
    let (status, said) = host.xendomains("start");
    assert_eq!((status, said.as_str()), (5, "xm is not installed\n"));
}

#[test]
fn xend_script_of_init_starts_and_stops_xend() {
    let lab = Lab::new();
    let made = lab.run(lab.config("tenant"));
    let directory = Path::new(env!("CARGO_BIN_EXE_xend")).parent().unwrap();
    let run = |verb: &str| {
        let mut command = lab.command(&script("xend"));
        command.arg(verb).env("XEND_PATH", directory);
        command.status().unwrap().code().unwrap()
    };
    let lock = lab.root().join("var/lock/subsys/xend");
    assert_eq!((run("status"), run("start"), lock.exists()), (0, 0, true));
    assert_eq!(
        (run("reload"), run("force-reload"), run("restart")),
        (0, 0, 0)
    );
    assert_eq!((run("stop"), run("status"), lock.exists()), (0, 3, false));
    assert_eq!(run("dance"), 1);
    assert_eq!(run("start"), 0);
    let found = eventually("it is back", || lab.guest("tenant"));
    assert_eq!(found.pid, made.pid);
}

#[test]
fn scripts_are_clean_to_shellcheck() {
    let said = Command::new("shellcheck")
        .args([script("xendomains"), script("xend")])
        .output()
        .expect("shellcheck (package shellcheck)");
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stdout)
    );
}
