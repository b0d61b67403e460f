//! hvm_op: parameters, how a vCPU is told of events, and small questions.

use crate::domain::hub::lock;
use crate::domain::pv::{CONSOLE_PORT, STORE_PORT};
use crate::hvm::xen::callback::{Refused, Via};
use crate::hvm::xen::pages::{CONSOLE, STORE};
use crate::hvm::xen::processor::Processor;
use crate::hvm::xen::Xen;
use crate::log::Level;
use noxen_monitor::cpu::Cpu;
use noxen_monitor_abi::layout::{pfn_of_mfn, PAGE_SIZE};
use noxen_pv_abi::domid::DomId;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::hvm::{
    HvmEvtchnUpcallVector, HvmGetMemType, HvmGetTime, HvmOp, HvmParam, HvmParamArg, MemType,
    CALLBACK_IRQ_TYPE_MASK, HVM_NR_PARAMS,
};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::Mutex;

/// Vectors below are exceptions' (SDM 3A, 11.5.2).
const FIRST_VECTOR: u8 = 0x10;

/// What the guest set.
#[derive(Debug, Default)]
pub struct Params(Mutex<BTreeMap<u32, u64>>);

impl Xen {
    pub(super) fn hvm_op(
        &self,
        cpu: &mut Cpu<'_, Processor<'_>>,
        args: &[u64; 6],
    ) -> Result<u64, Errno> {
        let [cmd, at, ..] = *args;
        match HvmOp(cmd as u32) {
            HvmOp::SET_PARAM => {
                let asked = HvmParamArg::from_bytes(&read(cpu, at)?);
                self.check_param(cpu, &asked)?;
                self.set_param(HvmParam(asked.index), asked.value)
            }
            HvmOp::GET_PARAM => {
                let asked = HvmParamArg::from_bytes(&read(cpu, at)?);
                self.check_param(cpu, &asked)?;
                let value = self.get_param(HvmParam(asked.index))?;
                give(cpu, at, &HvmParamArg { value, ..asked }.to_bytes())
            }
            HvmOp::SET_EVTCHN_UPCALL_VECTOR => {
                let asked = HvmEvtchnUpcallVector::from_bytes(&read(cpu, at)?);
                if asked.vector < FIRST_VECTOR {
                    return Err(Errno::EINVAL);
                }
                if self.dom.vcpu(asked.vcpu).is_none() {
                    return Err(Errno::ENOENT);
                }
                let slot = self.vectors.get(asked.vcpu as usize);
                slot.ok_or(Errno::ENOENT)?
                    .store(asked.vector, Ordering::SeqCst);
                if asked.vcpu == 0 {
                    let off = self.callback.set(&*self.host, Via::Nothing);
                    off.map_err(|error| {
                        self.hub.log.guest_line(Level::Error, error);
                        Errno::EINVAL
                    })?;
                }
                // Whatever came before it was known how to tell.
                if self.is_upcall_pending(asked.vcpu) {
                    self.upcall(asked.vcpu);
                }
                Ok(0)
            }
            HvmOp::GET_TIME => {
                let now = cpu.now();
                give(cpu, at, &HvmGetTime { now }.to_bytes())
            }
            HvmOp::GET_MEM_TYPE => {
                let asked = HvmGetMemType::from_bytes(&read(cpu, at)?);
                if !is_self(cpu, asked.domid) {
                    return Err(Errno::EPERM);
                }
                let frames = self.ram_end();
                let ram = pfn_of_mfn(asked.pfn).is_some() && asked.pfn < frames;
                let mem_type = if ram {
                    MemType::RAM_RW
                } else {
                    MemType::MMIO_DM
                };
                let answer = HvmGetMemType {
                    mem_type: mem_type.0,
                    ..asked
                };
                give(cpu, at, &answer.to_bytes())
            }
            // Among them PAGETABLE_DYING: there are no shadow page tables that would want to know.
            _ => Err(Errno::ENOSYS),
        }
    }

    fn check_param(&self, cpu: &Cpu<'_, Processor<'_>>, asked: &HvmParamArg) -> Result<(), Errno> {
        if asked.index >= HVM_NR_PARAMS {
            return Err(Errno::EINVAL);
        }
        if !is_self(cpu, asked.domid) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    fn get_param(&self, param: HvmParam) -> Result<u64, Errno> {
        match param {
            HvmParam::STORE_PFN => Ok(STORE / PAGE_SIZE),
            HvmParam::STORE_EVTCHN => Ok(u64::from(STORE_PORT)),
            // 0 says that there is none: COM1 is the console.
            HvmParam::CONSOLE_PFN | HvmParam::CONSOLE_EVTCHN if !self.drivers.console => Ok(0),
            HvmParam::CONSOLE_PFN => Ok(CONSOLE / PAGE_SIZE),
            HvmParam::CONSOLE_EVTCHN => Ok(u64::from(CONSOLE_PORT)),
            param if is_guests(param) => {
                Ok(lock(&self.params.0).get(&param.0).copied().unwrap_or(0))
            }
            _ => Err(Errno::EPERM),
        }
    }

    fn set_param(&self, param: HvmParam, value: u64) -> Result<u64, Errno> {
        if !is_guests(param) {
            return Err(Errno::EPERM);
        }
        if param == HvmParam::CALLBACK_IRQ {
            self.set_callback(value)?;
        }
        lock(&self.params.0).insert(param.0, value);
        Ok(0)
    }
}

impl Xen {
    fn set_callback(&self, value: u64) -> Result<(), Errno> {
        // Where vCPUs have vectors of their own, this says only that the guest knows Xen: Linux sets "GSI 1".
        if self.vectors[0].load(Ordering::SeqCst) != 0 {
            return Ok(());
        }
        let via = Via::parse(value).map_err(|why| {
            let why = match why {
                Refused::NoLine => "there is no such line",
                Refused::OneVector => {
                    "KVM interrupts by local APICs alone, which such a guest does not acknowledge; a vector for each vCPU (Linux 6.0 \
                     and later), a GSI and a PCI pin are possible (Linux: xen_no_vector_callback)"
                }
            };
            self.hub.log.guest_line(
                Level::Warning,
                format_args!("the guest wants to be told of events by {value:#x}: {why}"),
            );
            match value & CALLBACK_IRQ_TYPE_MASK {
                0 => Errno::EINVAL,
                _ => Errno::ENOSYS,
            }
        })?;
        self.callback.set(&*self.host, via).map_err(|error| {
            self.hub.log.guest_line(Level::Error, error);
            Errno::EINVAL
        })?;
        // Whatever came before it was known how to tell.
        self.look_at_callback();
        Ok(())
    }
}

/// May a guest set and read it?
fn is_guests(param: HvmParam) -> bool {
    matches!(
        param,
        HvmParam::CALLBACK_IRQ
            | HvmParam::VM86_TSS
            | HvmParam::VM86_TSS_SIZED
            | HvmParam::ACPI_IOPORTS_LOCATION
            | HvmParam::VM_GENERATION_ID_ADDR
            | HvmParam::X87_FIP_WIDTH
    )
}

pub(super) fn is_self(cpu: &Cpu<'_, Processor<'_>>, domid: u16) -> bool {
    domid == DomId::SELF.0 || u32::from(domid) == cpu.dom.info.domid
}

fn read<const N: usize>(cpu: &Cpu<'_, Processor<'_>>, at: u64) -> Result<[u8; N], Errno> {
    cpu.read_array(at).map_err(|_| Errno::EFAULT)
}

fn give(cpu: &Cpu<'_, Processor<'_>>, at: u64, bytes: &[u8]) -> Result<u64, Errno> {
    cpu.write(at, bytes).map_err(|_| Errno::EFAULT)?;
    Ok(0)
}
