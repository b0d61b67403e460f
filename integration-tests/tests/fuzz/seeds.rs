//! Good inputs to start from, made here so that a run needs no downloaded kernel.

use std::io::Write;
use std::process::{Command, Stdio};

/// A small 64-bit PV kernel: one segment, Xen notes in PT_NOTE and SHT_NOTE, or a legacy `__xen_guest` string.
pub fn elf64(legacy: bool) -> Vec<u8> {
    let notes = if legacy { Vec::new() } else { xen_notes() };
    let guest = b"GUEST_OS=linux,GUEST_VER=2.6,XEN_VER=xen-3.0,VIRT_BASE=0xffffffff80000000,ELF_PADDR_OFFSET=0x0,PAE=yes,LOADER=generic\0";
    let names = b"\0__xen_guest\0.note\0.shstrtab\0";
    let (note_at, text_at) = (0x200usize, 0x1000usize);
    let guest_at = note_at + 0x400;
    let names_at = guest_at + 0x100;
    let sections_at = names_at + 0x40;
    let mut file = vec![0u8; text_at + 0x1000];
    let put = |file: &mut Vec<u8>, at: usize, bytes: &[u8]| {
        file[at..at + bytes.len()].copy_from_slice(bytes)
    };

    put(&mut file, 0, b"\x7fELF\x02\x01\x01");
    put(&mut file, 16, &2u16.to_le_bytes()); // ET_EXEC
    put(&mut file, 18, &62u16.to_le_bytes()); // EM_X86_64
    put(&mut file, 20, &1u32.to_le_bytes());
    let base = 0xffff_ffff_8100_0000u64;
    put(&mut file, 24, &base.to_le_bytes()); // e_entry
    put(&mut file, 32, &64u64.to_le_bytes()); // e_phoff
    put(&mut file, 40, &(sections_at as u64).to_le_bytes());
    for (at, value) in [(52, 64u16), (54, 56), (56, 2), (58, 64), (60, 4), (62, 3)] {
        put(&mut file, at, &value.to_le_bytes());
    }
    let mut program = |index: usize, kind: u32, flags: u32, words: [u64; 6]| {
        let at = 64 + index * 56;
        put(&mut file, at, &kind.to_le_bytes());
        put(&mut file, at + 4, &flags.to_le_bytes());
        for (n, word) in words.iter().enumerate() {
            put(&mut file, at + 8 + n * 8, &word.to_le_bytes());
        }
    };
    program(
        0,
        1,
        7,
        [text_at as u64, base, 0x100_0000, 0x1000, 0x3000, 0x1000],
    );
    program(
        1,
        4,
        4,
        [
            note_at as u64,
            base,
            0x100_0000,
            notes.len() as u64,
            notes.len() as u64,
            4,
        ],
    );
    put(&mut file, note_at, &notes);
    put(&mut file, guest_at, guest);
    put(&mut file, names_at, names);
    let mut section = |index: usize, name: u32, kind: u32, offset: usize, size: usize| {
        let at = sections_at + index * 64;
        put(&mut file, at, &name.to_le_bytes());
        put(&mut file, at + 4, &kind.to_le_bytes());
        put(&mut file, at + 24, &(offset as u64).to_le_bytes());
        put(&mut file, at + 32, &(size as u64).to_le_bytes());
    };
    section(1, 1, 1, guest_at, if legacy { guest.len() } else { 0 });
    section(2, 13, 7, note_at, notes.len());
    section(3, 19, 3, names_at, names.len());
    file
}

/// Notes as Linux has them (Xen public header `elfnote.h`).
fn xen_notes() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut note = |kind: u32, value: &[u8]| {
        for word in [4u32, value.len() as u32, kind] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(b"Xen\0");
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    };
    note(6, b"linux\0");
    note(7, b"2.6\0");
    note(5, b"xen-3.0\0");
    note(3, &0xffff_ffff_8000_0000u64.to_le_bytes());
    note(15, &0x80_0000_0000u64.to_le_bytes());
    note(1, &0xffff_ffff_8100_0000u64.to_le_bytes());
    note(10, b"!writable_page_tables|pae_pgdir_above_4gb\0");
    note(17, &0x8801u32.to_le_bytes());
    note(9, b"yes\0");
    note(8, b"generic\0");
    note(13, &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    note(14, &1u32.to_le_bytes());
    note(16, &1u32.to_le_bytes());
    note(12, &0xffff_8000_0000_0000u64.to_le_bytes());
    bytes
}

/// `elf` as the payload of a bzImage, packed by a tool as Linux's build packs it.
pub fn bzimage(elf: &[u8], tool: &[&str]) -> Vec<u8> {
    let mut payload = packed(elf, tool);
    payload.extend_from_slice(&(elf.len() as u32).to_le_bytes());
    let mut file = vec![0u8; 1024];
    file[0x1f1] = 1;
    file[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    file.extend_from_slice(&payload);
    file
}

/// Input through a packer.
pub fn packed(input: &[u8], tool: &[&str]) -> Vec<u8> {
    let mut child = Command::new(tool[0])
        .args(&tool[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{} does not run ({error}): `cargo xtask assets` installs it",
                tool[0]
            )
        });
    let mut feed = child.stdin.take().unwrap();
    let data = input.to_vec();
    let feeder = std::thread::spawn(move || feed.write_all(&data));
    let out = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(out.status.success(), "{tool:?}");
    out.stdout
}

/// Linux's seven payload formats (scripts/Makefile.lib).
pub const PACKERS: [&[&str]; 7] = [
    &["gzip", "-n", "-9c"],
    &["bzip2", "-9c"],
    &["xz", "--check=crc32", "-9c"],
    &["xz", "--format=lzma", "-9c"],
    &["lzop", "-9c"],
    &["lz4", "-l", "-9c"],
    &["zstd", "-19c"],
];

/// xenstore messages: read, write, set-perms, with a header each.
pub fn xenstore() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, payload) in [
        (2u32, &b"/local/domain/3/name\0"[..]),
        (11, b"data/mark\0value"),
        (14, b"data/mark\0n0\0r3\0"),
        (4, b"@releaseDomain\0token\0"),
    ] {
        for word in [kind, 1, 0, payload.len() as u32] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(payload);
    }
    bytes
}

/// A config with the statements that people use.
pub const CONFIG: &str =
    "# a domain\nkernel = '/boot/vmlinuz'\nmemory = 64 * 2\nname = \"n%d\" % 3\n\
    vcpus = 2\nvif = ['mac=00:16:3e:00:00:01, bridge=br0']\nextra = \"4 \" + 'console=hvc0'\n\
    disk = [ 'phy:hda1,hda1,w', 'phy:%s,%s,r' % ('hda2', 'xvdb') ]\non_crash = 'destroy'\n";

/// A domain as xm sends it.
pub const SXP: &str = "(vm (name 'a b') (memory 128) (vcpus 1) (on_reboot restart) (image (linux (kernel /boot/vmlinuz) \
    (args \"console=hvc0 \\\"x\\\"\"))) (device (vif (mac 00:16:3e:00:00:01))))";

/// A viewer that is let in, says what it knows and asks; its first byte is the size of pieces ([`crate::targets::viewers`]).
pub fn vnc_viewer() -> Vec<Vec<u8>> {
    let message = |encoding: i32| {
        let mut bytes = vec![0x7f];
        bytes.extend_from_slice(b"RFB 003.008\n\x01\x01");
        // 16 bits per pixel, then encodings, then questions.
        bytes.extend_from_slice(&[
            0, 0, 0, 0, 16, 16, 0, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0,
        ]);
        bytes.extend_from_slice(&[2, 0, 0, 9]);
        let extensions = [encoding, -223, -257, -258, -308, -312, -313, -316, -250];
        bytes.extend(extensions.iter().flat_map(|number| number.to_be_bytes()));
        bytes.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0x02, 0x58, 0x01, 0xf4]);
        bytes.extend_from_slice(&[
            4, 1, 0, 0, 0, 0, 0, 0x41, 255, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 30,
        ]);
        bytes.extend_from_slice(&[5, 0x81, 0, 5, 0, 6, 1, 6, 0, 0, 0, 0, 0, 0, 2, 65, 66]);
        bytes.extend_from_slice(&[
            248, 0, 0, 0, 0x80, 0, 0, 1, 2, 9, 9, 251, 0, 1, 0, 1, 0, 0, 0,
        ]);
        bytes.extend_from_slice(&[150, 1, 0, 0, 0, 0, 1, 0, 1, 0, 3, 1, 0, 0, 0, 0, 1, 0, 1, 0]);
        bytes
    };
    [0, 5, 6, 7, 16].map(message).into()
}
