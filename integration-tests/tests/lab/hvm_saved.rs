//! `save`, `restore`, `suspend`, `resume` and `migrate` of HVM domains: a PC in the midst of its disk's work, and a Linux on two
//! processors.

use crate::moved::open_node;
use crate::{in_lab, LIMIT};
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const SECTOR: usize = 512;

/// A boot sector that for ever reads sector 2, adds one to its first word and to one in memory, puts that beside it, writes the sector,
/// and says a dot at COM1. A PC that began anew would have fewer in memory than on disk.
fn counting() -> Vec<u8> {
    // Segments and the count in memory are 0, the stack is below the program.
    let mut code = vec![
        0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, // ..
        0x66, 0xc7, 0x06, 0x00, 0x80, 0, 0, 0, 0, // mov dword [0x8000],0
    ];
    let again = code.len();
    // mov ax,0x201; mov bx,0x7e00; mov cx,2; mov dh,0; int 0x13; jc fail
    code.extend([
        0xb8, 0x01, 0x02, 0xbb, 0x00, 0x7e, 0xb9, 0x02, 0x00, 0xb6, 0x00, 0xcd, 0x13,
    ]);
    code.extend([0x72, 0]);
    let first = code.len();
    // inc dword [0x7e00]; inc dword [0x8000]; mov eax,[0x8000]; mov [0x7e04],eax
    code.extend([0x66, 0xff, 0x06, 0x00, 0x7e, 0x66, 0xff, 0x06, 0x00, 0x80]);
    code.extend([0x66, 0xa1, 0x00, 0x80, 0x66, 0xa3, 0x04, 0x7e]);
    // mov ax,0x301; mov cx,2; int 0x13; jc fail
    code.extend([0xb8, 0x01, 0x03, 0xb9, 0x02, 0x00, 0xcd, 0x13, 0x72, 0]);
    let second = code.len();
    // push dx; mov dx,0x3f8; mov al,'.'; out dx,al; pop dx; jmp again
    code.extend([0x52, 0xba, 0xf8, 0x03, 0xb0, b'.', 0xee, 0x5a, 0xeb]);
    code.push((again as isize - code.len() as isize - 1) as u8);
    // fail: mov dx,0x3f8; mov al,'!'; out dx,al; halt: hlt; jmp halt
    for after in [first, second] {
        code[after - 1] = (code.len() - after) as u8;
    }
    code.extend([0xba, 0xf8, 0x03, 0xb0, b'!', 0xee, 0xf4, 0xeb, 0xfd]);
    code.resize(SECTOR - 2, 0);
    code.extend([0x55, 0xaa]);
    code
}

/// The counts on disk: of all time, and in the memory of the PC that wrote last.
pub fn counts(disk: &Path) -> (u32, u32) {
    let mut bytes = [0; 8];
    let file = std::fs::File::open(disk).unwrap();
    file.read_exact_at(&mut bytes, SECTOR as u64).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    (word(0), word(4))
}

pub fn counts_beyond(disk: &Path, count: u32) -> u32 {
    wait::until("a higher count on disk", LIMIT, || {
        Some(counts(disk).0).filter(|now| *now > count)
    })
}

#[test]
fn saved_pc_goes_on_in_the_midst_of_its_disks_work() {
    in_lab();
    let node = Node::new().unwrap();
    let disk = node.root().join("count.img");
    let text = counting_pc(&disk);
    let config = node.config_text("pc", &text).unwrap();
    node.toolctl(&["create", &config]).ok();
    let mut last = counts_beyond(&disk, 20);
    let file = node.root().join("pc.img");
    let file = file.to_str().unwrap();
    // A checkpoint leaves it running.
    node.toolctl(&["save", "-c", "pc", file]).ok();
    last = counts_beyond(&disk, last + 20);
    for _ in 0..3 {
        node.toolctl(&["save", "-f", "pc", file]).ok();
        assert_eq!(node.domains(), [""; 0]);
        let (all, in_memory) = counts(&disk);
        // What a request under way writes once more is the same.
        assert!(all == in_memory && all >= last, "{all} {in_memory} {last}");
        node.toolctl(&["restore", file]).ok();
        last = counts_beyond(&disk, all + 20);
        let (all, in_memory) = counts(&disk);
        assert_eq!(all, in_memory, "the PC began anew");
    }
    let shown = node.toolctl(&["image", file]).ok();
    assert!(shown.contains("kind                   : HVM\n"), "{shown}");

    // Another disk in the place of the one that it had, and a damaged file.
    node.toolctl(&["save", "-f", "pc", file]).ok();
    let whole = std::fs::metadata(&disk).unwrap().len();
    let grown = std::fs::File::options().write(true).open(&disk).unwrap();
    grown.set_len(whole + 4096).unwrap();
    let said = node.toolctl(&["restore", file]);
    assert!(
        said.status == 1 && said.stderr.contains("restore it with the disks"),
        "{}",
        said.stderr
    );
    assert_eq!(node.domains(), [""; 0]);
    grown.set_len(whole).unwrap();
    let bad = node.root().join("bad.img");
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&bad, bytes).unwrap();
    let said = node.toolctl(&["restore", bad.to_str().unwrap()]);
    assert!(
        said.status == 1 && said.stderr.contains("checksum"),
        "{}",
        said.stderr
    );
    assert!(node.processes_of("noxen-vmm").is_empty());
    let before = counts(&disk).0;
    node.toolctl(&["restore", "-p", file]).ok();
    // Paused, it can be saved again.
    node.toolctl(&["save", "-f", "pc", file]).ok();
    node.toolctl(&["restore", file]).ok();
    counts_beyond(&disk, before + 20);
    node.toolctl(&["dump-core", "-C", "pc", file]).ok();
    assert_eq!(node.domains(), [""; 0]);
}

/// The configuration of a PC that counts on `disk`, which is made.
pub fn counting_pc(disk: &Path) -> String {
    let mut image = counting();
    image.resize(4 << 20, 0);
    std::fs::write(disk, image).unwrap();
    format!(
        "name = 'pc'\nbuilder = 'hvm'\nmemory = 32\nboot = 'c'\nserial = 'pty'\nvnc = 0\nstdvga = 1\ndisk = ['file:{},hda,w']\n",
        disk.display()
    )
}

#[test]
fn pc_at_work_goes_to_another_xend_live_comes_back_standing_still_and_is_suspended() {
    in_lab();
    let (here, there) = (open_node("8831"), open_node("8832"));
    let disk = here.root().join("count.img");
    let config = here.config_text("pc", &counting_pc(&disk)).unwrap();
    // A managed one, so that it can be suspended.
    here.toolctl(&["new", &config]).ok();
    here.toolctl(&["start", "pc"]).ok();
    let mut last = counts_beyond(&disk, 20);
    for (node, other, port, live) in [
        (&here, &there, "8832", true),
        (&there, &here, "8831", false),
    ] {
        let mut words = vec!["migrate", "pc", "127.0.0.1", "-p", port, "--json"];
        if live {
            words.push("--live");
        }
        let said = node.try_toolctl(&words, LIMIT).unwrap();
        let ledger: serde_json::Value = serde_json::from_str(&said.ok()).unwrap();
        eprintln!("live {live}: {ledger}");
        assert!(!ledger["rounds"].as_array().unwrap().is_empty(), "{ledger}");
        assert!(node.processes_of("noxen-vmm").is_empty());
        assert_eq!(other.domains(), ["pc"]);
        last = counts_beyond(&disk, last + 20);
        let (all, in_memory) = counts(&disk);
        assert_eq!(all, in_memory, "the PC began anew, or has lost a page");
    }
    here.toolctl(&["suspend", "pc"]).ok();
    assert!(here.processes_of("noxen-vmm").is_empty());
    let (all, in_memory) = counts(&disk);
    assert!(all == in_memory && all >= last, "{all} {in_memory} {last}");
    here.toolctl(&["resume", "pc"]).ok();
    counts_beyond(&disk, all + 20);
    let (all, in_memory) = counts(&disk);
    assert_eq!(all, in_memory, "the PC began anew");
    here.toolctl(&["destroy", "pc"]).ok();
}

#[test]
fn hvm_linux_that_writes_its_memory_goes_live_to_another_xend() {
    in_lab();
    let (here, there) = (open_node("8833"), open_node("8834"));
    let domain = Domain::pc("pc").unwrap().line("vnc = 0").line("stdvga = 1");
    let mut console = here.create_on_console(&domain).unwrap();
    console.expect("NOXEN-INIT up", LIMIT).unwrap();
    console.expect("# ", LIMIT).unwrap();
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    says("head -c 8000000 /dev/urandom > /run/data");
    let sum = says("md5sum /run/data");
    // Pages whose sum is beside them, written over and over.
    says("sh -c 'while [ ! -e /run/stop ]; do head -c 500000 /dev/urandom > /run/w; md5sum < /run/w > /run/w.sum; done; touch /run/stopped' & true");
    let words = [
        "migrate",
        "--live",
        "pc",
        "127.0.0.1",
        "-p",
        "8834",
        "--json",
        // Something is always left: it is held back.
        "--downtime",
        "0",
    ];
    let said = here.try_toolctl(&words, LIMIT).unwrap().ok();
    eprintln!("there: {said}");
    let ledger: serde_json::Value = serde_json::from_str(&said).unwrap();
    let held = |round: &serde_json::Value| round["throttle"].as_u64() >= Some(20);
    assert!(
        ledger["rounds"].as_array().unwrap().iter().any(held),
        "{ledger}"
    );
    drop(console);
    let mut console = there.console("pc").unwrap();
    console.send("\n").unwrap();
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    says("touch /run/stop; n=0; while [ ! -e /run/stopped ] && [ $n -lt 900 ]; do n=$((n+1)); sleep 0.1; done");
    assert_eq!(says("md5sum /run/data"), sum);
    assert_eq!(says("md5sum < /run/w"), says("cat /run/w.sum"));
    for cpu in ["1", "2"] {
        assert_eq!(
            says(&format!("taskset {cpu} echo on {cpu}")),
            format!("on {cpu}\n")
        );
    }
    console.send("poweroff -f\n").unwrap();
    there.wait_gone("pc", LIMIT);
}

/// How far the guest's clock may be from the host's, seconds: it reads whole ones, and a console is slow here.
const CLOCK: i64 = 5;

#[test]
fn saved_hvm_linux_goes_on_with_a_right_clock() {
    in_lab();
    let node = Node::new().unwrap();
    let domain = Domain::pc("pc").unwrap().line("vnc = 0");
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("NOXEN-INIT up", LIMIT).unwrap();
    console.expect("# ", LIMIT).unwrap();
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    says("head -c 8000000 /dev/urandom > /run/data");
    let sum = says("md5sum /run/data");
    let clock = |text: String| {
        let host = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        text.trim().parse::<i64>().unwrap() - host.as_secs() as i64
    };
    let before = clock(says("date +%s"));
    says("sh -c 'n=0; while :; do n=$((n+1)); echo $n > /run/n.new; mv /run/n.new /run/n; sleep 0.1; done' & true");
    let file = node.root().join("pc.img");
    let file = file.to_str().unwrap();
    node.toolctl(&["save", "pc", file]).ok();
    drop(console);
    // Time that the guest sleeps through.
    std::thread::sleep(std::time::Duration::from_secs(CLOCK as u64 + 3));
    node.toolctl(&["restore", "-p", file]).ok();
    let mut console = node.console("pc").unwrap();
    node.toolctl(&["unpause", "pc"]).ok();
    console.send("\n").unwrap();
    let mut says = |command: &str| console.run(command, LIMIT).unwrap();
    assert_eq!(says("md5sum /run/data"), sum);
    let after = clock(says("date +%s"));
    assert!(
        (after - before).abs() <= CLOCK,
        "ahead by {before} s before, {after} s after"
    );
    let count = says("cat /run/n");
    says("sleep 1");
    assert_ne!(says("cat /run/n"), count);
    // Both processors work.
    for cpu in ["1", "2"] {
        assert_eq!(
            says(&format!("taskset {cpu} echo on {cpu}")),
            format!("on {cpu}\n")
        );
    }
    console.send("poweroff -f\n").unwrap();
    node.wait_gone("pc", LIMIT);
}
