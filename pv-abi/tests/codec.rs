//! Bytes -> value -> bytes, for every structure of the tables.

use core::mem::offset_of;

use noxen_pv_abi::grant_table::{GrantStatus, MapGrantRef};
use noxen_pv_abi::shared_info::SharedInfo32;
use noxen_pv_abi::trap::TrapInfo64;
use noxen_pv_abi::vcpu::RunstateInfo32;
use noxen_pv_abi::vcpu_context::VcpuGuestContext64;
use noxen_pv_abi::{AbiValue, Errno, Hypercall, TABLES};

/// Bytes without a period that a structure could hide in (a multiplicative generator, MINSTD).
fn noise(length: usize) -> Vec<u8> {
    let mut state: u64 = 48_271;
    (0..length)
        .map(|_| {
            state = state * 48_271 % 0x7fff_ffff;
            (state >> 8) as u8
        })
        .collect()
}

#[test]
fn every_structure_recodes_to_the_same_bytes() {
    let mut structures = 0;
    for item in TABLES.iter().flat_map(|table| table.structs) {
        let from = noise(item.size);
        let mut to = vec![0; item.size];
        (item.recode)(&from, &mut to);
        assert_eq!(from, to, "{}", item.rust);
        structures += 1;
    }
    assert!(structures > 120, "only {structures} structures");
}

/// Neither missing bytes nor missing room may panic: the bytes come from guests.
#[test]
fn truncated_bytes_never_panic() {
    for item in TABLES.iter().flat_map(|table| table.structs) {
        let from = noise(item.size);
        for length in [0, 1, item.size / 2, item.size - 1] {
            let mut to = vec![0; length];
            (item.recode)(&from[..length], &mut to);
        }
    }
}

#[test]
fn fields_cover_each_structure_without_overlap() {
    for item in TABLES.iter().flat_map(|table| table.structs) {
        let mut end = 0;
        for field in item.fields {
            assert_eq!(field.offset, end, "{}.{}", item.rust, field.rust);
            end += field.size;
        }
        assert_eq!(end, item.size, "{}", item.rust);
    }
}

#[test]
fn trap_info_encodes_little_endian_at_its_offsets() {
    let trap = TrapInfo64 {
        vector: 14,
        flags: 4,
        cs: 0xe033,
        address: 0xffff_ffff_8100_1234,
        ..TrapInfo64::ZERO
    };
    let bytes = trap.to_bytes();
    assert_eq!(
        bytes,
        [14, 4, 0x33, 0xe0, 0, 0, 0, 0, 0x34, 0x12, 0, 0x81, 0xff, 0xff, 0xff, 0xff]
    );
    assert_eq!(TrapInfo64::from_bytes(&bytes), trap);
    assert!(trap.masks_events());
    assert_eq!(trap.dpl(), 0);
}

#[test]
fn runstate_of_a_32_bit_guest_aligns_u64_to_4() {
    let state = RunstateInfo32 {
        state: 2,
        state_entry_time: 0x0102_0304_0506_0708,
        time: [1, 2, 3, 4],
    };
    let bytes = state.to_bytes();
    assert_eq!(bytes.len(), 44);
    assert_eq!(bytes[4..12], [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(RunstateInfo32::from_bytes(&bytes), state);
}

#[test]
fn negative_status_survives() {
    let map = MapGrantRef {
        status: GrantStatus::BAD_GNTREF.0,
        ..MapGrantRef::ZERO
    };
    assert_eq!(map.to_bytes()[18..20], [0xfd, 0xff]);
    assert_eq!(MapGrantRef::from_bytes(&map.to_bytes()).status, -3);
}

#[test]
fn single_field_of_a_large_structure_is_reached_by_offset() {
    let mut bytes = vec![0u8; VcpuGuestContext64::SIZE];
    let offset = offset_of!(VcpuGuestContext64, user_regs.rip);
    assert_eq!(offset, 0x208 + 128);
    0xffff_ffff_8000_0000u64
        .write_to(&mut bytes, offset)
        .unwrap();
    assert_eq!(u64::read_from(&bytes, offset), Some(0xffff_ffff_8000_0000));
    assert_eq!(offset_of!(SharedInfo32, arch.wc_sec_hi), 0x924);
}

#[test]
fn value_beyond_the_end_is_refused_and_nothing_written() {
    let mut bytes = [0u8; 16];
    assert_eq!(u64::read_from(&bytes, 9), None);
    assert_eq!(u64::read_from(&bytes, usize::MAX), None);
    assert_eq!(u64::MAX.write_to(&mut bytes, 9), None);
    assert_eq!(bytes, [0; 16]);
    assert_eq!(u64::MAX.write_to(&mut bytes, 8), Some(()));
}

#[test]
fn open_enum_keeps_and_shows_unknown_values() {
    assert_eq!(Hypercall(23), Hypercall::IRET);
    assert_eq!(Hypercall::IRET.name(), Some("__HYPERVISOR_iret"));
    assert_eq!(Hypercall(11).name(), None);
    assert_eq!(
        format!("{:?} {}", Hypercall(11), Hypercall(1)),
        "Hypercall(11) __HYPERVISOR_mmu_update"
    );
}

#[test]
fn errno_is_told_from_a_result() {
    assert_eq!(Errno::ENOSYS.negated(), -38);
    assert_eq!(Errno::from_result(-38), Some(Errno::ENOSYS));
    assert_eq!(Errno::from_result(0), None);
    assert_eq!(Errno::from_result(7), None);
    assert_eq!(Errno::from_result(i64::MIN), None);
    assert_eq!(Errno::from_result(-4096), None);
}
