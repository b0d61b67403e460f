//! Devices of the emulated PC under a guest of the stranger's making: ports, windows, descriptors in memory, time.
//!
//! ```text
//!   byte 0: which device     then 8 bytes a step (devices/pc/src/conformance/script.rs)
//! ```

use noxen_pc::conformance::FUZZ;

/// Runs the script on the device that it names.
pub fn devices(data: &[u8]) {
    if let [which, script @ ..] = data {
        (FUZZ[usize::from(*which) % FUZZ.len()].1)(script);
    }
}

/// For each device a script of its own moves and accesses around them.
#[allow(dead_code)] // libFuzzer's programs begin with nothing.
pub fn seeds() -> Vec<Vec<u8>> {
    (0..FUZZ.len())
        .map(|device| {
            let mut seed = vec![device as u8];
            for step in 0..64u8 {
                seed.extend([14, step, 0, 0, 0, 0, 0, 0]);
                seed.extend([step % 10, step, step, 0, step, 0, 0, 0]);
                seed.extend([12, step, 0, 0, 0, 0, 0, 0]);
                seed.extend([10, 8, 0, 0, 0, 0, 1, 0]);
            }
            seed
        })
        .collect()
}
