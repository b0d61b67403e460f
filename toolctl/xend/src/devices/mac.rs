//! Addresses for network interfaces that were given none.

use std::fs::File;
use std::io::{self, Read};

/// XenSource's prefix, `00:16:3e`, and a random rest whose first bit is 0, as xend made it.
pub fn random() -> io::Result<String> {
    let mut bytes = [0u8; 3];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(address(bytes))
}

fn address([a, b, c]: [u8; 3]) -> String {
    format!("00:16:3e:{:02x}:{b:02x}:{c:02x}", a & 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_addresses_are_xens() {
        assert_eq!(address([0xff, 0, 0xab]), "00:16:3e:7f:00:ab");
        let mac = random().unwrap();
        assert!(mac.starts_with("00:16:3e:") && mac.len() == 17, "{mac}");
        assert_ne!(random().unwrap(), random().unwrap());
    }
}
