//! Saves and moves that may still be given up.
//!
//! ```text
//!   begin --> Open --link: how it is cut off--> Open --commit--> no way back
//!               \--cancel, or its time is up: cut off--> the work fails, and says why
//! ```
//! What is cut off is a connection: to noxen-vmm, which ends a save that nobody waits for any more, or to the other host. The
//! domain runs on then as after any other failure.

use crate::domain::Domain;
use crate::node::internal;
use noxen_xend_api::migrate::Transfer;
use noxen_xend_api::Fault;
use rustix::net::{shutdown, Shutdown};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Why it was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Asked,
    Time(Duration),
}

#[derive(Debug, Default)]
struct Entry {
    link: Option<OwnedFd>,
    given_up: Option<Why>,
    committed: bool,
}

/// All of them, by domain id.
#[derive(Debug, Default)]
pub struct UnderWay {
    entries: Mutex<BTreeMap<u32, Entry>>,
}

/// One of them; none any more once this is dropped.
#[derive(Debug)]
pub struct Ticket {
    all: Arc<UnderWay>,
    domid: u32,
    _clock: Option<Sender<()>>,
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one. The caller holds the domain, so that there is no other of it. After `limit` it is given up.
    pub fn begin(self: &Arc<Self>, domid: u32, limit: Option<Duration>) -> io::Result<Ticket> {
        self.lock().insert(domid, Entry::default());
        let mut ticket = Ticket {
            all: self.clone(),
            domid,
            _clock: None,
        };
        if let Some(limit) = limit {
            let (clock, stopped) = channel();
            let all = self.clone();
            std::thread::Builder::new()
                .name("time-limit".into())
                .spawn(move || {
                    if stopped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                        // It may have come too far for that meanwhile.
                        let _ = all.give_up(domid, Why::Time(limit));
                    }
                })?;
            ticket._clock = Some(clock);
        }
        Ok(ticket)
    }

    /// Gives one up because somebody asked for that.
    pub fn cancel(&self, domid: u32) -> Result<(), Fault> {
        self.give_up(domid, Why::Asked)
    }

    fn give_up(&self, domid: u32, why: Why) -> Result<(), Fault> {
        let mut entries = self.lock();
        let entry = entries.get_mut(&domid).ok_or_else(|| {
            Fault::generic("nothing of this domain is under way that could be cancelled")
        })?;
        if entry.committed {
            return Err(Fault::generic("it is too late to cancel that"));
        }
        entry.given_up.get_or_insert(why);
        if let Some(link) = &entry.link {
            // One that is closed already needs no cutting off.
            let _ = shutdown(link, Shutdown::Both);
        }
        Ok(())
    }
}

impl Ticket {
    /// From now on it is given up by cutting `link` off; an error when it is given up already.
    pub fn link(&self, link: impl AsFd) -> Result<(), Fault> {
        let link = link.as_fd().try_clone_to_owned().map_err(internal)?;
        let mut entries = self.all.lock();
        let entry = entries.entry(self.domid).or_default();
        match entry.given_up {
            Some(why) => Err(fault(why)),
            None => {
                entry.link = Some(link);
                Ok(())
            }
        }
    }

    /// There is no way back from now on; an error when it is given up already.
    pub fn commit(&self) -> Result<(), Fault> {
        let mut entries = self.all.lock();
        let entry = entries.entry(self.domid).or_default();
        entry.committed = entry.given_up.is_none();
        entry.given_up.map_or(Ok(()), |why| Err(fault(why)))
    }

    /// Why the work failed: that it was given up, or else `other`.
    pub fn explain(&self, other: Fault) -> Fault {
        let entries = self.all.lock();
        let given_up = entries.get(&self.domid).and_then(|entry| entry.given_up);
        given_up.map_or(other, fault)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.all.lock().remove(&self.domid);
    }
}

fn fault(why: Why) -> Fault {
    Fault::generic(match why {
        Why::Asked => "cancelled; the domain runs on here".to_owned(),
        Why::Time(limit) => format!(
            "not done within {} s, and so cancelled; the domain runs on here",
            limit.as_secs()
        ),
    })
}

/// How far a save or a move of `domain` is.
pub fn transfer(domain: &Domain) -> Result<Option<Transfer>, Fault> {
    let status = domain.monitor().status().map_err(internal)?;
    Ok(status.saving.map(|saving| Transfer {
        rounds: saving.rounds,
        done: saving.done,
        total: saving.total,
        passed: saving.passed,
        dirty_rate: saving.dirty_rate,
        throttle: saving.throttle,
        still: saving.still,
        follows: saving.follows,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn work_is_cut_off_until_it_is_committed() {
        let all = Arc::new(UnderWay::default());
        assert!(all.cancel(1).unwrap_err().message.contains("nothing"));
        let ticket = all.begin(1, None).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ticket.link(&ours).unwrap();
        all.cancel(1).unwrap();
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        let other = ticket.explain(Fault::generic("the connection failed"));
        assert!(other.message.starts_with("cancelled"), "{other}");
        assert!(ticket.commit().is_err() && ticket.link(&ours).is_err());
        drop(ticket);
        let ticket = all.begin(1, None).unwrap();
        ticket.commit().unwrap();
        assert!(all.cancel(1).unwrap_err().message.contains("too late"));
        drop(ticket);
        assert!(all.cancel(1).is_err());
    }

    #[test]
    fn time_that_is_up_cuts_off_too() {
        let all = Arc::new(UnderWay::default());
        let ticket = all.begin(1, Some(Duration::ZERO)).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        // Before or after its time is up.
        if ticket.link(&ours).is_ok() {
            assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        }
        let fault = ticket.commit().unwrap_err();
        assert!(fault.message.contains("within 0 s"), "{fault}");
    }
}
