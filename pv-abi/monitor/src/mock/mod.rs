//! A machine made of a `Vec`: the core's processor in unit tests.
//!
//! ```text
//!   World: Memory, Domain, Bus (IPIs, clock, halted vCPUs)      layout, info: where everything lies
//!     `-- Seat: a vCPU's Mock (registers, effects), Vcpu, Regs    tests read "given, when, then"
//! ```
//! Page tables are walked by code of its own, so that the core's walker is tested too. What the processor
//! is told is kept as a list of [`Effect`]s.

mod dice;
mod layout;
mod memory;
mod world;
mod world32;

pub use dice::Dice;
pub use layout::{info, *};
pub use memory::Memory;
pub use world::*;
pub use world32::*;

use crate::domain::Domain;
use crate::exit::note_interrupt;
use crate::machine::{Base, Fault, Machine};
use crate::pagetable::{fault, Healed, Tables};
use crate::vcpu::Vcpu;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicU8, Ordering};
use noxen_monitor_abi::layout::vector;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Something the core told the processor or noxen-vmm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `call(nr, args, data)`.
    Call(u32, Vec<u64>, Vec<u8>),
    /// Notify port.
    Notify(u32),
    /// IPI to a vCPU.
    Ipi(u32),
    /// TSC deadline.
    Deadline(u64),
    /// Period of the local APIC's ticks, ns; 0: ended.
    Ticking(u64),
    /// The host was left a vCPU's flush.
    FlushLeft(u32),
    /// CR3 was loaded.
    Cr3(u64),
    /// One page was invalidated.
    Invlpg(u64),
    /// GDT window page.
    GdtPage(usize, u64),
    /// GDTR was reloaded.
    ReloadGdt,
    /// LDTR.
    Ldt(u32),
    /// LDT window page.
    LdtPage(usize, Option<u64>),
    /// Software-interrupt gate.
    SoftGate(u8, bool),
    /// User GS selector was loaded.
    UserGs(u16),
    /// Data segments were nulled.
    NullSegments,
    /// Data segments were loaded.
    Segments([u16; 4]),
    /// The vCPU halted.
    Halt,
    /// A halted vCPU was woken and got the processor.
    Rouse(u32),
    /// It gave way to another.
    Yield(u32),
    /// Caches were written back.
    Wbinvd,
}

/// Registers and effects of one processor.
#[derive(Default)]
pub struct State {
    /// CR3.
    pub cr3: u64,
    /// FS, GS of the present mode, GS of the other.
    pub bases: [u64; 3],
    /// DR0-7.
    pub dr: [u64; 8],
    /// CR0.TS.
    pub ts: bool,
    /// CR4.
    pub cr4: u64,
    /// XCR0.
    pub xcr0: u64,
    /// TSC_AUX.
    pub tsc_aux: u32,
    /// Armed TSC deadline; 0: none.
    pub deadline: u64,
    /// What it was told.
    pub effects: Vec<Effect>,
}

/// How long a turn of a poll takes, in cycles.
const TURN: u64 = 200;

/// What happens during a halt or in a turn of a poll.
type Event = Box<dyn FnOnce(&Mock) + Send>;

/// What the vCPUs of a world share besides memory.
pub struct Bus {
    /// Time-stamp counter.
    pub tsc: AtomicU64,
    /// What interrupts the next halts, in order.
    pub while_halted: Mutex<VecDeque<Event>>,
    /// What happens while a vCPU runs that was roused, in order.
    while_roused: Mutex<VecDeque<Event>>,
    /// What happens in the next turns of polls, in order.
    pub while_polling: Mutex<VecDeque<Event>>,
    /// What happens between two of a vCPU's looks at the world: its number, the looks that are left before, the event.
    between: Mutex<Option<(u32, u64, Event)>>,
    /// IPIs that were not taken yet, per vCPU.
    ipis: Mutex<Vec<u32>>,
    arrived: Condvar,
    /// vCPUs (a bit each) whose flushes the host does.
    pub preempted: AtomicU64,
    /// Nanoseconds that the host took from each vCPU.
    pub stolen: AtomicU64,
    /// The host can wake a vCPU and give it the processor in one.
    pub host_rouses: AtomicBool,
    /// vCPUs that have not run yet.
    pub fresh: Vec<Mutex<Vcpu>>,
    /// What noxen-vmm answers to calls.
    pub answer: AtomicI64,
    /// Turns of wait loops: a test that waits for ever ends.
    turns: AtomicU64,
}

/// One vCPU's processor.
pub struct Mock {
    /// Which vCPU.
    pub id: u32,
    /// Memory.
    pub memory: Arc<Memory>,
    /// The domain (only what "hardware" needs: interrupts note themselves in it).
    pub dom: Arc<Domain>,
    /// The others.
    pub bus: Arc<Bus>,
    state: Mutex<State>,
}

impl Bus {
    fn new(vcpus: u32) -> Bus {
        Bus {
            tsc: AtomicU64::new(1_000_000),
            while_halted: Mutex::new(VecDeque::new()),
            while_polling: Mutex::new(VecDeque::new()),
            while_roused: Mutex::new(VecDeque::new()),
            between: Mutex::new(None),
            ipis: Mutex::new(vec![0; vcpus as usize]),
            stolen: AtomicU64::new(0),
            preempted: AtomicU64::new(0),
            host_rouses: AtomicBool::new(true),
            arrived: Condvar::new(),
            fresh: (0..vcpus).map(|id| Mutex::new(Vcpu::new(id))).collect(),
            answer: AtomicI64::new(0),
            turns: AtomicU64::new(0),
        }
    }

    /// Has `event` happen before look `number` of a vCPU at bytes, the clock or another vCPU, and before it pauses or halts.
    pub fn before_look(&self, vcpu: u32, number: u64, event: impl FnOnce(&Mock) + Send + 'static) {
        *self.between.lock().expect("lock") = Some((vcpu, number, Box::new(event)));
    }

    /// What happens while the next vCPU runs that is roused.
    pub fn while_roused(&self, event: impl FnOnce(&Mock) + Send + 'static) {
        let mut events = self.while_roused.lock().expect("lock");
        events.push_back(Box::new(event));
    }

    /// True when it has not happened, which it then will not.
    pub fn never_looked(&self) -> bool {
        self.between.lock().expect("lock").take().is_some()
    }

    /// Waits until an IPI for `id` arrives and takes it; false after `limit`.
    pub fn take_ipi(&self, id: u32, limit: Duration) -> bool {
        let waiting = self.ipis.lock().expect("lock");
        let (mut waiting, out) = self
            .arrived
            .wait_timeout_while(waiting, limit, |ipis| ipis[id as usize] == 0)
            .expect("lock");
        if out.timed_out() {
            return false;
        }
        waiting[id as usize] -= 1;
        true
    }
}

impl Mock {
    fn new(id: u32, memory: Arc<Memory>, dom: Arc<Domain>, bus: Arc<Bus>) -> Mock {
        let state = State {
            cr4: CR4,
            xcr0: 1,
            ..State::default()
        };
        Mock {
            id,
            memory,
            dom,
            bus,
            state: Mutex::new(state),
        }
    }

    /// Registers and effects.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("lock")
    }

    /// Effects since the last call.
    pub fn take_effects(&self) -> Vec<Effect> {
        core::mem::take(&mut self.state().effects)
    }

    /// One look of the vCPU at the world.
    fn look(&self) {
        let mut between = self.bus.between.lock().expect("lock");
        match between.take() {
            Some((vcpu, 0, event)) if vcpu == self.id => {
                drop(between);
                event(self);
            }
            Some((vcpu, left, event)) if vcpu == self.id => {
                *between = Some((vcpu, left - 1, event));
            }
            other => *between = other,
        }
    }

    fn note(&self, effect: Effect) {
        self.state().effects.push(effect);
    }

    /// Machine address and rights (U, RW) of a linear address, by this module's own walk.
    pub fn translate(&self, va: u64) -> Option<(u64, bool, bool)> {
        const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
        let (mut at, mut user, mut writable) = (self.state().cr3 & ADDRESS, true, true);
        for shift in [39, 30, 21, 12] {
            let entry = self
                .memory
                .word(at + (va >> shift & 0x1ff) * 8)?
                .load(Ordering::SeqCst);
            if entry & 1 == 0 {
                return None;
            }
            user &= entry & 4 != 0;
            writable &= entry & 2 != 0;
            let offset_mask = (1u64 << shift) - 1;
            if shift == 12 || (entry & 0x80 != 0 && shift != 39) {
                return Some((
                    entry & ADDRESS & !offset_mask | va & offset_mask,
                    user,
                    writable,
                ));
            }
            at = entry & ADDRESS;
        }
        None
    }

    /// One access by the monitor (ring 0, CR0.WP set): the image's fault handler heals what it can.
    fn access(&self, va: u64, write: bool) -> Result<u64, Fault> {
        for _ in 0..2 {
            let (maddr, _, writable) = self.translate(va).ok_or(Fault)?;
            if !write || writable {
                return Ok(maddr);
            }
            let tables = Tables {
                m: self,
                dom: &self.dom,
            };
            let cr3 = self.state().cr3;
            if tables.heal(cr3, va, fault::P | fault::W) == Healed::No {
                break;
            }
        }
        Err(Fault)
    }
}

/// Canonical for 48 bits.
fn canonical(va: u64) -> bool {
    matches!(va >> 47, 0 | 0x1_ffff)
}

impl Machine for Mock {
    fn byte(&self, maddr: u64) -> Option<&AtomicU8> {
        self.look();
        self.memory.byte(maddr)
    }

    fn word32(&self, maddr: u64) -> Option<&AtomicU32> {
        self.memory.word32(maddr)
    }

    fn word(&self, maddr: u64) -> Option<&AtomicU64> {
        self.memory.word(maddr)
    }

    fn clear_frame(&self, mfn: u64) -> bool {
        (0..512).all(|i| {
            self.memory
                .word((mfn << 12) + i * 8)
                .map(|word| word.store(0, Ordering::SeqCst))
                .is_some()
        })
    }

    fn copy_frame(&self, to: u64, from: u64) -> bool {
        (0..512).all(|i| {
            match (
                self.memory.word((to << 12) + i * 8),
                self.memory.word((from << 12) + i * 8),
            ) {
                (Some(to), Some(from)) => {
                    to.store(from.load(Ordering::SeqCst), Ordering::SeqCst);
                    true
                }
                _ => false,
            }
        })
    }

    fn read_guest(&self, va: u64, buf: &mut [u8]) -> Result<(), Fault> {
        for (i, byte) in buf.iter_mut().enumerate() {
            let at = va
                .checked_add(i as u64)
                .filter(|at| canonical(*at))
                .ok_or(Fault)?;
            *byte = self
                .memory
                .byte(self.access(at, false)?)
                .ok_or(Fault)?
                .load(Ordering::SeqCst);
        }
        Ok(())
    }

    fn write_guest(&self, va: u64, bytes: &[u8]) -> Result<(), Fault> {
        for (i, byte) in bytes.iter().enumerate() {
            let at = va
                .checked_add(i as u64)
                .filter(|at| canonical(*at))
                .ok_or(Fault)?;
            self.memory
                .byte(self.access(at, true)?)
                .ok_or(Fault)?
                .store(*byte, Ordering::SeqCst);
        }
        Ok(())
    }

    fn set_cr3(&self, maddr: u64) {
        self.state().cr3 = maddr;
        self.note(Effect::Cr3(maddr));
    }

    fn cr3(&self) -> u64 {
        self.state().cr3
    }

    fn invlpg(&self, va: u64) {
        self.note(Effect::Invlpg(va));
    }

    fn swap_gs(&self) {
        self.state().bases.swap(1, 2);
    }

    fn base(&self, which: Base) -> u64 {
        self.state().bases[base_index(which)]
    }

    fn set_base(&self, which: Base, value: u64) {
        assert!(
            canonical(value),
            "the core must check: WRMSR of a non-canonical base faults"
        );
        self.state().bases[base_index(which)] = value;
    }

    fn load_user_gs(&self, selector: u16) -> bool {
        self.note(Effect::UserGs(selector));
        selector != BAD_SELECTOR
    }

    fn null_segments(&self) {
        self.note(Effect::NullSegments);
    }

    fn load_segments(&self, ds: u16, es: u16, fs: u16, gs: u16) {
        self.note(Effect::Segments([ds, es, fs, gs]));
    }

    fn tsc(&self) -> u64 {
        self.look();
        self.bus.tsc.load(Ordering::SeqCst)
    }

    fn stolen_ns(&self) -> u64 {
        self.bus.stolen.load(Ordering::SeqCst)
    }

    fn set_deadline(&self, tsc: u64) {
        self.state().deadline = tsc;
        self.note(Effect::Deadline(tsc));
    }

    fn start_ticking(&self, period: u64, _due: u64) {
        self.state().deadline = 0;
        self.note(Effect::Ticking(period));
    }

    fn stop_ticking(&self) {
        self.note(Effect::Ticking(0));
    }

    fn preempted(&self, vcpu: u32) -> Option<bool> {
        self.look();
        Some(self.bus.preempted.load(Ordering::SeqCst) >> vcpu & 1 != 0)
    }

    fn leave_flush(&self, vcpu: u32) -> bool {
        let left = self.preempted(vcpu) == Some(true);
        if left {
            self.note(Effect::FlushLeft(vcpu));
        }
        left
    }

    fn ipi(&self, vcpu: u32) {
        assert!(
            !self.dom.event_lock.is_held_by(self.id),
            "an exit under the event lock makes the other vCPUs spin"
        );
        self.note(Effect::Ipi(vcpu));
        note_interrupt(&self.dom.vcpus[vcpu as usize], vector::IPI);
        self.bus.ipis.lock().expect("lock")[vcpu as usize] += 1;
        self.bus.arrived.notify_all();
    }

    fn rouse(&self, vcpu: u32) -> bool {
        let known = self.bus.host_rouses.load(Ordering::Relaxed);
        if known {
            self.note(Effect::Rouse(vcpu));
            // Ends a halt and is no interrupt.
            self.bus.ipis.lock().expect("lock")[vcpu as usize] += 1;
            self.bus.arrived.notify_all();
            let event = self.bus.while_roused.lock().expect("lock").pop_front();
            if let Some(event) = event {
                event(self);
            }
        }
        known
    }

    fn notify(&self, port: u32) {
        self.note(Effect::Notify(port));
    }

    fn call(&self, nr: u32, args: &[u64], data: &[u8]) -> i64 {
        self.note(Effect::Call(nr, args.to_vec(), data.to_vec()));
        self.bus.answer.load(Ordering::Relaxed)
    }

    fn halt(&self) {
        self.look();
        self.note(Effect::Halt);
        let event = self.bus.while_halted.lock().expect("lock").pop_front();
        if let Some(event) = event {
            event(self);
            return;
        }
        let deadline = core::mem::take(&mut self.state().deadline);
        if deadline != 0 {
            self.bus.tsc.fetch_max(deadline, Ordering::SeqCst);
            note_interrupt(&self.dom.vcpus[self.id as usize], vector::TIMER);
            return;
        }
        assert!(
            self.bus.take_ipi(self.id, Duration::from_secs(60)),
            "vCPU {} halted for ever",
            self.id
        );
    }

    fn relax(&self) {
        assert!(
            self.bus.turns.fetch_add(1, Ordering::Relaxed) < 200_000_000,
            "a wait loop does not end"
        );
        std::thread::yield_now();
    }

    fn breathe(&self) {
        self.look();
        self.bus.tsc.fetch_add(TURN, Ordering::SeqCst);
        // Interrupts are on: those that wait are over.
        self.bus.ipis.lock().expect("lock")[self.id as usize] = 0;
        let event = self.bus.while_polling.lock().expect("lock").pop_front();
        if let Some(event) = event {
            event(self);
        }
        self.relax();
    }

    fn yield_cpu(&self, to: u32) {
        self.note(Effect::Yield(to));
        std::thread::yield_now();
    }

    fn dr(&self, index: u32) -> u64 {
        self.state().dr[index as usize]
    }

    fn set_dr(&self, index: u32, value: u64) {
        self.state().dr[index as usize] = value;
    }

    fn set_ts(&self, on: bool) {
        self.state().ts = on;
    }

    fn cr4(&self) -> u64 {
        self.state().cr4
    }

    fn set_cr4(&self, value: u64) {
        self.state().cr4 = value;
    }

    fn set_xcr0(&self, value: u64) -> bool {
        self.state().xcr0 = value;
        true
    }

    fn efer(&self) -> u64 {
        EFER
    }

    fn set_tsc_aux(&self, value: u32) {
        self.state().tsc_aux = value;
    }

    fn wbinvd(&self) {
        self.note(Effect::Wbinvd);
    }

    fn set_gdt_page(&self, index: usize, mfn: u64) {
        assert!(index < 14, "pages 14 and 15 are the monitor's");
        self.note(Effect::GdtPage(index, mfn));
    }

    fn reload_gdt(&self) {
        self.note(Effect::ReloadGdt);
    }

    fn set_ldt(&self, entries: u32) {
        self.note(Effect::Ldt(entries));
    }

    fn set_ldt_page(&self, index: usize, mfn: Option<u64>) {
        assert!(index < 16, "16 pages of LDT");
        self.note(Effect::LdtPage(index, mfn));
    }

    fn set_soft_gate(&self, vector: u8, open: bool) {
        self.note(Effect::SoftGate(vector, open));
    }

    fn with_fresh_vcpu(&self, id: u32, f: &mut dyn FnMut(&mut Vcpu)) {
        f(&mut self.bus.fresh[id as usize].lock().expect("lock"));
    }
}

fn base_index(which: Base) -> usize {
    match which {
        Base::Fs => 0,
        Base::Gs => 1,
        Base::OtherGs => 2,
    }
}
