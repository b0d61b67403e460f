//! The FIFO event-channel ABI (public/event_channel.h, "FIFO-based event channels").
//!
//! An event word holds PENDING, MASKED, LINKED, BUSY and the next port of its queue. The guest takes
//! ports off the head; the monitor appends at the tail, which only it knows. All functions need the
//! event lock; the guest changes words concurrently, hence compare-exchange.

use crate::cpu::Cpu;
use crate::machine::Machine;
use core::sync::atomic::{AtomicU32, Ordering};
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::event_channel::{
    EVTCHN_FIFO_EVENTS_PER_PAGE, EVTCHN_FIFO_LINKED, EVTCHN_FIFO_LINK_BITS, EVTCHN_FIFO_MASKED,
    EVTCHN_FIFO_PENDING,
};

const PENDING: u32 = 1 << EVTCHN_FIFO_PENDING;
const MASKED: u32 = 1 << EVTCHN_FIFO_MASKED;
const LINKED: u32 = 1 << EVTCHN_FIFO_LINKED;
const LINK: u32 = (1 << EVTCHN_FIFO_LINK_BITS) - 1;

impl<M: Machine> Cpu<'_, M> {
    fn event_word(&self, port: u32) -> Option<&AtomicU32> {
        let page = self
            .dom
            .fifo_pages
            .get((port / EVTCHN_FIFO_EVENTS_PER_PAGE) as usize)?
            .load(Ordering::Acquire);
        if page == 0 {
            return None;
        }
        self.m
            .word32((page << 12) + u64::from(port % EVTCHN_FIFO_EVENTS_PER_PAGE) * 4)
    }

    /// Raises `port`; `fresh` is false when a pending port is only to be queued again (unmask). Answers the vCPUs to kick.
    #[must_use]
    pub fn fifo_raise(&self, port: u32, fresh: bool) -> u64 {
        let mut record = self.port(port);
        let Some(word) = self.event_word(port) else {
            record.early = true;
            self.set_port(port, record);
            return 0;
        };
        if fresh && word.fetch_or(PENDING, Ordering::SeqCst) & PENDING != 0 {
            return 0;
        }
        if word.load(Ordering::SeqCst) & MASKED != 0 {
            return self.wake_poller(record.vcpu);
        }
        if word.fetch_or(LINKED, Ordering::SeqCst) & LINKED != 0 {
            return 0;
        }
        self.enqueue(port, &mut record)
    }

    /// Appends a port, just marked LINKED, to the queue of its vCPU and priority.
    fn enqueue(&self, port: u32, record: &mut super::Port) -> u64 {
        let queue = usize::from(record.priority & 15);
        if (record.last_vcpu, record.last_priority) != (record.vcpu, record.priority) {
            // It is off its old queue, so it is not that queue's tail any more.
            if let Some(old) = self.dom.vcpu(record.last_vcpu) {
                let _ = old.fifo_tail[usize::from(record.last_priority & 15)].compare_exchange(
                    port,
                    0,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
            record.last_vcpu = record.vcpu;
            record.last_priority = record.priority;
            self.set_port(port, *record);
        }
        let Some(target) = self.dom.vcpu(record.vcpu) else {
            return 0;
        };
        let control = target.fifo_control.load(Ordering::Acquire);
        if control == 0 {
            return 0;
        }
        let tail = target.fifo_tail[queue].swap(port, Ordering::Relaxed);
        if tail != 0 && tail != port && self.link(tail, port) {
            return 0;
        }
        let (Some(ready), Some(head)) = (
            self.m.word32(control),
            self.m.word32(control + 8 + queue as u64 * 4),
        ) else {
            return 0;
        };
        head.store(port, Ordering::SeqCst);
        if ready.fetch_or(1 << queue, Ordering::SeqCst) >> queue & 1 == 0 {
            self.mark_upcall(record.vcpu)
        } else {
            0
        }
    }

    /// Links `port` behind `tail` if the guest has not taken `tail` off yet.
    fn link(&self, tail: u32, port: u32) -> bool {
        let Some(word) = self.event_word(tail) else {
            return false;
        };
        let mut seen = word.load(Ordering::SeqCst);
        // The guest can change the word a bounded number of times before it clears LINKED;
        // a hostile one does not keep us here for ever.
        for _ in 0..16 {
            if seen & LINKED == 0 {
                return false;
            }
            match word.compare_exchange(
                seen,
                seen & !LINK | port,
                Ordering::SeqCst,
                Ordering::SeqCst,
            ) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Clears MASKED; queues the port when it is pending. Answers the vCPUs to kick.
    #[must_use]
    pub fn fifo_unmask(&self, port: u32) -> u64 {
        match self.event_word(port) {
            Some(word) if word.fetch_and(!MASKED, Ordering::SeqCst) & PENDING != 0 => {
                self.fifo_raise(port, false)
            }
            _ => 0,
        }
    }

    /// True when the port is pending.
    pub fn fifo_is_pending(&self, port: u32) -> bool {
        self.event_word(port)
            .is_some_and(|word| word.load(Ordering::SeqCst) & PENDING != 0)
    }

    /// Forgets a pending event.
    pub fn fifo_clear_pending(&self, port: u32) {
        if let Some(word) = self.event_word(port) {
            word.fetch_and(!PENDING, Ordering::SeqCst);
        }
    }

    /// EVTCHNOP_init_control; the first one switches the domain to FIFO.
    pub fn fifo_init_control(&self, vcpu: u32, frame: u64, offset: u32) -> Result<(), Errno> {
        // The control block must not cross the page (72 bytes) and be 8-byte aligned.
        if offset > 4096 - 72 || offset & 7 != 0 {
            return Err(Errno::EINVAL);
        }
        let target = self.dom.vcpu(vcpu).ok_or(Errno::ENOENT)?;
        if frame >= self.dom.info.ram_end_mfn || self.m.word(frame << 12).is_none() {
            return Err(Errno::EINVAL);
        }
        let _lock = self.lock_events();
        target
            .fifo_control
            .store((frame << 12) + u64::from(offset), Ordering::Release);
        if !self.dom.fifo.load(Ordering::Acquire) {
            // Carry over what is pending in the bitmaps; it is raised when its page comes.
            for port in 1..self.max_ports() {
                if self.is_pending(port) {
                    let record = self.port(port);
                    self.set_port(
                        port,
                        super::Port {
                            early: true,
                            ..record
                        },
                    );
                }
            }
            self.dom.fifo.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// EVTCHNOP_expand_array.
    pub fn fifo_expand(&self, frame: u64) -> Result<(), Errno> {
        if frame >= self.dom.info.ram_end_mfn || self.m.word(frame << 12).is_none() {
            return Err(Errno::EINVAL);
        }
        let lock = self.lock_events();
        if !self.dom.fifo.load(Ordering::Acquire) {
            return Err(Errno::EOPNOTSUPP);
        }
        let index = self.dom.fifo_nr_pages.load(Ordering::Relaxed);
        let slot = self
            .dom
            .fifo_pages
            .get(index as usize)
            .ok_or(Errno::ENOSPC)?;
        slot.store(frame, Ordering::Release);
        self.dom.fifo_nr_pages.store(index + 1, Ordering::Relaxed);
        let first = index * EVTCHN_FIFO_EVENTS_PER_PAGE;
        let mut kick = 0;
        for port in first.max(1)..(first + EVTCHN_FIFO_EVENTS_PER_PAGE).min(self.max_ports()) {
            let record = self.port(port);
            if record.early {
                self.set_port(
                    port,
                    super::Port {
                        early: false,
                        ..record
                    },
                );
                kick |= self.fifo_raise(port, true);
            }
        }
        drop(lock);
        self.kick(kick);
        Ok(())
    }

    /// Back to the 2-level ABI (EVTCHNOP_reset).
    pub fn fifo_reset(&self) {
        self.dom.fifo.store(false, Ordering::Release);
        self.dom.fifo_nr_pages.store(0, Ordering::Relaxed);
        for page in &self.dom.fifo_pages {
            page.store(0, Ordering::Relaxed);
        }
        for vcpu in &self.dom.vcpus {
            vcpu.fifo_control.store(0, Ordering::Relaxed);
            for tail in &vcpu.fifo_tail {
                tail.store(0, Ordering::Relaxed);
            }
        }
    }
}
