use super::layout::checksum;
use super::*;
use crate::devices::vbd::blocks::{perform, qemu_img};
use crate::vstate::memory::GuestMemory;
use noxen_devices::pv::block::{Job, JobOp, Piece};
use proptest::prelude::*;
use rustix::fs::{memfd_create, MemfdFlags};
use vm_memory::{Bytes, GuestAddress};

const SIZE: u64 = 6 * MIB;
const BLOCK: u64 = MIB;
const LOG: u64 = MIB;
const METADATA: u64 = 2 * MIB;
const TABLE: u64 = 3 * MIB;
const END: u64 = 4 * MIB;

/// Field after field, as a file has them.
fn fields(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn with_sum(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    bytes.resize(length, 0);
    let sum = checksum(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn header(sequence: u64, log: [u8; 16], log_length: u32) -> Vec<u8> {
    let bytes = fields(&[
        b"head\0\0\0\0",
        &sequence.to_le_bytes(),
        &[1; 32],
        &log,
        &[0, 0, 1, 0],
        &log_length.to_le_bytes(),
        &LOG.to_le_bytes(),
    ]);
    with_sum(bytes, 4096)
}

/// GUIDs as they are in files made by others.
const BAT_GUID: [u8; 16] = *b"\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08";
const METADATA_GUID: [u8; 16] =
    *b"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
const PARAMETERS_GUID: [u8; 16] =
    *b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
const SIZE_GUID: [u8; 16] = *b"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
const LOGICAL_GUID: [u8; 16] = *b"\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f";
const PHYSICAL_GUID: [u8; 16] =
    *b"\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56";

fn regions(required: [u8; 16]) -> Vec<u8> {
    let region = |guid: &[u8; 16], at: u64| {
        fields(&[
            guid,
            &at.to_le_bytes(),
            &(MIB as u32).to_le_bytes(),
            &[1, 0, 0, 0],
        ])
    };
    let bytes = fields(&[
        b"regi\0\0\0\0",
        &[2, 0, 0, 0, 0, 0, 0, 0],
        &region(&required, TABLE),
        &region(&METADATA_GUID, METADATA),
    ]);
    with_sum(bytes, 64 << 10)
}

fn metadata(block: u32, flags: u32, logical: u32) -> Vec<u8> {
    let item = |guid: &[u8; 16], at: u32, length: u32| {
        let at = (at + (64 << 10)).to_le_bytes();
        fields(&[guid, &at, &length.to_le_bytes(), &[4, 0, 0, 0, 0, 0, 0, 0]])
    };
    let mut bytes = fields(&[
        b"metadata\0\0\x04\0",
        &[0; 20],
        &item(&PARAMETERS_GUID, 0, 8),
        &item(&SIZE_GUID, 8, 8),
        &item(&LOGICAL_GUID, 16, 4),
        &item(&PHYSICAL_GUID, 20, 4),
    ]);
    bytes.resize(64 << 10, 0);
    bytes.extend(fields(&[
        &block.to_le_bytes(),
        &flags.to_le_bytes(),
        &SIZE.to_le_bytes(),
        &logical.to_le_bytes(),
        &4096u32.to_le_bytes(),
    ]));
    bytes
}

/// An image of six blocks, none of them there.
fn image() -> File {
    let file = File::from(memfd_create("vhdx", MemfdFlags::CLOEXEC).unwrap());
    file.set_len(END).unwrap();
    for (at, part) in [
        (0, b"vhdxfile".to_vec()),
        (64 << 10, header(7, [0; 16], MIB as u32)),
        (128 << 10, header(6, [9; 16], MIB as u32)),
        (192 << 10, regions(BAT_GUID)),
        (METADATA, metadata(BLOCK as u32, 0, 512)),
    ] {
        file.write_all_at(&part, at).unwrap();
    }
    file
}

fn opened(file: &File) -> Result<Vhdx, String> {
    Vhdx::open(file.try_clone().unwrap(), false)
}

fn memory() -> GuestMemory {
    GuestMemory::from_ranges(&[(GuestAddress(0), 8 << 20)]).unwrap()
}

fn transfer(vhdx: &Vhdx, memory: &GuestMemory, op: JobOp, offset: u64, len: u32) {
    let job = Job {
        token: 0,
        op,
        offset,
        pieces: vec![Piece {
            at: GuestAddress(0),
            len,
        }],
    };
    perform(vhdx, memory, &job).unwrap();
}

/// Bytes of value `value` written from `offset` on.
fn write(vhdx: &Vhdx, offset: u64, value: u8, len: u32) {
    let memory = memory();
    memory
        .write_slice(&vec![value; len as usize], GuestAddress(0))
        .unwrap();
    transfer(vhdx, &memory, JobOp::Write, offset, len);
}

fn whole(vhdx: &Vhdx) -> Vec<u8> {
    let memory = memory();
    memory
        .write_slice(&vec![1; SIZE as usize], GuestAddress(0))
        .unwrap();
    transfer(vhdx, &memory, JobOp::Read, 0, SIZE as u32);
    let mut bytes = vec![0; SIZE as usize];
    memory.read_slice(&mut bytes, GuestAddress(0)).unwrap();
    bytes
}

fn bytes(file: &File, at: u64, length: usize) -> Vec<u8> {
    read(file, at, length).unwrap()
}

#[test]
fn written_range_over_two_blocks_is_there_when_opened_anew_and_the_rest_is_zero() {
    let file = image();
    let vhdx = opened(&file).unwrap();
    assert_eq!((vhdx.size(), vhdx.sectors()), (SIZE, (512, 4096)));
    write(&vhdx, 3 * BLOCK - 2048, 7, 4096);
    write(&vhdx, 0, 8, 512);
    drop(vhdx);
    assert_eq!(file.metadata().unwrap().len(), END + 3 * BLOCK);
    assert_eq!(
        Current::read(&file).unwrap().header.log,
        [0; 16],
        "the log was left"
    );
    let mut expected = vec![0; SIZE as usize];
    expected[..512].fill(8);
    expected[(3 * BLOCK - 2048) as usize..][..4096].fill(7);
    let vhdx = Vhdx::open(file, true).unwrap();
    assert!(whole(&vhdx) == expected);
}

#[test]
fn table_that_did_not_reach_the_disk_comes_from_the_log() {
    let file = image();
    let before = bytes(&file, TABLE, 4096);
    let vhdx = opened(&file).unwrap();
    for block in 0..4 {
        write(&vhdx, block * BLOCK, 5, 512);
    }
    // Killed: nothing is put in order, and the last place in the table is lost.
    std::mem::forget(vhdx);
    let table = bytes(&file, TABLE, 4096);
    file.write_all_at(&before[24..32], TABLE + 24).unwrap();
    let line = Vhdx::open(file.try_clone().unwrap(), true).unwrap_err();
    assert!(line.contains("mode w"), "{line}");
    let vhdx = opened(&file).unwrap();
    assert!(bytes(&file, TABLE, 4096) == table);
    assert!(whole(&vhdx)[3 * BLOCK as usize..][..512] == [5; 512]);
    // Nothing is replayed twice.
    assert_eq!(Current::read(&file).unwrap().header.log, [0; 16]);
}

#[test]
fn entry_that_is_torn_is_not_replayed_but_the_one_before_it_is() {
    let file = image();
    let vhdx = opened(&file).unwrap();
    write(&vhdx, 0, 5, 512);
    let first = bytes(&file, TABLE, 4096);
    write(&vhdx, BLOCK, 5, 512);
    std::mem::forget(vhdx);
    // The second entry is behind the first one's two sectors; its table was not written then.
    file.write_all_at(b"torn", LOG + 2 * 4096 + 5000).unwrap();
    file.write_all_at(&[0; 4096], TABLE).unwrap();
    opened(&file).unwrap();
    assert!(bytes(&file, TABLE, 4096) == first);
}

/// A log of one entry with one descriptor, whole by its sum.
fn logged(signature: &[u8; 4], leading: u64, offset: u64, file_end: u64) -> Vec<u8> {
    let mut entry = fields(&[
        b"loge\0\0\0\0",
        &8192u32.to_le_bytes(),
        &0u32.to_le_bytes(),
        &5u64.to_le_bytes(),
        &1u32.to_le_bytes(),
        &[0; 4],
        &[9; 16],
        &file_end.min(END).to_le_bytes(),
        &file_end.to_le_bytes(),
        signature,
        &[4; 4],
        &leading.to_le_bytes(),
        &offset.to_le_bytes(),
        &5u64.to_le_bytes(),
    ]);
    entry.resize(4096, 0);
    entry.extend(fields(&[b"data", &[0; 4], &[3; 4084], &5u32.to_le_bytes()]));
    with_sum(entry, 8192)
}

fn with_log(entry: &[u8]) -> File {
    let file = image();
    file.write_all_at(&header(8, [9; 16], MIB as u32), 128 << 10)
        .unwrap();
    file.write_all_at(entry, LOG).unwrap();
    file
}

#[test]
fn changes_of_the_log_are_made_and_those_in_wrong_places_refused() {
    let data = with_log(&logged(
        b"desc",
        0x0202_0202_0202_0202,
        TABLE + MIB / 2,
        END + MIB,
    ));
    opened(&data).unwrap();
    let made = fields(&[&[2; 8], &[3; 4084], &[4; 4]]);
    assert!(bytes(&data, TABLE + MIB / 2, 4096) == made);
    assert_eq!(data.metadata().unwrap().len(), END + MIB);
    let zero = with_log(&logged(b"zero", 8192, TABLE + MIB / 2, END));
    zero.write_all_at(&[6; 12288], TABLE + MIB / 2).unwrap();
    opened(&zero).unwrap();
    assert!(bytes(&zero, TABLE + MIB / 2, 8192) == [0; 8192]);
    assert!(bytes(&zero, TABLE + MIB / 2 + 8192, 4096) == [6; 4096]);
    let short = with_log(&logged(b"desc", 0, TABLE, END));
    short.set_len(END - MIB).unwrap();
    assert!(opened(&short).unwrap_err().contains("of a file of"));
    for entry in [
        logged(b"desc", 0, 128 << 10, END),
        logged(b"desc", 0, LOG + 4096, END),
        logged(b"desc", 0, END, END),
        logged(b"desc", 0, TABLE + 512, END),
        logged(b"zero", u64::MAX - 4095, TABLE, END),
        logged(b"zero", 2 * MIB, LOG - MIB, END),
        logged(b"what", 0, TABLE, END),
        logged(b"desc", 0, TABLE, u64::MAX),
    ] {
        let file = with_log(&entry);
        let before = bytes(&file, 0, END as usize);
        let line = opened(&file).unwrap_err();
        assert!(line.contains("log"), "{line}");
        assert!(bytes(&file, 0, END as usize) == before);
    }
}

#[test]
fn damaged_or_foreign_images_are_refused_with_a_line() {
    let with = |at: u64, part: &[u8]| {
        let file = image();
        file.write_all_at(part, at).unwrap();
        file
    };
    let block = |word: u64| with(TABLE, &word.to_le_bytes());
    let no_headers = with(64 << 10, &[0; 100]);
    no_headers.write_all_at(&[0; 100], 128 << 10).unwrap();
    for (file, word) in [
        (with(0, b"conectix"), "begin"),
        (no_headers, "headers"),
        (with(64 << 10, &header(9, [0; 16], 1 << 30)), "a log"),
        (with(64 << 10, &header(9, [0; 16], 4096)), "a log"),
        (with(192 << 10, b"what"), "region tables"),
        (with(192 << 10, &regions([7; 16])), "understood"),
        (with(METADATA, b"what"), "metadata"),
        (
            with(METADATA, &metadata(BLOCK as u32, 2, 512)),
            "differencing",
        ),
        (with(METADATA, &metadata(4096, 0, 512)), "blocks of 4096"),
        (with(METADATA, &metadata(BLOCK as u32, 0, 520)), "sectors"),
        (block(END | 6), "block 0 in state 6"),
        (block((3 * MIB) | 7), "block 0 in state 7"),
        (block(TABLE | 6), "over what describes"),
        (block(6), "block 0 in state 6"),
    ] {
        let line = opened(&file).unwrap_err();
        assert!(line.contains(word), "{word}: {line}");
    }
}

#[test]
fn qemu_img_makes_what_is_written_here_and_reads_it() {
    let path = |name: &str| {
        let name = format!("noxen-vhdx-{}.{name}", std::process::id());
        std::env::temp_dir().join(name).display().to_string()
    };
    let (image, plain) = (path("vhdx"), path("plain"));
    for options in ["block_size=1M,subformat=fixed", "block_size=1M"] {
        qemu_img(&["create", "-q", "-f", "vhdx", "-o", options, &image, "6M"]);
        let file = File::options().read(true).write(true).open(&image).unwrap();
        let vhdx = Vhdx::open(file, false).unwrap();
        write(&vhdx, BLOCK - 2048, 7, 4096);
        write(&vhdx, 4 * BLOCK - 2048, 7, 4096);
        let expected = whole(&vhdx);
        drop(vhdx);
        qemu_img(&["check", "-q", "-f", "vhdx", &image]);
        qemu_img(&["convert", "-f", "vhdx", "-O", "raw", &image, &plain]);
        assert!(std::fs::read(&plain).unwrap() == expected, "{options}");
    }
    // Left in the middle, by us: qemu-img replays our log.
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let vhdx = Vhdx::open(file, false).unwrap();
    write(&vhdx, 5 * BLOCK, 9, 512);
    let expected = whole(&vhdx);
    std::mem::forget(vhdx);
    qemu_img(&["check", "-q", "-r", "all", "-f", "vhdx", &image]);
    qemu_img(&["convert", "-f", "vhdx", "-O", "raw", &image, &plain]);
    assert!(std::fs::read(&plain).unwrap() == expected);
    for path in [image, plain] {
        std::fs::remove_file(path).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever is in the log, with or without a good sum: it is opened or refused, and the headers stay.
    #[test]
    fn wild_log_is_replayed_or_refused(
        changes in proptest::collection::vec((0usize..8192, any::<u8>()), 0..12),
        good in any::<bool>(),
    ) {
        let mut entry = logged(b"desc", 0, TABLE, END);
        for (at, value) in changes {
            entry[at] = value;
        }
        let entry = if good { with_sum(entry, 8192) } else { entry };
        let file = with_log(&entry);
        let regions = bytes(&file, 192 << 10, 64 << 10);
        let _ = opened(&file);
        prop_assert!(bytes(&file, 192 << 10, 64 << 10) == regions);
    }
}
