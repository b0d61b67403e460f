//! What one domain may hold. Domain 0 has no quota.

use crate::Errno;

/// Limits of one domain. The defaults are Xen's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Nodes owned.
    pub nodes: u32,
    /// Bytes in one node's value.
    pub value_bytes: u32,
    /// Watches registered.
    pub watches: u32,
    /// Transactions open at once.
    pub transactions: u32,
    /// Nodes that one transaction may touch.
    pub transaction_nodes: u32,
    /// Bytes of paths and values that one transaction may gather.
    pub transaction_bytes: u32,
    /// Entries in one node's permission list.
    pub perms: u32,
    /// Unread bytes (replies and watch events) kept for a slow reader.
    pub outstanding_bytes: u32,
}

impl Quota {
    /// What a guest gets.
    pub const GUEST: Quota = Quota {
        nodes: 1000,
        value_bytes: 2048,
        watches: 128,
        transactions: 10,
        transaction_nodes: 1024,
        transaction_bytes: 256 * 1024,
        perms: 5,
        outstanding_bytes: 256 * 1024,
    };

    /// What domain 0's tools get: bounds against a runaway tool only.
    pub const PRIVILEGED: Quota = Quota {
        nodes: u32::MAX,
        value_bytes: u32::MAX,
        watches: u32::MAX,
        transactions: 4096,
        transaction_nodes: 1 << 20,
        transaction_bytes: 256 << 20,
        perms: u32::MAX,
        outstanding_bytes: 16 << 20,
    };

    /// No limit at all: what soft limits are until somebody sets them.
    pub const UNLIMITED: Quota = Quota {
        nodes: u32::MAX,
        value_bytes: u32::MAX,
        watches: u32::MAX,
        transactions: u32::MAX,
        transaction_nodes: u32::MAX,
        transaction_bytes: u32::MAX,
        perms: u32::MAX,
        outstanding_bytes: u32::MAX,
    };

    /// The limits that can be soft ones.
    pub const SOFT: [&'static str; 3] = ["nodes", "watches", "transactions"];

    const NAMES: [&'static str; 8] = [
        "nodes",
        "size",
        "watches",
        "transactions",
        "transaction-nodes",
        "transaction-bytes",
        "node-permissions",
        "outstanding",
    ];

    fn field(&mut self, name: &str) -> Option<&mut u32> {
        let fields = [
            &mut self.nodes,
            &mut self.value_bytes,
            &mut self.watches,
            &mut self.transactions,
            &mut self.transaction_nodes,
            &mut self.transaction_bytes,
            &mut self.perms,
            &mut self.outstanding_bytes,
        ];
        fields
            .into_iter()
            .zip(Quota::NAMES)
            .find(|(_, n)| *n == name)
            .map(|(f, _)| f)
    }

    /// Sets the limit called `name`; `EINVAL` for a name there is not.
    pub fn set(&mut self, name: &str, value: u32) -> Result<(), Errno> {
        *self.field(name).ok_or(Errno::EINVAL)? = value;
        Ok(())
    }

    /// Every limit with its name, as `xenstore-control quota` shows them.
    pub fn list(mut self) -> Vec<(&'static str, u32)> {
        Quota::NAMES
            .iter()
            .map(|n| (*n, self.field(n).map_or(0, |f| *f)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_by_name_changes_only_that_limit() {
        let mut q = Quota::GUEST;
        q.set("watches", 7).unwrap();
        assert_eq!(
            q,
            Quota {
                watches: 7,
                ..Quota::GUEST
            }
        );
        assert_eq!(q.set("bogus", 1), Err(Errno::EINVAL));
        assert_eq!(q.list()[2], ("watches", 7));
    }
}
