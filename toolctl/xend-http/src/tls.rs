//! TLS for the TCP listeners, by rustls.
//!
//! ```text
//!   KEY, CERT (PEM files) ──load──> Tls ──wrap──> a stream that shakes hands with its first read, within that request's time
//! ```
//! Versions 1.2 and 1.3; clients show no certificate, as with xend.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// A key with its certificate.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

impl Tls {
    /// Reads both; the line says which file is wrong, and how.
    pub fn load(key: &Path, cert: &Path) -> Result<Tls, String> {
        let wrong = |path: &Path, e: String| format!("cannot use {}: {e}", path.display());
        let of_cert = |e: rustls::pki_types::pem::Error| wrong(cert, e.to_string());
        let chain = CertificateDer::pem_file_iter(cert)
            .map_err(of_cert)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(of_cert)?;
        if chain.is_empty() {
            return Err(wrong(cert, "it holds no certificate".into()));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, e.to_string()))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_no_client_auth()
                    .with_single_cert(chain, private)
            })
            .map_err(|e| wrong(key, e.to_string()))?;
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
