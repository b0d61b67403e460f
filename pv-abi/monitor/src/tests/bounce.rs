//! Frames on the guest kernel's stack, bit by bit.

use crate::mock::*;
use crate::regs::{entry, flags, Regs};
use crate::vcpu::Callback;
use noxen_monitor_abi::counters::{other, OTHER, TRAP};
use noxen_monitor_abi::pages::call;

const USER_RIP: u64 = USER + 0x123;
const USER_FLAGS: u64 = 0x246;

pub(super) fn user(seat: &mut Seat) {
    seat.go_user(USER_RIP);
    seat.regs = Regs {
        rcx: 0xc0c,
        r11: 0x111,
        rsp: USER + 0x8008,
        rflags: USER_FLAGS,
        ..seat.regs
    };
    (seat.v.kernel_sp, seat.v.kernel_ss) = (STACK - 0x200, 0x1b);
}

#[test]
fn trap_from_user_lands_on_the_kernel_stack() {
    let world = World::new(1);
    let mut seat = world.running();
    user(&mut seat);
    seat.enter(0, 0, 0);
    // rcx r11 rip cs rflags rsp ss: no error code, seven words below an aligned top.
    assert_eq!(seat.regs.rsp, STACK - 0x200 - 56);
    assert_eq!(
        seat.words(seat.regs.rsp, 7),
        [
            0xc0c,
            0x111,
            USER_RIP,
            0x33,
            USER_FLAGS,
            USER + 0x8008,
            0x2b
        ]
    );
    assert_eq!(
        (seat.regs.rip, seat.regs.cs, seat.regs.ss),
        (handler(0), 0xe033, 0xe02b)
    );
    assert!(seat.v.kernel_mode);
    assert_eq!(seat.m.state().cr3, L4 << 12);
    assert_eq!(world.counter(0, TRAP), 1);
}

#[test]
fn trap_from_kernel_stays_on_its_stack_and_clears_rpl() {
    let mut seat = World::new(1).running();
    let rsp = STACK - 0x108;
    seat.regs = Regs {
        rsp,
        rcx: 1,
        r11: 2,
        ..seat.regs
    };
    seat.enter(13, 0x68, 0);
    // Aligned down to 16, eight words with the error code.
    assert_eq!(seat.regs.rsp, (rsp & !15) - 64);
    let rip = kernel_regs().rip;
    assert_eq!(
        seat.words(seat.regs.rsp, 8),
        [1, 2, 0x68, rip, 0xe030, flags::IF | 2, rsp, 0xe02b]
    );
}

#[test]
fn saved_mask_is_the_interrupt_flag_of_the_frame() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.cpu().mask_events(true);
    seat.enter(0, 0, 0);
    let frame = seat.words(seat.regs.rsp, 5);
    assert_eq!(frame[3], 1 << 32 | 0xe030, "mask in the upper half of cs");
    assert_eq!(frame[4] & flags::IF, 0);
    assert_eq!(
        seat.regs.rflags & flags::IF,
        flags::IF,
        "real interrupts stay on"
    );
}

#[test]
fn flags_that_would_disturb_the_handler_are_cleared() {
    let mut seat = World::new(1).running();
    let odd =
        flags::TF | flags::NT | flags::RF | flags::AC | flags::DF | flags::IOPL | 0xd7 | flags::IF;
    seat.regs.rflags = odd;
    seat.enter(0, 0, 0);
    assert_eq!(
        seat.get_u64(seat.regs.rsp + 32),
        odd & !flags::IOPL,
        "the frame keeps them, but for IOPL"
    );
    assert_eq!(seat.regs.rflags, 0xd7 | flags::DF | flags::IF);
}

#[test]
fn mask_flag_of_a_trap_masks_events() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.enter(0, 0, 0);
    assert_eq!(world.info_byte(0, 1), 0);
    seat.regs = kernel_regs();
    seat.v.traps[0].flags = 4;
    seat.enter(0, 0, 0);
    assert_eq!(world.info_byte(0, 1), 1);
    assert_eq!(
        seat.get_u64(seat.regs.rsp + 24) >> 32,
        0,
        "the mask from before"
    );
}

#[test]
fn error_codes_are_pushed_where_hardware_has_them() {
    for vector in 0..32u64 {
        let mut seat = World::new(1).running();
        if vector == 2 || vector == 14 {
            continue;
        }
        let rsp = seat.regs.rsp & !15;
        seat.enter(vector, 0x40, 0);
        let words = (rsp - seat.regs.rsp) / 8;
        assert_eq!(
            words == 8,
            matches!(vector, 8 | 10 | 11 | 12 | 13 | 17 | 21),
            "{vector}"
        );
        assert_eq!(seat.regs.rip, handler(vector as u8));
    }
}

#[test]
fn device_not_available_clears_ts_first() {
    let mut seat = World::new(1).running();
    seat.cpu().switch_ts(true);
    seat.enter(7, 0, 0);
    assert!(!seat.m.state().ts && !seat.v.ts);
    assert_eq!(seat.regs.rip, handler(7));
}

#[test]
fn trap_without_handler_crashes_the_domain() {
    let mut seat = World::new(1).running();
    seat.v.traps[0].address = 0;
    seat.enter(0, 0, 0);
    assert_eq!(seat.calls(call::CRASH).len(), 1);
}

#[test]
fn stack_that_takes_no_frame_crashes_the_domain() {
    let world = World::new(1);
    for rsp in [UNMAPPED + 0x1000, HOLE, 0x8000_0000_0000, 8, 0] {
        let mut seat = world.running();
        seat.regs.rsp = rsp;
        seat.enter(0, 0, 0);
        assert_eq!(seat.calls(call::CRASH).len(), 1, "{rsp:#x}");
    }
}

#[test]
fn soft_interrupt_by_privilege_goes_to_its_handler() {
    let mut seat = World::new(1).running();
    user(&mut seat);
    // int 0x80 through the closed gate: #GP(0x80 << 3 | 2) at the instruction.
    seat.enter(13, 0x402, 0);
    assert_eq!(seat.regs.rip, handler(0x80));
    let frame = seat.words(seat.regs.rsp, 7);
    assert_eq!(
        frame[2],
        USER_RIP + 2,
        "behind the instruction, no error code"
    );
}

#[test]
fn soft_interrupt_without_privilege_is_a_protection_fault() {
    let mut seat = World::new(1).running();
    user(&mut seat);
    seat.enter(13, 0x21 << 3 | 2, 0);
    assert_eq!(seat.regs.rip, handler(13));
    assert_eq!(seat.words(seat.regs.rsp, 4)[2..], [0x21 << 3 | 2, USER_RIP]);
    // The kernel may use any vector that has a handler.
    let mut seat = World::new(1).running();
    seat.enter(13, 0x21 << 3 | 2, 0);
    assert_eq!(seat.regs.rip, handler(0x21));
}

#[test]
fn open_gate_enters_without_error_code() {
    let mut seat = World::new(1).running();
    user(&mut seat);
    seat.enter(0x80, 0, 0);
    assert_eq!(seat.regs.rip, handler(0x80));
    assert_eq!(seat.words(seat.regs.rsp, 3)[2], USER_RIP);
}

#[test]
fn system_call_frame_has_flat_selectors_and_masks_events() {
    let world = World::new(1);
    let mut seat = world.running();
    user(&mut seat);
    seat.regs = Regs {
        cs: 0xe033,
        ss: 0xe02b,
        rcx: USER_RIP,
        r11: USER_FLAGS,
        rax: 39,
        ..seat.regs
    };
    seat.regs.rflags |= flags::DF;
    seat.enter(entry::SYSCALL, 0, 0);
    assert_eq!(seat.regs.rip, SYSCALL);
    assert_eq!(seat.regs.rflags & flags::DF, 0);
    assert_eq!(seat.regs.rax, 39);
    let frame = seat.words(seat.regs.rsp, 7);
    assert_eq!(frame[..4], [USER_RIP, USER_FLAGS, USER_RIP, 0xe033]);
    assert_eq!(frame[5..], [USER + 0x8008, 0xe02b]);
    assert_eq!(world.info_byte(0, 1), 1);
    assert_eq!(world.counter(0, OTHER + other::SYSCALL), 1);
}

#[test]
fn compatibility_system_call_shows_its_code_segment() {
    let mut seat = World::new(1).running();
    user(&mut seat);
    seat.enter(entry::SYSCALL32, 0, 0);
    assert_eq!(seat.regs.rip, SYSCALL32);
    assert_eq!(seat.get_u64(seat.regs.rsp + 24), 0xe023);
}

#[test]
fn system_call_without_callback_is_an_invalid_opcode() {
    let mut seat = World::new(1).running();
    user(&mut seat);
    seat.v.callbacks.syscall = Callback::default();
    seat.enter(entry::SYSCALL, 0, 0);
    assert_eq!(seat.regs.rip, handler(6));
    assert_eq!(seat.get_u64(seat.regs.rsp + 16), USER_RIP - 2);
}

#[test]
fn sysenter_frame_is_a_placeholder() {
    let mut seat = World::new(1).running();
    user(&mut seat);
    seat.enter(entry::SYSENTER, 0, 0);
    assert_eq!(seat.regs.rip, SYSENTER);
    let frame = seat.words(seat.regs.rsp, 7);
    assert_eq!((frame[2], frame[3], frame[5]), (0, 3, 0));
    let mut seat = World::new(1).running();
    user(&mut seat);
    seat.v.callbacks.sysenter = Callback::default();
    seat.enter(entry::SYSENTER, 0, 0);
    assert_eq!(seat.regs.rip, handler(13));
}

#[test]
fn nmi_is_delivered_once_until_iret() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.enter(2, 0, 0);
    assert_eq!(seat.regs.rip, handler(2));
    assert_eq!(world.info_byte(0, 1), 1, "with events masked");
    let inside = seat.regs;
    seat.enter(2, 0, 0);
    assert_eq!(seat.regs.rip, inside.rip, "the second one waits");
    assert!(seat.v.nmi_pending);
}

#[test]
fn failed_return_enters_the_failsafe_callback() {
    let world = World::new(1);
    let mut seat = world.running();
    user(&mut seat);
    seat.regs.cs = 0x6b;
    let mut regs = seat.regs;
    seat.cpu().on_failed_return(&mut regs);
    assert_eq!((regs.rip, regs.cs), (FAILSAFE, 0xe033));
    assert_eq!(regs.rsp, STACK - 0x200 - 96 + 8);
    let frame = seat.words(regs.rsp, 11);
    assert_eq!(
        frame,
        [
            0xc0c,
            0x111,
            0,
            0,
            0,
            0,
            USER_RIP,
            0x6b,
            USER_FLAGS,
            USER + 0x8008,
            0x2b
        ]
    );
    assert!(seat.m.take_effects().contains(&Effect::NullSegments));
    assert!(seat.v.kernel_mode);
}

#[test]
fn failed_return_without_failsafe_crashes_the_domain() {
    let mut seat = World::new(1).running();
    seat.v.callbacks.failsafe = Callback::default();
    let mut regs = seat.regs;
    seat.cpu().on_failed_return(&mut regs);
    assert_eq!(seat.calls(call::CRASH).len(), 1);
}
