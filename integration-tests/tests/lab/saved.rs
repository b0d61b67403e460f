//! `save` and `restore` of a guest that notices nothing, and what is left of a save that fails: a guest that runs.

use crate::busy::Busy;
use crate::network::{configure, ping};
use crate::support::{node_with_scripts, Bridge};
use crate::{in_lab, LIMIT};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::console::Console;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far the guest's clock may be from the host's, seconds: it reads whole ones, and a console is slow here.
const CLOCK: i64 = 5;

fn number(console: &mut Console, command: &str) -> i64 {
    let text = console.run(command, LIMIT).unwrap();
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("{command}: {text:?}"))
}

/// Seconds that the guest's clock is ahead of the host's.
fn ahead(console: &mut Console) -> i64 {
    let guest = number(console, "date +%s");
    let host = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    guest - i64::try_from(host.as_secs()).unwrap()
}

/// Memory that the host has left, KiB.
fn available() -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let row = text.lines().find(|row| row.starts_with("MemAvailable:"));
    let words = row.unwrap().split_whitespace().nth(1).unwrap();
    words.parse().unwrap()
}

#[test]
fn saved_domain_goes_on_where_it_stood_with_a_right_clock() {
    in_lab();
    let node = node_with_scripts();
    let _bridge = Bridge::new("nxbr2", "10.80.0.1/24");
    let disk = node.root().join("kept.disk");
    std::fs::File::create(&disk)
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let domain = Domain::debian("kept", Flavour::Cloud)
        .unwrap()
        .vcpus(2)
        .line(&format!("disk = ['file:{},xvda,w']", disk.display()))
        .line("vif = ['bridge=nxbr2']");
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    configure(&mut console, "eth0", "10.80.0.2");
    let counter = "sh -c 'n=0; while :; do n=$((n+1)); echo $n > /run/n.new; mv /run/n.new /run/n; sleep 0.1; done' & true";
    console.run(counter, LIMIT).unwrap();
    assert!(ahead(&mut console).abs() <= CLOCK);
    let mut busy = Busy::start(&mut console, "10.80.0.1", 5080);
    wait::until("a count", LIMIT, || {
        (number(&mut console, "cat /run/n") > 5).then_some(())
    });
    let counted = number(&mut console, "cat /run/n");
    let id = node.toolctl(&["domid", "kept"]).ok();

    let image = node.root().join("kept.img");
    let image = image.to_str().unwrap();
    let before = available();
    node.toolctl(&["save", "kept", image]).ok();
    assert_eq!(node.domains(), [""; 0]);
    assert!(node.processes_of("noxen-vmm").is_empty());
    // The image is in the page cache of the lab's own tmpfs at worst; the guest's memory is back all the same.
    assert!(available() > before, "{} KiB, before {before}", available());
    let shown = node.toolctl(&["image", image]).ok();
    assert!(shown.contains("vcpus                  : 2\n"), "{shown}");
    drop(console);
    // Time that the guest sleeps through.
    std::thread::sleep(Duration::from_secs(CLOCK as u64 + 3));

    node.toolctl(&["restore", "--paused", image]).ok();
    assert_eq!(node.toolctl(&["domid", "kept"]).ok(), id);
    let mut console = node.console("kept").unwrap();
    node.toolctl(&["unpause", "kept"]).ok();
    console.send("\n").unwrap();
    busy.memory_is_right(&mut console);
    wait::until("a higher count", LIMIT, || {
        (number(&mut console, "cat /run/n") > counted + 5).then_some(())
    });
    busy.talks_on(3);
    ping(&mut console, "10.80.0.1");
    busy.disk_is_right(&mut console);
    let off = ahead(&mut console);
    assert!(off.abs() <= CLOCK, "the guest's clock is {off} s ahead");
    assert_eq!(number(&mut console, "grep -c ^processor /proc/cpuinfo"), 2);
    console.run("storm 2 3", LIMIT).unwrap();
    let again = node.toolctl(&["restore", image]);
    assert_eq!(again.status, 1);
    assert!(
        again
            .stderr
            .contains("Domain 'kept' already exists with ID"),
        "{}",
        again.stderr
    );
    // The guest hears of the store still: its watches went along.
    node.toolctl(&["shutdown", "-w", "kept"]).ok();
    // It has shut down by then; its interface may still be taken away.
    node.wait_gone("kept", LIMIT);
}

/// A file system of so many KiB; unmounted when dropped.
struct Small(String);

impl Small {
    fn mount(path: &Path, kib: u32) -> Small {
        std::fs::create_dir_all(path).unwrap();
        let path = path.to_str().unwrap().to_owned();
        let size = format!("size={kib}k");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs", &path])
            .status();
        assert!(done.unwrap().success());
        Small(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn save_that_fails_leaves_the_domain_running_and_a_bad_file_is_refused() {
    in_lab();
    let node = Node::new().unwrap();
    let domain = Domain::grub("g").unwrap();
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("grub> ", LIMIT).unwrap();
    let full = Small::mount(&node.root().join("full"), 512);
    let file = format!("{}/g.img", full.0);
    let said = node.toolctl(&["save", "g", &file]);
    assert_eq!(said.status, 1);
    assert!(
        said.stderr.contains("No space left on device") && said.stderr.lines().count() == 1,
        "{}",
        said.stderr
    );
    assert_eq!(std::fs::read_dir(&full.0).unwrap().count(), 0);
    console.send("echo still $root here\n").unwrap();
    console.expect("still", LIMIT).unwrap();
    console.expect("grub> ", LIMIT).unwrap();

    // A checkpoint leaves it running, too, and the file is whole.
    let image = node.root().join("g.img");
    node.toolctl(&["save", "-c", "g", image.to_str().unwrap()])
        .ok();
    let refused = node.toolctl(&["save", "-c", "g", image.to_str().unwrap()]);
    assert!(
        refused.stderr.contains("-f overwrites it"),
        "{}",
        refused.stderr
    );
    console.send("echo and now\n").unwrap();
    console.expect("and now", LIMIT).unwrap();
    node.toolctl(&["destroy", "g"]).ok();
    drop(console);
    let good = std::fs::read(&image).unwrap();
    let bad = node.root().join("bad.img");
    let mut flipped = good.clone();
    let last = flipped.len() - 5000;
    flipped[last] ^= 1;
    for (bytes, word) in [
        (&good[..good.len() - 100], "it ends in the middle"),
        (&flipped[..], "checksum"),
        (&b"no image at all, but long"[..], "found"),
    ] {
        std::fs::write(&bad, bytes).unwrap();
        let said = node.toolctl(&["restore", bad.to_str().unwrap()]);
        assert_eq!(said.status, 1);
        assert!(
            said.stderr.contains(word) && said.stderr.lines().count() == 1,
            "{}",
            said.stderr
        );
        assert_eq!(node.domains(), [""; 0]);
        assert!(node.processes_of("noxen-vmm").is_empty());
    }
    // Read as it is touched: a page that is found damaged then is the domain's end, not something that it sees.
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    std::fs::write(&bad, &flipped).unwrap();
    node.toolctl(&["restore", "-p", "--lazy", bad.to_str().unwrap()]);
    node.wait_gone("g", LIMIT);
    let log = node.domain_log("g");
    assert!(
        log.contains("of no use any more") && log.contains("memory is damaged (checksum)"),
        "{log}"
    );
    node.toolctl(&["restore", "--lazy", image.to_str().unwrap()])
        .ok();
    let mut console = node.console("g").unwrap();
    console.send("echo back again\n").unwrap();
    console.expect("back again", LIMIT).unwrap();
    node.toolctl(&["destroy", "g"]).ok();
}
