//! `nbd:HOST PORT [EXPORT]` or `nbd:/SOCKET [EXPORT]`: the connection to a server of network block devices. What is
//! said on it is noxen-vmm's.

use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The port that IANA gave NBD.
const PORT: u16 = 10809;
const CONNECT: Duration = Duration::from_secs(10);

/// The socket and the name of the export.
pub fn connect(params: &str) -> Result<(OwnedFd, String), String> {
    let mut words = params.split([' ', ',']).filter(|word| !word.is_empty());
    let server = words.next().unwrap_or("");
    let fd: OwnedFd = if server.starts_with('/') {
        let stream = UnixStream::connect(server);
        stream.map_err(|e| failed(server, &e))?.into()
    } else {
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (server, None),
        };
        let port = match port.or_else(|| words.next()) {
            None => PORT,
            Some(text) => text
                .parse()
                .map_err(|_| format!("nbd:{params}: '{text}' is no port; write nbd:HOST PORT"))?,
        };
        connect_tcp(host, port)?.into()
    };
    let export = words.next().unwrap_or("").to_owned();
    match words.next() {
        None => Ok((fd, export)),
        Some(word) => Err(format!(
            "nbd:{params}: nothing is known of '{word}'; write nbd:HOST PORT [EXPORT]"
        )),
    }
}

fn connect_tcp(host: &str, port: u16) -> Result<TcpStream, String> {
    let server = format!("{host}:{port}");
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|e| failed(&server, &e))?;
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                // Requests are small and wait for their answers.
                let delay = stream.set_nodelay(true);
                return delay.map(|()| stream).map_err(|e| failed(&server, &e));
            }
            Err(e) => last = e,
        }
    }
    Err(failed(&server, &last))
}

fn failed(server: &str, e: &std::io::Error) -> String {
    format!("The NBD server {server} cannot be reached: {e}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn server_is_reached_by_host_and_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for (params, export) in [
            (format!("127.0.0.1 {port}"), ""),
            (format!("127.0.0.1:{port}"), ""),
            (format!("127.0.0.1 {port} root"), "root"),
            (format!("127.0.0.1:{port} root"), "root"),
        ] {
            assert_eq!(connect(&params).unwrap().1, export, "{params}");
        }
        assert!(connect("127.0.0.1 many")
            .unwrap_err()
            .contains("'many' is no port"));
        assert!(connect(&format!("127.0.0.1 {port} a b"))
            .unwrap_err()
            .contains("'b'"));
        drop(listener);
        assert!(connect(&format!("127.0.0.1 {port}"))
            .unwrap_err()
            .contains("cannot be reached"));
    }
}
