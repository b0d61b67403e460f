//! `os.uname`, `sys.exit`, `time.time`, `random`, `math`: what of the host is harmless to know.

use super::super::{ops, Evaluator};
use crate::error::{ConfigError, ErrorKind, Pos, Result};
use crate::value::Value;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// None: wrong arguments.
pub(super) fn call(
    evaluator: &mut Evaluator<'_>,
    name: &str,
    args: &[Value],
    at: Pos,
) -> Result<Option<Value>> {
    let uname = || {
        let name = rustix::system::uname();
        [
            name.sysname(),
            name.nodename(),
            name.release(),
            name.version(),
            name.machine(),
        ]
        .map(|field| field.to_string_lossy().into_owned())
    };
    Ok(match (name, args) {
        ("os.uname", []) => Some(Value::tuple(
            uname().iter().map(|field| Value::text(field)).collect(),
        )),
        ("socket.gethostname", []) => uname().get(1).map(|host| Value::text(host)),
        ("sys.exit", [] | [_]) => return Err(exit(args.first(), at)),
        ("time.time", []) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            Some(Value::Float(now.map_or(0.0, |now| now.as_secs_f64())))
        }
        ("random.seed", [] | [_]) => Some(Value::None),
        ("random.random", []) => Some(Value::Float((random() >> 11) as f64 / (1u64 << 53) as f64)),
        ("random.randint", [low, high]) => {
            let (Some(low), Some(high)) = (low.as_whole(), high.as_whole()) else {
                return Ok(None);
            };
            let span = high
                .checked_sub(low)
                .and_then(|span| u64::try_from(span).ok())
                .ok_or_else(|| {
                    ConfigError::runtime("ValueError", at, "empty range for randint()")
                })?;
            let offset = match span.checked_add(1) {
                Some(count) => random() % count,
                None => random(),
            };
            Some(Value::whole(low + i128::from(offset)))
        }
        ("random.choice", [values]) => {
            let members = ops::members(evaluator, values, at)?;
            let count = u64::try_from(members.len()).unwrap_or(0);
            let index = random()
                .checked_rem(count)
                .and_then(|index| usize::try_from(index).ok());
            let chosen = index.and_then(|index| members.get(index).cloned());
            Some(
                chosen.ok_or_else(|| {
                    ConfigError::runtime("IndexError", at, "list index out of range")
                })?,
            )
        }
        ("math.floor", [value]) => value.as_float().map(|value| Value::Float(value.floor())),
        ("math.ceil", [value]) => value.as_float().map(|value| Value::Float(value.ceil())),
        ("math.sqrt", [value]) => match value.as_float() {
            Some(value) if value < 0.0 => {
                return Err(ConfigError::runtime("ValueError", at, "math domain error"))
            }
            value => value.map(|value| Value::Float(value.sqrt())),
        },
        _ => None,
    })
}

/// The standard library seeds every hasher anew; that is random enough for a MAC address.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn exit(status: Option<&Value>, at: Pos) -> ConfigError {
    let (code, message) = match status {
        None | Some(Value::None) => (0, String::new()),
        Some(value) => match value.as_whole() {
            Some(code) => ((code & 0xff) as i32, String::new()),
            None => (1, value.to_text(32)),
        },
    };
    ConfigError {
        class: "SystemExit",
        ..ConfigError::at(ErrorKind::Exit(code), at, message)
    }
}
