//! Test domains: memory with page tables, a domain, vCPUs that make hypercalls and take traps.

use super::layout::*;
use super::{Bus, Effect, Memory, Mock};
use crate::cpu::{info as vcpu_info, Cpu};
use crate::domain::{place, Domain};
use crate::machine::Machine;
use crate::regs::{entry, flags, Regs};
use crate::vcpu::{Callback, Trap, Vcpu};
use core::sync::atomic::Ordering;
use noxen_monitor_abi::layout::{selector, FIRST_SLOT, NR_SLOTS};
use noxen_monitor_abi::{CpuidEntry, MonInfo};
use noxen_pv_abi::Hypercall;
use std::sync::Arc;

/// A domain under test.
pub struct World {
    /// Memory.
    pub memory: Arc<Memory>,
    /// Shared state.
    pub dom: Arc<Domain>,
    /// Clock and interrupts.
    pub bus: Arc<Bus>,
}

/// A vCPU under test: its processor, private state and registers.
pub struct Seat {
    /// Processor.
    pub m: Mock,
    /// Private state.
    pub v: Box<Vcpu>,
    /// Guest registers.
    pub regs: Regs,
}

/// Handler addresses that the builder registers.
pub fn handler(vector: u8) -> u64 {
    KERNEL + 0x20_0000 + u64::from(vector) * 16
}

/// Event, failsafe, syscall, syscall32 and sysenter callbacks.
pub const EVENT: u64 = KERNEL + 0x30_0000;
/// Failsafe callback.
pub const FAILSAFE: u64 = KERNEL + 0x30_0010;
/// 64-bit system calls.
pub const SYSCALL: u64 = KERNEL + 0x30_0020;
/// 32-bit system calls.
pub const SYSCALL32: u64 = KERNEL + 0x30_0030;
/// SYSENTER.
pub const SYSENTER: u64 = KERNEL + 0x30_0040;

impl World {
    /// A domain with `vcpus` vCPUs, booted as far as the domain builder goes.
    pub fn new(vcpus: u32) -> World {
        World::with(vcpus, |_| {})
    }

    /// The same after a change of its `MonInfo`.
    pub fn with(vcpus: u32, change: impl FnOnce(&mut MonInfo)) -> World {
        let mut info = info();
        info.nr_vcpus = vcpus;
        let rows = cpuid_rows();
        info.nr_cpuid = rows.len() as u32;
        change(&mut info);
        let memory = Arc::new(Memory::new(MAX_PAGES << 12, REGION, info.region_size));
        for (i, row) in rows.iter().enumerate() {
            let words = [
                row.leaf,
                row.subleaf,
                row.indexed,
                row.eax,
                row.ebx,
                row.ecx,
                row.edx,
            ];
            for (j, word) in words.into_iter().enumerate() {
                memory.put(
                    info.cpuid_gpa + (i * 28 + j * 4) as u64,
                    &word.to_le_bytes(),
                );
            }
        }
        page_tables(&memory);
        for (index, descriptor) in GDT.into_iter().enumerate() {
            memory.set_u64((GDT_FRAME << 12) + index as u64 * 8, descriptor);
        }
        for mfn in 0..MAX_PAGES {
            let pfn = if mfn < BOOT_PAGES { mfn } else { !0 };
            memory.set_u64(info.m2p_gpa + mfn * 8, pfn);
        }
        for vcpu in 0..u64::from(vcpus) {
            memory.put(info.shared_info_gpa + vcpu * 64 + vcpu_info::MASK, &[1]);
        }
        let mut dom = Domain::new(info);
        dom.start(info, slots());
        World {
            memory,
            dom: Arc::new(dom),
            bus: Arc::new(Bus::new(vcpus)),
        }
    }

    /// vCPU 0 at the guest's entry point.
    pub fn boot(&self) -> Seat {
        let mut seat = self.seat(0);
        let first = seat.cpu().first_entry();
        seat.regs = first;
        seat.m.take_effects();
        seat
    }

    /// vCPU 0 in the middle of its life: handlers for all traps, callbacks, user page table, events unmasked.
    pub fn running(&self) -> Seat {
        let mut seat = self.boot();
        seat.equip();
        seat
    }

    /// A vCPU that is up and in its kernel, without having gone through VCPUOP_initialise.
    pub fn running_vcpu(&self, id: u32) -> Seat {
        if id == 0 {
            return self.running();
        }
        let mut seat = self.seat(id);
        let shared = &self.dom.vcpus[id as usize];
        shared.initialised.store(true, Ordering::SeqCst);
        shared.up.store(true, Ordering::SeqCst);
        shared.place.store(place::RUNNING, Ordering::SeqCst);
        seat.v.vcpu_info = shared.vcpu_info.load(Ordering::SeqCst);
        seat.v.kernel_cr3 = L4 << 12;
        seat.m.set_cr3(L4 << 12);
        seat.regs = kernel_regs();
        seat.equip();
        seat
    }

    /// A vCPU that has never run.
    pub fn seat(&self, id: u32) -> Seat {
        let m = Mock::new(id, self.memory.clone(), self.dom.clone(), self.bus.clone());
        m.set_cr3(self.dom.info.l4_gpa);
        Seat {
            m,
            v: Box::new(Vcpu::new(id)),
            regs: Regs::default(),
        }
    }

    /// Sets system time.
    pub fn set_time(&self, ns: u64) {
        self.bus.tsc.store(ns * 2, Ordering::SeqCst);
    }

    /// What the next halt is interrupted by.
    pub fn while_halted(&self, event: impl FnOnce(&Mock) + Send + 'static) {
        self.bus
            .while_halted
            .lock()
            .expect("lock")
            .push_back(Box::new(event));
    }

    /// A byte of a vCPU's legacy vcpu_info.
    pub fn info_byte(&self, vcpu: u32, offset: u64) -> u8 {
        let at = self.dom.vcpus[vcpu as usize]
            .vcpu_info
            .load(Ordering::SeqCst);
        self.memory.get(at + offset, 1)[0]
    }

    /// Writes a byte there.
    pub fn set_info_byte(&self, vcpu: u32, offset: u64, value: u8) {
        let at = self.dom.vcpus[vcpu as usize]
            .vcpu_info
            .load(Ordering::SeqCst);
        self.memory.put(at + offset, &[value]);
    }

    /// M2P entry.
    pub fn m2p(&self, mfn: u64) -> u64 {
        self.memory.u64(self.dom.info.m2p_gpa + mfn * 8)
    }

    /// A word of a vCPU's counter page.
    pub fn counter(&self, vcpu: u32, word: usize) -> u64 {
        self.memory
            .u64(self.dom.info.counters_gpa + u64::from(vcpu) * 4096 + word as u64 * 8)
    }
}

impl Seat {
    /// The vCPU at work.
    pub fn cpu(&mut self) -> Cpu<'_, Mock> {
        Cpu {
            m: &self.m,
            dom: &self.m.dom,
            v: &mut self.v,
        }
    }

    /// Trap handlers, callbacks, user page table, events on.
    fn equip(&mut self) {
        for (vector, trap) in self.v.traps.iter_mut().enumerate() {
            let flags = if matches!(vector, 3 | 4 | 0x80) { 3 } else { 0 };
            *trap = Trap {
                address: handler(vector as u8),
                flags,
                cs: selector::GUEST_CS,
            };
        }
        self.v.callbacks.event = Callback {
            address: EVENT,
            cs: 0,
            mask: true,
        };
        self.v.callbacks.failsafe = Callback {
            address: FAILSAFE,
            cs: 0,
            mask: false,
        };
        self.v.callbacks.syscall = Callback {
            address: SYSCALL,
            cs: 0,
            mask: true,
        };
        self.v.callbacks.syscall32 = Callback {
            address: SYSCALL32,
            cs: 0,
            mask: true,
        };
        self.v.callbacks.sysenter = Callback {
            address: SYSENTER,
            cs: 0,
            mask: true,
        };
        self.v.user_cr3 = USER_L4 << 12;
        self.v.gdt[0] = GDT_FRAME;
        self.v.kernel_sp = STACK;
        self.v.kernel_ss = u64::from(selector::GUEST_SS);
        self.v.timers.period = 0;
        self.v.timers.periodic = crate::time::NEVER;
        self.v.timers.armed = crate::time::NEVER;
        self.regs = kernel_regs();
        self.m.state().deadline = 0;
        self.cpu().mask_events(false);
        self.m.take_effects();
    }

    /// The guest kernel makes a hypercall; the answer is RAX. The other registers are put back, so that
    /// tests can make one after the other even if an event was delivered on the way out.
    pub fn hypercall(&mut self, number: Hypercall, args: &[u64]) -> i64 {
        let before = self.regs;
        let mut six = [0u64; 6];
        six[..args.len()].copy_from_slice(args);
        let [rdi, rsi, rdx, r10, r8, r9] = six;
        self.regs = Regs {
            rax: u64::from(number.0),
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            vector: entry::SYSCALL,
            ..before
        };
        let mut regs = self.regs;
        self.cpu().hypercall(&mut regs);
        let answer = regs.rax as i64;
        self.regs = before;
        answer
    }

    /// A hypercall whose last argument points to `bytes`, at [`ARGS`].
    pub fn hypercall_with(&mut self, number: Hypercall, cmd: u64, bytes: &[u8]) -> i64 {
        self.put(ARGS, bytes);
        self.hypercall(number, &[cmd, ARGS])
    }

    /// An entry with `vector`; registers are what the guest goes on with.
    pub fn enter(&mut self, vector: u64, error: u64, cr2: u64) {
        let mut regs = Regs {
            vector,
            error,
            ..self.regs
        };
        self.cpu().on_entry(&mut regs, cr2);
        self.regs = regs;
    }

    /// Goes to user mode, at `rip`.
    pub fn go_user(&mut self, rip: u64) {
        assert!(self.cpu().to_user(), "a user page table");
        self.regs = Regs {
            rip,
            rsp: USER + 0x8000,
            cs: 0x33,
            ss: 0x2b,
            rflags: flags::IF | 2,
            ..Regs::default()
        };
    }

    /// Stores bytes at a linear address of the guest kernel, rights disregarded.
    pub fn put(&self, va: u64, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            self.m
                .memory
                .put(self.kernel_maddr(va + i as u64), &[*byte]);
        }
    }

    /// Reads bytes from there.
    pub fn get(&self, va: u64, len: usize) -> Vec<u8> {
        (0..len as u64)
            .flat_map(|i| self.m.memory.get(self.kernel_maddr(va + i), 1))
            .collect()
    }

    /// Reads a u64 from there.
    pub fn get_u64(&self, va: u64) -> u64 {
        u64::from_le_bytes(self.get(va, 8).try_into().expect("8 bytes"))
    }

    /// Reads a u32 from there.
    pub fn get_u32(&self, va: u64) -> u32 {
        u32::from_le_bytes(self.get(va, 4).try_into().expect("4 bytes"))
    }

    /// Reads `count` words from there.
    pub fn words(&self, va: u64, count: usize) -> Vec<u64> {
        (0..count as u64)
            .map(|i| self.get_u64(va + i * 8))
            .collect()
    }

    fn kernel_maddr(&self, va: u64) -> u64 {
        match va.checked_sub(KERNEL) {
            Some(offset) if offset < BOOT_PAGES << 12 => offset,
            _ => ((USER_FRAME << 12) + va)
                .checked_sub(USER)
                .expect("an address of the test domain"),
        }
    }

    /// Calls to noxen-vmm with this number among the effects so far, which are taken.
    pub fn calls(&self, nr: u32) -> Vec<(Vec<u64>, Vec<u8>)> {
        self.m
            .take_effects()
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Call(seen, args, data) if seen == nr => Some((args, data)),
                _ => None,
            })
            .collect()
    }
}

/// Linux's: null, kernel 32-bit code, kernel code 0x10, kernel data 0x18, user 32-bit code 0x23, user data 0x2b,
/// user code 0x33, none; DPL 3 where the monitor has put it.
const GDT: [u64; 8] = [
    0,
    0x00cf_fb00_0000_ffff,
    0x00af_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00cf_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
    0,
];

/// Registers of a guest kernel somewhere in its code.
pub fn kernel_regs() -> Regs {
    Regs {
        rip: KERNEL + 0x11_0000,
        rsp: STACK - 0x100,
        cs: u64::from(selector::GUEST_CS),
        ss: u64::from(selector::GUEST_SS),
        rflags: flags::IF | 2,
        ..Regs::default()
    }
}

/// The monitor's L4 entries: recognisable values.
pub fn slots() -> [u64; NR_SLOTS] {
    core::array::from_fn(|i| (REGION + 0x5000 + (i as u64) * 0x1000) | 0x67)
}

/// L1 entries: P, RW, A, US; tables P, RW, A, D, US.
fn page_tables(memory: &Memory) {
    let entry =
        |table: u64, index: u64, value: u64| memory.set_u64((table << 12) + index * 8, value);
    entry(L4, KERNEL >> 39 & 511, 2 << 12 | 0x67);
    entry(2, KERNEL >> 30 & 511, 3 << 12 | 0x67);
    entry(3, KERNEL >> 21 & 511, L1 << 12 | 0x67);
    for mfn in 0..BOOT_PAGES {
        // Page-table pages are read-only for the guest, as the domain builder makes them.
        let writable = if (1..9).contains(&mfn) { 0 } else { 2 };
        entry(L1, mfn, mfn << 12 | 0x25 | writable);
    }
    entry(USER_L4, USER >> 39 & 511, 6 << 12 | 0x67);
    entry(6, USER >> 30 & 511, 7 << 12 | 0x67);
    entry(7, USER >> 21 & 511, 8 << 12 | 0x67);
    for page in 0..USER_PAGES {
        entry(
            8,
            ((USER >> 12) + page) & 511,
            (USER_FRAME + page) << 12 | 0x27,
        );
    }
    // Kernels map user space in their own table too.
    entry(L4, USER >> 39 & 511, 6 << 12 | 0x67);
    for (i, slot) in slots().into_iter().enumerate() {
        entry(L4, (FIRST_SLOT + i) as u64, slot);
    }
}

fn cpuid_rows() -> Vec<CpuidEntry> {
    let row = |leaf, subleaf, indexed, [eax, ebx, ecx, edx]: [u32; 4]| CpuidEntry {
        leaf,
        subleaf,
        indexed,
        eax,
        ebx,
        ecx,
        edx,
    };
    vec![
        row(0, 0, 0, [0xd, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]),
        row(1, 0, 0, [0x306c3, 0x0a10_0800, 1 << 26, 0x178_a3fd]),
        row(0xb, 0, 1, [1, 2, 0x100, 0]),
        row(0xb, 1, 1, [4, 4, 0x201, 0]),
        row(0xd, 0, 1, [7, 999, 2696, 0]),
        row(0xd, 1, 1, [3, 998, 0, 0]),
        row(0xd, 2, 1, [256, 576, 0, 0]),
        row(0xd, 5, 1, [64, 1088, 0, 0]),
        row(0xd, 6, 1, [512, 1152, 2, 0]),
        row(0xd, 7, 1, [1024, 1664, 2, 0]),
        row(
            0x4000_0000,
            0,
            0,
            [0x4000_0005, 0x566e_6558, 0x6558_4d4d, 0x4d4d_566e],
        ),
        row(0x8000_001e, 0, 0, [0, 1, 0, 0]),
    ]
}
