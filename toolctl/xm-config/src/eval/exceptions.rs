//! Python 2's exception classes.

use crate::value::Value;

/// Class and the class that it is a kind of.
const CLASSES: &[(&str, &str)] = &[
    ("BaseException", ""),
    ("SystemExit", "BaseException"),
    ("KeyboardInterrupt", "BaseException"),
    ("Exception", "BaseException"),
    ("StandardError", "Exception"),
    ("ArithmeticError", "StandardError"),
    ("ZeroDivisionError", "ArithmeticError"),
    ("OverflowError", "ArithmeticError"),
    ("LookupError", "StandardError"),
    ("IndexError", "LookupError"),
    ("KeyError", "LookupError"),
    ("AssertionError", "StandardError"),
    ("AttributeError", "StandardError"),
    ("EnvironmentError", "StandardError"),
    ("IOError", "EnvironmentError"),
    ("OSError", "EnvironmentError"),
    ("ImportError", "StandardError"),
    ("NameError", "StandardError"),
    ("RuntimeError", "StandardError"),
    ("NotImplementedError", "RuntimeError"),
    ("SyntaxError", "StandardError"),
    ("TypeError", "StandardError"),
    ("ValueError", "StandardError"),
];

/// The class of that name.
pub(super) fn class(name: &str) -> Option<&'static str> {
    CLASSES
        .iter()
        .find(|(class, _)| *class == name)
        .map(|(class, _)| *class)
}

/// Is `class` the class `of`, or a kind of it?
pub(super) fn is_kind(class: &str, of: &str) -> bool {
    let mut class = class;
    // Longer than the longest chain of the table.
    for _ in 0..8 {
        if class == of {
            return true;
        }
        match CLASSES.iter().find(|(name, _)| *name == class) {
            Some((_, parent)) => class = parent,
            None => return false,
        }
    }
    false
}

/// Does `except FILTER` catch an exception of `class`? None: the filter is no class nor tuple of classes.
pub(super) fn catches(filter: &Value, class: &str) -> Option<bool> {
    match filter {
        Value::Builtin(name) => self::class(name).map(|of| is_kind(class, of)),
        Value::Tuple(items) => {
            let mut any = false;
            for item in items.0.borrow().iter() {
                match item {
                    Value::Builtin(name) => {
                        any |= self::class(name).is_some_and(|of| is_kind(class, of))
                    }
                    _ => return None,
                }
            }
            Some(any)
        }
        _ => None,
    }
}
