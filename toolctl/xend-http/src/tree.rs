//! Domains as the trees that xend's old interfaces tell them in.

use crate::Ask;
use noxen_xend_api::{DomainInfo, Fault, Request, Response, StateFilter};
use noxen_xm_config::limits::Limits;
use noxen_xm_config::sxp::{parse, Node};

/// xend answered with something else than it was asked for.
pub fn unexpected(response: Response) -> Fault {
    Fault::internal(format!(
        "xend answered with something unexpected: {response:?}"
    ))
}

/// The `(domain ..)` forms of the domains named, or of all.
pub fn domains(
    ask: &dyn Ask,
    domains: Vec<String>,
    state: StateFilter,
) -> Result<Vec<Node>, Fault> {
    let texts = match ask.ask(Request::Sxp { domains, state })? {
        Response::Texts { texts } => texts,
        other => return Err(unexpected(other)),
    };
    let limits = Limits::default();
    texts
        .iter()
        .map(|text| {
            parse(text, &limits)
                .map_err(|error| Fault::internal(format!("xend's own form: {error}")))
        })
        .collect()
}

/// The `(domain ..)` form of one domain.
pub fn domain(ask: &dyn Ask, domain: &str) -> Result<Node, Fault> {
    domains(ask, vec![domain.to_owned()], StateFilter::All)?
        .pop()
        .ok_or_else(|| Fault::invalid_domain(domain))
}

/// Names, in the order of `list`.
pub fn names(ask: &dyn Ask, state: StateFilter) -> Result<Vec<String>, Fault> {
    let request = Request::List {
        domains: Vec::new(),
        state,
    };
    match ask.ask(request)? {
        Response::Domains { domains } => Ok(domains.into_iter().map(|d| d.name).collect()),
        other => Err(unexpected(other)),
    }
}

/// One domain's short record.
pub fn info(ask: &dyn Ask, domain: &str) -> Result<DomainInfo, Fault> {
    let request = Request::Domain {
        domain: domain.to_owned(),
    };
    match ask.ask(request)? {
        Response::Domain { domain } => Ok(*domain),
        other => Err(unexpected(other)),
    }
}

/// A request whose answer says only that it was done.
pub fn done(ask: &dyn Ask, request: Request) -> Result<(), Fault> {
    match ask.ask(request)? {
        Response::Ok => Ok(()),
        other => Err(unexpected(other)),
    }
}

/// A request that is answered with a text.
pub fn text(ask: &dyn Ask, request: Request) -> Result<String, Fault> {
    match ask.ask(request)? {
        Response::Text { text } => Ok(text),
        other => Err(unexpected(other)),
    }
}

/// Makes the domain that a `(vm ..)` form describes; its `(domain ..)` form. It is left paused.
pub fn create(ask: &dyn Ask, form: &Node) -> Result<Node, Fault> {
    let config = noxen_xm_config::sxp_config::from_sxp(form)
        .map_err(|error| Fault::generic(error.to_string()))?;
    let config = Box::new(config);
    made(ask, Request::Create { config })
}

/// The domain that `request` makes.
pub fn made(ask: &dyn Ask, request: Request) -> Result<Node, Fault> {
    let created = match ask.ask(request)? {
        Response::Domain { domain } => domain,
        other => return Err(unexpected(other)),
    };
    let key = match created.domid {
        Some(domid) => domid.to_string(),
        None => created.name,
    };
    domain(ask, &key)
}

/// Starts a managed domain that is halted.
pub fn start(ask: &dyn Ask, domain: String, paused: bool) -> Result<(), Fault> {
    let started = match ask.ask(Request::Start { domain })? {
        Response::Domain { domain } => domain,
        other => return Err(unexpected(other)),
    };
    if paused {
        return Ok(());
    }
    let domain = match started.domid {
        Some(domid) => domid.to_string(),
        None => started.uuid,
    };
    done(ask, Request::Unpause { domain })
}

/// Moves a running domain to another host and waits until it runs there. `port`: none for `xend-relocation-port`.
pub fn migrate(
    ask: &dyn Ask,
    domain: String,
    host: &str,
    live: bool,
    port: Option<i64>,
    ssl: bool,
) -> Result<(), Fault> {
    if host.is_empty() {
        return Err(Fault::generic("there is no host to move to"));
    }
    // Old clients send 0 for the usual port.
    let port = match port.filter(|&port| port != 0) {
        None => None,
        Some(port) => Some(
            u16::try_from(port).map_err(|_| Fault::generic(format!("{port} is no TCP port")))?,
        ),
    };
    // What is not named here has the protocol's own defaults.
    let how = serde_json::json!({"host": host, "live": live, "port": port, "ssl": ssl});
    let how = serde_json::from_value(how).map_err(|error| Fault::internal(error.to_string()))?;
    match ask.ask(Request::Migrate { domain, how })? {
        Response::Moved { .. } => Ok(()),
        other => Err(unexpected(other)),
    }
}

/// xend's log, at most its last 8 MiB.
pub fn log(ask: &dyn Ask) -> Result<String, Fault> {
    use std::io::{Read, Seek, SeekFrom};
    const MOST: u64 = 8 << 20;
    let path = text(ask, Request::LogPath)?;
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(&path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(MOST)))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().map_err(|error| Fault::generic(format!("cannot read {path}: {error}")))
}
