//! One domain: where everything lies, how it is built, how it runs.
//!
//! ```text
//!   region.rs  layout of the monitor region      paging.rs  page tables of the monitor's slots
//!   image.rs   the monitor's image               time.rs    pvclock constants
//!   pv.rs      builds a PV domain from a config  machine.rs the running domain
//!   calls.rs   synchronous calls of the monitor  runner.rs  a vCPU's thread
//!   handover.rs  what the monitor is given       kernel_file.rs  the kernel's file, mapped
//!   assemble.rs  the last steps, also of a restored one
//!   hub.rs     what threads share, and their news  crew.rs  the vCPU threads; both of any kind of domain
//!   brake.rs   vCPUs held back a part of the time
//!   laps.rs    how long the parts of a start took  host_clock.rs  whether the host trusts its TSC
//! ```

pub mod assemble;
pub mod brake;
pub mod calls;
pub mod crew;
pub mod handover;
pub mod host_clock;
pub mod host_tick;
pub mod hub;
pub mod image;
pub mod kernel_file;
pub mod laps;
pub mod machine;
pub mod paging;
pub mod pv;
pub mod region;
pub mod reservation;
pub mod runner;
pub mod time;
