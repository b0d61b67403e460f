//! Which server xm talks to: `/etc/xen/xm-config.xml` (elsewhere by `XM_CONFIG_FILE`), and `XM_SERVER`.
//!
//! ```text
//!   <xm> <server type='Xen-API' uri='https://host:9367/' username='u' password='p' certificate='FILE'/> </xm>
//!   no file, or another type: the xend of this host, in the old way
//! ```
//! `certificate` is our own: PEM certificates that the server may have, besides those that the host trusts.

use std::path::{Path, PathBuf};

/// Largest file that is read, bytes.
const LARGEST: u64 = 64 << 10;

/// How it is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The old way: the xend of this host.
    #[default]
    Legacy,
    /// The Xen-API.
    XenApi,
}

/// Where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `httpu:///PATH`.
    Unix(PathBuf),
    /// `http://HOST[:PORT]/`, `https://..`.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// By TLS?
        tls: bool,
        /// What comes after it.
        path: String,
    },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Unix(path) => write!(f, "{}", path.display()),
            Place::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// How.
    pub kind: Kind,
    /// Where; None for the usual socket.
    pub uri: Option<String>,
    /// Who logs in.
    pub username: String,
    /// With what.
    pub password: String,
    /// Certificates that it may have.
    pub certificate: Option<PathBuf>,
}

/// What was found, and lines for standard error about what was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The server.
    pub server: Server,
    /// Warnings.
    pub notes: Vec<String>,
}

/// Reads the file at `path`, if there is one; `uri` is that of `XM_SERVER`.
pub fn choose(path: &Path, uri: Option<String>) -> Choice {
    let mut choice = Choice {
        server: Server {
            kind: Kind::Legacy,
            uri: None,
            username: String::new(),
            password: String::new(),
            certificate: None,
        },
        notes: Vec::new(),
    };
    let text = match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() && meta.len() <= LARGEST => std::fs::read_to_string(path).ok(),
        Ok(_) => None,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Some(String::new()),
        Err(_) => None,
    };
    let read = text.is_some_and(|text| text.is_empty() || parse(&text, &mut choice).is_some());
    if !read {
        let line = format!("Ignoring invalid configuration file {}.", path.display());
        choice.notes.push(line);
    }
    if uri.is_some() {
        choice.server.uri = uri;
    }
    choice
}

fn parse(text: &str, choice: &mut Choice) -> Option<()> {
    // (Document types may hold entities that grow without bound; the parser refuses them unless told otherwise.)
    let document = roxmltree::Document::parse(text).ok()?;
    let root = document.root_element();
    let server = root.children().find(|node| node.has_tag_name("server"));
    if !root.has_tag_name("xm") {
        return None;
    }
    let Some(server) = server else {
        return Some(());
    };
    let get = |name: &str| server.attribute(name).filter(|text| !text.is_empty());
    choice.server.kind = match get("type") {
        Some("Xen-API") => Kind::XenApi,
        None | Some("LegacyXMLRPC") => Kind::Legacy,
        Some(other) => {
            let line = format!("Invalid server type {other}; using LegacyXMLRPC.");
            choice.notes.push(line);
            Kind::Legacy
        }
    };
    choice.server.uri = get("uri").map(str::to_owned);
    choice.server.username = get("username").unwrap_or_default().to_owned();
    choice.server.password = get("password").unwrap_or_default().to_owned();
    choice.server.certificate = get("certificate").map(PathBuf::from);
    Some(())
}

/// The place that a URI names; the line says what is wrong with it.
pub fn place(uri: &str) -> Result<Place, String> {
    let wrong = |what: &str| {
        Err(format!(
            "the server's URI '{uri}' {what}; it is httpu:///SOCKET, http://HOST:PORT/ or https://HOST:PORT/"
        ))
    };
    let (scheme, rest) = match uri.split_once("://") {
        Some(parts) => parts,
        None => return wrong("has no scheme"),
    };
    let tls = match scheme {
        "httpu" if rest.starts_with('/') => return Ok(Place::Unix(rest.into())),
        "http" => false,
        "https" => true,
        "ssh" => return wrong("asks for ssh, which the Xen-API does not go through"),
        _ => return wrong("is of no known kind"),
    };
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/RPC2"),
    };
    let path = if path == "/" { "/RPC2" } else { path };
    if path.contains(|c: char| c.is_control() || c == ' ') || host.contains('@') {
        return wrong("holds something that belongs elsewhere");
    }
    // [::1]:80 has colons before its port as well.
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => match port.parse() {
            Ok(port) => (host, port),
            Err(_) => return wrong("has no number for a port"),
        },
        _ => (host, if tls { 443 } else { 80 }),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return wrong("names no host");
    }
    Ok(Place::Tcp {
        host: host.to_owned(),
        port,
        tls,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Choice {
        let path =
            std::env::temp_dir().join(format!("xm-config-{}-{}", std::process::id(), text.len()));
        std::fs::write(&path, text).unwrap();
        let choice = choose(&path, None);
        std::fs::remove_file(path).unwrap();
        choice
    }

    #[test]
    fn file_says_which_server() {
        let choice = read(
            "<xm><server type='Xen-API' uri='http://h:9363/' username='u' password='p'/></xm>",
        );
        assert_eq!(choice.server.kind, Kind::XenApi);
        assert_eq!(choice.server.uri.as_deref(), Some("http://h:9363/"));
        assert_eq!(
            (
                choice.server.username.as_str(),
                choice.server.password.as_str()
            ),
            ("u", "p")
        );
        assert!(choice.notes.is_empty());
        let missing = choose(Path::new("/nonexistent/xm-config.xml"), Some("x".into()));
        assert_eq!(
            (missing.server.kind, missing.notes.len()),
            (Kind::Legacy, 0)
        );
        assert_eq!(missing.server.uri.as_deref(), Some("x"));
    }

    #[test]
    fn what_is_not_understood_is_said_and_left_aside() {
        assert!(read("<xm").notes[0].starts_with("Ignoring invalid configuration file /"));
        assert_eq!(read("<other/>").notes.len(), 1);
        let text = "<!DOCTYPE xm [<!ENTITY a 'b'>]><xm><server type='Xen-API'/></xm>";
        assert_eq!(read(text).notes.len(), 1);
        let choice = read("<xm><server type='soap'/></xm>");
        assert_eq!(
            choice.notes,
            ["Invalid server type soap; using LegacyXMLRPC."]
        );
        assert_eq!(choice.server.kind, Kind::Legacy);
    }

    #[test]
    fn places_are_sockets_hosts_and_ports() {
        let tcp = |host: &str, port, tls| Place::Tcp {
            host: host.into(),
            port,
            tls,
            path: "/RPC2".into(),
        };
        assert_eq!(
            place("httpu:///run/x").unwrap(),
            Place::Unix("/run/x".into())
        );
        assert_eq!(place("http://h:9363").unwrap(), tcp("h", 9363, false));
        assert_eq!(place("https://[::1]/").unwrap(), tcp("::1", 443, true));
        for bad in [
            "",
            "h:9363",
            "httpu://x",
            "ssh://root@h/",
            "http://",
            "http://h:x/",
            "http://h/a b",
            "http://u@h/",
        ] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
