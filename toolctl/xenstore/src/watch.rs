//! Watches: who wants to hear of which path.
//!
//! ```text
//!   event at /a/b/c  ->  watches on /a/b/c, /a/b, /a and /
//!   removal of /a    ->  watches on /a and above hear "/a";
//!                        a watch on /a/b hears "/a/b"
//!   @releaseDomain   ->  watches of exactly that name
//! ```
//!
//! A watch registered by a relative path hears relative paths.

use std::collections::HashMap;
use std::sync::Arc;

use crate::server::ConnId;
use crate::{path, Errno};

/// One registered watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Order of registration, over all connections.
    pub serial: u64,
    /// Who is told.
    pub conn: ConnId,
    /// The canonical path, or a special name.
    pub path: Arc<str>,
    /// What the client wants to find in the event.
    pub token: Arc<[u8]>,
    /// How many bytes of an event's path a relative watch does not want;
    /// 0 for an absolute one.
    pub hide: usize,
}

impl Watch {
    /// The event's path as this watch's owner named it.
    pub fn shown<'e>(&self, event: &'e str) -> &'e str {
        event.get(self.hide..).unwrap_or("")
    }
}

/// All watches of all connections.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    by_path: HashMap<Arc<str>, Vec<Watch>>,
    by_conn: HashMap<ConnId, Vec<Arc<str>>>,
    serial: u64,
}

impl Watches {
    /// Watches as they were dumped.
    pub fn from_parts(serial: u64, mut all: Vec<Watch>) -> Watches {
        all.sort_by_key(|w| w.serial);
        let mut watches = Watches {
            serial,
            ..Watches::default()
        };
        for mut watch in all {
            let known = watches.by_path.get_key_value(&watch.path);
            watch.path = known.map_or(watch.path.clone(), |(key, _)| key.clone());
            watches
                .by_conn
                .entry(watch.conn)
                .or_default()
                .push(watch.path.clone());
            watches
                .by_path
                .entry(watch.path.clone())
                .or_default()
                .push(watch);
        }
        watches
    }

    /// The last number given to a watch.
    pub fn last_serial(&self) -> u64 {
        self.serial
    }

    /// Every watch in order of registration.
    pub fn all(&self) -> Vec<&Watch> {
        let mut all: Vec<&Watch> = self.by_path.values().flatten().collect();
        all.sort_by_key(|w| w.serial);
        all
    }

    /// How many a connection has registered.
    pub fn count(&self, conn: ConnId) -> usize {
        self.by_conn.get(&conn).map_or(0, Vec::len)
    }

    /// How many there are in all.
    pub fn total(&self) -> usize {
        self.by_conn.values().map(Vec::len).sum()
    }

    /// Whether nobody watches exactly this path.
    pub fn none_at(&self, path: &str) -> bool {
        !self.by_path.contains_key(path)
    }

    /// Whether a connection has this very watch.
    pub fn has(&self, conn: ConnId, path: &str, token: &[u8]) -> bool {
        let list = self.by_path.get(path).into_iter().flatten();
        list.into_iter()
            .any(|w| w.conn == conn && *w.token == *token)
    }

    /// Registers; `EEXIST` if the connection has the same path and token.
    pub fn add(
        &mut self,
        conn: ConnId,
        path: &str,
        token: &[u8],
        hide: usize,
    ) -> Result<&Watch, Errno> {
        let key: Arc<str> = match self.by_path.get_key_value(path) {
            Some((key, list)) => {
                if list.iter().any(|w| w.conn == conn && *w.token == *token) {
                    return Err(Errno::EEXIST);
                }
                key.clone()
            }
            None => path.into(),
        };
        self.serial += 1;
        let watch = Watch {
            serial: self.serial,
            conn,
            path: key.clone(),
            token: token.into(),
            hide,
        };
        self.by_conn.entry(conn).or_default().push(key.clone());
        let list = self.by_path.entry(key).or_default();
        list.push(watch);
        Ok(&list[list.len() - 1])
    }

    /// Ends one watch; `ENOENT` if there is none such.
    pub fn remove(&mut self, conn: ConnId, path: &str, token: &[u8]) -> Result<(), Errno> {
        let list = self.by_path.get_mut(path).ok_or(Errno::ENOENT)?;
        let is_it = |w: &Watch| w.conn == conn && *w.token == *token;
        let place = list.iter().position(is_it).ok_or(Errno::ENOENT)?;
        list.remove(place);
        if list.is_empty() {
            self.by_path.remove(path);
        }
        if let Some(paths) = self.by_conn.get_mut(&conn) {
            if let Some(place) = paths.iter().position(|p| &**p == path) {
                paths.swap_remove(place);
            }
            if paths.is_empty() {
                self.by_conn.remove(&conn);
            }
        }
        Ok(())
    }

    /// Ends all watches of a connection.
    pub fn remove_all(&mut self, conn: ConnId) {
        for path in self.by_conn.remove(&conn).unwrap_or_default() {
            if let Some(list) = self.by_path.get_mut(&path) {
                list.retain(|w| w.conn != conn);
                if list.is_empty() {
                    self.by_path.remove(&path);
                }
            }
        }
    }

    /// Collects the watches on exactly `path` into `out`.
    pub fn at(&self, path: &str, out: &mut Vec<Watch>) {
        out.extend(self.by_path.get(path).into_iter().flatten().cloned());
    }

    /// Collects the watches on `path` and on every ancestor into `out`, in
    /// order of registration.
    pub fn covering(&self, path: &str, out: &mut Vec<Watch>) {
        if self.by_path.is_empty() {
            return;
        }
        for p in path::ancestors(path) {
            self.at(p, out);
        }
        out.sort_unstable_by_key(|w| w.serial);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId::for_test(1);
    const B: ConnId = ConnId::for_test(2);

    fn tokens(list: &[Watch]) -> Vec<String> {
        list.iter()
            .map(|w| String::from_utf8_lossy(&w.token).into_owned())
            .collect()
    }

    #[test]
    fn covering_finds_ancestors_in_order_of_registration() {
        let mut w = Watches::default();
        w.add(A, "/a/b", b"1", 0).unwrap();
        w.add(B, "/", b"2", 0).unwrap();
        w.add(A, "/a", b"3", 0).unwrap();
        w.add(A, "/a/bc", b"4", 0).unwrap();
        let mut out = Vec::new();
        w.covering("/a/b", &mut out);
        assert_eq!(tokens(&out), ["1", "2", "3"]);
    }

    #[test]
    fn add_same_path_and_token_twice_exists() {
        let mut w = Watches::default();
        w.add(A, "/a", b"t", 0).unwrap();
        assert_eq!(w.add(A, "/a", b"t", 0).err(), Some(Errno::EEXIST));
        assert!(w.add(A, "/a", b"u", 0).is_ok());
        assert!(w.add(B, "/a", b"t", 0).is_ok());
        assert_eq!((w.count(A), w.count(B), w.total()), (2, 1, 3));
    }

    #[test]
    fn remove_all_leaves_nothing_of_that_connection() {
        let mut w = Watches::default();
        w.add(A, "/a", b"1", 0).unwrap();
        w.add(A, "/a", b"2", 0).unwrap();
        w.add(B, "/a", b"3", 0).unwrap();
        w.remove(A, "/a", b"1").unwrap();
        assert_eq!(w.remove(A, "/a", b"1"), Err(Errno::ENOENT));
        w.remove_all(A);
        assert_eq!((w.count(A), w.total()), (0, 1));
        w.remove_all(B);
        assert!(w.by_path.is_empty() && w.by_conn.is_empty());
    }

    #[test]
    fn shown_hides_the_home_of_a_relative_watch() {
        let w = Watch {
            serial: 1,
            conn: A,
            path: "/local/domain/5/x".into(),
            token: [].into(),
            hide: 16,
        };
        assert_eq!(w.shown("/local/domain/5/x/y"), "x/y");
        assert_eq!(w.shown("/local/domain/5"), "");
    }
}
