//! `xen_version` (17): who we are (public/version.h).
//!
//! Sub-operation 0 is also how pvops kernels ask for pending events to be delivered: the answer costs
//! nothing, and the way back to the guest does the delivery.

use super::{efault, Answer};
use crate::cpu::Cpu;
use crate::machine::Machine;
use noxen_monitor_abi::layout::{HOLE_START, PAGE_SIZE};
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::version::{
    CompileInfo, Feature, FeatureInfo, PlatformParameters64, VersionOp, CAPABILITIES_INFO_LEN,
    CHANGESET_INFO_LEN, EXTRAVERSION_LEN,
};

/// What follows "major.minor".
const EXTRAVERSION: &str = ".0-noxen";
/// What kinds of domain can run.
const CAPABILITIES: &str = "xen-3.0-x86_64 xen-3.0-x86_32p ";
const CHANGESET: &str = "noxen";

/// Feature bits of submap 0 (`XENFEAT_*`).
///
/// Linux PV panics without `mmu_pt_update_preserve_ad` and `gnttab_map_avail_bits`.
/// `supervisor_mode_kernel` must stay 0: with it, secondary CPUs register no syscall callbacks.
///
/// [`HVM_FEATURES`] are those of HVM guests. `hvm_callback_vector` stays 0: a guest that takes one vector for all vCPUs does not
/// end the interrupt at its APIC, and only Xen can inject one that needs no end. Those with a vector per vCPU
/// (CPUID leaf 4) do.
pub const FEATURES: u32 = Feature::PAE_PGDIR_ABOVE_4GB.mask()
    | Feature::MMU_PT_UPDATE_PRESERVE_AD.mask()
    | Feature::GNTTAB_MAP_AVAIL_BITS.mask();

/// See [`FEATURES`].
pub const HVM_FEATURES: u32 = Feature::WRITABLE_PAGE_TABLES.mask()
    | Feature::WRITABLE_DESCRIPTOR_TABLES.mask()
    | Feature::AUTO_TRANSLATED_PHYSMAP.mask()
    | Feature::SUPERVISOR_MODE_KERNEL.mask()
    | Feature::HVM_SAFE_PVCLOCK.mask();

impl<M: Machine> Cpu<'_, M> {
    /// `xen_version(cmd, arg)`.
    pub(super) fn xen_version(&mut self, args: &[u64; 6]) -> Answer {
        let [cmd, at, ..] = *args;
        // The command is an int: its upper half is not looked at.
        match VersionOp(cmd as u32) {
            VersionOp::VERSION => Ok(u64::from(self.dom.info.xen_version)),
            VersionOp::EXTRAVERSION => self.text::<EXTRAVERSION_LEN>(at, EXTRAVERSION),
            VersionOp::CAPABILITIES => self.text::<CAPABILITIES_INFO_LEN>(at, CAPABILITIES),
            VersionOp::CHANGESET => self.text::<CHANGESET_INFO_LEN>(at, CHANGESET),
            VersionOp::COMPILE_INFO => {
                let answer = CompileInfo {
                    compiler: padded("rustc"),
                    compile_by: padded("noxen"),
                    compile_domain: padded(""),
                    compile_date: padded(""),
                };
                self.give(at, &answer.to_bytes())
            }
            VersionOp::PLATFORM_PARAMETERS => self.give(
                at,
                &PlatformParameters64 {
                    virt_start: HOLE_START,
                }
                .to_bytes(),
            ),
            VersionOp::GET_FEATURES => {
                let asked = FeatureInfo::from_bytes(&self.read_array(at).map_err(efault)?);
                if asked.submap_idx != 0 {
                    return Err(Errno::EINVAL);
                }
                self.give(
                    at,
                    &FeatureInfo {
                        submap_idx: 0,
                        submap: if M::HVM { HVM_FEATURES } else { FEATURES },
                    }
                    .to_bytes(),
                )
            }
            VersionOp::PAGESIZE => Ok(PAGE_SIZE),
            VersionOp::GUEST_HANDLE => {
                let uuid = self.dom.info.uuid;
                self.give(at, &uuid)
            }
            VersionOp::COMMANDLINE => Err(Errno::EPERM),
            VersionOp::BUILD_ID => Err(Errno::ENODATA),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn text<const N: usize>(&self, at: u64, text: &str) -> Answer {
        self.give(at, &padded::<N>(text))
    }

    fn give(&self, at: u64, bytes: &[u8]) -> Answer {
        self.write(at, bytes).map_err(efault)?;
        Ok(0)
    }
}

/// `text` with zeros up to `N` bytes, at least one.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().take(N.saturating_sub(1)).zip(text.bytes()) {
        *to = from;
    }
    bytes
}
