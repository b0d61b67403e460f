//! A xenstore inside this process, for `noxen-vmm run` only.
//!
//! ```text
//!   ring pump (as the guest)      <--socketpair--> thread: decoder --> noxen_xenstore::server (pure core)
//!   back ends (as domain 0)       <--socketpair-->                 <-- replies, watch events
//! ```

use crate::domain::pv::{Config, CONSOLE_PORT};
use noxen_xenstore::server::{ConnId, ConnKind, Server, Sink};
use noxen_xenstore::wire::{append_message, Decoder, Header, Op};
use noxen_xenstore::DomId;
use rustix::event::{poll, PollFd, PollFlags};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// A disk of the domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vbd {
    /// Xen's device number.
    pub devid: u32,
    /// Front end's directory.
    pub frontend: String,
    /// Back end's directory.
    pub backend: String,
}

impl Vbd {
    /// Disk `index` (0: xvda) of domain `domid`.
    pub fn new(domid: u32, index: u32) -> Vbd {
        // Major 202, sixteen minors a disk (docs/misc/vbd-interface of Xen).
        Vbd::numbered(domid, 202 << 8 | index << 4)
    }

    /// The disk with Xen's number `devid`.
    pub fn numbered(domid: u32, devid: u32) -> Vbd {
        Vbd {
            devid,
            frontend: format!("/local/domain/{domid}/device/vbd/{devid}"),
            backend: format!("/local/domain/0/backend/vbd/{domid}/{devid}"),
        }
    }
}

/// A network interface of the domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vif {
    /// Index.
    pub devid: u32,
    /// Front end's directory.
    pub frontend: String,
    /// Back end's directory.
    pub backend: String,
    /// Address of the guest's end.
    pub mac: String,
}

impl Vif {
    /// Interface `index` of domain `domid`.
    pub fn new(domid: u32, index: u32) -> Vif {
        Vif {
            devid: index,
            frontend: format!("/local/domain/{domid}/device/vif/{index}"),
            backend: format!("/local/domain/0/backend/vif/{domid}/{index}"),
            mac: format!(
                "00:16:3e:{:02x}:{:02x}:{:02x}",
                domid >> 8 & 0x7f,
                domid & 0xff,
                index & 0xff
            ),
        }
    }
}

/// Connections as domain 0: one, and one to go on with should it be lost.
const TOOLS: usize = 2;

/// The connections to a private store.
#[derive(Debug)]
pub struct Streams {
    /// As the guest.
    pub guest: UnixStream,
    /// As domain 0.
    pub tools: Vec<UnixStream>,
}

/// What the core answers, by connection.
#[derive(Default)]
struct Replies(Vec<(ConnId, Vec<u8>)>);

impl Replies {
    fn of(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        let mut all = self.0.iter_mut();
        all.find(|(id, _)| *id == conn).map(|(_, bytes)| bytes)
    }
}

impl Sink for Replies {
    fn send(&mut self, to: ConnId, kind: Op, req_id: u32, tx_id: u32, payload: &[&[u8]]) {
        if let Some(bytes) = self.of(to) {
            append_message(bytes, kind as u32, req_id, tx_id, payload);
        }
    }

    fn close(&mut self, _conn: ConnId) {}

    fn log(&mut self, _line: &str) {}
}

/// Starts the store for `domid` with `disks` and `vifs`.
pub fn start(domid: u32, config: &Config, disks: &[Vbd], vifs: &[Vif]) -> io::Result<Streams> {
    let domain = DomId::try_from(domid).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut server = Server::new();
    let (first, _) = server.connect(ConnKind::Tool);
    let (guest, _) = server.connect(ConnKind::Guest(domain));
    fill(&mut server, first, domid, config, disks, vifs);
    let (guest_end, ours) = UnixStream::pair()?;
    let mut peers = vec![Peer::new(guest, ours)];
    let mut tools = Vec::new();
    for _ in 0..TOOLS {
        let (theirs, ours) = UnixStream::pair()?;
        let (tool, _) = server.connect(ConnKind::Tool);
        peers.push(Peer::new(tool, ours));
        tools.push(theirs);
    }
    std::thread::Builder::new()
        .name("store".into())
        .stack_size(256 << 10)
        .spawn(move || {
            // Ends with the process, or when both ends have closed.
            let _ = serve(server, peers);
        })?;
    Ok(Streams {
        guest: guest_end,
        tools,
    })
}

/// Writes what xend would.
fn fill(
    server: &mut Server,
    tool: ConnId,
    domid: u32,
    config: &Config,
    disks: &[Vbd],
    vifs: &[Vif],
) {
    let mut write = |path: &str, value: &str, perms: &str| {
        // Nobody waits for the answers.
        let mut nobody = Replies::default();
        let payload = [path.as_bytes(), &[0], value.as_bytes()].concat();
        server.handle(
            tool,
            header(Op::Write, payload.len()),
            &payload,
            &mut nobody,
        );
        let perms = format!("{path}\0{perms}");
        let header = header(Op::SetPerms, perms.len());
        server.handle(tool, header, perms.as_bytes(), &mut nobody);
    };
    let own = format!("n{domid}\0");
    let shown = format!("n0\0r{domid}\0");
    let home = format!("/local/domain/{domid}");
    let nodes = [
        ("name", "run".to_string()),
        ("domid", domid.to_string()),
        ("memory/target", (config.memory_mib << 10).to_string()),
        ("console/port", CONSOLE_PORT.to_string()),
        ("control/shutdown", String::new()),
        ("device", String::new()),
        ("data", String::new()),
        ("error", String::new()),
    ];
    write(&home, "", &own);
    for (name, value) in &nodes {
        write(&format!("{home}/{name}"), value, &own);
    }
    for vcpu in 0..config.vcpus {
        write(&format!("{home}/cpu/{vcpu}/availability"), "online", &own);
    }
    let mut device = |front: &str, back: &str, more: [(&str, &str); 2]| {
        write(front, "", &own);
        write(back, "", &shown);
        let (backend, state) = ([("backend", back), ("backend-id", "0")], [("state", "1")]);
        for (name, value) in backend.into_iter().chain(more).chain(state) {
            write(&format!("{front}/{name}"), value, &own);
        }
        for (name, value) in [
            ("frontend", front),
            ("frontend-id", &domid.to_string()),
            ("online", "1"),
            ("state", "1"),
        ] {
            write(&format!("{back}/{name}"), value, &shown);
        }
    };
    for disk in disks {
        let devid = disk.devid.to_string();
        let more = [("virtual-device", devid.as_str()), ("device-type", "disk")];
        device(&disk.frontend, &disk.backend, more);
    }
    for vif in vifs {
        let handle = vif.devid.to_string();
        let more = [("handle", handle.as_str()), ("mac", &vif.mac)];
        device(&vif.frontend, &vif.backend, more);
    }
}

fn header(op: Op, length: usize) -> Header {
    Header {
        kind: op as u32,
        req_id: 0,
        tx_id: 0,
        len: length as u32,
    }
}

struct Peer {
    conn: ConnId,
    stream: UnixStream,
    decoder: Decoder,
}

impl Peer {
    fn new(conn: ConnId, stream: UnixStream) -> Peer {
        Peer {
            conn,
            stream,
            decoder: Decoder::new(),
        }
    }
}

fn serve(mut server: Server, mut peers: Vec<Peer>) -> io::Result<()> {
    let mut replies = Replies(peers.iter().map(|peer| (peer.conn, Vec::new())).collect());
    let mut buffer = [0u8; 4096];
    while !peers.is_empty() {
        let mut fds: Vec<_> = peers
            .iter()
            .map(|peer| PollFd::new(&peer.stream, PollFlags::IN))
            .collect();
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut gone = Vec::new();
        for (peer, _) in peers.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            let count = match peer.stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Closed with answers unread: gone.
                result => result.unwrap_or(0),
            };
            if count == 0 {
                gone.push(peer.conn);
            }
            peer.decoder.feed(&buffer[..count]);
            while let Some((header, payload)) = peer
                .decoder
                .next_message()
                .map_err(|error| io::Error::other(error.to_string()))?
            {
                server.handle(peer.conn, header, payload, &mut replies);
            }
        }
        peers.retain(|peer| !gone.contains(&peer.conn));
        for peer in &mut peers {
            if let Some(bytes) = replies.of(peer.conn) {
                // A peer that is going is found by the next read.
                let _ = peer.stream.write_all(bytes);
                bytes.clear();
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_reads_its_own_domid() {
        let config = Config {
            domid: 3,
            uuid: [0; 16],
            memory_mib: 64,
            maxmem_mib: 64,
            vcpus: 1,
            kernel_path: String::new(),
            cmdline: String::new(),
            tune: true,
        };
        let mut stream = start(3, &config, &[], &[]).unwrap().guest;
        let mut request = Vec::new();
        append_message(&mut request, Op::Read as u32, 9, 0, &[b"domid\0"]);
        stream.write_all(&request).unwrap();
        let mut reply = [0u8; 17];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply[16..], b"3");
        assert_eq!(reply[..8], request[..8]);
    }
}
