//! CPUID, MSRs and control registers as a deprivileged kernel sees them.

use super::bounce::user;
use crate::machine::{Base, Machine};
use crate::mock::*;
use crate::regs::{flags, Regs};
use noxen_monitor_abi::counters::{EMULATED, EMULATED_NAMES};
use noxen_monitor_abi::layout::TUNED_CPUID;
use noxen_monitor_abi::pages::call;

const CPUID: &[u8] = &[0x0f, 0xa2];
const RDMSR: &[u8] = &[0x0f, 0x32];
const WRMSR: &[u8] = &[0x0f, 0x30];

/// Where the tests' code lies: a page that user space sees too.
pub(super) const CODE: u64 = USER;

/// Runs one privileged instruction: it raises #GP(0). True when it was emulated.
pub(super) fn run(seat: &mut Seat, code: &[u8]) -> bool {
    seat.put(CODE, code);
    seat.regs.rip = CODE;
    let mut regs = Regs {
        vector: 13,
        ..seat.regs
    };
    seat.cpu().on_entry(&mut regs, 0);
    let done = regs.rip == CODE + code.len() as u64;
    if done {
        seat.regs = regs;
    } else {
        assert_eq!(regs.rip, world_handler(13), "the guest gets its #GP");
        // The bounce frame: the instruction is what it was interrupted at.
        let stack_rip = u64::from_le_bytes(seat.get(regs.rsp + 24, 8).try_into().unwrap());
        assert_eq!(stack_rip, CODE);
        assert_eq!(seat.get_u64(regs.rsp + 16), 0, "error code");
    }
    done
}

fn world_handler(vector: u8) -> u64 {
    crate::mock::handler(vector)
}

fn counted(world: &World, name: &str) -> u64 {
    world.counter(
        0,
        EMULATED
            + EMULATED_NAMES
                .iter()
                .position(|known| *known == name)
                .unwrap(),
    )
}

fn cpuid(seat: &mut Seat, leaf: u32, subleaf: u32) -> [u64; 4] {
    (seat.regs.rax, seat.regs.rcx) = (0xffff_ffff_0000_0000 | u64::from(leaf), u64::from(subleaf));
    assert!(run(seat, CPUID));
    [seat.regs.rax, seat.regs.rbx, seat.regs.rcx, seat.regs.rdx]
}

#[test]
fn cpuid_answers_from_the_table_in_both_modes() {
    let world = World::new(1);
    let mut seat = world.running();
    let expected = [0xd, 0x756e_6547, 0x6c65_746e, 0x4965_6e69];
    assert_eq!(cpuid(&mut seat, 0, 0), expected);
    seat.go_user(CODE);
    assert_eq!(cpuid(&mut seat, 0, 0), expected);
    assert_eq!(counted(&world, "cpuid"), 2);
}

#[test]
fn cpuid_unknown_leaf_is_zeros() {
    let mut seat = World::new(1).running();
    assert_eq!(cpuid(&mut seat, 0x4000_0100, 0), [0; 4]);
    assert_eq!(cpuid(&mut seat, 0xd, 9), [0; 4]);
}

#[test]
fn cpuid_apic_ids_are_twice_the_vcpu() {
    let world = World::new(4);
    let mut seat = world.running_vcpu(3);
    assert_eq!(cpuid(&mut seat, 1, 0)[1], 6 << 24 | 0x10_0800);
    assert_eq!(cpuid(&mut seat, 0xb, 1), [4, 4, 0x201, 6]);
    assert_eq!(cpuid(&mut seat, 0x8000_001e, 0)[0], 6);
}

#[test]
fn cpuid_osxsave_mirrors_cr4() {
    let mut seat = World::new(1).running();
    assert_eq!(cpuid(&mut seat, 1, 0)[2], 1 << 26 | 1 << 27);
    seat.m.state().cr4 &= !(1 << 18);
    assert_eq!(cpuid(&mut seat, 1, 0)[2], 1 << 26);
}

#[test]
fn cpuid_xsave_size_follows_xcr0() {
    let mut seat = World::new(1).running();
    for (xcr0, standard, compacted) in [
        (1, 576, 576),
        (7, 832, 832),
        // opmask 64, ZMM 512 aligned, Hi16 1024 aligned: 832 + 64, then 896, then 1408.
        (0xe7, 2688, 2432),
    ] {
        seat.v.xcr0 = xcr0;
        assert_eq!(cpuid(&mut seat, 0xd, 0)[1], standard, "{xcr0:#x}");
        assert_eq!(cpuid(&mut seat, 0xd, 1)[1], compacted, "{xcr0:#x}");
    }
}

#[test]
fn forced_emulation_prefix_is_cpuid() {
    let mut seat = World::new(1).running();
    seat.put(CODE, &[0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2]);
    seat.regs = Regs {
        rip: CODE,
        rax: 0x4000_0000,
        ..seat.regs
    };
    seat.enter(6, 0, 0);
    assert_eq!(seat.regs.rip, CODE + 7);
    assert_eq!((seat.regs.rax, seat.regs.rbx), (0x4000_0005, 0x566e_6558));
}

/// `int 0x83` through the closed gate, at `code`.
fn tuned(seat: &mut Seat, code: &[u8]) {
    seat.put(CODE, code);
    (seat.regs.rip, seat.regs.rax) = (CODE, 0x4000_0000);
    seat.enter(13, 0x83 << 3 | 2, 0);
}

#[test]
fn tuned_form_of_the_prefix_answers_the_same() {
    let mut seat = World::new(1).running();
    tuned(&mut seat, &TUNED_CPUID);
    assert_eq!(seat.regs.rip, CODE + 7);
    assert_eq!((seat.regs.rax, seat.regs.rbx), (0x4000_0005, 0x566e_6558));
}

#[test]
fn tuned_form_under_single_step_traps_behind_it() {
    let mut seat = World::new(1).running();
    seat.regs.rflags |= flags::TF;
    tuned(&mut seat, &TUNED_CPUID);
    assert_eq!(seat.regs.rip, world_handler(1));
    assert_eq!(seat.words(seat.regs.rsp, 3)[2], CODE + 7);
}

#[test]
fn same_interrupt_without_the_rest_goes_to_its_handler() {
    let mut seat = World::new(1).running();
    tuned(&mut seat, &[0xcd, 0x83, 0x90, 0x90, 0x90, 0x90, 0x90]);
    assert_eq!(seat.regs.rip, world_handler(0x83));
}

#[test]
fn tuned_form_in_user_space_is_a_protection_fault() {
    let mut seat = World::new(1).running();
    user(&mut seat);
    tuned(&mut seat, &TUNED_CPUID);
    assert_eq!(seat.regs.rip, world_handler(13));
    assert_eq!(seat.words(seat.regs.rsp, 4)[2..], [0x83 << 3 | 2, CODE]);
}

#[test]
fn other_undefined_instructions_reach_the_guest() {
    let mut seat = World::new(1).running();
    seat.put(CODE, &[0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0x32]);
    seat.regs.rip = CODE;
    seat.enter(6, 0, 0);
    assert_eq!(seat.regs.rip, world_handler(6));
}

#[test]
fn instruction_at_the_end_of_a_page_is_read() {
    let mut seat = World::new(1).running();
    // The last two bytes of user space's last page; nothing is mapped behind it.
    let at = USER + USER_PAGES * 4096 - 2;
    seat.put(at, CPUID);
    seat.regs = Regs {
        rip: at,
        rax: 0,
        vector: 13,
        ..seat.regs
    };
    let mut regs = seat.regs;
    seat.cpu().on_entry(&mut regs, 0);
    assert_eq!((regs.rip, regs.rax), (at + 2, 0xd));
}

fn rdmsr(seat: &mut Seat, msr: u32) -> Option<u64> {
    (seat.regs.rcx, seat.regs.rax, seat.regs.rdx) = (u64::from(msr), !0, !0);
    run(seat, RDMSR).then_some(seat.regs.rdx << 32 | seat.regs.rax)
}

fn wrmsr(seat: &mut Seat, msr: u32, value: u64) -> bool {
    (seat.regs.rcx, seat.regs.rax, seat.regs.rdx) =
        (u64::from(msr), value & 0xffff_ffff, value >> 32);
    run(seat, WRMSR)
}

#[test]
fn segment_base_msrs_are_the_real_ones() {
    let mut seat = World::new(1).running();
    for (msr, base) in [
        (0xc000_0100, Base::Fs),
        (0xc000_0101, Base::Gs),
        (0xc000_0102, Base::OtherGs),
    ] {
        let value = KERNEL + u64::from(msr & 0xff);
        assert!(wrmsr(&mut seat, msr, value));
        assert_eq!(seat.m.base(base), value);
        assert_eq!(rdmsr(&mut seat, msr), Some(value));
        assert!(
            !wrmsr(&mut seat, msr, 0x8000_0000_0000_0000),
            "not canonical"
        );
    }
}

#[test]
fn fixed_msrs_have_their_values() {
    let world = World::new(2);
    let mut seat = world.running();
    world
        .bus
        .tsc
        .store(0x1_2345_6789, core::sync::atomic::Ordering::SeqCst);
    for (msr, value) in [
        (0xc000_0080, EFER & !(1 << 12)),
        (0x277, 0x0000_0501_0007_0406),
        (0x1b, 0xfee0_0900),
        (0x10, 0x1_2345_6789),
        (0x1a0, 0x1801),
        (0x8b, 0),
        (0xc000_0082, 0),
        (0x176, 0),
        (0xc001_1029, 2),
    ] {
        assert_eq!(rdmsr(&mut seat, msr), Some(value), "{msr:#x}");
    }
    assert_eq!(rdmsr(&mut world.running_vcpu(1), 0x1b), Some(0xfee0_0800));
}

#[test]
fn tsc_aux_is_written_and_read_back() {
    let mut seat = World::new(1).running();
    assert!(wrmsr(&mut seat, 0xc000_0103, 0x1003));
    assert_eq!(seat.m.state().tsc_aux, 0x1003);
    assert_eq!(rdmsr(&mut seat, 0xc000_0103), Some(0x1003));
    assert!(!wrmsr(&mut seat, 0xc000_0103, 1 << 32));
}

#[test]
fn efer_and_pat_accept_only_what_they_hold() {
    let mut seat = World::new(1).running();
    let shown = EFER & !(1 << 12);
    assert!(wrmsr(&mut seat, 0xc000_0080, shown));
    assert!(!wrmsr(&mut seat, 0xc000_0080, shown & !(1 << 11)));
    assert!(wrmsr(&mut seat, 0x277, 0x0000_0501_0007_0406));
    assert!(!wrmsr(&mut seat, 0x277, 0x0007_0406_0007_0406));
}

#[test]
fn writes_to_entry_registers_vanish() {
    let mut seat = World::new(1).running();
    for msr in [
        0xc000_0081,
        0xc000_0082,
        0xc000_0083,
        0xc000_0084,
        0x174,
        0x175,
        0x176,
        0x10,
        0x3b,
        0x1a0,
        0xc001_0015,
    ] {
        assert!(wrmsr(&mut seat, msr, 0x1234), "{msr:#x}");
    }
    assert_eq!(rdmsr(&mut seat, 0xc000_0082), Some(0));
}

#[test]
fn unknown_msr_is_a_fault_and_a_log_line() {
    let mut seat = World::new(1).running();
    assert_eq!(rdmsr(&mut seat, 0x345), None);
    assert!(!wrmsr(&mut seat, 0x345, 0x99));
    let lines = seat.calls(call::LOG);
    assert_eq!(lines.len(), 1);
    let text = String::from_utf8(lines[0].1.clone()).unwrap();
    assert_eq!(
        text,
        "guest wrote MSR 0x0000000000000345 := 0x0000000000000099: refused"
    );
}

#[test]
fn early_rdmsr_without_handler_reads_zero() {
    let mut seat = World::new(1).running();
    seat.v.traps[13].address = 0;
    assert_eq!(rdmsr(&mut seat, 0x345), Some(0));
}

#[test]
fn msrs_are_for_the_kernel() {
    let mut seat = World::new(1).running();
    seat.go_user(CODE);
    assert_eq!(rdmsr(&mut seat, 0xc000_0100), None);
}

#[test]
fn cr0_shows_ts_and_lets_only_ts_change() {
    let mut seat = World::new(1).running();
    assert!(run(&mut seat, &[0x0f, 0x20, 0xc0]));
    assert_eq!(seat.regs.rax, 0x8005_0033);
    seat.regs.rax = 0x8005_003b;
    assert!(run(&mut seat, &[0x0f, 0x22, 0xc0]));
    assert!(seat.m.state().ts);
    assert!(run(&mut seat, &[0x0f, 0x20, 0xc0]));
    assert_eq!(seat.regs.rax, 0x8005_003b);
    assert!(run(&mut seat, &[0x0f, 0x06]), "clts");
    assert!(!seat.m.state().ts);
    seat.regs.rax = 0x8004_0033;
    assert!(
        !run(&mut seat, &[0x0f, 0x22, 0xc0]),
        "WP is not the guest's"
    );
}

#[test]
fn smsw_and_lmsw_handle_ts() {
    let mut seat = World::new(1).running();
    seat.regs.rcx = 0xb;
    assert!(run(&mut seat, &[0x0f, 0x01, 0xf1]), "lmsw cx: PE, MP, TS");
    assert!(seat.m.state().ts);
    seat.regs.rax = !0;
    assert!(run(&mut seat, &[0x66, 0x0f, 0x01, 0xe0]), "smsw ax");
    assert_eq!(seat.regs.rax, 0xffff_ffff_ffff_003b);
    seat.regs.rcx = 0x2;
    assert!(run(&mut seat, &[0x0f, 0x01, 0xf1]), "PE stays, TS goes");
    assert!(!seat.m.state().ts);
    seat.regs.rcx = 0xf;
    assert!(
        !run(&mut seat, &[0x0f, 0x01, 0xf1]),
        "EM is not the guest's"
    );
}

#[test]
fn cr2_and_cr3_are_the_guests() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.regs.rbx = 0xdead_b000;
    assert!(run(&mut seat, &[0x0f, 0x22, 0xd3]), "mov cr2, rbx");
    assert!(run(&mut seat, &[0x0f, 0x20, 0xd0]), "mov rax, cr2");
    assert_eq!(seat.regs.rax, 0xdead_b000);
    assert!(run(&mut seat, &[0x0f, 0x20, 0xd8]), "mov rax, cr3");
    assert_eq!(seat.regs.rax, L4 << 12);
    // A copy of the kernel's L4 without the monitor's slots.
    seat.m.copy_frame(100, L4);
    for slot in 256..272 {
        world.memory.set_u64((100 << 12) + slot * 8, 0);
    }
    seat.regs.rax = 100 << 12;
    assert!(run(&mut seat, &[0x0f, 0x22, 0xd8]), "mov cr3, rax");
    assert_eq!((seat.v.kernel_cr3, seat.m.cr3()), (100 << 12, 100 << 12));
    assert_eq!(world.memory.u64((100 << 12) + 270 * 8), slots()[14]);
    seat.regs.rax = MAX_PAGES << 12;
    assert!(!run(&mut seat, &[0x0f, 0x22, 0xd8]), "not guest RAM");
}

#[test]
fn cr4_keeps_the_guests_bits_and_drops_others() {
    let mut seat = World::new(1).running();
    // TSD, DE, PGE, SMEP, OSXSAVE and what is on anyway.
    seat.regs.rax = 1 << 2 | 1 << 3 | 1 << 7 | 1 << 20 | 1 << 18 | 0x620;
    assert!(run(&mut seat, &[0x0f, 0x22, 0xe0]));
    assert_eq!(seat.m.state().cr4, CR4 | 1 << 2 | 1 << 3);
    assert!(run(&mut seat, &[0x0f, 0x20, 0xe0]));
    assert_eq!(
        seat.regs.rax,
        1 << 2 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 18
    );
    seat.regs.rax = 0;
    assert!(run(&mut seat, &[0x0f, 0x22, 0xe0]));
    assert_eq!(
        seat.m.state().cr4,
        CR4,
        "OSXSAVE stays on in the real register"
    );
}

#[test]
fn cr8_reads_zero_and_cr1_faults() {
    let mut seat = World::new(1).running();
    assert!(run(&mut seat, &[0x44, 0x0f, 0x20, 0xc0]));
    assert_eq!(seat.regs.rax, 0);
    assert!(run(&mut seat, &[0x44, 0x0f, 0x22, 0xc0]));
    assert!(!run(&mut seat, &[0x0f, 0x20, 0xc8]));
}

#[test]
fn debug_register_moves_follow_the_hypercalls_rules() {
    let mut seat = World::new(1).running();
    seat.regs.rax = KERNEL;
    assert!(run(&mut seat, &[0x0f, 0x23, 0xc0]));
    seat.regs.rax = 0;
    assert!(run(&mut seat, &[0x0f, 0x21, 0xc0]));
    assert_eq!(seat.regs.rax, KERNEL);
    seat.regs.rax = HOLE;
    assert!(!run(&mut seat, &[0x0f, 0x23, 0xc0]));
}

#[test]
fn xsetbv_takes_consistent_values_within_the_mask() {
    let mut seat = World::new(1).running();
    for (value, fine) in [
        (1, true),
        (3, true),
        (7, true),
        (0xe7, true),
        (0, false),
        (5, false),
        (0x67, false),
        (0xe3, false),
        (0x1f, false),
        (1 << 9 | 1, false),
    ] {
        (seat.regs.rcx, seat.regs.rax, seat.regs.rdx) = (0, value, 0);
        assert_eq!(run(&mut seat, &[0x0f, 0x01, 0xd1]), fine, "{value:#x}");
        if fine {
            assert_eq!((seat.m.state().xcr0, seat.v.xcr0), (value, value));
        }
    }
    (seat.regs.rcx, seat.regs.rax) = (1, 1);
    assert!(!run(&mut seat, &[0x0f, 0x01, 0xd1]), "XCR1 does not exist");
}

#[test]
fn invlpg_and_wbinvd_reach_the_processor() {
    let mut seat = World::new(1).running();
    seat.regs.rdi = KERNEL + 0x5000;
    assert!(run(&mut seat, &[0x0f, 0x01, 0x3f]));
    assert!(run(&mut seat, &[0x0f, 0x09]));
    assert_eq!(
        seat.m.take_effects(),
        [Effect::Invlpg(KERNEL + 0x5000), Effect::Wbinvd]
    );
}

#[test]
fn rdtsc_is_for_the_kernel_when_tsd_is_set() {
    let world = World::new(1);
    let mut seat = world.running();
    world
        .bus
        .tsc
        .store(0x2_0000_0001, core::sync::atomic::Ordering::SeqCst);
    (seat.v.cr4, seat.v.tsc_aux) = (1 << 2, 7);
    assert!(run(&mut seat, &[0x0f, 0x01, 0xf9]));
    assert_eq!((seat.regs.rax, seat.regs.rdx, seat.regs.rcx), (1, 2, 7));
    seat.go_user(CODE);
    assert!(!run(&mut seat, &[0x0f, 0x31]));
}

#[test]
fn hlt_blocks_until_an_event() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.cpu().mask_events(true);
    seat.m.state().deadline = 0;
    let (dom, info) = (world.dom.clone(), world.dom.info.shared_info_gpa);
    world.while_halted(move |m| {
        m.memory.put(info, &[1]);
        dom.vcpus[0].attention.fetch_or(
            crate::domain::attention::EVENT,
            core::sync::atomic::Ordering::SeqCst,
        );
    });
    seat.put(CODE, &[0xf4]);
    seat.regs.rip = CODE;
    seat.enter(13, 0, 0);
    // It woke up behind the instruction and takes the event at once: HLT unmasks.
    assert_eq!(seat.regs.rip, EVENT);
    assert_eq!(seat.get_u64(seat.regs.rsp + 16), CODE + 1);
}

#[test]
fn single_step_after_emulation_is_delivered() {
    let mut seat = World::new(1).running();
    seat.put(CODE, CPUID);
    seat.regs = Regs {
        rip: CODE,
        rflags: seat.regs.rflags | flags::TF,
        ..seat.regs
    };
    seat.enter(13, 0, 0);
    assert_eq!(seat.regs.rip, world_handler(1));
    assert_eq!(seat.get_u64(seat.regs.rsp + 16), CODE + 2);
    assert_eq!(seat.m.state().dr[6] >> 14 & 1, 1);
}

#[test]
fn code_in_the_guests_own_segments_is_decoded_by_its_width() {
    let world = World::new(1);
    let mut seat = world.running();
    seat.v.gdt[0] = 64;
    // 2: 64-bit code, 4: flat 32-bit code, 5: 32-bit code with a base, 6: 16-bit code.
    for (index, descriptor) in [
        (2, 0x00af_fb00_0000_ffffu64),
        (4, 0x00cf_fb00_0000_ffff),
        (5, 0x00cf_fb00_1000_ffff),
        (6, 0x000f_fb00_0000_ffff),
    ] {
        world.memory.set_u64((64 << 12) + index * 8, descriptor);
    }
    for (cs, fine) in [
        (0x13, true),
        (0x23, true),
        (0x2b, false),
        (0x33, false),
        (0x43, false),
        (0x17, false),
    ] {
        seat.regs = Regs {
            cs,
            rax: 0,
            ..kernel_regs()
        };
        assert_eq!(run(&mut seat, CPUID), fine, "{cs:#x}");
    }
}
