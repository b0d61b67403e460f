//! Connections and lines of the relocation protocol.

use super::tunnel::Tunnel;
use noxen_xend_http::tls::{Connection, Mutual};
use noxen_xm_config::sxp::{parse, Node};
use noxen_xm_config::Limits;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Longest line, bytes.
const MOST: usize = 4096;
/// How long a connection may take to be made, and each word of the conversation.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that may wait in this host's kernel before they are on their way. With what it takes by itself, some megabytes, a round of memory
/// looks sent when it only waits, and the domain stands still for as long as that takes to leave.
const UNSENT: u32 = 128 << 10;

/// What the other side said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `(ready receive)`, `(ready pages)`
    Ready(String),
    /// `(ok WORD)`
    Ok(String),
    /// `(err (type T) (value V))`
    Refused(String),
}

/// A connection to another xend.
#[derive(Debug)]
pub enum Link {
    /// In the clear.
    Plain(TcpStream),
    /// Through TLS.
    Tunnel(Tunnel),
}

impl Link {
    /// On `tcp`, which waits [`PATIENCE`] for each word; through TLS if that is given.
    pub fn new(tcp: TcpStream, tls: Option<Connection>) -> io::Result<Link> {
        tcp.set_nodelay(true)?;
        notice_silence(&tcp)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let Some(tls) = tls else {
            return Ok(Link::Plain(tcp));
        };
        let link = Link::Tunnel(Tunnel::open(tls, tcp)?);
        link.wait_for_reading(Some(PATIENCE))?;
        link.wait_for_writing(Some(PATIENCE))?;
        Ok(link)
    }

    /// How long each read may take.
    pub fn wait_for_reading(&self, time: Option<Duration>) -> io::Result<()> {
        match self {
            Link::Plain(tcp) => tcp.set_read_timeout(time),
            Link::Tunnel(tunnel) => tunnel.stream.set_read_timeout(time),
        }
    }

    /// How long each write may take.
    pub fn wait_for_writing(&self, time: Option<Duration>) -> io::Result<()> {
        match self {
            Link::Plain(tcp) => tcp.set_write_timeout(time),
            Link::Tunnel(tunnel) => tunnel.stream.set_write_timeout(time),
        }
    }

    /// What is said is not in the clear.
    pub fn is_secret(&self) -> bool {
        matches!(self, Link::Tunnel(_))
    }

    /// Why reading or writing failed: TLS's own words, where it has some.
    fn explain(&self, error: io::Error) -> io::Error {
        match self {
            Link::Plain(_) => error,
            Link::Tunnel(tunnel) => tunnel.failure().map_or(error, io::Error::other),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Link::Plain(tcp) => tcp.as_fd(),
            Link::Tunnel(tunnel) => tunnel.stream.as_fd(),
        }
    }
}

impl Read for &Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Link::Plain(tcp) => (&mut &*tcp).read(buffer),
            Link::Tunnel(tunnel) => (&mut &tunnel.stream).read(buffer),
        }
    }
}

impl Write for &Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Link::Plain(tcp) => (&mut &*tcp).write(bytes),
            Link::Tunnel(tunnel) => (&mut &tunnel.stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has a peer that is gone without a word noticed while nothing is said: after a minute.
fn notice_silence(tcp: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(tcp, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(tcp, 3)?;
    Ok(())
}

/// Connects to `host`, through TLS if that is given.
pub fn connect(host: &str, port: u16, tls: Option<&Mutual>) -> io::Result<Link> {
    let tls = tls.map(|tls| tls.connect(host));
    let tls = tls.transpose().map_err(io::Error::other)?;
    Link::new(reach(host, port)?, tls)
}

fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let unknown = || io::Error::other(format!("no address is known for {host}"));
    let addresses = (host, port).to_socket_addrs().map_err(|_| unknown())?;
    let mut last = unknown();
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends one line.
pub fn say(mut link: &Link, line: &str) -> io::Result<()> {
    let said = link.write_all(format!("{line}\n").as_bytes());
    said.map_err(|error| link.explain(error))
}

/// Reads one line, a byte at a time: what follows it is not for this reader. None: the other side has closed.
pub fn line(mut stream: impl Read) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) if bytes.is_empty() => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if bytes.len() >= MOST => return Err(io::Error::other("a line without an end")),
            Ok(_) => bytes.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
}

/// Reads what the other side answers.
pub fn answer(link: &Link) -> io::Result<Answer> {
    let text = line(link).and_then(|text| text.ok_or(io::ErrorKind::UnexpectedEof.into()));
    let text = text.map_err(|error| link.explain(error))?;
    understand(&text).ok_or_else(|| {
        let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
        io::Error::other(format!("it said {shown:?}, which is no answer of a xend"))
    })
}

fn understand(text: &str) -> Option<Answer> {
    let Node::List(words) = parse(text, &Limits::default()).ok()? else {
        return None;
    };
    let word = |at: usize| words.get(at).and_then(Node::text);
    match (word(0)?, word(1)) {
        ("ready", Some(said @ ("receive" | "pages"))) => Some(Answer::Ready(said.to_owned())),
        ("ok", said) => Some(Answer::Ok(said.unwrap_or_default().to_owned())),
        ("err", _) => {
            let value = words.iter().find_map(|part| match part {
                Node::List(pair) if pair.first().and_then(Node::text) == Some("value") => {
                    pair.get(1).and_then(Node::text)
                }
                _ => None,
            });
            let value = value.unwrap_or("no reason given");
            Some(Answer::Refused(value.replace(char::is_control, " ")))
        }
        _ => None,
    }
}

/// `(err ..)` with `value`.
pub fn refusal(value: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let value: String = value.chars().map(clean).take(MOST / 8).collect();
    Node::list(
        "err",
        vec![Node::pair("type", "XendError"), Node::pair("value", value)],
    )
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood_and_refusals_survive_the_way() {
        assert_eq!(
            understand("(ready receive)"),
            Some(Answer::Ready("receive".into()))
        );
        assert_eq!(
            understand("(ok prepared)"),
            Some(Answer::Ok("prepared".into()))
        );
        assert_eq!(understand("(ok)"), Some(Answer::Ok(String::new())));
        let text = refusal("it's (not)\nthere");
        assert_eq!(
            understand(&text),
            Some(Answer::Refused("it's (not) there".into()))
        );
        for nonsense in ["", "HTTP/1.1 400 Bad Request", "(what)", "("] {
            assert_eq!(understand(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn little_waits_in_the_kernel_while_the_other_side_does_not_read() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = reach("127.0.0.1", listener.local_addr().unwrap().port()).unwrap();
        let other = listener.accept().unwrap().0;
        // So that it does not grow meanwhile.
        socket2::SockRef::from(&other)
            .set_recv_buffer_size(UNSENT as usize)
            .unwrap();
        stream.set_nonblocking(true).unwrap();
        let (mut sent, piece) = (0, vec![0; 16 << 10]);
        loop {
            match (&stream).write(&piece) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(sent < 1 << 20, "{sent}");
    }

    #[test]
    fn line_is_read_to_its_end_and_no_further() {
        let mut bytes: &[u8] = b"receive\nLinuxGuest";
        assert_eq!(line(&mut bytes).unwrap().as_deref(), Some("receive"));
        assert_eq!(bytes, b"LinuxGuest");
        assert_eq!(line(&b""[..]).unwrap(), None);
        assert!(line(&b"half"[..]).is_err());
        assert!(line(&[b'x'; 2 * MOST][..]).is_err());
    }
}
