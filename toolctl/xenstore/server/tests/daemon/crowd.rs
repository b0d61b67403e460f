//! Connected domains, one or a thousand, and their bare streams.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use noxen_xenstore::client::Nodes;
use noxen_xenstore::wire::{append_message, Decoder, Op};
use noxen_xenstore::{Access, Perms};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

use super::{Daemon, PATIENCE};

/// A domain with a home of its own; its bare stream.
pub fn domain(d: &Daemon, domid: u16) -> UnixStream {
    let mut c = d.client();
    let home = format!("/local/domain/{domid}");
    c.mkdir(&home).unwrap();
    c.set_perms(&home, &Perms::owned_by(domid, Access::READ))
        .unwrap();
    c.introduce(domid, 1, 2).unwrap();
    let stream = d.guest(domid).into_stream().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A request outside of any transaction.
pub fn message(op: Op, payload: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_message(&mut bytes, op as u32, 1, 0, &[payload.as_bytes()]);
    bytes
}

/// The next message's payload, or none if the daemon hung up.
pub fn next(stream: &mut UnixStream, decoder: &mut Decoder) -> Option<String> {
    loop {
        if let Some((_, payload)) = decoder.next_message().unwrap() {
            return Some(String::from_utf8_lossy(payload).into_owned());
        }
        let mut buffer = [0; 8192];
        match stream.read(&mut buffer).unwrap() {
            0 => return None,
            n => decoder.feed(&buffer[..n]),
        }
    }
}

/// A thousand connected domains with fifty nodes and ten watches each.
pub fn thousand(d: &Daemon) -> Vec<(UnixStream, Decoder)> {
    // Theirs are more connections than the usual soft limit.
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let one = |domid: u16| {
        let mut stream = domain(d, domid);
        let write = |i| {
            message(
                Op::Write,
                &format!("device/vif/{}/key-{}\0value {i}", i / 12, i % 12),
            )
        };
        let watch = |i| message(Op::Watch, &format!("device/vif/{i}\0token\0"));
        let all: Vec<u8> = (0..49)
            .flat_map(write)
            .chain((0..10).flat_map(watch))
            .collect();
        stream.write_all(&all).unwrap();
        // A reply to each, and the first event of each watch.
        let mut decoder = Decoder::new();
        let done = (0..49 + 20).map(|_| next(&mut stream, &mut decoder).unwrap());
        assert_eq!(
            done.filter(|text| text == "OK\0").count(),
            59,
            "domain {domid}"
        );
        (stream, decoder)
    };
    (1..=1000).map(one).collect()
}
