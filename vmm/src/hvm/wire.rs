//! The line between a serial port and the main loop, which has its other end on a pseudo-terminal or elsewhere.
//!
//! ```text
//!   UART --put--> out --ready--> main loop --> pty         pty --> main loop --type_in--> in --take--> UART
//! ```
//! A port whose output nobody takes loses what it sends: the guest never waits.

use crate::domain::hub::lock;
use noxen_pc::serial::Wire;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// Output that may wait, bytes.
const OUTPUT: usize = 256 << 10;
/// Input that may wait, bytes.
const INPUT: usize = 4096;
/// Output kept for a window that shows it, bytes; older output is forgotten.
const SHOWN: usize = 64 << 10;

#[derive(Debug, Default)]
struct Bytes {
    output: VecDeque<u8>,
    input: VecDeque<u8>,
    lost: u64,
    /// The last of the output, where a window shows it.
    shown: Option<VecDeque<u8>>,
}

/// The host's end of a serial port.
#[derive(Debug)]
pub struct Line {
    bytes: Mutex<Bytes>,
    ready: EventFd,
}

/// The guest's end.
#[derive(Debug, Clone)]
pub struct Plug(Arc<Line>);

impl Line {
    /// A quiet line.
    pub fn new() -> io::Result<Arc<Line>> {
        Ok(Arc::new(Line {
            bytes: Mutex::default(),
            ready: EventFd::new(EFD_NONBLOCK)?,
        }))
    }

    /// What goes into the port.
    pub fn plug(self: &Arc<Line>) -> Plug {
        Plug(self.clone())
    }

    /// Readable when there is output.
    pub fn ready(&self) -> &EventFd {
        &self.ready
    }

    /// Takes all output; the number of bytes lost since the last time comes with it.
    pub fn take_output(&self) -> (Vec<u8>, u64) {
        // WouldBlock: nothing was there.
        let _ = self.ready.read();
        let mut bytes = lock(&self.bytes);
        let output = std::mem::take(&mut bytes.output).into();
        (output, std::mem::take(&mut bytes.lost))
    }

    /// From now on the last of its output is kept for [`Line::take_shown`], too.
    pub fn show(&self) {
        lock(&self.bytes).shown.get_or_insert_default();
    }

    /// Takes output for a window, whoever else takes it.
    pub fn take_shown(&self) -> Vec<u8> {
        let mut bytes = lock(&self.bytes);
        let shown = bytes.shown.as_mut().map(std::mem::take);
        shown.unwrap_or_default().into()
    }

    /// For an image: output that nobody has taken, input that the port has not.
    pub fn saved(&self) -> (Vec<u8>, Vec<u8>) {
        let bytes = lock(&self.bytes);
        (
            bytes.output.iter().copied().collect(),
            bytes.input.iter().copied().collect(),
        )
    }

    /// How much can be typed.
    pub fn input_room(&self) -> usize {
        INPUT - lock(&self.bytes).input.len()
    }

    /// Types, as far as there is room; the port is to attend to it afterwards.
    pub fn type_in(&self, text: &[u8]) {
        let mut bytes = lock(&self.bytes);
        let room = INPUT - bytes.input.len();
        bytes.input.extend(text.iter().take(room));
    }
}

impl Wire for Plug {
    fn put(&mut self, byte: u8) {
        let mut bytes = lock(&self.0.bytes);
        if let Some(shown) = &mut bytes.shown {
            if shown.len() == SHOWN {
                shown.pop_front();
            }
            shown.push_back(byte);
        }
        if bytes.output.len() >= OUTPUT {
            bytes.lost += 1;
            return;
        }
        let first = bytes.output.is_empty();
        bytes.output.push_back(byte);
        drop(bytes);
        if first {
            // Only a counter at its limit refuses, and then it is readable.
            let _ = self.0.ready.write(1);
        }
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let input = &mut lock(&self.0.bytes).input;
        let most = most.min(input.len());
        input.drain(..most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_both_ways_and_the_first_of_many_wakes() {
        let line = Line::new().unwrap();
        let mut plug = line.plug();
        b"hello".iter().for_each(|byte| plug.put(*byte));
        assert_eq!(line.ready().read().unwrap(), 1);
        assert_eq!(line.take_output(), (b"hello".to_vec(), 0));
        line.type_in(b"root");
        assert_eq!(plug.take(2), b"ro");
        assert_eq!(plug.take(9), b"ot");
    }

    #[test]
    fn window_has_the_last_of_the_output_whoever_else_takes_it() {
        let line = Line::new().unwrap();
        let mut plug = line.plug();
        plug.put(b'x');
        assert_eq!(line.take_shown(), b"");
        line.show();
        (0..SHOWN).for_each(|_| plug.put(b'y'));
        b"end".iter().for_each(|byte| plug.put(*byte));
        assert_eq!(line.take_output().0.len(), SHOWN + 4);
        let shown = line.take_shown();
        assert!(shown.len() == SHOWN && shown.ends_with(b"yend"));
        assert_eq!(line.take_shown(), b"");
    }

    #[test]
    fn what_nobody_takes_is_lost_and_counted() {
        let line = Line::new().unwrap();
        let mut plug = line.plug();
        (0..OUTPUT + 3).for_each(|_| plug.put(b'x'));
        line.type_in(&[b'y'; INPUT + 1]);
        assert_eq!(line.input_room(), 0);
        let (output, lost) = line.take_output();
        assert_eq!((output.len(), lost), (OUTPUT, 3));
        assert_eq!(line.take_output(), (Vec::new(), 0));
    }
}
