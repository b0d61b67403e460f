//! The whole state of the server as bytes, and back.
//!
//! ```text
//!   Server --dump--> "noxen-xenstore" version | nodes | trees, transactions,
//!      ^                 domains, watches, connections, quota
//!      '---restore---'
//! ```
//!
//! A restored server answers every later request exactly as the dumped one
//! would have: the same ids, the same generations, the same order of events.
//! Only the statistics begin anew. So a daemon can log the requests after a
//! dump, and replay them to get where it was (see the daemon's journal).

mod codec;
mod trees;

use thiserror::Error;

pub use codec::{Reader, Writer};
pub(crate) use trees::{read_perms, write_perms, NodeReader, NodeWriter};

use crate::server::Server;

const MAGIC: &[u8] = b"noxen-xenstore";
const VERSION: u32 = 2;

/// The bytes are no dump that this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the store's saved state is damaged: no {what} at byte {at}")]
pub struct DumpError {
    /// What was expected.
    pub what: &'static str,
    /// Where.
    pub at: usize,
}

/// The server's state as bytes.
pub fn dump(server: &Server) -> Vec<u8> {
    let (mut nodes, mut body) = (NodeWriter::default(), Writer::default());
    server.write_state(&mut nodes, &mut body);
    let mut out = Writer::default();
    out.bytes(MAGIC);
    out.u32(VERSION);
    nodes.finish(&mut out);
    out.0.extend_from_slice(&body.0);
    out.0
}

/// The server that these bytes were made of.
pub fn restore(bytes: &[u8]) -> Result<Server, DumpError> {
    let mut r = Reader::new(bytes);
    if r.bytes()? != MAGIC {
        return Err(r.wrong("mark of a store's state"));
    }
    if r.u32()? != VERSION {
        return Err(r.wrong("version that is known"));
    }
    let nodes = NodeReader::read(&mut r)?;
    let server = Server::read_state(&nodes, &mut r)?;
    r.finish()?;
    Ok(server)
}

#[cfg(test)]
mod tests;
