//! What happens when a mapped file is shorter than its mapping: SIGBUS, where a system call would have ended early.
//!
//! ```text
//!   access beyond the file's end --SIGBUS--> a watched range? --yes--> a page of zeros there, range marked; the access goes on
//!                                                             --no---> as without a handler: the process ends
//! ```
//! One handler for the process, one slot of atomics for each range: all that a handler may touch.
#![allow(unsafe_code)] // Signal handlers are outside what Rust checks, and no crate of ours has this one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Once;
use vmm_sys_util::signal::register_signal_handler;

/// Ranges at a time; one for each mapped image.
const RANGES: usize = 256;
const PAGE: usize = 4096;

#[derive(Debug)]
struct Range {
    /// 0: free.
    start: AtomicUsize,
    length: AtomicUsize,
    struck: AtomicBool,
}

static WATCHED: [Range; RANGES] = [const {
    Range {
        start: AtomicUsize::new(0),
        length: AtomicUsize::new(0),
        struck: AtomicBool::new(false),
    }
}; RANGES];

/// Makes a range of addresses safe to touch until it is dropped.
#[derive(Debug)]
pub struct Watch {
    range: &'static Range,
}

impl Watch {
    /// Watches `length` bytes at `start`; `None`: there are too many ranges already.
    pub fn new(start: usize, length: usize) -> Option<Watch> {
        static HANDLER: Once = Once::new();
        let mut handled = true;
        HANDLER.call_once(|| handled = register_signal_handler(libc::SIGBUS, on_bus_error).is_ok());
        let free = |range: &&Range| {
            let taken = range
                .start
                .compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed);
            taken.is_ok()
        };
        let range = WATCHED.iter().filter(|_| handled).find(free)?;
        range.struck.store(false, Ordering::Release);
        range.length.store(length, Ordering::Release);
        Some(Watch { range })
    }

    /// Whether something beyond the file's end was touched.
    pub fn has_struck(&self) -> bool {
        self.range.struck.load(Ordering::Acquire)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.range.length.store(0, Ordering::Release);
        self.range.start.store(0, Ordering::Release);
    }
}

extern "C" fn on_bus_error(number: libc::c_int, about: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a whole siginfo; for SIGBUS it has an address.
    let at = unsafe { (*about).si_addr() } as usize;
    let watched = WATCHED.iter().find(|range| {
        let start = range.start.load(Ordering::Acquire);
        start != 0 && at.wrapping_sub(start) < range.length.load(Ordering::Acquire)
    });
    if let Some(range) = watched {
        // SAFETY: the page lies in a mapping of its watcher, which nobody has references into, only addresses; mmap is a
        // plain system call and may be made in a handler.
        let page = unsafe {
            libc::mmap(
                (at / PAGE * PAGE) as *mut libc::c_void,
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if page != libc::MAP_FAILED {
            range.struck.store(true, Ordering::Release);
            return;
        }
    }
    // SAFETY: signal(2) may be called in a handler. The access is made again, and ends the process.
    unsafe { libc::signal(number, libc::SIG_DFL) };
}
