//! What xend and noxen-vmm say to each other.
//!
//! ```text
//!   xend --spawn--> noxen-vmm --spec-fd N        DomainSpec (JSON) read from fd N to EOF
//!   xend --control.sock--> noxen-vmm             one JSON Request per line, one JSON Reply per line
//!   xend <--control.sock-- noxen-vmm             after `Subscribe`: one JSON Event per line
//! ```
//! Resources of the host reach noxen-vmm as inherited file descriptors named in the spec, so that the
//! process itself needs no rights.
#![deny(unsafe_code)]

pub mod client;
pub mod device;
pub mod fds;
pub mod framing;
pub mod handover;
#[cfg(feature = "kvm")]
pub mod kvm;
pub mod message;
#[cfg(feature = "kvm")]
pub mod ram;
pub mod screen;
pub mod spec;
pub mod tap;
pub mod vmdk;
pub mod wish;

pub use device::{DeviceClass, DeviceId, DeviceSpec, DeviceState, DeviceStatus, DiskCounts};
pub use message::{Event, Reply, Request, ShutdownReason, Status};
pub use spec::DomainSpec;
