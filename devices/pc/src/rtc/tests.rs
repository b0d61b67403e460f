use super::*;
use crate::conformance::{Ram, Run, Step};

/// 2006-11-30 14:05:58 UTC, a Thursday.
const THEN: i64 = 1_164_895_558;

fn clock() -> Rtc {
    Rtc::new(Settings {
        seconds: THEN,
        firmware: Firmware {
            low: 256 << 20,
            high: 1 << 30,
            cpus: 2,
            boot: vec![Boot::Cd, Boot::Disk, Boot::Floppy],
            floppies: 1,
        },
    })
}

struct Chip<'a>(Run<'a, fn() -> Rtc>);

impl Chip<'_> {
    fn new() -> Chip<'static> {
        static MAKE: fn() -> Rtc = clock;
        Chip(Run::new(&MAKE, clock(), Ram::new()))
    }
    fn read(&mut self, index: u8) -> u8 {
        self.0
            .step(&Step::Write(Region::Ports(0), 0, Width::Byte, index.into()));
        self.0
            .step(&Step::Read(Region::Ports(0), 1, Width::Byte))
            .value as u8
    }
    fn write(&mut self, index: u8, value: u8) -> Vec<Effect> {
        self.0
            .step(&Step::Write(Region::Ports(0), 0, Width::Byte, index.into()));
        self.0
            .step(&Step::Write(Region::Ports(0), 1, Width::Byte, value.into()))
            .effects
    }
    fn pass(&mut self, time: u64) -> Vec<Effect> {
        self.0.step(&Step::Pass(time)).effects
    }
    fn time(&mut self) -> [u8; 8] {
        [0x32, 9, 8, 7, 6, 4, 2, 0].map(|index| self.read(index))
    }
}

#[test]
fn time_is_shown_in_bcd_and_goes_on() {
    let mut chip = Chip::new();
    assert_eq!(chip.time(), [0x20, 0x06, 0x11, 0x30, 5, 0x14, 0x05, 0x58]);
    chip.pass(3 * SECOND);
    assert_eq!(chip.time(), [0x20, 0x06, 0x11, 0x30, 5, 0x14, 0x06, 0x01]);
}

#[test]
fn binary_and_twelve_hours() {
    let mut chip = Chip::new();
    chip.write(0x0b, 0x04);
    assert_eq!(chip.time(), [20, 6, 11, 30, 5, 0x82, 5, 58]);
    chip.write(0x0b, 0x06);
    assert_eq!(chip.read(4), 14);
}

#[test]
fn time_that_is_set_stays_and_is_told() {
    let mut chip = Chip::new();
    chip.write(0x0b, 0x82);
    chip.pass(5 * SECOND);
    assert_eq!(chip.read(0), 0x58, "the clock stands while it is set");
    chip.write(4, 0x15);
    let effects = chip.write(0x0b, 0x02);
    assert_eq!(effects, vec![Effect::ClockMoved(3600 - 5)]);
    assert_eq!(chip.time()[5..], [0x15, 0x05, 0x58]);
    // A day that does not exist becomes the last one of its month.
    chip.write(8, 0x02);
    assert_eq!(chip.time()[..4], [0x20, 0x06, 0x02, 0x28]);
}

#[test]
fn update_in_progress_announces_the_second() {
    let mut chip = Chip::new();
    assert_eq!(chip.read(0x0a), 0x26);
    chip.pass(SECOND - 1_000_000);
    assert_eq!(chip.read(0x0a), 0xa6);
    chip.pass(1_000_000);
    assert_eq!(chip.read(0x0a), 0x26);
    assert_eq!(chip.read(0x0c) & 0x10, 0x10, "UF without an interrupt");
}

#[test]
fn update_interrupt_comes_each_second_that_is_acknowledged() {
    let mut chip = Chip::new();
    chip.write(0x0b, 0x12);
    assert_eq!(chip.0.device().next(), Some(SECOND));
    assert_eq!(chip.pass(SECOND), vec![Effect::Line(8, true)]);
    assert_eq!(chip.0.device().next(), None, "nobody took the first one");
    assert_eq!(chip.pass(SECOND), vec![]);
    assert_eq!(chip.read(0x0c) & 0xb0, 0x90);
    assert_eq!(chip.0.device().next(), Some(3 * SECOND));
}

#[test]
fn periodic_interrupt_keeps_its_rate() {
    let mut chip = Chip::new();
    chip.write(0x0a, 0x26);
    chip.read(0x0c);
    chip.write(0x0b, 0x42);
    // Rate 6 is 1024 Hz.
    assert_eq!(chip.0.device().next(), Some(976_563));
    assert_eq!(chip.pass(976_563), vec![Effect::Line(8, true)]);
    assert_eq!(chip.read(0x0c), 0xc0);
    assert_eq!(chip.0.device().next(), Some(1_953_125));
    chip.write(0x0a, 0x20);
    assert_eq!(chip.0.device().next(), None);
}

#[test]
fn alarm_goes_off_at_its_time_and_with_any_value() {
    let mut chip = Chip::new();
    for (index, value) in [(1, 0x00), (3, 0x07), (5, 0xff)] {
        chip.write(index, value);
    }
    chip.write(0x0b, 0x22);
    assert_eq!(chip.0.device().next(), Some(62 * SECOND));
    assert_eq!(chip.pass(62 * SECOND), vec![Effect::Line(8, true)]);
    assert_eq!(chip.read(0x0c) & 0xa0, 0xa0);
    chip.write(3, 0x61);
    assert_eq!(chip.0.device().next(), None, "no such minute");
    chip.write(5, 0x14);
    chip.write(3, 0x06);
    chip.write(1, 0x59);
    // 14:06:59 is to come yet tomorrow: it is 14:07:00 now.
    assert_eq!(chip.0.device().next(), Some((62 + 86_399) * SECOND));
}

#[test]
fn firmware_finds_memory_boot_order_and_floppies() {
    let mut chip = Chip::new();
    assert_eq!([chip.read(0x34), chip.read(0x35)], [0x00, 0x0f]);
    assert_eq!([chip.read(0x15), chip.read(0x16)], [0x80, 0x02]);
    assert_eq!(
        [chip.read(0x5b), chip.read(0x5c), chip.read(0x5d)],
        [0, 0x40, 0]
    );
    assert_eq!([chip.read(0x3d), chip.read(0x38)], [0x23, 0x11]);
    assert_eq!(
        [chip.read(0x10), chip.read(0x14), chip.read(0x5f)],
        [0x40, 0x07, 1]
    );
    assert_eq!(chip.read(0x0d), 0x80);
    chip.write(0x70, 0x5a);
    chip.0.step(&Step::Reset);
    assert_eq!(chip.read(0x70), 0x5a, "the battery keeps it");
}

#[test]
fn divider_reset_stops_the_clock_and_starts_it_half_a_second_early() {
    let mut chip = Chip::new();
    chip.write(0x0a, 0x76);
    chip.pass(10 * SECOND);
    chip.write(0x0a, 0x26);
    assert_eq!(chip.read(0), 0x58);
    chip.pass(SECOND / 2);
    assert_eq!(chip.read(0), 0x59);
}
