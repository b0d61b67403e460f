use crate::pci::{Bar, BarKind, Function, Identity, COMMAND_MASTER, COMMAND_MEMORY};

fn function() -> Function {
    let identity = Identity {
        vendor: 0x8086,
        device: 0x7010,
        class: 0x01_0180,
        revision: 0,
        subsystem: (0x5853, 1),
        pin: 1,
        multifunction: true,
    };
    let bar = Bar {
        kind: BarKind::Memory,
        size: 0x1000,
    };
    let mut function = Function::new(identity, [Some(bar), None, None, None, None, None]);
    function.own_byte(0x40, 0x12, 0xf0);
    function
}

#[test]
fn guest_writes_only_what_it_may() {
    let mut function = function();
    function.write(0x00, 4, 0xdead_beef);
    assert_eq!(function.read(0x00, 4), 0x7010_8086);
    function.write(0x40, 1, 0xff);
    assert_eq!(function.byte(0x40), 0xf2);
    assert_eq!(function.read(0x0e, 1), 0x80);
    assert_eq!(function.read(0x09, 2), 0x0180);
}

#[test]
fn bar_is_sized_placed_and_answers_when_enabled() {
    let mut function = function();
    function.write(0x10, 4, 0xffff_ffff);
    assert_eq!(function.read(0x10, 4), 0xffff_f000);
    assert!(function.write(0x10, 4, 0xfebc_1234));
    assert_eq!(function.base(0), None);
    assert!(function.write(0x04, 2, u32::from(COMMAND_MEMORY | COMMAND_MASTER)));
    assert_eq!(function.base(0), Some(0xfebc_1000));
    assert!(function.is_master());
    assert!(!function.write(0x3c, 1, 11));
    assert_eq!(function.base(6), None);
}

#[test]
fn access_at_the_end_does_not_go_beyond() {
    let mut function = function();
    assert_eq!(function.read(0xfe, 4), 0xffff_0000);
    function.write(0xfe, 4, 0xffff_ffff);
}

#[test]
fn saved_space_comes_back_and_cannot_change_what_the_device_is() {
    let mut one = function();
    one.write(0x10, 4, 0xfebc_0000);
    one.write(0x04, 2, 2);
    let saved = one.save();
    let mut other = function();
    other.restore(&saved, "ide").unwrap();
    assert_eq!(other, one);
    let mut json = serde_json::to_value(&saved).unwrap();
    json[0x0b] = 3.into();
    json[0x04] = 0xff.into();
    other
        .restore(&serde_json::from_value(json.clone()).unwrap(), "ide")
        .unwrap();
    assert_eq!(other.read(0x0b, 1), 1);
    assert_eq!(other.command(), 7);
    json[0] = 0.into();
    assert!(other
        .restore(&serde_json::from_value(json).unwrap(), "ide")
        .is_err());
    assert!(other
        .restore(&serde_json::from_str("[1,2]").unwrap(), "ide")
        .is_err());
}
