use super::*;
use std::collections::BTreeMap;
use std::process::Command;

fn head(hvm: bool) -> Head {
    Head {
        machine: EM_X86_64,
        hvm,
        xen_version: 4 << 16 | 17,
        virt_start: 0xffff_8000_0000_0000,
        vcpus: 2,
        contexts: vec![0xc0; 2 * 0x1430],
        shared_info: vec![0x51; PAGE as usize],
        frames: vec![
            Frames {
                pfn: 0,
                gmfn: 0,
                count: 3,
            },
            Frames {
                pfn: 3,
                gmfn: 0x10_0000,
                count: 2,
            },
        ],
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Sections by name: where and how long.
fn sections(bytes: &[u8]) -> BTreeMap<String, (usize, usize)> {
    let count = usize::from(u16::from_le_bytes(bytes[60..62].try_into().unwrap()));
    let header = |index: usize| &bytes[64 + index * 64..64 + (index + 1) * 64];
    let names = word(header(1), 24) as usize;
    (1..count)
        .map(|index| {
            let header = header(index);
            let name = names + (word(header, 0) & 0xffff_ffff) as usize;
            let text = bytes[name..].split(|&b| b == 0).next().unwrap();
            let text = String::from_utf8(text.to_vec()).unwrap();
            (text, (word(header, 24) as usize, word(header, 32) as usize))
        })
        .collect()
}

#[test]
fn parts_lie_where_the_section_headers_say() {
    let mut bytes = Vec::new();
    let (pages, end) = head(false).write(&mut bytes).unwrap();
    assert_eq!((bytes.len() as u64, pages % PAGE), (pages, 0));
    assert_eq!(end, pages + 5 * PAGE);
    let sections = sections(&bytes);
    let part = |name: &str| {
        let (at, size) = sections[name];
        &bytes[at..at + size]
    };
    assert_eq!(sections[".xen_pages"], (pages as usize, 5 * PAGE as usize));
    assert!(part(".xen_prstatus").iter().all(|&b| b == 0xc0));
    assert_eq!(part(".xen_prstatus").len(), 2 * 0x1430);
    assert_eq!(part(".xen_shared_info"), vec![0x51; 4096]);
    let table: Vec<u64> = part(".xen_p2m")
        .chunks(8)
        .map(|entry| word(entry, 0))
        .collect();
    assert_eq!(table, [0, 0, 1, 1, 2, 2, 3, 0x10_0000, 4, 0x10_0001]);
    assert!(!sections.contains_key(".xen_pfn"));
    // Each note: sizes and type, "Xen", what it describes.
    let notes = part(".note.Xen");
    let sizes = [0, 32, 1280, 8];
    assert_eq!(
        notes.len(),
        sizes.iter().map(|size| 16 + size).sum::<usize>()
    );
    assert_eq!(word(notes, 32), MAGIC_PV);
    assert_eq!(
        (word(notes, 40), word(notes, 48), word(notes, 56)),
        (2, 5, 4096)
    );
}

#[test]
fn hvm_core_lists_frames_once() {
    let mut bytes = Vec::new();
    head(true).write(&mut bytes).unwrap();
    let sections = sections(&bytes);
    let (at, size) = sections[".xen_pfn"];
    let table: Vec<u64> = bytes[at..at + size].chunks(8).map(|e| word(e, 0)).collect();
    assert_eq!(table, [0, 1, 2, 3, 4]);
    assert!(!sections.contains_key(".xen_p2m"));
}

#[test]
fn readelf_reads_it_without_complaint() {
    let mut bytes = Vec::new();
    let (_, end) = head(false).write(&mut bytes).unwrap();
    bytes.resize(end as usize, 0);
    let path = std::env::temp_dir().join(format!("noxen-core-{}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let said = Command::new("readelf")
        .args(["-W", "-h", "-S"])
        .arg(&path)
        .output();
    std::fs::remove_file(&path).unwrap();
    let said = said.unwrap();
    let (out, err) = (
        String::from_utf8(said.stdout).unwrap(),
        String::from_utf8(said.stderr).unwrap(),
    );
    assert!(said.status.success() && err.is_empty(), "{err}");
    for text in [
        "CORE (Core file)",
        "X86-64",
        ".xen_prstatus",
        ".xen_p2m",
        ".xen_pages",
    ] {
        assert!(out.contains(text), "{text}: {out}");
    }
}
