//! The servers for programs other than toolctl, as xend-config.sxp wants them.
//!
//! ```text
//!   settings ──wanted──> [ what is served, where ] ──bind──> listeners ──serve──> a thread each (noxen-xend-http)
//!   xend-unix-xmlrpc-server  yes          legacy XML-RPC on /var/run/xend/xmlrpc.sock
//!   xend-tcp-xmlrpc-server   no           the same on TCP
//!   xen-api-server           ((unix))     the Xen-API on /var/run/xend/xen-api.sock, and on TCP where listed
//!   xend-http-server, xend-unix-server    no   the web page, and SXP over HTTP
//!   xend-relocation-server   no           domains from other hosts (migrate/)
//! ```
//! Unix sockets are for root. On TCP the web server lets everybody look and whoever has the token change something; the Xen-API asks for
//! a user's token where `token` is written; what is left asks nobody who he is, as it was with xend. So nothing listens there unless it is
//! written, and what asks for PAM, which is not built, keeps xend from starting instead of listening without.

use crate::api_tokens::Tokens;
use crate::node::Node;
use crate::pam::Pam;
use crate::settings::Settings;
use crate::{info, migrate, requests, server, warning, web_token};
use noxen_xend_api::client::sibling_program;
use noxen_xend_api::paths::Paths;
use noxen_xend_api::{Fault, Request, Response};
use noxen_xend_http::allow::Allow;
use noxen_xend_http::tls::{Mutual, Tls};
use noxen_xend_http::web::{self, Access, Consoles, Screens, Site, Terminal};
use noxen_xend_http::xenapi::{Door, XenApi};
use noxen_xend_http::{legacy, serve_tcp, serve_unix, Ask, Handler};
use noxen_xm_config::sxp::{parse, Node as Sxp};
use noxen_xm_config::Limits;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Legacy,
    XenApi,
    Pages,
}

/// Where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Unix(PathBuf),
    Tcp(Tcp),
}

/// A TCP port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tcp {
    /// Empty for all.
    address: String,
    port: u16,
    allow: Allow,
    /// Does it ask for a user's token?
    door: Guard,
    /// Files of key and certificate; None: no TLS.
    tls: Option<(PathBuf, PathBuf)>,
}

/// Whom a listener asks who he is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Guard {
    #[default]
    Nobody,
    Token,
    /// A user of the host's, by PAM.
    Pam,
}

/// Where domains from other hosts are taken in, in the clear or by TLS.
fn relocation(settings: &Settings, server: &str, port: &str) -> Result<Option<Tcp>, String> {
    if !settings.bool(server) {
        return Ok(None);
    }
    let text = settings.text(port);
    let port = text
        .parse()
        .map_err(|_| format!("invalid xend config {port}: {text} is no port"))?;
    let allow = Allow::parse(settings.text("xend-relocation-hosts-allow"))
        .map_err(|e| format!("invalid xend config xend-relocation-hosts-allow: {e}"))?;
    Ok(Some(Tcp {
        address: settings.text("xend-relocation-address").to_owned(),
        port,
        allow,
        ..Tcp::default()
    }))
}

enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener, String, Allow, Option<Tls>, Guard),
}

/// Sockets that are bound and not served yet.
pub struct Servers {
    bound: Vec<(Service, Listener)>,
    relocation: Vec<(Listener, Option<Mutual>)>,
}

struct Xend(Arc<Node>);

impl Ask for Xend {
    fn ask(&self, request: Request) -> Result<Response, Fault> {
        requests::handle(&self.0, request)
    }
}

impl Servers {
    /// Binds what `settings` want; the line says what is wrong with them, or which socket cannot be had.
    pub fn bind(settings: &Settings, paths: &Paths) -> Result<Servers, String> {
        let mut bound = Vec::new();
        for (service, place) in wanted(settings, paths)? {
            let listener = match &place {
                Place::Unix(path) => server::listen(path)
                    .map(|listener| Listener::Unix(listener, path.clone()))
                    .map_err(|e| format!("cannot listen on {}: {e}", path.display()))?,
                Place::Tcp(place) => tcp(place)?,
            };
            bound.push((service, listener));
        }
        let mut relocation_servers = Vec::new();
        if let Some(place) = relocation(settings, "xend-relocation-server", "xend-relocation-port")?
        {
            relocation_servers.push((tcp(&place)?, None));
        }
        let by_tls = ("xend-relocation-ssl-server", "xend-relocation-ssl-port");
        if let Some(place) = relocation(settings, by_tls.0, by_tls.1)? {
            let tls = migrate::tls(settings).map_err(|why| format!("{}: {why}", by_tls.0))?;
            relocation_servers.push((tcp(&place)?, Some(tls)));
        }
        let relocation = relocation_servers;
        Ok(Servers { bound, relocation })
    }

    /// Starts to serve; returns the sockets' files, which are to be removed when xend ends.
    pub fn serve(self, node: &Arc<Node>) -> Result<Vec<PathBuf>, String> {
        let ask = Arc::new(Xend(node.clone()));
        let api = Arc::new(XenApi::default());
        let mut files = Vec::new();
        for (listener, tls) in self.relocation {
            let Listener::Tcp(listener, place, allow, ..) = listener else {
                continue;
            };
            match tls {
                Some(_) => info!("domains are taken in on {place}, by TLS"),
                None => warning!("domains are taken in on {place}, in the clear"),
            }
            let node = node.clone();
            std::thread::Builder::new()
                .name("relocation-accept".into())
                .spawn(move || migrate::serve(&node, &listener, &allow, tls.as_ref()))
                .map_err(|e| format!("cannot start a server's thread: {e}"))?;
        }
        for (service, listener) in self.bound {
            let (ask, api) = (ask.clone(), api.clone());
            let handler: Arc<Handler> = match service {
                Service::Legacy => Arc::new(move |request| legacy::handle(&*ask, request).into()),
                Service::XenApi => {
                    let door = match &listener {
                        Listener::Tcp(.., Guard::Token) => {
                            Door::Guarded(Arc::new(Tokens::of(&node.options.paths)))
                        }
                        Listener::Tcp(.., tls, Guard::Pam) => {
                            if tls.is_none() {
                                warning!("Xen-API: users' passwords come over the network in the clear; give xen-api-server a key and a certificate");
                            }
                            let own = std::env::current_exe()
                                .map_err(|e| format!("cannot find xend's own program: {e}"))?;
                            Door::Guarded(Arc::new(Pam::new(own)))
                        }
                        _ => Door::Open,
                    };
                    Arc::new(move |request| api.handle(&*ask, &door, request).into())
                }
                Service::Pages => {
                    let access = match &listener {
                        Listener::Unix(..) => Access::Open,
                        Listener::Tcp(_, _, _, tls, _) => {
                            web_token::access(&node.options.paths.web_token(), tls.is_some())?
                        }
                    };
                    let consoles = Consoles::new(sibling_program("toolctl"));
                    let screens = Screens::new(node.settings().text("novnc-path").into());
                    let terminal = Terminal::new(node.settings().text("xterm-path").into());
                    let site = Site {
                        access,
                        consoles,
                        screens,
                        terminal,
                    };
                    Arc::new(move |request| web::answer(&site, &*ask, request))
                }
            };
            let serve: Box<dyn FnOnce() + Send> = match listener {
                Listener::Unix(listener, path) => {
                    info!("{service:?} requests are served on {}", path.display());
                    files.push(path);
                    Box::new(move || serve_unix(&listener, handler))
                }
                Listener::Tcp(listener, place, allow, tls, guard) => {
                    let who = match service {
                        Service::Pages => {
                            "to look at by whoever can connect, to change with the token"
                        }
                        Service::Legacy | Service::XenApi if guard == Guard::Token => {
                            "for users with a token"
                        }
                        Service::Legacy | Service::XenApi if guard == Guard::Pam => {
                            "for the host's users, by PAM"
                        }
                        Service::Legacy | Service::XenApi => "from whoever can connect",
                    };
                    info!("{service:?} requests are served on {place}, {who}");
                    Box::new(move || serve_tcp(&listener, &allow, tls.as_ref(), handler))
                }
            };
            std::thread::Builder::new()
                .name("http-accept".into())
                .spawn(serve)
                .map_err(|e| format!("cannot start a server's thread: {e}"))?;
        }
        Ok(files)
    }
}

fn tcp(wanted: &Tcp) -> Result<Listener, String> {
    let host = match wanted.address.as_str() {
        "" => "0.0.0.0",
        address => address,
    };
    let port = wanted.port;
    let tls = match &wanted.tls {
        Some((key, cert)) => Some(Tls::load(key, cert)?),
        None => None,
    };
    let place = format!("{host}:{port}");
    let failed = |e: std::io::Error| format!("cannot listen on {place}: {e}");
    let addresses: Vec<_> = (host, port).to_socket_addrs().map_err(failed)?.collect();
    let listener = TcpListener::bind(addresses.as_slice()).map_err(failed)?;
    let allow = wanted.allow.clone();
    Ok(Listener::Tcp(listener, place, allow, tls, wanted.door))
}

fn wanted(settings: &Settings, paths: &Paths) -> Result<Vec<(Service, Place)>, String> {
    let port = |key: &str| {
        let text = settings.text(key);
        text.parse::<u16>()
            .map_err(|_| format!("invalid xend config {key}: {text} is no port"))
    };
    let mut all = Vec::new();
    if settings.bool("xend-unix-xmlrpc-server") {
        all.push((Service::Legacy, Place::Unix(paths.xmlrpc_socket())));
    }
    if settings.bool("xend-tcp-xmlrpc-server") {
        let tls = files(settings, "xend-tcp-xmlrpc-server-ssl")?;
        let place = Place::Tcp(Tcp {
            address: settings.text("xend-tcp-xmlrpc-server-address").to_owned(),
            port: port("xend-tcp-xmlrpc-server-port")?,
            tls,
            ..Tcp::default()
        });
        all.push((Service::Legacy, place));
    }
    if settings.bool("xend-unix-server") {
        let path = settings.text("xend-unix-path");
        all.push((
            Service::Pages,
            Place::Unix(paths.root().join(path.trim_start_matches('/'))),
        ));
    }
    if settings.bool("xend-http-server") {
        let address = settings.text("xend-address").to_owned();
        all.push((
            Service::Pages,
            Place::Tcp(Tcp {
                address,
                port: port("xend-port")?,
                tls: files(settings, "xend-http-server-ssl")?,
                ..Tcp::default()
            }),
        ));
    }
    for place in xen_api(settings.text("xen-api-server"), paths)? {
        all.push((Service::XenApi, place));
    }
    Ok(all)
}

/// The files of key and certificate that `PREFIX-key-file` and `PREFIX-cert-file` name; None for no TLS.
fn files(settings: &Settings, prefix: &str) -> Result<Option<(PathBuf, PathBuf)>, String> {
    match ["key", "cert"].map(|which| settings.text(&format!("{prefix}-{which}-file"))) {
        ["", ""] => Ok(None),
        [key, cert] if !key.is_empty() && !cert.is_empty() => Ok(Some((key.into(), cert.into()))),
        _ => Err(format!(
            "invalid xend config: only one of {prefix}-key-file and {prefix}-cert-file is set; TLS needs both"
        )),
    }
}

/// `((unix [none|pam]) (PORT|ADDRESS:PORT [none|token|pam [HOSTS [KEY CERT]]])..)`; `token` is our own word, `pam` what is meant without one.
fn xen_api(text: &str, paths: &Paths) -> Result<Vec<Place>, String> {
    let wrong = |what: String| format!("invalid xend config xen-api-server: {what}");
    let list = parse(text, &Limits::default()).map_err(|e| wrong(e.to_string()))?;
    let entries = match &list {
        Sxp::List(entries) => entries.as_slice(),
        Sxp::Atom(_) => &[],
    };
    let at = |place: &str| {
        let (address, port) = place.rsplit_once(':').unwrap_or(("", place));
        let port = port
            .parse()
            .map_err(|_| wrong(format!("{place} is no port")))?;
        let address = address.to_owned();
        Ok::<Tcp, String>(Tcp {
            address,
            port,
            ..Tcp::default()
        })
    };
    entries
        .iter()
        .map(|entry| {
            let words: Vec<&str> = match entry {
                Sxp::Atom(word) => vec![word.as_str()],
                Sxp::List(words) => words.iter().filter_map(Sxp::text).collect(),
            };
            match words.as_slice() {
                // Root alone can open it, which is more than a password would show.
                ["unix"] | ["unix", "none" | "pam" | "token"] => {
                    Ok(Place::Unix(paths.xen_api_socket()))
                }
                [place] => Ok(Place::Tcp(Tcp {
                    door: Guard::Pam,
                    ..at(place)?
                })),
                [place, word @ ("none" | "token" | "pam"), rest @ ..]
                    if matches!(rest.len(), 0 | 1 | 3) =>
                {
                    let allow = Allow::parse(rest.first().unwrap_or(&"")).map_err(wrong)?;
                    let tls = match rest {
                        [_, key, cert] => Some((PathBuf::from(key), PathBuf::from(cert))),
                        _ => None,
                    };
                    let door = match *word {
                        "token" => Guard::Token,
                        "pam" => Guard::Pam,
                        _ => Guard::Nobody,
                    };
                    Ok(Place::Tcp(Tcp {
                        allow,
                        door,
                        tls,
                        ..at(place)?
                    }))
                }
                [place, ..] => Err(wrong(format!(
                    "({place} ..) is not of the form (PLACE none|token|pam [HOSTS [KEY CERT]])"
                ))),
                [] => Err(wrong("an empty entry".into())),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Result<Vec<(Service, Place)>, String> {
        let settings = Settings::parse(text, std::path::Path::new("/c")).unwrap();
        wanted(&settings, &Paths::under("/r"))
    }

    #[test]
    fn nothing_listens_on_the_network_unless_it_is_written() {
        let all = places("").unwrap();
        let sockets = [
            "/r/var/run/xend/xmlrpc.sock",
            "/r/var/run/xend/xen-api.sock",
        ];
        let found: Vec<_> = all.into_iter().map(|(_, place)| place).collect();
        assert_eq!(found, sockets.map(|path| Place::Unix(path.into())));
    }

    #[test]
    fn listeners_are_where_the_settings_put_them() {
        let all = places(
            "(xend-unix-xmlrpc-server no)(xend-tcp-xmlrpc-server yes)(xend-http-server yes)(xend-address localhost)\
             (xend-port 8001)(xen-api-server ((9363 none) (127.0.0.1:9364 none)))",
        );
        let tcp = |address: &str, port| {
            let address = address.to_owned();
            Place::Tcp(Tcp {
                address,
                port,
                ..Tcp::default()
            })
        };
        assert_eq!(
            all.unwrap(),
            [
                (Service::Legacy, tcp("localhost", 8006)),
                (Service::Pages, tcp("localhost", 8001)),
                (Service::XenApi, tcp("", 9363)),
                (Service::XenApi, tcp("127.0.0.1", 9364)),
            ]
        );
    }

    #[test]
    fn hosts_of_an_entry_are_those_who_may_connect() {
        let all =
            places("(xend-unix-xmlrpc-server no)(xen-api-server ((9363 none '^localhost$')))")
                .unwrap();
        let allow = Allow::parse("^localhost$").unwrap();
        let place = Place::Tcp(Tcp {
            port: 9363,
            allow,
            ..Tcp::default()
        });
        assert_eq!(all, [(Service::XenApi, place)]);
    }

    #[test]
    fn token_is_asked_for_where_it_is_written() {
        let all = places(
            "(xend-unix-xmlrpc-server no)(xen-api-server ((9363 token '^localhost$' /k /c)))(xend-http-server yes)\
             (xend-http-server-ssl-key-file /k)(xend-http-server-ssl-cert-file /c)",
        )
        .unwrap();
        let tls = Some(("/k".into(), "/c".into()));
        let places: Vec<_> = all
            .iter()
            .map(|(service, place)| match place {
                Place::Tcp(tcp) => (*service, tcp.door, &tcp.tls),
                Place::Unix(_) => panic!("{place:?}"),
            })
            .collect();
        let wanted = [
            (Service::Pages, Guard::Nobody, &tls),
            (Service::XenApi, Guard::Token, &tls),
        ];
        assert_eq!(places, wanted);
    }

    #[test]
    fn pam_is_asked_where_it_is_written_or_no_word_is() {
        for entry in ["(9363 pam)", "(9363)", "9363", "(9363 pam '^a$' /k /c)"] {
            let text = format!("(xend-unix-xmlrpc-server no)(xen-api-server ({entry}))");
            match places(&text).unwrap().as_slice() {
                [(Service::XenApi, Place::Tcp(tcp))] => {
                    assert_eq!((tcp.port, tcp.door), (9363, Guard::Pam), "{entry}");
                }
                other => panic!("{entry}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_would_be_less_than_asked_for_is_refused() {
        for (text, word) in [
            (
                "(xend-tcp-xmlrpc-server yes)(xend-tcp-xmlrpc-server-ssl-key-file /k)",
                "only one",
            ),
            (
                "(xend-http-server yes)(xend-http-server-ssl-cert-file /c)",
                "only one",
            ),
            ("(xen-api-server ((9363 who)))", "none|token|pam"),
            ("(xen-api-server ((99999 pam)))", "no port"),
            ("(xen-api-server ((9363 none '^a$' /k)))", "KEY CERT"),
            ("(xen-api-server ((9363 pam '^a$' /k)))", "KEY CERT"),
            (
                "(xen-api-server ((9363 none '(')))",
                "no regular expression",
            ),
            ("(xend-http-server yes)(xend-port 80000)", "no port"),
        ] {
            let error = places(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
