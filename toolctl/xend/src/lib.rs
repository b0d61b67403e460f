//! xend: the node daemon. It knows the domains of this host, makes and ends them, and answers toolctl.
//!
//! ```text
//!   Python, curl, browsers --> servers -> requests
//!   toolctl --noxen.sock--> server -> requests --> create ----spawn----> noxen-vmm (one per domain)
//!                                        |            \--> teardown          ^ |
//!                                        v                                   | | events
//!                                      node (table) <-- watch <--control.sock--/
//!                                      |       |
//!                       registry (disk)+       +--> store --> xenstored
//!   at start: adopt      once a second: housekeeper
//! ```
//! xend holds nothing that a domain needs: it can be killed at any moment, and the next one takes up what runs.

pub mod adopt;
pub mod api_tokens;
pub mod atomic;
pub mod bootloader;
pub mod cgroup;
pub mod change;
pub mod clock;
pub mod commands;
pub mod core_dump;
pub mod cpuset;
pub mod create;
pub mod daemon;
pub mod debug_keys;
pub mod devices;
pub mod dmesg;
pub mod domain;
pub mod host;
pub mod housekeeper;
pub mod hvm;
pub mod kernel_cache;
pub mod lifecycle;
pub mod listing;
pub mod log;
pub mod managed;
mod migrate;
pub mod monitor;
pub mod network_script;
pub mod node;
pub mod pam;
pub mod pinning;
pub mod process;
mod refusals;
pub mod registry;
pub mod requests;
pub mod resources;
pub mod restore;
pub mod saved;
pub mod server;
pub mod servers;
pub mod settings;
pub mod share;
pub mod store;
pub mod store_nodes;
pub mod teardown;
#[cfg(test)]
pub(crate) mod testing;
pub mod under_way;
pub mod unit;
mod upgrade;
pub mod validate;
pub mod watch;
pub mod web_token;
pub mod wishes;
