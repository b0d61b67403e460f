//! The controller as a driver uses it.

use super::subject::{self, descriptor, out, request, start, start_queue, Somebody, DATA, FIRST};
use super::*;
use crate::conformance::{Ram, Run, Step, Subject};
use crate::device::{Device, Effect, Pointing, Region, Touch, Turn, Width};

fn running() -> Run<'static, Somebody> {
    let mut run = Run::new(&Somebody, Somebody.make(), Ram::new());
    run.go(&start());
    run
}

fn read(run: &mut Run<'_, Somebody>, offset: u64) -> u16 {
    let seen = run.go(&[Step::Read(Region::Bar(4), offset, Width::Word)]);
    seen[0].value as u16
}

fn act<T>(run: &mut Run<'_, Somebody>, what: impl FnOnce(&mut Uhci, &mut Turn) -> T) -> T {
    let ram = Ram::new();
    let mut effects = Vec::new();
    let mut turn = Turn {
        now: 0,
        memory: &ram,
        effects: &mut effects,
    };
    what(run.device(), &mut turn)
}

/// The guest uses the tablet, at address 1.
fn configured() -> Run<'static, Somebody> {
    let mut run = running();
    run.go(&request(0, [0, 5, 1, 0, 0, 0, 0, 0]));
    run.go(&request(1, [0, 9, 1, 0, 0, 0, 0, 0]));
    run
}

#[test]
fn device_is_found_and_described() {
    let mut run = running();
    assert_eq!(read(&mut run, 0x10) & 7, 5);
    assert_eq!(read(&mut run, 0x14), 0);
    let pin = run.go(&request(0, [0x80, 6, 0, 1, 0, 0, 8, 0]));
    let raised = pin.iter().flat_map(|seen| &seen.effects);
    assert_eq!(raised.collect::<Vec<_>>(), [&Effect::Pin(true)]);
    let data = run.ram.get(u64::from(DATA) + 64, 8);
    assert_eq!(data, [18, 1, 0x10, 1, 0, 0, 0, 8]);
    assert_eq!(read(&mut run, 2), 1);
    let quiet = run.go(&[out(2, 1)]);
    assert_eq!(quiet[0].effects, [Effect::Pin(false)]);
}

#[test]
fn pointer_is_the_tablets_once_the_guest_uses_it() {
    let mut run = running();
    let there = Touch::Position {
        x: 639,
        y: 0,
        wheel: 0,
        width: 640,
        height: 480,
    };
    assert_eq!(run.device().pointing(), None);
    assert!(!act(&mut run, |device, turn| device.touch(there, turn)));
    let mut run = configured();
    assert_eq!(run.device().pointing(), None);
    run.go(&descriptor(0, true, 0x69, 1, 1, 8));
    run.go(&[start_queue(), Step::Pass(9_000_000)]);
    assert_eq!(run.device().pointing(), Some(Pointing::Absolute));
    // Nothing yet: the descriptor waits.
    let waits = run.ram.get(u64::from(FIRST) + 4, 4)[2];
    assert_eq!(waits & 0x88, 0x88);
    assert!(act(&mut run, |device, turn| device.touch(there, turn)));
    run.go(&[Step::Pass(5_000_000)]);
    let report = run.ram.get(DATA.into(), 6);
    assert_eq!(report, [0, 0xff, 0x7f, 0, 0, 0]);
    let done = run.ram.get(u64::from(FIRST) + 4, 4);
    assert_eq!((done[0], done[2] & 0x80), (5, 0));
}

#[test]
fn nobody_at_an_address_is_a_timeout_after_three() {
    let mut run = running();
    run.go(&descriptor(0, true, 0x69, 9, 1, 8));
    run.go(&[start_queue(), Step::Pass(8_000_000)]);
    let word = run.ram.get(u64::from(FIRST) + 4, 4);
    // Timed out, stalled, no longer active.
    assert_eq!(word[2] & 0xc4, 0x44);
    assert_eq!(read(&mut run, 2) & 3, 3);
}

#[test]
fn frames_are_counted_as_time_passes_and_late_ones_are_left_out() {
    let mut run = running();
    let first = read(&mut run, 6);
    run.go(&[Step::Pass(5_000_000)]);
    assert_eq!(read(&mut run, 6), first + 5);
    run.go(&[out(0, 0)]);
    assert_eq!(read(&mut run, 2) & 0x20, 0x20);
    run.go(&[Step::Pass(5_000_000)]);
    assert_eq!(read(&mut run, 6), first + 5);
}

#[test]
fn list_outside_of_memory_and_nonsense_in_it_halt_the_controller() {
    let mut run = running();
    run.go(&[out(0x0a, 0xfff0), Step::Pass(2_000_000)]);
    assert_eq!(read(&mut run, 2) & 0x28, 0x28);
    let mut run = running();
    run.go(&descriptor(0, true, 0x33, 0, 0, 8));
    run.go(&[start_queue(), Step::Pass(2_000_000)]);
    assert_eq!(read(&mut run, 2) & 0x30, 0x30);
}

#[test]
fn other_devices_are_not_restored_from() {
    let with = |kind| Uhci::new(vec![Plug::Hid(kind)]);
    let saved = with(Kind::Tablet).save();
    assert!(with(Kind::Tablet).restore(&saved).is_ok());
    let error = with(Kind::Mouse).restore(&saved).unwrap_err();
    assert!(error.to_string().contains("other devices"), "{error}");
    assert!(Uhci::new(Vec::new()).restore(&saved).is_err());
    let disk = Plug::Disk(crate::medium::Shelf::new(vec![0; 512]).slot());
    assert!(Uhci::new(vec![disk]).restore(&saved).is_err());
    let _ = subject::lists();
}
