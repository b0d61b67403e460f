//! The subcommands, a module each; `cli::registry` lists them.

pub mod api_only;
pub mod config;
pub mod console;
pub mod cpupool;
pub mod create;
pub mod debug_keys;
pub mod delete;
pub mod destroy;
pub mod device;
pub mod dmesg;
pub mod domid;
pub mod domname;
pub mod domstate;
pub mod gen;
pub mod help;
pub mod image;
pub mod info;
pub mod list;
pub mod log;
pub mod mem_max;
pub mod mem_set;
mod memory_size;
pub mod new;
pub mod no_devices;
pub mod pause;
pub mod planned;
pub mod reboot;
pub mod rename;
pub mod reset;
pub mod sched_credit;
pub mod sched_sedf;
pub mod serve;
pub mod shell;
pub mod shutdown;
mod shutdown_wait;
pub mod start;
pub mod sysrq;
pub mod top;
pub mod trigger;
pub mod unpause;
pub mod uptime;
pub mod vcpu_list;
pub mod vcpu_pin;
pub mod vcpu_set;

#[cfg(test)]
pub(crate) mod fake;
