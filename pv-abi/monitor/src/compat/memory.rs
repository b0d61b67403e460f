//! `memory_op` of 32-bit guests: lists of frame numbers have words of 4 bytes.
//!
//! ```text
//!   list of nr_extents words --> a piece of it in scratch, widened --> core --> narrowed back, next piece
//! ```

use crate::cpu::Cpu;
use crate::hypercall::{efault, Answer};
use crate::machine::Machine;
use crate::regs::Regs;
use core::mem::offset_of;
use noxen_monitor_abi::layout::compat::{M2P_END, M2P_VA, SCRATCH_VA};
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::hypercall::Hypercall;
use noxen_pv_abi::memory::{
    MachphysMapping32, MemoryExchange32, MemoryExchange64, MemoryMap32, MemoryMap64, MemoryOp,
    MemoryReservation32, MemoryReservation64,
};

/// The lists in scratch: input, then output.
const INPUT: u64 = SCRATCH_VA + 128;
/// Words in each: the largest extent, 2^9 frames, one by one.
const WORDS: u64 = 512;
const OUTPUT: u64 = INPUT + WORDS * 8;
/// Largest order of an extent.
const MAX_ORDER: u32 = 9;

impl<M: Machine> Cpu<'_, M> {
    /// `memory_op(cmd, arg)`.
    pub(super) fn memory_op32(&mut self, cmd: u64, at: u64, regs: &mut Regs) -> Answer {
        match MemoryOp(cmd as u32) {
            MemoryOp::MACHPHYS_MAPPING => {
                let answer = MachphysMapping32 {
                    v_start: M2P_VA as u32,
                    v_end: M2P_END as u32,
                    max_mfn: self.dom.info.m2p_entries.saturating_sub(1) as u32,
                };
                self.write(at, &answer.to_bytes()).map_err(efault)?;
                Ok(0)
            }
            MemoryOp::MEMORY_MAP => self.memory_map32(at, regs),
            MemoryOp::DECREASE_RESERVATION
            | MemoryOp::INCREASE_RESERVATION
            | MemoryOp::POPULATE_PHYSMAP => self.reservation32(MemoryOp(cmd as u32), at, regs),
            MemoryOp::EXCHANGE => self.exchange32(at, regs),
            // No list and no pointer inside, or refused unread.
            _ => self.core_memory_op(MemoryOp(cmd as u32), at, regs),
        }
    }

    fn core_memory_op(&mut self, op: MemoryOp, at: u64, regs: &mut Regs) -> Answer {
        let number = u64::from(Hypercall::MEMORY_OP.0);
        self.dispatch(number, &[u64::from(op.0), at, 0, 0, 0, 0], regs)
    }

    fn memory_map32(&mut self, at: u64, regs: &mut Regs) -> Answer {
        let asked = MemoryMap32::from_bytes(&self.read_array(at).map_err(efault)?);
        let wide = MemoryMap64 {
            nr_entries: asked.nr_entries,
            buffer: u64::from(asked.buffer),
            ..MemoryMap64::default()
        };
        self.write(SCRATCH_VA, &wide.to_bytes()).map_err(efault)?;
        self.core_memory_op(MemoryOp::MEMORY_MAP, SCRATCH_VA, regs)?;
        let done = MemoryMap64::from_bytes(&self.read_array(SCRATCH_VA).map_err(efault)?);
        let answer = MemoryMap32 {
            nr_entries: done.nr_entries,
            ..asked
        };
        self.write(at, &answer.to_bytes()).map_err(efault)?;
        Ok(0)
    }

    /// Answers the number of extents done. A list that ends in memory that cannot be read or written ends the call
    /// there, as in the core.
    fn reservation32(&mut self, op: MemoryOp, at: u64, regs: &mut Regs) -> Answer {
        let asked = MemoryReservation32::from_bytes(&self.read_array(at).map_err(efault)?);
        let list = u64::from(asked.extent_start);
        let total = u64::from(asked.nr_extents);
        let wants_answer = op != MemoryOp::DECREASE_RESERVATION && list != 0;
        let has_input = op != MemoryOp::INCREASE_RESERVATION;
        let mut done = 0;
        while done < total {
            let mut piece = (total - done).min(WORDS);
            let here = list.wrapping_add(done * 4);
            if has_input {
                piece = self.readable(here, piece);
                if piece == 0 {
                    break;
                }
                self.widen(here, INPUT, piece).map_err(efault)?;
            }
            let wide = MemoryReservation64 {
                extent_start: if wants_answer || has_input { INPUT } else { 0 },
                nr_extents: piece,
                ..wide(&asked)
            };
            self.write(SCRATCH_VA, &wide.to_bytes()).map_err(efault)?;
            let step = self.core_memory_op(op, SCRATCH_VA, regs)?;
            if wants_answer && self.narrow(INPUT, here, step).is_err() {
                // The frames are the guest's, though it cannot be told which: its list went away meanwhile.
                return Err(Errno::EFAULT);
            }
            done += step;
            if step < piece {
                break;
            }
        }
        Ok(done)
    }

    /// How many of `count` words at `at` can be read.
    fn readable(&self, at: u64, count: u64) -> u64 {
        (0..count)
            .take_while(|i| self.read_u32(at.wrapping_add(i * 4)).is_ok())
            .count() as u64
    }

    /// XENMEM_exchange, a run of 2^(larger order) frames at a time.
    fn exchange32(&mut self, at: u64, regs: &mut Regs) -> Answer {
        let asked = MemoryExchange32::from_bytes(&self.read_array(at).map_err(efault)?);
        let (input, output) = (wide(&asked.input), wide(&asked.output));
        let order = input.extent_order.max(output.extent_order);
        if order > MAX_ORDER {
            return Err(Errno::EPERM);
        }
        let (ins, outs) = (
            1u64 << (order - input.extent_order),
            1u64 << (order - output.extent_order),
        );
        let mut exchanged = u64::from(asked.nr_exchanged);
        let whole = input.nr_extents.is_multiple_of(ins) && output.nr_extents.is_multiple_of(outs);
        if !whole
            || input.nr_extents / ins != output.nr_extents / outs
            || exchanged > input.nr_extents
            || !exchanged.is_multiple_of(ins)
        {
            return Err(Errno::EINVAL);
        }
        let mut answer = Ok(0);
        while exchanged < input.nr_extents && answer.is_ok() {
            let run = exchanged / ins;
            let from = input.extent_start.wrapping_add(exchanged * 4);
            let to = output.extent_start.wrapping_add(run * outs * 4);
            self.widen(from, INPUT, ins).map_err(efault)?;
            self.widen(to, OUTPUT, outs).map_err(efault)?;
            let one = MemoryExchange64 {
                input: MemoryReservation64 {
                    extent_start: INPUT,
                    nr_extents: ins,
                    ..input
                },
                output: MemoryReservation64 {
                    extent_start: OUTPUT,
                    nr_extents: outs,
                    ..output
                },
                nr_exchanged: 0,
            };
            self.write(SCRATCH_VA, &one.to_bytes()).map_err(efault)?;
            answer = self.core_memory_op(MemoryOp::EXCHANGE, SCRATCH_VA, regs);
            if answer.is_ok() {
                self.narrow(OUTPUT, to, outs).map_err(efault)?;
                exchanged += ins;
            }
        }
        let count = at.wrapping_add(offset_of!(MemoryExchange32, nr_exchanged) as u64);
        self.write(count, &(exchanged as u32).to_le_bytes())
            .map_err(efault)?;
        answer
    }
}

fn wide(asked: &MemoryReservation32) -> MemoryReservation64 {
    MemoryReservation64 {
        extent_start: u64::from(asked.extent_start),
        nr_extents: u64::from(asked.nr_extents),
        extent_order: asked.extent_order,
        mem_flags: asked.mem_flags,
        domid: asked.domid,
        ..MemoryReservation64::default()
    }
}
