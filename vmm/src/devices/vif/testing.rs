//! A tap for tests, with the host's own stack at its other end.

use noxen_control::tap;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;

/// The Ethernet address that [`arp_request`] comes from.
pub const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// A tap called `name` that is up, the host's end with `address` of a /30; None where the host does not let us (not root, or no
/// tun driver): the lab's tests cover it then.
pub fn tap_at(name: &str, queues: u32, address: &str) -> Option<Vec<OwnedFd>> {
    let fds = match tap::create(name, queues) {
        Ok(fds) => fds,
        Err(error) => {
            let known = [io::ErrorKind::PermissionDenied, io::ErrorKind::NotFound];
            assert!(known.contains(&error.kind()), "{error}");
            return None;
        }
    };
    let ip = |words: &[&str]| Command::new("ip").args(words).status().unwrap().success();
    assert!(ip(&["addr", "add", &format!("{address}/30"), "dev", name]));
    assert!(ip(&["link", "set", name, "up"]));
    Some(fds)
}

/// A frame that asks whose `target` is, in the name of `sender` (RFC 826).
pub fn arp_request(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(SENDER);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(SENDER);
    frame.extend(sender);
    frame.extend([0; 6]);
    frame.extend(target);
    frame
}
