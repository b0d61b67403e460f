use super::*;
use crate::devices::vbd::blocks::perform;
use crate::vstate::memory::GuestMemory;
use noxen_devices::pv::block::{Job, JobOp, Piece};
use rustix::fs::{memfd_create, MemfdFlags};
use vm_memory::{Bytes, GuestAddress};

const SIZE: u64 = 64 << 10;
const BLOCK: u64 = 16 << 10;
const TABLE: u64 = 1536;

fn footer(kind: u32) -> [u8; FOOTER] {
    let mut footer = [0; FOOTER];
    footer[..8].copy_from_slice(b"conectix");
    footer[12..16].copy_from_slice(&0x1_0000u32.to_be_bytes());
    footer[16..24].copy_from_slice(&(FOOTER as u64).to_be_bytes());
    footer[48..56].copy_from_slice(&SIZE.to_be_bytes());
    footer[60..64].copy_from_slice(&kind.to_be_bytes());
    let sum = checksum(&footer, 64);
    footer[64..68].copy_from_slice(&sum.to_be_bytes());
    footer
}

fn memfd(parts: &[(u64, &[u8])]) -> File {
    let file = File::from(memfd_create("vhd", MemfdFlags::CLOEXEC).unwrap());
    for (at, part) in parts {
        file.write_all_at(part, *at).unwrap();
    }
    file
}

fn header(entries: u32, block: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(b"cxsparse");
    header[16..24].copy_from_slice(&TABLE.to_be_bytes());
    header[28..32].copy_from_slice(&entries.to_be_bytes());
    header[32..36].copy_from_slice(&block.to_be_bytes());
    let sum = checksum(&header, 36);
    header[36..40].copy_from_slice(&sum.to_be_bytes());
    header
}

/// Four blocks, none of them there.
fn dynamic() -> File {
    let footer = footer(DYNAMIC);
    memfd(&[
        (0, &footer),
        (512, &header(4, BLOCK as u32)),
        (TABLE, &[0xff; 512]),
        (2048, &footer),
    ])
}

fn memory() -> GuestMemory {
    GuestMemory::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap()
}

fn transfer(vhd: &Vhd, memory: &GuestMemory, op: JobOp, offset: u64, at: u64, len: u32) {
    let job = Job {
        token: 0,
        op,
        offset,
        pieces: vec![Piece {
            at: GuestAddress(at),
            len,
        }],
    };
    perform(vhd, memory, &job).unwrap();
}

fn bytes(memory: &GuestMemory, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

#[test]
fn written_range_over_two_blocks_is_there_when_opened_anew_and_the_rest_is_zero() {
    let file = dynamic();
    let memory = memory();
    memory.write_slice(&[7; 4096], GuestAddress(0)).unwrap();
    let vhd = Vhd::open(file.try_clone().unwrap()).unwrap();
    assert_eq!(vhd.size(), SIZE);
    transfer(&vhd, &memory, JobOp::Write, 2 * BLOCK - 2048, 0, 4096);
    transfer(&vhd, &memory, JobOp::Write, BLOCK, 0, 512);
    drop(vhd);
    // Two blocks of one sector of bitmap and their data, footer last.
    let length = file.metadata().unwrap().len();
    assert_eq!(length, 2048 + 2 * (512 + BLOCK) + 512);
    let mut last = [0; FOOTER];
    file.read_exact_at(&mut last, length - 512).unwrap();
    assert!(is_footer(&last));
    let vhd = Vhd::open(file).unwrap();
    memory
        .write_slice(&[1; SIZE as usize], GuestAddress(0x4_0000))
        .unwrap();
    transfer(&vhd, &memory, JobOp::Read, 0, 0x4_0000, SIZE as u32);
    let mut expected = vec![0; SIZE as usize];
    let at = (2 * BLOCK - 2048) as usize;
    expected[at..at + 4096].fill(7);
    expected[BLOCK as usize..][..512].fill(7);
    assert!(bytes(&memory, 0x4_0000, SIZE as usize) == expected);
}

#[test]
fn fixed_image_is_its_bytes_before_the_footer() {
    let file = memfd(&[(0, &[3; SIZE as usize]), (SIZE, &footer(FIXED))]);
    let memory = memory();
    let vhd = Vhd::open(file.try_clone().unwrap()).unwrap();
    transfer(&vhd, &memory, JobOp::Read, SIZE - 512, 0, 512);
    assert_eq!(bytes(&memory, 0, 512), [3; 512]);
    memory.write_slice(&[4; 512], GuestAddress(0)).unwrap();
    transfer(&vhd, &memory, JobOp::Write, 1024, 0, 512);
    let mut got = [0; 512];
    file.read_exact_at(&mut got, 1024).unwrap();
    assert_eq!(got, [4; 512]);
}

#[test]
fn image_whose_last_footer_was_lost_opens_by_its_copy() {
    let file = dynamic();
    file.write_all_at(&[0; 512], 2048).unwrap();
    let memory = memory();
    let vhd = Vhd::open(file.try_clone().unwrap()).unwrap();
    transfer(&vhd, &memory, JobOp::Write, 0, 0, 512);
    drop(vhd);
    assert!(Vhd::open(file).is_ok());
}

#[test]
fn damaged_or_foreign_images_are_refused_with_a_line() {
    let far = |entry: u32| {
        let mut table = [0xff; 512];
        table[..4].copy_from_slice(&entry.to_be_bytes());
        table
    };
    let whole = footer(DYNAMIC);
    let image = |header: &[u8], table: &[u8]| {
        memfd(&[(0, &whole), (512, header), (TABLE, table), (2048, &whole)])
    };
    let good = header(4, BLOCK as u32);
    let mut bent = good;
    bent[40] = 1;
    for (file, word) in [
        (memfd(&[(0, &[0; 4096])]), "no footer"),
        (memfd(&[(0, &[0; 100])]), "512 bytes"),
        (memfd(&[(0, &footer(4))]), "type 4"),
        (memfd(&[(0, &footer(FIXED))]), "bytes in a file"),
        (image(&bent, &[0xff; 512]), "damaged"),
        (image(&header(3, BLOCK as u32), &[0xff; 512]), "table of 3"),
        (
            image(&header(u32::MAX, BLOCK as u32), &[0xff; 512]),
            "table",
        ),
        (image(&header(4, 1000), &[0xff; 512]), "blocks of 1000"),
        (image(&good, &far(0x1234_5678)), "beyond"),
    ] {
        let line = Vhd::open(file).unwrap_err();
        assert!(line.contains(word), "{word}: {line}");
    }
}
