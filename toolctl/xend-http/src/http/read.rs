//! A request out of a stream, within bounds.
//!
//! ```text
//!   head <= 16 KiB, 64 headers ──> [100 Continue] ──> body: Content-Length <= 1 MiB ──> Request
//!        nothing at all: Ended        too much, or nonsense: Refused(Response)
//! ```

use super::{Request, Response};
use std::io::{self, Read, Write};

/// Longest head, bytes.
pub const MAX_HEAD: usize = 16 << 10;
/// Most headers.
const MAX_HEADERS: usize = 64;
/// Longest body, bytes.
pub const MAX_BODY: usize = 1 << 20;

/// Why there is no request.
#[derive(Debug)]
pub enum NoRequest {
    /// The client has ended the connection between requests.
    Ended,
    /// To be answered so, then the connection closed.
    Refused(Response),
    /// The connection is broken, or the client too slow.
    Broken(io::Error),
}

impl From<io::Error> for NoRequest {
    fn from(error: io::Error) -> NoRequest {
        NoRequest::Broken(error)
    }
}

fn refused(status: u16, line: &str) -> NoRequest {
    NoRequest::Refused(Response::text(status, line))
}

/// Reads the next request; `rest` holds what was read beyond the one before.
pub fn read<S: Read + Write>(stream: &mut S, rest: &mut Vec<u8>) -> Result<Request, NoRequest> {
    loop {
        if let Some((mut request, head, length)) = head(rest)? {
            rest.drain(..head);
            let waits = request
                .header("expect")
                .is_some_and(|what| what.eq_ignore_ascii_case("100-continue"));
            if waits && rest.len() < length {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            while rest.len() < length {
                if more(stream, rest)? == 0 {
                    return Err(refused(400, "the body ends before its Content-Length"));
                }
            }
            request.body = rest.drain(..length).collect();
            return Ok(request);
        }
        if rest.len() >= MAX_HEAD {
            return Err(refused(
                431,
                "the head of the request is longer than 16 KiB",
            ));
        }
        if more(stream, rest)? == 0 {
            return match rest.is_empty() {
                true => Err(NoRequest::Ended),
                false => Err(refused(400, "the request ends within its head")),
            };
        }
    }
}

fn more<S: Read>(stream: &mut S, into: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0u8; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(count) => {
                into.extend_from_slice(&buffer[..count]);
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The request without its body, bytes of its head, bytes of its body; `None` while the head is not whole.
fn head(bytes: &[u8]) -> Result<Option<(Request, usize, usize)>, NoRequest> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let size = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(refused(431, "the request has more than 64 headers"))
        }
        Err(error) => {
            return Err(refused(
                400,
                &format!("this is not an HTTP request: {error}"),
            ))
        }
    };
    let headers: Vec<(String, String)> = parsed
        .headers
        .iter()
        .map(|header| {
            let value = String::from_utf8_lossy(header.value).trim().to_owned();
            (header.name.to_ascii_lowercase(), value)
        })
        .collect();
    let (path, query) = target(parsed.path.unwrap_or("/"));
    let newer = parsed.version == Some(1);
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path,
        query,
        headers,
        body: Vec::new(),
        keep: newer,
    };
    match request.header("connection").map(str::to_ascii_lowercase) {
        Some(word) if word.contains("close") => request.keep = false,
        Some(word) if word.contains("keep-alive") => request.keep = true,
        _ => {}
    }
    let length = length(&request)?;
    Ok(Some((request, size, length)))
}

/// Bytes of the body. Two lengths that differ are how requests are smuggled: refused.
fn length(request: &Request) -> Result<usize, NoRequest> {
    if request.header("transfer-encoding").is_some() {
        return Err(refused(
            411,
            "send the body with a Content-Length, not in chunks",
        ));
    }
    let mut lengths = request
        .headers
        .iter()
        .filter(|(name, _)| name == "content-length")
        .map(|(_, value)| value.as_str());
    let Some(first) = lengths.next() else {
        return match request.method.as_str() {
            "POST" => Err(refused(411, "a POST needs a Content-Length")),
            _ => Ok(0),
        };
    };
    if lengths.any(|other| other != first) || !first.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refused(400, "the Content-Length is not one number"));
    }
    match first.parse::<usize>() {
        Ok(length) if length <= MAX_BODY => Ok(length),
        Ok(_) => Err(refused(413, "the body is longer than 1 MiB")),
        Err(_) => Err(refused(400, "the Content-Length is not a number")),
    }
}

/// Decoded path and raw query of a request target; an absolute one loses its scheme and host.
fn target(text: &str) -> (String, String) {
    let text = match text.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => text,
    };
    let text = text.split('#').next().unwrap_or_default();
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    (unescape(path), query.to_owned())
}

/// `%41` to `A`; what is no UTF-8 afterwards is replaced.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
