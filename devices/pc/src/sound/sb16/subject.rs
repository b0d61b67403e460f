//! The card for the conformance suite: a program that plays and records, and its DMA controller.

use super::Sb16;
use crate::conformance::{Step, Subject};
use crate::device::{Device, Region, Turn, Width};
use crate::isa_dma::IsaDma;
use crate::sound::{Silence, Speaker};
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

/// Where the samples are.
pub const SAMPLES: u64 = 0x4000;

/// A card in a machine, with what it plays into.
#[derive(Debug)]
pub struct Card<S> {
    dma: Mutex<IsaDma>,
    /// What it plays into.
    pub speaker: S,
}

impl<S> Card<S> {
    /// One whose channels move nothing yet.
    pub fn new(speaker: S) -> Card<S> {
        Card {
            dma: Mutex::new(IsaDma::new()),
            speaker,
        }
    }

    /// Sets a channel up: `units` of its width from [`SAMPLES`] on, the mode's upper bits (0x58: over and over, out of memory).
    pub fn set_up(&self, channel: u8, mode: u8, units: u16) {
        let memory = crate::conformance::Ram::new();
        let mut effects = Vec::new();
        let mut turn = Turn {
            now: 0,
            memory: &memory,
            effects: &mut effects,
        };
        let mut dma = self.dma.lock().unwrap_or_else(PoisonError::into_inner);
        let (region, step, own) = match channel {
            0..4 => (Region::Ports(0), 1, u64::from(channel)),
            _ => (Region::Ports(1), 2, u64::from(channel) - 4),
        };
        let mut out = |register: u64, value: u8| {
            dma.write(
                region,
                register * step,
                Width::Byte,
                value.into(),
                &mut turn,
            );
        };
        // Words are counted in words, and their addresses, too.
        let address = (SAMPLES / step) as u16;
        out(12, 0);
        for byte in address.to_le_bytes() {
            out(own * 2, byte);
        }
        for byte in (units - 1).to_le_bytes() {
            out(own * 2 + 1, byte);
        }
        out(11, mode | own as u8);
        out(10, own as u8);
        if channel < 4 {
            // The first controller's requests go through channel 4.
            let unmask = u32::from(0u8);
            dma.write(Region::Ports(1), 20, Width::Byte, unmask, &mut turn);
        }
    }
}

impl Default for Card<Silence> {
    fn default() -> Card<Silence> {
        let card = Card::new(Silence);
        card.set_up(1, 0x58, 256);
        card.set_up(5, 0x58, 256);
        card
    }
}

/// The guest writes a port.
pub fn out(port: u64, value: u8) -> Step {
    Step::Write(Region::Ports(0), port - 0x220, Width::Byte, value.into())
}

/// The guest gives the processor a command.
pub fn command(bytes: &[u8]) -> Vec<Step> {
    bytes.iter().map(|byte| out(0x22c, *byte)).collect()
}

impl<S: Speaker + Clone + 'static> Subject for Card<S> {
    type Device = Sb16;

    fn make(&self) -> Sb16 {
        let dma = self.dma.lock().unwrap_or_else(PoisonError::into_inner);
        Sb16::new(&dma, Box::new(self.speaker.clone()))
    }

    fn happen(&self, _device: &mut Sb16, choice: u8, _turn: &mut Turn) {
        let channel = [1, 5, 3, 6][usize::from(choice % 4)];
        let mode = [0x58, 0x48, 0x44, 0x54][usize::from(choice / 4 % 4)];
        self.set_up(channel, mode, 1 + u16::from(choice) * 8);
    }

    fn moves(&self) -> Vec<Vec<Step>> {
        let reset = vec![out(0x226, 1), out(0x226, 0)];
        let acknowledged = [0xe, 0xf].map(|at| Step::Read(Region::Ports(0), at, Width::Byte));
        let ended = |mut steps: Vec<Step>| {
            steps.extend([Step::Pass(12_000_000), Step::Pass(12_000_000)]);
            steps.extend(acknowledged.clone());
            steps
        };
        let over_and_over = [
            command(&[0x40, 210]),
            command(&[0x48, 99, 0]),
            command(&[0x1c]),
        ];
        vec![
            reset,
            ended(command(&[0x41, 0xac, 0x44, 0xb6, 0x30, 127, 0])),
            ended(command(&[0xc0, 0x00, 199, 0])),
            ended(over_and_over.concat()),
            ended(command(&[0xbe, 0x10, 63, 0])),
            ended(command(&[0x80, 99, 0])),
            command(&[0xd0, 0xd4, 0xda, 0xe1, 0xe0, 0x55, 0xf2, 0x10, 200]),
            vec![
                out(0x224, 0x81),
                out(0x225, 0x0a),
                out(0x224, 0x22),
                out(0x225, 0xcc),
            ],
            vec![out(0x224, 0x80), out(0x225, 0x04)],
        ]
    }
}
