//! The host's end of a network interface.

use noxen_control::tap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Most queues that an interface gets; more vCPUs share them.
const QUEUES: u32 = 4;

/// Makes the interface `name` for a domain of `vcpus`; it lives as long as one of the descriptors. /dev/null for `tun`
/// stands in for it in tests whose monitor needs none.
pub fn create(tun: &Path, name: &str, vcpus: u32) -> io::Result<Vec<OwnedFd>> {
    if tun == Path::new("/dev/null") {
        return Ok(vec![File::open(tun)?.into()]);
    }
    tap::create(name, vcpus.clamp(1, QUEUES))
}
