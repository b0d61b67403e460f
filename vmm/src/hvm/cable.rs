//! The cable between a card of the PC and a tap of the host.
//!
//! ```text
//!   card --send--> tap (a full one loses the frame)
//!   tap --thread--> frames that wait (bounded; what is too much is lost) --notify--> Pc::attend --> card --receive--> frame
//! ```
//! Nothing is left undone for the guest on the way: the tap is told to hand out whole frames, with their checksums.

use crate::domain::hub::lock;
use noxen_control::tap::{
    adopt, set_carrier, set_offloads, set_queue_enabled, Offloads, MAX_QUEUES, VNET_HEADER,
};
use noxen_pc::net::{Cable, MAX_FRAME};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::{read, writev, Errno};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// Frames that wait for the card at most.
const WAITING: usize = 256;
const STACK: usize = 256 << 10;

/// What both ends share.
#[derive(Debug)]
struct Shared {
    tap: OwnedFd,
    frames: Mutex<VecDeque<Vec<u8>>>,
    /// The machine has been told, and the card has not looked yet.
    told: AtomicBool,
    stop: EventFd,
}

/// The host's end; dropping it ends its thread.
#[derive(Debug)]
pub struct TapEnd {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Queues of the tap that are not used, so that it lives on with all it had.
    _others: Vec<OwnedFd>,
}

/// The card's end.
#[derive(Debug)]
struct CardEnd(Arc<Shared>);

impl TapEnd {
    /// On the queues of a tap in non-blocking mode. `notify` has the card attended to; it is called from the thread. The line
    /// says what is wrong.
    pub fn new(
        name: &str,
        mut queues: Vec<OwnedFd>,
        notify: impl Fn() + Send + 'static,
    ) -> Result<TapEnd, String> {
        if queues.is_empty() || queues.len() > MAX_QUEUES as usize {
            let count = queues.len();
            return Err(format!(
                "{count} tap queues came along; 1 to {MAX_QUEUES} are possible"
            ));
        }
        let tap = queues.remove(0);
        let interface = adopt(&tap).map_err(|error| error.to_string())?;
        let failed = |error: io::Error| format!("tap {interface}: {error}");
        for queue in &queues {
            // Already as it should be: the kernel calls that an error.
            let _ = set_queue_enabled(queue, false);
        }
        set_offloads(&tap, Offloads::default()).map_err(failed)?;
        set_carrier(&tap, true).map_err(failed)?;
        let shared = Arc::new(Shared {
            tap,
            frames: Mutex::default(),
            told: AtomicBool::new(false),
            stop: EventFd::new(EFD_NONBLOCK).map_err(failed)?,
        });
        let served = shared.clone();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .stack_size(STACK)
            .spawn(move || served.listen(&notify))
            .map_err(failed)?;
        Ok(TapEnd {
            shared,
            thread: Some(thread),
            _others: queues,
        })
    }

    /// For the card.
    pub fn cable(&self) -> Box<dyn Cable> {
        Box::new(CardEnd(self.shared.clone()))
    }
}

impl Drop for TapEnd {
    fn drop(&mut self) {
        let _ = self.shared.stop.write(1);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked is over as well.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn listen(&self, notify: &impl Fn()) {
        let mut buffer = vec![0; VNET_HEADER + MAX_FRAME + 1];
        loop {
            let stop = crate::vstate::irq::event_fd(&self.stop);
            let mut fds = [
                PollFd::from_borrowed_fd(stop, PollFlags::IN),
                PollFd::new(&self.tap, PollFlags::IN),
            ];
            // An interrupted wait only looks earlier.
            let _ = poll(&mut fds, None);
            if !fds[0].revents().is_empty() {
                return;
            }
            match read(&self.tap, &mut buffer) {
                Ok(length) if length > VNET_HEADER => {
                    self.came(&buffer[VNET_HEADER..length], notify)
                }
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                // The interface was taken away: nothing will come any more.
                Err(_) => return,
            }
        }
    }

    fn came(&self, frame: &[u8], notify: &impl Fn()) {
        let mut frames = lock(&self.frames);
        if frames.len() >= WAITING {
            return;
        }
        frames.push_back(frame.to_vec());
        let waiting = frames.len();
        drop(frames);
        // A card that had no room looks again by itself; should it have been given some without a word, now and then.
        if !self.told.swap(true, Ordering::SeqCst) || waiting.is_multiple_of(16) {
            notify();
        }
    }
}

impl Cable for CardEnd {
    fn send(&mut self, frame: &[u8]) {
        let pieces = [IoSlice::new(&[0; VNET_HEADER]), IoSlice::new(frame)];
        // A tap that is down or full loses it.
        let _ = writev(&self.0.tap, &pieces);
    }

    fn receive(&mut self, into: &mut Vec<u8>) -> bool {
        // Before the look: what comes behind it tells the machine again.
        self.0.told.store(false, Ordering::SeqCst);
        match lock(&self.0.frames).pop_front() {
            Some(frame) => {
                *into = frame;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::vif::testing;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// Asks the host's own stack, as a guest would: an ARP request and its answer.
    #[test]
    fn frame_reaches_the_host_and_its_answer_comes_back() {
        let name = format!("nc{}", std::process::id());
        let Some(fds) = testing::tap_at(&name, 2, "198.51.100.5") else {
            return;
        };
        let (tell, told) = channel();
        let end = TapEnd::new("cable", fds, move || {
            let _ = tell.send(());
        })
        .unwrap();
        let mut cable = end.cable();
        cable.send(&testing::arp_request([198, 51, 100, 6], [198, 51, 100, 5]));
        let mut frame = Vec::new();
        loop {
            if !cable.receive(&mut frame) {
                told.recv_timeout(Duration::from_secs(10))
                    .expect("an answer to an ARP request");
                continue;
            }
            if frame.len() >= 42 && frame[12..14] == [8, 6] && frame[21] == 2 {
                assert_eq!(frame[..6], testing::SENDER);
                assert_eq!(frame[28..32], [198, 51, 100, 5]);
                return;
            }
        }
    }

    #[test]
    fn no_queue_and_no_tap_are_refused() {
        assert!(TapEnd::new("cable", Vec::new(), || ()).is_err());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(TapEnd::new("cable", vec![file.into()], || ()).is_err());
    }
}
