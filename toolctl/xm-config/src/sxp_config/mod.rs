//! Domain configurations as S-expressions.
//!
//! ```text
//!   DomainConfig --emit--> (vm (name ..)(memory ..)..(image (linux ..))..(device (vbd ..))..)   create --dryrun
//!   DomainConfig <-accept-- (vm ..) or (domain ..)                                              create -F FILE
//! ```

mod accept;
mod devices;
mod emit;

pub use accept::from_sxp;
pub use devices::{disk_node, vfb_node, vif_node};
pub use emit::to_sxp;

#[cfg(test)]
mod tests;
