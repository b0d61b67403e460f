//! A guest that does anything: no panic, no endless loop, nothing of the monitor's own written.

use crate::mock::*;
use crate::regs::{entry, Regs};
use core::sync::atomic::Ordering;
use noxen_pv_abi::Hypercall;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Numbers worth trying.
trait Value {
    /// A number that is likely to hit something.
    fn value(&mut self) -> u64;
}

impl Value for Dice {
    fn value(&mut self) -> u64 {
        match self.below(14) {
            0 => 0,
            1 => self.below(16),
            2 => self.below(600),
            3 => ARGS + self.below(32) * 128,
            4 => ARGS + self.below(0x4000),
            5 => UNMAPPED - self.below(128),
            6 => HOLE + self.below(1 << 30),
            7 => (self.below(MAX_PAGES + 4) << 12) + self.below(512) * 8 + self.below(4),
            8 => KERNEL + (self.below(BOOT_PAGES + 2) << 12) + self.below(4096),
            9 => 0x7ff0,
            10 => REGION + (self.below(180) << 12),
            11 => !self.below(16),
            12 => 1 << self.below(64),
            _ => self.next(),
        }
    }
}

/// Hypercalls worth more than one try in 64.
const LIKELY: [u32; 16] = [1, 2, 3, 10, 12, 12, 13, 14, 20, 24, 24, 26, 29, 30, 32, 32];

/// Pages of the region that no hypercall may change: CPUID, the monitor's L4, the zero page, grants, unused ones.
fn guarded(world: &World) -> Vec<u8> {
    let pages = [
        0u64, 1, 2, 4, 5, 6, 7, 8, 12, 13, 14, 15, 82, 90, 95, 161, 170, 175,
    ];
    pages
        .into_iter()
        .flat_map(|page| world.memory.get(REGION + (page << 12), 4096))
        .collect()
}

/// Puts the vCPU back into a state from which it can go on (a guest that crashed or left its page table).
fn revive(world: &World, seat: &mut Seat) {
    use crate::machine::Machine;
    seat.v.kernel_mode = true;
    seat.v.kernel_cr3 = L4 << 12;
    seat.m.set_cr3(L4 << 12);
    seat.regs = kernel_regs();
    seat.m.take_effects();
    // Interrupts for whatever it decides to wait for.
    for _ in 0..4 {
        let base = world.dom.info.doorbell_gpa;
        let dom = world.dom.clone();
        world.while_halted(move |m| {
            m.memory.set_u64(base, !0);
            m.memory.set_u64(base + 64, !0);
            let info = dom.vcpus[0].vcpu_info.load(Ordering::SeqCst);
            m.memory.put(info, &[1, 0]);
            dom.vcpus[0].up.store(true, Ordering::SeqCst);
            dom.vcpus[0].attention.fetch_or(!0, Ordering::SeqCst);
        });
    }
}

/// Restores the page tables and scratch memory that the guest shot to pieces.
fn rebuild(world: &World, fresh: &World) {
    for frame in 0..12u64 {
        for word in 0..512 {
            let at = (frame << 12) + word * 8;
            world.memory.set_u64(at, fresh.memory.u64(at));
        }
    }
}

/// Answers which hypercalls ever succeeded.
fn run(seed: u64, rounds: u32) -> BTreeSet<u32> {
    let world = World::new(2);
    let fresh = World::new(2);
    let mut seat = world.running();
    let before = guarded(&world);
    let mut dice = Dice(seed);
    let mut succeeded = BTreeSet::new();
    for round in 0..rounds {
        if round % 16 == 0 {
            rebuild(&world, &fresh);
        }
        revive(&world, &mut seat);
        for _ in 0..dice.below(40) {
            let (at, value) = (ARGS + dice.below(0x800) * 8, dice.value());
            seat.put(at, &value.to_le_bytes());
        }
        let number = match dice.below(3) {
            0 => dice.below(70) as u32,
            _ => LIKELY[dice.below(16) as usize],
        };
        let args: Vec<u64> = (0..6)
            .map(|i| match i {
                0 if number == 33 => 6 + dice.below(3),
                0 if matches!(number, 18 | 21 | 28) => dice.below(3),
                0 if matches!(number, 12 | 20 | 24 | 29 | 30 | 32) => dice.below(32),
                // Lists of any length end at unmapped memory; keep the whole run short.
                1 if matches!(number, 1 | 13 | 26) => dice.below(200),
                1 if number == 18 => dice.below(20_000),
                1 if number == 21 => dice.below(8),
                2 if number == 20 => dice.below(200),
                2 if matches!(number, 1 | 26) => [0, ARGS, dice.value()][dice.below(3) as usize],
                3 if matches!(number, 1 | 26) => {
                    [0x7ff0, 0x7ff0, dice.value()][dice.below(3) as usize]
                }
                _ => dice.value(),
            })
            .collect();
        let started = Instant::now();
        if seat.hypercall(Hypercall(number), &args) >= 0 {
            succeeded.insert(number);
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "seed {seed} round {round}: hypercall {number} {args:x?}"
        );
    }
    assert!(
        guarded(&world) == before,
        "seed {seed}: the monitor's own pages were written"
    );
    succeeded
}

#[test]
fn random_hypercalls_do_no_harm() {
    let mut succeeded = BTreeSet::new();
    for seed in 1..=4 {
        succeeded.extend(run(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed), 2500));
    }
    // The dice are good enough to get past the checks of nearly every family.
    let expected = [
        0, 1, 2, 3, 4, 5, 8, 9, 10, 12, 13, 14, 15, 17, 18, 20, 21, 24, 25, 26, 28, 29, 30, 32, 33,
    ];
    let missed: Vec<_> = expected
        .iter()
        .filter(|number| !succeeded.contains(number))
        .collect();
    assert!(missed.is_empty(), "never succeeded: {missed:?}");
}

#[test]
fn random_entries_do_no_harm() {
    let world = World::new(1);
    let fresh = World::new(1);
    let mut seat = world.running();
    let before = guarded(&world);
    let mut dice = Dice(0xdead_beef_cafe_f00d);
    for round in 0..20_000 {
        if round % 16 == 0 {
            rebuild(&world, &fresh);
        }
        revive(&world, &mut seat);
        let code: Vec<u8> = (0..16).map(|_| dice.next() as u8).collect();
        seat.put(USER, &code);
        if dice.below(2) == 0 {
            seat.put(USER, &[0x0f]);
        }
        if dice.below(3) == 0 {
            seat.cpu().to_user();
        }
        (seat.v.kernel_sp, seat.v.ldt_entries, seat.v.ldt_base) =
            (dice.value(), dice.below(8193) as u32, dice.value());
        seat.v.iopl = dice.below(4) as u8;
        let mut values = || dice.value();
        seat.regs = Regs {
            rip: USER,
            rax: values(),
            rcx: values(),
            rdx: values(),
            rsi: values(),
            rdi: values(),
            rsp: values(),
            rflags: values() & 0x27_7fd7 | 0x202,
            ..seat.regs
        };
        let vector = match dice.below(8) {
            0 => entry::SYSCALL + dice.below(3),
            1 => dice.below(256),
            2 => 14,
            3 => 6,
            _ => 13,
        };
        let (error, cr2) = if dice.below(2) == 0 {
            (0, dice.value())
        } else {
            (dice.value() & 0xffff, dice.value())
        };
        // Sub-operations that wait for another vCPU have no other vCPU here.
        seat.enter(vector, error, cr2);
        if vector == 2 {
            (seat.v.nmi_active, seat.v.nmi_pending) = (false, false);
        }
    }
    assert!(
        guarded(&world) == before,
        "the monitor's own pages were written"
    );
}

#[test]
fn lists_of_maximal_length_end() {
    let world = World::new(1);
    let mut seat = world.running();
    let started = Instant::now();
    for (number, args) in [
        (Hypercall::MMU_UPDATE, [ARGS, 0x7fff_ffff, 0, 0x7ff0]),
        (Hypercall::MMUEXT_OP, [ARGS, 0x7fff_ffff, 0, 0x7ff0]),
        (Hypercall::MULTICALL, [ARGS, 0xffff_ffff, 0, 0]),
        (Hypercall::GRANT_TABLE_OP, [0, ARGS, 0x7fff_ffff, 0]),
        (Hypercall::CONSOLE_IO, [0, 0xffff_ffff, ARGS, 0]),
        (Hypercall::SET_TRAP_TABLE, [ARGS, 0, 0, 0]),
    ] {
        seat.put(ARGS, &[0; 4096]);
        seat.hypercall(number, &args);
    }
    assert!(started.elapsed() < Duration::from_secs(120));
}
