//! Synchronous calls of the monitor (noxen_monitor_abi::pages::call), served on the vCPU's own thread.
//!
//! ```text
//!   monitor: fills its call page, out CALL --> serve() --> result on the page --> re-entry
//!                                                  \--> Stop: the domain is over
//!                                                  \--> Hold: the guest has suspended itself; the main loop says what follows
//! ```
//! The page is guest memory: it is copied once and every number in it is checked.

use crate::crash::{printable, CrashPage};
use crate::dispatch::{decide, Action};
use crate::domain::host_tick::Ticks;
pub use crate::domain::hub::{lock, Hub, Report};
use crate::domain::region::Region;
use crate::domain::reservation;
use crate::domain::runner::{Guest, Next};
use crate::log::{Level, Log};
use crate::save::suspended::RUNS_ON;
use crate::vstate::exit::{Exit, Io, Nothing};
use crate::vstate::memory::GuestMemory;
use crate::vstate::vcpu::Vcpu;
use noxen_control::ShutdownReason;
use noxen_devices::pv::written::Written;
use noxen_monitor_abi::layout::PAGE_SIZE;
use noxen_monitor_abi::pages::{call, Call, CALL_DATA};
use std::fs::File;
use std::io::Write;
use std::mem::offset_of;
use std::ops::Deref;
use std::sync::mpsc::Sender;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

/// -EINVAL and -ENOSYS for the call page.
const EINVAL: i64 = -22;
const ENOSYS: i64 = -38;

/// What all threads of a PV domain share.
#[derive(Debug)]
pub struct Shared {
    /// What every kind of domain has.
    pub hub: Arc<Hub>,
    /// What this process writes of its memory.
    pub written: &'static Written,
    /// File of guest RAM.
    pub ram_file: Arc<File>,
    /// Layout of the monitor region.
    pub region: Region,
    /// Most frames of RAM.
    pub max_pages: u64,
    /// Where console_io text goes besides, in developer runs.
    pub echo: Option<File>,
}

impl Deref for Shared {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

/// What comes after a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// Enter the guest again.
    Resume,
    /// Enter it once the main loop says so.
    Hold,
    /// Stop for good.
    Stop {
        /// How.
        reason: ShutdownReason,
        /// Why, one line.
        detail: Option<String>,
        /// The record for the log, several lines; empty for an orderly end.
        record: String,
    },
}

impl Shared {
    /// Shared state around `memory`.
    #[allow(clippy::too_many_arguments)] // Each is one field.
    pub fn new(
        log: Log,
        memory: GuestMemory,
        ram_file: Arc<File>,
        region: Region,
        max_pages: u64,
        echo: Option<File>,
        reports: Sender<Report>,
        wake: EventFd,
    ) -> Shared {
        let end = (region.base + region.size) / PAGE_SIZE;
        // A process has one domain, and its memory lives as long as the process.
        let written: &'static Written = Box::leak(Box::new(Written::new(end)));
        for gpa in region.written_by_vmm() {
            written.stays(gpa / PAGE_SIZE);
        }
        Shared {
            hub: Arc::new(Hub::new(log, memory, reports, wake)),
            written,
            ram_file,
            region,
            max_pages,
            echo,
        }
    }
}

impl Guest for Shared {
    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn io(&self) -> &dyn Io {
        // The monitor's ports are writes only; it has no devices in memory.
        &Nothing
    }

    fn after(&self, exit: Exit, vcpu: &Vcpu) -> Next {
        let vcpu = vcpu.id();
        match decide(exit, vcpu) {
            Action::Resume | Action::LookAtCommands => Next::Resume,
            Action::StrayNotify(_) => Next::StrayNotify,
            Action::Call => match serve(self, vcpu) {
                Served::Resume => Next::Resume,
                Served::Hold => Next::Hold,
                Served::Stop {
                    reason,
                    detail,
                    record,
                } => Next::Stop {
                    reason,
                    detail,
                    record,
                },
            },
            Action::Crash(line) => Next::Stop {
                reason: ShutdownReason::Crash,
                detail: Some(line),
                record: String::new(),
            },
        }
    }
}

struct Page {
    nr: u32,
    args: [u64; 6],
    data: Vec<u8>,
}

impl Page {
    fn read(memory: &GuestMemory, gpa: u64) -> Option<Page> {
        let word = |offset: usize| memory.read_obj(GuestAddress(gpa + offset as u64)).ok();
        let mut args = [0; 6];
        for (index, arg) in args.iter_mut().enumerate() {
            *arg = word(offset_of!(Call, args) + index * 8)?;
        }
        let nr = word(offset_of!(Call, nr))? as u32;
        let length = match nr {
            call::CONSOLE_IO | call::LOG | call::PANIC => args[0].min(CALL_DATA as u64),
            call::RELEASE_FRAMES => args[0].saturating_mul(8).min(CALL_DATA as u64),
            _ => 0,
        };
        let mut data = vec![0; length as usize];
        let at = GuestAddress(gpa + offset_of!(Call, data) as u64);
        memory.read_slice(&mut data, at).ok()?;
        Some(Page { nr, args, data })
    }
}

/// Serves the call on `vcpu`'s page.
pub fn serve(shared: &Shared, vcpu: u32) -> Served {
    let gpa = shared.region.call + u64::from(vcpu) * PAGE_SIZE;
    let Some(page) = Page::read(&shared.memory, gpa) else {
        return crash("a call page is not in guest memory".into(), String::new());
    };
    let result = match page.nr {
        call::SHUTDOWN => return shutdown(shared, vcpu, page.args[0]),
        call::CRASH => {
            let record = crash_page(shared);
            return crash(record.reason(), record.text());
        }
        call::PANIC => {
            let text = printable(&page.data);
            return crash(format!("the monitor is broken: {text}"), String::new());
        }
        call::CONSOLE_IO => {
            lock(&shared.messages).push(&page.data);
            if let Some(mut echo) = shared.echo.as_ref() {
                let _ = echo.write_all(&page.data);
            }
            0
        }
        call::LOG => {
            let text = printable(&page.data);
            lock(&shared.messages).push(format!("(monitor) {text}\n").as_bytes());
            shared
                .log
                .guest_line(Level::Info, format_args!("monitor: {text}"));
            0
        }
        call::RELEASE_FRAMES => release(shared, &page.data),
        call::VCPU_ONLINE => {
            let (vcpu, online) = (page.args[0] as u32, page.args[1] != 0);
            shared.report(Report::Online { vcpu, online });
            0
        }
        call::SUSPEND => {
            answer(shared, vcpu, RUNS_ON);
            shared.report(Report::Suspended { vcpu });
            return Served::Hold;
        }
        call::TICKS => {
            let [due, period, ..] = page.args;
            shared.report(Report::Ticks(Ticks { due, period }));
            0
        }
        other => {
            shared.log.guest_line(
                Level::Warning,
                format_args!("the monitor made call {other}, which does not exist"),
            );
            ENOSYS
        }
    };
    answer(shared, vcpu, result);
    Served::Resume
}

/// Writes the answer to the call on `vcpu`'s page.
pub fn answer(shared: &Shared, vcpu: u32, result: i64) {
    let gpa = shared.region.call + u64::from(vcpu) * PAGE_SIZE;
    let at = GuestAddress(gpa + offset_of!(Call, result) as u64);
    // The region is part of guest memory as long as the domain is.
    let _ = shared.memory.write_obj(result, at);
}

fn crash(reason: String, record: String) -> Served {
    Served::Stop {
        reason: ShutdownReason::Crash,
        detail: Some(reason),
        record,
    }
}

fn crash_page(shared: &Shared) -> CrashPage {
    let mut bytes = vec![0; PAGE_SIZE as usize];
    let at = GuestAddress(shared.region.crash);
    // A page that cannot be read stays zero; the record then says nothing wrong.
    let _ = shared.memory.read_slice(&mut bytes, at);
    CrashPage::new(bytes)
}

fn shutdown(shared: &Shared, vcpu: u32, reason: u64) -> Served {
    let reason = match reason {
        0 => ShutdownReason::Poweroff,
        1 => ShutdownReason::Reboot,
        2 => ShutdownReason::Suspend,
        4 => ShutdownReason::Watchdog,
        5 => ShutdownReason::SoftReset,
        3 => {
            let record = crash_page(shared);
            return crash(
                "the guest shut down with reason \"crash\"".into(),
                record.text(),
            );
        }
        other => {
            let detail =
                format!("the guest shut down with the unknown reason {other} on vcpu {vcpu}");
            return crash(detail, String::new());
        }
    };
    Served::Stop {
        reason,
        detail: None,
        record: String::new(),
    }
}

/// Gives frames back to the host.
fn release(shared: &Shared, list: &[u8]) -> i64 {
    match reservation::release(&shared.ram_file, shared.max_pages, list) {
        true => 0,
        false => EINVAL,
    }
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
