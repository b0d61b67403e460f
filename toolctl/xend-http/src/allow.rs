//! Who may connect over TCP: xend's lists of regular expressions.
//!
//! ```text
//!   '^localhost$ ^10\\.0\\.' ──> one expression matches the address, or "localhost" of the host itself ──> served | 403
//! ```
//! xend matched host names as well, which whoever runs the name service of an address can choose; only addresses count here.

use regex_lite::Regex;
use std::net::IpAddr;

/// A list; the empty one allows everybody.
#[derive(Clone, Debug, Default)]
pub struct Allow {
    hosts: Vec<Regex>,
}

impl Allow {
    /// Expressions separated by blanks; the error names the one that is none.
    pub fn parse(text: &str) -> Result<Allow, String> {
        let hosts = text.split_whitespace().map(|word| {
            // As Python's match: at the beginning, wherever the end.
            Regex::new(&format!("^(?:{word})"))
                .map_err(|e| format!("{word} is no regular expression: {e}"))
        });
        Ok(Allow {
            hosts: hosts.collect::<Result<_, _>>()?,
        })
    }

    /// May a peer at `address` connect?
    pub fn takes(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let text = address.to_string();
        self.hosts.is_empty()
            || self.hosts.iter().any(|host| {
                host.is_match(&text) || address.is_loopback() && host.is_match("localhost")
            })
    }
}

impl PartialEq for Allow {
    fn eq(&self, other: &Allow) -> bool {
        let texts = |allow: &Allow| -> Vec<String> {
            allow
                .hosts
                .iter()
                .map(|host| host.as_str().to_owned())
                .collect()
        };
        texts(self) == texts(other)
    }
}

impl Eq for Allow {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_matched_from_their_beginning() {
        let takes =
            |list: &str, address: &str| Allow::parse(list).unwrap().takes(address.parse().unwrap());
        assert!(takes("", "192.0.2.1"));
        assert!(takes("^localhost$ ^10\\.0\\.", "10.0.3.4"));
        assert!(takes("^localhost$", "127.0.0.1") && takes("^localhost$", "::1"));
        assert!(
            takes("10\\.0", "::ffff:10.0.0.1"),
            "an IPv4 peer of an IPv6 socket"
        );
        assert!(!takes("^localhost$ ^10\\.0\\.", "110.0.3.4"));
        assert!(!takes("10\\.0\\.", "192.10.0.1"));
        assert!(!takes("^localhost$", "192.0.2.1"));
        assert!(Allow::parse("a ( b")
            .unwrap_err()
            .starts_with("( is no regular expression"));
    }
}
