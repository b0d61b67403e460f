//! Paths: what a client may name, and how a relative name becomes absolute.
//!
//! ```text
//!   "/tool/x"    absolute           -> as it is
//!   "device/vif" relative, domain 5 -> "/local/domain/5/device/vif"
//!   "@releaseDomain" special        -> for watches and permissions only
//! ```
//!
//! A valid path starts with `/`, does not end in `/` (but `/` itself is
//! valid), has no empty component, uses only letters, digits and `-/_@`, and
//! is at most [`RELATIVE_MAX`] bytes long, not counting a leading
//! `/local/domain/<id>/`. Source: xenstore.txt and Xen 4.17's daemon.

use std::fmt::Write as _;

use crate::{DomId, Errno};

/// `XENSTORE_ABS_PATH_MAX`: no absolute path may ever be longer.
pub const ABSOLUTE_MAX: usize = 3072;
/// `XENSTORE_REL_PATH_MAX`: what may follow a domain's home.
pub const RELATIVE_MAX: usize = 2048;

/// Name of the watch told of every introduced domain.
pub const INTRODUCE_DOMAIN: &str = "@introduceDomain";
/// Name of the watch told of every domain that is gone.
pub const RELEASE_DOMAIN: &str = "@releaseDomain";

const HOME: &str = "/local/domain/";

/// A domain's home, to which its relative paths belong.
pub fn home(domid: DomId) -> String {
    format!("{HOME}{domid}")
}

/// Whether the client's name stands for an event rather than for a node.
pub fn is_special(raw: &[u8]) -> bool {
    raw.first() == Some(&b'@')
}

/// Makes the client's name absolute and checks it. `scratch` holds the result
/// where the name was relative.
pub fn resolve<'a>(raw: &'a [u8], domid: DomId, scratch: &'a mut String) -> Result<&'a str, Errno> {
    if raw.len() > ABSOLUTE_MAX || is_special(raw) {
        return Err(Errno::EINVAL);
    }
    let name = std::str::from_utf8(raw).map_err(|_| Errno::EINVAL)?;
    let absolute: &str = if name.starts_with('/') {
        name
    } else {
        scratch.clear();
        let _ = write!(scratch, "{HOME}{domid}/{name}");
        scratch
    };
    if is_valid(absolute) {
        Ok(absolute)
    } else {
        Err(Errno::EINVAL)
    }
}

/// Whether this is the canonical form of an absolute path.
pub fn is_valid(path: &str) -> bool {
    let bytes = path.as_bytes();
    if bytes == b"/" {
        return true;
    }
    if bytes.first() != Some(&b'/') || bytes.len() > local_prefix(path) + RELATIVE_MAX {
        return false;
    }
    let mut previous = 0;
    for &b in bytes {
        let fits = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'/' | b'_' | b'@');
        if !fits || (b == b'/' && previous == b'/') {
            return false;
        }
        previous = b;
    }
    previous != b'/'
}

/// Length of a leading `/local/domain/<id>/`, 0 without one.
fn local_prefix(path: &str) -> usize {
    let Some(rest) = path.strip_prefix(HOME) else {
        return 0;
    };
    let digits = rest.bytes().take(5).take_while(u8::is_ascii_digit).count();
    if digits > 0 && rest.as_bytes().get(digits) == Some(&b'/') {
        HOME.len() + digits + 1
    } else {
        0
    }
}

/// The components of a canonical path; none for `/`.
pub fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|c| !c.is_empty())
}

/// The path one level up; `None` for `/`.
pub fn parent(path: &str) -> Option<&str> {
    match path.rfind('/') {
        _ if path == "/" => None,
        Some(0) => Some("/"),
        Some(i) => Some(&path[..i]),
        None => None,
    }
}

/// `path` itself, its parent and so on up to `/`.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |p| parent(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(raw: &[u8]) -> Result<String, Errno> {
        resolve(raw, 5, &mut String::new()).map(str::to_owned)
    }

    #[test]
    fn resolve_relative_name_starts_at_home() {
        assert_eq!(
            resolved(b"device/vif/0").unwrap(),
            "/local/domain/5/device/vif/0"
        );
        assert_eq!(resolved(b"/tool").unwrap(), "/tool");
        assert_eq!(resolved(b"/").unwrap(), "/");
    }

    #[test]
    fn resolve_malformed_names_are_invalid() {
        for bad in [
            "", "/a/", "//", "/a//b", "a/", "/a b", "/a\n", "@x", "/é", "/a.b", "/a:b",
        ] {
            assert_eq!(resolved(bad.as_bytes()), Err(Errno::EINVAL), "{bad:?}");
        }
        assert_eq!(resolved(b"\xff\xfe"), Err(Errno::EINVAL));
    }

    #[test]
    fn resolve_length_limits_are_those_of_the_c_daemon() {
        let long = |prefix: &str, n| format!("{prefix}{}", "p".repeat(n)).into_bytes();
        assert!(resolved(&long("/", 2047)).is_ok());
        assert!(resolved(&long("/", 2048)).is_err());
        assert!(resolved(&long("", 2048)).is_ok());
        assert!(resolved(&long("", 2049)).is_err());
        assert!(resolved(&long("/local/domain/12/", 2048)).is_ok());
        assert!(resolved(&long("/local/domain/x/", 2048)).is_err());
    }

    #[test]
    fn ancestors_end_at_the_root() {
        assert_eq!(ancestors("/a/b").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(ancestors("/").collect::<Vec<_>>(), ["/"]);
        assert_eq!(components("/").count(), 0);
    }
}
