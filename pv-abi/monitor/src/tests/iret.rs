//! iret (23) and multicall (13).

use super::error;
use crate::mock::*;
use crate::regs::{entry, flags, Regs};
use noxen_monitor_abi::counters::{other, OTHER};
use noxen_monitor_abi::pages::call;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::hypercall::{IretContext64, VGCF_IN_SYSCALL};
use noxen_pv_abi::multicall::MulticallEntry64;
use noxen_pv_abi::Hypercall;

const FRAME: u64 = STACK - 0x300;

pub(super) fn to_user() -> IretContext64 {
    IretContext64 {
        rax: 0xaa,
        r11: 0x1111,
        rcx: 0xcccc,
        flags: 0,
        rip: USER + 0x40,
        cs: 0x33,
        rflags: 0x246,
        rsp: USER + 0x7000,
        ss: 0x2b,
    }
}

pub(super) fn iret(seat: &mut Seat, frame: IretContext64) {
    seat.put(FRAME, &frame.to_bytes());
    seat.regs = Regs {
        rax: 23,
        rsp: FRAME,
        rcx: 0x77,
        r11: 0x78,
        ..seat.regs
    };
    seat.enter(entry::SYSCALL, 0, 0);
}

#[test]
fn iret_to_user_switches_mode_and_loads_the_frame() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.m.state().bases = [0, 0x1000, 0x2000];
    seat.cpu().mask_events(true);
    iret(&mut seat, to_user());
    assert!(!seat.v.kernel_mode);
    assert_eq!(seat.m.state().cr3, USER_L4 << 12);
    assert_eq!(
        seat.m.state().bases,
        [0, 0x2000, 0x1000],
        "GS bases exchanged"
    );
    let regs = seat.regs;
    assert_eq!(
        (regs.rip, regs.cs, regs.rflags, regs.rsp, regs.ss),
        (USER + 0x40, 0x33, 0x246, USER + 0x7000, 0x2b)
    );
    assert_eq!((regs.rax, regs.rcx, regs.r11), (0xaa, 0xcccc, 0x1111));
    assert_eq!(world.info_byte(0, 1), 0, "the frame's IF unmasks");
}

#[test]
fn iret_after_a_system_call_gives_rip_and_flags() {
    let mut seat = World::new(1).running();
    iret(
        &mut seat,
        IretContext64 {
            flags: VGCF_IN_SYSCALL,
            ..to_user()
        },
    );
    assert_eq!((seat.regs.rcx, seat.regs.r11), (USER + 0x40, 0x246));
}

#[test]
fn iret_to_kernel_keeps_mode_and_forces_ring_three() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.m.take_effects();
    iret(
        &mut seat,
        IretContext64 {
            cs: 0xe030,
            ss: 0xe028,
            rip: KERNEL + 5,
            rsp: STACK - 8,
            rflags: 0x46,
            ..to_user()
        },
    );
    assert!(seat.v.kernel_mode);
    assert!(seat.m.take_effects().is_empty(), "no page table is loaded");
    assert_eq!(
        (seat.regs.cs, seat.regs.ss, seat.regs.rsp),
        (0xe033, 0xe02b, STACK - 8)
    );
    assert_eq!(seat.regs.rflags, 0x246, "real interrupts stay on");
    assert_eq!(
        world.info_byte(0, 1),
        1,
        "events are masked as the frame says"
    );
}

#[test]
fn iret_clears_privileged_flags() {
    let mut seat = World::new(1).running();
    iret(
        &mut seat,
        IretContext64 {
            rflags: 0x246 | flags::IOPL | flags::VM | 3 << 19 | flags::TF | flags::AC,
            ..to_user()
        },
    );
    assert_eq!(seat.regs.rflags, 0x246 | flags::TF | flags::AC);
}

#[test]
fn iret_delivers_a_pending_event_on_the_destination_context() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.cpu().mask_events(true);
    world.set_info_byte(0, 0, 1);
    iret(&mut seat, to_user());
    assert_eq!(seat.regs.rip, EVENT);
    assert!(seat.v.kernel_mode);
    assert_eq!(seat.regs.rsp, STACK - 56);
    assert_eq!(
        seat.words(seat.regs.rsp, 4),
        [0xcccc, 0x1111, USER + 0x40, 0x33]
    );
    assert_eq!(world.info_byte(0, 1), 1);
}

#[test]
fn iret_ends_an_nmi() {
    let mut seat = World::new(1).running();
    seat.enter(2, 0, 0);
    seat.enter(2, 0, 0);
    assert!(seat.v.nmi_active && seat.v.nmi_pending);
    iret(
        &mut seat,
        IretContext64 {
            cs: 0xe030,
            ss: 0xe028,
            rip: KERNEL + 5,
            rsp: STACK - 8,
            ..to_user()
        },
    );
    assert_eq!(seat.regs.rip, handler(2), "the next one comes at once");
    assert_eq!(seat.get_u64(seat.regs.rsp + 16), KERNEL + 5);
}

#[test]
fn iret_to_a_bad_address_is_the_failsafe_callback() {
    let mut seat = World::new(1).running();
    iret(
        &mut seat,
        IretContext64 {
            rip: 0x8000_0000_0000,
            ..to_user()
        },
    );
    assert_eq!(seat.regs.rip, FAILSAFE);
    assert!(seat.v.kernel_mode);
    assert_eq!(seat.get_u64(seat.regs.rsp + 48), 0x8000_0000_0000);
}

#[test]
fn iret_without_user_page_table_crashes_the_domain() {
    let mut seat = World::new(1).running();
    seat.v.user_cr3 = 0;
    iret(&mut seat, to_user());
    assert_eq!(seat.calls(call::CRASH).len(), 1);
}

#[test]
fn iret_from_an_unreadable_stack_crashes_the_domain() {
    let mut seat = World::new(1).running();
    seat.regs = Regs {
        rax: 23,
        rsp: UNMAPPED - 32,
        ..seat.regs
    };
    seat.enter(entry::SYSCALL, 0, 0);
    assert_eq!(seat.calls(call::CRASH).len(), 1);
}

fn multicall(seat: &mut Seat, entries: &[(u64, [u64; 6])]) -> (i64, Vec<i64>) {
    let bytes: Vec<u8> = entries
        .iter()
        .flat_map(|(op, args)| {
            MulticallEntry64 {
                op: *op,
                args: *args,
                ..Default::default()
            }
            .to_bytes()
        })
        .collect();
    seat.put(ARGS, &bytes);
    let answer = seat.hypercall(Hypercall::MULTICALL, &[ARGS, entries.len() as u64]);
    (
        answer,
        (0..entries.len() as u64)
            .map(|i| seat.get_u64(ARGS + i * 64 + 8) as i64)
            .collect(),
    )
}

#[test]
fn multicall_stores_every_result_and_goes_on_after_errors() {
    let world = World::new(1);
    let mut seat = world.running();
    let stack = [0x1b, STACK - 0x40, 0, 0, 0, 0];
    let (answer, results) = multicall(
        &mut seat,
        &[
            (17, [0; 6]),
            (11, [0; 6]),
            (3, stack),
            (25, [9, 0, 0, 0, 0, 0]),
        ],
    );
    assert_eq!(answer, 0);
    assert_eq!(
        results,
        [0x0004_0011, error(Errno::ENOSYS), 0, error(Errno::EINVAL)]
    );
    assert_eq!(seat.v.kernel_sp, STACK - 0x40);
    assert_eq!(world.counter(0, 3), 1, "counted as calls of their own");
    assert_eq!(world.counter(0, OTHER + other::BATCHED), 4);
}

#[test]
fn multicall_refuses_iret_and_itself_inside() {
    let mut seat = World::new(1).running();
    let (answer, results) = multicall(
        &mut seat,
        &[
            (23, [0; 6]),
            (13, [ARGS, 1, 0, 0, 0, 0]),
            (1 << 32 | 17, [0; 6]),
        ],
    );
    assert_eq!(answer, 0);
    assert_eq!(results, [error(Errno::ENOSYS); 3]);
    assert!(seat.v.kernel_mode);
}

#[test]
fn multicall_list_that_faults_ends_there() {
    let mut seat = World::new(1).running();
    let at = UNMAPPED - 64;
    seat.put(
        at,
        &MulticallEntry64 {
            op: 17,
            ..Default::default()
        }
        .to_bytes(),
    );
    assert_eq!(
        seat.hypercall(Hypercall::MULTICALL, &[at, 0xffff_ffff]),
        error(Errno::EFAULT)
    );
    assert_eq!(seat.get_u64(at + 8), 0x0004_0011);
}
