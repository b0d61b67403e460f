//! The card as a driver uses it.

use super::subject::{bcr, csr, entry, send, start, Plugged, BUFFER, DATA, MAC, RINGS};
use crate::conformance::{Ram, Run, Step, Subject};
use crate::device::{Effect, Region, Width};
use crate::net::lan::frame;

fn card(plugged: &Plugged) -> Run<'_, Plugged> {
    Run::new(plugged, plugged.make(), Ram::new())
}

fn word(run: &mut Run<'_, Plugged>, offset: u64) -> u16 {
    run.go(&[Step::Read(Region::Bar(0), offset, Width::Word)])[0].value as u16
}

fn read_csr(run: &mut Run<'_, Plugged>, number: u16) -> u16 {
    run.go(&[Step::Write(
        Region::Bar(0),
        0x12,
        Width::Word,
        number.into(),
    )]);
    word(run, 0x10)
}

/// Effects of all steps.
fn effects(run: &mut Run<'_, Plugged>, steps: &[Step]) -> Vec<Effect> {
    let seen = run.go(steps).into_iter();
    seen.flat_map(|seen| seen.effects).collect()
}

/// Status of an entry of 16 bytes.
fn status(run: &Run<'_, Plugged>, ring: usize, index: u32) -> u16 {
    let place = RINGS[ring] + index * 16 + 6;
    let bytes = run.ram.get(place.into(), 2);
    u16::from_le_bytes([bytes[0], bytes[1]])
}

#[test]
fn driver_finds_the_chip_and_its_address_by_words_and_by_dwords() {
    let plugged = Plugged::default();
    let mut run = card(&plugged);
    word(&mut run, 0x14);
    assert_eq!(read_csr(&mut run, 0), 4);
    assert_eq!(read_csr(&mut run, 88), 0x1003);
    assert_eq!(word(&mut run, 0x12), 88);
    assert_eq!(read_csr(&mut run, 89), 0x0262);
    let address: Vec<u8> = (12..15)
        .flat_map(|number| read_csr(&mut run, number).to_le_bytes())
        .collect();
    assert_eq!(address, MAC);
    let prom: Vec<u8> = (0..16)
        .map(|at| run.go(&[Step::Read(Region::Bar(1), at, Width::Byte)])[0].value as u8)
        .collect();
    assert_eq!((&prom[..6], &prom[14..]), (&MAC[..], &b"WW"[..]));
    let sum: u16 = (0..12).chain(14..16).map(|at| u16::from(prom[at])).sum();
    assert_eq!(u16::from_le_bytes([prom[12], prom[13]]), sum);
    // A dword to the data register: by dwords, also after a reset by the port.
    let dword = |run: &mut Run<'_, Plugged>, offset| {
        run.go(&[Step::Read(Region::Bar(0), offset, Width::Dword)])[0].value
    };
    run.go(&[Step::Write(Region::Bar(0), 0x10, Width::Dword, 0)]);
    dword(&mut run, 0x18);
    run.go(&[Step::Write(Region::Bar(0), 0x14, Width::Dword, 88)]);
    assert_eq!((dword(&mut run, 0x10), dword(&mut run, 0x14)), (0x1003, 88));
    run.go(&[Step::Write(Region::Bar(0), 0x14, Width::Dword, 4)]);
    // The lamp of the link.
    assert_eq!(dword(&mut run, 0x1c), 0x80c0);
    run.go(&[Step::Reset]);
    assert_eq!(read_csr(&mut run, 0), 4);
}

#[test]
fn frames_go_out_in_each_style_and_are_told_of() {
    for style in [0, 2, 3] {
        let plugged = Plugged::default();
        let mut run = card(&plugged);
        let raised = effects(&mut run, &start(style, 0));
        // Initialised.
        assert_eq!(raised, [Effect::Pin(true)], "{style}");
        assert_eq!(read_csr(&mut run, 0), 0x01f3, "{style}");
        assert_eq!(effects(&mut run, &csr(0, 0x140)), [Effect::Pin(false)]);
        let out = frame([9; 6], 200, 3);
        assert_eq!(
            effects(&mut run, &send(style, 0, &out)),
            [Effect::Pin(true)]
        );
        assert_eq!(plugged.lan.sent(), [out], "{style}");
        assert_eq!(read_csr(&mut run, 0), 0x02f3, "{style}");
        // A short one is padded; the ring goes round.
        for index in [1, 2, 3, 0] {
            run.go(&send(style, index, &frame([9; 6], 20, 3)));
            assert_eq!(plugged.lan.sent()[0].len(), 60);
        }
        let (place, own) = match style {
            0 => (RINGS[1] + 3, 0x80),
            _ => (RINGS[1] + 7, 0x80),
        };
        assert_eq!(run.ram.get(place.into(), 1)[0] & own, 0, "{style}");
    }
}

#[test]
fn frame_in_pieces_is_one_and_one_that_does_not_end_is_cut() {
    let plugged = Plugged::default();
    let mut run = card(&plugged);
    run.go(&start(2, 0));
    let out = frame([9; 6], 300, 5);
    run.go(&[
        Step::Memory(DATA[1].into(), out[..100].to_vec()),
        Step::Memory((DATA[1] + BUFFER).into(), out[100..].to_vec()),
        entry(2, 1, 0, 100, 0x8200),
        entry(2, 1, 1, 200, 0x8100),
    ]);
    run.go(&csr(0, 0x48));
    assert_eq!(plugged.lan.sent(), [out]);
    assert_eq!((status(&run, 1, 0), status(&run, 1, 1)), (0x0200, 0x0100));
    run.go(&[entry(2, 1, 2, 100, 0x8200)]);
    run.go(&csr(0, 0x48));
    assert!(plugged.lan.sent().is_empty());
    assert_eq!(status(&run, 1, 2), 0x4200);
    // It sends no more.
    assert_eq!(read_csr(&mut run, 0) & 0x10, 0);
}

#[test]
fn frames_come_into_their_buffers_with_their_checksums() {
    for style in [0, 2, 3] {
        let plugged = Plugged::default();
        let mut run = card(&plugged);
        run.go(&start(style, 0));
        run.go(&csr(0, 0x140));
        let coming = frame(MAC, 100, 7);
        plugged.lan.put(coming.clone());
        // Any write has it look.
        let raised = effects(&mut run, &csr(46, 0));
        assert_eq!(raised, [Effect::Pin(true)], "{style}");
        let check = crc32fast::hash(&coming).to_le_bytes();
        let whole = [&coming[..], &check].concat();
        assert_eq!(run.ram.get(DATA[0].into(), 104), whole, "{style}");
        let (at, bytes) = match style {
            0 => (RINGS[0] + 6, 2),
            3 => (RINGS[0], 4),
            _ => (RINGS[0] + 8, 4),
        };
        assert_eq!(run.ram.get(at.into(), bytes)[..2], [104, 0], "{style}");
        assert_eq!(read_csr(&mut run, 0) & 0x0400, 0x0400, "{style}");
    }
}

#[test]
fn long_frame_goes_over_buffers_and_no_buffer_is_waited_for() {
    let plugged = Plugged::default();
    let mut run = card(&plugged);
    run.go(&start(2, 0));
    let small: Vec<Step> = (0..4).map(|index| entry(2, 0, index, 64, 0x8000)).collect();
    run.go(&small);
    let coming = frame([0xff; 6], 150, 7);
    plugged.lan.put(coming.clone());
    run.go(&csr(46, 0));
    let all: Vec<u16> = (0..4).map(|index| status(&run, 0, index)).collect();
    assert_eq!(all, [0x0200, 0, 0x0110, 0x8000]);
    let last = run.ram.get((DATA[0] + 2 * BUFFER).into(), 22);
    assert_eq!(last, coming[128..]);
    // Into the last buffer as much as it takes; what comes then waits.
    plugged.lan.put(coming.clone());
    plugged.lan.put(coming.clone());
    run.go(&csr(46, 0));
    assert_eq!(status(&run, 0, 3), 0x4600);
    assert_eq!(plugged.lan.waiting(), 1);
    // The guest gives buffers back and says nothing.
    let back: Vec<Step> = (0..4)
        .map(|index| entry(2, 0, index, 1544, 0x8000))
        .collect();
    run.go(&back);
    run.go(&[Step::Pass(2_000_000)]);
    assert_eq!((plugged.lan.waiting(), status(&run, 0, 0)), (0, 0x0310));
}

#[test]
fn frames_for_others_pass_by_unless_it_listens_to_all() {
    let plugged = Plugged::default();
    let mut run = card(&plugged);
    run.go(&start(2, 0));
    // The filter has bit 63: addresses whose CRC begins with six ones.
    let group = (0..=255u8).map(|last| [1, 0, 0x5e, 0, 0, last]);
    let (in_filter, out): (Vec<_>, Vec<_>) =
        group.partition(|to| crate::net::hash_le(to) >> 26 == 63);
    for to in [[2; 6], out[0], MAC, in_filter[0], [0xff; 6]] {
        plugged.lan.put(frame(to, 100, 1));
    }
    run.go(&csr(46, 0));
    let all: Vec<u16> = (0..4).map(|index| status(&run, 0, index)).collect();
    assert_eq!(all, [0x0340, 0x0320, 0x0310, 0x8000]);
    // Modes change while it stands still.
    run.go(&[csr(15, 0x8000), csr(5, 1), csr(15, 0x8000), csr(5, 0)].concat());
    plugged.lan.put(frame([2; 6], 100, 1));
    run.go(&csr(46, 0));
    assert_eq!(status(&run, 0, 3), 0x0300);
}

#[test]
fn it_hears_itself_in_loopback_and_masks_and_stop_hold() {
    let plugged = Plugged::default();
    let mut run = card(&plugged);
    run.go(&start(2, 0x0004));
    run.go(&csr(0, 0x140));
    // All masked: nothing is raised.
    run.go(&csr(3, 0x5f00));
    let itself = frame(MAC, 80, 9);
    assert!(effects(&mut run, &send(2, 0, &itself)).is_empty());
    assert!(plugged.lan.sent().is_empty());
    assert_eq!(run.ram.get(DATA[0].into(), 80), itself);
    assert_eq!(effects(&mut run, &csr(3, 0)), [Effect::Pin(true)]);
    assert_eq!(effects(&mut run, &csr(0, 4)), [Effect::Pin(false)]);
    assert_eq!(read_csr(&mut run, 0), 4);
    // An event of the guest's own making.
    let mut own = csr(0, 0x40);
    own.extend(csr(4, 0x0995));
    assert_eq!(effects(&mut run, &own), [Effect::Pin(true)]);
    assert_eq!(effects(&mut run, &csr(4, 0x0955)), [Effect::Pin(false)]);
}

#[test]
fn block_and_rings_beyond_memory_stop_it() {
    let plugged = Plugged::default();
    let mut run = card(&plugged);
    run.go(&[bcr(20, 2), csr(1, 0), csr(2, 0xfff0), csr(0, 0x41)].concat());
    assert_eq!(read_csr(&mut run, 0) & 0x8800, 0x8800);
    let mut run = card(&plugged);
    run.go(&start(2, 0));
    run.go(&[csr(0, 4), csr(30, 0), csr(31, 0xfff0), csr(0, 0x42)].concat());
    assert_eq!(read_csr(&mut run, 0) & 0x8830, 0x8800);
}
