//! Serial ports COM1 to COM4: 16550A (crate vm-superio), each with a wire to the host.
//!
//! ```text
//!   guest --0x3f8+0--> UART --put--> Wire        Wire --take--> UART (when it is attended to, and while the guest reads)
//!                        '--> ISA line 4 or 3, one pulse for each event
//! ```
//! Bytes leave at once: the transmitter is always empty. What the wire does not take is lost, as on a line nobody reads.
//!
//! The crate tells of data once, when it comes. A 16550A says "data" for as long as there is any (PC16550D data sheet, 8.6.4:
//! priority over an empty transmitter), and again when its interrupt is enabled: Linux disables it around each line that its
//! kernel prints, and leaves data for the next turn of a handler that has read 256 bytes. So both are done here.

use crate::device::{Device, Effect, Ports, Region, Turn, Width};
use crate::state::{self, StateError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::convert::Infallible;
use std::fmt::Debug;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use vm_superio::serial::{NoEvents, SerialState};
use vm_superio::Trigger;

const VERSION: u64 = 1;
/// Ports and lines of COM1 to COM4.
const PLACES: [(u16, u8); 4] = [(0x3f8, 4), (0x2f8, 3), (0x3e8, 4), (0x2e8, 3)];
const REGISTERS: u16 = 8;

/// Registers by their offset.
const INTERRUPT_ENABLE: u8 = 1;
const INTERRUPT_IDENTIFICATION: u8 = 2;
const LINE_CONTROL: u8 = 3;
const LINE_STATUS: u8 = 5;
/// Interrupt identification: there is data, with the FIFOs on.
const DATA: u8 = 0xc4;

/// What is plugged into a serial port.
pub trait Wire: Send + Debug {
    /// Takes a byte from the guest.
    fn put(&mut self, byte: u8);
    /// Gives at most `most` bytes to the guest.
    fn take(&mut self, most: usize) -> Vec<u8>;
}

/// Nothing is plugged in.
#[derive(Debug, Clone, Copy)]
pub struct Unplugged;

impl Wire for Unplugged {
    fn put(&mut self, _byte: u8) {}
    fn take(&mut self, _most: usize) -> Vec<u8> {
        Vec::new()
    }
}

/// Remembers that there was an event.
#[derive(Debug, Default, Clone)]
struct Pulse(Arc<AtomicBool>);

impl Trigger for Pulse {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        self.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[derive(Debug)]
struct End(Box<dyn Wire>);

impl io::Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        bytes.iter().for_each(|byte| self.0.put(*byte));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Uart = vm_superio::Serial<Pulse, NoEvents, End>;

/// A serial port.
#[derive(Debug)]
pub struct Serial {
    name: String,
    ports: [Ports; 1],
    line: u8,
    uart: Option<Uart>,
    pulse: Pulse,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    divisor: [u8; 2],
    interrupt_enable: u8,
    interrupt_identification: u8,
    line_control: u8,
    line_status: u8,
    modem_control: u8,
    modem_status: u8,
    scratch: u8,
    input: Vec<u8>,
}

impl Serial {
    /// COM`number + 1`; `number` is 0 to 3.
    pub fn new(number: usize, wire: Box<dyn Wire>) -> Serial {
        let (first, line) = PLACES[number % PLACES.len()];
        let mut serial = Serial {
            name: format!("serial{number}"),
            ports: [Ports {
                first,
                count: REGISTERS,
            }],
            line,
            uart: None,
            pulse: Pulse::default(),
        };
        serial.uart = serial.made(&SerialState::default(), End(wire));
        serial
    }

    fn made(&self, state: &SerialState, end: End) -> Option<Uart> {
        let uart = Uart::from_state(state, self.pulse.clone(), NoEvents, end).ok();
        // What is pending is pending in the interrupt controller already.
        self.pulse.0.store(false, Ordering::Relaxed);
        uart
    }

    fn become_state(&mut self, state: &SerialState) {
        if let Some(uart) = self.uart.take() {
            self.uart = self.made(state, uart.into_writer());
        }
    }

    /// The guest holds DTR: it listens.
    pub fn is_ready(&self) -> bool {
        let state = self.uart.as_ref().map(Uart::state);
        state.is_some_and(|state| state.modem_control & 1 != 0)
    }

    /// Fills the receiver from the wire, and raises what there is to raise.
    fn settle(&mut self, turn: &mut Turn) {
        if let Some(uart) = &mut self.uart {
            let room = uart.fifo_capacity();
            if room > 0 && uart.state().modem_control & 0x10 == 0 {
                let bytes = uart.writer_mut().0.take(room);
                // As many as there is room for.
                let _ = uart.enqueue_raw_bytes(&bytes);
            }
        }
        if self.pulse.0.swap(false, Ordering::Relaxed) {
            turn.effects.push(Effect::Line(self.line, true));
            turn.effects.push(Effect::Line(self.line, false));
        }
    }
}

/// There is data in the receiver, and the guest wants an interrupt for it.
fn has_data_to_tell(uart: &mut Uart) -> bool {
    // Reading these changes nothing. With the divisor latch open the enable register is another one.
    let open = uart.read(LINE_CONTROL) & 0x80 != 0;
    !open && uart.read(INTERRUPT_ENABLE) & 1 != 0 && uart.read(LINE_STATUS) & 1 != 0
}

impl Device for Serial {
    fn name(&self) -> &str {
        &self.name
    }

    fn ports(&self) -> &[Ports] {
        &self.ports
    }

    fn read(&mut self, _region: Region, offset: u64, width: Width, turn: &mut Turn) -> u32 {
        let mut value = 0;
        for index in 0..width.bytes() {
            let register = offset as u8 + index as u8;
            let byte = self.uart.as_mut().map_or(0xff, |uart| {
                match register == INTERRUPT_IDENTIFICATION && has_data_to_tell(uart) {
                    true => DATA,
                    false => uart.read(register),
                }
            });
            value |= u32::from(byte) << (8 * index);
        }
        self.settle(turn);
        value
    }

    fn write(&mut self, _region: Region, offset: u64, width: Width, value: u32, turn: &mut Turn) {
        for (index, byte) in value
            .to_le_bytes()
            .into_iter()
            .enumerate()
            .take(width.bytes())
        {
            let register = offset as u8 + index as u8;
            if let Some(uart) = &mut self.uart {
                // Neither the wire nor the line refuses anything.
                let _ = uart.write(register, byte);
                if register == INTERRUPT_ENABLE && has_data_to_tell(uart) {
                    self.pulse.0.store(true, Ordering::Relaxed);
                }
            }
        }
        self.settle(turn);
    }

    fn attend(&mut self, turn: &mut Turn) {
        self.settle(turn);
    }

    fn reset(&mut self, _turn: &mut Turn) {
        self.become_state(&SerialState::default());
    }

    fn save(&self) -> Value {
        let state = self.uart.as_ref().map(Uart::state).unwrap_or_default();
        let saved = Saved {
            divisor: [state.baud_divisor_low, state.baud_divisor_high],
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            input: state.in_buffer,
        };
        state::wrap(VERSION, &saved)
    }

    fn restore(&mut self, saved: &Value) -> Result<(), StateError> {
        let (_, saved): (_, Saved) = state::unwrap(&self.name, VERSION, saved)?;
        let most = SerialState::default();
        let most = self.made(&most, End(Box::new(Unplugged)));
        if saved.input.len() > most.map_or(0, |uart| uart.fifo_capacity()) {
            let why = format!("{} bytes in the receiver", saved.input.len());
            return Err(StateError::wrong(&self.name, why));
        }
        self.become_state(&SerialState {
            baud_divisor_low: saved.divisor[0],
            baud_divisor_high: saved.divisor[1],
            interrupt_enable: saved.interrupt_enable,
            interrupt_identification: saved.interrupt_identification,
            line_control: saved.line_control,
            line_status: saved.line_status,
            modem_control: saved.modem_control,
            modem_status: saved.modem_status,
            scratch: saved.scratch,
            in_buffer: saved.input,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::turn;
    use std::sync::Mutex;

    /// Both directions, seen from outside.
    #[derive(Debug, Clone, Default)]
    struct Line(Arc<Mutex<(Vec<u8>, Vec<u8>)>>);

    impl Wire for Line {
        fn put(&mut self, byte: u8) {
            self.0.lock().unwrap().0.push(byte);
        }
        fn take(&mut self, most: usize) -> Vec<u8> {
            let input = &mut self.0.lock().unwrap().1;
            let most = most.min(input.len());
            input.drain(..most).collect()
        }
    }

    const PORT: Region = Region::Ports(0);
    const PULSE: [Effect; 2] = [Effect::Line(4, true), Effect::Line(4, false)];

    #[test]
    fn bytes_go_out_and_the_empty_transmitter_interrupts() {
        let line = Line::default();
        let mut serial = Serial::new(0, Box::new(line.clone()));
        turn(|turn| serial.write(PORT, 1, Width::Byte, 2, turn));
        turn(|turn| serial.read(PORT, 2, Width::Byte, turn));
        let ((), effects) = turn(|turn| serial.write(PORT, 0, Width::Byte, 0x41, turn));
        assert_eq!(line.0.lock().unwrap().0, b"A");
        assert_eq!(effects, PULSE);
    }

    #[test]
    fn more_input_than_the_receiver_holds_comes_as_it_is_read() {
        let line = Line::default();
        let mut serial = Serial::new(0, Box::new(line.clone()));
        turn(|turn| serial.write(PORT, 1, Width::Byte, 1, turn));
        let text: Vec<u8> = (0..200).collect();
        line.0.lock().unwrap().1 = text.clone();
        let ((), effects) = turn(|turn| serial.attend(turn));
        assert_eq!(effects, PULSE);
        let mut seen = Vec::new();
        while turn(|turn| serial.read(PORT, 5, Width::Byte, turn)).0 & 1 == 1 {
            seen.push(turn(|turn| serial.read(PORT, 0, Width::Byte, turn)).0 as u8);
        }
        assert_eq!(seen, text);
    }

    #[test]
    fn input_that_came_while_its_interrupt_was_off_interrupts_when_it_is_on() {
        let line = Line::default();
        let mut serial = Serial::new(0, Box::new(line.clone()));
        line.0.lock().unwrap().1 = vec![b'x'; 100];
        assert!(turn(|turn| serial.attend(turn)).1.is_empty());
        // The divisor's upper byte is no enable register.
        turn(|turn| serial.write(PORT, 3, Width::Byte, 0x80, turn));
        let ((), effects) = turn(|turn| serial.write(PORT, 1, Width::Byte, 1, turn));
        assert!(effects.is_empty());
        turn(|turn| serial.write(PORT, 3, Width::Byte, 3, turn));
        let ((), effects) = turn(|turn| serial.write(PORT, 1, Width::Byte, 1, turn));
        assert_eq!(effects, PULSE);
    }

    #[test]
    fn data_is_told_of_until_all_of_it_is_read() {
        let line = Line::default();
        let mut serial = Serial::new(0, Box::new(line.clone()));
        turn(|turn| serial.write(PORT, 1, Width::Byte, 3, turn));
        line.0.lock().unwrap().1 = vec![b'x'; 100];
        turn(|turn| serial.attend(turn));
        for _ in 0..100 {
            let (why, _) = turn(|turn| serial.read(PORT, 2, Width::Byte, turn));
            assert_eq!(why, 0xc4);
            turn(|turn| serial.read(PORT, 0, Width::Byte, turn));
        }
        let (why, _) = turn(|turn| serial.read(PORT, 2, Width::Byte, turn));
        assert_ne!(why, 0xc4);
        let (why, _) = turn(|turn| serial.read(PORT, 2, Width::Byte, turn));
        assert_eq!(why & 1, 1);
    }
}
