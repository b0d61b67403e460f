//! The thread of a device that is one page of events and one event channel (vfb, vkbd).
//!
//! ```text
//!   page-ref, event-channel --read()--> page, channel          poll {channel, stop} -> work() -> work() -> ...
//! ```
//! Both classes name their page by its frame, not by a grant (io/fbif.h, io/kbdif.h); only the guest's RAM is taken.

use crate::devices::backend::{ConnectError, Context, Frontend};
use crate::devices::port::Port;
use crate::vstate::irq::Channel;
use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags};
use std::fmt::Display;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use vm_memory::GuestAddress;

/// What a front end of this kind writes.
pub struct Wire {
    /// Its page.
    pub page: GuestAddress,
    /// Its event channel.
    pub channel: Arc<Channel>,
}

/// Reads a front end's nodes.
pub fn read(context: &Context, frontend: &mut Frontend<'_>) -> Result<Wire, ConnectError> {
    let frame = frontend.needed("page-ref")?;
    let page = context.ram_page(frame).ok_or_else(|| {
        ConnectError::refused(format_args!(
            "page-ref is {frame:#x}, which is not the guest's RAM"
        ))
    })?;
    context.writes_to(page);
    let port = frontend.needed("event-channel")?;
    Ok(Wire {
        page,
        channel: Arc::new(context.bind(port)?),
    })
}

/// Works whenever the guest has notified; ended when dropped.
pub struct Attendant {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Attendant {
    /// Does `work` once now and after each notification; `broken` is told its first error, and then nothing is done.
    pub fn start<P: Port + Send + Sync + 'static, E: Display>(
        name: String,
        channel: Arc<P>,
        mut work: impl FnMut() -> Result<(), E> + Send + 'static,
        broken: impl FnOnce(E) + Send + 'static,
    ) -> io::Result<Attendant> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let told = stop.clone();
        let attend = move || {
            let mut result = work();
            while result.is_ok() {
                let mut fds = [
                    PollFd::new(&told, PollFlags::IN),
                    PollFd::new(&*channel, PollFlags::IN),
                ];
                // An interrupted wait only looks earlier.
                let _ = poll(&mut fds, None);
                if !fds[0].revents().is_empty() {
                    return;
                }
                channel.acknowledge();
                result = work();
            }
            if let Err(error) = result {
                broken(error);
            }
        };
        let thread = std::thread::Builder::new()
            .name(name)
            .stack_size(256 << 10)
            .spawn(attend)?;
        Ok(Attendant {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to give back.
            let _ = thread.join();
        }
    }
}
