//! A PV kernel that can be loaded: one page of nothing and the notes that the builder needs.

use std::fs::File;
use std::io::{Seek, Write};

/// A memfd with `bytes`, at its start.
pub fn file_of(bytes: &[u8]) -> File {
    let fd = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(fd);
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

const VIRT_BASE: u64 = 0xffff_ffff_8000_0000;
const CODE: u64 = 0x1000;

/// The ELF file.
pub fn tiny() -> Vec<u8> {
    let mut notes = Vec::new();
    note(&mut notes, 6, b"linux\0");
    note(&mut notes, 5, b"xen-3.0\0");
    note(&mut notes, 3, &VIRT_BASE.to_le_bytes());
    note(&mut notes, 1, &(VIRT_BASE + CODE).to_le_bytes());
    note(&mut notes, 8, b"generic\0");
    let mut elf = vec![0u8; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    put(&mut elf, 16, &2u16.to_le_bytes());
    put(&mut elf, 18, &62u16.to_le_bytes());
    put(&mut elf, 20, &1u32.to_le_bytes());
    put(&mut elf, 24, &(VIRT_BASE + CODE).to_le_bytes());
    put(&mut elf, 32, &64u64.to_le_bytes());
    put(&mut elf, 52, &64u16.to_le_bytes());
    put(&mut elf, 54, &56u16.to_le_bytes());
    put(&mut elf, 56, &2u16.to_le_bytes());
    put(&mut elf, 58, &64u16.to_le_bytes());
    program(&mut elf, 1, 5, 0x1000, CODE, 4096);
    program(&mut elf, 4, 4, 176, 0, notes.len() as u64);
    elf.extend(notes);
    elf.resize(0x2000, 0x90);
    elf
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn program(elf: &mut Vec<u8>, kind: u32, flags: u32, offset: u64, address: u64, size: u64) {
    elf.extend(kind.to_le_bytes());
    elf.extend(flags.to_le_bytes());
    for word in [offset, VIRT_BASE + address, address, size, size, 4096] {
        elf.extend(word.to_le_bytes());
    }
}

fn note(notes: &mut Vec<u8>, kind: u32, value: &[u8]) {
    notes.extend(4u32.to_le_bytes());
    notes.extend((value.len() as u32).to_le_bytes());
    notes.extend(kind.to_le_bytes());
    notes.extend(b"Xen\0");
    notes.extend(value);
    notes.resize(notes.len().next_multiple_of(4), 0);
}
