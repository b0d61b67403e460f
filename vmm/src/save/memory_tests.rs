use super::*;
use crate::vstate::memory::{self, DomainMemory};
use noxen_saved_image::{Header, Reader};
use vm_memory::{Bytes, GuestAddress};

const REGION: u64 = 5 << 30;

fn domain_memory() -> DomainMemory {
    let piece = |gpa, len| memory::Piece { gpa, len };
    let ram = [piece(0, 4 << 20), piece(4 << 30, 2 << 20)];
    DomainMemory::new(None, &ram, piece(REGION, 2 << 20)).unwrap()
}

fn image(of: &DomainMemory) -> Vec<u8> {
    let header = Header::new("test", 0);
    let mut writer = Writer::begin(Vec::new(), "(domain)", &header).unwrap();
    let progress = Progress::default();
    write(&mut writer, &of.map, REGION, &progress).unwrap();
    writer.end().unwrap().0
}

fn fill(image: &[u8], memory: &DomainMemory) -> Result<(), ImageError> {
    let mut reader = Reader::open(image)?;
    let sink = Sink::beside(&memory.map, (REGION, MONITOR))?;
    while let Some(record) = reader.next()? {
        sink.put(record)?;
    }
    Ok(())
}

#[test]
fn memory_comes_back_on_both_sides_of_the_hole_and_in_the_region() {
    let from = domain_memory();
    let places = [
        0,
        0x3000,
        (4 << 20) - 8,
        4 << 30,
        (4 << 30) + 0x1f_f000,
        REGION,
        REGION + 0x5008,
    ];
    for (n, place) in places.iter().enumerate() {
        from.map
            .write_obj(0x1111u64 * (n as u64 + 1), GuestAddress(*place))
            .unwrap();
    }
    let bytes = image(&from);
    // Seven pages hold something; the rest is left out.
    assert!(
        (7 * 4096..9 * 4096).contains(&bytes.len()),
        "{}",
        bytes.len()
    );
    let to = domain_memory();
    fill(&bytes, &to).unwrap();
    for (n, place) in places.iter().enumerate() {
        let word: u64 = to.map.read_obj(GuestAddress(*place)).unwrap();
        assert_eq!(word, 0x1111 * (n as u64 + 1), "{place:#x}");
    }
    let between: u64 = to.map.read_obj(GuestAddress(0x8000)).unwrap();
    assert_eq!(between, 0);
}

#[test]
fn memory_beyond_the_domains_is_refused() {
    let header = Header::new("test", 0);
    for (space, offset) in [
        (RAM, 6 << 20),
        (MONITOR, 2 << 20),
        ("other", 0),
        (RAM, u64::MAX - 4095 - 4096),
    ] {
        let mut writer = Writer::begin(Vec::new(), "(domain)", &header).unwrap();
        writer.memory(space, offset, &[1; 4096]).unwrap();
        let bytes = writer.end().unwrap().0;
        let error = fill(&bytes, &domain_memory()).unwrap_err().to_string();
        assert!(
            error.contains("where the domain has none"),
            "{space} {offset:#x}: {error}"
        );
    }
}

#[test]
fn image_that_is_cut_short_is_an_error_after_its_memory() {
    let from = domain_memory();
    from.map.write_obj(7u64, GuestAddress(0)).unwrap();
    let bytes = image(&from);
    assert!(fill(&bytes[..bytes.len() - 1], &domain_memory()).is_err());
}
