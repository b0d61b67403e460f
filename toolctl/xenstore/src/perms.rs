//! Permissions: who owns a node and who may read or write it.
//!
//! ```text
//!   "n5" "r6" "b7"     first entry: domain 5 owns the node (may do all) and
//!                      everybody not listed gets `n` (nothing);
//!                      domain 6 may read, domain 7 read and write
//!   r read   w write   b both   n none
//! ```

use std::sync::Arc;

use crate::Errno;

/// A domain's number.
pub type DomId = u16;

/// `DOMID_FIRST_RESERVED`: ids from here on are no domains.
pub const DOMID_FIRST_RESERVED: DomId = 0x7ff0;

/// What a node's permissions let somebody do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Access {
    /// May read the value, the children's names and the permissions.
    pub read: bool,
    /// May change the value, make children, remove the node.
    pub write: bool,
}

impl Access {
    /// Nothing at all (`n`).
    pub const NONE: Access = Access {
        read: false,
        write: false,
    };
    /// Reading only (`r`).
    pub const READ: Access = Access {
        read: true,
        write: false,
    };
    /// Writing only (`w`).
    pub const WRITE: Access = Access {
        read: false,
        write: true,
    };
    /// Reading and writing (`b`).
    pub const BOTH: Access = Access {
        read: true,
        write: true,
    };

    /// The letter used on the wire.
    pub const fn letter(self) -> char {
        match (self.read, self.write) {
            (false, false) => 'n',
            (true, false) => 'r',
            (false, true) => 'w',
            (true, true) => 'b',
        }
    }

    /// The rights that a wire letter stands for.
    pub const fn from_letter(letter: u8) -> Option<Access> {
        Some(match letter {
            b'n' => Access::NONE,
            b'r' => Access::READ,
            b'w' => Access::WRITE,
            b'b' => Access::BOTH,
            _ => return None,
        })
    }

    /// Whether all of `wanted` is granted.
    pub const fn allows(self, wanted: Access) -> bool {
        (self.read || !wanted.read) && (self.write || !wanted.write)
    }
}

/// One entry of a permission list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The domain it is about.
    pub domid: DomId,
    /// What that domain may do.
    pub access: Access,
}

/// In whose name a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The domain.
    pub domid: DomId,
    /// A domain whose rights it has as well (`SET_TARGET`).
    pub target: Option<DomId>,
}

impl Identity {
    /// Domain 0: may do everything.
    pub const DOM0: Identity = Identity {
        domid: 0,
        target: None,
    };

    /// An ordinary domain without a target.
    pub const fn guest(domid: DomId) -> Identity {
        Identity {
            domid,
            target: None,
        }
    }

    /// Whether permissions and quotas do not apply.
    pub const fn is_privileged(self) -> bool {
        self.domid == 0
    }

    fn is(self, domid: DomId) -> bool {
        self.domid == domid || self.target == Some(domid)
    }
}

/// A node's permission list: never empty; the first entry is the owner's.
/// Cheap to clone, children usually share their parent's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Perms(Arc<[Entry]>);

impl Perms {
    /// A list that gives everything to `owner` and `others` to the rest.
    pub fn owned_by(owner: DomId, others: Access) -> Perms {
        Perms(Arc::new([Entry {
            domid: owner,
            access: others,
        }]))
    }

    /// A list from its entries; `None` without a first, the owner's.
    pub fn from_entries(entries: &[Entry]) -> Option<Perms> {
        (!entries.is_empty()).then(|| Perms(entries.into()))
    }

    /// The entries, the owner's first.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The domain that owns the node and is charged for it.
    pub fn owner(&self) -> DomId {
        self.0[0].domid
    }

    /// The same list in other hands, as an unprivileged creator inherits it.
    pub fn with_owner(&self, owner: DomId) -> Perms {
        if self.owner() == owner {
            return self.clone();
        }
        let mut entries = self.0.to_vec();
        entries[0].domid = owner;
        Perms(entries.into())
    }

    /// The same list without entries about `domid`; `None` if unchanged.
    /// The owner's entry stays.
    pub fn without(&self, domid: DomId) -> Option<Perms> {
        if !self.0[1..].iter().any(|e| e.domid == domid) {
            return None;
        }
        let (first, rest) = (self.0[0], &self.0[1..]);
        let kept = std::iter::once(first).chain(rest.iter().copied().filter(|e| e.domid != domid));
        Some(Perms(kept.collect()))
    }

    /// Whether `who` is the owner, or may act as the owner.
    pub fn owned_or_privileged(&self, who: Identity) -> bool {
        who.is_privileged() || who.is(self.owner())
    }

    /// What `who` may do with a node that has these permissions.
    pub fn access(&self, who: Identity) -> Access {
        if self.owned_or_privileged(who) {
            return Access::BOTH;
        }
        let listed = self.0[1..].iter().find(|e| who.is(e.domid));
        listed.unwrap_or(&self.0[0]).access
    }

    /// Reads a list from the strings of a `SET_PERMS` request.
    pub fn parse<'a>(strings: impl Iterator<Item = &'a [u8]>) -> Result<Perms, Errno> {
        let entries = strings
            .map(parse_entry)
            .collect::<Option<Vec<_>>>()
            .ok_or(Errno::EINVAL)?;
        Perms::from_entries(&entries).ok_or(Errno::EINVAL)
    }

    /// Appends the list as wire strings: `n0\0r5\0`.
    pub fn append_wire(&self, out: &mut Vec<u8>) {
        for e in self.entries() {
            out.extend_from_slice(format!("{}{}\0", e.access.letter(), e.domid).as_bytes());
        }
    }
}

fn parse_entry(text: &[u8]) -> Option<Entry> {
    let (&letter, digits) = text.split_first()?;
    Some(Entry {
        access: Access::from_letter(letter)?,
        domid: parse_domid(digits)?,
    })
}

/// Reads a decimal domain number, nothing but digits allowed.
pub fn parse_domid(digits: &[u8]) -> Option<DomId> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn perms(text: &[&str]) -> Perms {
        Perms::parse(text.iter().map(|t| t.as_bytes())).unwrap()
    }

    #[test]
    fn access_follows_owner_then_list_then_default() {
        let p = perms(&["r5", "w6", "b7", "n8"]);
        let cases = [
            (0, Access::BOTH),
            (5, Access::BOTH),
            (6, Access::WRITE),
            (7, Access::BOTH),
            (8, Access::NONE),
            (9, Access::READ),
        ];
        for (domid, want) in cases {
            assert_eq!(p.access(Identity::guest(domid)), want, "domain {domid}");
        }
    }

    #[test]
    fn access_first_entry_about_a_domain_wins() {
        assert_eq!(
            perms(&["n0", "r3", "b3"]).access(Identity::guest(3)),
            Access::READ
        );
    }

    #[test]
    fn access_with_target_has_the_targets_rights() {
        let stub = Identity {
            domid: 9,
            target: Some(5),
        };
        assert_eq!(perms(&["n5"]).access(stub), Access::BOTH);
        assert_eq!(perms(&["n0", "r5"]).access(stub), Access::READ);
        assert_eq!(perms(&["n0"]).access(stub), Access::NONE);
    }

    #[test]
    fn parse_malformed_entries_are_invalid() {
        for bad in ["", "r", "z5", "r5x", "r-1", "5", "r70000", "r+5"] {
            assert_eq!(
                Perms::parse([bad.as_bytes()].into_iter()),
                Err(Errno::EINVAL),
                "{bad:?}"
            );
        }
        assert_eq!(Perms::parse(std::iter::empty()), Err(Errno::EINVAL));
    }

    #[test]
    fn wire_form_reads_back() {
        let p = perms(&["n0", "r5", "b6", "w65535"]);
        let mut wire = Vec::new();
        p.append_wire(&mut wire);
        assert_eq!(wire, b"n0\0r5\0b6\0w65535\0");
    }

    #[test]
    fn without_drops_every_entry_but_the_owner() {
        assert_eq!(
            perms(&["n5", "r5", "r6", "b5"]).without(5),
            Some(perms(&["n5", "r6"]))
        );
        assert_eq!(perms(&["n5", "r6"]).without(5), None);
    }
}
