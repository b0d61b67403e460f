//! `xend.domain` and `xend.domains`.

use super::args::Args;
use super::value::from_node;
use super::Method;
use crate::{tree, Ask};
use dxr::Value;
use noxen_xend_api::change::Change;
use noxen_xend_api::{DomainVcpus, Fault, Request, Response, ShutdownKind, StateFilter};
use noxen_xm_config::sxp::Node;
use std::collections::BTreeMap;

#[rustfmt::skip]
pub(super) const METHODS: &[Method] = &[
    Method { name: "xend.domain", run: one },
    Method { name: "xend.domains", run: domains },
    Method { name: "xend.domains_with_state", run: domains_with_state },
    Method { name: "xend.domain.create", run: create },
    Method { name: "xend.domain.new", run: new },
    Method { name: "xend.domain.start", run: start },
    Method { name: "xend.domain.delete", run: |ask, args| simple(ask, args, |domain| Request::Delete { domain }) },
    Method { name: "xend.domain.destroy", run: |ask, args| simple(ask, args, |domain| Request::Destroy { domain }) },
    Method { name: "xend.domain.pause", run: |ask, args| simple(ask, args, |domain| Request::Pause { domain }) },
    Method { name: "xend.domain.unpause", run: |ask, args| simple(ask, args, |domain| Request::Unpause { domain }) },
    Method { name: "xend.domain.waitForDevices", run: |ask, args| simple(ask, args, |domain| Request::WaitForDevices { domain }) },
    Method { name: "xend.domain.reset", run: reset },
    Method { name: "xend.domain.save", run: save },
    Method { name: "xend.domain.dump", run: dump },
    Method { name: "xend.domain.restore", run: restore },
    Method { name: "xend.domain.suspend", run: |ask, args| simple(ask, args, |domain| Request::Suspend { domain }) },
    Method { name: "xend.domain.resume", run: resume },
    Method { name: "xend.domain.migrate", run: migrate },
    Method { name: "xend.domain.shutdown", run: shutdown },
    Method { name: "xend.domain.send_sysrq", run: sysrq },
    Method { name: "xend.domain.send_trigger", run: trigger },
    Method { name: "xend.domain.lookup", run: one },
    Method { name: "xend.domain.lookup_nr", run: one },
    Method { name: "xend.domain.getDomid", run: domid },
    Method { name: "xend.domain.getRestartCount", run: restart_count },
    Method { name: "xend.domain.setName", run: set_name },
    Method { name: "xend.domain.setMemoryTarget", run: |ask, args| number(ask, args, |mib| Change::Memory { mib }) },
    Method { name: "xend.domain.maxmem_set", run: |ask, args| number(ask, args, |mib| Change::MaxMemory { mib }) },
    Method { name: "xend.domain.setVCpuCount", run: |ask, args| number(ask, args, |count| Change::Vcpus { count }) },
    Method { name: "xend.domain.getVCPUInfo", run: vcpus },
    Method { name: "xend.domain.pincpu", run: pin },
    Method { name: "xend.domain.sched_credit_get", run: credit_get },
    Method { name: "xend.domain.sched_credit_set", run: credit_set },
];

/// Methods without a result of their own answered 0 or nothing; nothing is nil.
fn nothing() -> Result<Value, Fault> {
    Ok(Value::Nil)
}

fn one(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    // Full or short: the short form has no fewer of the members that clients look at.
    args.flag(true)?;
    args.end()?;
    Ok(from_node(&tree::domain(ask, &domain)?))
}

fn domains(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let detail = args.flag(true)?;
    args.flag(true)?;
    args.end()?;
    listed(ask, detail, StateFilter::All)
}

fn domains_with_state(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let detail = args.flag(true)?;
    let word = args.text()?;
    args.flag(true)?;
    args.end()?;
    let state = StateFilter::parse(&word).ok_or_else(|| {
        Fault::generic(format!(
            "'{word}' is no state of a domain; known are all, halted, paused, running, ..."
        ))
    })?;
    listed(ask, detail, state)
}

fn listed(ask: &dyn Ask, detail: bool, state: StateFilter) -> Result<Value, Fault> {
    let all = match detail {
        true => tree::domains(ask, Vec::new(), state)?
            .iter()
            .map(from_node)
            .collect(),
        false => tree::names(ask, state)?
            .into_iter()
            .map(Value::String)
            .collect(),
    };
    Ok(Value::Array(all))
}

fn create(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let form = args.form()?;
    args.end()?;
    Ok(from_node(&tree::create(ask, &form)?))
}

fn new(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let form = args.form()?;
    args.end()?;
    let config = noxen_xm_config::sxp_config::from_sxp(&form)
        .map_err(|error| Fault::generic(error.to_string()))?;
    tree::done(
        ask,
        Request::New {
            config: Box::new(config),
        },
    )?;
    nothing()
}

/// `start(domain, paused)`: xend starts it paused, so it is let run unless that was asked for.
fn start(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    let paused = args.flag(false)?;
    args.end()?;
    tree::start(ask, domain, paused)?;
    nothing()
}

fn simple(ask: &dyn Ask, args: &mut Args, request: fn(String) -> Request) -> Result<Value, Fault> {
    let domain = args.text()?;
    args.end()?;
    tree::done(ask, request(domain))?;
    nothing()
}

/// `migrate(domain, host, live, port, node, ssl, change_home_server)`; of NUMA nodes and home servers Noxen knows nothing.
fn migrate(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let (domain, host) = (args.text()?, args.text()?);
    let live = args.flag(false)?;
    let port = args.whole_or_none()?;
    let node = args.whole_or_none()?;
    let (ssl, home) = (args.flag(false)?, args.flag(false)?);
    args.end()?;
    if node.is_some_and(|node| node >= 0) || home {
        return Err(Fault::generic(
            "a domain cannot be moved to a NUMA node or with its home; leave node and change_home_server out",
        ));
    }
    tree::migrate(ask, domain, &host, live, port, ssl)?;
    nothing()
}

fn save(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    let file = file(args)?;
    let checkpoint = args.flag(false)?;
    args.end()?;
    tree::done(
        ask,
        Request::Save {
            domain,
            file,
            checkpoint,
            how: Default::default(),
        },
    )?;
    nothing()
}

/// `dump(domain, file, live, crash, reset)`; without a file xend names it.
fn dump(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    let file = args.text_or_none()?.map(absolute).transpose()?;
    let (live, crash, reset) = (args.flag(false)?, args.flag(false)?, args.flag(false)?);
    args.end()?;
    tree::done(
        ask,
        Request::DumpCore {
            domain,
            file,
            live,
            crash,
            reset,
        },
    )?;
    nothing()
}

fn restore(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let file = file(args)?;
    let paused = args.flag(false)?;
    args.end()?;
    Ok(from_node(&tree::made(
        ask,
        Request::Restore {
            file,
            paused,
            lazy: false,
        },
    )?))
}

fn resume(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    let paused = args.flag(false)?;
    args.end()?;
    tree::done(ask, Request::Resume { domain, paused })?;
    nothing()
}

/// A file of the host's: xend's own directory is not the client's.
fn file(args: &mut Args) -> Result<String, Fault> {
    absolute(args.text()?)
}

fn absolute(file: String) -> Result<String, Fault> {
    match file.starts_with('/') {
        true => Ok(file),
        false => Err(Fault::generic(format!("{file}: give an absolute path"))),
    }
}

fn reset(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    args.end()?;
    ask.ask(Request::Reset { domain })?;
    nothing()
}

fn shutdown(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    let reason = args.text()?;
    args.end()?;
    let kind = ShutdownKind::parse(&reason)
        .ok_or_else(|| Fault::generic(format!("Invalid reason: {reason}")))?;
    tree::done(ask, Request::Shutdown { domain, kind })?;
    nothing()
}

fn change(ask: &dyn Ask, domain: String, change: Change) -> Result<Value, Fault> {
    tree::done(ask, Request::Change { domain, change })?;
    nothing()
}

fn number(ask: &dyn Ask, args: &mut Args, make: fn(i64) -> Change) -> Result<Value, Fault> {
    let domain = args.text()?;
    let value = args.whole()?;
    args.end()?;
    change(ask, domain, make(value))
}

fn sysrq(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    let text = args.text()?;
    args.end()?;
    let key = Change::sysrq(&text)
        .ok_or_else(|| Fault::generic(format!("sysrq takes one character, not '{text}'")))?;
    change(ask, domain, key)
}

fn trigger(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    let trigger = args.text()?;
    let vcpu = args.whole_or_none()?.unwrap_or(0);
    args.end()?;
    let vcpu =
        u32::try_from(vcpu).map_err(|_| Fault::generic(format!("there is no vCPU {vcpu}")))?;
    change(ask, domain, Change::Trigger { trigger, vcpu })
}

fn domid(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    args.end()?;
    Ok(
        match tree::info(ask, &domain)?
            .domid
            .and_then(|domid| i32::try_from(domid).ok())
        {
            Some(domid) => Value::Integer(domid),
            None => Value::Nil,
        },
    )
}

fn restart_count(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    args.end()?;
    let count = tree::info(ask, &domain)?.restart_count;
    Ok(Value::Integer(i32::try_from(count).unwrap_or(i32::MAX)))
}

fn set_name(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    let name = args.text()?;
    args.end()?;
    change(ask, domain, Change::Name { name })
}

fn pin(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    let vcpu = args.text()?;
    let cpus = args.text()?;
    args.end()?;
    let vcpu = match vcpu.as_str() {
        "all" => None,
        number => Some(
            number
                .parse()
                .map_err(|_| Fault::generic(format!("there is no vCPU '{number}'")))?,
        ),
    };
    change(ask, domain, Change::Pin { vcpu, cpus })
}

fn credit_get(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    args.end()?;
    let shares = match ask.ask(Request::Shares {
        domains: vec![domain.clone()],
    })? {
        Response::Shares { domains } => domains,
        other => return Err(tree::unexpected(other)),
    };
    let share = shares
        .first()
        .ok_or_else(|| Fault::invalid_domain(&domain))?;
    let number = |value: i64| Value::Integer(i32::try_from(value).unwrap_or(i32::MAX));
    Ok(Value::Struct(BTreeMap::from([
        ("weight".to_owned(), number(share.weight)),
        ("cap".to_owned(), number(share.cap)),
    ])))
}

fn credit_set(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    // xm sent -1 for what was not given.
    let weight = args.whole_or_none()?.filter(|&weight| weight >= 0);
    let cap = args.whole_or_none()?.filter(|&cap| cap >= 0);
    args.end()?;
    change(ask, domain, Change::Credit { weight, cap })
}

fn vcpus(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let domain = args.text()?;
    args.end()?;
    let mut found = match ask.ask(Request::VcpuList {
        domains: vec![domain.clone()],
    })? {
        Response::Vcpus { domains } => domains,
        other => return Err(tree::unexpected(other)),
    };
    let vcpus = found.pop().ok_or_else(|| Fault::invalid_domain(&domain))?;
    Ok(from_node(&vcpu_form(&vcpus)))
}

/// `(domain (name ..)(domid ..)(vcpu_count ..) (vcpu (number ..)(online ..)..(cpumap (0 1)))..)`
fn vcpu_form(vcpus: &DomainVcpus) -> Node {
    let flag = |set: bool| u8::from(set).to_string();
    let mut form = Node::list("domain", Vec::new());
    form.push(Node::pair("name", vcpus.name.as_str()));
    if let Some(domid) = vcpus.domid {
        form.push(Node::pair("domid", domid.to_string()));
    }
    form.push(Node::pair("vcpu_count", vcpus.vcpus.len().to_string()));
    for vcpu in &vcpus.vcpus {
        let map = vcpu.affinity.iter().map(|cpu| Node::atom(cpu.to_string()));
        form.push(Node::list(
            "vcpu",
            vec![
                Node::pair("number", vcpu.vcpu.to_string()),
                Node::pair("online", flag(vcpu.online)),
                Node::pair("blocked", flag(vcpu.blocked)),
                Node::pair("running", flag(vcpu.running)),
                Node::pair("cpu_time", format!("{:.9}", vcpu.cpu_time_ns as f64 / 1e9)),
                Node::pair("cpu", vcpu.cpu.map_or("-1".into(), |cpu| cpu.to_string())),
                Node::list("cpumap", vec![Node::List(map.collect())]),
            ],
        ));
    }
    form
}
