//! HTTP/1.0 and 1.1 as far as xend's clients speak it.
//!
//! ```text
//!   bytes ──read::read──> Request ──Handler──> Answer ──write──> bytes
//!                                              '-- Relay: the connection becomes a WebSocket (relay)
//! ```
//! No chunked bodies: what is not understood is answered with its status and the connection closed.

pub mod form;
pub mod read;

use crate::relay::Relay;
use std::io::{self, Write};

/// One request, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD` or `POST`.
    pub method: String,
    /// Decoded path, such as `/xend/domain/web1`.
    pub path: String,
    /// Text after `?`, as sent.
    pub query: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// At most [`read::MAX_BODY`] bytes.
    pub body: Vec<u8>,
    /// The connection is to be kept after the answer.
    pub keep: bool,
}

impl Request {
    /// First header of that name (small letters).
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What a request comes to.
#[derive(Debug)]
pub enum Answer {
    /// An answer in one piece.
    Whole(Response),
    /// The connection is no more HTTP's.
    Relay(Box<Relay>),
}

impl From<Response> for Answer {
    fn from(response: Response) -> Answer {
        Answer::Whole(response)
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Content-Type`.
    pub kind: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer with a body of `kind`.
    pub fn new(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Response {
        Response {
            status,
            kind,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// An answer in plain words.
    pub fn text(status: u16, line: impl Into<String>) -> Response {
        let mut line = line.into();
        line.push('\n');
        Response::new(status, "text/plain; charset=utf-8", line)
    }

    /// Writes it; without its body for `HEAD`.
    pub fn write(&self, out: &mut impl Write, with_body: bool, keep: bool) -> io::Result<()> {
        let connection = if keep { "keep-alive" } else { "close" };
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nServer: xend/{}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\
             X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n",
            self.status,
            reason(self.status),
            env!("CARGO_PKG_VERSION"),
            self.kind,
            self.body.len()
        );
        for (name, value) in &self.headers {
            // A value may hold a domain's name; a line end in it would end the header.
            let value: String = value.chars().filter(|c| !c.is_control()).collect();
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if with_body {
            bytes.extend_from_slice(&self.body);
        }
        out.write_all(&bytes)?;
        out.flush()
    }
}

/// The words of a status.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_header_cannot_be_split_by_its_value() {
        let mut response = Response::text(202, "x");
        response.headers.push(("Location", "/a\r\nEvil: 1".into()));
        let mut bytes = Vec::new();
        response.write(&mut bytes, true, false).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("\r\nLocation: /aEvil: 1\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nx\n"));
    }

    #[test]
    fn response_to_head_has_the_length_and_no_body() {
        let mut bytes = Vec::new();
        Response::text(200, "four")
            .write(&mut bytes, false, true)
            .unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("Content-Length: 5\r\n"));
        assert!(text.ends_with("\r\n\r\n"));
    }
}
