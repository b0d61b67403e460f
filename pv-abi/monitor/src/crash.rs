//! How a domain ends, and what the monitor says to noxen-vmm.

use crate::cpu::Cpu;
use crate::machine::Machine;
use crate::regs::Regs;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use noxen_monitor_abi::counters::other;
use noxen_monitor_abi::pages::{call, Crash, CRASH_STACK};

/// Log levels of `call::LOG`.
pub mod level {
    /// The guest does something that will not work.
    pub const WARN: u64 = 1;
    /// Worth knowing.
    pub const INFO: u64 = 2;
}

/// Lines per second that one domain may log.
const LINES_PER_SECOND: u64 = 20;
/// Bytes of a log line.
const LINE: usize = 256;

/// A number as hexadecimal text, without core::fmt.
pub struct Hex([u8; 18]);

impl Hex {
    /// "0x" and 16 digits.
    pub fn new(value: u64) -> Hex {
        let mut text = *b"0x0000000000000000";
        for (i, digit) in text.iter_mut().skip(2).enumerate() {
            let nibble = (value >> (60 - 4 * i) & 15) as u8;
            *digit = if nibble < 10 {
                b'0' + nibble
            } else {
                b'a' + nibble - 10
            };
        }
        Hex(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or("")
    }
}

impl<M: Machine> Cpu<'_, M> {
    /// A synchronous call to noxen-vmm, counted.
    pub fn vmm_call(&self, nr: u32, args: &[u64], data: &[u8]) -> i64 {
        self.count_other(other::CALL);
        self.m.call(nr, args, data)
    }

    /// The guest cannot go on: fills the crash record and tells noxen-vmm, which ends the VM.
    pub fn crash(&mut self, regs: &Regs, vector: u32, error: u64, cr2: u64, reason: &str) {
        let put = |offset: usize, value: u64| {
            if let Some(word) = self.m.word(self.dom.info.crash_gpa + offset as u64) {
                word.store(value, Ordering::Relaxed);
            }
        };
        put(
            offset_of!(Crash, vcpu),
            u64::from(self.v.id) | u64::from(vector) << 32,
        );
        put(offset_of!(Crash, error), error);
        let gprs = [
            regs.r15, regs.r14, regs.r13, regs.r12, regs.rbp, regs.rbx, regs.r11, regs.r10,
            regs.r9, regs.r8, regs.rax, regs.rcx, regs.rdx, regs.rsi, regs.rdi,
        ];
        for (i, value) in gprs.into_iter().enumerate() {
            put(offset_of!(Crash, gprs) + i * 8, value);
        }
        put(offset_of!(Crash, rip), regs.rip);
        put(offset_of!(Crash, cs), regs.cs);
        put(offset_of!(Crash, rflags), regs.rflags);
        put(offset_of!(Crash, rsp), regs.rsp);
        put(offset_of!(Crash, ss), regs.ss);
        put(offset_of!(Crash, cr2), cr2);
        put(offset_of!(Crash, cr3), self.guest_cr3());
        put(
            offset_of!(Crash, kernel_mode),
            u64::from(self.v.kernel_mode),
        );
        let mut words = 0;
        while words < CRASH_STACK {
            let Ok(value) = self.read_u64(regs.rsp.wrapping_add(words as u64 * 8)) else {
                break;
            };
            put(offset_of!(Crash, stack) + words * 8, value);
            words += 1;
        }
        put(offset_of!(Crash, nr_stack), words as u64);
        let mut text = reason.as_bytes().chunks(8);
        for i in 0..16 {
            let mut bytes = [0u8; 8];
            for (to, from) in bytes.iter_mut().zip(text.next().unwrap_or(&[])) {
                *to = *from;
            }
            put(offset_of!(Crash, reason) + i * 8, u64::from_le_bytes(bytes));
        }
        self.vmm_call(call::CRASH, &[], &[]);
    }

    /// The guest wants to end, or must: `reason` is a SHUTDOWN_* number.
    pub fn shut_down(&mut self, reason: u32) {
        self.vmm_call(call::SHUTDOWN, &[u64::from(reason)], &[]);
    }

    /// One line into the domain's log. Guests can provoke lines, so there is a rate limit.
    pub fn log(&self, level: u64, pieces: &[&str]) {
        if !self.may_log() {
            self.count_other(other::LOG_DROPPED);
            return;
        }
        let mut line = [0u8; LINE];
        let mut len = 0;
        let bytes = pieces.iter().flat_map(|piece| piece.bytes());
        for (to, from) in line.iter_mut().zip(bytes) {
            *to = from;
            len += 1;
        }
        self.vmm_call(
            call::LOG,
            &[len as u64, level],
            line.get(..len).unwrap_or(&[]),
        );
    }

    /// Takes one line from this second's budget: `log_budget` is (second << 8) | lines used.
    fn may_log(&self) -> bool {
        let second = self.now() / 1_000_000_000;
        let take = |budget: u64| {
            let used = if budget >> 8 == second {
                budget & 0xff
            } else {
                0
            };
            (used < LINES_PER_SECOND).then_some(second << 8 | (used + 1))
        };
        self.dom
            .log_budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}
