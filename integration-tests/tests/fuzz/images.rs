//! A file of a saved domain: as it is, and with the checksums put right, so that what is behind them is reached.
//!
//! ```text
//!   data ----------------------------> Reader, State
//!   records of data, sums repaired --> Reader, State     data as the body of each unit --> State
//! ```

use noxen_saved_image::record::{Head, Kind, LENGTH};
use noxen_saved_image::state::{Clock, Console, Domain, Store, Vcpu};
use noxen_saved_image::{Header, Reader, Record, State, Unit, Writer, CHUNK};

/// An image with nothing in it but its end.
#[allow(dead_code)] // The bounded run uses it; libFuzzer finds its own.
pub fn seed() -> Vec<u8> {
    let mut writer = start();
    let console = Console::default();
    let store = Store::default();
    let clock = Clock {
        tsc: 1,
        tsc_khz: 1,
        host_ns: 1,
    };
    for written in [
        writer.unit(&console),
        writer.unit(&store),
        writer.unit(&clock),
    ] {
        written.expect("a vector takes all");
    }
    let pages = [vec![7; 4096], vec![0; 4096], vec![9; 8192]].concat();
    writer
        .memory("ram", 4096, &pages)
        .expect("a vector takes all");
    writer.end().expect("a vector takes all").0
}

fn start() -> Writer<Vec<u8>> {
    // Its readers take compressed records, too.
    let header = Header::compressed("fuzz", 0);
    Writer::begin(Vec::new(), "(domain)", &header).expect("a vector takes all")
}

/// Whatever it is, it is read or refused.
pub fn saved(data: &[u8]) {
    read(data);
    read(&repaired(data));
    for name in [
        Domain::NAME,
        Clock::NAME,
        Vcpu::NAME,
        Console::NAME,
        Store::NAME,
    ] {
        let mut image = start_bytes();
        record(&mut image, Kind::Unit, name.as_bytes(), data);
        read(&image);
    }
    for kind in [Kind::Memory, Kind::Packed] {
        let mut image = start_bytes();
        record(&mut image, kind, b"ram", data);
        read(&image);
    }
}

fn read(bytes: &[u8]) {
    let Ok(mut reader) = Reader::open(bytes) else {
        return;
    };
    let _ = State::read(&mut reader);
    while let Ok(Some(record)) = reader.next() {
        if let Record::Memory { offset, bytes, .. } = record {
            assert!(
                (1..=CHUNK).contains(&bytes.len())
                    && offset.checked_add(bytes.len() as u64).is_some()
            );
        }
    }
}

fn start_bytes() -> Vec<u8> {
    let mut bytes = start().end().expect("a vector takes all").0;
    // Off with the end mark: a head and what it counts.
    bytes.truncate(bytes.len() - LENGTH - br#"{"units":0,"chunks":0,"memory":0}"#.len());
    bytes
}

fn record(image: &mut Vec<u8>, kind: Kind, name: &[u8], body: &[u8]) {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(name);
    hasher.update(body);
    let head = Head {
        kind,
        version: 1,
        name: name.len() as u32,
        body: body.len() as u32,
        sum: hasher.finalize(),
    };
    image.extend_from_slice(&head.encode());
    image.extend_from_slice(name);
    image.extend_from_slice(body);
}

/// `data` with each record's sums as they should be, as far as its lengths lead.
fn repaired(data: &[u8]) -> Vec<u8> {
    let word = |at: usize| {
        let bytes = data.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let mut out = data.to_vec();
    let begin = start_bytes().len();
    let mut at = begin.min(data.len());
    while let (Some(name), Some(body)) = (word(at + 8), word(at + 12)) {
        let from = at + LENGTH;
        let Some(content) = from
            .checked_add(name)
            .and_then(|end| end.checked_add(body))
            .and_then(|end| data.get(from..end))
        else {
            break;
        };
        out[at + 16..at + 20].copy_from_slice(&crc32fast::hash(content).to_le_bytes());
        let own = crc32fast::hash(&out[at..at + 20]);
        out[at + 20..at + 24].copy_from_slice(&own.to_le_bytes());
        at = from + content.len();
    }
    out
}
