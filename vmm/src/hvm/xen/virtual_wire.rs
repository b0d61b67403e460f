//! How the 8259s' interrupts reach the first processor until its operating system takes the I/O APIC.
//!
//! ```text
//!   8259s --> LINT0 of its local APIC (ExtINT)            KVM has this way only
//!   8259s --> I/O APIC, input 0 (ExtINT) --> local APIC   Xen's loader sets this one up, with LINT0 masked
//! ```
//! MultiProcessor Specification 1.4, 3.6.2.2. A loader that has set up the second way gets the first.

use crate::hvm::xen::Xen;
use crate::log::Level;
use crate::vstate::vcpu::Vcpu;

/// LVT LINT0 (SDM 3A, 11.5.1).
const LINT0: usize = 0x350;
const MASKED: u32 = 1 << 16;
const MODE: u32 = 7 << 8;

/// What LINT0 becomes where it is masked and the 8259s' otherwise.
fn opened(lint0: u32) -> Option<u32> {
    (lint0 & (MASKED | MODE) == MASKED | MODE).then_some(lint0 & !MASKED)
}

impl Xen {
    /// Opens LINT0 of `vcpu` where its I/O APIC's first input does what KVM does through that alone.
    pub(super) fn wire_8259s(&self, vcpu: &Vcpu) {
        let Ok(mut apic) = vcpu.fd().get_lapic() else {
            return;
        };
        let register = &mut apic.regs[LINT0..LINT0 + 4];
        let mut bytes = [0; 4];
        for (byte, from) in bytes.iter_mut().zip(register.iter()) {
            *byte = *from as u8;
        }
        let Some(value) = opened(u32::from_le_bytes(bytes)) else {
            return;
        };
        match self.host.wired_by_io_apic() {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return self.hub.log.guest_line(Level::Error, error),
        }
        for (to, byte) in register.iter_mut().zip(value.to_le_bytes()) {
            *to = byte as _;
        }
        if let Err(error) = vcpu.fd().set_lapic(&apic) {
            self.hub.log.guest_line(
                Level::Error,
                format_args!("KVM refused to let the 8259s through to the first vCPU: {error}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_extint_is_opened_and_all_else_is_left() {
        assert_eq!(opened(0x1_0700), Some(0x700));
        for other in [0x700, 0x1_0400, 0x1_0000, 0x1_00ff] {
            assert_eq!(opened(other), None, "{other:#x}");
        }
    }
}
