use super::error;
use crate::mock::*;
use noxen_monitor_abi::pages::call;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::physdev::{PhysdevSetIobitmap64, PhysdevSetIopl};
use noxen_pv_abi::Hypercall;

#[test]
fn fpu_taskswitch_sets_and_clears_ts() {
    let mut seat = World::new(1).running();
    assert_eq!(seat.hypercall(Hypercall::FPU_TASKSWITCH, &[1]), 0);
    assert!(seat.m.state().ts && seat.v.ts);
    assert_eq!(seat.hypercall(Hypercall::FPU_TASKSWITCH, &[0]), 0);
    assert!(!seat.m.state().ts && !seat.v.ts);
}

#[test]
fn breakpoint_address_outside_hole_is_set() {
    let mut seat = World::new(1).running();
    for (reg, value) in [(0, 0x1234), (3, KERNEL + 5)] {
        assert_eq!(seat.hypercall(Hypercall::SET_DEBUGREG, &[reg, value]), 0);
        assert_eq!(
            seat.hypercall(Hypercall::GET_DEBUGREG, &[reg]) as u64,
            value
        );
    }
}

#[test]
fn breakpoint_address_in_hole_or_not_canonical_is_refused() {
    let mut seat = World::new(1).running();
    for value in [
        HOLE,
        0xffff_8000_0000_0000,
        0xffff_87ff_ffff_ffff,
        0x0000_8000_0000_0000,
    ] {
        assert_eq!(
            seat.hypercall(Hypercall::SET_DEBUGREG, &[1, value]),
            error(Errno::EPERM),
            "{value:#x}"
        );
    }
    assert_eq!(seat.m.state().dr[1], 0);
}

#[test]
fn dr6_and_dr7_get_their_fixed_bits() {
    let mut seat = World::new(1).running();
    assert_eq!(seat.hypercall(Hypercall::SET_DEBUGREG, &[6, 0]), 0);
    assert_eq!(seat.m.state().dr[6], 0xffff_0ff0);
    assert_eq!(
        seat.hypercall(Hypercall::SET_DEBUGREG, &[7, 0xffff_ffff_0000_d8ff]),
        0
    );
    assert_eq!(seat.m.state().dr[7], 0x4ff);
}

#[test]
fn dr7_general_detect_is_refused() {
    let mut seat = World::new(1).running();
    assert_eq!(
        seat.hypercall(Hypercall::SET_DEBUGREG, &[7, 1 << 13]),
        error(Errno::EPERM)
    );
}

#[test]
fn io_breakpoint_needs_cr4_de() {
    let mut seat = World::new(1).running();
    let dr7 = 1 | 2 << 16;
    assert_eq!(
        seat.hypercall(Hypercall::SET_DEBUGREG, &[7, dr7]),
        error(Errno::EPERM)
    );
    // Not enabled: harmless.
    assert_eq!(seat.hypercall(Hypercall::SET_DEBUGREG, &[7, 2 << 16]), 0);
    seat.v.cr4 = 1 << 3;
    assert_eq!(seat.hypercall(Hypercall::SET_DEBUGREG, &[7, dr7]), 0);
}

#[test]
fn dr4_and_dr5_are_aliases_without_cr4_de() {
    let mut seat = World::new(1).running();
    assert_eq!(seat.hypercall(Hypercall::SET_DEBUGREG, &[5, 0x402]), 0);
    assert_eq!(seat.m.state().dr[7], 0x402);
    seat.v.cr4 = 1 << 3;
    for reg in [4, 5, 8, 0xffff_ffff] {
        assert_eq!(
            seat.hypercall(Hypercall::SET_DEBUGREG, &[reg, 0]),
            error(Errno::ENODEV)
        );
        assert_eq!(
            seat.hypercall(Hypercall::GET_DEBUGREG, &[reg]),
            error(Errno::ENODEV)
        );
    }
}

#[test]
fn console_write_arrives_whole() {
    let mut seat = World::new(1).running();
    let text: Vec<u8> = (0..2500u32).map(|i| b'a' + (i % 26) as u8).collect();
    seat.put(ARGS, &text);
    assert_eq!(seat.hypercall(Hypercall::CONSOLE_IO, &[0, 2500, ARGS]), 0);
    let calls = seat.calls(call::CONSOLE_IO);
    assert!(calls
        .iter()
        .all(|(args, data)| args[0] == data.len() as u64 && data.len() <= 1024));
    assert_eq!(
        calls
            .into_iter()
            .flat_map(|(_, data)| data)
            .collect::<Vec<_>>(),
        text
    );
}

#[test]
fn console_write_of_too_much_sends_nothing() {
    let mut seat = World::new(1).running();
    assert_eq!(
        seat.hypercall(Hypercall::CONSOLE_IO, &[0, 16385, ARGS]),
        error(Errno::E2BIG)
    );
    assert!(seat.calls(call::CONSOLE_IO).is_empty());
}

#[test]
fn console_write_from_bad_pointer_is_efault() {
    let mut seat = World::new(1).running();
    assert_eq!(
        seat.hypercall(Hypercall::CONSOLE_IO, &[0, 10, UNMAPPED - 5]),
        error(Errno::EFAULT)
    );
    assert!(seat.calls(call::CONSOLE_IO).is_empty());
}

#[test]
fn console_read_answers_no_bytes() {
    let mut seat = World::new(1).running();
    assert_eq!(seat.hypercall(Hypercall::CONSOLE_IO, &[1, 10, ARGS]), 0);
    assert_eq!(
        seat.hypercall(Hypercall::CONSOLE_IO, &[2, 10, ARGS]),
        error(Errno::ENOSYS)
    );
}

#[test]
fn vm_assist_enable_and_disable_change_the_bit() {
    let world = World::new(1);
    let mut seat = world.running();
    let bits = || world.dom.assist.load(core::sync::atomic::Ordering::Relaxed);
    for kind in 0..6u64 {
        assert_eq!(
            seat.hypercall(Hypercall::VM_ASSIST, &[0, kind]),
            0,
            "{kind}"
        );
    }
    assert_eq!(bits(), 0x3f);
    assert_eq!(seat.hypercall(Hypercall::VM_ASSIST, &[1, 4]), 0);
    assert_eq!(bits(), 0x2f);
}

#[test]
fn vm_assist_unknown_type_or_command_is_refused() {
    let mut seat = World::new(1).running();
    for kind in [6, 31, 32, 33, 0xffff_ffff] {
        assert_eq!(
            seat.hypercall(Hypercall::VM_ASSIST, &[0, kind]),
            error(Errno::EINVAL),
            "{kind}"
        );
    }
    assert_eq!(
        seat.hypercall(Hypercall::VM_ASSIST, &[2, 0]),
        error(Errno::ENOSYS)
    );
}

#[test]
fn set_iopl_is_stored_up_to_three() {
    let mut seat = World::new(1).running();
    assert_eq!(
        seat.hypercall_with(
            Hypercall::PHYSDEV_OP,
            6,
            &PhysdevSetIopl { iopl: 3 }.to_bytes()
        ),
        0
    );
    assert_eq!(seat.v.iopl, 3);
    let answer = seat.hypercall_with(
        Hypercall::PHYSDEV_OP,
        6,
        &PhysdevSetIopl { iopl: 4 }.to_bytes(),
    );
    assert_eq!(answer, error(Errno::EINVAL));
    assert_eq!(seat.v.iopl, 3);
}

#[test]
fn set_iobitmap_is_bounded_by_the_ports() {
    let mut seat = World::new(1).running();
    let map = PhysdevSetIobitmap64 {
        bitmap: ARGS + 64,
        nr_ports: 65536,
        ..Default::default()
    };
    assert_eq!(
        seat.hypercall_with(Hypercall::PHYSDEV_OP, 7, &map.to_bytes()),
        0
    );
    assert_eq!((seat.v.iobitmap, seat.v.iobitmap_ports), (ARGS + 64, 65536));
    let map = PhysdevSetIobitmap64 {
        nr_ports: 65537,
        ..map
    };
    assert_eq!(
        seat.hypercall_with(Hypercall::PHYSDEV_OP, 7, &map.to_bytes()),
        error(Errno::EINVAL)
    );
}

#[test]
fn physdev_compat_takes_command_and_argument_in_one_structure() {
    let mut seat = World::new(1).running();
    seat.put(ARGS, &[6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(seat.hypercall(Hypercall::PHYSDEV_OP_COMPAT, &[ARGS]), 0);
    assert_eq!(seat.v.iopl, 1);
}

#[test]
fn other_physdev_operations_do_not_exist() {
    let world = World::new(1);
    let mut seat = world.running();
    for cmd in [0, 12, 28, 31, 99] {
        assert_eq!(
            seat.hypercall(Hypercall::PHYSDEV_OP, &[cmd, ARGS]),
            error(Errno::ENOSYS)
        );
    }
    assert_eq!(
        world.counter(0, noxen_monitor_abi::counters::REFUSED + 33),
        5
    );
}

#[test]
fn unknown_and_privileged_hypercalls_are_refused_and_counted() {
    let world = World::new(1);
    let mut seat = world.running();
    for (number, errno) in [
        (7, Errno::EPERM),
        (22, Errno::EPERM),
        (35, Errno::EPERM),
        (36, Errno::EPERM),
        (11, Errno::ENOSYS),
        (27, Errno::ENOSYS),
        (40, Errno::ENOSYS),
        (62, Errno::ENOSYS),
    ] {
        assert_eq!(
            seat.hypercall(Hypercall(number), &[]),
            error(errno),
            "{number}"
        );
        assert_eq!(
            world.counter(0, noxen_monitor_abi::counters::REFUSED + number as usize),
            1,
            "{number}"
        );
    }
}
