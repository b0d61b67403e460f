//! Test domains of 32-bit guests: the same frames as the 64-bit ones, seen by three levels of tables.
//!
//! ```text
//!   RAM (frames)     1 L3  2 L2 of slot 3  4 its L1  6 L2 of slot 0  8 its L1  10 GDT   16..32 kernel stack
//!   kernel linear    KERNEL32 + frame * 4096        user linear   USER .. USER + 16 pages
//! ```

use super::layout::*;
use super::{Memory, Seat, World};
use crate::regs::{flags, Regs};
use crate::time::NEVER;
use crate::vcpu::{Callback, Trap};
use noxen_monitor_abi::info::FLAG_BITS32;
use noxen_monitor_abi::layout::compat;
use noxen_pv_abi::Hypercall;

/// First kernel address: frame 0.
pub const KERNEL32: u64 = 0xc000_0000;
/// Top of the kernel stack.
pub const STACK32: u64 = KERNEL32 + 32 * 4096;
/// Scratch memory for arguments.
pub const ARGS32: u64 = STACK32;
/// Event and failsafe callbacks.
pub const EVENT32: u64 = KERNEL32 + 0x30_0000;
/// Failsafe callback.
pub const FAILSAFE32: u64 = KERNEL32 + 0x30_0010;
/// Machine address of the vCPUs' L4 and scratch pages.
pub const COMPAT: u64 = REGION + REGION_SIZE;
/// Ring-1 code in the guest's own GDT, at base 0.
pub const OWN_CS: u16 = 0x11;
/// Ring-1 data in the guest's own GDT, whose segment starts at [`BASED`].
pub const BASED_DS: u16 = 0x19;
/// Where that segment starts.
pub const BASED: u64 = 0x1000_0000;

/// Null, none, ring-1 code, ring-1 data at `BASED`, ring-3 code, ring-3 data.
const GDT32: [u64; 8] = [
    0,
    0,
    0x00cf_bb00_0000_ffff,
    0x10cf_b300_0000_ffff,
    0x00cf_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0,
    0,
];

/// Handler address that [`World::running32`] registers.
pub fn handler32(vector: u8) -> u64 {
    KERNEL32 + 0x20_0000 + u64::from(vector) * 16
}

impl World {
    /// A domain of a 32-bit guest, booted as far as the domain builder goes.
    pub fn bits32(vcpus: u32) -> World {
        let world = World::with(vcpus, |info| {
            info.flags = FLAG_BITS32;
            info.compat_gpa = COMPAT;
            info.region_size += (u64::from(vcpus) * compat::PAGES_PER_VCPU) << 12;
            info.start_rip = KERNEL32 + 0x10_0000;
            info.start_rsp = STACK32;
            info.start_rsi = KERNEL32 + 0x9000;
            info.start_cr3 = L4 << 12;
        });
        page_tables(&world.memory);
        for frame in 0..MAX_PAGES {
            let pfn = if frame < BOOT_PAGES { frame as u32 } else { !0 };
            let at = world.dom.info.m2p_gpa + frame * 4;
            world.memory.put(at, &pfn.to_le_bytes());
        }
        for (index, descriptor) in GDT32.into_iter().enumerate() {
            let at = (GDT_FRAME << 12) + index as u64 * 8;
            world.memory.set_u64(at, descriptor);
        }
        world
    }

    /// vCPU 0 in the middle of its life: handlers for all traps, callbacks, events unmasked.
    pub fn running32(&self) -> Seat {
        let mut seat = self.boot();
        for (vector, trap) in seat.v.traps.iter_mut().enumerate() {
            *trap = Trap {
                address: handler32(vector as u8),
                flags: if matches!(vector, 3 | 4 | 0x80) { 3 } else { 0 },
                cs: compat::KERNEL_CS,
            };
        }
        seat.v.callbacks.event = Callback {
            address: EVENT32,
            cs: OWN_CS,
            mask: true,
        };
        seat.v.callbacks.failsafe = Callback {
            address: FAILSAFE32,
            cs: compat::KERNEL_CS,
            mask: false,
        };
        seat.v.gdt[0] = GDT_FRAME;
        seat.v.timers.period = 0;
        seat.v.timers.periodic = NEVER;
        seat.v.timers.armed = NEVER;
        seat.regs = kernel_regs32();
        seat.m.state().deadline = 0;
        seat.cpu().mask_events(false);
        seat.m.take_effects();
        seat
    }

    /// Bytes that the guest kernel sees at `va`.
    pub fn get32(&self, va: u64, len: usize) -> Vec<u8> {
        self.memory.get(va - KERNEL32, len)
    }

    /// Words there.
    pub fn words32(&self, va: u64, count: usize) -> Vec<u32> {
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four"));
        self.get32(va, count * 4).chunks(4).map(word).collect()
    }

    /// Puts words there.
    pub fn put32(&self, va: u64, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.memory.put(va - KERNEL32, &bytes);
    }

    /// Puts bytes there.
    pub fn put_bytes32(&self, va: u64, bytes: &[u8]) {
        self.memory.put(va - KERNEL32, bytes);
    }

    /// Entry of a 32-bit M2P.
    pub fn m2p32(&self, mfn: u64) -> u32 {
        let bytes = self.memory.get(self.dom.info.m2p_gpa + mfn * 4, 4);
        u32::from_le_bytes(bytes.try_into().expect("four"))
    }
}

impl Seat {
    /// `int 0x82` by the guest kernel; the answer is EAX. The other registers are put back.
    pub fn hypercall32(&mut self, number: Hypercall, args: &[u64]) -> i32 {
        let before = self.regs;
        let mut six = [0u64; 6];
        six[..args.len()].copy_from_slice(args);
        let [rbx, rcx, rdx, rsi, rdi, rbp] = six;
        self.regs = Regs {
            rax: u64::from(number.0),
            rbx,
            rcx,
            rdx,
            rsi,
            rdi,
            rbp,
            ..before
        };
        self.enter(u64::from(compat::HYPERCALL_VECTOR), 0, 0);
        assert_eq!(self.regs.rax >> 32, 0, "the answer has 32 bits");
        let answer = self.regs.rax as u32 as i32;
        self.regs = before;
        answer
    }

    /// The guest's kernel went to ring 3 with a plain IRET.
    pub fn go_user32(&mut self, eip: u64) {
        self.regs = Regs {
            rip: eip,
            rsp: USER + 0x8000,
            cs: u64::from(compat::USER_CS),
            ss: u64::from(compat::USER_DS),
            rflags: flags::IF | 2,
            ..Regs::default()
        };
    }
}

/// Registers of a guest kernel somewhere in its code.
pub fn kernel_regs32() -> Regs {
    Regs {
        rip: KERNEL32 + 0x11_0000,
        rsp: STACK32 - 0x100,
        cs: u64::from(compat::KERNEL_CS),
        ss: u64::from(compat::KERNEL_DS),
        rflags: flags::IF | 2,
        ..Regs::default()
    }
}

/// As a PAE guest has them: L3 entries with P alone, kernel pages without U, tables read-only.
fn page_tables(memory: &Memory) {
    for table in [1u64, 2, 3, 4, 5, 6, 7, 8] {
        for index in 0..512 {
            memory.set_u64((table << 12) + index * 8, 0);
        }
    }
    let entry =
        |table: u64, index: u64, value: u64| memory.set_u64((table << 12) + index * 8, value);
    entry(1, KERNEL32 >> 30, 2 << 12 | 1);
    entry(2, KERNEL32 >> 21 & 511, 4 << 12 | 0x63);
    for mfn in 0..BOOT_PAGES {
        let writable = if (1..9).contains(&mfn) { 0 } else { 2 };
        entry(4, mfn, mfn << 12 | 0x21 | writable);
    }
    entry(1, USER >> 30, 6 << 12 | 1);
    entry(6, USER >> 21 & 511, 8 << 12 | 0x67);
    for page in 0..USER_PAGES {
        let at = ((USER >> 12) + page) & 511;
        entry(8, at, (USER_FRAME + page) << 12 | 0x27);
    }
}
