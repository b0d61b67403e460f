use super::*;
use crate::medium::Shelf;

/// A disk that the guest has configured, and its medium.
struct Bench {
    disk: Storage,
    shelf: Shelf,
    medium: Box<dyn Medium>,
}

fn bench(sectors: usize) -> Bench {
    let bytes = (0..sectors * 512).map(|at| (at / 512) as u8).collect();
    let shelf = Shelf::new(bytes);
    let mut disk = Storage::default();
    disk.setup([0, 9, 1, 0, 0, 0, 0, 0]);
    disk.control.input(0);
    Bench {
        disk,
        medium: shelf.slot(),
        shelf,
    }
}

impl Bench {
    fn send(&mut self, bytes: &[u8]) -> Outcome {
        self.disk.output(2, bytes, &mut *self.medium)
    }

    fn command(&mut self, expected: u32, to_guest: bool, block: &[u8]) {
        let mut bytes = [&b"USBC"[..], &7u32.to_le_bytes(), &expected.to_le_bytes()].concat();
        bytes.extend([u8::from(to_guest) << 7, 0, block.len() as u8]);
        bytes.extend(block);
        bytes.resize(31, 0);
        assert_eq!(self.send(&bytes), Outcome::Done(Vec::new()));
    }

    fn packet(&mut self) -> Outcome {
        self.disk.input(1, 64, &mut *self.medium)
    }

    /// Data up to the first short packet, or so much.
    fn data(&mut self, most: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < most {
            match self.packet() {
                Outcome::Done(part) => {
                    let short = part.len() < 64;
                    all.extend(part);
                    if short {
                        break;
                    }
                }
                other => panic!("{other:?} after {} bytes", all.len()),
            }
        }
        all
    }

    /// Residue and status.
    fn status(&mut self) -> (u32, u8) {
        let Outcome::Done(bytes) = self.packet() else {
            panic!("no status")
        };
        assert_eq!((&bytes[..4], bytes[4], bytes.len()), (&b"USBS"[..], 7, 13));
        (
            u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            bytes[12],
        )
    }

    fn clear(&mut self) {
        for endpoint in [0x81, 0x02] {
            self.disk.setup([2, 1, 0, 0, endpoint, 0, 0, 0]);
            self.disk.control.input(0);
        }
    }

    /// Key, code, qualifier of the last failure.
    fn sense(&mut self) -> (u8, u8, u8) {
        self.command(18, true, &[3, 0, 0, 0, 18, 0]);
        let bytes = self.data(18);
        assert_eq!(self.status(), (0, 0));
        (bytes[2], bytes[12], bytes[13])
    }
}

fn ten(command: u8, first: u32, count: u16) -> Vec<u8> {
    let mut block = vec![command, 0];
    block.extend(first.to_be_bytes());
    block.push(0);
    block.extend(count.to_be_bytes());
    block.push(0);
    block
}

#[test]
fn disk_tells_what_it_is_and_how_large() {
    let mut bench = bench(300);
    bench.command(36, true, &[0x12, 0, 0, 0, 36, 0]);
    let told = bench.data(36);
    assert_eq!((told[0], &told[8..24]), (0, &b"NOXEN   USB DISK"[..]));
    assert_eq!(bench.status(), (0, 0));
    bench.command(8, true, &ten(0x25, 0, 0));
    assert_eq!(bench.data(8), [0, 0, 1, 43, 0, 0, 2, 0]);
    assert_eq!(bench.status(), (0, 0));
    bench.command(0, false, &[0; 6]);
    assert_eq!(bench.status(), (0, 0));
}

#[test]
fn sectors_are_read_and_written_across_pieces() {
    let mut bench = bench(300);
    bench.command(200 * 512, true, &ten(0x28, 10, 200));
    let read = bench.data(200 * 512);
    assert!(read
        .iter()
        .enumerate()
        .all(|(at, byte)| usize::from(*byte) == at / 512 + 10));
    assert_eq!(bench.status(), (0, 0));

    bench.command(150 * 512, false, &ten(0x2a, 100, 150));
    for part in vec![0xaa; 150 * 512].chunks(64) {
        let mut tries = 0;
        while bench.send(part) == Outcome::Nak {
            tries += 1;
            assert!(tries < 3);
        }
    }
    assert_eq!(bench.status(), (0, 0));
    let bytes = bench.shelf.bytes();
    assert_eq!((bytes[99 * 512], bytes[250 * 512]), (99, 250));
    assert!(bytes[100 * 512..250 * 512].iter().all(|byte| *byte == 0xaa));
    bench.command(0, false, &ten(0x35, 0, 0));
    assert_eq!((bench.status(), bench.shelf.flushes()), ((0, 0), 1));
}

#[test]
fn what_cannot_be_is_refused_with_its_sense() {
    let mut bench = bench(300);
    bench.command(512, true, &ten(0x28, 300, 1));
    assert_eq!(bench.packet(), Outcome::Stall);
    bench.clear();
    assert_eq!(bench.status(), (512, FAILED));
    assert_eq!(bench.sense(), (5, 0x21, 0));
    assert_eq!(bench.sense(), (0, 0, 0));
    bench.command(0, false, &[0xee, 0, 0, 0, 0, 0]);
    assert_eq!(bench.status(), (0, FAILED));
    assert_eq!(bench.sense(), (5, 0x20, 0));
    // A medium that fails.
    bench.shelf.fail(true);
    bench.command(512, true, &ten(0x28, 0, 1));
    assert_eq!(bench.packet(), Outcome::Stall);
    bench.clear();
    assert_eq!(bench.status(), (512, FAILED));
    assert_eq!(bench.sense(), (3, 0x11, 0));
    // Data the other way round.
    bench.command(512, false, &ten(0x28, 0, 1));
    bench.clear();
    assert_eq!(bench.status(), (512, OUT_OF_STEP));
    bench.command(0, false, &ten(0x2a, 0, 1));
    assert_eq!(bench.status(), (0, OUT_OF_STEP));
}

#[test]
fn guest_that_expects_more_than_there_is_is_told_so() {
    let mut bench = bench(300);
    bench.command(1024, true, &ten(0x28, 1, 1));
    assert_eq!(bench.data(512).len(), 512);
    // No short packet: it is halted in place of one.
    assert_eq!(bench.packet(), Outcome::Stall);
    bench.clear();
    assert_eq!(bench.status(), (512, 0));
    // One that expects less gets less.
    bench.command(512, true, &ten(0x28, 1, 4));
    assert_eq!(bench.data(512).len(), 512);
    assert_eq!(bench.status(), (0, 0));
}

#[test]
fn nonsense_halts_both_ways_until_the_reset() {
    for wrong in [&b"USBC"[..], &[0; 31], &[0xff; 64]] {
        let mut bench = bench(3);
        bench.send(wrong);
        assert_eq!(
            (bench.packet(), bench.send(&[0; 31])),
            (Outcome::Stall, Outcome::Stall)
        );
        bench.disk.setup([0x21, 0xff, 0, 0, 0, 0, 0, 0]);
        bench.disk.control.input(0);
        bench.command(0, false, &[0; 6]);
        assert_eq!(bench.status(), (0, 0));
    }
}

#[test]
fn write_is_ended_whatever_the_guest_does_meanwhile() {
    let mut bench = bench(8);
    bench.command(512, false, &ten(0x2a, 2, 1));
    vec![0x55; 512]
        .chunks(64)
        .for_each(|part| drop(bench.send(part)));
    bench.disk.reset();
    let saved = serde_json::to_value(&bench.disk).unwrap();
    assert!(!bench.disk.is_wild(8 * 512));
    let mut later = Bench {
        disk: serde_json::from_value(saved).unwrap(),
        medium: bench.shelf.slot(),
        shelf: bench.shelf.clone(),
    };
    later.disk.ask_again(&mut *later.medium);
    later.disk.look(&mut *later.medium);
    assert_eq!(later.shelf.bytes()[1024..1536], [0x55; 512]);
    assert_eq!(later.disk.job, None);
}
