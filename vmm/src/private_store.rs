//! A xenstore inside this process, for `noxen-vmm run` only.
//!
//! ```text
//!   ring pump <--socketpair--> thread: decoder --> noxen_xenstore::server (pure core) --> replies
//! ```

use crate::domain::pv::{Config, CONSOLE_PORT};
use noxen_xenstore::server::{ConnId, ConnKind, Server, Sink};
use noxen_xenstore::wire::{append_message, Decoder, Header, Op};
use noxen_xenstore::DomId;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

struct Replies {
    guest: ConnId,
    bytes: Vec<u8>,
}

impl Sink for Replies {
    fn send(&mut self, to: ConnId, kind: Op, req_id: u32, tx_id: u32, payload: &[&[u8]]) {
        if to == self.guest {
            append_message(&mut self.bytes, kind as u32, req_id, tx_id, payload);
        }
    }

    fn close(&mut self, _conn: ConnId) {}

    fn log(&mut self, _line: &str) {}
}

/// Starts the store for `domid`; the stream is the guest's connection.
pub fn start(domid: u32, config: &Config) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let domid = DomId::try_from(domid).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut server = Server::new();
    let (tool, _) = server.connect(ConnKind::Tool);
    let (guest, _) = server.connect(ConnKind::Guest(domid));
    let mut replies = Replies {
        guest,
        bytes: Vec::new(),
    };
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
    let mut write = |path: String, value: &str| {
        let payload = [path.as_bytes(), &[0], value.as_bytes()].concat();
        let header = header(Op::Write, payload.len());
        server.handle(tool, header, &payload, &mut replies);
        let perms = format!("{path}\0n{domid}\0");
        let header = self::header(Op::SetPerms, perms.len());
        server.handle(tool, header, perms.as_bytes(), &mut replies);
    };
    write(home.clone(), "");
    for (name, value) in &nodes {
        write(format!("{home}/{name}"), value);
    }
    for vcpu in 0..config.vcpus {
        write(format!("{home}/cpu/{vcpu}/availability"), "online");
    }
    std::thread::Builder::new()
        .name("store".into())
        .stack_size(256 << 10)
        .spawn(move || {
            // Ends with the process, or when the pump's end closes.
            let _ = serve(server, replies, ours);
        })?;
    Ok(theirs)
}

fn header(op: Op, length: usize) -> Header {
    Header {
        kind: op as u32,
        req_id: 0,
        tx_id: 0,
        len: length as u32,
    }
}

fn serve(mut server: Server, mut replies: Replies, mut stream: UnixStream) -> io::Result<()> {
    let mut decoder = Decoder::new();
    let mut buffer = [0u8; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        decoder.feed(&buffer[..count]);
        while let Some((header, payload)) = decoder
            .next_message()
            .map_err(|error| io::Error::other(error.to_string()))?
        {
            server.handle(replies.guest, header, payload, &mut replies);
        }
        stream.write_all(&replies.bytes)?;
        replies.bytes.clear();
    }
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
        let mut stream = start(3, &config).unwrap();
        let mut request = Vec::new();
        append_message(&mut request, Op::Read as u32, 9, 0, &[b"domid\0"]);
        stream.write_all(&request).unwrap();
        let mut reply = [0u8; 17];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply[16..], b"3");
        assert_eq!(reply[..8], request[..8]);
    }
}
