//! The tests that need a host with real kvm; `cargo xtask test` runs them in the lab, one at a time.

mod bad_input;
mod block;
mod busy;
mod cache;
mod cdrom;
mod core_dump;
mod debian;
mod disks;
mod ending;
mod examples;
mod exits;
mod formats;
mod glyphs;
mod host;
mod hvm;
mod hvm_saved;
mod kernels;
mod leaks;
mod lifecycle;
mod many;
mod modules;
mod moved;
mod network;
mod nfs;
mod programs;
mod resources;
mod ring1;
mod saved;
mod screen;
mod smp;
mod store;
mod support;
mod survival;
mod suspended;
mod ticks;
mod upgraded;
mod viewer;

use std::time::Duration;

/// Longest wait for any one thing. A boot takes 10 to 40 s in the lab; what takes longer than this hangs.
pub const LIMIT: Duration = Duration::from_secs(240);

/// Fails, with what to do, when the test does not run in the lab.
#[track_caller]
pub fn in_lab() {
    assert!(
        std::env::var_os("NOXEN_LAB").is_some(),
        "this test needs the lab: run `cargo xtask test`, or `cargo xtask lab -- <this binary>`"
    );
}
