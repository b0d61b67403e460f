//! Operations on nodes, in a transaction or out of it.

use super::ClientError;
use crate::wire::{self, Op};
use crate::{Errno, Perms};

/// Reading and changing nodes.
///
/// Paths are absolute, or relative to the connection's domain's home.
pub trait Nodes {
    /// Sends one request and returns the reply's payload.
    fn request(&mut self, op: Op, payload: &[&[u8]]) -> Result<Vec<u8>, ClientError>;

    /// Sends the same request for each of `paths`, many at a time, and returns the replies' payloads in their order. An error
    /// of the connection is one of the whole.
    fn request_all(
        &mut self,
        op: Op,
        paths: &[String],
    ) -> Result<Vec<Result<Vec<u8>, ClientError>>, ClientError>;

    /// A node's value as bytes.
    fn read_bytes(&mut self, path: &str) -> Result<Vec<u8>, ClientError> {
        self.request(Op::Read, &[path.as_bytes(), b"\0"])
    }

    /// A node's value as text; bytes that are no UTF-8 become U+FFFD.
    fn read(&mut self, path: &str) -> Result<String, ClientError> {
        Ok(value(self.read_bytes(path)?))
    }

    /// A node's value, `None` if there is no such node.
    fn read_if_present(&mut self, path: &str) -> Result<Option<String>, ClientError> {
        absent_is_none(self.read(path))
    }

    /// Sets a value; makes the node and its ancestors if need be.
    fn write(&mut self, path: &str, value: impl AsRef<[u8]>) -> Result<(), ClientError>
    where
        Self: Sized,
    {
        self.request(Op::Write, &[path.as_bytes(), b"\0", value.as_ref()])
            .map(drop)
    }

    /// Makes an empty node and its ancestors; a node that is there stays.
    fn mkdir(&mut self, path: &str) -> Result<(), ClientError> {
        self.request(Op::Mkdir, &[path.as_bytes(), b"\0"]).map(drop)
    }

    /// Removes a node and all below it. `ENOENT` only if even the parent is
    /// missing.
    fn rm(&mut self, path: &str) -> Result<(), ClientError> {
        self.request(Op::Rm, &[path.as_bytes(), b"\0"]).map(drop)
    }

    /// Removes a node and all below it, if there.
    fn rm_if_present(&mut self, path: &str) -> Result<(), ClientError> {
        absent_is_none(self.rm(path)).map(drop)
    }

    /// Names of the children, however many.
    fn directory(&mut self, path: &str) -> Result<Vec<String>, ClientError> {
        match self.request(Op::Directory, &[path.as_bytes(), b"\0"]) {
            Err(e) if e.errno() == Some(Errno::E2BIG) => directory_in_parts(self, path),
            reply => Ok(names(&reply?)),
        }
    }

    /// Names of the children, `None` if there is no such node.
    fn directory_if_present(&mut self, path: &str) -> Result<Option<Vec<String>>, ClientError> {
        absent_is_none(self.directory(path))
    }

    /// Whether there is such a node.
    fn exists(&mut self, path: &str) -> Result<bool, ClientError> {
        Ok(absent_is_none(self.read_bytes(path))?.is_some())
    }

    /// Who may do what with a node.
    fn perms(&mut self, path: &str) -> Result<Perms, ClientError> {
        let reply = self.request(Op::GetPerms, &[path.as_bytes(), b"\0"])?;
        let strings = wire::strings(&reply).into_iter().flatten();
        Perms::parse(strings)
            .map_err(|_| ClientError::Protocol(format!("permissions of {path} that are none")))
    }

    /// Sets who may do what with a node.
    fn set_perms(&mut self, path: &str, perms: &Perms) -> Result<(), ClientError> {
        let mut list = Vec::new();
        perms.append_wire(&mut list);
        self.request(Op::SetPerms, &[path.as_bytes(), b"\0", &list])
            .map(drop)
    }
}

/// Most nodes that [`subtree`] reads; xenstored's own quota for a guest is lower.
const MOST: usize = 8192;

/// The nodes of some `directories` below `home`: path below it and value, parents before children. What is not there, or
/// goes meanwhile, is left out. The store is asked for a level at a time, not for a node: that is a round trip each.
pub fn subtree(
    nodes: &mut impl Nodes,
    home: &str,
    directories: &[String],
) -> Result<Vec<(String, String)>, ClientError> {
    let mut level: Vec<String> = directories.to_vec();
    let mut found: Vec<(String, String)> = Vec::new();
    while !level.is_empty() && found.len() < MOST {
        level.truncate(MOST - found.len());
        let full: Vec<String> = level.iter().map(|path| format!("{home}/{path}")).collect();
        let values = nodes.request_all(Op::Read, &full)?;
        let lists = nodes.request_all(Op::Directory, &full)?;
        let mut below = Vec::new();
        for (((path, full), read), list) in level.into_iter().zip(&full).zip(values).zip(lists) {
            let Some(bytes) = absent_is_none(read)? else {
                continue;
            };
            let children = match list {
                Err(e) if e.errno() == Some(Errno::E2BIG) => nodes.directory_if_present(full)?,
                list => absent_is_none(list)?.map(|list| names(&list)),
            };
            let children = children.unwrap_or_default();
            below.extend(children.iter().map(|name| format!("{path}/{name}")));
            found.push((path, value(bytes)));
        }
        level = below;
    }
    Ok(found)
}

fn value(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

fn absent_is_none<T>(result: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.is_missing() => Ok(None),
        Err(e) => Err(e),
    }
}

fn names(list: &[u8]) -> Vec<String> {
    let strings = wire::strings(list).into_iter().flatten();
    strings
        .map(|n| String::from_utf8_lossy(n).into_owned())
        .collect()
}

/// A list too long for one message, read in slices; begun again whenever the
/// list changes under way.
fn directory_in_parts(
    nodes: &mut (impl Nodes + ?Sized),
    path: &str,
) -> Result<Vec<String>, ClientError> {
    let (mut generation, mut list) = (None, Vec::new());
    loop {
        let offset = list.len().to_string();
        let reply = nodes.request(
            Op::DirectoryPart,
            &[path.as_bytes(), b"\0", offset.as_bytes(), b"\0"],
        )?;
        let broken = || {
            ClientError::Protocol(format!(
                "a slice of the children of {path} that is malformed"
            ))
        };
        let nul = reply.iter().position(|b| *b == 0).ok_or_else(broken)?;
        let (now, slice) = (reply[..nul].to_vec(), &reply[nul + 1..]);
        if generation.as_ref().is_some_and(|then| *then != now) {
            (generation, list) = (None, Vec::new());
            continue;
        }
        generation = Some(now);
        match slice {
            [] => return Err(broken()),
            [0] => return Ok(names(&list)),
            [most @ .., 0, 0] => {
                list.extend_from_slice(most);
                list.push(0);
                return Ok(names(&list));
            }
            part => list.extend_from_slice(part),
        }
    }
}
