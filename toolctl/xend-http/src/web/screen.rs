//! Screens of domains for the page, by noVNC.
//!
//! ```text
//!   GET /web/screen/UUID                       what the page needs to know: may it type, the password, is noVNC there
//!       with Upgrade: websocket                ──> relay ── the domain's VNC server
//!   GET /web/novnc/core/rfb.js, ..             files of noVNC's, from where its package puts them
//! ```
//! Whoever may look at the page may look at screens; typing needs the token, and so does a screen that has a password: those who are signed in
//! need not know it.

use super::{read, Site};
use crate::http::{Answer, Request, Response};
use crate::relay::Relay;
use crate::slot::Slot;
use crate::{tree, Ask};
use noxen_xend_api::{Fault, Request as Asked, Response as Told};
use serde_json::json;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::Arc;
use std::time::Duration;

pub(super) const SCREEN: &str = "/web/screen/";
pub(super) const NOVNC: &str = "/web/novnc/";

/// Screens that are shown at once; each has a connection of the listener's for itself.
const MOST: usize = 32;
/// A VNC server of this host's answers at once, or not at all.
const CONNECT: Duration = Duration::from_secs(5);

/// The way to the screens of a node.
pub struct Screens {
    novnc: PathBuf,
    shown: Arc<AtomicUsize>,
}

struct Way {
    host: String,
    port: u16,
    password: Option<String>,
}

fn way(ask: &dyn Ask, domain: &str) -> Result<Way, Fault> {
    let domain = domain.to_owned();
    match ask.ask(Asked::Vnc { domain })? {
        Told::Vnc { tls: true, .. } => Err(Fault::generic(
            "this screen is shown by TLS (vnc-tls in xend-config.sxp), which noVNC does not speak: look at it with a VNC viewer",
        )),
        Told::Vnc {
            host,
            port,
            password,
            ..
        } => Ok(Way {
            host,
            port,
            password,
        }),
        other => Err(tree::unexpected(other)),
    }
}

/// Has the domain a screen that can be shown?
pub(super) fn is_there(ask: &dyn Ask, domain: &str) -> bool {
    way(ask, domain).is_ok()
}

impl Screens {
    /// None is shown; noVNC is in `novnc`, if it is installed.
    pub fn new(novnc: PathBuf) -> Screens {
        Screens {
            novnc,
            shown: Arc::default(),
        }
    }

    fn script(&self) -> PathBuf {
        self.novnc.join("core/rfb.js")
    }

    /// What the page needs to know before it shows the screen of `domain`.
    pub(super) fn tell(
        &self,
        ask: &dyn Ask,
        domain: &str,
        signed_in: bool,
    ) -> Result<Response, Fault> {
        let way = way(ask, domain)?;
        if !self.script().is_file() {
            return Err(Fault::generic(format!(
                "a screen is shown by noVNC, which is not in {}: install Debian's package novnc, or set novnc-path in xend-config.sxp",
                self.novnc.display()
            )));
        }
        if way.password.is_some() && !signed_in {
            return Err(Fault::generic(
                "this screen has a password: sign in to look at it",
            ));
        }
        let told = json!({"may_type": signed_in, "password": way.password});
        Ok(Response::new(200, "application/json", told.to_string()))
    }

    /// The connection becomes the way to the screen.
    pub(super) fn show(
        &self,
        site: &Site,
        ask: &dyn Ask,
        domain: &str,
        request: &Request,
    ) -> Answer {
        let slot = Slot::take(&self.shown, MOST);
        if !slot.is_free() {
            let line = format!("{MOST} screens are shown already; close one first");
            return Response::text(503, line).into();
        }
        // The cookie is enough here, though no header of one's own can come with it: another site's page is told by its origin.
        let signed_in = site.access.is_known(request);
        let connect = || {
            let way = way(ask, domain).map_err(|fault| super::told(Err(fault)))?;
            if way.password.is_some() && !signed_in {
                return Err(Response::text(403, site.access.refusal()));
            }
            open(&way).map_err(|error| {
                let Way { host, port, .. } = way;
                let line = format!("the screen at {host}, port {port}, does not answer: {error}");
                Response::text(503, line)
            })
        };
        match Relay::new(request, signed_in, slot, connect) {
            Ok(relay) => Answer::Relay(Box::new(relay)),
            Err(response) => response.into(),
        }
    }

    /// A script of noVNC's; `path` is what follows [`NOVNC`].
    pub(super) fn file(&self, path: &str) -> Response {
        let missing = || Response::text(404, "noVNC has no such script");
        if !is_script(path) {
            return missing();
        }
        match read(&self.novnc.join(path)) {
            Ok(text) => Response::new(200, "text/javascript; charset=utf-8", text),
            Err(_) => missing(),
        }
    }
}

fn open(way: &Way) -> std::io::Result<TcpStream> {
    let mut last = std::io::ErrorKind::AddrNotAvailable.into();
    for address in (way.host.as_str(), way.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Names of letters, digits, `-`, `_`, and no dot but that of `.js`: nothing leads out of the directory.
fn is_script(path: &str) -> bool {
    let Some(stem) = path.strip_suffix(".js") else {
        return false;
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    stem.split('/')
        .all(|name| !name.is_empty() && name.chars().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scripts_below_the_directory_are_served() {
        for good in ["core/rfb.js", "vendor/pako/lib/zlib/adler32.js"] {
            assert!(is_script(good), "{good}");
        }
        for bad in [
            "",
            ".js",
            "/etc/x.js",
            "../x.js",
            "core/../../x.js",
            "core//x.js",
            "core/.x.js",
            "a\0.js",
            "core/rfb.css",
            "core",
        ] {
            assert!(!is_script(bad), "{bad}");
        }
    }
}
