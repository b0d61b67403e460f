//! `xm_vars`: how a file declares the variables that its user has to give.
//!
//! ```text
//!   xm_vars.var(NAME, use=TEXT, check=FUNCTION)    declares
//!   xm_vars.check()                                for each declared one with a checker: NAME = FUNCTION(NAME, text or None)
//! ```

use super::call::Named;
use super::Evaluator;
use crate::error::{ConfigError, ErrorKind, Pos, Result};
use crate::value::Value;

/// A declared variable.
pub(super) struct Declared {
    pub(super) name: String,
    /// What it is for.
    purpose: String,
    check: Value,
}

/// `xm_vars.var`.
pub(super) fn var(
    evaluator: &mut Evaluator<'_>,
    args: &[Value],
    named: &Named,
    at: Pos,
) -> Result<Value> {
    let argument = |index: usize, name: &str| {
        let by_name = named
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.clone());
        args.get(index).cloned().or(by_name)
    };
    let Some(Value::Str(name, _)) = argument(0, "name") else {
        return Err(ConfigError::runtime(
            "TypeError",
            at,
            "xm_vars.var() needs the variable's name",
        ));
    };
    let check = argument(2, "check").unwrap_or(Value::None);
    let purpose = match argument(1, "use") {
        Some(Value::Str(text, _)) => text.to_string(),
        _ => String::new(),
    };
    evaluator
        .budget
        .bytes(at, name.len() + purpose.len() + super::MEMBER)?;
    evaluator.xm_vars.push(Declared {
        name: name.to_string(),
        purpose,
        check,
    });
    Ok(Value::None)
}

/// `xm_vars.check`.
pub(super) fn check(evaluator: &mut Evaluator<'_>, at: Pos) -> Result<Value> {
    if evaluator.given.help {
        for declared in &evaluator.xm_vars {
            (evaluator.output)(&format!("{:<12} {}\n", declared.name, declared.purpose));
        }
        return Err(ConfigError::at(ErrorKind::Exit(0), at, ""));
    }
    for index in 0..evaluator.xm_vars.len() {
        let Some((name, check)) = evaluator
            .xm_vars
            .get(index)
            .map(|d| (d.name.clone(), d.check.clone()))
        else {
            break;
        };
        if matches!(check, Value::None) {
            continue;
        }
        let text = evaluator
            .given
            .words
            .get(&name)
            .map_or(Value::None, |text| Value::text(text));
        let args = vec![Value::text(&name), text];
        let value = evaluator
            .call(&check, args, Vec::new(), at)
            .map_err(|error| match error.kind {
                ErrorKind::Runtime => ConfigError {
                    message: format!("{name} - {}", error.message),
                    ..error
                },
                _ => error,
            })?;
        evaluator.globals.insert(name, value);
    }
    Ok(Value::None)
}
