//! An event channel as the thread of a ring sees it; a test plays the guest with a pair of eventfds.

use crate::vstate::irq::Channel;
use std::os::fd::AsFd;

/// As much of an event channel as a ring needs. Readable when the guest has notified.
pub trait Port: AsFd {
    /// Forgets the notifications so far.
    fn acknowledge(&self);
    /// Notifies the guest.
    fn kick(&self);
}

impl Port for Channel {
    fn acknowledge(&self) {
        Channel::acknowledge(self);
    }

    fn kick(&self) {
        Channel::kick(self);
    }
}

/// The guest's two ends.
#[cfg(test)]
pub mod test {
    use super::Port;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
    use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

    /// A port and, by its clones, the guest behind it.
    pub struct TestPort {
        /// The guest notifies.
        pub from_guest: EventFd,
        /// The guest is notified.
        pub to_guest: EventFd,
    }

    impl TestPort {
        /// A port that nobody has notified.
        pub fn new() -> TestPort {
            let event = || EventFd::new(EFD_NONBLOCK).unwrap();
            TestPort {
                from_guest: event(),
                to_guest: event(),
            }
        }

        /// The same port once more.
        pub fn again(&self) -> TestPort {
            TestPort {
                from_guest: self.from_guest.try_clone().unwrap(),
                to_guest: self.to_guest.try_clone().unwrap(),
            }
        }
    }

    #[allow(unsafe_code)]
    impl AsFd for TestPort {
        fn as_fd(&self) -> BorrowedFd<'_> {
            // SAFETY: the descriptor stays open while `self`, its owner, is borrowed. vmm-sys-util's EventFd
            // has only the raw accessor.
            unsafe { BorrowedFd::borrow_raw(self.from_guest.as_raw_fd()) }
        }
    }

    impl Port for TestPort {
        fn acknowledge(&self) {
            let _ = self.from_guest.read();
        }

        fn kick(&self) {
            self.to_guest.write(1).unwrap();
        }
    }
}
