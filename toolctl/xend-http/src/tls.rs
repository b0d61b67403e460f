//! TLS by rustls: for the TCP listeners, and for domains on their way to another host.
//!
//! ```text
//!   KEY, CERT (PEM files) ──load──> Tls ──wrap──> a stream that shakes hands with its first read, within that request's time
//!   KEY, CERT, CA ──load──> Mutual ──accept, connect──> a connection of which both sides have shown a certificate of CA's
//! ```
//! Versions 1.2 and 1.3, and clients show no certificate, as with xend; 1.3 only where both sides are xends.

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

pub use rustls::Connection;

/// A key with its certificate.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

fn wrong(path: &Path, why: impl std::fmt::Display) -> String {
    format!("cannot use {}: {why}", path.display())
}

/// The certificates in a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| wrong(path, e))?;
    match chain.is_empty() {
        true => Err(wrong(path, "it holds no certificate")),
        false => Ok(chain),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| wrong(path, e))
}

impl Tls {
    /// Reads both; the line says which file is wrong, and how.
    pub fn load(key: &Path, cert: &Path) -> Result<Tls, String> {
        let (chain, private) = (certificates(cert)?, private_key(key)?);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(chain, private)
            })
            .map_err(|e| wrong(key, e))?;
        Ok(Tls(Arc::new(config)))
    }

    /// The server's side of a connection on `stream`.
    pub fn wrap<S: Read + Write>(
        &self,
        stream: S,
    ) -> Result<StreamOwned<ServerConnection, S>, rustls::Error> {
        let connection = ServerConnection::new(self.0.clone())?;
        Ok(StreamOwned::new(connection, stream))
    }
}

/// A key with its certificate, and whose certificates are believed, for connections of which both sides show one.
#[derive(Clone)]
pub struct Mutual {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Mutual {
    /// Reads all three; the line says which file is wrong, and how.
    pub fn load(key: &Path, cert: &Path, ca: &Path) -> Result<Mutual, String> {
        let (chain, private) = (certificates(cert)?, private_key(key)?);
        let mut roots = RootCertStore::empty();
        for root in certificates(ca)? {
            roots.add(root).map_err(|e| wrong(ca, e))?;
        }
        let (roots, provider) = (Arc::new(roots), Arc::new(ring::default_provider()));
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|e| wrong(ca, e))?;
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .and_then(|builder| {
                builder
                    .with_client_cert_verifier(clients)
                    .with_single_cert(chain.clone(), private.clone_key())
            })
            .map_err(|e| wrong(key, e))?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|e| wrong(ca, e))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .and_then(|builder| {
                builder
                    .with_webpki_verifier(servers)
                    .with_client_auth_cert(chain, private)
            })
            .map_err(|e| wrong(key, e))?;
        Ok(Mutual {
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }

    /// The side that was connected to.
    pub fn accept(&self) -> Result<Connection, rustls::Error> {
        Ok(ServerConnection::new(self.server.clone())?.into())
    }

    /// The side that connects, to `host`: a name or an address, which the other side's certificate must have.
    pub fn connect(&self, host: &str) -> Result<Connection, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("no certificate can be of {host:?}"))?;
        let connection = ClientConnection::new(self.client.clone(), name);
        Ok(connection.map_err(|e| e.to_string())?.into())
    }
}
