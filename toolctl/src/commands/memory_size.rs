//! Sizes of memory as `mem-set` and `mem-max` take them: a number of MiB, or one with a unit.

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{Change, Request};

/// Does the `DOM MEM` of a command that changes memory.
pub fn change(
    context: &mut Context,
    parsed: &Parsed,
    change: fn(i64) -> Change,
) -> Result<i32, Failure> {
    let [domain, size] = parsed.words.as_slice() else {
        return Err(Failure::usage("Invalid argument."));
    };
    let mib = mib(context, size)?;
    context.ask_ok(&Request::Change {
        domain: domain.clone(),
        change: change(mib),
    })?;
    Ok(0)
}

/// MiB of `text`; a unit that xm did not know counts as MiB, with its remark on standard output.
fn mib(context: &mut Context, text: &str) -> Result<i64, Failure> {
    let (size, known) = parse(text).ok_or_else(|| Failure::usage("Invalid argument."))?;
    if !known {
        context.line("ignoring unknown unit")?;
    }
    Ok(size)
}

/// MiB, and whether its unit is one.
fn parse(text: &str) -> Option<(i64, bool)> {
    let unit = text.chars().last().filter(|c| !c.is_ascii_digit());
    let number = unit.map_or(Some(text), |unit| text.strip_suffix(unit))?;
    let number: i64 = number.parse().ok()?;
    Some(match unit.map(|unit| unit.to_ascii_lowercase()) {
        None | Some('m') => (number, true),
        Some('k') => (number / 1024, true),
        Some('g') => (number.checked_mul(1024)?, true),
        Some(_) => (number, false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_either_case() {
        for (text, wanted) in [
            ("256", Some((256, true))),
            ("256m", Some((256, true))),
            ("2G", Some((2048, true))),
            ("524288K", Some((512, true))),
            ("300x", Some((300, false))),
            ("-5", Some((-5, true))),
            ("", None),
            ("m", None),
            ("1.5g", None),
            ("9223372036854775807g", None),
        ] {
            assert_eq!(parse(text), wanted, "{text}");
        }
    }
}
