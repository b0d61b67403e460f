//! `xend.node`.

use super::args::Args;
use super::value::escaped;
use super::Method;
use crate::{tree, Ask};
use dxr::Value;
use noxen_xend_api::{Fault, Request, Response};

pub(super) const METHODS: &[Method] = &[
    Method {
        name: "xend.node.info",
        run: info,
    },
    Method {
        name: "xend.node.send_debug_keys",
        run: debug_keys,
    },
    Method {
        name: "xend.node.log",
        run: log,
    },
    Method {
        name: "xend.node.dmesg.info",
        run: dmesg,
    },
    Method {
        name: "xend.node.dmesg.clear",
        run: dmesg_clear,
    },
];

/// Pairs of row and value; the first is `system`, which `xm info` does not print.
fn info(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    args.end()?;
    let node = match ask.ask(Request::Info)? {
        Response::Node { node } => node,
        other => return Err(tree::unexpected(other)),
    };
    let mut rows = vec![("system", Value::String("Linux".into()))];
    rows.extend(
        node.rows()
            .into_iter()
            .map(|(name, value)| (name, typed(name, value))),
    );
    let pairs = rows
        .into_iter()
        .map(|(name, value)| Value::Array(vec![Value::String(name.to_owned()), value]));
    Ok(Value::Array(pairs.collect()))
}

/// Counts and sizes were numbers.
fn typed(row: &str, value: String) -> Value {
    const NUMBERS: &[&str] = &[
        "nr_cpus",
        "nr_nodes",
        "cores_per_socket",
        "threads_per_core",
        "cpu_mhz",
        "total_memory",
        "free_memory",
        "xen_major",
        "xen_minor",
        "xen_pagesize",
        "xend_config_format",
    ];
    match value.parse::<i32>() {
        Ok(number) if NUMBERS.contains(&row) => Value::Integer(number),
        _ => Value::String(value),
    }
}

fn debug_keys(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    let keys = args.text()?;
    args.end()?;
    tree::done(ask, Request::DebugKeys { keys })?;
    Ok(Value::Nil)
}

fn log(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    args.end()?;
    Ok(escaped(&tree::log(ask)?))
}

fn dmesg(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    args.end()?;
    Ok(escaped(&tree::text(ask, Request::Dmesg { clear: false })?))
}

fn dmesg_clear(ask: &dyn Ask, args: &mut Args) -> Result<Value, Fault> {
    args.end()?;
    ask.ask(Request::Dmesg { clear: true })?;
    Ok(Value::Nil)
}
