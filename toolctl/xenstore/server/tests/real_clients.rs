//! Debian's own xenstore programs and the Python client pyxs, unchanged,
//! against the daemon.

mod daemon;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use daemon::{wait_for, Daemon};
use noxen_xenstore::client::Nodes;

#[test]
fn xenstore_write_then_read_and_list() {
    let d = Daemon::start();
    d.ok(
        "xenstore-write",
        &["/vm/1/name", "one", "/vm/1/uuid", "u", "/vm/2/name", "two"],
    );
    assert_eq!(
        d.ok("xenstore-read", &["/vm/1/name", "/vm/2/name"]),
        "one\ntwo\n"
    );
    assert_eq!(d.ok("xenstore-list", &["/vm/1"]), "name\nuuid\n");
    assert_eq!(
        d.ok("xenstore-list", &["-p", "/vm/1"]),
        "/vm/1/name\n/vm/1/uuid\n"
    );
    assert_eq!(d.ok("xenstore-read", &["-s", "/vm/1/name"]), "one\n");
}

#[test]
fn xenstore_ls_shows_the_tree_values_and_permissions() {
    let d = Daemon::start();
    d.ok("xenstore-write", &["/a/b", "x", "/a/c/d", "y"]);
    assert_eq!(
        d.ok("xenstore-ls", &["/a"]),
        "b = \"x\"\nc = \"\"\n d = \"y\"\n"
    );
    assert_eq!(
        d.ok("xenstore-ls", &["-f", "/a"]),
        "/a/b = \"x\"\n/a/c = \"\"\n/a/c/d = \"y\"\n"
    );
    let shown = d.ok("xenstore-ls", &["-p", "/a"]);
    assert!(shown.lines().next().unwrap().ends_with("(n0)"), "{shown}");
    let whole = d.ok("xenstore-ls", &[]);
    assert!(
        whole.contains("tool = \"\"\n xenstored = \"\"\n"),
        "{whole}"
    );
}

#[test]
fn xenstore_exists_answers_by_exit_status() {
    let d = Daemon::start();
    d.ok("xenstore-write", &["/here", ""]);
    assert!(d.run("xenstore-exists", &["/here"]).status.success());
    assert!(!d.run("xenstore-exists", &["/there"]).status.success());
}

#[test]
fn xenstore_read_of_a_missing_path_fails_and_says_so() {
    let d = Daemon::start();
    let output = d.run("xenstore-read", &["/nope"]);
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("couldn't read path /nope"),
        "{output:?}"
    );
}

#[test]
fn xenstore_rm_removes_and_with_t_tidies_empty_parents() {
    let d = Daemon::start();
    d.ok(
        "xenstore-write",
        &[
            "/keep/me",
            "1",
            "/keep/gone/deep/leaf",
            "1",
            "/alone/deep/leaf",
            "1",
        ],
    );
    d.ok("xenstore-rm", &["-t", "/keep/gone/deep/leaf"]);
    assert_eq!(d.ok("xenstore-list", &["/keep"]), "me\n");
    // This one climbs to the root and beyond: it asks about an empty path.
    d.run("xenstore-rm", &["-t", "/alone/deep/leaf"]);
    assert!(!d.run("xenstore-exists", &["/alone"]).status.success());
    d.ok("xenstore-rm", &["/keep"]);
    assert!(!d.run("xenstore-exists", &["/keep/me"]).status.success());
    assert!(d.client().exists("/tool/xenstored").unwrap());
}

#[test]
fn xenstore_chmod_sets_permissions_up_and_down() {
    let d = Daemon::start();
    d.ok("xenstore-write", &["/p/q/r", "1"]);
    d.ok("xenstore-chmod", &["-r", "/p", "n0", "r3"]);
    let mut c = d.client();
    for path in ["/p", "/p/q", "/p/q/r"] {
        assert_eq!(c.perms(path).unwrap().entries().len(), 2, "{path}");
    }
    d.ok("xenstore-chmod", &["-u", "/p/q/r", "n0", "r3", "w4"]);
    assert_eq!(c.perms("/p").unwrap().entries().len(), 3);
}

#[test]
fn xenstore_watch_prints_the_first_and_later_events() {
    let d = Daemon::start();
    assert_eq!(d.ok("xenstore-watch", &["-n", "1", "/w"]), "/w\n");
    let mut watcher = d
        .tool("xenstore-watch", "xenstore-utils", &["-n", "3", "/w"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "/w");
    d.ok("xenstore-write", &["/w/x", "1"]);
    assert_eq!(lines.next().unwrap().unwrap(), "/w/x");
    d.ok("xenstore-rm", &["/w"]);
    assert_eq!(lines.next().unwrap().unwrap(), "/w");
    wait_for("the end of xenstore-watch", || {
        watcher.try_wait().unwrap().is_some()
    });
}

#[test]
fn pyxs_reads_writes_watches_and_commits() {
    let d = Daemon::start();
    let script = r#"
import sys, threading
from pyxs import Client, PyXSError
path = sys.argv[1]
# pyxs asks /proc/xen whether this is the control domain; there is no such
# file here, but it is.
Client.SU = True
with Client(unix_socket_path=path) as c:
    c.write(b"/py/a", b"1")
    assert c.read(b"/py/a") == b"1"
    assert c.exists(b"/py/a") and not c.exists(b"/py/b")
    c.mkdir(b"/py/dir")
    assert sorted(c.list(b"/py")) == [b"a", b"dir"], c.list(b"/py")
    assert c.get_perms(b"/py/a") == [b"n0"]
    c.set_perms(b"/py/a", [b"n0", b"r7"])
    assert c.get_perms(b"/py/a") == [b"n0", b"r7"]
    assert c.get_domain_path(3) == b"/local/domain/3", c.get_domain_path(3)
    assert c.is_domain_introduced(0) is True and c.is_domain_introduced(9) is False
    c.transaction()
    c.write(b"/py/t", b"in")
    c.commit()
    assert c.read(b"/py/t") == b"in"
    c.transaction()
    c.write(b"/py/t", b"no")
    c.rollback()
    assert c.read(b"/py/t") == b"in"
    m = c.monitor()
    m.watch(b"/py", b"tok")
    m.watch(b"@introduceDomain", b"dom")
    seen = {next(m.wait()).token, next(m.wait()).token}
    assert seen == {b"tok", b"dom"}, seen
    c.write(b"/py/w", b"2")
    event = next(m.wait())
    assert (event.path, event.token) == (b"/py/w", b"tok"), event
    c.introduce_domain(9, 1, 2)
    assert next(m.wait()).token == b"dom"
    assert c.is_domain_introduced(9) is True
    c.resume_domain(9)
    c.release_domain(9)
    assert c.is_domain_introduced(9) is False
    c.delete(b"/py")
    try:
        c.read(b"/py/a")
        assert False, "read what was deleted"
    except PyXSError:
        pass
print("done")
"#;
    let mut child = d
        .tool(
            "python3",
            "python3",
            &["-c", script, d.socket().to_str().unwrap()],
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the end of the pyxs script", || {
        child.try_wait().unwrap().is_some()
    });
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !errors.contains("No module named 'pyxs'"),
        "pyxs is missing: apt-get install python3-pyxs"
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "done\n",
        "{errors}"
    );
}

/// In a /run of its own, so that the host's is left alone: daemon and clients
/// are told nothing of where the other one is.
#[test]
fn clients_find_the_store_at_its_default_path() {
    let root = tempfile::tempdir().unwrap();
    let script = r#"set -e
        mount -t tmpfs none /run
        "$STORE" --output-pid --log-file "$LOG" >/dev/null
        test -S /var/run/xenstored/socket
        xenstore-write /default/path found
        xenstore-read /default/path
        /usr/bin/python3 -c 'import pyxs
with pyxs.Client() as c: print(c.read(b"/default/path").decode())'
        kill "$(cat /run/xenstore.pid)""#;
    let output = std::process::Command::new("unshare")
        .args(["--mount", "--", "sh", "-c", script])
        .env("STORE", env!("CARGO_BIN_EXE_xenstored"))
        .env("LOG", root.path().join("log"))
        .env_remove("NOXEN_ROOT")
        .env_remove("XENSTORED_PATH")
        .env_remove("XENSTORED_RUNDIR")
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stdout == b"found\nfound\n",
        "as root, with python3-pyxs: {output:?}"
    );
}

/// Xen's own xenstore-control; what is in /usr/bin only starts it where Xen
/// runs.
#[test]
fn xenstore_control_changes_a_limit_and_exchanges_the_program() {
    let d = Daemon::start();
    let tree = daemon::asset("pygrub/usr/lib");
    let control = |args: &[&str]| {
        let output = std::process::Command::new(tree.join("xen-4.17/bin/xenstore-control"))
            .args(args)
            .env("XENSTORED_PATH", d.socket())
            .env("LD_LIBRARY_PATH", tree.join("x86_64-linux-gnu"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(control(&["quota"]).contains("nodes"));
    control(&["quota", "set", "nodes", "77"]);
    let nodes = || {
        let quota = control(&["quota"]);
        let line = quota.lines().find(|l| l.trim_start().starts_with("nodes"));
        line.unwrap().to_owned()
    };
    assert!(nodes().contains("77"), "{}", nodes());
    control(&["live-update", env!("CARGO_BIN_EXE_xenstored")]);
    assert!(d.log().contains("took over"), "{}", d.log());
    assert!(nodes().contains("77"), "{}", nodes());
}
