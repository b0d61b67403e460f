//! TLS between a viewer and its screen.
//!
//! ```text
//!   socket --take--> records --> plain bytes --> Session        Session --> give --> records --flush--> socket
//! ```
//! Versions 1.2 and 1.3, by rustls. Viewers show a certificate where the host asks for one (`vnc-x509-verify`). What waits
//! for the socket is at most [`WAITING`] bytes of plain text; what came from it is handed on whole, a record at a time.

use noxen_control::device::VncTls;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

/// Bytes of plain text that wait for a viewer that does not read.
const WAITING: usize = 64 << 10;

fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(format!("{what} holds no certificate")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("{what} cannot be used: {error}")),
    }
}

/// What all connections of a screen have in common; the line says what in `spec` is wrong.
pub fn config(spec: &VncTls) -> Result<Arc<ServerConfig>, String> {
    let chain = certificates("the screen's certificate", &spec.chain)?;
    let key = PrivateKeyDer::from_pem_slice(spec.key.as_bytes())
        .map_err(|error| format!("the screen's key cannot be used: {error}"))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &spec.viewers {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for root in certificates("the viewers' authority", pem)? {
                let added = roots.add(root);
                added.map_err(|error| format!("the viewers' authority cannot be used: {error}"))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier.build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| format!("the viewers' authority: {error}"))?,
            )
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("the screen's key and certificate: {error}"))?;
    // Nobody comes back by a ticket, and TigerVNC's viewer (1.12) leaves what comes behind one unread.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// One connection.
#[derive(Debug)]
pub struct Tunnel(ServerConnection);

impl Tunnel {
    /// One that has yet to shake hands.
    pub fn new(config: Arc<ServerConfig>) -> Result<Tunnel, rustls::Error> {
        let mut connection = ServerConnection::new(config)?;
        connection.set_buffer_limit(Some(WAITING));
        Ok(Tunnel(connection))
    }

    /// Both sides have agreed.
    pub fn is_up(&self) -> bool {
        !self.0.is_handshaking()
    }

    /// Something waits for the socket.
    pub fn waits(&self) -> bool {
        self.0.wants_write()
    }

    /// Takes one read of the socket's. What it held is appended to `plain`; false at the connection's end.
    pub fn take(&mut self, socket: &mut impl Read, plain: &mut Vec<u8>) -> io::Result<bool> {
        let open = self.0.read_tls(socket)? > 0;
        let state = self.0.process_new_packets();
        let state = state.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        let from = plain.len();
        plain.resize(from + state.plaintext_bytes_to_read(), 0);
        self.0.reader().read_exact(&mut plain[from..])?;
        Ok(open && !state.peer_has_closed())
    }

    /// Takes what it has room for off the front of `plain`.
    pub fn give(&mut self, plain: &mut Vec<u8>) -> io::Result<()> {
        let count = self.0.writer().write(plain)?;
        plain.drain(..count);
        Ok(())
    }

    /// Sends what the socket takes.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.0.wants_write() {
            self.0.write_tls(socket)?;
        }
        Ok(())
    }
}
