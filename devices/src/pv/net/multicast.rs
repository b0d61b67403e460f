//! Which multicast frames a guest wants (feature-multicast-control).

/// Most addresses on a guest's list; it is refused more.
pub const MAX_ADDRESSES: usize = 64;

/// A guest's list.
#[derive(Debug, Default)]
pub struct Filter {
    addresses: Vec<[u8; 6]>,
}

impl Filter {
    /// Puts an address on the list; false: the list is full, or that is no multicast address.
    pub fn add(&mut self, address: [u8; 6]) -> bool {
        if self.addresses.contains(&address) {
            return true;
        }
        let room = self.addresses.len() < MAX_ADDRESSES;
        if room && is_multicast(&address) {
            self.addresses.push(address);
            return true;
        }
        false
    }

    /// The list.
    pub fn addresses(&self) -> &[[u8; 6]] {
        &self.addresses
    }

    /// Takes an address off the list.
    pub fn remove(&mut self, address: [u8; 6]) {
        self.addresses.retain(|known| *known != address);
    }

    /// Whether a frame to `destination` is wanted.
    pub fn wants(&self, destination: &[u8; 6]) -> bool {
        !is_multicast(destination)
            || *destination == [0xff; 6]
            || self.addresses.contains(destination)
    }
}

fn is_multicast(address: &[u8; 6]) -> bool {
    address[0] & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_lets_unicast_broadcast_and_listed_groups_pass() {
        let mut filter = Filter::default();
        let group = [1, 0, 0x5e, 0, 0, 1];
        assert!(!filter.wants(&group));
        assert!(filter.add(group) && filter.add(group));
        assert!(filter.wants(&group) && filter.wants(&[0xff; 6]) && filter.wants(&[2; 6]));
        filter.remove(group);
        assert!(!filter.wants(&group));
    }

    #[test]
    fn filter_is_bounded_and_takes_only_groups() {
        let mut filter = Filter::default();
        assert!(!filter.add([2, 0, 0, 0, 0, 1]));
        for i in 0..MAX_ADDRESSES as u8 {
            assert!(filter.add([1, 0, 0, 0, 0, i]));
        }
        assert!(!filter.add([1, 0, 0, 0, 1, 0]));
    }
}
