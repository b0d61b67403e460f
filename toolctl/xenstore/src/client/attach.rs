//! Connections in a guest's name.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::ClientError;
use crate::session::{parse_answer, Attach};
use crate::wire::{Header, Op, HEADER_LEN, PAYLOAD_MAX};
use crate::{DomId, Errno};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes a guest's session up again after the daemon was restarted. `door` is
/// the daemon's `domains` socket, `replies_seen` what the guest's
/// [`crate::session::Link`] has counted. Returns the stream, with nothing of
/// the session read from it yet, and how many requests the daemon has answered
/// (for [`crate::session::Link::resumed`]).
///
/// `ENOENT` means that the daemon does not know the session: a new one has to
/// be begun, and the guest's watches are lost.
pub fn resume_domain(
    door: &Path,
    domid: DomId,
    replies_seen: u64,
) -> Result<(UnixStream, u64), ClientError> {
    let mut stream = UnixStream::connect(door).map_err(|source| ClientError::Connect {
        path: door.to_owned(),
        source,
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(
        &Attach {
            domid,
            replies_seen: Some(replies_seen),
        }
        .encode(),
    )?;
    // Exactly the answer and no byte more: the rest is the session's.
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header)?;
    let header = Header::decode(&header);
    let wrong = |what: &str| ClientError::Protocol(format!("{what} in answer to a guest's return"));
    if header.len as usize > PAYLOAD_MAX {
        return Err(wrong("a message that is too long"));
    }
    let mut payload = vec![0; header.len as usize];
    stream.read_exact(&mut payload)?;
    if header.kind == Op::Error as u32 {
        let errno = Errno::from_wire(&payload).unwrap_or(Errno::EINVAL);
        return Err(ClientError::Store {
            op: "resume",
            subject: format!("domain {domid}"),
            errno,
        });
    }
    let answered = parse_answer(&payload).ok_or_else(|| wrong("no count"))?;
    stream.set_read_timeout(None)?;
    Ok((stream, answered))
}
