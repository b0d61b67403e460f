use super::*;
use crate::bus::Place;
use crate::conformance::Ram;
use crate::Bus;

const HERE: Place = Place {
    slot: 1,
    function: 3,
};

struct Machine {
    bus: Bus,
    memory: Ram,
    now: u64,
}

impl Machine {
    fn new() -> Machine {
        let mut machine = Machine {
            bus: Bus::new(),
            memory: Ram::new(),
            now: 0,
        };
        machine.bus.add(Box::new(Power::new(1)), Some(HERE));
        machine.config(0x40, 0xb001);
        machine.config(0x80, 1);
        machine
    }

    fn config(&mut self, offset: u32, value: u32) {
        let address = 0x8000_0b00 | offset;
        self.write(0xcf8, Width::Dword, address);
        self.write(0xcfc, Width::Dword, value);
    }

    fn read(&mut self, port: u16, width: Width) -> u32 {
        self.bus.read_port(port, width, self.now, &self.memory).0
    }

    fn write(&mut self, port: u16, width: Width, value: u32) -> Vec<Effect> {
        let happened = self
            .bus
            .write_port(port, width, value, self.now, &self.memory);
        happened.into_iter().map(|(_, effect)| effect).collect()
    }
}

#[test]
fn timer_counts_at_its_rate_in_24_bits() {
    let mut machine = Machine::new();
    machine.now = 1_000_000_000;
    assert_eq!(machine.read(0xb008, Width::Dword), 3_579_545);
    machine.now = 5_000_000_000;
    assert_eq!(machine.read(0xb008, Width::Dword), 17_897_725 & 0xff_ffff);
}

#[test]
fn registers_lie_where_configuration_puts_them_while_it_lets_them_answer() {
    let mut machine = Machine::new();
    machine.now = 1_000_000_000;
    machine.config(0x40, 0x0601);
    assert_eq!(machine.read(0xb008, Width::Dword), u32::MAX);
    assert_eq!(machine.read(0x608, Width::Dword), 3_579_545);
    machine.config(0x80, 0);
    assert_eq!(machine.read(0x608, Width::Dword), u32::MAX);
}

#[test]
fn acpi_is_switched_on_by_apm_control() {
    let mut machine = Machine::new();
    machine.write(0xb2, Width::Byte, 0xf1);
    assert_eq!(machine.read(0xb004, Width::Word), 1);
    machine.write(0xb2, Width::Byte, 0xf0);
    assert_eq!(machine.read(0xb004, Width::Word), 0);
    machine.write(0xb2, Width::Word, 0x34f1);
    assert_eq!(machine.read(0xb2, Width::Word), 0x34f1);
}

#[test]
fn power_button_interrupts_until_its_status_is_cleared() {
    let mut machine = Machine::new();
    machine.write(0xb2, Width::Byte, 0xf1);
    machine.write(0xb002, Width::Word, 1 << 8);
    let (pressed, happened) = machine.bus.press(Button::Power, 0, &machine.memory);
    assert!(pressed);
    assert_eq!(happened, [(0, Effect::Line(SCI, true))]);
    assert_eq!(machine.read(0xb000, Width::Word), 1 << 8);
    // Clearing another status does nothing to it.
    assert!(machine.write(0xb000, Width::Byte, 0xff).is_empty());
    assert_eq!(
        machine.write(0xb001, Width::Byte, 1),
        [Effect::Line(SCI, false)]
    );
}

#[test]
fn timer_overflow_interrupts_at_its_time_if_wanted() {
    let mut machine = Machine::new();
    assert_eq!(machine.bus.next(), None);
    machine.write(0xb004, Width::Word, 1);
    machine.write(0xb002, Width::Word, 1);
    let due = machine.bus.next().unwrap();
    // 2^23 / 3.579545 MHz is 2.343 s.
    assert_eq!(due / 1_000_000, 2343);
    let happened = machine.bus.tick(due, &machine.memory);
    assert_eq!(happened, [(0, Effect::Line(SCI, true))]);
    machine.now = due;
    assert_eq!(
        machine.write(0xb000, Width::Word, 1),
        [Effect::Line(SCI, false)]
    );
    assert_eq!(machine.bus.next().unwrap() / 1_000_000, 4686);
}

#[test]
fn sleep_types_switch_off_or_sleep_only_with_the_enable_bit() {
    let mut machine = Machine::new();
    assert!(machine.write(0xb004, Width::Word, 1 << 10).is_empty());
    assert_eq!(
        machine.write(0xb004, Width::Word, 1 << 13 | 1 << 10),
        [Effect::Sleep]
    );
    assert_eq!(
        machine.write(0xb004, Width::Word, 1 << 13 | 1),
        [Effect::PowerOff]
    );
    assert_eq!(machine.read(0xb004, Width::Word), 1);
}

#[test]
fn machine_that_wakes_has_wak_sts_and_all_that_was_enabled() {
    let mut machine = Machine::new();
    machine.write(0xb2, Width::Byte, 0xf1);
    machine.write(0xb002, Width::Word, u32::from(STS_POWER));
    assert_eq!(machine.read(0xb000, Width::Word) & u32::from(STS_WAKE), 0);
    machine.bus.wake(machine.now, &machine.memory);
    assert_eq!(machine.read(0xb000, Width::Word), u32::from(STS_WAKE));
    assert_eq!(machine.read(0xb002, Width::Word), u32::from(STS_POWER));
    assert_eq!(machine.read(0xb004, Width::Word), u32::from(CNT_SCI));
}

#[test]
fn processors_that_are_wanted_raise_the_sci_and_go_when_the_guest_lets_go() {
    let mut machine = Machine::new();
    machine.write(0xb2, Width::Byte, 0xf1);
    machine.write(0xb00e, Width::Word, u32::from(GPE_PROCESSORS));
    let want = |machine: &mut Machine, wanted| {
        let (known, happened) = machine.bus.want_processors(wanted, 0, &machine.memory);
        assert!(known);
        happened
            .into_iter()
            .map(|(_, effect)| effect)
            .collect::<Vec<_>>()
    };
    let (up, down) = (Effect::Line(SCI, true), Effect::Line(SCI, false));
    let more = want(&mut machine, 0b11);
    assert_eq!(more, [Effect::Processors(0b11), up.clone()]);
    assert_eq!(machine.read(0xaf00, Width::Dword), 0b11);
    assert_eq!(machine.read(0xaf10, Width::Byte), 0b10);
    let status = u32::from(GPE_PROCESSORS);
    assert_eq!(machine.write(0xb00c, Width::Word, status), [down.clone()]);
    machine.write(0xaf10, Width::Byte, 0b10);
    assert_eq!(want(&mut machine, 0b01), [up]);
    assert_eq!(machine.bus.processors(), 0b11);
    let gone = machine.write(0xaf18, Width::Byte, 1);
    assert_eq!(gone, [Effect::Processors(0b01)]);
    assert_eq!(machine.bus.processors(), 0b01);
}

#[test]
fn state_of_version_1_leaves_the_processors_as_they_are() {
    let mut old = Power::new(0b1).save();
    old["version"] = 1.into();
    let state = &mut old["state"]["state"];
    assert!(state
        .as_object_mut()
        .unwrap()
        .remove("processors")
        .is_some());
    let mut power = Power::new(0b111);
    power.restore(&old).unwrap();
    assert_eq!(Device::processors(&power), Some(0b111));
}
