//! The board as somebody looks at it who changes nothing.

use super::Pc;
use crate::domain::hub::lock;
use crate::prompt::subject::{Lines, PciFunction};

impl Pc {
    /// What is on the PCI bus, by place.
    pub fn functions(&self) -> Vec<PciFunction> {
        let mut board = lock(&self.board);
        let routes = board.lines.saved().routes;
        let mut found = Vec::new();
        for number in 0..board.bus.len() {
            let place = board.bus.place(number);
            let Some((device, place)) = board.bus.device(number).zip(place) else {
                continue;
            };
            let name = device.name().to_owned();
            let Some(pci) = device.pci() else { continue };
            let identity = pci.function().identity();
            let line = self.wiring.pci_line(place, identity.pin);
            found.push(PciFunction {
                place,
                name,
                identity,
                irq: line.and_then(|line| routes[usize::from(line)]),
            });
        }
        found.sort_by_key(|function| (function.place.slot, function.place.function));
        found
    }

    /// Interrupt lines that are up, and where PCI's go.
    pub fn lines(&self) -> Lines {
        let mut board = lock(&self.board);
        let held = board.lines.saved();
        let routed = held.pci.iter().filter_map(|(device, line)| {
            let route = held.routes.get(usize::from(*line)).copied().flatten();
            Some((*device, route?))
        });
        let mut up = Vec::new();
        for (device, line) in held.isa.iter().copied().chain(routed) {
            let device = board.bus.device(device as usize);
            up.push((
                line,
                device.map_or(String::new(), |device| device.name().to_owned()),
            ));
        }
        up.sort();
        Lines {
            up,
            routes: held.routes,
        }
    }
}
