//! Tap devices: the host's end of a domain's network interface.
//!
//! ```text
//!   xend: create("vif3.0", queues) --fds, SCM_RIGHTS--> noxen-vmm: offloads, queues in use, frames
//! ```
//! Each descriptor is one queue; a frame is read or written whole, after a virtio-net header of
//! [`VNET_HEADER`] bytes. The interface goes with its last descriptor. Making one takes CAP_NET_ADMIN; the
//! calls on a queue take none. (Linux, Documentation/networking/tuntap.rst.)
#![allow(unsafe_code)] // The tun driver is driven by ioctls that no library wraps.

use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Bytes of `struct virtio_net_hdr`, which precedes every frame.
pub const VNET_HEADER: usize = 10;
/// Most queues of a tap that we make; also the most that a device offers its guest.
pub const MAX_QUEUES: u32 = 8;
/// Longest name of an interface, bytes.
pub const MAX_NAME: usize = libc::IFNAMSIZ - 1;

/// `_IOW('T', 226, int)` of linux/if_tun.h, which libc does not have.
const TUNSETCARRIER: libc::Ioctl = 0x4004_54e2 as libc::Ioctl;

/// What the reader of a tap can finish by itself, so that the host need not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums left blank (with `tso4` and `tso6` their precondition).
    pub csum: bool,
    /// TCP over IPv4 in frames of up to 64 KiB.
    pub tso4: bool,
    /// The same over IPv6.
    pub tso6: bool,
}

/// Makes a tap, or joins one that is there and free, and opens `queues` queues of it (at least one, at
/// most [`MAX_QUEUES`]), not blocking. Its carrier is on as long as it is open.
///
/// # Errors
/// `InvalidInput` for a name or number that cannot be; else the kernel's own, e.g. `EBUSY` where the
/// interface is in use by another program, `EPERM` without CAP_NET_ADMIN.
pub fn create(name: &str, queues: u32) -> io::Result<Vec<OwnedFd>> {
    let fits = !name.is_empty() && name.len() <= MAX_NAME && !name.contains(['/', '%', '\0']);
    if !fits || name.chars().any(char::is_whitespace) {
        return Err(invalid(format!("'{name}' cannot name an interface")));
    }
    if queues == 0 || queues > MAX_QUEUES {
        return Err(invalid(format!(
            "{queues} queues of tap {name}: 1 to {MAX_QUEUES} are possible"
        )));
    }
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if queues > 1 {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    (0..queues).map(|_| open_queue(name, flags)).collect()
}

fn open_queue(name: &str, flags: libc::c_int) -> io::Result<OwnedFd> {
    let fd = rustix::fs::open(
        "/dev/net/tun",
        OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut request = empty_request();
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which `request` is, and keeps no pointer to it.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &mut request) })?;
    set_header_size(&fd)?;
    Ok(fd)
}

/// Says what the guest behind this tap takes. It holds for all queues.
pub fn set_offloads(queue: impl AsFd, offloads: Offloads) -> io::Result<()> {
    let mut bits = 0;
    if offloads.csum {
        bits |= libc::TUN_F_CSUM;
        bits |= if offloads.tso4 { libc::TUN_F_TSO4 } else { 0 };
        bits |= if offloads.tso6 { libc::TUN_F_TSO6 } else { 0 };
    }
    let fd = queue.as_fd().as_raw_fd();
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(fd, libc::TUNSETOFFLOAD, libc::c_ulong::from(bits)) })
}

/// Switches the interface's carrier: without it, a bridge sends nothing here. It holds for all queues.
pub fn set_carrier(queue: impl AsFd, on: bool) -> io::Result<()> {
    let value = libc::c_int::from(on);
    let fd = queue.as_fd().as_raw_fd();
    // SAFETY: TUNSETCARRIER reads one int, which `value` is.
    check(unsafe { libc::ioctl(fd, TUNSETCARRIER, &value) })
}

/// Makes the host put frames into this queue, or no longer. Only taps of several queues know this.
pub fn set_queue_enabled(queue: impl AsFd, enabled: bool) -> io::Result<()> {
    let flags = match enabled {
        true => libc::IFF_ATTACH_QUEUE,
        false => libc::IFF_DETACH_QUEUE,
    };
    let mut request = empty_request();
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    let fd = queue.as_fd().as_raw_fd();
    // SAFETY: TUNSETQUEUE reads one ifreq, which `request` is, and keeps no pointer to it.
    check(unsafe { libc::ioctl(fd, libc::TUNSETQUEUE, &mut request) })
}

/// Checks that a descriptor from elsewhere is a tap with our header; the name of its interface.
pub fn adopt(queue: impl AsFd) -> io::Result<String> {
    let fd = queue.as_fd().as_raw_fd();
    let mut request = empty_request();
    // SAFETY: TUNGETIFF writes one ifreq, which `request` is, and keeps no pointer to it.
    check(unsafe { libc::ioctl(fd, libc::TUNGETIFF, &mut request) })
        .map_err(|error| invalid(format!("the descriptor is no tap: {error}")))?;
    // SAFETY: TUNGETIFF has filled the flags; every bit pattern is a number.
    let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags } as u16);
    let wanted = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    let name: Vec<u8> = request.ifr_name.iter().map(|byte| *byte as u8).collect();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = String::from_utf8_lossy(name).into_owned();
    if flags & wanted != wanted {
        return Err(invalid(format!(
            "tap {name} has flags {flags:#x}; IFF_TAP, IFF_NO_PI and IFF_VNET_HDR are needed"
        )));
    }
    set_header_size(&queue)?;
    let status = rustix::fs::fcntl_getfl(&queue)?;
    rustix::fs::fcntl_setfl(&queue, status | OFlags::NONBLOCK)?;
    Ok(name)
}

fn set_header_size(queue: impl AsFd) -> io::Result<()> {
    let size = VNET_HEADER as libc::c_int;
    let fd = queue.as_fd().as_raw_fd();
    // SAFETY: TUNSETVNETHDRSZ reads one int, which `size` is.
    check(unsafe { libc::ioctl(fd, libc::TUNSETVNETHDRSZ, &size) })
}

fn empty_request() -> libc::ifreq {
    // SAFETY: all zeros is a value of every field of ifreq, which is plain data.
    unsafe { std::mem::zeroed() }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_with_a_name_or_number_that_cannot_be_says_so() {
        for name in ["", "a/b", "sixteen-letters-", "a b", "vif%d"] {
            let error = create(name, 1).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
            assert!(error.to_string().contains(name), "{error}");
        }
        for queues in [0, 9] {
            let error = create("vif1.0", queues).unwrap_err();
            assert!(error.to_string().contains(&queues.to_string()), "{error}");
        }
    }

    #[test]
    fn tap_goes_with_its_last_queue_or_is_refused_by_permission() {
        let name = format!("nx{}", std::process::id());
        let path = format!("/sys/class/net/{name}");
        let queues = match create(&name, 2) {
            Ok(queues) => queues,
            Err(error) => {
                assert!(
                    matches!(
                        error.kind(),
                        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound
                    ),
                    "{error}"
                );
                return;
            }
        };
        assert_eq!(queues.len(), 2);
        assert!(std::path::Path::new(&path).exists());
        assert_eq!(adopt(&queues[1]).unwrap(), name);
        set_queue_enabled(&queues[1], false).unwrap();
        set_queue_enabled(&queues[1], true).unwrap();
        let all = Offloads {
            csum: true,
            tso4: true,
            tso6: true,
        };
        set_offloads(&queues[0], all).unwrap();
        set_offloads(&queues[0], Offloads::default()).unwrap();
        set_carrier(&queues[0], false).unwrap();
        set_carrier(&queues[0], true).unwrap();
        drop(queues);
        assert!(!std::path::Path::new(&path).exists());
    }

    #[test]
    fn adopt_of_something_else_says_that_it_is_no_tap() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let error = adopt(&file).unwrap_err();
        assert!(error.to_string().contains("no tap"), "{error}");
    }
}
