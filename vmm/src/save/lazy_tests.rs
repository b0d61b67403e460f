use super::*;
use crate::save::job::Progress;
use crate::save::memory::MONITOR;
use crate::vstate::memory::{DomainMemory, Piece};
use noxen_saved_image::{Header, Reader, Writer};
use std::io::{BufReader, Seek, Write};
use std::os::unix::fs::FileExt;
use vm_memory::{Bytes, GuestAddress};

const REGION: u64 = 5 << 30;
/// Pages that hold something: at both ends, on both sides of the hole, alone and in runs.
const PAGES: [u64; 8] = [
    0,
    0x3000,
    0x4000,
    0x10_0000,
    (4 << 20) - 0x1000,
    4 << 30,
    (4 << 30) + 0x1f_f000,
    REGION + 0x5000,
];
const EMPTY: [u64; 4] = [0x1000, 0x8000, 0x20_0000, (4 << 30) + 0x10_0000];

fn memory() -> DomainMemory {
    let piece = |gpa, len| Piece { gpa, len };
    let ram = [piece(0, 4 << 20), piece(4 << 30, 2 << 20)];
    DomainMemory::new(None, &ram, piece(REGION, 2 << 20)).unwrap()
}

fn word(page: u64) -> u64 {
    page ^ 0x5a5a_5a5a_5a5a_5a5a
}

/// A file with an image of such a memory, compressed or not.
fn image(compressed: bool) -> File {
    let from = memory();
    for page in PAGES {
        let at = GuestAddress(page + 8);
        from.map.write_obj(word(page), at).unwrap();
    }
    let header = match compressed {
        true => Header::compressed("test", 0),
        false => Header::new("test", 0),
    };
    let name = rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(name);
    let mut writer = Writer::begin(&file, "(domain)", &header).unwrap();
    let progress = Progress::default();
    memory::write(&mut writer, &from.map, REGION, &progress).unwrap();
    writer.end().unwrap();
    file.flush().unwrap();
    file.rewind().unwrap();
    file
}

fn places(image: &File) -> Vec<Place> {
    let reader = Reader::open(BufReader::new(image.try_clone().unwrap())).unwrap();
    reader.places().unwrap()
}

fn log() -> Log {
    Log::new(None, 1, "test")
}

fn put_into(memory: &DomainMemory) -> impl FnMut(Record) -> Result<(), ImageError> + '_ {
    let sink = Sink::beside(&memory.map, (REGION, MONITOR)).unwrap();
    move |record| sink.put(record)
}

fn is_whole(memory: &DomainMemory) {
    // Backwards, so that touches are ahead of what is read by itself.
    for page in PAGES.iter().chain(&EMPTY).rev() {
        let found: u64 = memory.map.read_obj(GuestAddress(page + 8)).unwrap();
        let wanted = if EMPTY.contains(page) { 0 } else { word(*page) };
        assert_eq!(found, wanted, "{page:#x}");
    }
}

#[test]
fn memory_is_right_whenever_it_is_touched_and_whole_in_its_file_at_the_end() {
    for (compressed, lazy) in [(false, true), (true, true), (false, false)] {
        let (image, to) = (image(compressed), memory());
        let places = places(&image);
        let log = lazy.then(log);
        let other = (REGION, MONITOR);
        fill(&to.map, image, places, other, log, put_into(&to)).unwrap();
        is_whole(&to);
        FILLING.wait();
        is_whole(&to);
        let mut bytes = [0; 8];
        to.ram_file
            .read_exact_at(&mut bytes, (4 << 20) + 8)
            .unwrap();
        assert_eq!(u64::from_le_bytes(bytes), word(4 << 30));
    }
}

/// A source of which the page at 0x3000, or where it lies, was changed behind the first look.
fn damaged(at_word: bool) -> Source {
    let image = image(false);
    let places = places(&image);
    let mut bytes = Vec::new();
    let mut whole = vec![0; image.metadata().unwrap().len() as usize];
    image.read_exact_at(&mut whole, 0).unwrap();
    bytes.extend_from_slice(&word(0x3000).to_le_bytes());
    let found = whole.windows(8).position(|part| part == bytes).unwrap() as u64;
    // The page has its word at 8; the offset is the eight bytes before the page.
    let at = if at_word { found } else { found - 16 };
    let byte = whole[at as usize] ^ 1;
    image.write_all_at(&[byte], at).unwrap();
    let of_ram = |place: &Place| *place.space == *RAM;
    Source {
        image,
        places: places.into_iter().filter(of_ram).collect(),
        other: (REGION, MONITOR),
        log: log(),
    }
}

#[test]
fn file_that_is_damaged_behind_the_first_look_is_found_out_before_its_page_is_seen() {
    for at_word in [true, false] {
        let (source, to) = (damaged(at_word), memory());
        let Ok(mut filler) = Filler::new(&to.map, &source) else {
            // No userfaultfd for us here: then everything is read at once.
            assert!(source.places.iter().any(|p| p.read(&source.image).is_err()));
            continue;
        };
        let sink = Sink::beside(&to.map, source.other).unwrap();
        let base = filler.watched.pieces[0].hva;
        // An empty page beside it may not be taken for empty, nor the page itself be shown.
        for page in [0x1000, 0x3000] {
            let error = filler.answer(base + page, &sink, &source).unwrap_err();
            assert!(error.to_string().contains("checksum"), "{error}");
            filler.done.fill(false);
        }
        assert!(filler.run(&to.map, &source).is_err());
    }
}

#[test]
fn place_beyond_the_domains_memory_is_refused_before_anything_runs() {
    let image = image(false);
    let mut places = places(&image);
    places.retain(|place| *place.space == *RAM);
    places.last_mut().unwrap().offset = 6 << 20;
    let to = memory();
    let other = (REGION, MONITOR);
    let error = fill(&to.map, image, places, other, Some(log()), put_into(&to));
    let text = error.unwrap_err().to_string();
    assert!(text.contains("where the domain has none"), "{text}");
}

#[test]
fn neighbours_of_a_gap_are_read_before_it_is_taken_for_empty() {
    let image = image(false);
    let places: Vec<Place> = places(&image);
    let places: Vec<Place> = places.into_iter().filter(|p| *p.space == *RAM).collect();
    let offsets: Vec<u64> = places.iter().map(|place| place.offset).collect();
    assert_eq!(offsets[..3], [0, 0x3000, 0x10_0000]);
    assert_eq!(around(&places, 0x4000), (1..2, None));
    assert_eq!(around(&places, 0x1000), (0..2, Some(0x1000..0x3000)));
    assert_eq!(around(&places, 0x9_0000), (1..3, Some(0x8_0000..0xc_0000)));
}
