use super::error;
use crate::mock::*;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::version::{FeatureInfo, VersionOp};
use noxen_pv_abi::Hypercall;

fn ask(seat: &mut Seat, op: VersionOp) -> i64 {
    seat.hypercall(Hypercall::XEN_VERSION, &[u64::from(op.0), ARGS])
}

#[test]
fn version_with_null_answers_number() {
    let mut seat = World::new(1).running();
    assert_eq!(seat.hypercall(Hypercall::XEN_VERSION, &[0, 0]), 0x0004_0011);
}

#[test]
fn version_upper_half_of_command_is_ignored() {
    let mut seat = World::new(1).running();
    assert_eq!(
        seat.hypercall(Hypercall::XEN_VERSION, &[0xdead_beef_0000_0000, 0]),
        0x0004_0011
    );
}

#[test]
fn strings_are_terminated_and_padded() {
    let mut seat = World::new(1).running();
    for (op, text, size) in [
        (VersionOp::EXTRAVERSION, ".0-noxen", 16),
        (
            VersionOp::CAPABILITIES,
            "xen-3.0-x86_64 xen-3.0-x86_32p ",
            1024,
        ),
        (VersionOp::CHANGESET, "noxen", 64),
    ] {
        seat.put(ARGS, &vec![0xee; 1100]);
        assert_eq!(ask(&mut seat, op), 0);
        let got = seat.get(ARGS, 1100);
        assert_eq!(&got[..text.len()], text.as_bytes());
        assert!(got[text.len()..size].iter().all(|byte| *byte == 0), "{op}");
        assert!(
            got[size..].iter().all(|byte| *byte == 0xee),
            "{op} writes beyond its structure"
        );
    }
}

#[test]
fn compile_info_fills_its_structure() {
    let mut seat = World::new(1).running();
    seat.put(ARGS, &[0xee; 150]);
    assert_eq!(ask(&mut seat, VersionOp::COMPILE_INFO), 0);
    let got = seat.get(ARGS, 150);
    assert_eq!(&got[..6], b"rustc\0");
    assert_eq!(&got[64..70], b"noxen\0");
    assert_eq!(&got[144..], [0xee; 6]);
}

#[test]
fn platform_parameters_name_start_of_hole() {
    let mut seat = World::new(1).running();
    assert_eq!(ask(&mut seat, VersionOp::PLATFORM_PARAMETERS), 0);
    assert_eq!(seat.get_u64(ARGS), 0xffff_8000_0000_0000);
}

#[test]
fn features_hold_what_linux_panics_without() {
    let mut seat = World::new(1).running();
    let asked = FeatureInfo {
        submap_idx: 0,
        submap: 0,
    };
    assert_eq!(
        seat.hypercall_with(Hypercall::XEN_VERSION, 6, &asked.to_bytes()),
        0
    );
    assert_eq!(seat.get_u32(ARGS + 4), 1 << 4 | 1 << 5 | 1 << 7);
}

#[test]
fn features_of_other_submap_are_refused() {
    let mut seat = World::new(1).running();
    let asked = FeatureInfo {
        submap_idx: 1,
        submap: 0,
    };
    assert_eq!(
        seat.hypercall_with(Hypercall::XEN_VERSION, 6, &asked.to_bytes()),
        error(Errno::EINVAL)
    );
}

#[test]
fn page_size_and_handle_are_answered() {
    let mut seat = World::new(1).running();
    assert_eq!(ask(&mut seat, VersionOp::PAGESIZE), 4096);
    assert_eq!(ask(&mut seat, VersionOp::GUEST_HANDLE), 0);
    assert_eq!(seat.get(ARGS, 16), b"0123456789abcdef");
}

#[test]
fn privileged_and_unknown_sub_operations_are_refused() {
    let mut seat = World::new(1).running();
    assert_eq!(ask(&mut seat, VersionOp::COMMANDLINE), error(Errno::EPERM));
    assert_eq!(ask(&mut seat, VersionOp::BUILD_ID), error(Errno::ENODATA));
    assert_eq!(ask(&mut seat, VersionOp(11)), error(Errno::ENOSYS));
}

#[test]
fn bad_pointer_is_efault() {
    let mut seat = World::new(1).running();
    let readonly = KERNEL + 9 * 4096;
    seat.m.memory.set_u64((L1 << 12) + 9 * 8, 9 << 12 | 0x25);
    for at in [UNMAPPED, HOLE, 0x8000_0000_0000_0000, readonly] {
        assert_eq!(
            seat.hypercall(Hypercall::XEN_VERSION, &[8, at]),
            error(Errno::EFAULT),
            "{at:#x}"
        );
    }
}
