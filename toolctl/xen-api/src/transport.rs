//! One POST and its answer: a connection each, by HTTP/1.0, so that an answer ends where the connection does.

use crate::choice::Place;
use crate::error::Error;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Longest answer, bytes: a log is at most 8 MiB, and each of its octets may take some in XML.
const LONGEST: u64 = 64 << 20;
/// A host that does not take a connection for so long is not there.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest that a call may take without a word, a start or a save among them.
const ANSWER: Duration = Duration::from_secs(3600);

/// How to reach a server.
pub struct Transport {
    place: Place,
    tls: Option<Arc<ClientConfig>>,
}

impl Transport {
    /// To `place`; `certificate` holds certificates that the server may have besides those that the host trusts.
    pub fn new(place: Place, certificate: Option<&Path>) -> Result<Transport, Error> {
        let tls = match &place {
            Place::Tcp { tls: true, .. } => {
                Some(trust(certificate).map_err(|what| Error::Protocol {
                    place: place.to_string(),
                    what,
                })?)
            }
            _ => None,
        };
        Ok(Transport { place, tls })
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The body of the answer to a POST of `body`.
    pub fn post(&self, body: &str) -> Result<String, Error> {
        let bytes = match &self.place {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(Error::Connect)?;
                stream
                    .set_read_timeout(Some(ANSWER))
                    .map_err(Error::Connect)?;
                exchange(stream, "localhost", "/RPC2", body)
            }
            Place::Tcp {
                host, port, path, ..
            } => {
                let stream = connect(host, *port).map_err(Error::Connect)?;
                match &self.tls {
                    None => exchange(stream, host, path, body),
                    Some(config) => {
                        let name = ServerName::try_from(host.clone())
                            .map_err(|e| self.protocol(e.to_string()))?;
                        let connection = ClientConnection::new(config.clone(), name)
                            .map_err(|e| self.protocol(e.to_string()))?;
                        exchange(StreamOwned::new(connection, stream), host, path, body)
                    }
                }
            }
        }
        .map_err(Error::Connect)?;
        self.body(&bytes)
    }

    fn protocol(&self, what: impl Into<String>) -> Error {
        Error::Protocol {
            place: self.place.to_string(),
            what: what.into(),
        }
    }

    fn body(&self, answer: &[u8]) -> Result<String, Error> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(answer) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => {
                return Err(self.protocol("the connection ended in the middle of its answer"))
            }
            Err(e) => return Err(self.protocol(format!("no HTTP ({e})"))),
        };
        let body = answer.get(length..).unwrap_or_default();
        let header = |name: &str| {
            let mut all = response.headers.iter();
            all.find(|header| header.name.eq_ignore_ascii_case(name))
                .map(|header| String::from_utf8_lossy(header.value).into_owned())
        };
        if let Some(wanted) =
            header("content-length").and_then(|text| text.trim().parse::<usize>().ok())
        {
            if body.len() < wanted {
                return Err(self.protocol("the connection ended in the middle of its answer"));
            }
        }
        match response.code {
            Some(200) if header("transfer-encoding").is_none() => {}
            Some(200) => {
                return Err(self.protocol("its answer is in pieces, which HTTP/1.0 has not"))
            }
            code => {
                let first = String::from_utf8_lossy(body);
                let first: String = first
                    .lines()
                    .next()
                    .unwrap_or("")
                    .chars()
                    .take(120)
                    .collect();
                return Err(self.protocol(format!("HTTP status {} {first}", code.unwrap_or(0))));
            }
        }
        String::from_utf8(body.to_vec()).map_err(|_| self.protocol("its answer is not UTF-8"))
    }
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER))?;
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn exchange(
    mut stream: impl Read + Write,
    host: &str,
    path: &str,
    body: &str,
) -> io::Result<Vec<u8>> {
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: xm\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.take(LONGEST).read_to_end(&mut answer) {
        // A peer that closes without TLS's farewell: the answer's own length says whether it is whole.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        other => drop(other?),
    }
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

/// Whom to believe: the host's own roots, and the certificates of `file`.
fn trust(file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    let mut known = Vec::new();
    match file {
        Some(path) => {
            let wrong =
                |e: rustls::pki_types::pem::Error| format!("cannot use {}: {e}", path.display());
            known = CertificateDer::pem_file_iter(path)
                .map_err(wrong)?
                .collect::<Result<Vec<_>, _>>()
                .map_err(wrong)?;
            roots.add_parsable_certificates(known.iter().cloned());
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    let signed = match roots.is_empty() {
        true => None,
        false => Some(
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .map_err(|e| e.to_string())?,
        ),
    };
    let schemes = provider.signature_verification_algorithms;
    let verifier = Verifier {
        known,
        signed,
        schemes,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes a server whose certificate is one of those known, or is signed for its name by somebody who is trusted. (A certificate that
/// signed itself, as administrators make them, is of the first kind; the usual verifier takes it for an authority's and refuses it.)
#[derive(Debug)]
struct Verifier {
    known: Vec<CertificateDer<'static>>,
    signed: Option<Arc<WebPkiServerVerifier>>,
    schemes: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.known.iter().any(|known| known == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.signed {
            Some(signed) => signed.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None => Err(rustls::CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(answer: &str) -> Result<String, String> {
        let transport = Transport::new(Place::Unix("/x".into()), None).unwrap();
        transport.body(answer.as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn answers_are_whole_or_refused() {
        assert_eq!(
            said("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap(),
            "hi"
        );
        assert_eq!(said("HTTP/1.1 200 OK\r\n\r\nhi").unwrap(), "hi");
        for (answer, word) in [
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nhi",
                "in the middle",
            ),
            ("HTTP/1.0 200 OK\r\nContent", "in the middle"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "in pieces",
            ),
            (
                "HTTP/1.0 403 Forbidden\r\n\r\nnot you\n",
                "HTTP status 403 not you",
            ),
            ("SSH-2.0-OpenSSH\r\n", "no HTTP"),
        ] {
            let error = said(answer).unwrap_err();
            assert!(error.contains(word), "{answer}: {error}");
        }
    }
}
