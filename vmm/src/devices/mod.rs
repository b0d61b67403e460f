//! PV devices of a running domain: their place between the store, the control socket and their threads.
//!
//! ```text
//!   control socket --attach, detach, list--> list.rs --commands--> bus.rs (one thread)
//!                                                                   |  slot.rs: xenbus states of one device
//!   xenstored <--- session.rs (as domain 0, outlives the daemon) ---|
//!                                                                   v
//!                            backend.rs: trait Backend --- connect, disconnect --> threads of the device
//!                                                     <--- Reporter::broken -----
//! ```
//! The bus thread alone talks to the store and runs the state machines, so a slow or dead xenstored keeps
//! neither the main loop nor a connected device waiting. A device's data moves on threads of its own.
//! [`registry`] knows the classes, one line each. Screens and keyboards (vfb, vkbd) have another side, their head, that the
//! control socket asks.

mod attendant;
pub mod backend;
mod bus;
mod gathering;
pub mod list;
mod port;
pub mod registry;
mod session;
mod slot;
pub mod vbd;
pub mod vfb;
pub mod vif;
pub mod vkbd;

pub use backend::{Backend, ConnectError, Context, Frontend, Published, Reporter};
pub use bus::Given;
pub use list::{Devices, Held};
pub use session::Door;
