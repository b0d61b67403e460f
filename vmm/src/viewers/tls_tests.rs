use super::{look, read, room_by, Read, Room, Write, SIZE};
use noxen_control::device::VncTls;
use noxen_control::screen::Input;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// An authority, and a certificate by it for the screen and one for a viewer, made by openssl.
struct Papers(PathBuf);

impl Drop for Papers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Papers {
    fn new() -> Papers {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("noxen-vnc-tls-{}-{number}", std::process::id());
        let papers = Papers(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&papers.0).unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        papers.openssl(&format!(
            "req -x509 {key} -subj /CN=authority -days 2 -keyout ca.key -out ca.pem"
        ));
        for name in ["screen", "viewer"] {
            papers.openssl(&format!(
                "req {key} -subj /CN={name} -addext subjectAltName=IP:127.0.0.1 -keyout {name}.key -out {name}.csr"
            ));
            papers.openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out {name}.pem"
            ));
        }
        papers
    }

    fn openssl(&self, words: &str) {
        let mut command = Command::new("openssl");
        command.current_dir(&self.0).args(words.split_whitespace());
        let made = command.output().unwrap();
        assert!(made.status.success(), "{words}: {made:?}");
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }

    fn screen(&self, viewers_show_theirs: bool) -> VncTls {
        VncTls {
            chain: self.text("screen.pem"),
            key: self.text("screen.key"),
            viewers: viewers_show_theirs.then(|| self.text("ca.pem")),
        }
    }

    /// A viewer's side, which shows its certificate or has none.
    fn viewer(&self, shows: bool) -> ClientConnection {
        let file = |name: &str| self.0.join(name);
        let certificate = |name: &str| CertificateDer::from_pem_file(file(name)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate("ca.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let config = match shows {
            false => config.with_no_client_auth(),
            true => {
                let key = PrivateKeyDer::from_pem_file(file("viewer.key")).unwrap();
                let chain = vec![certificate("viewer.pem")];
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        ClientConnection::new(Arc::new(config), name).unwrap()
    }
}

type Sealed = StreamOwned<ClientConnection, TcpStream>;

/// Agrees upon TLS with `room`; what is next is inside it.
fn enter(room: &Room, connection: ClientConnection, kind: u32) -> Sealed {
    let mut stream = room.connect();
    read(&mut stream, 12);
    stream.write_all(b"RFB 003.008\n").unwrap();
    assert_eq!(read(&mut stream, 2), [1, 19]);
    stream.write_all(&[19]).unwrap();
    assert_eq!(read(&mut stream, 2), [0, 2]);
    stream.write_all(&[0, 2]).unwrap();
    let kind = kind.to_be_bytes();
    assert_eq!(read(&mut stream, 6), [&[0, 1], kind.as_slice()].concat());
    stream.write_all(&kind).unwrap();
    assert_eq!(read(&mut stream, 1), [1]);
    StreamOwned::new(connection, stream)
}

#[test]
fn picture_and_keys_go_through_tls() {
    let papers = Papers::new();
    let room = room_by(None, Some(papers.screen(false)));
    let mut viewer = enter(&room, papers.viewer(false), 260);
    assert_eq!(read(&mut viewer, 4), [0; 4]);
    viewer.write_all(&[1]).unwrap();
    read(&mut viewer, 24 + 4);
    assert_eq!(look(&mut viewer, false), 0);
    room.wall.paint(0x123456);
    assert_eq!(look(&mut viewer, true), 0x123456);
    viewer.write_all(&[4, 1, 0, 0, 0, 0, 0, b'a']).unwrap();
    let pressed = room.inputs.recv_timeout(super::LIMIT).unwrap();
    assert_eq!(
        pressed,
        Input::Key {
            code: 30,
            pressed: true
        }
    );
    // A whole screen is many times what waits for a socket.
    viewer
        .write_all(&[3, 0, 0, 0, 0, 0, 2, 0x80, 3, 0x20])
        .unwrap();
    let mut pixels = 0;
    let whole = usize::from(SIZE.width) * usize::from(SIZE.height);
    let head = read(&mut viewer, 4);
    for _ in 0..u16::from_be_bytes([head[2], head[3]]) {
        let part = read(&mut viewer, 12);
        let side = |at: usize| usize::from(u16::from_be_bytes([part[at], part[at + 1]]));
        let bytes = read(&mut viewer, side(4) * side(6) * 4);
        assert!(bytes.chunks(4).all(|pixel| pixel == [0x56, 0x34, 0x12, 0]));
        pixels += side(4) * side(6);
    }
    assert_eq!(pixels, whole);
}

#[test]
fn password_is_asked_for_inside_tls() {
    let papers = Papers::new();
    let room = room_by(Some("geheim"), Some(papers.screen(false)));
    let mut viewer = enter(&room, papers.viewer(false), 261);
    read(&mut viewer, 16);
    viewer.write_all(&[0; 16]).unwrap();
    assert_eq!(read(&mut viewer, 4), [0, 0, 0, 1]);
}

#[test]
fn viewers_without_the_certificate_that_is_asked_for_see_nothing() {
    let papers = Papers::new();
    let room = room_by(None, Some(papers.screen(true)));
    let mut stranger = enter(&room, papers.viewer(false), 260);
    let mut bytes = [0; 4];
    let refused = stranger.read_exact(&mut bytes).unwrap_err();
    assert!(
        refused.to_string().contains("CertificateRequired"),
        "{refused}"
    );
    // Someone else's authority is not believed.
    let others = Papers::new();
    let mut other = enter(&room, papers.viewer(false), 260);
    other.conn = others.viewer(true);
    assert!(other.read_exact(&mut bytes).is_err());
    let mut known = enter(&room, papers.viewer(true), 260);
    assert_eq!(read(&mut known, 4), [0; 4]);
}

#[test]
fn what_is_no_tls_ends_the_connection_of_whoever_says_it() {
    let papers = Papers::new();
    let room = room_by(None, Some(papers.screen(false)));
    let mut stream = enter(&room, papers.viewer(false), 260).sock;
    stream.write_all(&[0x55; 64]).unwrap();
    let mut told = Vec::new();
    // TLS says what is wrong, or the connection is simply gone.
    let _ = stream.read_to_end(&mut told);
    assert!(told.len() < 32, "{told:?}");
    let mut viewer = enter(&room, papers.viewer(false), 260);
    assert_eq!(read(&mut viewer, 4), [0; 4]);
}

#[test]
fn papers_that_do_not_fit_are_refused_by_their_names() {
    let papers = Papers::new();
    let refusal = |spoil: &dyn Fn(&mut VncTls)| {
        let mut spec = papers.screen(true);
        spoil(&mut spec);
        crate::viewers::tls::config(&spec).unwrap_err()
    };
    let line = refusal(&|spec| spec.chain.clear());
    assert_eq!(line, "the screen's certificate holds no certificate");
    let line = refusal(&|spec| spec.key = "no key".into());
    assert!(
        line.starts_with("the screen's key cannot be used: "),
        "{line}"
    );
    let line = refusal(&|spec| spec.key = papers.text("viewer.key"));
    assert!(
        line.starts_with("the screen's key and certificate: "),
        "{line}"
    );
    let line = refusal(&|spec| spec.viewers = Some(String::new()));
    assert_eq!(line, "the viewers' authority holds no certificate");
}
