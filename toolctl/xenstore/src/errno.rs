//! Error names as they travel on the wire.
//!
//! An error reply carries the *name* of an error number, so that a guest and
//! a host with different numberings agree. The set is that of `xsd_errors` in
//! `xen/io/xs_wire.h`; clients treat any other name as `EINVAL`.

use std::fmt;

macro_rules! errnos {
    ($($name:ident $number:literal $text:literal),+ $(,)?) => {
        /// An error that the store answers with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(clippy::upper_case_acronyms)]
        pub enum Errno {
            $(#[doc = $text] $name),+
        }

        impl Errno {
            /// Every error, in the order of the public header.
            pub const ALL: &'static [Errno] = &[$(Errno::$name),+];

            /// The name sent on the wire, without the terminating NUL.
            pub const fn name(self) -> &'static str {
                match self { $(Errno::$name => stringify!($name)),+ }
            }

            /// Linux's number for this error.
            pub const fn number(self) -> i32 {
                match self { $(Errno::$name => $number),+ }
            }

            const fn text(self) -> &'static str {
                match self { $(Errno::$name => $text),+ }
            }
        }
    };
}

errnos! {
    EINVAL 22 "the request is malformed or names something invalid",
    EACCES 13 "permission denied",
    EEXIST 17 "it exists already",
    EISDIR 21 "it is a directory",
    ENOENT 2 "there is no such node, watch, transaction or domain",
    ENOMEM 12 "the store is out of memory",
    ENOSPC 28 "a quota of this domain is used up",
    EIO 5 "the store could not be read or written",
    ENOTEMPTY 39 "the node still has children",
    ENOSYS 38 "the store does not know this operation",
    EROFS 30 "this connection may only read",
    EBUSY 16 "it is in use",
    EAGAIN 11 "the transaction met a concurrent change, repeat it",
    EISCONN 106 "the domain is connected already",
    E2BIG 7 "the answer or the number of watches is too large",
    EPERM 1 "only a privileged domain may do this",
}

impl Errno {
    /// Finds the error that a reply names; a trailing NUL is allowed.
    pub fn from_wire(payload: &[u8]) -> Option<Errno> {
        let name = payload.strip_suffix(b"\0").unwrap_or(payload);
        Errno::ALL
            .iter()
            .copied()
            .find(|e| e.name().as_bytes() == name)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text(), self.name())
    }
}

impl std::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_every_errno_reads_back() {
        for e in Errno::ALL {
            assert_eq!(
                Errno::from_wire(format!("{}\0", e.name()).as_bytes()),
                Some(*e)
            );
        }
    }

    #[test]
    fn unknown_name_is_refused() {
        assert_eq!(Errno::from_wire(b"EQUOTA\0"), None);
    }
}
