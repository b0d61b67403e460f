use super::*;
use proptest::prelude::*;

/// What a client sends in pieces; takes what is written to it.
struct Wire {
    pieces: Vec<Vec<u8>>,
    written: Vec<u8>,
}

impl Wire {
    fn new(pieces: &[&[u8]]) -> Wire {
        let pieces = pieces.iter().rev().map(|piece| piece.to_vec()).collect();
        Wire {
            pieces,
            written: Vec::new(),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(mut piece) = self.pieces.pop() else {
            return Ok(0);
        };
        let count = piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        if count < piece.len() {
            self.pieces.push(piece.split_off(count));
        }
        Ok(count)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn only(text: &str) -> Result<Request, NoRequest> {
    read(&mut Wire::new(&[text.as_bytes()]), &mut Vec::new())
}

fn status(text: &str) -> u16 {
    match only(text) {
        Err(NoRequest::Refused(response)) => response.status,
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn request_in_pieces_and_the_one_after_it_are_read() {
    let mut wire = Wire::new(&[
        b"POST /RPC2 HTTP/1.1\r\nContent-Le",
        b"ngth: 5\r\n\r\nab",
        b"cdeGET /xend?x=1 HTTP/1.0\r\n\r\n",
    ]);
    let mut rest = Vec::new();
    let first = read(&mut wire, &mut rest).unwrap();
    assert_eq!(
        (first.path.as_str(), first.body.as_slice()),
        ("/RPC2", &b"abcde"[..])
    );
    assert!(first.keep);
    let second = read(&mut wire, &mut rest).unwrap();
    assert_eq!(
        (second.path.as_str(), second.query.as_str()),
        ("/xend", "x=1")
    );
    assert!(!second.keep, "HTTP/1.0 closes unless asked");
    assert!(matches!(read(&mut wire, &mut rest), Err(NoRequest::Ended)));
}

#[test]
fn client_that_waits_for_continue_gets_it() {
    let mut wire = Wire::new(&[
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
        b"ok",
    ]);
    assert_eq!(read(&mut wire, &mut Vec::new()).unwrap().body, b"ok");
    assert_eq!(wire.written, b"HTTP/1.1 100 Continue\r\n\r\n");
}

#[test]
fn what_is_not_understood_is_refused_with_its_status() {
    assert_eq!(status("hello\r\n\r\n"), 400);
    assert_eq!(status("GET / HTTP/1.1\r\nHost"), 400);
    assert_eq!(status("POST / HTTP/1.1\r\n\r\n"), 411);
    assert_eq!(
        status("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        411
    );
    assert_eq!(
        status("POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n"),
        413
    );
    assert_eq!(status("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
    assert_eq!(
        status("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        400
    );
    assert_eq!(
        status("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab"),
        400
    );
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(20_000))),
        431
    );
    assert_eq!(
        status(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65))),
        431
    );
}

#[test]
fn path_is_decoded_and_loses_scheme_and_fragment() {
    let path = |text: &str| only(&format!("GET {text} HTTP/1.1\r\n\r\n")).unwrap().path;
    assert_eq!(path("/a%2Fb%20c"), "/a/b c");
    assert_eq!(path("http://host:8000/xend/node"), "/xend/node");
    assert_eq!(path("http://host"), "/");
    assert_eq!(path("/x%zz%4"), "/x%zz%4");
    assert_eq!(path("/x#y"), "/x");
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_request_or_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut rest = Vec::new();
        match read(&mut Wire::new(&[&bytes]), &mut rest) {
            Ok(request) => prop_assert!(request.body.len() <= MAX_BODY),
            Err(NoRequest::Broken(error)) => prop_assert!(false, "{error}"),
            Err(_) => {}
        }
    }
}
