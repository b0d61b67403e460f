//! What toolctl and xend say to each other.
//!
//! ```text
//!   toolctl --/var/run/xend/noxen.sock--> xend     one JSON Request per line
//!   toolctl <------------------------------ xend     one JSON Answer per line, in the order asked
//! ```
//! A connection carries any number of requests, one at a time. An [`Answer`] is either a [`Response`]
//! or a [`Fault`] whose text is what `xm` prints after `Error: `.
#![forbid(unsafe_code)]

pub mod change;
pub mod client;
pub mod cmdline;
pub mod config;
pub mod cpuid;
pub mod device;
pub mod info;
pub mod message;
pub mod migrate;
pub mod paths;
pub mod traffic;

pub use change::{Change, Sedf, SedfChange, Share};
pub use client::{Client, ClientError};
pub use config::{random_uuid, Cpus, DomainConfig, Hvm};
pub use device::{DeviceClass, DeviceConfig, DeviceInfo, Disk, Vfb, Vif};
pub use info::{DomainInfo, DomainState, DomainVcpus, NodeInfo, StateFilter, VcpuInfo};
pub use message::{Answer, Fault, Request, Response, ShutdownKind};
pub use traffic::{DiskTraffic, Traffic};
