//! A client of tungstenite's own on one end, a listener in place of the screen on the other.

use super::*;
use crate::http::Answer;
use crate::listen::serve_unix;
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;
use tungstenite::client::client;

const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");

fn request(headers: &[(&str, &str)]) -> Request {
    let headers = headers.iter().map(|(n, v)| ((*n).into(), (*v).into()));
    Request {
        method: "GET".into(),
        path: "/web/screen/x".into(),
        query: String::new(),
        headers: headers.collect(),
        body: Vec::new(),
        keep: true,
    }
}

fn slot() -> Slot {
    Slot::take(&Arc::new(AtomicUsize::new(0)), 1)
}

/// Makes every connection a relay to `address`.
fn relayed_to(
    address: std::net::SocketAddr,
    may_type: bool,
) -> impl Fn(&Request) -> Answer + Send + Sync {
    move |request| {
        let connect =
            || TcpStream::connect(address).map_err(|e| Response::text(500, e.to_string()));
        match Relay::new(request, may_type, slot(), connect) {
            Ok(relay) => Answer::Relay(Box::new(relay)),
            Err(response) => response.into(),
        }
    }
}

/// A server whose every connection becomes a relay to the returned listener; a client's socket to it.
fn relay(may_type: bool) -> (TcpListener, UnixStream, std::path::PathBuf) {
    let screen = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = screen.local_addr().unwrap();
    let path = std::env::temp_dir().join(format!(
        "noxen-relay-{}-{}",
        std::process::id(),
        address.port()
    ));
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        serve_unix(&listener, Arc::new(relayed_to(address, may_type)));
    });
    let stream = UnixStream::connect(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    (screen, stream, path)
}

fn binary(bytes: &[u8]) -> Message {
    Message::Binary(bytes.to_vec().into())
}

#[test]
fn bytes_go_both_ways_however_many_and_the_end_of_the_screen_is_told() {
    let (screen, stream, _) = relay(true);
    let (browser, answer) = client("ws://localhost/web/screen/x", stream).unwrap();
    assert_eq!(answer.status(), 101);
    much_goes_both_ways(browser, &screen);
}

/// A key and a certificate for localhost that signed itself.
fn certificate(directory: &std::path::Path) -> [std::path::PathBuf; 2] {
    let paths = ["key.pem", "cert.pem"].map(|name| directory.join(name));
    let words =
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE -days 2";
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(words.split_whitespace());
    openssl
        .arg("-keyout")
        .arg(&paths[0])
        .arg("-out")
        .arg(&paths[1]);
    let made = openssl.output().unwrap();
    assert!(made.status.success(), "{made:?}");
    paths
}

#[test]
fn tls_carries_as_much_in_both_directions() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::CertificateDer;
    let directory = std::env::temp_dir().join(format!("noxen-relay-tls-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let [key, cert] = certificate(&directory);
    let tls = crate::tls::Tls::load(&key, &cert).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&cert).unwrap())
        .unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let screen = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    let address = screen.local_addr().unwrap();
    std::thread::spawn(move || {
        let handler = Arc::new(relayed_to(address, true));
        crate::serve_tcp(
            &listener,
            &crate::allow::Allow::default(),
            Some(&tls),
            handler,
        );
    });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(place).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let stream = rustls::StreamOwned::new(connection, stream);
    let (browser, _) = client("ws://localhost/web/screen/x", stream).unwrap();
    much_goes_both_ways(browser, &screen);
}

fn much_goes_both_ways<S: Read + Write>(mut browser: WebSocket<S>, screen: &TcpListener) {
    let (mut screen, _) = screen.accept().unwrap();
    // Several messages at once, of which poll sees only the first.
    for index in 0..50u8 {
        browser.write(binary(&[index; 3000])).unwrap();
    }
    browser.flush().unwrap();
    let mut typed = vec![0; 150_000];
    screen.read_exact(&mut typed).unwrap();
    assert!((0..50).all(|index| typed[index * 3000..(index + 1) * 3000] == [index as u8; 3000]));
    // More than the browser's socket holds, which reads only afterwards.
    let picture: Vec<u8> = (0..4_000_000u32).map(|n| (n / 7) as u8).collect();
    let sent = picture.clone();
    let writer = std::thread::spawn(move || {
        screen.write_all(&sent).unwrap();
        screen
    });
    let mut seen = Vec::new();
    while seen.len() < picture.len() {
        match browser.read().unwrap() {
            Message::Binary(bytes) => seen.extend_from_slice(&bytes),
            other => panic!("{other:?}"),
        }
    }
    assert!(seen == picture);
    drop(writer.join().unwrap());
    match browser.read().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.reason.as_str(), NO_SCREEN),
        other => panic!("{other:?}"),
    }
}

#[test]
fn whoever_may_only_look_presses_no_key() {
    let (screen, stream, _) = relay(false);
    let (mut browser, _) = client("ws://localhost/web/screen/x", stream).unwrap();
    let (mut screen, _) = screen.accept().unwrap();
    browser.send(binary(b"RFB 003.008\n\x01\x01")).unwrap();
    browser.send(binary(&[4, 1, 0, 0, 0, 0, 0, 0x61])).unwrap();
    browser
        .send(binary(&[3, 0, 0, 0, 0, 0, 0, 9, 0, 9]))
        .unwrap();
    browser.close(None).unwrap();
    let mut heard = Vec::new();
    screen.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"RFB 003.008\n\x01\x01\x03\0\0\0\0\0\0\x09\0\x09");
}

#[test]
fn text_message_ends_it() {
    let (screen, stream, _) = relay(true);
    let (mut browser, _) = client("ws://localhost/web/screen/x", stream).unwrap();
    let (mut screen, _) = screen.accept().unwrap();
    browser.send(Message::Text("RFB".into())).unwrap();
    assert_eq!(screen.read(&mut [0; 9]).unwrap(), 0);
    match browser.read().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.reason.as_str(), BROKEN),
        other => panic!("{other:?}"),
    }
}

#[test]
fn request_that_is_none_for_a_websocket_of_this_site_is_refused() {
    let whole = [
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("host", "node:8000"),
        KEY,
    ];
    let status = |headers: &[(&str, &str)]| {
        let never = || Err(Response::text(500, "connected"));
        let asked = request(headers);
        assert!(is_asked(&asked));
        Relay::new(&asked, true, slot(), never).unwrap_err().status
    };
    assert_eq!(status(&whole), 500);
    assert_eq!(
        status(&[&whole[..], &[("origin", "http://node:8000")]].concat()),
        500
    );
    assert_eq!(
        status(&[&whole[..], &[("origin", "http://evil:8000")]].concat()),
        403
    );
    assert_eq!(status(&[&whole[..], &[("origin", "null")]].concat()), 403);
    assert_eq!(status(&[whole[0], whole[1], KEY]), 426);
    assert_eq!(status(&[whole[0], whole[2], KEY]), 400);
    assert_eq!(status(&whole[..4]), 400);
}
