//! Values of the configuration language.
//!
//! Lists and dicts are shared by reference, as in Python. They are freed by a loop, not by recursion, so that a value
//! nested by a hostile file cannot overflow the stack.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;

/// A value.
#[derive(Clone, Debug)]
pub enum Value {
    /// `None`.
    None,
    /// `True`, `False`.
    Bool(bool),
    /// Python 2 `int`: 64 bits.
    Int(i64),
    /// Python 2 `long`, here of 127 bits at most.
    Long(i128),
    /// `float`.
    Float(f64),
    /// `str`, or `unicode` when the flag is set.
    Str(Rc<str>, bool),
    /// `list`.
    List(Rc<Items>),
    /// `tuple`.
    Tuple(Rc<Items>),
    /// `dict`, in order of insertion: key, value, key, value...
    Dict(Rc<Items>),
    /// A function of the file.
    Function(Rc<Closure>),
    /// A built-in function or exception class, by name.
    Builtin(&'static str),
    /// A module, by its full name.
    Module(&'static str),
    /// An exception: class, message.
    Exception(&'static str, Rc<str>),
    /// What a search by a regular expression found: the groups, the whole first.
    Match(Rc<Vec<Option<String>>>),
}

/// A function with the values of its defaults.
#[derive(Debug)]
pub struct Closure {
    /// Its definition.
    pub function: Rc<crate::ast::Function>,
    /// A value for each of the last parameters.
    pub defaults: Rc<Items>,
}

/// The members of a container.
#[derive(Debug, Default)]
pub struct Items(pub RefCell<Vec<Value>>);

impl Items {
    /// A container of these.
    pub fn new(items: Vec<Value>) -> Rc<Items> {
        Rc::new(Items(RefCell::new(items)))
    }

    /// How many members (for a dict: twice its length).
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// No members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the members; the values themselves are shared.
    pub fn snapshot(&self) -> Vec<Value> {
        self.0.borrow().clone()
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        let mut pending = std::mem::take(self.0.get_mut());
        while let Some(value) = pending.pop() {
            let items = match value {
                Value::List(items) | Value::Tuple(items) | Value::Dict(items) => Some(items),
                Value::Function(closure) => Rc::into_inner(closure).map(|last| last.defaults),
                _ => None,
            };
            if let Some(mut last) = items.and_then(Rc::into_inner) {
                pending.append(last.0.get_mut());
            }
        }
    }
}

impl Value {
    /// A plain string.
    pub fn text(text: &str) -> Value {
        Value::Str(text.into(), false)
    }

    /// A list.
    pub fn list(items: Vec<Value>) -> Value {
        Value::List(Items::new(items))
    }

    /// A tuple.
    pub fn tuple(items: Vec<Value>) -> Value {
        Value::Tuple(Items::new(items))
    }

    /// An `int` where it fits and a `long` where it does not.
    pub fn whole(value: i128) -> Value {
        match i64::try_from(value) {
            Ok(small) => Value::Int(small),
            Err(_) => Value::Long(value),
        }
    }

    /// Python's name of the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Long(_) => "long",
            Value::Float(_) => "float",
            Value::Str(_, false) => "str",
            Value::Str(_, true) => "unicode",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::Function(_) => "function",
            Value::Builtin(_) => "builtin_function_or_method",
            Value::Module(_) => "module",
            Value::Exception(class, _) => class,
            Value::Match(_) => "_sre.SRE_Match",
        }
    }

    /// Python's truth.
    pub fn truth(&self) -> bool {
        match self {
            Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Long(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Str(text, _) => !text.is_empty(),
            Value::List(items) | Value::Tuple(items) | Value::Dict(items) => !items.is_empty(),
            _ => true,
        }
    }

    /// The whole number it is: bool, int or long.
    pub fn as_whole(&self) -> Option<i128> {
        match self {
            Value::Bool(value) => Some(i128::from(*value)),
            Value::Int(value) => Some(i128::from(*value)),
            Value::Long(value) => Some(*value),
            _ => None,
        }
    }

    /// The number it is, as a float.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            other => other.as_whole().map(|value| value as f64),
        }
    }

    /// Python 2's `str()`; containers deeper than `depth` print as `...`.
    pub fn to_text(&self, depth: usize) -> String {
        match self {
            Value::Str(text, _) => text.to_string(),
            Value::Long(value) => value.to_string(),
            Value::Float(value) => float_text(*value, 12),
            Value::Exception(_, message) => message.to_string(),
            other => other.repr(depth),
        }
    }

    /// Python 2's `repr()`; containers deeper than `depth` print as `...`.
    pub fn repr(&self, depth: usize) -> String {
        let mut out = String::new();
        self.write_repr(&mut out, depth);
        out
    }

    fn write_repr(&self, out: &mut String, depth: usize) {
        // One file can share a list many times over; what is printed is bounded, not only what is stored.
        if depth == 0 || out.len() > MAX_REPR {
            out.push_str("...");
            return;
        }
        let members = |out: &mut String, items: &Items, open: char, close: char| {
            out.push(open);
            for (index, item) in items.0.borrow().iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                item.write_repr(out, depth - 1);
                if out.len() > MAX_REPR {
                    break;
                }
            }
            if open == '(' && items.len() == 1 {
                out.push(',');
            }
            out.push(close);
        };
        match self {
            Value::None => out.push_str("None"),
            Value::Bool(true) => out.push_str("True"),
            Value::Bool(false) => out.push_str("False"),
            Value::Int(value) => drop(write!(out, "{value}")),
            Value::Long(value) => drop(write!(out, "{value}L")),
            Value::Float(value) => out.push_str(&float_text(*value, 17)),
            Value::Str(text, unicode) => {
                if *unicode {
                    out.push('u');
                }
                out.push_str(&quote(text));
            }
            Value::Function(closure) => drop(write!(out, "<function {}>", closure.function.name)),
            Value::Builtin(name) => drop(write!(out, "<built-in function {name}>")),
            Value::Module(name) => drop(write!(out, "<module '{name}'>")),
            Value::Exception(class, message) => drop(write!(out, "{class}({},)", quote(message))),
            Value::Match(_) => out.push_str("<_sre.SRE_Match object>"),
            Value::List(items) => members(out, items, '[', ']'),
            Value::Tuple(items) => members(out, items, '(', ')'),
            Value::Dict(items) => {
                out.push('{');
                for (index, pair) in items.0.borrow().chunks(2).enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    if let [key, value] = pair {
                        key.write_repr(out, depth - 1);
                        out.push_str(": ");
                        value.write_repr(out, depth - 1);
                    }
                    if out.len() > MAX_REPR {
                        break;
                    }
                }
                out.push('}');
            }
        }
    }
}

/// Longest text printed of one value, bytes.
const MAX_REPR: usize = 1 << 20;

/// Python's quoting of a string: single quotes unless it holds just those.
pub fn quote(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_ascii_control() => drop(write!(out, "\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// `%.{digits}g` with Python's trailing `.0` for whole numbers.
fn float_text(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return match value {
            v if v.is_nan() => "nan".into(),
            v if v > 0.0 => "inf".into(),
            _ => "-inf".into(),
        };
    }
    // 17 digits means: as many as are needed to read the same number again.
    let text = if digits >= 17 {
        shortest(value)
    } else {
        crate::eval::format::general(value, digits, false)
    };
    if text.contains(['.', 'e']) {
        text
    } else {
        text + ".0"
    }
}

fn shortest(value: f64) -> String {
    let exponent = if value == 0.0 {
        0
    } else {
        value.abs().log10().floor() as i32
    };
    if (-4..16).contains(&exponent) {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repr_looks_as_python_2_prints_it() {
        let list = Value::list(vec![
            Value::Int(1),
            Value::Long(2),
            Value::text("it's"),
            Value::Str("u".into(), true),
            Value::None,
            Value::Bool(true),
            Value::Float(1.0),
            Value::tuple(vec![Value::Int(1)]),
            Value::Dict(Items::new(vec![Value::text("k"), Value::Int(3)])),
        ]);
        assert_eq!(
            list.repr(10),
            r#"[1, 2L, "it's", u'u', None, True, 1.0, (1,), {'k': 3}]"#
        );
        assert_eq!(quote("a'b\"c\n\x01"), r#"'a\'b"c\n\x01'"#);
    }

    #[test]
    fn floats_print_as_python_2_prints_them() {
        for (value, text, repr) in [
            (0.1, "0.1", "0.1"),
            (1e22, "1e+22", "1e+22"),
            (1.0 / 3.0, "0.333333333333", "0.3333333333333333"),
            (128.0, "128.0", "128.0"),
            (1e-5, "1e-05", "1e-05"),
            (0.0, "0.0", "0.0"),
        ] {
            assert_eq!(Value::Float(value).to_text(9), text);
            assert_eq!(Value::Float(value).repr(9), repr);
        }
    }

    #[test]
    fn deeply_nested_value_is_dropped_without_recursion() {
        let mut value = Value::Int(0);
        for _ in 0..500_000 {
            value = Value::list(vec![value]);
        }
        assert_eq!(value.repr(3), "[[[...]]]");
        drop(value);
    }
}
