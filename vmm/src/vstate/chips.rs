//! The state of a PC's interrupt controllers, timer and clock as KVM tells and takes it (Documentation/virt/kvm/api.rst).
//!
//! ```text
//!   capture(vm) --> hvm::Chips --> apply(vm, time passed): before the vCPUs' APICs get their state, which knows already what the I/O APIC
//!                                  has delivered
//! ```

use crate::vstate::vm::{refused, Vm, VmError};
use kvm_bindings::{
    kvm_clock_data, kvm_irqchip, kvm_pit_state2, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE,
};
use noxen_saved_image::hvm::Chips;
use noxen_saved_image::state::Bytes;
use std::time::Duration;
use zerocopy::{FromBytes, IntoBytes};

/// Why they could not be had or set.
#[derive(Debug, thiserror::Error)]
pub enum ChipsError {
    /// KVM.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// A structure of another size.
    #[error("the {what} in the image has {length} bytes, KVM's has {wanted}")]
    Size {
        /// Which structure.
        what: &'static str,
        /// Bytes there.
        length: usize,
        /// Bytes wanted.
        wanted: usize,
    },
    /// An interrupt controller that says it is another.
    #[error("the {0} in the image is another chip")]
    Other(&'static str),
}

/// Each with its name and KVM's number.
const MASTER: (&str, u32) = ("first interrupt controller", KVM_IRQCHIP_PIC_MASTER);
const SLAVE: (&str, u32) = ("second interrupt controller", KVM_IRQCHIP_PIC_SLAVE);
const IO_APIC: (&str, u32) = ("I/O APIC", KVM_IRQCHIP_IOAPIC);

/// Their state while no vCPU runs.
pub fn capture(vm: &Vm) -> Result<Chips, ChipsError> {
    let chip = |(_, chip_id)| -> Result<Bytes, ChipsError> {
        let mut chip = kvm_irqchip {
            chip_id,
            ..Default::default()
        };
        vm.fd()
            .get_irqchip(&mut chip)
            .map_err(refused("tell the state of its interrupt controllers"))?;
        Ok(Bytes(chip.as_bytes().to_vec()))
    };
    let pit = vm
        .fd()
        .get_pit2()
        .map_err(refused("tell the state of its timer"))?;
    let clock = vm.fd().get_clock().map_err(refused("tell its clock"))?;
    Ok(Chips {
        pic_master: chip(MASTER)?,
        pic_slave: chip(SLAVE)?,
        ioapic: chip(IO_APIC)?,
        pit: Bytes(pit.as_bytes().to_vec()),
        clock_ns: clock.clock,
    })
}

/// Whether the 8259s' interrupts go to processor 0 through the first input of the I/O APIC (MultiProcessor Specification 1.4, 3.6.2.2, virtual wire by I/O
/// APIC): it is not masked, and its delivery mode is ExtINT.
pub fn wired_by_io_apic(vm: &Vm) -> Result<bool, ChipsError> {
    /// Of the structure, the first entry of the redirection table: chip, padding, address, registers, then the table.
    const FIRST: usize = 8 + 24;
    const MASKED: u64 = 1 << 16;
    const MODE: u64 = 7 << 8;
    let (_, chip_id) = IO_APIC;
    let mut chip = kvm_irqchip {
        chip_id,
        ..Default::default()
    };
    vm.fd()
        .get_irqchip(&mut chip)
        .map_err(refused("tell the state of its I/O APIC"))?;
    let entry = chip.as_bytes()[FIRST..].first_chunk();
    let entry = entry.map_or(MASKED, |bytes| u64::from_le_bytes(*bytes));
    Ok(entry & (MASKED | MODE) == MODE)
}

/// Gives a fresh VM that state, `passed` after it was taken.
pub fn apply(vm: &Vm, chips: &Chips, passed: Duration) -> Result<(), ChipsError> {
    for ((what, number), bytes) in [
        (MASTER, &chips.pic_master),
        (SLAVE, &chips.pic_slave),
        (IO_APIC, &chips.ioapic),
    ] {
        let chip: kvm_irqchip = structure(what, bytes)?;
        if chip.chip_id != number {
            return Err(ChipsError::Other(what));
        }
        vm.fd()
            .set_irqchip(&chip)
            .map_err(refused("take the state of its interrupt controllers"))?;
    }
    let pit: kvm_pit_state2 = structure("timer", &chips.pit)?;
    vm.fd()
        .set_pit2(&pit)
        .map_err(refused("take the state of its timer"))?;
    let passed = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
    let clock = kvm_clock_data {
        clock: chips.clock_ns.saturating_add(passed),
        ..Default::default()
    };
    vm.fd()
        .set_clock(&clock)
        .map_err(refused("take its clock"))?;
    Ok(())
}

fn structure<T: FromBytes>(what: &'static str, saved: &Bytes) -> Result<T, ChipsError> {
    T::read_from_bytes(&saved.0).map_err(|_| ChipsError::Size {
        what,
        length: saved.0.len(),
        wanted: size_of::<T>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_comes_back_as_it_was_and_one_of_another_size_is_named() {
        let chip = kvm_irqchip {
            chip_id: KVM_IRQCHIP_IOAPIC,
            ..Default::default()
        };
        let bytes = Bytes(chip.as_bytes().to_vec());
        let back: kvm_irqchip = structure("I/O APIC", &bytes).unwrap();
        assert_eq!(back.as_bytes(), chip.as_bytes());
        let error = structure::<kvm_pit_state2>("timer", &Bytes(vec![0; 3])).unwrap_err();
        assert!(
            error.to_string().contains("timer in the image has 3 bytes"),
            "{error}"
        );
    }
}
