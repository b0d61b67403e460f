//! What is written is what is read, and anything else is refused by its name.

mod support;

use noxen_saved_image::hvm::{HvmState, Saved};
use noxen_saved_image::record::LENGTH;
use noxen_saved_image::state::{read_outline, Outline, Outlined};
use noxen_saved_image::{Header, ImageError, Reader, Record, State, Writer};
use proptest::prelude::*;
use std::collections::BTreeMap;
use support::{
    header, header_2, hvm, hvm_image, image, image_with, pages, state, with_devices, CONFIG,
};

type Pages = BTreeMap<u64, Vec<u8>>;

/// Reads all of it: the state, and the pages by offset.
fn read(bytes: &[u8]) -> Result<(State, Pages), ImageError> {
    let mut reader = Reader::open(bytes)?;
    assert_eq!(reader.config(), CONFIG);
    let (state, mut record) = State::read(&mut reader)?;
    let mut pages = Pages::new();
    while let Some(now) = record {
        match now {
            Record::Memory { offset, bytes, .. } => {
                for (n, page) in (0u64..).zip(bytes.chunks(4096)) {
                    pages.insert(offset + n * 4096, page.to_vec());
                }
            }
            other => panic!("{other:?} after memory"),
        }
        record = reader.next()?;
    }
    Ok((state, pages))
}

fn line(bytes: &[u8]) -> String {
    let text = read(bytes).expect_err("it was read").to_string();
    assert!(!text.contains('\n'), "{text:?}");
    text
}

#[test]
fn what_was_written_is_read_and_zero_pages_are_left_out() {
    let bytes = image(&state(), &pages());
    let (got, memory) = read(&bytes).unwrap();
    assert_eq!(got, state());
    assert_eq!(memory.keys().collect::<Vec<_>>(), [&(8192 + 4096)]);
    assert!(memory.values().all(|page| page.iter().all(|b| *b == 0x5a)));
}

/// The golden file: what this version wrote when the format was made. It must be read for ever, and the same
/// state must still be written as the same bytes.
#[test]
fn golden_file_of_format_1_is_read_and_written_again() {
    let golden = include_bytes!("golden/format-1.img");
    let (got, memory) = read(golden).unwrap();
    assert_eq!((got, memory.len()), (state(), 1));
    assert!(
        image(&state(), &pages()) == golden,
        "the format has changed: raise its version"
    );
}

/// Format 2: the configuration has a checksum.
#[test]
fn golden_file_of_format_2_is_read_and_written_again() {
    let golden = include_bytes!("golden/format-2.img");
    let (got, memory) = read(golden).unwrap();
    assert_eq!((got, memory.len()), (state(), 1));
    assert!(
        image_with(&header_2(false), &state(), &pages()) == golden,
        "the format has changed: raise its version"
    );
}

/// Format 2 with compressed memory. Another version of zstd may make other bytes of the same pages, so this one is read only.
#[test]
fn golden_file_with_compressed_memory_is_read() {
    let golden = include_bytes!("golden/zstd-2.img");
    let (got, memory) = read(golden).unwrap();
    assert_eq!((got, memory), (with_devices(), mixed()));
    let mut reader = Reader::open(&golden[..]).unwrap();
    while reader.next().unwrap().is_some() {}
    let totals = reader.totals();
    assert_eq!(totals.memory, 3 * 4096);
    assert!((1..200).contains(&totals.packed), "{totals:?}");
}

/// Two pages that zstd makes small, and one that it does not.
fn mixed() -> Pages {
    let mut seed = 1u64;
    let noise = std::iter::repeat_with(move || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
        (seed >> 56) as u8
    });
    Pages::from([
        (0, vec![7; 4096]),
        (4096, vec![9; 4096]),
        (3 * 4096, noise.take(4096).collect()),
    ])
}

fn compressed() -> Vec<u8> {
    let pages: Vec<_> = mixed().into_iter().collect();
    image_with(&header_2(true), &with_devices(), &pages)
}

#[test]
fn compressed_memory_is_read_as_it_was_and_takes_less() {
    let bytes = compressed();
    let (got, memory) = read(&bytes).unwrap();
    assert_eq!((got, memory), (with_devices(), mixed()));
    let plain: Vec<_> = mixed().into_iter().collect();
    let plain = image_with(&header_2(false), &with_devices(), &plain);
    assert!(bytes.len() + 7000 < plain.len(), "{}", bytes.len());
    for length in 0..bytes.len() {
        assert!(line(&bytes[..length]).contains("not a valid guest state file"));
    }
}

#[test]
fn compressed_record_that_does_not_fit_is_refused() {
    let body = |length: u64, frame: &[u8]| {
        [&4096u64.to_le_bytes()[..], &length.to_le_bytes(), frame].concat()
    };
    let frame = zstd::bulk::compress(&[1; 8192], 1).unwrap();
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    let refused = |compressed: bool, body: &[u8]| {
        let begun = Writer::begin(Vec::new(), CONFIG, &header_2(compressed)).unwrap();
        let end = br#"{"units":0,"chunks":0,"memory":0}"#.len() + LENGTH;
        let mut bytes = begun.end().unwrap().0;
        bytes.truncate(bytes.len() - end);
        let mut sum = crc32fast::Hasher::new();
        sum.update(b"ram");
        sum.update(body);
        let head = noxen_saved_image::record::Head {
            kind: noxen_saved_image::record::Kind::Packed,
            version: 1,
            name: 3,
            body: body.len() as u32,
            sum: sum.finalize(),
        };
        bytes.extend_from_slice(&head.encode());
        bytes.extend_from_slice(b"ram");
        bytes.extend_from_slice(body);
        let mut reader = Reader::open(&bytes[..]).unwrap();
        match reader.next() {
            Err(error) => error.to_string(),
            Ok(record) => panic!("{record:?}"),
        }
    };
    for (body, word) in [
        (body(4096, &frame), "does not unpack"),
        (body(3 * 4096, &frame), "to another length"),
        (body(4096, b"no frame of zstd"), "does not unpack"),
        (body(256 << 10, &bomb), "does not unpack"),
        (body(512 << 10, &frame), "more pages"),
        (body(u64::MAX, &frame), "more pages"),
        (body(0, &frame)[..12].to_vec(), "no length"),
        (vec![1, 2], "no offset"),
    ] {
        let text = refused(true, &body);
        assert!(text.contains(word), "{word}: {text}");
    }
    let text = refused(false, &body(8192, &frame));
    assert!(text.contains("its header does not say"), "{text}");
}

/// Writes the golden files of format 2 anew, for whoever raises a version.
#[test]
#[ignore = "writes into the tree"]
fn golden_files_of_format_2_are_made() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let plain = image_with(&header_2(false), &state(), &pages());
    std::fs::write(format!("{path}/format-2.img"), plain).unwrap();
    std::fs::write(format!("{path}/zstd-2.img"), compressed()).unwrap();
}

/// The same of the devices' parts, which came later; images without them stay what they were.
#[test]
fn golden_file_with_devices_is_read_and_written_again() {
    let golden = include_bytes!("golden/devices-1.img");
    let (got, memory) = read(golden).unwrap();
    assert_eq!((got, memory.len()), (with_devices(), 1));
    assert!(
        image(&with_devices(), &pages()) == golden,
        "a device's part has changed: raise its version"
    );
}

fn read_hvm(bytes: &[u8]) -> Result<HvmState, ImageError> {
    let mut reader = Reader::open(bytes)?;
    let (saved, mut record) = Saved::read(&mut reader)?;
    while record.is_some() {
        record = reader.next()?;
    }
    match saved {
        Saved::Hvm(state) => Ok(*state),
        Saved::Pv(_) => panic!("an HVM domain was read as another"),
    }
}

/// The same of an HVM domain.
#[test]
fn golden_file_of_an_hvm_domain_is_read_and_written_again() {
    let golden = include_bytes!("golden/hvm-1.img");
    assert_eq!(read_hvm(golden).unwrap(), hvm());
    assert!(
        hvm_image(&hvm(), &pages()) == golden,
        "a part of an HVM domain has changed: raise its version"
    );
    // Who wants the other kind is told.
    assert!(line(golden).contains("both kinds"));
    let of_pv = image(&state(), &pages());
    let (saved, _) = Saved::read(&mut Reader::open(&of_pv[..]).unwrap()).unwrap();
    assert_eq!(saved, Saved::Pv(Box::new(state())));
}

#[test]
fn hvm_state_whose_numbers_do_not_fit_is_refused() {
    type Change = fn(&mut HvmState);
    let changes: [(Change, &str); 5] = [
        (|s| s.board.isa[0].0 = 2, "held up by nobody"),
        (|s| s.board.pci[0].1 = 16, "held up by nobody"),
        (
            |s| s.devices[1].name = s.devices[0].name.clone(),
            "comes twice",
        ),
        (|s| s.pc.vcpus = 3, "each of its vCPUs"),
        (|s| s.pc.disks = vec![s.pc.disks[0]; 1025], "more disks"),
    ];
    for (change, word) in changes {
        let mut state = hvm();
        change(&mut state);
        let text = read_hvm(&hvm_image(&state, &[])).unwrap_err().to_string();
        assert!(text.contains(word), "{text}");
    }
    let bytes = hvm_image(&hvm(), &[]);
    for length in 0..bytes.len() {
        assert!(read_hvm(&bytes[..length]).is_err(), "{length} bytes");
    }
}

/// Writes the golden file anew, for whoever raises a version.
#[test]
#[ignore = "writes into the tree"]
fn golden_file_of_an_hvm_domain_is_made() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/hvm-1.img");
    std::fs::write(path, hvm_image(&hvm(), &pages())).unwrap();
}

#[test]
fn device_that_comes_twice_is_named() {
    let mut twice = with_devices();
    twice.devices.push(twice.devices[0].clone());
    assert!(line(&image(&twice, &[])).contains("device vbd 51712 comes twice"));
}

#[test]
fn every_shortened_image_is_refused() {
    let bytes = image(&state(), &pages());
    for length in 0..bytes.len() {
        assert!(line(&bytes[..length]).contains("not a valid guest state file"));
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    for bytes in [
        image_with(&header_2(false), &state(), &pages()),
        compressed(),
    ] {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            assert!(all(&changed).is_err(), "byte {at}");
        }
    }
    let mut other = image_with(&header_2(false), &state(), &pages());
    other[25] ^= 1;
    let text = all(&other).unwrap_err().to_string();
    assert!(text.contains("the configuration is damaged"), "{text}");
    // A file of before has no checksum of it.
    let mut old = image(&state(), &pages());
    old[25] ^= 1;
    assert!(all(&old).is_ok());
}

/// Reads all of it, whatever its configuration is.
fn all(bytes: &[u8]) -> Result<(), ImageError> {
    let mut reader = Reader::open(bytes)?;
    let (_, mut record) = State::read(&mut reader)?;
    while record.is_some() {
        record = reader.next()?;
    }
    Ok(())
}

#[test]
fn header_of_format_2_without_the_checksum_is_refused() {
    let bytes = image_with(&header_2(false), &state(), &[]);
    let text = String::from_utf8_lossy(&bytes[20 + CONFIG.len() + 16..]).into_owned();
    let json = &text[..text.find('}').unwrap() + 1];
    let without = {
        let (before, rest) = json.split_once(",\"config_sum\":").unwrap();
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{before}{after}")
    };
    let mut changed = bytes[..20 + CONFIG.len() + 8].to_vec();
    changed.extend_from_slice(&(without.len() as u32).to_le_bytes());
    changed.extend_from_slice(&crc32fast::hash(without.as_bytes()).to_le_bytes());
    changed.extend_from_slice(without.as_bytes());
    changed.extend_from_slice(&bytes[20 + CONFIG.len() + 16 + json.len()..]);
    let text = all(&changed).unwrap_err().to_string();
    assert!(text.contains("no checksum"), "{text}");
}

#[test]
fn foreign_files_are_named() {
    assert!(line(b"#!/bin/sh\nexit 0 # and more").contains("found \"#!/bin/sh.exit 0\""));
    assert!(line(b"").contains("signature"));
    let mut xen = b"LinuxGuestRecord".to_vec();
    xen.extend_from_slice(&(CONFIG.len() as u32).to_be_bytes());
    xen.extend_from_slice(CONFIG.as_bytes());
    xen.extend_from_slice(&65536u64.to_le_bytes());
    assert!(line(&xen).contains("saved by Xen"));
    let mut long = b"LinuxGuestRecord".to_vec();
    long.extend_from_slice(&[0xff; 4]);
    assert!(line(&long).contains("4294967295"));
}

#[test]
fn image_that_needs_a_later_reader_says_who_wrote_it() {
    let mut future = header();
    (future.format, future.reader, future.writer) = (7, 5, "noxen-vmm 9.9".into());
    let bytes = Writer::begin(Vec::new(), CONFIG, &future)
        .unwrap()
        .end()
        .unwrap()
        .0;
    let text = line(&bytes);
    for word in ["noxen-vmm 9.9", "format 7", "format 5", "up to 2"] {
        assert!(text.contains(word), "{text}");
    }
    // A later writer whose files older readers can do with is no reason to refuse.
    future.reader = 1;
    let bytes = Writer::begin(Vec::new(), CONFIG, &future)
        .unwrap()
        .end()
        .unwrap()
        .0;
    assert!(line(&bytes).contains("\"domain\" is missing"));
}

/// A unit as a later version would have it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Later {}

impl noxen_saved_image::Unit for Later {
    const NAME: &'static str = "vcpu";
    const VERSION: u32 = 2;
}

#[test]
fn unit_of_an_unknown_version_is_named_with_its_writer() {
    let mut writer = Writer::begin(Vec::new(), CONFIG, &header()).unwrap();
    writer.unit(&Later {}).unwrap();
    let text = line(&writer.end().unwrap().0);
    assert!(
        text.contains("\"vcpu\" of version 2") && text.contains("noxen-vmm 0.1.0"),
        "{text}"
    );
}

#[test]
fn parts_that_are_missing_or_come_twice_are_named() {
    let mut twice = state();
    twice.vcpus[1].id = 0;
    assert!(line(&image(&twice, &[])).contains("vCPUs"));
    let mut writer = Writer::begin(Vec::new(), CONFIG, &header()).unwrap();
    writer.unit(&state().clock).unwrap();
    writer.unit(&state().clock).unwrap();
    assert!(line(&writer.end().unwrap().0).contains("\"clock\" comes twice"));
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut bytes = image(&state(), &[]);
    bytes.push(0);
    assert!(line(&bytes).contains("more after its end"));
}

#[test]
fn memory_out_of_order_is_refused() {
    let page = vec![1; 4096];
    let bytes = image(&state(), &[(8192, page.clone()), (8192, page)]);
    assert!(line(&bytes).contains("before the one before it"));
}

/// A stream's records, and what its memory is in the end.
fn stream(bytes: &[u8]) -> Result<(State, Pages), ImageError> {
    let mut reader = Reader::open(bytes)?;
    let (domain, outline) = read_outline(&mut reader)?;
    assert_eq!(outline.devices.len(), 1);
    let mut pages = Pages::new();
    let state = State::read_stream(&mut reader, domain, |record| {
        match record {
            Record::Memory { offset, bytes, .. } => {
                for (n, page) in (0u64..).zip(bytes.chunks(4096)) {
                    pages.insert(offset + n * 4096, page.to_vec());
                }
            }
            Record::Zeros { offset, length, .. } => {
                pages.retain(|at, _| !(offset..offset + length).contains(at));
            }
            Record::Unit { .. } => panic!("a unit"),
        }
        Ok(())
    })?;
    Ok((state, pages))
}

#[test]
fn stream_has_memory_first_and_again_and_its_zeros_count() {
    let header = Header::of_stream("w", 1, "token");
    let mut writer = Writer::begin(Vec::new(), CONFIG, &header).unwrap();
    let state = with_devices();
    writer.unit(&state.domain).unwrap();
    let outlined = Outlined {
        class: "vbd".into(),
        devid: 1,
        mac: String::new(),
    };
    let outline = Outline {
        devices: vec![outlined],
    };
    writer.unit(&outline).unwrap();
    writer.memory("ram", 4096, &[1; 3 * 4096]).unwrap();
    let mut again = vec![2; 2 * 4096];
    again[4096..].fill(0);
    writer.memory_again("ram", 0, &again).unwrap();
    writer.state_but_domain(&state).unwrap();
    let bytes = writer.end().unwrap().0;
    let (got, pages) = stream(&bytes).unwrap();
    assert_eq!(got, state);
    let kept: Vec<(u64, u8)> = pages.iter().map(|(at, page)| (*at, page[0])).collect();
    assert_eq!(kept, [(0, 2), (8192, 1), (12288, 1)]);
    assert!(stream(&bytes[..bytes.len() - 1]).is_err());
    // Its other end waits for an answer; a file is read to its end.
    let longer = [&bytes[..], b"x"].concat();
    assert!(stream(&longer).is_ok());
    // As a file it makes no sense.
    assert!(read(&bytes).is_err());
    let mut file = Writer::begin(Vec::new(), CONFIG, &support::header()).unwrap();
    file.memory_again("ram", 0, &[0; 4096]).unwrap();
    let text = line(&file.end().unwrap().0);
    assert!(text.contains("zeros"), "{text}");
}

#[test]
fn promised_lengths_take_no_memory() {
    // A head that promises a unit of 16 MiB, and one that promises 4 GiB, with nothing behind them.
    let start = Writer::begin(Vec::new(), CONFIG, &header())
        .unwrap()
        .end()
        .unwrap()
        .0;
    let records = start.len() - LENGTH - br#"{"units":0,"chunks":0,"memory":0}"#.len();
    for (length, word) in [
        (16u32 << 20, "ends in the middle"),
        (u32::MAX, "the most is"),
    ] {
        let head = noxen_saved_image::record::Head {
            kind: noxen_saved_image::record::Kind::Unit,
            version: 1,
            name: 0,
            body: length,
            sum: 0,
        };
        let mut bytes = start[..records].to_vec();
        bytes.extend_from_slice(&head.encode());
        assert!(line(&bytes).contains(word));
    }
}

proptest! {
    #[test]
    fn any_pages_come_back(runs in prop::collection::vec((0u64..40, prop::collection::vec(any::<bool>(), 1..90)), 0..4)) {
        let mut at = 0;
        let mut pages = Vec::new();
        let mut wanted = Pages::new();
        for (gap, filled) in runs {
            at += gap * 4096;
            let mut bytes = vec![0u8; filled.len() * 4096];
            for (n, page) in bytes.chunks_mut(4096).enumerate().filter(|(n, _)| filled[*n]) {
                page[(n * 7) % 4096] = 1 + n as u8;
                wanted.insert(at + n as u64 * 4096, page.to_vec());
            }
            let length = bytes.len() as u64;
            pages.push((at, bytes));
            at += length;
        }
        let (_, got) = read(&image(&state(), &pages)).unwrap();
        prop_assert!(got == wanted);
    }
}

/// A file with those bytes, gone with its last user.
fn file_of(bytes: &[u8]) -> std::fs::File {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("noxen-places-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}

/// All pages but the first record's, by way of their places.
fn by_places(bytes: &[u8]) -> Result<Pages, ImageError> {
    let file = file_of(bytes);
    let mut reader = Reader::open(std::io::BufReader::new(file.try_clone().unwrap()))?;
    let (_, first) = State::read(&mut reader)?;
    let mut pages = Pages::new();
    let mut take = |offset: u64, bytes: Vec<u8>| {
        for (n, page) in (0u64..).zip(bytes.chunks(4096)) {
            pages.insert(offset + n * 4096, page.to_vec());
        }
    };
    match first {
        Some(Record::Memory { offset, bytes, .. }) => take(offset, bytes),
        other => panic!("{other:?}"),
    }
    for place in reader.places()? {
        take(place.offset, place.read(&file)?);
    }
    Ok(pages)
}

/// An image with so many runs of pages.
fn many_runs(compressed: bool) -> Vec<u8> {
    let header = match compressed {
        true => Header::compressed("test", 7),
        false => Header::new("test", 7),
    };
    let mut writer = Writer::begin(Vec::new(), CONFIG, &header).unwrap();
    writer.state(&state()).unwrap();
    for run in 0..5u64 {
        writer
            .memory("ram", run * 16384, &[run as u8 + 1; 8192])
            .unwrap();
    }
    writer.end().unwrap().0
}

#[test]
fn pages_by_their_places_are_those_that_are_read_in_order() {
    for compressed in [false, true] {
        let bytes = many_runs(compressed);
        let (_, wanted) = read(&bytes).unwrap();
        assert_eq!(by_places(&bytes).unwrap(), wanted);
    }
}

#[test]
fn file_cut_or_changed_anywhere_is_found_out_by_its_places_or_their_reading() {
    let bytes = many_runs(false);
    let (_, wanted) = read(&bytes).unwrap();
    for cut in (0..bytes.len()).step_by(997).chain([bytes.len() - 1]) {
        assert!(by_places(&bytes[..cut]).is_err(), "{cut}");
    }
    let mut more = bytes.clone();
    more.push(0);
    assert!(by_places(&more).is_err());
    for at in (0..bytes.len()).step_by(61) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        match by_places(&changed) {
            Err(_) => {}
            // What has no checksum is the configuration of a file of format 1.
            Ok(pages) => assert!(at < 16 + 4 + CONFIG.len() && pages == wanted, "{at}"),
        }
    }
}
