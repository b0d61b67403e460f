//! What a driver sees.

use super::subject::{descriptor, listen, listen_plus, set, DATA, MAC, RING};
use super::*;
use crate::conformance::{Ram, Run, Step, Subject};
use crate::device::Effect;
use crate::net::lan::{frame, Lan};
use crate::net::offload;

struct Host<'a> {
    run: Run<'a, Lan>,
    lan: &'a Lan,
}

impl<'a> Host<'a> {
    fn new(lan: &'a Lan) -> Host<'a> {
        Host {
            run: Run::new(lan, lan.make(), Ram::new()),
            lan,
        }
    }

    fn get(&mut self, at: usize, width: Width) -> u32 {
        self.run
            .step(&Step::Read(Region::Bar(0), at as u64, width))
            .value
    }

    /// A frame comes (any write has the card look); what the card does to its interrupt pin.
    fn hear(&mut self, frame: Vec<u8>) -> Vec<Effect> {
        self.lan.put(frame);
        self.run.step(&set(MULTIPLE, Width::Word, 0)).effects
    }

    fn ram(&self, at: u32, length: usize) -> Vec<u8> {
        self.run.ram.get(at.into(), length)
    }
}

#[test]
fn identifies_itself_and_its_address() {
    let lan = Lan::default();
    let mut host = Host::new(&lan);
    assert_eq!(host.get(0, Width::Dword).to_le_bytes(), MAC[..4]);
    assert_eq!(
        host.get(4, Width::Word) as u16,
        u16::from_le_bytes([MAC[4], MAC[5]])
    );
    assert_eq!(host.get(TCR, Width::Dword) & 0x7cc0_0000, 0x7480_0000);
    assert_eq!(host.get(BMSR, Width::Word), 0x782d);
    assert_eq!(host.get(COMMAND, Width::Byte), 1);
    let rom = host.run.step(&Step::Read(Region::Rom, 0, Width::Word));
    assert_eq!(rom.value, 0x5555);
}

#[test]
fn eeprom_gives_the_address_bit_by_bit() {
    let lan = Lan::default();
    let mut host = Host::new(&lan);
    let mut word = |address: u32| {
        host.run.step(&set(EEPROM, Width::Byte, 0x80));
        let command = 0b110 << 6 | address;
        for bit in (0..9).rev() {
            let data = (command >> bit & 1) << 1;
            host.run.step(&set(EEPROM, Width::Byte, 0x88 | data));
            host.run.step(&set(EEPROM, Width::Byte, 0x8c | data));
        }
        (0..16).fold(0, |word, _| {
            host.run.step(&set(EEPROM, Width::Byte, 0x88));
            host.run.step(&set(EEPROM, Width::Byte, 0x8c));
            let bit = host
                .run
                .step(&Step::Read(Region::Bar(0), EEPROM as u64, Width::Byte))
                .value
                & 1;
            word << 1 | bit as u16
        })
    };
    assert_eq!(word(0), 0x8129);
    assert_eq!([word(7), word(8), word(9)], [0x1600, 0x013e, 0x0302]);
}

#[test]
fn slot_is_sent_and_told() {
    let lan = Lan::default();
    let mut host = Host::new(&lan);
    host.run.go(&listen());
    let sent = frame([9; 6], 100, 3);
    host.run.ram.put(DATA.into(), &sent);
    host.run.go(&[set(TSAD + 8, Width::Dword, DATA)]);
    let seen = host.run.step(&set(TSD + 8, Width::Dword, 100));
    assert_eq!(seen.effects, vec![Effect::Pin(true)]);
    assert_eq!(lan.sent(), [sent]);
    assert_eq!(host.get(TSD + 8, Width::Dword) & 0xa000, 0xa000);
    assert_eq!(host.get(ISR, Width::Word), 4);
    let seen = host.run.step(&set(ISR, Width::Word, 4));
    assert_eq!(seen.effects, vec![Effect::Pin(false)]);
    // Larger than a frame, or not in memory: given up.
    host.run.go(&[set(TSD, Width::Dword, 0x1fff)]);
    assert_eq!(host.get(TSD, Width::Dword) & 0x4000_8000, 0x4000_0000);
    assert!(lan.sent().is_empty());
}

#[test]
fn frames_come_into_the_ring_of_bytes_with_a_header_and_wrap() {
    let lan = Lan::default();
    let mut host = Host::new(&lan);
    host.run.go(&listen());
    let one = frame(MAC, 61, 5);
    assert_eq!(host.hear(one.clone()), vec![Effect::Pin(true)]);
    let header = host.ram(DATA, 4);
    assert_eq!(header, [0x01, 0x40, 65, 0]);
    assert_eq!(host.ram(DATA + 4, 61), one);
    assert_eq!(host.get(CBR, Width::Word), 72);
    assert_eq!(host.get(COMMAND, Width::Byte) & 1, 0);
    host.run.go(&[set(CAPR, Width::Word, 72 - 16)]);
    assert_eq!(host.get(COMMAND, Width::Byte) & 1, 1);
    // Five long frames fit; the sixth waits in the cable until there is room.
    for seed in 0..6 {
        host.hear(frame(MAC, 1500, seed));
    }
    assert_eq!(lan.waiting(), 1);
    assert_eq!(host.get(CBR, Width::Word), 72 + 5 * 1508);
    host.run.go(&[set(CAPR, Width::Word, 72 + 4 * 1508 - 16)]);
    assert_eq!(lan.waiting(), 0);
    assert_eq!(host.get(CBR, Width::Word), 72 + 6 * 1508 - 8192);
}

#[test]
fn filter_lets_in_what_it_is_told() {
    let lan = Lan::default();
    let mut host = Host::new(&lan);
    host.run.go(&listen());
    let group = [1, 0, 0x5e, 0, 0, 1];
    for (filter, mar, frames, expected) in [
        (0x02, 0, [MAC, [2; 6], [0xff; 6], group], 1),
        (0x08, 0, [MAC, [2; 6], [0xff; 6], group], 1),
        (0x04, 0, [MAC, [2; 6], [0xff; 6], group], 0),
        (0x04, u32::MAX, [MAC, [2; 6], [0xff; 6], group], 1),
        (0x01, 0, [MAC, [2; 6], [0xff; 6], group], 4),
    ] {
        host.run.go(&[
            set(COMMAND, Width::Byte, 0x10),
            set(RBSTART, Width::Dword, DATA),
            set(MAR, Width::Dword, mar),
            set(MAR + 4, Width::Dword, mar),
            set(RCR, Width::Dword, filter),
            set(COMMAND, Width::Byte, 0x0c),
        ]);
        for to in frames {
            host.hear(frame(to, 60, 1));
        }
        assert_eq!(
            host.get(CBR, Width::Word),
            expected * 68,
            "filter {filter:#x}"
        );
    }
}

#[test]
fn descriptors_send_with_checksums_and_in_pieces() {
    let lan = Lan::default();
    let mut host = Host::new(&lan);
    host.run.go(&listen_plus());
    let segment = offload::tcp(500);
    host.run.ram.put(DATA.into(), &segment);
    // In two buffers.
    let own = 0x8000_0000u32;
    let ring = [
        descriptor(own | 0x2000_0000 | 100, 0, DATA),
        descriptor(
            own | 0x1007_0000 | (segment.len() as u32 - 100),
            0,
            DATA + 100,
        ),
        descriptor(
            own | 0x7800_0000 | 200 << 16 | segment.len() as u32,
            0,
            DATA,
        ),
    ];
    host.run.ram.put(u64::from(RING) + 0x400, &ring.concat());
    host.run.go(&[set(POLL, Width::Byte, 0x40)]);
    let sent = lan.sent();
    assert_eq!(sent.len(), 4, "one whole and three pieces");
    assert!(sent.iter().all(|frame| offload::is_right(frame)));
    assert_eq!(sent[0].len(), segment.len());
    assert_eq!(sent[3].len(), 54 + 100);
    assert_eq!(host.ram(RING + 0x400, 4)[3] & 0x80, 0, "given back");
    assert_eq!(host.get(ISR, Width::Word) & 0x84, 0x84);
}

#[test]
fn descriptors_take_frames_while_there_are_any() {
    let lan = Lan::default();
    let mut host = Host::new(&lan);
    host.run.go(&listen_plus());
    for seed in 0..3 {
        host.hear(frame([0xff; 6], 80, seed));
    }
    assert_eq!(lan.waiting(), 1);
    let status = u32::from_le_bytes(host.ram(RING + 16, 4).try_into().unwrap());
    assert_eq!(status, 0x4000_0000 | 0x3100_0000 | 84);
    assert_eq!(host.ram(DATA + 0x800, 80), frame([0xff; 6], 80, 1));
    host.run
        .ram
        .put(RING.into(), &descriptor(0x8000_0600, 0, DATA));
    host.run.go(&[set(ISR, Width::Word, 1)]);
    assert_eq!(lan.waiting(), 0);
}

#[test]
fn tag_is_taken_off_and_put_on() {
    let lan = Lan::default();
    let mut host = Host::new(&lan);
    host.run.go(&listen_plus());
    host.run.go(&[set(CPLUS, Width::Word, 0x43)]);
    let plain = frame(MAC, 80, 2);
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0, 0x20, 0x07]);
    host.hear(tagged.clone());
    assert_eq!(host.ram(RING + 4, 4), [0x20, 0x07, 1, 0]);
    assert_eq!(host.ram(DATA, 80), plain);
    host.run.ram.put(
        u64::from(RING) + 0x400,
        &descriptor(0xf000_0000 | 80, 0x2_0720, DATA),
    );
    host.run.go(&[set(POLL, Width::Byte, 0x40)]);
    assert_eq!(lan.sent(), [tagged]);
}

#[test]
fn timer_tells_when_it_is_reached() {
    let lan = Lan::default();
    let mut host = Host::new(&lan);
    host.run.go(&[
        set(IMR, Width::Word, 0x4000),
        set(TCTR, Width::Dword, 0),
        set(TIMER_INT, Width::Dword, 33_000),
    ]);
    assert_eq!(host.run.device().next(), Some(1_000_000));
    let seen = host.run.step(&Step::Pass(1_000_000));
    assert_eq!(seen.effects, vec![Effect::Pin(true)]);
    assert_eq!(host.get(TCTR, Width::Dword), 33_000);
    assert_eq!(host.run.device().next(), None);
}
