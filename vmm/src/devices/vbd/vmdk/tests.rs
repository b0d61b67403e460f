use super::*;
use crate::devices::vbd::blocks::{perform, qemu_img, read};
use crate::vstate::memory::GuestMemory;
use noxen_devices::pv::block::{Job, JobOp, Piece};
use proptest::prelude::*;
use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags, SealFlags};
use vm_memory::{Bytes, GuestAddress};

/// Grains of 4 KiB, so that a disk of two tables is small.
const GRAIN: u64 = 4096;
const SIZE: u64 = 600 * GRAIN;
const DESCRIPTOR: u64 = SECTOR;
/// Directory and its one table, then the same again.
const COPY: u64 = 21 * SECTOR;
const COPY_TABLE: u64 = 22 * SECTOR;
const DIRECTORY: u64 = 26 * SECTOR;
const FIRST_TABLE: u64 = 27 * SECTOR;
const OVERHEAD: u64 = 32 * SECTOR;

fn header(version: u32, flags: u32) -> Vec<u8> {
    [
        &b"KDMV"[..],
        &version.to_le_bytes(),
        &flags.to_le_bytes(),
        &(SIZE / SECTOR).to_le_bytes(),
        &(GRAIN / SECTOR).to_le_bytes(),
        &(DESCRIPTOR / SECTOR).to_le_bytes(),
        &20u64.to_le_bytes(),
        &512u32.to_le_bytes(),
        &(COPY / SECTOR).to_le_bytes(),
        &(DIRECTORY / SECTOR).to_le_bytes(),
        &(OVERHEAD / SECTOR).to_le_bytes(),
        b"\0\n \r\n",
        &u16::from(flags >> 16 != 0).to_le_bytes(),
    ]
    .concat()
}

fn text(kind: &str) -> String {
    let sectors = SIZE / SECTOR;
    format!("# Disk DescriptorFile\nversion=1\nCID=5bacf79\nparentCID=ffffffff\ncreateType=\"{kind}\"\n\nRW {sectors} SPARSE \"x.vmdk\"\n")
}

fn sector(at: u64) -> [u8; 4] {
    ((at / SECTOR) as u32).to_le_bytes()
}

/// A disk without a grain, with its first table.
fn image() -> File {
    let file = File::from(memfd_create("vmdk", MemfdFlags::ALLOW_SEALING).unwrap());
    file.set_len(OVERHEAD).unwrap();
    put(&file, 0, &header(1, 3));
    put(&file, DESCRIPTOR, text("monolithicSparse").as_bytes());
    put(&file, COPY, &sector(COPY_TABLE));
    put(&file, DIRECTORY, &sector(FIRST_TABLE));
    file
}

fn put(file: &File, at: u64, bytes: &[u8]) {
    file.write_all_at(bytes, at).unwrap();
}

fn opened(file: &File) -> Result<Vmdk, String> {
    Vmdk::open(file.try_clone().unwrap(), false)
}

fn memory() -> GuestMemory {
    GuestMemory::from_ranges(&[(GuestAddress(0), 8 << 20)]).unwrap()
}

fn transfer(vmdk: &Vmdk, memory: &GuestMemory, op: JobOp, offset: u64, len: u64) -> io::Result<()> {
    let piece = Piece {
        at: GuestAddress(0),
        len: len as u32,
    };
    let job = Job {
        token: 0,
        op,
        offset,
        pieces: vec![piece],
    };
    perform(vmdk, memory, &job)
}

/// Bytes of value `value` written from `offset` on.
fn write(vmdk: &Vmdk, offset: u64, value: u8, len: u64) -> io::Result<()> {
    let memory = memory();
    let data = vec![value; len as usize];
    memory.write_slice(&data, GuestAddress(0)).unwrap();
    transfer(vmdk, &memory, JobOp::Write, offset, len)
}

fn whole(vmdk: &Vmdk) -> Vec<u8> {
    let (memory, length) = (memory(), vmdk.size());
    let mut bytes = vec![1; length as usize];
    memory.write_slice(&bytes, GuestAddress(0)).unwrap();
    transfer(vmdk, &memory, JobOp::Read, 0, length).unwrap();
    memory.read_slice(&mut bytes, GuestAddress(0)).unwrap();
    bytes
}

/// The entry of a table or a directory.
fn entry(file: &File, at: u64) -> u32 {
    u32::from_le_bytes(read(file, at, 4).unwrap().try_into().unwrap())
}

#[test]
fn written_range_over_grains_and_tables_is_there_when_opened_anew_and_the_rest_is_zero() {
    let file = image();
    let vmdk = opened(&file).unwrap();
    assert_eq!(vmdk.size(), SIZE);
    // From the last grain of the first table into the second one, which the file has not yet; and a grain's middle.
    let border = 512 * GRAIN;
    write(&vmdk, border - 1024, 7, GRAIN).unwrap();
    write(&vmdk, 2 * GRAIN + 512, 8, 1024).unwrap();
    assert_eq!(read(&file, UNCLEAN, 1).unwrap(), [1]);
    drop(vmdk);
    assert_eq!(read(&file, UNCLEAN, 1).unwrap(), [0]);
    // Three grains and two tables, each at a grain's border.
    assert!(file.metadata().unwrap().len() <= OVERHEAD + 5 * GRAIN);
    let second = [DIRECTORY + 4, COPY + 4].map(|at| u64::from(entry(&file, at)) * SECTOR);
    assert!(second[0] != second[1] && !second.contains(&0), "{second:?}");
    assert_eq!(read(&file, second[0], 2048), read(&file, second[1], 2048));
    assert_eq!(
        read(&file, FIRST_TABLE, 2048),
        read(&file, COPY_TABLE, 2048)
    );
    let mut expected = vec![0; SIZE as usize];
    expected[border as usize - 1024..][..GRAIN as usize].fill(7);
    expected[2 * GRAIN as usize + 512..][..1024].fill(8);
    let vmdk = Vmdk::open(file.try_clone().unwrap(), true).unwrap();
    assert!(whole(&vmdk) == expected);
    let said = read(&file, DESCRIPTOR, 200).unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("CID=") && !said.contains("5bacf79"), "{said}");
}

#[test]
fn image_that_is_only_read_stays_as_it_is() {
    let file = image();
    put(&file, FIRST_TABLE, &sector(OVERHEAD));
    put(&file, OVERHEAD, &[5; GRAIN as usize]);
    let before = read(&file, 0, (OVERHEAD + GRAIN) as usize).unwrap();
    let vmdk = opened_readonly(&file).unwrap();
    assert_eq!(whole(&vmdk)[..GRAIN as usize], [5; GRAIN as usize]);
    drop(vmdk);
    assert!(read(&file, 0, before.len()).unwrap() == before);
    assert_eq!(file.metadata().unwrap().len(), before.len() as u64);
}

fn opened_readonly(file: &File) -> Result<Vmdk, String> {
    Vmdk::open(file.try_clone().unwrap(), true)
}

#[test]
fn every_moment_at_which_a_writer_is_killed_leaves_an_image_that_opens_with_what_was_flushed() {
    let memory = memory();
    let file = image();
    let vmdk = opened(&file).unwrap();
    write(&vmdk, 0, 5, GRAIN).unwrap();
    transfer(&vmdk, &memory, JobOp::Flush, 0, 0).unwrap();
    let border = 512 * GRAIN;
    write(&vmdk, GRAIN, 6, GRAIN).unwrap();
    write(&vmdk, border, 6, GRAIN).unwrap();
    std::mem::forget(vmdk);
    let length = file.metadata().unwrap().len();
    let tables = [entry(&file, DIRECTORY + 4), entry(&file, COPY + 4)];
    let inside = |table: u32| u64::from(table) * SECTOR;
    // What was written after the flush, entry by entry, as each may have been lost by itself.
    let places = [
        FIRST_TABLE + 4,
        COPY_TABLE + 4,
        DIRECTORY + 4,
        COPY + 4,
        inside(tables[0]),
        inside(tables[1]),
    ];
    for lost in 0u32..1 << places.len() {
        let copy = File::from(memfd_create("copy", MemfdFlags::CLOEXEC).unwrap());
        copy.set_len(length).unwrap();
        let used = length.min(OVERHEAD + 16 * GRAIN) as usize;
        put(&copy, 0, &read(&file, 0, used).unwrap());
        for (bit, at) in places.iter().enumerate() {
            if lost >> bit & 1 != 0 {
                put(&copy, *at, &[0; 4]);
            }
        }
        let vmdk = opened(&copy).unwrap_or_else(|line| panic!("{lost:#b}: {line}"));
        let seen = whole(&vmdk);
        assert!(seen[..GRAIN as usize].iter().all(|byte| *byte == 5));
        let later = [&seen[GRAIN as usize..], &seen[border as usize..]];
        for grain in later.map(|from| &from[..GRAIN as usize]) {
            let first = grain[0];
            assert!(first == 0 || first == 6, "{lost:#b}: {first}");
            assert!(grain.iter().all(|byte| *byte == first), "{lost:#b}");
        }
        // Put in order: both copies are even, and what is written next does not come over what is there.
        write(&vmdk, 3 * GRAIN, 9, GRAIN).unwrap();
        drop(vmdk);
        assert_eq!(
            read(&copy, FIRST_TABLE, 2048),
            read(&copy, COPY_TABLE, 2048)
        );
        let again = whole(&opened(&copy).unwrap());
        assert!(again[..3 * GRAIN as usize] == seen[..3 * GRAIN as usize]);
    }
}

#[test]
fn grain_that_is_called_zeros_reads_so_and_can_be_written() {
    let file = image();
    put(&file, 0, &header(2, 7));
    for table in [FIRST_TABLE, COPY_TABLE] {
        put(&file, table, &1u32.to_le_bytes());
    }
    let vmdk = opened(&file).unwrap();
    assert!(whole(&vmdk).iter().all(|byte| *byte == 0));
    write(&vmdk, 512, 3, 512).unwrap();
    drop(vmdk);
    let seen = whole(&opened(&file).unwrap());
    assert_eq!(seen[512..1024], [3; 512]);
    assert_eq!(entry(&file, FIRST_TABLE), entry(&file, COPY_TABLE));
}

#[test]
fn damaged_redundant_tables_do_not_hinder_reading() {
    let file = image();
    put(&file, DIRECTORY, &u32::MAX.to_le_bytes());
    let line = opened(&file).unwrap_err();
    assert!(line.contains("beyond its end"), "{line}");
    put(&file, COPY_TABLE, &sector(OVERHEAD));
    put(&file, OVERHEAD, &[5; GRAIN as usize]);
    let vmdk = opened_readonly(&file).unwrap();
    assert_eq!(whole(&vmdk)[..GRAIN as usize], [5; GRAIN as usize]);
}

#[test]
fn disk_without_space_for_more_fails_its_write_and_keeps_what_it_has() {
    let file = image();
    let vmdk = opened(&file).unwrap();
    write(&vmdk, 0, 5, GRAIN).unwrap();
    // A file that cannot become longer, as on a full disk; then a place past what numbers of sectors reach.
    fcntl_add_seals(&file, SealFlags::GROW).unwrap();
    for end in [file.metadata().unwrap().len(), 4 << 40] {
        lock(&vmdk.state).end = end;
        assert!(write(&vmdk, GRAIN, 6, GRAIN).is_err());
    }
    write(&vmdk, 512, 7, 512).unwrap();
    let seen = whole(&vmdk);
    assert_eq!(seen[..512], [5; 512]);
    assert_eq!(seen[512..1024], [7; 512]);
    assert!(seen[GRAIN as usize..].iter().all(|byte| *byte == 0));
}

#[test]
fn damaged_or_foreign_images_are_refused_with_a_line() {
    let with = |at: u64, part: &[u8]| {
        let file = image();
        put(&file, at, part);
        file
    };
    let both = |at: [u64; 2], word: u32| {
        let file = with(at[0], &word.to_le_bytes());
        put(&file, at[1], &word.to_le_bytes());
        file
    };
    let grain = |word: u32| both([FIRST_TABLE, COPY_TABLE], word);
    let uneven = grain((OVERHEAD / SECTOR) as u32);
    put(&uneven, COPY_TABLE, &sector(OVERHEAD + GRAIN));
    uneven.set_len(OVERHEAD + 2 * GRAIN).unwrap();
    let flat = text("monolithicFlat").replace("SPARSE \"x.vmdk\"", "FLAT \"x-flat.vmdk\" 0\n\0");
    let larger = text("monolithicSparse").replace("RW 4800", "RW 4801");
    let short = image();
    short.set_len(100).unwrap();
    for (file, word) in [
        (with(0, b"conectix"), "begin"),
        (with(0, flat.as_bytes()), "qemu-img convert"),
        (with(DESCRIPTOR, flat.as_bytes()), "in another file"),
        (with(DESCRIPTOR, larger.as_bytes()), "4801 sectors"),
        (
            with(DESCRIPTOR, (text("vmfs") + "\0").as_bytes()),
            "type vmfs",
        ),
        (short, "512 bytes"),
        (with(0, &header(4, 3)), "version 4"),
        (with(0, &header(3, 3)), "version 3"),
        (with(0, &header(3, 0x3_0003)), "compressed"),
        (with(0, &header(3, 0x1_0003)), "flags 0x10003"),
        (with(73, b"\n\n\n\n"), "as a text"),
        (with(20, &4u64.to_le_bytes()), "grains of 4"),
        (with(20, &u64::MAX.to_le_bytes()), "grains of"),
        (with(44, &513u32.to_le_bytes()), "tables of 513"),
        (with(28, &0u64.to_le_bytes()), "several of a disk"),
        (with(28, &u64::MAX.to_le_bytes()), "several of a disk"),
        (with(36, &u64::MAX.to_le_bytes()), "several of a disk"),
        (with(56, &u64::MAX.to_le_bytes()), "footer"),
        (with(56, &0u64.to_le_bytes()), "directories"),
        (with(56, &(1u64 << 60).to_le_bytes()), "directories"),
        (with(56, &5000u64.to_le_bytes()), "beyond its end"),
        (with(48, &(DIRECTORY / SECTOR).to_le_bytes()), "over each"),
        (with(DIRECTORY, &sector(COPY_TABLE)), "over each"),
        (with(DIRECTORY, &5000u32.to_le_bytes()), "beyond its end"),
        (grain(5000), "grain 0 at sector 5000"),
        (grain(u32::MAX), "grain 0 at"),
        (grain(1), "grain 0 at sector 1,"),
        (grain((FIRST_TABLE / SECTOR) as u32), "over what describes"),
        (uneven, "redundant table"),
    ] {
        let line = opened(&file).unwrap_err();
        assert!(line.contains(word), "{word}: {line}");
    }
}

/// A file of one test, gone with this value.
struct Path(String);

impl Path {
    fn new(name: &str) -> Path {
        let name = format!("noxen-vmdk-{}.{name}", std::process::id());
        Path(std::env::temp_dir().join(name).display().to_string())
    }

    fn open(&self) -> File {
        let mut options = File::options();
        options.read(true).write(true).open(&self.0).unwrap()
    }

    /// The disk, as qemu-img sees it.
    fn by_qemu(&self) -> Vec<u8> {
        let plain = Path(format!("{}.plain", self.0));
        qemu_img(&["check", "-q", "-f", "vmdk", &self.0]);
        qemu_img(&["convert", "-f", "vmdk", "-O", "raw", &self.0, &plain.0]);
        std::fs::read(&plain.0).unwrap()
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn qemu_img_makes_what_is_written_here_and_reads_it() {
    let image = Path::new("sparse");
    // More than one table of 512 grains of 64 KiB would be 32 MiB: a disk that ends in the middle of a grain.
    qemu_img(&["create", "-q", "-f", "vmdk", &image.0, "6292480"]);
    let vmdk = Vmdk::open(image.open(), false).unwrap();
    write(&vmdk, 65536 - 2048, 7, 4096).unwrap();
    write(&vmdk, vmdk.size() - 512, 8, 512).unwrap();
    let expected = whole(&vmdk);
    drop(vmdk);
    assert!(image.by_qemu() == expected);
    // What qemu-img makes of those, we read; and go on with.
    let other = Path::new("other");
    qemu_img(&["convert", "-f", "vmdk", "-O", "vmdk", &image.0, &other.0]);
    let vmdk = Vmdk::open(other.open(), false).unwrap();
    assert!(whole(&vmdk) == expected);
    write(&vmdk, 5 << 20, 9, 1 << 20).unwrap();
    let expected = whole(&vmdk);
    // Killed in the middle: qemu-img finds nothing amiss.
    std::mem::forget(vmdk);
    assert!(other.by_qemu() == expected);
}

#[test]
fn compressed_image_of_qemu_img_is_read_and_its_damage_fails_reads() {
    let (plain, image) = (Path::new("raw"), Path::new("packed"));
    let content: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&plain.0, &content[..1 << 20]).unwrap();
    let options = "subformat=streamOptimized";
    qemu_img(&[
        "convert", "-f", "raw", "-O", "vmdk", "-o", options, &plain.0, &image.0,
    ]);
    let line = Vmdk::open(image.open(), false).unwrap_err();
    assert!(
        line.contains("streamOptimized") && line.contains("qemu-img convert"),
        "{line}"
    );
    let vmdk = Vmdk::open(image.open(), true).unwrap();
    assert!(whole(&vmdk) == content[..1 << 20]);
    assert!(write(&vmdk, 0, 1, 512).is_err());
    // The same with its directory told by a header at the end.
    let file = image.open();
    let length = file.metadata().unwrap().len();
    let first = read(&file, 0, 512).unwrap();
    let mut marker = [0; 512];
    (marker[0], marker[12]) = (1, 3);
    put(&file, length, &[&marker[..], &first, &[0; 512]].concat());
    put(&file, 56, &u64::MAX.to_le_bytes());
    let vmdk = Vmdk::open(image.open(), true).unwrap();
    assert!(whole(&vmdk) == content[..1 << 20]);
    // A grain that says it is another one's, one that is too long, one that is no stream.
    let base = lock(&vmdk.state).tables.grain(3).unwrap().unwrap();
    let good = read(&file, base, 64).unwrap();
    for (at, part) in [
        (0, &[1u8][..]),
        (8, &[255; 4]),
        (8, &[0; 4]),
        (GRAIN_HEAD, &[9; 8]),
    ] {
        put(&file, base + at as u64, part);
        let vmdk = Vmdk::open(image.open(), true).unwrap();
        let memory = memory();
        assert!(transfer(&vmdk, &memory, JobOp::Read, 3 << 16, 512).is_err());
        assert!(transfer(&vmdk, &memory, JobOp::Read, 0, 512).is_ok());
        put(&file, base, &good);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// Whatever describes the disk: it is refused, or opened; then a guest's writes leave an image that opens again.
    #[test]
    fn wild_image_is_refused_or_stays_whole(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        entries in proptest::collection::vec((0..4usize, 0..8u64, 0..60u32), 0..6),
        writes in proptest::collection::vec((0..SIZE / 512, 1..64u64), 1..6),
    ) {
        let file = image();
        file.set_len(OVERHEAD + 4 * GRAIN).unwrap();
        for (table, index, sector) in entries {
            let at = [DIRECTORY, COPY, FIRST_TABLE, COPY_TABLE][table] + index * 4;
            put(&file, at, &sector.to_le_bytes());
        }
        for (at, value) in changes {
            put(&file, at.index(OVERHEAD as usize) as u64, &[value]);
        }
        for readonly in [true, false] {
            let Ok(vmdk) = Vmdk::open(file.try_clone().unwrap(), readonly) else {
                continue;
            };
            for (sector, count) in &writes {
                let length = (count * 512).min(vmdk.size().saturating_sub(sector * 512));
                let wrote = write(&vmdk, sector * 512, 9, length);
                prop_assert!(readonly || wrote.is_ok(), "{wrote:?}");
            }
            drop(vmdk);
            prop_assert!(opened_readonly(&file).is_ok());
            prop_assert!(readonly || opened(&file).is_ok());
        }
    }
}
