//! Frames on the guest kernel's stack, and the way back.

use crate::mock::*;
use crate::regs::{entry, flags};
use crate::vcpu::Callback;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::layout::compat::{KERNEL_CS, KERNEL_DS, USER_CS, USER_DS};
use noxen_monitor_abi::pages::call;
use noxen_pv_abi::Hypercall;

const EFLAGS: u32 = 0x202;

/// An event on a port bound to vCPU 0.
fn raise(world: &World, seat: &mut Seat, port: u32) {
    world.dom.port_limit.fetch_max(port + 1, Ordering::SeqCst);
    seat.cpu().raise(port);
}

#[test]
fn trap_in_ring_1_pushes_three_words_and_keeps_the_stack() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let before = seat.regs;
    seat.enter(0, 0, 0);
    assert_eq!(seat.regs.rip, handler32(0));
    assert_eq!(seat.regs.rsp, before.rsp - 12);
    assert_eq!(
        world.words32(seat.regs.rsp, 3),
        [before.rip as u32, u32::from(KERNEL_CS), EFLAGS]
    );
    assert_eq!(seat.regs.ss, before.ss);
}

#[test]
fn fast_system_calls_of_ring_3_tell_what_the_processor_kept() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let callback = |address| Callback {
        address,
        cs: KERNEL_CS,
        mask: false,
    };
    seat.go_user32(USER + 0x10);
    // Nobody has asked for them: an invalid opcode, at the instruction of two bytes.
    seat.enter(entry::SYSCALL32, 0, 0);
    assert_eq!(seat.regs.rip, handler32(6));
    assert_eq!(world.words32(seat.regs.rsp, 1), [(USER + 0xe) as u32]);
    seat.v.callbacks.syscall32 = callback(0xc000_7000);
    seat.v.callbacks.sysenter = callback(0xc000_7100);
    for (vector, handler, eip, cs, esp) in [
        (
            entry::SYSCALL32,
            0xc000_7000,
            USER + 0x10,
            USER_CS,
            USER + 0x8000,
        ),
        (entry::SYSENTER, 0xc000_7100, 0, 3, 0),
    ] {
        seat.go_user32(USER + 0x10);
        // As the stubs of the image leave them.
        (seat.regs.cs, seat.regs.ss) = (0xe023, 0xe02b);
        seat.enter(vector, 0, 0);
        assert_eq!(
            (seat.regs.rip, seat.regs.cs),
            (handler, u64::from(KERNEL_CS))
        );
        assert_eq!(seat.regs.rsp, STACK32 - 20);
        let frame = world.words32(seat.regs.rsp, 5);
        let expected = [
            eip as u32,
            u32::from(cs),
            EFLAGS,
            esp as u32,
            u32::from(USER_DS),
        ];
        assert_eq!(frame, expected);
    }
}

#[test]
fn page_fault_in_ring_3_switches_stacks_and_tells_its_address() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    seat.v.traps[14].flags = 4;
    seat.go_user32(USER + 0x10);
    seat.enter(14, 6, USER + 0x20_0000);
    assert_eq!(seat.regs.rsp, STACK32 - 24);
    assert_eq!(
        world.words32(seat.regs.rsp, 6),
        [
            6,
            (USER + 0x10) as u32,
            u32::from(USER_CS),
            EFLAGS,
            (USER + 0x8000) as u32,
            u32::from(USER_DS)
        ]
    );
    assert_eq!(
        (seat.regs.cs, seat.regs.ss),
        (u64::from(KERNEL_CS), u64::from(KERNEL_DS))
    );
    // arch.cr2 is the word at 8, and events are masked now.
    let info = world.dom.info.shared_info_gpa;
    assert_eq!(
        world.memory.get(info + 8, 4),
        ((USER + 0x20_0000) as u32).to_le_bytes()
    );
    assert_eq!(world.info_byte(0, 1), 1);
    // The frame of what comes next says so: bit 16 beside CS, IF clear.
    seat.enter(0, 0, 0);
    assert_eq!(
        world.words32(seat.regs.rsp, 3)[1..],
        [u32::from(KERNEL_CS) | 1 << 16, EFLAGS & !0x200]
    );
}

#[test]
fn frames_go_to_where_the_stack_segment_starts() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    seat.regs.ss = u64::from(BASED_DS);
    seat.regs.rsp -= BASED;
    let sp = seat.regs.rsp;
    seat.enter(6, 0, 0);
    assert_eq!(
        (seat.regs.rsp, seat.regs.ss),
        (sp - 12, u64::from(BASED_DS))
    );
    assert_eq!(world.words32(BASED + sp - 12, 2)[1], u32::from(KERNEL_CS));
}

#[test]
fn upcall_enters_the_callbacks_own_code_segment() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    // Port 40: bit 40 of a bitmap of words of 4 bytes, selector bit 1 at 4.
    raise(&world, &mut seat, 40);
    let info = world.dom.info.shared_info_gpa;
    assert_eq!(world.memory.get(info, 8), [1, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(world.memory.get(info + 0x804, 2), [0, 1]);
    let before = seat.regs;
    seat.enter(0xf2, 0, 0);
    assert_eq!((seat.regs.rip, seat.regs.cs), (EVENT32, u64::from(OWN_CS)));
    assert_eq!(world.words32(seat.regs.rsp, 1), [before.rip as u32]);
    assert_eq!(world.info_byte(0, 1), 1);
}

#[test]
fn iret_within_ring_1_pops_four_words() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    seat.cpu().mask_events(true);
    let sp = seat.regs.rsp;
    world.put32(sp, &[77, KERNEL32 as u32 + 0x40, 0x10, 0x0002_3202]);
    seat.regs.rax = u64::from(Hypercall::IRET.0);
    seat.enter(0x82, 0, 0);
    assert_eq!(
        (seat.regs.rax, seat.regs.rip, seat.regs.rsp),
        (77, KERNEL32 + 0x40, sp + 16)
    );
    assert_eq!(seat.regs.cs, 0x11, "ring 0 is not the guest's");
    assert_eq!(
        seat.regs.rflags,
        flags::IF | 2,
        "no IOPL, no virtual-8086 mode"
    );
    assert_eq!(world.info_byte(0, 1), 0);
}

#[test]
fn iret_to_ring_3_pops_six_and_delivers_what_waits_on_the_kernel_stack() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    seat.cpu().mask_events(true);
    raise(&world, &mut seat, 3);
    let to = [
        1,
        USER as u32,
        u32::from(USER_CS),
        0x202,
        USER as u32 + 0x100,
        u32::from(USER_DS),
    ];
    world.put32(seat.regs.rsp, &to);
    seat.regs.rax = u64::from(Hypercall::IRET.0);
    seat.enter(0x82, 0, 0);
    assert_eq!((seat.regs.rip, seat.regs.rsp), (EVENT32, STACK32 - 20));
    assert_eq!(
        world.words32(STACK32 - 20, 5),
        [to[1], to[2], 0x202, to[4], to[5]]
    );
    assert!(seat.v.kernel_mode);
}

#[test]
fn return_that_cannot_be_loaded_reaches_the_failsafe_callback() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    seat.go_user32(USER);
    seat.regs.ss = u64::from(BAD_SELECTOR);
    seat.v.kernel_mode = false;
    let mut regs = seat.regs;
    seat.cpu().on_failed_return(&mut regs);
    assert_eq!((regs.rip, regs.rsp), (FAILSAFE32, STACK32 - 36));
    assert_eq!(
        world.words32(regs.rsp, 9),
        [
            0,
            0,
            0,
            0,
            USER as u32,
            u32::from(USER_CS),
            EFLAGS,
            USER as u32 + 0x8000,
            u32::from(BAD_SELECTOR)
        ]
    );
    assert!(seat.m.take_effects().contains(&Effect::NullSegments));
    // If that is what cannot be entered, the domain ends instead of going round for ever.
    seat.cpu().on_failed_return(&mut regs);
    assert_eq!(seat.calls(call::CRASH).len(), 1);
}

#[test]
fn software_interrupts_need_the_ring_that_the_trap_says() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    seat.v.traps[0x40].flags = 1;
    let error = 0x40 << 3 | 2;
    let before = seat.regs;
    seat.enter(13, error, 0);
    assert_eq!(seat.regs.rip, handler32(0x40));
    assert_eq!(world.words32(seat.regs.rsp, 1), [before.rip as u32 + 2]);
    seat.go_user32(USER);
    seat.enter(13, error, 0);
    assert_eq!(seat.regs.rip, handler32(13), "DPL 1 is not for ring 3");
    // DPL 0: not even for ring 1.
    seat.regs = before;
    seat.enter(13, 0x41 << 3 | 2, 0);
    assert_eq!(seat.regs.rip, handler32(13));
}

#[test]
fn hypercall_of_ring_3_is_a_protection_fault() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    seat.go_user32(USER);
    // The gate has DPL 1: hardware reports it like any closed one.
    seat.enter(13, 0x82 << 3 | 2, 0);
    assert_eq!(seat.regs.rip, handler32(13));
    assert_eq!(world.words32(seat.regs.rsp, 1), [0x82 << 3 | 2]);
}

#[test]
fn privileged_instructions_are_emulated_in_their_code_segment() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    // mov eax, cr3, in a code segment that starts at BASED.
    world
        .memory
        .set_u64((GDT_FRAME << 12) + 8, 0x10cf_bb00_0000_ffff);
    world.put_bytes32(KERNEL32 + 0x5_0000, &[0x0f, 0x20, 0xd8]);
    seat.regs.cs = 0x09;
    seat.regs.rip = KERNEL32 + 0x5_0000 - BASED;
    let start = seat.regs.rip;
    seat.enter(13, 0, 0);
    assert_eq!((seat.regs.rip, seat.regs.rax), (start + 3, 1 << 12));
    // The frame of an L3 above 4 GiB is folded: here it is the guest that writes one outside memory.
    world.put_bytes32(KERNEL32 + 0x5_0000, &[0x0f, 0x22, 0xd8]);
    seat.regs.rip = start;
    seat.regs.rax = 0x1001;
    seat.enter(13, 0, 0);
    assert_eq!(seat.regs.rip, handler32(13));
}
