//! Hypercalls whose arguments a 32-bit guest lays out differently.

use crate::mock::*;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::layout::compat::{KERNEL_CS, SCRATCH_VA};
use noxen_monitor_abi::pages::call;
use noxen_pv_abi::callback::CallbackType;
use noxen_pv_abi::grant_table::GnttabOp;
use noxen_pv_abi::physdev::PhysdevOp;
use noxen_pv_abi::sched::SchedOp;
use noxen_pv_abi::vcpu::VcpuOp;
use noxen_pv_abi::version::VersionOp;
use noxen_pv_abi::Hypercall;

const EFAULT: i32 = -14;
const EINVAL: i32 = -22;
const ENOSYS: i32 = -38;

#[test]
fn trap_table_of_eight_byte_entries_ends_at_address_zero() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let page_fault = 14 | 4 << 8 | 0x10 << 16;
    let int80 = 0x80 | 3 << 8 | 0x10 << 16;
    world.put32(
        ARGS32,
        &[
            page_fault,
            0xc000_1000,
            int80,
            0xc000_2000,
            5,
            0,
            6,
            0xc000_3000,
        ],
    );
    assert_eq!(seat.hypercall32(Hypercall::SET_TRAP_TABLE, &[ARGS32]), 0);
    let trap = seat.v.traps[14];
    assert_eq!((trap.address, trap.cs, trap.flags), (0xc000_1000, 0x11, 4));
    assert_eq!(seat.v.traps[6].address, handler32(6), "behind the end");
    assert!(seat
        .m
        .take_effects()
        .contains(&Effect::SoftGate(0x80, true)));
    assert_eq!(seat.hypercall32(Hypercall::SET_TRAP_TABLE, &[0]), 0);
    assert_eq!(seat.v.traps[14].address, 0);
    let outside = [KERNEL32 + (BOOT_PAGES << 12)];
    assert_eq!(
        seat.hypercall32(Hypercall::SET_TRAP_TABLE, &outside),
        EFAULT
    );
}

#[test]
fn callbacks_are_code_selector_and_offset() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let args = [0x10, 0xc000_4000, 0x10, 0xc000_5000];
    assert_eq!(seat.hypercall32(Hypercall::SET_CALLBACKS, &args), 0);
    let event = seat.v.callbacks.event;
    assert_eq!(
        (event.address, event.cs, event.mask),
        (0xc000_4000, 0x11, true)
    );
    world.put32(ARGS32, &[1 << 16, u32::from(KERNEL_CS), 0xc000_6000]);
    assert_eq!(seat.hypercall32(Hypercall::CALLBACK_OP, &[0, ARGS32]), 0);
    let event = seat.v.callbacks.event;
    assert_eq!((event.address, event.cs), (0xc000_6000, KERNEL_CS));
    // There is no 64-bit program, and the two that a guest needs stay.
    for (kind, answer) in [
        (CallbackType::SYSCALL, ENOSYS),
        (CallbackType::SYSENTER, 0),
        (CallbackType::SYSCALL32, 0),
    ] {
        world.put32(ARGS32, &[u32::from(kind.0), 0x60, 0xc000_7000]);
        let done = seat.hypercall32(Hypercall::CALLBACK_OP, &[0, ARGS32]);
        assert_eq!(done, answer, "{kind:?}");
    }
    for callback in [seat.v.callbacks.sysenter, seat.v.callbacks.syscall32] {
        // Never ring 0.
        assert_eq!((callback.address, callback.cs), (0xc000_7000, 0x61));
    }
    world.put32(ARGS32, &[0]);
    assert_eq!(
        seat.hypercall32(Hypercall::CALLBACK_OP, &[1, ARGS32]),
        EINVAL
    );
}

#[test]
fn nmi_handler_runs_in_the_flat_kernel_segment() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    world.put32(ARGS32, &[0xc000_8000, 0]);
    assert_eq!(seat.hypercall32(Hypercall::NMI_OP, &[0, ARGS32]), 0);
    seat.enter(2, 0, 0);
    assert_eq!(
        (seat.regs.rip, seat.regs.cs),
        (0xc000_8000, u64::from(KERNEL_CS))
    );
}

#[test]
fn stack_of_ring_1_is_set_as_given() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let stack = KERNEL32 + 20 * 4096;
    assert_eq!(seat.hypercall32(Hypercall::STACK_SWITCH, &[0x18, stack]), 0);
    assert_eq!((seat.v.kernel_ss, seat.v.kernel_sp), (0x19, stack));
}

#[test]
fn multicall_entries_have_results_of_four_bytes() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let list = [
        // stack_switch, a nested multicall, xen_version(0), update_va_mapping of nothing.
        [3, 9, 0x18, (STACK32 - 4096) as u32, 0, 0, 0, 0],
        [13, 9, 0, 0, 0, 0, 0, 0],
        [17, 9, 0, 0, 0, 0, 0, 0],
        [14, 9, 0x8000_0000, 0, 0, 0, 0, 0],
    ];
    world.put32(ARGS32, &list.concat());
    assert_eq!(seat.hypercall32(Hypercall::MULTICALL, &[ARGS32, 4]), 0);
    let results: Vec<u32> = (0..4)
        .map(|i| world.words32(ARGS32 + i * 32 + 4, 1)[0])
        .collect();
    assert_eq!(results, [0, ENOSYS as u32, 4 << 16 | 17, EINVAL as u32]);
    assert_eq!(seat.v.kernel_sp, STACK32 - 4096);
}

#[test]
fn timer_takes_its_time_from_two_registers() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let at = 0x1_2345_6789_u64;
    assert_eq!(
        seat.hypercall32(Hypercall::SET_TIMER_OP, &[at & 0xffff_ffff, at >> 32]),
        0
    );
    assert_eq!(seat.v.timers.singleshot, at);
    // The structure of the newer call has 12 bytes: nothing behind them is read.
    let edge = KERNEL32 + (BOOT_PAGES << 12) - 12;
    world.put32(edge, &[5_000_000, 1, 0]);
    let set = [u64::from(VcpuOp::SET_SINGLESHOT_TIMER.0), 0, edge];
    assert_eq!(seat.hypercall32(Hypercall::VCPU_OP, &set), 0);
    assert_eq!(seat.v.timers.singleshot, 1 << 32 | 5_000_000);
}

#[test]
fn runstate_has_its_times_four_bytes_earlier() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    // A pointer of 4 bytes; what stands behind it in the union is nobody's.
    world.put32(ARGS32, &[(ARGS32 + 0x100) as u32, 0xdead_beef]);
    world.put32(ARGS32 + 0x100, &[9; 12]);
    let register = [
        u64::from(VcpuOp::REGISTER_RUNSTATE_MEMORY_AREA.0),
        0,
        ARGS32,
    ];
    assert_eq!(seat.hypercall32(Hypercall::VCPU_OP, &register), 0);
    let entered = world.dom.vcpus[0].runstate[1].load(Ordering::SeqCst);
    let words = world.words32(ARGS32 + 0x100, 12);
    assert_eq!(words[0], 0);
    assert_eq!(u64::from(words[1]) | u64::from(words[2]) << 32, entered);
    assert_eq!(words[11], 9, "44 bytes");
    let get = [u64::from(VcpuOp::GET_RUNSTATE_INFO.0), 0, ARGS32 + 0x200];
    assert_eq!(seat.hypercall32(Hypercall::VCPU_OP, &get), 0);
    assert_eq!(world.words32(ARGS32 + 0x200, 3), words[..3]);
}

#[test]
fn moved_vcpu_info_selects_every_word() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    world.put32(ARGS32, &[40, 0, 0x40, 0]);
    let register = [u64::from(VcpuOp::REGISTER_VCPU_INFO.0), 0, ARGS32];
    assert_eq!(seat.hypercall32(Hypercall::VCPU_OP, &register), 0);
    assert_eq!(
        world.memory.get((40 << 12) + 0x40, 8),
        [1, 1, 0, 0, 255, 255, 255, 255]
    );
    assert_eq!(world.memory.get((40 << 12) + 0x48, 4), [0; 4], "arch.cr2");
}

#[test]
fn poll_reads_sixteen_bytes_and_returns_for_a_pending_port() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    world.dom.port_limit.fetch_max(34, Ordering::SeqCst);
    seat.cpu().raise(33);
    world.put32(ARGS32, &[(ARGS32 + 64) as u32, 1, 0, 0]);
    world.put32(ARGS32 + 64, &[33]);
    let poll = [u64::from(SchedOp::POLL.0), ARGS32];
    assert_eq!(seat.hypercall32(Hypercall::SCHED_OP, &poll), 0);
    assert!(!seat.m.take_effects().contains(&Effect::Halt));
    world.put32(ARGS32 + 64, &[1024]);
    assert_eq!(
        seat.hypercall32(Hypercall::SCHED_OP, &poll),
        EINVAL,
        "1024 ports in all"
    );
}

#[test]
fn shutdown_reaches_the_vmm() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    world.put32(ARGS32, &[1]);
    let args = [u64::from(SchedOp::SHUTDOWN.0), ARGS32];
    seat.hypercall32(Hypercall::SCHED_OP, &args);
    assert_eq!(seat.calls(call::SHUTDOWN), [(vec![1], vec![])]);
}

#[test]
fn grant_frames_come_as_words_of_four_bytes() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let list = (ARGS32 + 0x100) as u32;
    world.put32(ARGS32, &[0x7ff0, 3, 0xffff_ffff, list]);
    world.put32(ARGS32 + 0x100, &[7; 4]);
    let args = [u64::from(GnttabOp::SETUP_TABLE.0), ARGS32, 1];
    assert_eq!(seat.hypercall32(Hypercall::GRANT_TABLE_OP, &args), 0);
    let first = (world.dom.info.grant_gpa >> 12) as u32;
    assert_eq!(
        world.words32(ARGS32 + 0x100, 4),
        [first, first + 1, first + 2, 7]
    );
    assert_eq!(world.get32(ARGS32 + 8, 2), [0, 0], "status");
    // A list that cannot be written is a status too; more frames than there are another.
    world.put32(ARGS32, &[0x7ff0, 3, 0, 0x1000]);
    assert_eq!(seat.hypercall32(Hypercall::GRANT_TABLE_OP, &args), 0);
    assert_eq!(world.get32(ARGS32 + 8, 2), (-5i16).to_le_bytes());
    world.put32(ARGS32, &[0x7ff0, 0xffff_ffff, 0, list]);
    assert_eq!(seat.hypercall32(Hypercall::GRANT_TABLE_OP, &args), 0);
    assert_eq!(world.get32(ARGS32 + 8, 2), (-1i16).to_le_bytes());
}

#[test]
fn refused_grant_copies_have_their_status_at_their_own_place() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    world.put32(ARGS32, &[0x5555_5555; 13]);
    let args = [u64::from(GnttabOp::COPY.0), ARGS32, 2];
    assert_eq!(seat.hypercall32(Hypercall::GRANT_TABLE_OP, &args), 0);
    let bad_domain = (-2i16).to_le_bytes();
    for element in [0, 24] {
        let status = ARGS32 + element + 20;
        assert_eq!(world.get32(status, 2), bad_domain);
    }
    assert_eq!(world.words32(ARGS32 + 48, 1), [0x5555_5555]);
}

#[test]
fn io_bitmap_pointer_has_four_bytes() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    world.put32(ARGS32, &[0xc001_0000, 256]);
    let args = [u64::from(PhysdevOp::SET_IOBITMAP.0), ARGS32];
    assert_eq!(seat.hypercall32(Hypercall::PHYSDEV_OP, &args), 0);
    assert_eq!((seat.v.iobitmap, seat.v.iobitmap_ports), (0xc001_0000, 256));
    // The older call: command, then the argument at once.
    world.put32(ARGS32, &[PhysdevOp::SET_IOPL.0, 1]);
    assert_eq!(seat.hypercall32(Hypercall::PHYSDEV_OP_COMPAT, &[ARGS32]), 0);
    assert_eq!(seat.v.iopl, 1);
}

#[test]
fn version_tells_where_the_hypervisor_starts_and_that_tables_may_be_anywhere() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let ask = |seat: &mut Seat, op: VersionOp| {
        seat.hypercall32(Hypercall::XEN_VERSION, &[u64::from(op.0), ARGS32])
    };
    world.put32(ARGS32, &[0, 7]);
    assert_eq!(ask(&mut seat, VersionOp::PLATFORM_PARAMETERS), 0);
    assert_eq!(world.words32(ARGS32, 2), [0xf580_0000, 7]);
    world.put32(ARGS32, &[0, 0]);
    assert_eq!(ask(&mut seat, VersionOp::GET_FEATURES), 0);
    assert_eq!(
        world.words32(ARGS32, 2)[1],
        1 << 4 | 1 << 5 | 1 << 7 | 1 << 6
    );
    world.put32(ARGS32, &[1, 0]);
    assert_eq!(ask(&mut seat, VersionOp::GET_FEATURES), EINVAL);
}

#[test]
fn numbers_that_32_bit_guests_do_not_have_are_refused() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    assert_eq!(
        seat.hypercall32(Hypercall::SET_SEGMENT_BASE, &[0, 0]),
        ENOSYS
    );
    assert_eq!(seat.hypercall32(Hypercall(55), &[]), ENOSYS);
    assert_eq!(seat.hypercall32(Hypercall(0xffff_ffff), &[]), ENOSYS);
}

#[test]
fn scratch_is_no_guest_memory_for_64_bit_kernels() {
    let mut seat = World::new(1).running();
    let args = [u64::from(VersionOp::EXTRAVERSION.0), SCRATCH_VA];
    assert_eq!(
        seat.hypercall(Hypercall::XEN_VERSION, &args),
        i64::from(EFAULT)
    );
}
