//! `dump-core`: what a guest wrote is in the file, at the page where its tables say.

use crate::{in_lab, LIMIT};
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A core file in Xen's format.
struct Core {
    file: File,
    /// By name: where, how long.
    sections: BTreeMap<String, (u64, u64)>,
}

impl Core {
    fn open(path: &Path) -> Core {
        let file = File::open(path).unwrap();
        let head = bytes(&file, 0, 64);
        assert_eq!(&head[..4], b"\x7fELF");
        let count = u16::from_le_bytes(head[60..62].try_into().unwrap());
        let header = |index: u64| bytes(&file, 64 + index * 64, 64);
        let names = word(&header(1), 24);
        let sections = (1..u64::from(count)).map(|index| {
            let header = header(index);
            let name = bytes(&file, names + (word(&header, 0) & 0xffff_ffff), 20);
            let name = name.split(|&byte| byte == 0).next().unwrap();
            let name = String::from_utf8(name.to_vec()).unwrap();
            (name, (word(&header, 24), word(&header, 32)))
        });
        let sections = sections.collect();
        Core { file, sections }
    }

    fn part(&self, name: &str) -> Vec<u8> {
        let (at, length) = self.sections[name];
        bytes(&self.file, at, length)
    }

    /// The page of machine frame `gmfn`.
    fn page(&self, gmfn: u64) -> Option<Vec<u8>> {
        let table = self.part(".xen_p2m");
        let index = table.chunks(16).position(|entry| word(entry, 8) == gmfn)?;
        Some(bytes(
            &self.file,
            self.sections[".xen_pages"].0 + index as u64 * 4096,
            4096,
        ))
    }
}

fn bytes(file: &File, at: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, at).unwrap();
    bytes
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn core_has_the_guests_memory_and_registers_and_it_runs_on_or_not_as_asked() {
    in_lab();
    let node = Node::new().unwrap();
    let domain = Domain::grub("g").unwrap();
    let mut console = node.create_on_console(&domain).unwrap();
    console.expect("grub> ", LIMIT).unwrap();
    // Not in one piece in what is typed, so that no line buffer has it.
    console
        .send("set a=noxen-core; set b=$a-4711; set c=$b$b; echo it is set\n")
        .unwrap();
    console.expect("it is set", LIMIT).unwrap();
    let path = node.root().join("g.core");
    let name = path.to_str().unwrap();
    let said = node.toolctl(&["dump-core", "g", name]).ok();
    assert_eq!(said, "Dumping core of domain: g ...\n");
    let core = Core::open(&path);
    let notes = core.part(".note.Xen");
    // Magic of a PV domain, vCPUs, pages, bytes of one.
    assert_eq!(word(&notes, 32), 0xf00f_ebed);
    assert_eq!(
        (word(&notes, 40), word(&notes, 48), word(&notes, 56)),
        (1, 128 << 8, 4096)
    );
    let (at, length) = core.sections[".xen_pages"];
    assert_eq!(length, 128 << 20);
    let wanted = b"noxen-core-4711noxen-core-4711";
    let pages = bytes(&core.file, at, length);
    assert!(pages.windows(wanted.len()).any(|part| part == wanted));
    // rip (vcpu_guest_context at 0x208 + 128) lies in a mapped page by CR3's tables, which are pages of the file.
    let context = core.part(".xen_prstatus");
    let (mut table, rip) = (
        word(&context, 0x1378 + 24) >> 12,
        word(&context, 0x208 + 128),
    );
    assert_ne!(rip, 0);
    for level in (0..4).rev() {
        let page = core
            .page(table)
            .expect("a table that is no page of the domain");
        let entry = word(&page, (rip >> (12 + 9 * level) & 0x1ff) as usize * 8);
        assert_eq!(entry & 1, 1, "rip {rip:#x} is not mapped at level {level}");
        table = (entry & 0x000f_ffff_ffff_f000) >> 12;
    }
    assert!(core.page(table).unwrap().iter().any(|&byte| byte != 0));

    console.send("echo still $c\n").unwrap();
    console.expect("still noxen-core-4711noxen", LIMIT).unwrap();
    node.toolctl(&["dump-core", "-L", "g", name]).ok();
    console.send("echo and yet\n").unwrap();
    console.expect("and yet", LIMIT).unwrap();
    let refused = node.toolctl(&["dump-core", "g", "/nowhere/core"]);
    assert_eq!(
        (refused.status, refused.stderr.lines().count()),
        (1, 1),
        "{}",
        refused.stderr
    );
    node.toolctl(&["dump-core", "-C", "g", name]).ok();
    assert_eq!(node.domains(), [""; 0]);
}
