//! Event channels between the guest and the back ends in this process.
//!
//! ```text
//!   guest --EVTCHNOP_send--> Links --> Channel::event() --> back end     (PV: out NOTIFY, port --> KVM ioeventfd)
//!   back end --Channel::kick()--> Links::ring()
//!
//!   PV, Links = Monitor:  doorbell word |= bit; summary |= word --(was clear)--> irqfd
//!            --> MSI, vector DOORBELL, vCPU 0 --> the monitor drains the doorbell, raises the ports
//!   HVM, Links = hvm/xen: the ports are in this process
//! ```

use crate::vstate::memory::GuestMemory;
use crate::vstate::vm::{Vm, VmError};
use noxen_monitor_abi::layout::port;
use noxen_monitor_abi::pages::MAX_EXTERNAL_PORTS;
use std::fmt::Debug;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{fence, AtomicU64, Ordering};
use std::sync::Arc;
use vm_memory::{GuestAddress, GuestMemoryBackend, VolatileMemory};
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// Why a channel could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Port out of the doorbell's range.
    #[error("event channel port {0} is beyond the doorbell's {MAX_EXTERNAL_PORTS} ports")]
    Port(u32),
    /// The doorbell page is not in guest memory; a fault of the region's layout.
    #[error("the doorbell page {0:#x} is not in guest memory")]
    Page(u64),
    /// No eventfd.
    #[error("cannot make an eventfd: {0}")]
    EventFd(std::io::Error),
    /// KVM refused.
    #[error(transparent)]
    Vm(#[from] VmError),
}

/// The way into the guest; clones ring the same doorbell.
#[derive(Debug, Clone)]
pub struct Doorbell {
    memory: GuestMemory,
    page: GuestAddress,
    line: Arc<EventFd>,
}

impl Doorbell {
    /// The doorbell on the page at `page`, whose interrupt is `line`.
    pub fn new(memory: GuestMemory, page: u64, line: EventFd) -> Result<Doorbell, ChannelError> {
        let doorbell = Doorbell {
            memory,
            page: GuestAddress(page),
            line: Arc::new(line),
        };
        match doorbell.with_word(0, |_| ()) {
            Some(()) => Ok(doorbell),
            None => Err(ChannelError::Page(page)),
        }
    }

    fn with_word<R>(&self, offset: usize, act: impl FnOnce(&AtomicU64) -> R) -> Option<R> {
        let address = GuestAddress(self.page.0 + offset as u64);
        let slice = self.memory.get_slice(address, 8).ok()?;
        slice.get_atomic_ref::<AtomicU64>(0).ok().map(act)
    }

    /// Asks the monitor not to notify for `port` (or to do so again). A caller that ends the quiet must
    /// look at its ring once more afterwards (see `pages::Doorbell::quiet`).
    fn set_quiet(&self, port: u32, quiet: bool) {
        use noxen_monitor_abi::pages::Doorbell as Page;
        let offset = offset_of!(Page, quiet) + (port / 64) as usize * 8;
        let bit = 1u64 << (port % 64);
        let _ = self.with_word(offset, |bits| match quiet {
            true => bits.fetch_or(bit, Ordering::SeqCst),
            false => bits.fetch_and(!bit, Ordering::SeqCst),
        });
        fence(Ordering::SeqCst);
    }

    /// Makes `port` pending; interrupts the guest unless it has yet to answer an earlier interrupt.
    pub fn ring(&self, port: u32) {
        use noxen_monitor_abi::pages::Doorbell as Page;
        let word = (port / 64) as usize;
        let _ = self.with_word(offset_of!(Page, words) + word * 8, |bits| {
            bits.fetch_or(1 << (port % 64), Ordering::SeqCst)
        });
        let summary = self.with_word(offset_of!(Page, summary), |bits| {
            bits.fetch_or(1 << word, Ordering::SeqCst)
        });
        if summary.is_some_and(|before| before & (1 << word) == 0) {
            // Only a counter at its limit refuses, and then the interrupt is already on its way.
            let _ = self.line.write(1);
        }
    }

    /// Interrupts the guest so that its monitor looks at what is wanted of it.
    pub fn interrupt(&self) {
        // Only a counter at its limit refuses, and then the interrupt is already on its way.
        let _ = self.line.write(1);
    }
}

/// Where the guest's event channels are.
pub trait Links: Debug + Send + Sync {
    /// Has `event` signalled whenever the guest sends on `port`.
    fn bind(&self, port: u32, event: &EventFd) -> Result<(), ChannelError>;
    /// Ends that.
    fn unbind(&self, port: u32, event: &EventFd);
    /// Nobody needs to be signalled for `port` (or somebody does again).
    fn set_quiet(&self, port: u32, quiet: bool);
    /// Makes `port` pending in the guest.
    fn ring(&self, port: u32);
}

/// Those of a PV domain, which its monitor has.
#[derive(Debug)]
pub struct Monitor {
    /// Takes what the guest sends.
    pub vm: Arc<Vm>,
    /// The way into the guest.
    pub doorbell: Doorbell,
}

impl Links for Monitor {
    fn bind(&self, port: u32, event: &EventFd) -> Result<(), ChannelError> {
        Ok(self.vm.notify_by(event, port::NOTIFY, port)?)
    }

    fn unbind(&self, port: u32, event: &EventFd) {
        // Only a VM that is gone refuses, and then the port is too.
        let _ = self.vm.forget_notify(event, port::NOTIFY, port);
    }

    fn set_quiet(&self, port: u32, quiet: bool) {
        self.doorbell.set_quiet(port, quiet);
    }

    fn ring(&self, port: u32) {
        self.doorbell.ring(port);
    }
}

/// One event channel, seen from a back end; unbound when dropped.
#[derive(Debug)]
pub struct Channel {
    links: Arc<dyn Links>,
    port: u32,
    event: EventFd,
}

impl Channel {
    /// Binds `port` of the guest to this process.
    pub fn bind(links: &Arc<dyn Links>, port: u32) -> Result<Channel, ChannelError> {
        if port == 0 || port >= MAX_EXTERNAL_PORTS {
            return Err(ChannelError::Port(port));
        }
        let event = EventFd::new(EFD_NONBLOCK).map_err(ChannelError::EventFd)?;
        links.bind(port, &event)?;
        // An earlier owner of the port may have left it quiet.
        links.set_quiet(port, false);
        Ok(Channel {
            links: links.clone(),
            port,
            event,
        })
    }

    /// The port's number in the guest.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Readable when the guest has notified.
    pub fn event(&self) -> &EventFd {
        &self.event
    }

    /// Forgets the notifications so far; call it before looking at the ring.
    pub fn acknowledge(&self) {
        // WouldBlock: nothing to forget.
        let _ = self.event.read();
    }

    /// Tells the guest's monitor whether this side looks at the ring without being notified. After
    /// `false`, look once more.
    pub fn set_quiet(&self, quiet: bool) {
        self.links.set_quiet(self.port, quiet);
    }

    /// Notifies the guest.
    pub fn kick(&self) {
        self.links.ring(self.port);
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.links.unbind(self.port, &self.event);
    }
}

impl AsFd for Channel {
    /// Readable when the guest has notified.
    fn as_fd(&self) -> BorrowedFd<'_> {
        event_fd(&self.event)
    }
}

/// An eventfd for polling.
#[allow(unsafe_code)]
pub fn event_fd(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor stays open while its owner is borrowed. vmm-sys-util's EventFd has only
    // the raw accessor.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use noxen_monitor_abi::pages::Doorbell as Page;
    use vm_memory::Bytes;

    const PAGE: u64 = 0x1000;

    fn doorbell() -> (Doorbell, GuestMemory) {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap();
        let line = EventFd::new(EFD_NONBLOCK).unwrap();
        (Doorbell::new(memory.clone(), PAGE, line).unwrap(), memory)
    }

    fn word(memory: &GuestMemory, offset: usize) -> u64 {
        memory.read_obj(GuestAddress(PAGE + offset as u64)).unwrap()
    }

    #[test]
    fn ring_sets_port_and_summary_and_interrupts_once() {
        let (doorbell, memory) = doorbell();
        doorbell.ring(130);
        doorbell.ring(131);
        assert_eq!(word(&memory, offset_of!(Page, words) + 16), 0b1100);
        assert_eq!(word(&memory, offset_of!(Page, summary)), 1 << 2);
        assert_eq!(doorbell.line.read().unwrap(), 1);
    }

    #[test]
    fn ring_after_the_monitor_drained_interrupts_again() {
        let (doorbell, memory) = doorbell();
        doorbell.ring(5);
        memory
            .write_obj(0u64, GuestAddress(PAGE + offset_of!(Page, summary) as u64))
            .unwrap();
        doorbell.ring(5);
        assert_eq!(doorbell.line.read().unwrap(), 2);
    }

    #[test]
    fn quiet_is_one_bit_per_port() {
        let (doorbell, memory) = doorbell();
        doorbell.set_quiet(65, true);
        doorbell.set_quiet(64, true);
        doorbell.set_quiet(65, false);
        assert_eq!(word(&memory, offset_of!(Page, quiet) + 8), 1);
        assert_eq!(word(&memory, offset_of!(Page, quiet)), 0);
    }

    #[test]
    fn doorbell_outside_memory_is_refused() {
        let (doorbell, memory) = doorbell();
        drop(doorbell);
        let line = EventFd::new(EFD_NONBLOCK).unwrap();
        assert!(matches!(
            Doorbell::new(memory, 0x10_0000, line),
            Err(ChannelError::Page(_))
        ));
    }
}
