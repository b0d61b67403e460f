//! What `block-list` and `network-list` have in common.

use crate::cli::command::Command;
use crate::cli::context::{unexpected, Context};
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{DeviceClass, DeviceInfo, Request, Response};
use noxen_xm_config::Node;
use serde_json::json;

/// How a listing looks.
pub struct Shape {
    /// The command, for its usage page.
    pub command: &'static Command,
    /// Of which devices.
    pub class: DeviceClass,
    /// First line.
    pub heading: &'static str,
    /// A line each.
    pub row: fn(&DeviceInfo) -> String,
}

/// Prints nothing at all for a domain without devices.
pub fn run(context: &mut Context, parsed: &Parsed, shape: &Shape) -> Result<i32, Failure> {
    let domain = super::only_domain(context, parsed, shape.command)?;
    let request = Request::Devices {
        domain,
        class: shape.class,
    };
    let devices = match context.ask(&request)? {
        Response::Devices { devices } => devices,
        other => return Err(unexpected(other)),
    };
    if parsed.has("json") {
        let all = devices.iter().map(as_json).collect();
        context.json(&serde_json::Value::Array(all))?;
    } else if parsed.has("long") {
        for device in &devices {
            context.line(as_sxp(device).pretty())?;
        }
    } else if !devices.is_empty() {
        context.line(shape.heading)?;
        for device in &devices {
            context.line((shape.row)(device))?;
        }
    }
    Ok(0)
}

/// A number as xm printed it: -1 where there is none.
pub fn number(device: &DeviceInfo, name: &str) -> i64 {
    device.number(name).unwrap_or(-1)
}

/// `(DEVID ((KEY VALUE)..))`.
fn as_sxp(device: &DeviceInfo) -> Node {
    let pairs = device.nodes.iter();
    let pairs = pairs.map(|(key, value)| Node::pair(key, value.as_str()));
    Node::list(&device.devid.to_string(), vec![Node::List(pairs.collect())])
}

fn as_json(device: &DeviceInfo) -> serde_json::Value {
    json!({
        "devid": device.devid,
        "class": device.class,
        "backend": device.backend,
        "state": device.number("state"),
        "monitor": device.state,
        "reason": device.reason,
        "traffic": device.disk,
        "frontend": device.nodes,
        "config": device.config,
    })
}
