//! `xen.util.ip`: what xend's helper module computes of IPv4 addresses. What it asked the host's network is out of reach.

use super::super::Evaluator;
use crate::error::{ConfigError, Pos, Result};
use crate::value::Value;
use std::net::Ipv4Addr;

/// None: wrong arguments.
pub(super) fn call(
    evaluator: &mut Evaluator<'_>,
    name: &str,
    args: &[Value],
    at: Pos,
) -> Result<Option<Value>> {
    let result = match (name, args) {
        ("xen.util.ip.inet_aton", [address]) => Value::whole(i128::from(parsed(address, at)?)),
        ("xen.util.ip.inet_ntoa", [number]) => match number.as_whole() {
            Some(number) => shown(number, at)?,
            None => return Ok(None),
        },
        ("xen.util.ip.add_offset_to_ip", [address, offset]) => match offset.as_whole() {
            Some(offset) => {
                let sum = i128::from(parsed(address, at)?).checked_add(offset);
                shown(sum.unwrap_or(-1), at)?
            }
            None => return Ok(None),
        },
        ("xen.util.ip.check_subnet", [address, network, mask]) => {
            let mask = parsed(mask, at)?;
            Value::Bool(parsed(address, at)? & mask == parsed(network, at)? & mask)
        }
        _ => return Ok(None),
    };
    evaluator.budget.bytes(at, 16)?;
    Ok(Some(result))
}

fn parsed(value: &Value, at: Pos) -> Result<u32> {
    let address: Option<Ipv4Addr> = match value {
        Value::Str(text, _) => text.parse().ok(),
        _ => None,
    };
    address.map(u32::from).ok_or_else(|| {
        let message = format!("{} is no IPv4 address", value.repr(32));
        ConfigError::runtime("ValueError", at, message)
    })
}

fn shown(number: i128, at: Pos) -> Result<Value> {
    let number = u32::try_from(number)
        .map_err(|_| ConfigError::runtime("ValueError", at, "no IPv4 address has that number"))?;
    Ok(Value::text(&Ipv4Addr::from(number).to_string()))
}
