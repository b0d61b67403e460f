//! A client of the Xen-API, and requests of toolctl's told in its calls.
//!
//! ```text
//!   /etc/xen/xm-config.xml, XM_SERVER ──choice──> Server { kind, place, user, password, certificate }
//!   Request ──ask──> C.m(session, ref, ..) ──session──> XML-RPC ──transport──> unix | http | https
//!   Response <──ask── records <──────────────────────── {Status: Success, Value: V}
//! ```
//! So a command of xm's does not know whether it talks to the xend of its own host or, by the Xen-API, to one anywhere. What the Xen-API has
//! no call for is [`Error::NotSupported`].
#![forbid(unsafe_code)]

mod ask;
pub mod choice;
mod error;
pub mod session;
mod transport;
pub mod wire;

pub use ask::vm_record;
pub use choice::{Choice, Kind, Server};
pub use dxr::Value;
pub use error::Error;
pub use session::Session;
