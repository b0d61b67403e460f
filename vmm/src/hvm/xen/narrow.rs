//! Hypercalls of 32-bit code: Xen's loader, a BIOS.
//!
//! ```text
//!   out HYPERCALL --> EAX; EBX ECX EDX ESI EDI EBP --+-- layouts agree --------------------------> calls.rs
//!                                                    '-- they differ: 64-bit copy in scratch --> calls.rs --> back
//! ```
//! *Scratch* is a few bytes of noxen-vmm's that the core finds at an address above 4 GiB, where no 32-bit pointer reaches, while the
//! call lasts. A call whose structures differ and that is not here is refused (`ENOSYS`), never read in the wrong layout.

use crate::hvm::xen::calls::Outcome;
use crate::hvm::xen::processor::{Eyes, Processor, Scratch, SCRATCH};
use crate::hvm::xen::Xen;
use noxen_monitor::cpu::Cpu;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::grant_table::GnttabOp;
use noxen_pv_abi::hypercall::Hypercall;
use noxen_pv_abi::memory::{
    AddToPhysmap32, AddToPhysmap64, MemoryMap32, MemoryMap64, MemoryOp, MemoryReservation32,
    MemoryReservation64, MEMOP_CMD_MASK,
};
use noxen_pv_abi::vcpu::{SetSingleshotTimer32, SetSingleshotTimer64, VcpuOp};
use noxen_pv_abi::version::{PlatformParameters32, VersionOp};

/// Where a list lies in scratch, behind the structure that points to it.
const LIST: u64 = SCRATCH + 64;
/// Frames of a list that are done at once.
const WORDS: u64 = (Scratch::SIZE as u64 - 64) / 8;

impl Xen {
    /// vCPU `id` makes hypercall `number` in 32-bit code.
    pub(super) fn make_narrow(
        &self,
        id: u32,
        eyes: Eyes<'_>,
        number: u32,
        args: &[u32; 6],
    ) -> Outcome {
        let scratch = Scratch::default();
        let made = self.with_scratch(id, Some(eyes), Some(&scratch), |cpu| {
            self.narrow(cpu, number, args)
        });
        self.settle();
        made.unwrap_or(Outcome::Answer(Err(Errno::ENOSYS)))
    }

    fn narrow(&self, cpu: &mut Cpu<'_, Processor<'_>>, number: u32, narrow: &[u32; 6]) -> Outcome {
        let args = narrow.map(u64::from);
        let [a, b, c, ..] = args;
        let answer = match Hypercall(number) {
            Hypercall::MEMORY_OP => self.memory_op32(cpu, narrow[0], b),
            Hypercall::VCPU_OP => self.vcpu_op32(cpu, a, b, c),
            Hypercall::XEN_VERSION if narrow[0] == VersionOp::PLATFORM_PARAMETERS.0 => {
                // There is nothing of Xen's in the guest's addresses.
                let answer = PlatformParameters32 { virt_start: 0 };
                cpu.write(b, &answer.to_bytes())
                    .map(|()| 0)
                    .map_err(|_| Errno::EFAULT)
            }
            Hypercall::GRANT_TABLE_OP if !is_same_grant_op(narrow[0]) => Err(Errno::ENOSYS),
            Hypercall::SET_TIMER_OP => {
                let deadline = b << 32 | a;
                return self.hypercall(cpu, number.into(), &[deadline, 0, 0, 0, 0, 0]);
            }
            // Either the structures are the same, or there are none, or it is refused unread.
            _ => return self.hypercall(cpu, number.into(), &args),
        };
        if answer == Err(Errno::ENOSYS) {
            cpu.count_refused(number.into());
        }
        Outcome::Answer(answer)
    }

    fn memory_op32(
        &self,
        cpu: &mut Cpu<'_, Processor<'_>>,
        cmd: u32,
        at: u64,
    ) -> Result<u64, Errno> {
        let op = MemoryOp(cmd & MEMOP_CMD_MASK);
        let core = |cpu: &mut Cpu<'_, Processor<'_>>, bytes: &[u8]| {
            put(cpu, SCRATCH, bytes)?;
            self.memory_op(cpu, &[op.0.into(), SCRATCH, 0, 0, 0, 0])
        };
        match op {
            MemoryOp::ADD_TO_PHYSMAP => {
                let asked = AddToPhysmap32::from_bytes(&get(cpu, at)?);
                let wide = AddToPhysmap64 {
                    domid: asked.domid,
                    size: asked.size,
                    space: asked.space,
                    idx: asked.idx.into(),
                    gpfn: asked.gpfn.into(),
                };
                core(cpu, &wide.to_bytes())
            }
            MemoryOp::MEMORY_MAP => {
                let asked = MemoryMap32::from_bytes(&get(cpu, at)?);
                let wide = MemoryMap64 {
                    nr_entries: asked.nr_entries,
                    buffer: asked.buffer.into(),
                    ..MemoryMap64::default()
                };
                core(cpu, &wide.to_bytes())?;
                let done = MemoryMap64::from_bytes(&get(cpu, SCRATCH)?);
                let answer = MemoryMap32 {
                    nr_entries: done.nr_entries,
                    ..asked
                };
                put(cpu, at, &answer.to_bytes())?;
                Ok(0)
            }
            MemoryOp::DECREASE_RESERVATION | MemoryOp::POPULATE_PHYSMAP => {
                self.reservation32(cpu, op, at)
            }
            MemoryOp::CURRENT_RESERVATION
            | MemoryOp::MAXIMUM_RESERVATION
            | MemoryOp::MAXIMUM_GPFN
            | MemoryOp::MAXIMUM_RAM_PAGE => self.memory_op(cpu, &[cmd.into(), at, 0, 0, 0, 0]),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Answers the number of extents done, from the first one on.
    fn reservation32(
        &self,
        cpu: &mut Cpu<'_, Processor<'_>>,
        op: MemoryOp,
        at: u64,
    ) -> Result<u64, Errno> {
        let asked = MemoryReservation32::from_bytes(&get(cpu, at)?);
        let total = u64::from(asked.nr_extents);
        let mut done = 0;
        while done < total {
            let piece = (total - done).min(WORDS);
            let from = u64::from(asked.extent_start) + done * 4;
            let mut there = 0;
            while there < piece {
                let Ok(frame) = cpu.read_u32(from + there * 4) else {
                    break;
                };
                put(cpu, LIST + there * 8, &u64::from(frame).to_le_bytes())?;
                there += 1;
            }
            let wide = MemoryReservation64 {
                extent_start: LIST,
                nr_extents: there,
                extent_order: asked.extent_order,
                mem_flags: asked.mem_flags,
                domid: asked.domid,
                ..MemoryReservation64::default()
            };
            put(cpu, SCRATCH, &wide.to_bytes())?;
            let step = self.memory_op(cpu, &[op.0.into(), SCRATCH, 0, 0, 0, 0])?;
            done += step;
            if step < piece {
                break;
            }
        }
        Ok(done)
    }

    fn vcpu_op32(
        &self,
        cpu: &mut Cpu<'_, Processor<'_>>,
        cmd: u64,
        id: u64,
        arg: u64,
    ) -> Result<u64, Errno> {
        let mut at = arg;
        match VcpuOp(cmd as u32) {
            // Unions of a pointer and a u64, of which the pointer counts.
            VcpuOp::REGISTER_RUNSTATE_MEMORY_AREA | VcpuOp::REGISTER_VCPU_TIME_MEMORY_AREA => {
                let area = u64::from(cpu.read_u32(arg).map_err(|_| Errno::EFAULT)?);
                put(cpu, SCRATCH, &area.to_le_bytes())?;
                at = SCRATCH;
            }
            VcpuOp::SET_SINGLESHOT_TIMER => {
                let asked = SetSingleshotTimer32::from_bytes(&get(cpu, arg)?);
                let wide = SetSingleshotTimer64 {
                    timeout_abs_ns: asked.timeout_abs_ns,
                    flags: asked.flags,
                    ..SetSingleshotTimer64::default()
                };
                put(cpu, SCRATCH, &wide.to_bytes())?;
                at = SCRATCH;
            }
            _ => {}
        }
        let number = u64::from(Hypercall::VCPU_OP.0);
        cpu.hvm_hypercall(number, &[cmd, id, at, 0, 0, 0])
    }
}

/// The structure has no pointer in it.
fn is_same_grant_op(cmd: u32) -> bool {
    matches!(
        GnttabOp(cmd),
        GnttabOp::QUERY_SIZE
            | GnttabOp::SET_VERSION
            | GnttabOp::GET_VERSION
            | GnttabOp::MAP_GRANT_REF
            | GnttabOp::UNMAP_GRANT_REF
    )
}

fn get<const N: usize>(cpu: &Cpu<'_, Processor<'_>>, at: u64) -> Result<[u8; N], Errno> {
    cpu.read_array(at).map_err(|_| Errno::EFAULT)
}

fn put(cpu: &Cpu<'_, Processor<'_>>, at: u64, bytes: &[u8]) -> Result<(), Errno> {
    cpu.write(at, bytes).map_err(|_| Errno::EFAULT)
}
