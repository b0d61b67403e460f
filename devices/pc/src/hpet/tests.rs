//! What the timers do, seen through their registers.

use super::*;
use crate::conformance::Ram;

struct Chip {
    hpet: Hpet,
    ram: Ram,
    now: u64,
}

impl Chip {
    fn new() -> Chip {
        Chip {
            hpet: Hpet::new(),
            ram: Ram::new(),
            now: 1_000_000,
        }
    }

    fn call<T>(&mut self, what: impl FnOnce(&mut Hpet, &mut Turn) -> T) -> (T, Vec<Effect>) {
        let mut effects = Vec::new();
        let mut turn = Turn {
            now: self.now,
            memory: &self.ram,
            effects: &mut effects,
        };
        let value = what(&mut self.hpet, &mut turn);
        (value, effects)
    }

    fn read(&mut self, offset: u64) -> u32 {
        self.call(|hpet, turn| hpet.read(Region::Window(0), offset, Width::Dword, turn))
            .0
    }

    fn write(&mut self, offset: u64, value: u32) -> Vec<Effect> {
        self.call(|hpet, turn| hpet.write(Region::Window(0), offset, Width::Dword, value, turn))
            .1
    }

    /// Time passes, up to `ns` more, with the ticks that are due in it.
    fn pass(&mut self, ns: u64) -> Vec<Effect> {
        let end = self.now + ns;
        let mut all = Vec::new();
        while let Some(at) = self.hpet.next().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            all.extend(self.call(|hpet, turn| hpet.tick(turn)).1);
        }
        self.now = end;
        all
    }
}

const PULSE: [Effect; 2] = [Effect::Line(20, true), Effect::Line(20, false)];
const ON_PIN_20: u32 = 20 << 9 | 1 << 2;

#[test]
fn counter_counts_while_it_is_enabled() {
    let mut chip = Chip::new();
    assert_eq!(chip.read(0), 0x8086_2201);
    assert_eq!(chip.read(4), 16_000_000);
    chip.pass(1_000);
    assert_eq!(chip.read(0xf0), 0);
    chip.write(0x10, 1);
    chip.pass(1_600);
    assert_eq!(chip.read(0xf0), 100);
    chip.write(0x10, 0);
    chip.pass(1_600);
    assert_eq!(chip.read(0xf0), 100);
    chip.write(0xf0, u32::MAX);
    chip.write(0x10, 1);
    chip.pass(16);
    assert_eq!([chip.read(0xf0), chip.read(0xf4)], [0, 1]);
}

#[test]
fn one_shot_interrupts_once_at_its_value() {
    let mut chip = Chip::new();
    chip.write(0x10, 1);
    chip.write(0x100, ON_PIN_20);
    chip.write(0x108, 1_000);
    assert!(chip.pass(15_999).is_empty());
    assert_eq!(chip.pass(1), PULSE);
    assert!(chip.pass(1_000_000_000).is_empty());
    // With 32 bits it is equal again a turn of them later.
    chip.write(0x100, ON_PIN_20 | 1 << 8);
    chip.write(0x108, 500);
    assert_eq!(chip.pass(16 << 32), PULSE);
}

#[test]
fn periodic_goes_on_and_what_was_missed_is_one() {
    let mut chip = Chip::new();
    chip.write(0x10, 1);
    // As Linux does: the first time by itself, then the period.
    chip.write(0x100, ON_PIN_20 | 1 << 3 | 1 << 6 | 1 << 8);
    chip.write(0x108, 62_500);
    chip.write(0x108, 62_500);
    let ten: Vec<Effect> = PULSE.iter().cycle().take(20).cloned().collect();
    assert_eq!(chip.pass(10_000_000), ten);
    chip.now += 5_500_000;
    assert_eq!(chip.pass(0), PULSE);
    assert_eq!(chip.pass(500_000), PULSE);
    assert_eq!(chip.read(0x108), 62_500 * 17);
}

#[test]
fn period_of_nothing_leaves_the_host_its_time() {
    let mut chip = Chip::new();
    chip.write(0x10, 1);
    chip.write(0x100, ON_PIN_20 | 1 << 3 | 1 << 6 | 1 << 8);
    chip.write(0x108, 1);
    chip.write(0x108, 1);
    assert!(chip.pass(1_000_000).len() <= 2 * 21);
}

#[test]
fn level_stays_up_until_its_status_is_written() {
    let mut chip = Chip::new();
    chip.write(0x10, 1);
    chip.write(0x120, 23 << 9 | 1 << 2 | 1 << 1);
    chip.write(0x128, 10);
    assert_eq!(chip.pass(1_000), [Effect::Line(23, true)]);
    assert_eq!(chip.read(0x20), 2);
    assert!(chip.write(0x20, 1).is_empty());
    assert_eq!(chip.write(0x20, 2), [Effect::Line(23, false)]);
    assert_eq!(chip.read(0x20), 0);
}

#[test]
fn route_that_there_is_not_interrupts_nobody() {
    let mut chip = Chip::new();
    chip.write(0x10, 1);
    assert_eq!(chip.read(0x104), 0x00f0_0000);
    chip.write(0x100, 2 << 9 | 1 << 2);
    chip.write(0x108, 10);
    assert_eq!(chip.hpet.next(), None);
    assert!(chip.pass(1_000_000).is_empty());
}
