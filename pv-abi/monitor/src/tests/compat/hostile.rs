//! A 32-bit guest that does anything: no panic, no endless loop, nothing of the monitor's own written.

use crate::mock::*;
use crate::regs::Regs;
use noxen_monitor_abi::layout::compat;
use noxen_monitor_abi::pages::call;
use noxen_pv_abi::Hypercall;

#[test]
fn stacks_that_cannot_take_a_frame_end_the_domain() {
    for (ss, esp) in [
        (u64::from(compat::KERNEL_DS), 0x0010_0000),
        (0, STACK32 - 0x100),
        (u64::from(BAD_SELECTOR), STACK32 - 0x100),
        // Wraps around the end of the address space.
        (u64::from(compat::KERNEL_DS), 4),
    ] {
        let world = World::bits32(1);
        let mut seat = world.running32();
        (seat.regs.ss, seat.regs.rsp) = (ss, esp);
        seat.enter(6, 0, 0);
        assert_eq!(seat.calls(call::CRASH).len(), 1, "{ss:#x}:{esp:#x}");
    }
}

#[test]
fn iret_frame_that_cannot_be_read_ends_the_domain() {
    for esp in [
        0u64,
        0x0010_0000,
        0xffff_fff8,
        KERNEL32 + (BOOT_PAGES << 12) - 12,
    ] {
        let world = World::bits32(1);
        let mut seat = world.running32();
        seat.regs.rsp = esp;
        seat.regs.rax = u64::from(Hypercall::IRET.0);
        seat.enter(0x82, 0, 0);
        assert_eq!(seat.calls(call::CRASH).len(), 1, "{esp:#x}");
    }
}

#[test]
fn garbage_in_upper_register_halves_means_nothing() {
    let world = World::bits32(1);
    let mut seat = world.running32();
    let high = 0xdead_beef << 32;
    seat.regs = Regs {
        rax: high | 17,
        rbx: high,
        rcx: high | ARGS32,
        rsp: high | seat.regs.rsp,
        rip: high | seat.regs.rip,
        ..seat.regs
    };
    seat.enter(0x82, 0, 0);
    assert_eq!(seat.regs.rax, 4 << 16 | 17);
}

/// Numbers worth trying.
trait Value {
    /// A number that is likely to hit something.
    fn value(&mut self) -> u64;
}

impl Value for Dice {
    fn value(&mut self) -> u64 {
        match self.below(12) {
            0 => 0,
            1 => self.below(16),
            2 => self.below(600),
            3 | 4 => ARGS32 + self.below(32) * 128,
            5 => KERNEL32 + (BOOT_PAGES << 12) - self.below(128),
            6 => compat::M2P_VA + self.below(1 << 24),
            7 => (self.below(MAX_PAGES + 4) << 12) + self.below(512) * 8 + self.below(4),
            8 => 0x7ff0,
            9 => (REGION + (self.below(180) << 12)) & 0xffff_ffff,
            10 => !self.below(16) & 0xffff_ffff,
            _ => self.next() & 0xffff_ffff,
        }
    }
}

#[test]
fn a_guest_that_does_anything_changes_nothing_of_the_monitors() {
    let mut dice = Dice(0x5eed_0032);
    for _ in 0..40 {
        let world = World::bits32(2);
        let mut seat = world.running32();
        let guarded = |world: &World| {
            let pages = [0u64, 1, 2, 4, 12, 13, 14, 15];
            let mut bytes: Vec<u8> = pages
                .into_iter()
                .flat_map(|page| world.memory.get(REGION + (page << 12), 4096))
                .collect();
            // The other vCPU's L4 and scratch.
            bytes.extend(world.memory.get(COMPAT + (5 << 12), 3 << 12));
            bytes
        };
        let before = guarded(&world);
        for _ in 0..150 {
            for i in 0..64 {
                world.put32(ARGS32 + i * 4, &[dice.value() as u32]);
            }
            let number = dice.below(42) as u32;
            // What waits for somebody else would wait for ever here.
            if [Hypercall::SCHED_OP, Hypercall::SCHED_OP_COMPAT].contains(&Hypercall(number)) {
                continue;
            }
            if Hypercall(number) == Hypercall::MULTICALL || Hypercall(number) == Hypercall::IRET {
                continue;
            }
            let count = |dice: &mut Dice| dice.below(4);
            let mut args: Vec<u64> = (0..6).map(|_| dice.value()).collect();
            match Hypercall(number) {
                // cmd, list, count and list, count, done, domain: short lists of ours.
                Hypercall::GRANT_TABLE_OP => args[2] = count(&mut dice),
                Hypercall::MMU_UPDATE | Hypercall::MMUEXT_OP => {
                    (args[0], args[1], args[3]) = (ARGS32, count(&mut dice), 0x7ff0);
                }
                Hypercall::VCPU_OP => args[1] = 0,
                Hypercall::CONSOLE_IO => args[1] = count(&mut dice),
                _ => {}
            }
            seat.hypercall32(Hypercall(number), &args);
            // Back to where it can go on.
            seat.regs = kernel_regs32();
            seat.v.kernel_mode = true;
            seat.v.timers.periodic = crate::time::NEVER;
            world.memory.set_u64(COMPAT, 1 << 12 | 0x67);
        }
        assert!(guarded(&world) == before);
    }
}
