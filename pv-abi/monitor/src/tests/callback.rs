//! Trap table, callbacks, NMI registration.

use super::error;
use crate::mock::*;
use noxen_pv_abi::callback::*;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::trap::TrapInfo64;
use noxen_pv_abi::Hypercall;

fn trap_info(vector: u8, flags: u8, address: u64) -> [u8; TrapInfo64::SIZE] {
    TrapInfo64 {
        vector,
        flags,
        cs: 0xe033,
        address,
        ..Default::default()
    }
    .to_bytes()
}

#[test]
fn trap_table_is_read_up_to_its_end() {
    let mut seat = World::new(1).running();
    let list = [
        trap_info(3, 3, KERNEL + 1),
        trap_info(0x80, 3, KERNEL + 2),
        trap_info(5, 0, 0),
        trap_info(6, 0, KERNEL + 9),
    ];
    seat.put(ARGS, &list.concat());
    assert_eq!(seat.hypercall(Hypercall::SET_TRAP_TABLE, &[ARGS]), 0);
    assert_eq!(
        (seat.v.traps[3].address, seat.v.traps[3].flags),
        (KERNEL + 1, 3)
    );
    assert_eq!(seat.v.traps[6].address, handler(6), "behind the end");
    assert_eq!(seat.m.take_effects(), [Effect::SoftGate(0x80, true)]);
    seat.put(
        ARGS,
        &[trap_info(0x80, 0, KERNEL + 2), trap_info(0, 0, 0)].concat(),
    );
    assert_eq!(seat.hypercall(Hypercall::SET_TRAP_TABLE, &[ARGS]), 0);
    assert_eq!(seat.m.take_effects(), [Effect::SoftGate(0x80, false)]);
    assert_eq!(seat.hypercall(Hypercall::SET_TRAP_TABLE, &[0]), 0);
    assert!(seat.v.traps.iter().all(|trap| trap.address == 0));
}

#[test]
fn bad_trap_tables_are_refused() {
    let mut seat = World::new(1).running();
    seat.put(ARGS, &trap_info(3, 3, 0x8000_0000_0000));
    assert_eq!(
        seat.hypercall(Hypercall::SET_TRAP_TABLE, &[ARGS]),
        error(Errno::EINVAL)
    );
    seat.put(UNMAPPED - 16, &trap_info(3, 3, KERNEL));
    assert_eq!(
        seat.hypercall(Hypercall::SET_TRAP_TABLE, &[UNMAPPED - 16]),
        error(Errno::EFAULT)
    );
}

fn register(seat: &mut Seat, kind: u16, flags: u16, address: u64) -> i64 {
    let asked = CallbackRegister64 {
        kind,
        flags,
        address,
        ..Default::default()
    };
    seat.hypercall_with(Hypercall::CALLBACK_OP, 0, &asked.to_bytes())
}

#[test]
fn callbacks_are_registered_with_their_mask_flags() {
    let mut seat = World::new(1).running();
    for (kind, mask) in [(0, 0), (1, 1), (2, 1), (5, 0), (7, 1)] {
        assert_eq!(register(&mut seat, kind, mask, KERNEL + u64::from(kind)), 0);
    }
    let c = seat.v.callbacks;
    let seen = [c.event, c.failsafe, c.syscall, c.sysenter, c.syscall32]
        .map(|c| (c.address - KERNEL, c.mask));
    assert_eq!(
        seen,
        [(0, false), (1, true), (2, true), (5, false), (7, true)]
    );
    assert_eq!(register(&mut seat, 4, 0, KERNEL + 4), 0);
    assert_eq!(seat.v.traps[2].address, KERNEL + 4);
    assert_eq!(register(&mut seat, 6, 0, KERNEL), error(Errno::ENOSYS));
    assert_eq!(
        register(&mut seat, 0, 0, 0x8000_0000_0000),
        error(Errno::EINVAL)
    );
}

#[test]
fn only_optional_callbacks_can_be_unregistered() {
    let mut seat = World::new(1).running();
    for (kind, answer) in [
        (5u16, 0),
        (7, 0),
        (0, error(Errno::EINVAL)),
        (1, error(Errno::EINVAL)),
        (2, error(Errno::EINVAL)),
    ] {
        let asked = CallbackUnregister { kind, _unused: 0 };
        assert_eq!(
            seat.hypercall_with(Hypercall::CALLBACK_OP, 1, &asked.to_bytes()),
            answer,
            "{kind}"
        );
    }
    assert_eq!(seat.v.callbacks.sysenter.address, 0);
    assert_eq!(
        seat.hypercall(Hypercall::CALLBACK_OP, &[2, ARGS]),
        error(Errno::ENOSYS)
    );
}

#[test]
fn set_callbacks_takes_a_null_system_call() {
    let mut seat = World::new(1).running();
    assert_eq!(
        seat.hypercall(Hypercall::SET_CALLBACKS, &[KERNEL + 1, KERNEL + 2, 0]),
        0
    );
    let c = seat.v.callbacks;
    assert_eq!(
        (c.event.address, c.failsafe.address, c.syscall.address),
        (KERNEL + 1, KERNEL + 2, 0)
    );
    let answer = seat.hypercall(Hypercall::SET_CALLBACKS, &[1 << 47, 0, 0]);
    assert_eq!(answer, error(Errno::EINVAL));
}

#[test]
fn nmi_op_registers_and_forgets() {
    let mut seat = World::new(2).running();
    seat.put(ARGS, &(KERNEL + 0x77).to_le_bytes());
    assert_eq!(seat.hypercall(Hypercall::NMI_OP, &[0, ARGS]), 0);
    assert_eq!(seat.v.traps[2].address, KERNEL + 0x77);
    assert_eq!(seat.hypercall(Hypercall::NMI_OP, &[1, 0]), 0);
    assert_eq!(seat.v.traps[2].address, 0);
}
