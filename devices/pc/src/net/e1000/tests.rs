//! What a driver sees.

use super::subject::*;
use super::*;
use crate::conformance::{Ram, Run, Step, Subject};
use crate::device::Effect;
use crate::net::lan::frame;
use crate::net::offload;

struct Host<'a>(Run<'a, Plugged>);

impl<'a> Host<'a> {
    fn new(lan: &'a Plugged) -> Host<'a> {
        let mut run = Run::new(lan, lan.make(), Ram::new());
        run.go(&start());
        Host(run)
    }

    fn get(&mut self, at: u32) -> u32 {
        self.0
            .step(&Step::Read(Region::Bar(0), at.into(), Width::Dword))
            .value
    }

    fn set(&mut self, at: u32, value: u32) -> Vec<Effect> {
        self.0.step(&set(at, value)).effects
    }

    fn ram(&self, at: u32, length: usize) -> Vec<u8> {
        self.0.ram.get(at.into(), length)
    }

    /// Sends descriptors from the ring's beginning.
    fn send(&mut self, descriptors: &[Vec<u8>]) -> Vec<Effect> {
        self.0.ram.put(TRANSMIT.into(), &descriptors.concat());
        self.set(TDH, 0);
        self.set(TDT, descriptors.len() as u32)
    }

    /// A frame comes; the card looks when anything is written to RDT.
    fn hear(&mut self, lan: &Plugged, frame: Vec<u8>) -> Vec<Effect> {
        lan.0.put(frame);
        let tail = self.get(RDT);
        self.set(RDT, tail)
    }
}

#[test]
fn address_comes_from_registers_eeprom_and_wires() {
    let lan = Plugged::default();
    let mut host = Host::new(&lan);
    assert_eq!(host.get(RAL).to_le_bytes(), MAC[..4]);
    let mut sum = 0u16;
    for word in 0..64 {
        host.set(0x14, word << 8 | 1);
        let answer = host.get(0x14);
        assert_eq!(answer & 0x10, 0x10);
        sum = sum.wrapping_add((answer >> 16) as u16);
    }
    assert_eq!(sum, 0xbaba);
    // Bit by bit: READ of word 2.
    host.set(0x10, 0x40);
    assert_eq!(host.get(0x10) & 0x380, 0x180, "granted, present, 64 words");
    for bit in [1, 1, 0, 0, 0, 0, 0, 1, 0] {
        host.set(0x10, 0x42 | bit << 2);
        host.set(0x10, 0x43 | bit << 2);
    }
    let word = (0..16).fold(0, |word, _| {
        host.set(0x10, 0x42);
        host.set(0x10, 0x43);
        word << 1 | (host.get(0x10) >> 3 & 1) as u16
    });
    assert_eq!(word, u16::from_le_bytes([MAC[4], MAC[5]]));
}

#[test]
fn transceiver_has_a_link_and_says_who_it_is() {
    let lan = Plugged::default();
    let mut host = Host::new(&lan);
    assert_eq!(host.get(0x08) & 0x83, 0x83);
    let mut phy = |register: u32| {
        host.set(0x20, 0x0820_0000 | register << 16);
        host.get(0x20)
    };
    assert_eq!(phy(2), 0x1822_0141);
    assert_eq!(phy(3) & 0xffff, 0x0c20);
    assert_eq!(phy(1) & 0x24, 0x24);
    host.set(0x20, 0x0840_0000);
    assert_eq!(host.get(0x20) >> 30, 1, "nobody at address 2");
}

#[test]
fn legacy_descriptor_sends_and_reports() {
    let lan = Plugged::default();
    let mut host = Host::new(&lan);
    let sent = frame([9; 6], 200, 3);
    host.0.ram.put(DATA.into(), &sent);
    let pieces = [
        descriptor(DATA, 0x0200_0000 | 100, 0),
        descriptor(DATA + 100, 0x0b00_0000 | 100, 0),
    ];
    assert_eq!(host.send(&pieces), vec![Effect::Pin(true)]);
    assert_eq!(lan.0.sent(), [sent]);
    assert_eq!(host.ram(TRANSMIT + 12, 1), [0]);
    assert_eq!(host.ram(TRANSMIT + 28, 1), [1]);
    assert_eq!(host.get(TDH), 2);
    assert_eq!(host.get(0xc0), 3);
    assert_eq!(host.get(0xc0), 0, "reading clears");
    assert_eq!((host.get(GPTC), host.get(GPTC)), (1, 0));
}

#[test]
fn checksums_and_large_segments_are_done_by_the_card() {
    let lan = Plugged::default();
    let mut host = Host::new(&lan);
    let mut segment = offload::tcp(500);
    // The driver leaves the pseudo header's sum in TCP's field.
    let pseudo: u32 = [0xc000u32, 0x0201, 0xc000, 0x0202, 6, 520].iter().sum();
    let pseudo = (pseudo & 0xffff) + (pseudo >> 16);
    segment[50..52].copy_from_slice(&(pseudo as u16).to_be_bytes());
    host.0.ram.put(DATA.into(), &segment);
    let length = segment.len() as u32;
    host.send(&[
        context(false, 0),
        descriptor(DATA, 0x2b10_0000 | length, 0x0300),
    ]);
    host.send(&[
        context(true, 200),
        descriptor(DATA, 0x2f10_0000 | length, 0x0300),
    ]);
    let sent = lan.0.sent();
    assert_eq!(
        sent.iter().map(Vec::len).collect::<Vec<_>>(),
        [554, 254, 254, 154]
    );
    assert!(sent.iter().all(|frame| offload::is_right(frame)));
}

#[test]
fn frames_fill_the_ring_and_wait_when_it_is_full() {
    let lan = Plugged::default();
    let mut host = Host::new(&lan);
    let one = frame(MAC, 100, 5);
    assert_eq!(host.hear(&lan, one.clone()), vec![Effect::Pin(true)]);
    assert_eq!(host.ram(BUFFERS, 100), one);
    assert_eq!(host.ram(RECEIVE + 8, 8), [100, 0, 0, 0, 7, 0, 0, 0]);
    assert_eq!(host.get(0xc0) & 0x80, 0x80);
    for seed in 0..8 {
        host.hear(&lan, frame(MAC, 100, seed));
    }
    assert_eq!((host.get(RDH), lan.0.waiting()), (7, 2));
    assert_eq!(host.get(0xc0) & 0x90, 0x90, "few are left");
    host.set(RDT, 2);
    assert_eq!((host.get(RDH), lan.0.waiting()), (1, 0));
}

#[test]
fn long_frame_lies_in_several_small_buffers() {
    let lan = Plugged::default();
    let mut host = Host::new(&lan);
    // 256 bytes each, check sequence kept.
    host.set(RCTL, 0x0003_8002);
    let long = frame(MAC, 600, 5);
    host.hear(&lan, long.clone());
    assert_eq!(host.get(RDH), 3);
    assert_eq!(host.ram(BUFFERS + 4096, 88), long[512..]);
    assert_eq!(host.ram(RECEIVE + 8, 5), [0, 1, 0, 0, 5]);
    assert_eq!(host.ram(RECEIVE + 40, 5), [92, 0, 0, 0, 7]);
}

#[test]
fn filter_and_tags() {
    let lan = Plugged::default();
    let mut host = Host::new(&lan);
    let group = [1, 0, 0x5e, 0, 0, 0x10];
    let heads = |host: &mut Host, lan: &Plugged| {
        let before = host.get(RDH);
        for to in [MAC, [2; 6], [0xff; 6], group] {
            host.hear(lan, frame(to, 60, 1));
        }
        let after = host.get(RDH);
        host.set(RDT, (after + 7) % 8);
        (after + 8 - before) % 8
    };
    assert_eq!(heads(&mut host, &lan), 2);
    // Bits 47:36 of the group's address: 0x100.
    host.set(MTA + 0x20, 1);
    assert_eq!(heads(&mut host, &lan), 3);
    host.set(RCTL, 0x0400_001a);
    assert_eq!(heads(&mut host, &lan), 4);

    host.set(CTRL, CTRL_VLAN);
    let plain = frame(MAC, 80, 2);
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0, 0x20, 0x07]);
    let head = host.get(RDH);
    host.hear(&lan, tagged.clone());
    assert_eq!(host.ram(BUFFERS + head * 2048, 80), plain);
    assert_eq!(host.ram(RECEIVE + head * 16 + 12, 4), [0x0f, 0, 0x07, 0x20]);
    host.0.ram.put(DATA.into(), &plain);
    host.send(&[descriptor(DATA, 0x4b00_0000 | 80, 0x2007_0000)]);
    assert_eq!(lan.0.sent(), [tagged]);
}

#[test]
fn ring_without_end_takes_several_turns() {
    let lan = Plugged::default();
    let mut host = Host::new(&lan);
    host.set(TDLEN, 0x2000);
    host.set(TDH, 0);
    host.set(TDT, 400);
    assert_eq!(host.get(TDH), 256);
    assert!(host.0.device().next().is_some());
    host.0.step(&Step::Pass(10));
    assert_eq!(host.get(TDH), 400);
    assert_eq!(host.0.device().next(), None);
}

#[test]
fn ports_reach_the_same_registers() {
    let lan = Plugged::default();
    let mut host = Host::new(&lan);
    host.0
        .step(&Step::Write(Region::Bar(1), 0, Width::Dword, RAL));
    let value = host
        .0
        .step(&Step::Read(Region::Bar(1), 4, Width::Dword))
        .value;
    assert_eq!(value.to_le_bytes(), MAC[..4]);
    // Parts of a register can be read, not written.
    host.0
        .step(&Step::Write(Region::Bar(0), RAL.into(), Width::Byte, 0xff));
    let byte = host
        .0
        .step(&Step::Read(Region::Bar(0), u64::from(RAL) + 2, Width::Byte))
        .value;
    assert_eq!(byte, u32::from(MAC[2]));
}
