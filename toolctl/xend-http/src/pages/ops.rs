//! `op=..` of POST requests.

use super::Page;
use crate::http::form::Form;
use crate::{tree, Ask};
use noxen_xend_api::change::Change;
use noxen_xend_api::{Fault, Request, ShutdownKind};
use noxen_xm_config::limits::Limits;
use noxen_xm_config::sxp::{parse, Node};

/// Operations of one domain that are known and not built.
const PLANNED: &[&str] = &[
    "configure",
    "wait_for_devices",
    "cpu_sedf_get",
    "cpu_sedf_set",
    "devices",
    "device_create",
    "device_destroy",
    "device_configure",
    "vif_limit_set",
    "vcpuinfo",
    "domain_sched_credit_get",
];

/// Known, not built.
pub fn not_built(of: &str, op: &str) -> Page {
    Page::Status(501, format!("Operation not implemented: {op} of {of}"))
}

fn unknown(op: &str) -> Page {
    Page::Status(501, format!("Operation not implemented: {op}"))
}

/// Of the host itself: stopping it is no business of this server.
pub fn node(op: &str) -> Page {
    match op {
        "shutdown" | "reboot" => not_built("the host; use its own tools", op),
        other => unknown(other),
    }
}

/// Of the messages.
pub fn dmesg(ask: &dyn Ask, op: &str) -> Page {
    match op {
        "clear" => match ask.ask(Request::Dmesg { clear: true }) {
            Ok(_) => Page::Done(None),
            Err(fault) => fault.into(),
        },
        other => unknown(other),
    }
}

/// Of all domains.
pub fn domains(ask: &dyn Ask, op: &str, form: &Form) -> Page {
    match op {
        "create" => create(ask, form),
        "list" => match tree::names(ask, noxen_xend_api::StateFilter::All) {
            Ok(names) => Page::Tree(Node::List(names.into_iter().map(Node::Atom).collect())),
            Err(fault) => fault.into(),
        },
        "restore" => restore(ask, form),
        "new" => not_built("domains", op),
        other => unknown(other),
    }
}

fn create(ask: &dyn Ask, form: &Form) -> Page {
    let Some(text) = form.get("config") else {
        return Page::Status(
            400,
            "Failed to create the domain: there is no config".into(),
        );
    };
    let config = match parse(text, &Limits::default()) {
        Ok(config) => config,
        Err(error) => return Page::Status(400, format!("Failed to read the config: {error}")),
    };
    match tree::create(ask, &config) {
        Ok(domain) => there_is(&domain),
        Err(fault) => Page::Status(
            400,
            format!("Failed to create the domain: {}", fault.message),
        ),
    }
}

/// A domain was made: its place.
fn there_is(domain: &Node) -> Page {
    let name = domain.get("name").unwrap_or("");
    Page::Done(Some(format!("/xend/domain/{name}")))
}

fn restore(ask: &dyn Ask, form: &Form) -> Page {
    let file = match file(form, "restore") {
        Ok(file) => file,
        Err(line) => return Page::Status(400, line),
    };
    let paused = flag(form, "paused");
    match tree::made(
        ask,
        Request::Restore {
            file,
            paused,
            lazy: false,
        },
    ) {
        Ok(domain) => there_is(&domain),
        Err(fault) => fault.into(),
    }
}

/// A file of the host's: xend's own directory is not the client's.
fn file(form: &Form, op: &str) -> Result<String, String> {
    match form.get("file") {
        Some(file) if file.starts_with('/') => Ok(file.to_owned()),
        Some(file) => Err(format!("Failed to {op}: '{file}' is no absolute path")),
        None => Err(format!("Failed to {op}: there is no field 'file'")),
    }
}

fn flag(form: &Form, name: &str) -> bool {
    matches!(form.get(name), Some("1" | "true"))
}

/// Of one domain.
pub fn domain(ask: &dyn Ask, domain: &str, op: &str, form: &Form) -> Page {
    if op == "start" {
        let paused = flag(form, "paused");
        return done(domain, tree::start(ask, domain.to_owned(), paused));
    }
    if op == "migrate" {
        let number = |name: &str| match form.get(name).map(str::parse::<i64>) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(Page::Status(
                400,
                format!("Failed to migrate: field '{name}' is no number"),
            )),
        };
        let (port, live, ssl) = match (number("port"), number("live"), number("ssl")) {
            (Ok(port), Ok(live), Ok(ssl)) => (port, live, ssl),
            (Err(page), ..) | (_, Err(page), _) | (.., Err(page)) => return page,
        };
        let is_set = |flag: Option<i64>| flag.is_some_and(|flag| flag != 0);
        let Some(host) = form.get("destination") else {
            let line = "Failed to migrate: there is no field 'destination'";
            return Page::Status(400, line.into());
        };
        let (live, ssl) = (is_set(live), is_set(ssl));
        let outcome = tree::migrate(ask, domain.to_owned(), host, live, port, ssl);
        return done(domain, outcome);
    }
    let request = match request(domain.to_owned(), op, form) {
        Ok(Some(request)) => request,
        Ok(None) if PLANNED.contains(&op) => return not_built("a domain", op),
        Ok(None) => return unknown(op),
        Err(line) => return Page::Status(400, line),
    };
    done(domain, ask.ask(request).map(drop))
}

fn done(domain: &str, outcome: Result<(), Fault>) -> Page {
    match outcome {
        Ok(()) => Page::Done(None),
        Err(fault) if fault.code == Fault::INVALID_DOMAIN => {
            Page::Status(404, format!("Not found: {domain}"))
        }
        Err(fault) => fault.into(),
    }
}

/// The request that `op` stands for; `None` if it stands for none.
fn request(domain: String, op: &str, form: &Form) -> Result<Option<Request>, String> {
    let field = |name: &str| {
        form.get(name)
            .ok_or_else(|| format!("Failed to {op}: there is no field '{name}'"))
    };
    let number = |name: &str| -> Result<i64, String> {
        let text = field(name)?;
        text.parse()
            .map_err(|_| format!("Failed to {op}: field '{name}' is '{text}', not a number"))
    };
    let change = |domain: String, change: Change| Request::Change { domain, change };
    Ok(Some(match op {
        "pause" => Request::Pause { domain },
        "unpause" => Request::Unpause { domain },
        "destroy" => Request::Destroy { domain },
        "reset" => Request::Reset { domain },
        "delete" => Request::Delete { domain },
        "suspend" => Request::Suspend { domain },
        "resume" => Request::Resume {
            domain,
            paused: flag(form, "paused"),
        },
        "save" => Request::Save {
            domain,
            file: file(form, op)?,
            checkpoint: flag(form, "checkpoint"),
            how: Default::default(),
        },
        "dump" => Request::DumpCore {
            domain,
            file: match form.get("file") {
                None | Some("") => None,
                Some(_) => Some(file(form, op)?),
            },
            live: flag(form, "live"),
            crash: flag(form, "crash"),
            reset: flag(form, "reset"),
        },
        "shutdown" => {
            let reason = field("reason")?;
            let kind = ShutdownKind::parse(reason)
                .ok_or_else(|| format!("Failed to shutdown: '{reason}' is no reason"))?;
            Request::Shutdown { domain, kind }
        }
        "rename" => change(
            domain,
            Change::Name {
                name: field("name")?.to_owned(),
            },
        ),
        "sysrq" => {
            let text = field("key")?;
            let key = Change::sysrq(text)
                .ok_or_else(|| format!("Failed to sysrq: '{text}' is not one character"))?;
            change(domain, key)
        }
        "mem_target_set" => change(
            domain,
            Change::Memory {
                mib: number("target")?,
            },
        ),
        "maxmem_set" => change(
            domain,
            Change::MaxMemory {
                mib: number("memory")?,
            },
        ),
        "set_vcpus" => change(
            domain,
            Change::Vcpus {
                count: number("vcpus")?,
            },
        ),
        "pincpu" => change(
            domain,
            Change::Pin {
                vcpu: Some(
                    u32::try_from(number("vcpu")?)
                        .map_err(|_| "Failed to pincpu: there is no such vCPU".to_owned())?,
                ),
                cpus: field("cpumap")?.to_owned(),
            },
        ),
        "domain_sched_credit_set" => change(
            domain,
            Change::Credit {
                weight: form.get("weight").map(|_| number("weight")).transpose()?,
                cap: form.get("cap").map(|_| number("cap")).transpose()?,
            },
        ),
        _ => return Ok(None),
    }))
}
