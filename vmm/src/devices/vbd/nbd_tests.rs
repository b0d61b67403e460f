//! The client against a server of a few lines.

use super::*;
use noxen_devices::pv::block::Piece;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use vm_memory::{Bytes, GuestAddress};

/// Serves one export called `disk` of 64 KiB until the client goes; `go`: knows NBD_OPT_GO. Returns the
/// image and the kinds of the requests.
fn serve(mut stream: UnixStream, go: bool, flags: u16) -> io::Result<(Vec<u8>, Vec<u16>)> {
    let mut image = vec![0u8; 64 << 10];
    let mut kinds = Vec::new();
    stream.write_all(b"NBDMAGICIHAVEOPT")?;
    stream.write_all(&u16::from(go).to_be_bytes())?;
    let mut head = [0u8; 20];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes(head[16..20].try_into().unwrap());
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body)?;
    let size = (image.len() as u64).to_be_bytes();
    if go {
        let reply = |kind: u32, payload: &[u8]| {
            let mut message = OPTION_REPLY.to_be_bytes().to_vec();
            message.extend(OPT_GO.to_be_bytes());
            message.extend(kind.to_be_bytes());
            message.extend((payload.len() as u32).to_be_bytes());
            message.extend(payload);
            message
        };
        if &body[4..body.len() - 2] != b"disk" {
            stream.write_all(&reply(REP_ERROR | 6, b"no such export"))?;
            return Ok((image, kinds));
        }
        let info = [&[0, 0][..], &size, &flags.to_be_bytes()].concat();
        stream.write_all(&reply(REP_INFO, &info))?;
        stream.write_all(&reply(REP_ACK, b""))?;
    } else {
        assert_eq!(body, b"disk");
        stream.write_all(&size)?;
        stream.write_all(&flags.to_be_bytes())?;
        stream.write_all(&[0; 124])?;
    }
    let mut request = [0u8; 28];
    while stream.read_exact(&mut request).is_ok() {
        let kind = u16::from_be_bytes(request[6..8].try_into().unwrap());
        let at = u64::from_be_bytes(request[16..24].try_into().unwrap()) as usize;
        let length = u32::from_be_bytes(request[24..28].try_into().unwrap()) as usize;
        kinds.push(kind);
        if kind == 1 {
            stream.read_exact(&mut image[at..at + length])?;
        }
        let beyond = at + length > image.len();
        stream.write_all(&SIMPLE_REPLY.to_be_bytes())?;
        stream.write_all(&(if beyond { 5u32 } else { 0 }).to_be_bytes())?;
        stream.write_all(&request[8..16])?;
        if kind == 0 && !beyond {
            stream.write_all(&image[at..at + length])?;
        }
    }
    Ok((image, kinds))
}

type Server = JoinHandle<io::Result<(Vec<u8>, Vec<u16>)>>;

fn start(go: bool, flags: u16) -> (File, Server) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(move || serve(theirs, go, flags));
    (File::from(OwnedFd::from(ours)), server)
}

fn job(op: JobOp, offset: u64, at: u64) -> Job {
    let moves = matches!(op, JobOp::Read | JobOp::Write);
    let piece = |at| Piece {
        at: GuestAddress(at),
        len: 512,
    };
    Job {
        token: 0,
        op,
        offset,
        pieces: match moves {
            true => vec![piece(at), piece(at + 4096)],
            false => Vec::new(),
        },
    }
}

fn round(go: bool) {
    let (socket, server) = start(go, 1 | FLAG_SEND_FLUSH);
    let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    let nbd = Nbd::open(socket, "disk", false).unwrap();
    assert_eq!(nbd.size(), 64 << 10);
    memory.write_slice(&[1; 512], GuestAddress(0)).unwrap();
    memory.write_slice(&[2; 512], GuestAddress(4096)).unwrap();
    nbd.perform(&memory, &job(JobOp::Write, 1024, 0)).unwrap();
    nbd.perform(&memory, &job(JobOp::Flush, 1024, 0)).unwrap();
    nbd.perform(&memory, &job(JobOp::Read, 1536, 0x8000))
        .unwrap();
    let mut got = [9u8; 512];
    memory.read_slice(&mut got, GuestAddress(0x8000)).unwrap();
    assert_eq!(got, [2; 512]);
    let beyond = nbd.perform(&memory, &job(JobOp::Read, 64 << 10, 0));
    assert!(beyond.is_err());
    // An error of the server leaves the connection whole.
    nbd.perform(&memory, &job(JobOp::Read, 0, 0)).unwrap();
    drop(nbd);
    let (image, kinds) = server.join().unwrap().unwrap();
    assert_eq!((image[1024], image[1536]), (1, 2));
    assert_eq!(kinds, [1, 3, 0, 0, 0]);
}

#[test]
fn data_goes_to_the_server_and_back() {
    round(true);
}

#[test]
fn server_that_only_knows_export_names_is_served_as_well() {
    round(false);
}

#[test]
fn export_that_is_not_there_or_only_readable_is_refused_with_a_line() {
    let (socket, _server) = start(true, 1);
    let line = Nbd::open(socket, "other", false).unwrap_err();
    assert!(line.contains("no such export"), "{line}");
    let (socket, _server) = start(true, 1 | FLAG_READ_ONLY);
    let line = Nbd::open(socket, "disk", false).unwrap_err();
    assert!(line.contains("mode r"), "{line}");
    let (socket, _server) = start(true, 1 | FLAG_READ_ONLY);
    assert!(Nbd::open(socket, "disk", true).is_ok());
}

#[test]
fn peer_that_speaks_something_else_is_refused() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs
        .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .unwrap();
    let socket = File::from(OwnedFd::from(ours));
    let line = Nbd::open(socket, "", false).unwrap_err();
    assert!(line.contains("greeting"), "{line}");
}

#[test]
fn server_that_falls_silent_is_given_up() {
    // Nothing at all, and a greeting without what has to follow.
    for said in [&b""[..], b"NBDMAGICIHAVEOPT\0\x01"] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(said).unwrap();
        let socket = File::from(OwnedFd::from(ours));
        let line = Nbd::open_within(Duration::from_millis(100), socket, "", false).unwrap_err();
        assert_eq!(line, "the NBD server said nothing for 0.1 s");
    }
}

/// Ends a server, whose process is ours.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Debian's nbd-server, serving `image` as `disk`; a connection to it.
fn debian(image: &std::path::Path) -> (File, Child) {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    let config = image.with_extension("conf");
    let text = format!(
        "[generic]\nport = {port}\nlistenaddr = 127.0.0.1\n[disk]\nexportname = {}\nflush = true\n",
        image.display()
    );
    std::fs::write(&config, text).unwrap();
    let child = std::process::Command::new("nbd-server")
        .args(["-d", "-C"])
        .arg(&config)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("nbd-server is part of the packages that xtask installs");
    let child = Child(child);
    let patience = Duration::from_secs(120);
    let deadline = std::time::Instant::now() + patience;
    loop {
        match std::net::TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => {
                // It listens, then searches for the primes of a Diffie-Hellman group, and only then serves.
                stream.set_read_timeout(Some(patience)).unwrap();
                assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
                std::fs::remove_file(&config).unwrap();
                return (File::from(OwnedFd::from(stream)), child);
            }
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn debians_server_is_written_flushed_and_read() {
    let name = format!("noxen-nbd-{}.img", std::process::id());
    let image = std::env::temp_dir().join(name);
    File::create(&image).unwrap().set_len(1 << 20).unwrap();
    let (socket, _server) = debian(&image);
    let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
    let nbd = Nbd::open(socket, "disk", false).unwrap();
    assert_eq!(nbd.size(), 1 << 20);
    memory.write_slice(&[7; 512], GuestAddress(0)).unwrap();
    memory.write_slice(&[8; 512], GuestAddress(4096)).unwrap();
    nbd.perform(&memory, &job(JobOp::Write, 4096, 0)).unwrap();
    nbd.perform(&memory, &job(JobOp::Flush, 0, 0)).unwrap();
    nbd.perform(&memory, &job(JobOp::Read, 4608, 0x8000))
        .unwrap();
    let mut got = [0u8; 512];
    memory.read_slice(&mut got, GuestAddress(0x8000)).unwrap();
    assert_eq!(got, [8; 512]);
    let content = std::fs::read(&image).unwrap();
    assert_eq!((content[4096], content[4608]), (7, 8));
    std::fs::remove_file(&image).unwrap();
}
