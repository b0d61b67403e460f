//! The few colours of a block, numbered in the order in which they appear.

/// Slots of the table; twice as many as colours, so that looking up is short.
const SLOTS: usize = 512;

/// At most 256 colours.
#[derive(Debug)]
pub(crate) struct Palette {
    colours: Vec<u32>,
    /// Number of a colour plus one; 0: free.
    slots: [u16; SLOTS],
}

impl Palette {
    /// The colours of `pixels`; nothing if there are more than `most`.
    pub(crate) fn of<'a>(pixels: impl Iterator<Item = &'a u32>, most: usize) -> Option<Palette> {
        let mut palette = Palette {
            colours: Vec::new(),
            slots: [0; SLOTS],
        };
        let mut last = None;
        for pixel in pixels {
            if last == Some(*pixel) {
                continue;
            }
            last = Some(*pixel);
            let slot = palette.slot(*pixel);
            if palette.slots[slot] == 0 {
                if palette.colours.len() == most.min(SLOTS / 2) {
                    return None;
                }
                palette.colours.push(*pixel);
                palette.slots[slot] = palette.colours.len() as u16;
            }
        }
        Some(palette)
    }

    /// Where `colour` is, or would be.
    fn slot(&self, colour: u32) -> usize {
        let mut slot = (colour.wrapping_mul(0x9e37_79b1) >> 23) as usize % SLOTS;
        // Half of the slots are free at least.
        while self.slots[slot] != 0 && self.colours[usize::from(self.slots[slot]) - 1] != colour {
            slot = (slot + 1) % SLOTS;
        }
        slot
    }

    /// All of them.
    pub(crate) fn colours(&self) -> &[u32] {
        &self.colours
    }

    /// The number of one of them.
    pub(crate) fn number(&self, colour: u32) -> u8 {
        (self.slots[self.slot(colour)].saturating_sub(1)) as u8
    }
}
