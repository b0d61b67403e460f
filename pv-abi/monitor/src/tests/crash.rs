use crate::crash::{level, Hex};
use crate::mock::*;
use crate::regs::Regs;
use core::mem::offset_of;
use noxen_monitor_abi::counters::{other, OTHER};
use noxen_monitor_abi::pages::{call, Crash};

#[test]
fn crash_record_holds_registers_stack_and_reason() {
    let world = World::new(1);
    let mut seat = world.running();
    for i in 0..4u64 {
        seat.put(STACK - 32 + i * 8, &(0x1000 + i).to_le_bytes());
    }
    let regs = Regs {
        r15: 15,
        rax: 10,
        rdi: 1,
        rip: 0x42,
        cs: 0x13,
        rflags: 0x202,
        rsp: STACK - 32,
        ss: 0x1b,
        ..seat.regs
    };
    seat.cpu().crash(&regs, 13, 0x18, 0xbad, "why");
    let at = world.dom.info.crash_gpa;
    let word = |offset: usize| world.memory.u64(at + offset as u64);
    assert_eq!(word(0), 13 << 32);
    assert_eq!(word(offset_of!(Crash, error)), 0x18);
    assert_eq!(word(offset_of!(Crash, gprs)), 15);
    assert_eq!(word(offset_of!(Crash, gprs) + 10 * 8), 10);
    assert_eq!(word(offset_of!(Crash, gprs) + 14 * 8), 1);
    assert_eq!(word(offset_of!(Crash, rip)), 0x42);
    assert_eq!(word(offset_of!(Crash, cs)), 0x13);
    assert_eq!(word(offset_of!(Crash, rflags)), 0x202);
    assert_eq!(word(offset_of!(Crash, rsp)), STACK - 32);
    assert_eq!(word(offset_of!(Crash, ss)), 0x1b);
    assert_eq!(word(offset_of!(Crash, cr2)), 0xbad);
    assert_eq!(word(offset_of!(Crash, cr3)), L4 << 12);
    assert_eq!(word(offset_of!(Crash, kernel_mode)), 1);
    assert_eq!(word(offset_of!(Crash, nr_stack)), 64);
    assert_eq!(word(offset_of!(Crash, stack)), 0x1000);
    assert_eq!(word(offset_of!(Crash, stack) + 24), 0x1003);
    assert_eq!(
        world.memory.get(at + offset_of!(Crash, reason) as u64, 5),
        b"why\0\0"
    );
    assert_eq!(seat.calls(call::CRASH).len(), 1);
}

#[test]
fn crash_with_unreadable_stack_has_no_stack_words() {
    let world = World::new(1);
    let mut seat = world.running();
    let regs = Regs {
        rsp: UNMAPPED - 16,
        ..seat.regs
    };
    seat.cpu().crash(&regs, 8, 0, 0, &"long ".repeat(100));
    let at = world.dom.info.crash_gpa;
    assert_eq!(world.memory.u64(at + offset_of!(Crash, nr_stack) as u64), 2);
    assert_eq!(
        world
            .memory
            .get(at + offset_of!(Crash, reason) as u64 + 120, 16),
        b"long lon\0\0\0\0\0\0\0\0"
    );
}

#[test]
fn log_lines_over_the_budget_are_dropped_and_counted() {
    let world = World::new(1);
    let mut seat = world.running();
    world.set_time(5_000_000_000);
    for _ in 0..25 {
        seat.cpu().log(level::WARN, &["one ", "line"]);
    }
    let lines = seat.calls(call::LOG);
    assert_eq!(lines.len(), 20);
    assert_eq!(lines[0], (vec![8, level::WARN], b"one line".to_vec()));
    assert_eq!(world.counter(0, OTHER + other::LOG_DROPPED), 5);
    world.set_time(6_000_000_000);
    seat.cpu().log(level::WARN, &["x"]);
    assert_eq!(seat.calls(call::LOG).len(), 1);
}

#[test]
fn log_line_is_cut_at_its_limit() {
    let mut seat = World::new(1).running();
    seat.cpu().log(level::INFO, &[&"x".repeat(1000)]);
    assert_eq!(seat.calls(call::LOG)[0].0, [256, level::INFO]);
}

#[test]
fn hex_is_sixteen_digits() {
    assert_eq!(
        Hex::new(0xc000_0080_dead_beef).as_str(),
        "0xc0000080deadbeef"
    );
    assert_eq!(Hex::new(0).as_str(), "0x0000000000000000");
}
