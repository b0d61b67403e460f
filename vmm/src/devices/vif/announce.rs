//! Tells switches where a guest's address is that has come from elsewhere.
//!
//! ```text
//!   connected --> frame --50 ms--> frame --150--> ..     until all were sent, or the interface stops
//! ```
//! More than once, for a bridge takes nothing from a port before it has heard of its carrier, which is a while after the carrier
//! is there, and drops what comes until then. The intervals are those of QEMU.

use super::queue::borrowed;
use noxen_devices::pv::net::frame::VNET_HEADER;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use vmm_sys_util::eventfd::EventFd;

/// Milliseconds before each frame.
const WAITS: [i64; 6] = [0, 50, 150, 250, 350, 450];

/// Begins to announce `mac` on `tap`, until `stop` is readable. None: it is no address.
pub fn start(
    mac: &str,
    tap: Arc<OwnedFd>,
    stop: Arc<EventFd>,
) -> io::Result<Option<JoinHandle<()>>> {
    let Some(frame) = announcement(mac) else {
        return Ok(None);
    };
    let thread = std::thread::Builder::new().name("announce".into());
    let sends = move || {
        for wait in WAITS {
            let time = Timespec {
                tv_sec: 0,
                tv_nsec: wait * 1_000_000,
            };
            let stop = borrowed(&stop);
            // A wait that a signal has ended is a short one.
            if poll(&mut [PollFd::new(&stop, PollFlags::IN)], Some(&time)) == Ok(1) {
                return;
            }
            // A frame that is lost is missed by nobody once the guest sends one of its own.
            let _ = rustix::io::write(&tap, &frame);
        }
    };
    thread.spawn(sends).map(Some)
}

/// A reverse ARP request of `mac` for itself, behind an empty virtio-net header: a broadcast that every switch learns
/// from and nobody answers (RFC 903; QEMU announces its guests by the same).
fn announcement(mac: &str) -> Option<Vec<u8>> {
    let parts = mac.split(':').map(|part| u8::from_str_radix(part, 16).ok());
    let mac: [u8; 6] = parts.collect::<Option<Vec<u8>>>()?.try_into().ok()?;
    let mut frame = vec![0; VNET_HEADER];
    frame.extend_from_slice(&[0xff; 6]);
    frame.extend_from_slice(&mac);
    // EtherType RARP; Ethernet, IPv4, 6 and 4 bytes of address, "request reverse".
    frame.extend_from_slice(&[0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]);
    for _ in 0..2 {
        frame.extend_from_slice(&mac);
        frame.extend_from_slice(&[0; 4]);
    }
    frame.resize(VNET_HEADER + 60, 0);
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmm_sys_util::eventfd::EFD_NONBLOCK;

    #[test]
    fn frame_is_sent_again_and_again_until_the_interface_stops() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let stop = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        let thread = start("00:16:3e:00:00:01", Arc::new(write), stop.clone());
        let thread = thread.unwrap().unwrap();
        let length = VNET_HEADER + 60;
        let mut frames = vec![0; 2 * length];
        let mut have = 0;
        while have < frames.len() {
            have += rustix::io::read(&read, &mut frames[have..]).unwrap();
        }
        assert_eq!(frames[..length], frames[length..]);
        stop.write(1).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn announcement_is_a_broadcast_from_the_guests_address() {
        let frame = announcement("00:16:3e:00:00:01").unwrap();
        let frame = &frame[VNET_HEADER..];
        assert_eq!(frame.len(), 60);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[6..12], [0, 0x16, 0x3e, 0, 0, 1]);
        assert_eq!(frame[12..14], [0x80, 0x35]);
        assert_eq!(
            (&frame[22..28], &frame[32..38]),
            (&frame[6..12], &frame[6..12])
        );
        for nonsense in ["", "00:16:3e:00:00", "00:16:3e:00:00:100", "x"] {
            assert_eq!(announcement(nonsense), None, "{nonsense}");
        }
    }
}
