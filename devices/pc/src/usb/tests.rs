//! The controller as a driver uses it.

use super::subject::{
    descriptor, out, request, start, start_hub, start_queue, to_hub, Plugger, Somebody, DATA, FIRST,
};
use super::*;
use crate::conformance::{turn, Ram, Run, Step, Subject};
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
fn devices_come_with_the_image_and_disks_have_to_be_there() {
    let with = |kind| Uhci::new(vec![Plug::Hid(kind)]);
    let saved = with(Kind::Tablet).save();
    let mut other = with(Kind::Mouse);
    other.restore(&saved).unwrap();
    assert_eq!(other.listed(), with(Kind::Tablet).listed());
    let disk = |number| {
        let medium = crate::medium::Shelf::new(vec![0; 512]).slot();
        Uhci::new(vec![Plug::Disk(number, medium)])
    };
    let refused = |device: &mut Uhci, saved| device.restore(saved).unwrap_err().to_string();
    let of_disk = disk(2048).save();
    assert!(disk(2048).restore(&of_disk).is_ok());
    for (mut device, saved) in [
        (disk(2048), &saved),
        (with(Kind::Tablet), &of_disk),
        (disk(2064), &of_disk),
    ] {
        let line = refused(&mut device, saved);
        assert!(line.contains("other USB disks"), "{line}");
    }
}

/// What version 1 wrote of a controller with a mouse and a disk.
const VERSION_1: &str = include_str!("uhci-1.json");

#[test]
fn image_of_before_there_were_hubs_has_its_devices_at_the_root_ports() {
    let first = serde_json::from_str(VERSION_1).unwrap();
    let medium = crate::medium::Shelf::new(vec![0; 512]).slot();
    let mut device = Uhci::new(vec![Plug::Hid(Kind::Mouse), Plug::Disk(2048, medium)]);
    let ports = |device: &Uhci| -> Vec<String> {
        let listed = device.listed().into_iter();
        listed
            .map(|listed| format!("{} {}", listed.port, listed.what))
            .collect()
    };
    assert_eq!(ports(&device), ["1 mouse", "2 hub", "2.1 disk"]);
    device.restore(&first).unwrap();
    assert_eq!(ports(&device), ["1 mouse", "2 disk"]);
    assert_eq!(device.listed()[1].disk, Some(2048));
    // Its devices in a unit that calls itself another version are none.
    let mut lies: serde_json::Value = first;
    lies["version"] = 2.into();
    assert!(device.restore(&lies).is_err());
}

#[test]
fn ports_run_out_late_and_in_order() {
    let mut device = Uhci::new(Vec::new());
    let ports = |device: &Uhci| -> Vec<String> {
        device.listed().into_iter().map(|one| one.port).collect()
    };
    turn(|turn| {
        for _ in 0..tree::DEVICES {
            device.plug(Plug::Hid(Kind::Mouse), turn).unwrap();
        }
        assert_eq!(
            device.plug(Plug::Hid(Kind::Mouse), turn),
            Err(PlugError::Full)
        );
    });
    let all = ports(&device);
    assert_eq!(all[..4], ["1", "2", "2.1", "2.2"]);
    assert_eq!(all.last().unwrap(), "2.8.8.8");
    let hub = device.listed()[1].clone();
    assert_eq!((hub.number, hub.what), (2, "hub"));
    turn(|turn| {
        assert_eq!(device.unplug(2, turn), Err(PlugError::Stays));
        assert_eq!(device.unplug(99, turn), Err(PlugError::NotThere));
        device.unplug(4, turn).unwrap();
        device.plug(Plug::Hid(Kind::Tablet), turn).unwrap();
    });
    let back = device.listed().pop().unwrap();
    assert_eq!((back.number, &*back.port, back.what), (4, "2.2", "tablet"));
    // The unit holds all of it.
    let mut other = Uhci::new(Vec::new());
    other.restore(&device.save()).unwrap();
    assert_eq!(other.listed(), device.listed());
}

#[test]
fn keyboard_behind_a_hub_answers_once_its_port_was_reset() {
    let mut run = Run::new(&Plugger, Plugger.make(), Ram::new());
    run.go(&start());
    run.go(&start_hub());
    // Connected, powered; a change of the connection.
    run.go(&request(2, [0xa3, 0, 0, 0, 1, 0, 4, 0]));
    assert_eq!(run.ram.get(u64::from(DATA) + 64, 4), [1, 1, 1, 0]);
    // Nobody is at address 0 before the port's reset.
    let asks = [0x80, 6, 0, 1, 0, 0, 8, 0];
    run.go(&request(0, asks));
    assert_eq!(run.ram.get(u64::from(FIRST) + 4, 4)[2] & 0x80, 0x80);
    run.go(&to_hub([0x23, 3, 4, 0, 1, 0, 0, 0]));
    run.go(&request(0, asks));
    let data = run.ram.get(u64::from(DATA) + 64, 8);
    assert_eq!(data, [18, 1, 0x10, 1, 0, 0, 0, 8]);
    // A port that is suspended keeps it from answering.
    run.go(&to_hub([0x23, 3, 2, 0, 1, 0, 0, 0]));
    run.go(&request(0, asks));
    assert_eq!(run.ram.get(u64::from(FIRST) + 4, 4)[2] & 0x80, 0x80);
}

#[test]
fn what_comes_and_goes_is_told_by_its_port_and_wakes_the_bus() {
    let mut run = running();
    let port = |run: &mut Run<'_, Somebody>, offset| read(run, offset) & 0xf;
    assert_eq!(port(&mut run, 0x10), 5);
    // The tablet goes: nobody, came or went, disabled.
    act(&mut run, |device, turn| device.unplug(1, turn)).unwrap();
    assert_eq!(port(&mut run, 0x10), 0xa);
    run.go(&[out(0x10, 0xa)]);
    assert_eq!(port(&mut run, 0x10), 0);
    // The guest stops and suspends the bus, and wants to hear of what wakes it.
    run.go(&[out(0x04, 2), out(0x00, 8)]);
    let effects = act(&mut run, |device, turn| {
        device.plug(Plug::Hid(Kind::Mouse), turn).unwrap();
        turn.effects.clone()
    });
    assert_eq!(effects, [Effect::Pin(true)]);
    assert_eq!(port(&mut run, 0x10), 3);
    assert_eq!((read(&mut run, 2) & 4, read(&mut run, 0) & 0x18), (4, 0x18));
    let quiet = run.go(&[out(2, 4)]);
    assert_eq!(quiet[0].effects, [Effect::Pin(false)]);
}
