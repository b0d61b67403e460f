//! The subcommands, a module each; `cli::registry` lists them.

pub mod config;
pub mod console;
pub mod create;
pub mod destroy;
pub mod dmesg;
pub mod domid;
pub mod domname;
pub mod domstate;
pub mod gen;
pub mod help;
pub mod info;
pub mod list;
pub mod log;
pub mod pause;
pub mod planned;
pub mod reboot;
pub mod reset;
pub mod shutdown;
mod shutdown_wait;
pub mod unpause;
pub mod uptime;
pub mod vcpu_list;

#[cfg(test)]
pub(crate) mod fake;
