//! Upcalls by an interrupt line, for guests whose vCPUs have no vector of their own (HVM_PARAM_CALLBACK_IRQ, types GSI and PCI_INTX).
//!
//! ```text
//!   an event for vCPU 0 --> `up` --KVM (irqfd)--> input of the interrupt controllers: high
//!   guest: handler, end of interrupt --KVM--> low, `taken` --> thread: vcpu_info[0] says pending still? --> high again
//!   PCI_INTX: slot, pin --wiring--> PCI line --routes of the bridge--> input; it moves when they do
//! ```
//! As by Xen the line is up while vcpu_info of vCPU 0 says that an event is pending, as far as a guest can tell: it looks once more at the end
//! of each interrupt. Events of other vCPUs have no line; guests of that kind bind all to the first.

use crate::domain::hub::lock;
use crate::hvm::lines::Wiring;
use crate::hvm::xen::domain::Host;
use noxen_pc::bus::Place;
use noxen_pv_abi::hvm::{CallbackVia, CALLBACK_IRQ_TYPE_MASK};
use std::fmt;
use std::io;
use std::sync::Mutex;
use vmm_sys_util::eventfd::EventFd;

/// Inputs of the I/O APIC; number 2 is the second 8259's, and nobody else's.
const INPUTS: u32 = 24;
const CASCADE: u32 = 2;

/// How the guest wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Via {
    /// Not at all.
    #[default]
    Nothing,
    /// By that input.
    Input(u8),
    /// By what the pin (1 to 4) of that slot goes to.
    Pin(Place, u8),
}

/// Why it cannot be told so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such line.
    NoLine,
    /// One vector for all vCPUs, which the guest does not acknowledge at its APIC.
    OneVector,
}

impl Via {
    /// The parameter's value.
    pub fn parse(value: u64) -> Result<Via, Refused> {
        if value == 0 {
            return Ok(Via::Nothing);
        }
        let kind = (value & CALLBACK_IRQ_TYPE_MASK) >> 56;
        match CallbackVia(kind as u32) {
            CallbackVia::GSI => match value as u32 {
                gsi if gsi < INPUTS && gsi != CASCADE => Ok(Via::Input(gsi as u8)),
                _ => Err(Refused::NoLine),
            },
            CallbackVia::PCI_INTX => {
                let [domain, bus] = [value >> 32 & 0xffff, value >> 16 & 0xffff];
                if domain != 0 || bus != 0 {
                    return Err(Refused::NoLine);
                }
                let place = Place {
                    slot: (value >> 11 & 0x1f) as u8,
                    function: (value >> 8 & 7) as u8,
                };
                Ok(Via::Pin(place, (value & 3) as u8 + 1))
            }
            CallbackVia::VECTOR => Err(Refused::OneVector),
            _ => Err(Refused::NoLine),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    via: Via,
    routes: [Option<u8>; 4],
    /// The input that KVM has been told.
    input: Option<u8>,
}

/// The line.
pub struct Callback {
    wiring: Wiring,
    up: EventFd,
    taken: EventFd,
    state: Mutex<State>,
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").finish_non_exhaustive()
    }
}

impl Callback {
    /// None yet.
    pub fn new(wiring: Wiring) -> io::Result<Callback> {
        Ok(Callback {
            wiring,
            up: EventFd::new(0)?,
            taken: EventFd::new(0)?,
            state: Mutex::default(),
        })
    }

    /// The guest wants to be told by `via`; KVM's refusal is a line.
    pub fn set(&self, host: &dyn Host, via: Via) -> Result<(), String> {
        let mut state = lock(&self.state);
        state.via = via;
        self.place(host, &mut state)
    }

    /// The bridge routes PCI lines so from now on. `true`: the line has another place, and is down there.
    pub fn route(&self, host: &dyn Host, routes: [Option<u8>; 4]) -> Result<bool, String> {
        let mut state = lock(&self.state);
        let before = state.input;
        state.routes = routes;
        self.place(host, &mut state)?;
        Ok(state.input != before)
    }

    fn place(&self, host: &dyn Host, state: &mut State) -> Result<(), String> {
        let wanted = match state.via {
            Via::Nothing => None,
            Via::Input(input) => Some(input),
            Via::Pin(place, pin) => {
                let line = self.wiring.pci_line(place, pin);
                line.and_then(|line| state.routes[usize::from(line)])
            }
        };
        if wanted == state.input {
            return Ok(());
        }
        if let Some(old) = state.input.take() {
            host.take_line_off(old, &self.up)?;
        }
        if let Some(new) = wanted {
            host.line_by(new, &self.up, &self.taken)?;
            state.input = Some(new);
        }
        Ok(())
    }

    /// The line goes up, if there is one.
    pub fn raise(&self) {
        if lock(&self.state).input.is_some() {
            // Only a counter at its limit refuses, and then it is up.
            let _ = self.up.write(1);
        }
    }

    /// Waits until the guest has taken an interrupt of the line, which is down then.
    pub fn wait_taken(&self) -> io::Result<()> {
        self.taken.read().map(drop)
    }

    /// The guest takes an interrupt, for tests without KVM.
    #[cfg(test)]
    pub fn take(&self) {
        self.taken.write(1).unwrap();
    }

    /// How often it was raised, for tests without KVM.
    #[cfg(test)]
    pub fn raised(&self) -> u64 {
        let _ = self.up.write(1);
        self.up.read().unwrap() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_the_header_says() {
        let slot = |slot, function| Place { slot, function };
        assert_eq!(Via::parse(0), Ok(Via::Nothing));
        assert_eq!(Via::parse(11), Ok(Via::Input(11)));
        for gsi in [2, 24, 0xffff_ffff] {
            assert_eq!(Via::parse(gsi), Err(Refused::NoLine), "{gsi}");
        }
        let pin = |low: u64| Via::parse(1 << 56 | low);
        assert_eq!(pin(3 << 11), Ok(Via::Pin(slot(3, 0), 1)));
        assert_eq!(pin(31 << 11 | 7 << 8 | 3), Ok(Via::Pin(slot(31, 7), 4)));
        assert_eq!(pin(1 << 16 | 3 << 11), Err(Refused::NoLine));
        assert_eq!(pin(1 << 32), Err(Refused::NoLine));
        assert_eq!(Via::parse(2 << 56 | 0xf3), Err(Refused::OneVector));
        assert_eq!(Via::parse(9 << 56), Err(Refused::NoLine));
    }
}
