//! Port I/O without ports.

use super::emulate::{run, CODE};
use crate::mock::*;
use crate::regs::{flags, Regs};

/// A kernel with virtual IOPL 1, as Linux sets it.
fn privileged() -> Seat {
    let mut seat = World::new(1).running();
    seat.v.iopl = 1;
    seat
}

#[test]
fn in_reads_all_ones_of_its_width() {
    let mut seat = privileged();
    for (code, expected) in [
        (&[0xe4, 0x60][..], 0x1111_1111_1111_11ff),
        (&[0x66, 0xed], 0x1111_1111_1111_ffff),
        (&[0xed], 0xffff_ffff),
    ] {
        seat.regs.rax = 0x1111_1111_1111_1111;
        assert!(run(&mut seat, code));
        assert_eq!(seat.regs.rax, expected, "{code:x?}");
    }
}

#[test]
fn out_vanishes() {
    let mut seat = privileged();
    for code in [&[0xe6, 0x80][..], &[0xef], &[0xee], &[0xe7, 0x21]] {
        assert!(run(&mut seat, code), "{code:x?}");
    }
    assert!(seat.m.take_effects().is_empty());
}

#[test]
fn io_without_privilege_faults() {
    let mut seat = World::new(1).running();
    for code in [
        &[0xe4, 0x60][..],
        &[0xee],
        &[0x6c],
        &[0x6e],
        &[0xfa],
        &[0xfb],
    ] {
        assert!(!run(&mut seat, code), "{code:x?}");
    }
}

#[test]
fn user_space_needs_level_three() {
    let mut seat = privileged();
    seat.go_user(CODE);
    assert!(!run(&mut seat, &[0xe4, 0x60]));
    seat.go_user(CODE);
    seat.v.iopl = 3;
    assert!(run(&mut seat, &[0xe4, 0x60]));
    assert!(run(&mut seat, &[0xfa]));
}

#[test]
fn io_bitmap_opens_single_ports_to_user_space() {
    let mut seat = World::new(1).running();
    // In the kernel's address space only.
    let bitmap = ARGS;
    seat.put(bitmap, &[0xff; 64]);
    // Ports 0x60 and 0x61 are open.
    seat.put(bitmap + 12, &[0xfc]);
    (seat.v.iobitmap, seat.v.iobitmap_ports) = (bitmap, 512);
    for (code, fine) in [
        (&[0xe4, 0x60][..], true),
        (&[0x66, 0xe5, 0x60], true),
        (&[0xe5, 0x60], false),
        (&[0xe4, 0x62], false),
    ] {
        seat.go_user(CODE);
        assert_eq!(run(&mut seat, code), fine, "{code:x?}");
        if fine {
            assert_eq!(
                seat.m.state().cr3,
                USER_L4 << 12,
                "still in the process's address space"
            );
        }
        seat.cpu().to_kernel();
    }
    // Beyond its end everything is closed.
    seat.put(bitmap, &[0; 64]);
    seat.v.iobitmap_ports = 0x60;
    seat.go_user(CODE);
    assert!(!run(&mut seat, &[0xe4, 0x60]));
}

#[test]
fn ins_fills_memory_and_moves_the_registers() {
    let mut seat = privileged();
    seat.put(ARGS, &[0; 32]);
    (seat.regs.rdi, seat.regs.rcx) = (ARGS + 4, 3);
    assert!(run(&mut seat, &[0xf3, 0x66, 0x6d]));
    assert_eq!((seat.regs.rdi, seat.regs.rcx), (ARGS + 10, 0));
    assert_eq!(
        seat.get(ARGS, 12),
        [0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 0, 0]
    );
}

#[test]
fn ins_downwards_and_without_repetition() {
    let mut seat = privileged();
    seat.put(ARGS, &[0; 16]);
    (seat.regs.rdi, seat.regs.rcx) = (ARGS + 8, 7);
    seat.regs.rflags |= flags::DF;
    assert!(run(&mut seat, &[0x6c]));
    assert_eq!((seat.regs.rdi, seat.regs.rcx), (ARGS + 7, 7));
    assert_eq!(seat.get(ARGS + 7, 3), [0, 255, 0]);
}

#[test]
fn long_ins_comes_back_for_the_rest() {
    let mut seat = privileged();
    seat.put(CODE, &[0xf3, 0x6c]);
    seat.regs = Regs {
        rip: CODE,
        rdi: ARGS,
        rcx: 1500,
        ..seat.regs
    };
    seat.enter(13, 0, 0);
    assert_eq!(
        (seat.regs.rip, seat.regs.rcx, seat.regs.rdi),
        (CODE, 476, ARGS + 1024)
    );
    seat.enter(13, 0, 0);
    assert_eq!(
        (seat.regs.rip, seat.regs.rcx, seat.regs.rdi),
        (CODE + 2, 0, ARGS + 1500)
    );
}

#[test]
fn ins_to_unmapped_memory_faults() {
    let mut seat = privileged();
    (seat.regs.rdi, seat.regs.rcx) = (UNMAPPED, 3);
    assert!(!run(&mut seat, &[0xf3, 0x6c]));
    (seat.regs.rdi, seat.regs.rcx) = (HOLE, 3);
    assert!(!run(&mut seat, &[0xf3, 0x6c]));
}

#[test]
fn outs_consumes_any_count_at_once() {
    let mut seat = privileged();
    (seat.regs.rsi, seat.regs.rcx) = (ARGS, 0x1_0000_0000);
    assert!(run(&mut seat, &[0xf3, 0x6f]));
    assert_eq!((seat.regs.rsi, seat.regs.rcx), (ARGS + 0x4_0000_0000, 0));
}

#[test]
fn cli_and_sti_do_nothing_for_the_kernel() {
    let mut seat = privileged();
    assert!(run(&mut seat, &[0xfa]));
    assert!(run(&mut seat, &[0xfb]));
    assert_eq!(seat.regs.rflags & flags::IF, flags::IF);
}
