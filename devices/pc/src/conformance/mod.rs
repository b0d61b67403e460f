//! What every device of the PC must stand, whatever a guest does to it; one line in [`list`] puts a device to it.
//!
//! ```text
//!   list.rs     conformance! { name => how to make one, ... }
//!                  |-> tests of name: suite.rs, on random scripts
//!                  '-> FUZZ: the same, on scripts of the fuzzer's making (integration-tests/tests/fuzz)
//!   script.rs   bytes -> steps: accesses of 1, 2, 4 bytes, time, reset, what happens outside, the device's own good moves
//!   run.rs      device + memory + steps -> trace; limits on memory traffic, effects and ticks of one step
//! ```

pub mod list;
pub mod run;
pub mod script;
#[cfg(test)]
pub(crate) mod suite;

pub use list::FUZZ;
#[cfg(test)]
pub use run::turn;
pub use run::{Ram, Run};
pub use script::{Place, Step};

use crate::device::{Device, Turn};

/// A device that is put to the test, with what lies outside of it: media, cables, keyboards.
pub trait Subject {
    /// The device.
    type Device: Device;

    /// Another one, just switched on, in the same surroundings.
    fn make(&self) -> Self::Device;

    /// Something happens outside, chosen by `choice`: a medium has done its work, a frame came, a key was pressed.
    fn happen(&self, _device: &mut Self::Device, _choice: u8, _turn: &mut Turn) {}

    /// Sequences that a driver would do; random scripts are spiced with pieces of them.
    fn moves(&self) -> Vec<Vec<Step>> {
        Vec::new()
    }
}

/// A device without surroundings is put to the test by a function that makes one.
impl<D: Device, F: Fn() -> D> Subject for F {
    type Device = D;

    fn make(&self) -> D {
        self()
    }
}

/// Runs a fuzzer's bytes as a script, and saves and restores at the end of it; it must return.
pub fn fuzz<S: Subject>(subject: &S, bytes: &[u8]) {
    let mut run = Run::new(subject, subject.make(), Ram::new());
    let script = run.script(bytes);
    run.go(&script);
    let saved = run.device().save();
    let mut other = subject.make();
    let restored = other.restore(&saved);
    assert!(restored.is_ok(), "refuses its own state: {restored:?}");
    assert_eq!(other.save(), saved, "saves something else than it restored");
}
