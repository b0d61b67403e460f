//! The processors in the DSDT, which come and go by the registers of devices/pc (chipset/processors.rs; ACPI 6.4, chapters 5.6.6, 8.4).
//!
//! ```text
//!   \\_GPE._E02: each processor whose bit has changed --> Notify: look (1), or let go (3)
//!   \\_SB.C001:  _STA: its bit is set    _MAT: its local APIC    _EJ0: its number is written
//! ```
//! The first one is there for ever.

use super::dsdt::Raw;
use super::local_apic;
use crate::Machine;
use acpi_tables::aml::{
    self, BufferData, Device, Else, Field, FieldAccessType, FieldEntry, FieldLockRule,
    FieldUpdateRule, If, Method, Name, Notify, OpRegion, OpRegionSpace, Path, Return, Scope, Store,
};
use acpi_tables::Aml;

/// Ports of the registers, and how many.
const FIRST_PORT: u16 = 0xaf00;
const PORTS: u8 = 32;
/// Processors that the registers have bits for.
const MOST: u32 = 64;
/// Values of Notify (ACPI 6.4, table 5.163) and of _STA (6.3.7): present, enabled, shown, working.
const LOOK: u8 = 1;
const LET_GO: u8 = 3;
const THERE: u8 = 0xf;

/// A bit of processor `cpu` among those present, wanted or changed.
fn bit(register: char, cpu: u32) -> String {
    format!("{register}{cpu:03X}")
}

fn path(cpu: u32) -> String {
    format!("\\_SB_.C{cpu:03X}")
}

/// All of them, and the method that their event runs.
pub fn processors(machine: &Machine) -> Vec<u8> {
    let count = machine.vcpus.min(MOST);
    let mut code = registers(count);
    for cpu in 0..count {
        code.extend(processor(cpu));
    }
    let mut looks = Vec::new();
    for cpu in 1..count {
        looks.extend(look(cpu));
    }
    let looks = Raw(looks);
    let event = Method::new("_E02".into(), 0, true, vec![&looks]);
    Scope::new("\\_GPE".into(), vec![&event]).to_aml_bytes(&mut code);
    code
}

/// Processors that neither come nor go: their numbers are known.
pub fn only_named(machine: &Machine) -> Vec<u8> {
    let mut code = Vec::new();
    for cpu in 0..machine.vcpus.min(0xfe) {
        let hid = Name::new("_HID".into(), &"ACPI0007");
        let uid = Name::new("_UID".into(), &cpu);
        let label = format!("C{cpu:03X}");
        let device = Device::new(Path::new(&label), vec![&hid, &uid]);
        Scope::new("_SB_".into(), vec![&device]).to_aml_bytes(&mut code);
    }
    code
}

fn registers(count: u32) -> Vec<u8> {
    let mut code = Vec::new();
    OpRegion::new(
        "\\_SB_.CPRG".into(),
        OpRegionSpace::SystemIO,
        &FIRST_PORT,
        &PORTS,
    )
    .to_aml_bytes(&mut code);
    let mut fields = Vec::new();
    for register in ['P', 'W', 'H'] {
        fields.extend((0..count).map(|cpu| FieldEntry::Named(name(&bit(register, cpu)), 1)));
        if count < MOST {
            fields.push(FieldEntry::Reserved((MOST - count) as usize));
        }
    }
    fields.push(FieldEntry::Named(*b"CLGO", 8));
    // Zeros beside a bit that is written: those that have changed as well stay so.
    let field = Field::new(
        "\\_SB_.CPRG".into(),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::WriteAsZeroes,
        fields,
    );
    Scope::new("\\_SB_".into(), vec![&field]).to_aml_bytes(&mut code);
    code
}

fn name(text: &str) -> [u8; 4] {
    let bytes = text.as_bytes();
    std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(b'_'))
}

fn processor(cpu: u32) -> Vec<u8> {
    let hid = Name::new("_HID".into(), &"ACPI0007");
    let uid = Name::new("_UID".into(), &cpu);
    let apic = BufferData::new(local_apic(cpu as u8, true).to_vec());
    let apic = Name::new("_MAT".into(), &apic);
    let present = Path::new(&bit('P', cpu));
    let (there, nothing) = (Return::new(&THERE), Return::new(&aml::ZERO));
    let if_there = If::new(&present, vec![&there]);
    let if_not = Else::new(vec![&nothing]);
    let status = Method::new("_STA".into(), 0, false, vec![&if_there, &if_not]);
    let register = Path::new("CLGO");
    let number = cpu as u8;
    let write = Store::new(&register, &number);
    let eject = Method::new("_EJ0".into(), 1, false, vec![&write]);
    let mut parts: Vec<&dyn Aml> = vec![&hid, &uid, &apic, &status];
    if cpu > 0 {
        parts.push(&eject);
    }
    let label = format!("C{cpu:03X}");
    let device = Device::new(Path::new(&label), parts);
    let mut code = Vec::new();
    Scope::new("\\_SB_".into(), vec![&device]).to_aml_bytes(&mut code);
    code
}

/// What the event's method does about one processor.
fn look(cpu: u32) -> Vec<u8> {
    let of = |register| Path::new(&format!("\\_SB_.{}", bit(register, cpu)));
    let (changed, wanted) = (of('H'), of('W'));
    let device = Path::new(&path(cpu));
    let clear = Store::new(&changed, &aml::ONE);
    let (come, go) = (Notify::new(&device, &LOOK), Notify::new(&device, &LET_GO));
    let if_wanted = If::new(&wanted, vec![&come]);
    let if_not = Else::new(vec![&go]);
    let mut code = Vec::new();
    If::new(&changed, vec![&clear, &if_wanted, &if_not]).to_aml_bytes(&mut code);
    code
}
