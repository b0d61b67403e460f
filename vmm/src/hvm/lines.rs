//! Interrupt lines: who holds which up, and what that makes of the inputs of the interrupt controllers: sixteen of the 8259s, 24 of the I/O APIC.
//!
//! ```text
//!   device --Line(n, level)--> ISA line n  \
//!   device --Pin(level)--> PCI line A..D --routes--> ISA line m    --> up while anybody holds it up
//! ```

use noxen_pc::bus::Place;
use std::collections::BTreeSet;

/// Inputs of the I/O APIC; the first sixteen are the ISA lines.
const INPUTS: u8 = 24;

/// Changes of inputs: which, level.
pub type Changes = Vec<(u8, bool)>;

/// Who holds lines up (device, line), as an image has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// ISA lines, and inputs behind them.
    pub isa: Vec<(u32, u8)>,
    /// PCI lines.
    pub pci: Vec<(u32, u8)>,
    /// ISA lines of the PCI lines.
    pub routes: [Option<u8>; 4],
}

/// All lines of a PC.
#[derive(Debug, Default)]
pub struct Lines {
    /// (device, ISA line) that are held up.
    isa: BTreeSet<(usize, u8)>,
    /// (device, PCI line).
    pci: BTreeSet<(usize, u8)>,
    routes: [Option<u8>; 4],
    /// What the controllers were told last, a bit each.
    told: u32,
}

/// How a board wires the pins of its PCI slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wiring {
    /// As the boards of the 440FX: the first slot behind the bridge has A on A.
    #[default]
    Usual,
    /// As Xen: the bridge's own slot has A on A. Its loader and the ACPI tables in that say so.
    Xen,
}

impl Wiring {
    /// The PCI line of a function's interrupt pin (1 to 4).
    pub fn pci_line(self, place: Place, pin: u8) -> Option<u8> {
        let pin = pin.checked_sub(1).filter(|pin| *pin < 4)?;
        let turn = match self {
            Wiring::Usual => 3,
            Wiring::Xen => 0,
        };
        Some((pin + place.slot + turn) % 4)
    }
}

impl Lines {
    /// For an image: who holds up ISA lines, who PCI lines, and the routes.
    pub fn saved(&self) -> Held {
        let held = |set: &BTreeSet<(usize, u8)>| {
            let one = |(device, line): &(usize, u8)| (*device as u32, *line);
            set.iter().map(one).collect()
        };
        Held {
            isa: held(&self.isa),
            pci: held(&self.pci),
            routes: self.routes,
        }
    }

    /// Takes them over; the inputs that are up then.
    pub fn take_up(&mut self, held: &Held) -> Changes {
        let set = |held: &[(u32, u8)]| {
            let one = |(device, line): &(u32, u8)| (*device as usize, *line);
            held.iter()
                .map(one)
                .filter(|(_, line)| *line < INPUTS)
                .collect()
        };
        (self.isa, self.pci, self.told) = (set(&held.isa), set(&held.pci), 0);
        self.route(held.routes)
    }

    /// A device gives an ISA line, or an input of the I/O APIC behind them, this level.
    pub fn isa(&mut self, device: usize, line: u8, up: bool) -> Changes {
        if line < INPUTS {
            hold(&mut self.isa, (device, line), up);
        }
        self.changes()
    }

    /// A device gives a PCI line this level.
    pub fn pci(&mut self, device: usize, line: u8, up: bool) -> Changes {
        hold(&mut self.pci, (device, line), up);
        self.changes()
    }

    /// PCI lines are routed anew.
    pub fn route(&mut self, routes: [Option<u8>; 4]) -> Changes {
        self.routes = routes.map(|route| route.filter(|line| *line < 16));
        self.changes()
    }

    fn changes(&mut self) -> Changes {
        let mut now = 0u32;
        for (_, line) in &self.isa {
            now |= 1 << line;
        }
        for (_, line) in &self.pci {
            if let Some(Some(line)) = self.routes.get(usize::from(*line)) {
                now |= 1 << line;
            }
        }
        let changed = now ^ std::mem::replace(&mut self.told, now);
        (0..INPUTS)
            .filter(|line| changed >> line & 1 == 1)
            .map(|line| (line, now >> line & 1 == 1))
            .collect()
    }
}

fn hold<T: Ord>(set: &mut BTreeSet<T>, who: T, up: bool) {
    if up {
        set.insert(who);
    } else {
        set.remove(&who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_line_is_up_until_the_last_lets_go() {
        let mut lines = Lines::default();
        assert_eq!(lines.isa(1, 9, true), [(9, true)]);
        assert!(lines.isa(2, 9, true).is_empty());
        assert!(lines.isa(1, 9, false).is_empty());
        assert_eq!(lines.isa(2, 9, false), [(9, false)]);
        assert_eq!(lines.isa(2, 23, true), [(23, true)]);
        assert!(lines.isa(2, 24, true).is_empty());
    }

    #[test]
    fn lines_taken_up_are_told_again_and_let_go_by_who_held_them() {
        let mut lines = Lines::default();
        lines.isa(1, 9, true);
        lines.pci(3, 1, true);
        lines.route([None, Some(11), None, None]);
        let mut other = Lines::default();
        assert_eq!(other.take_up(&lines.saved()), [(9, true), (11, true)]);
        assert_eq!(other.saved(), lines.saved());
        assert_eq!(other.pci(3, 1, false), [(11, false)]);
    }

    #[test]
    fn pci_line_follows_its_route() {
        let mut lines = Lines::default();
        assert!(lines.pci(3, 1, true).is_empty());
        assert_eq!(lines.route([Some(5), Some(10), None, None]), [(10, true)]);
        assert_eq!(
            lines.route([None, Some(11), None, Some(99)]),
            [(10, false), (11, true)]
        );
        assert_eq!(lines.pci(3, 1, false), [(11, false)]);
    }

    #[test]
    fn pins_turn_from_slot_to_slot() {
        let at = |slot| Place { slot, function: 0 };
        let line = |slot, pin| Wiring::Usual.pci_line(at(slot), pin);
        assert_eq!(line(1, 1), Some(0));
        assert_eq!(line(2, 1), Some(1));
        assert_eq!(line(4, 4), Some(2));
        assert_eq!(line(4, 0), None);
        assert_eq!(line(4, 5), None);
        assert_eq!(Wiring::Xen.pci_line(at(1), 1), Some(1));
        assert_eq!(Wiring::Xen.pci_line(at(4), 4), Some(3));
    }
}
