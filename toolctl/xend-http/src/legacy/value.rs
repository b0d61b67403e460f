//! S-expressions to and from XML-RPC values.

use dxr::Value;
use noxen_xm_config::sxp::Node;

/// Keys whose members xend kept as numbers; whatever else looks like one (a name, a path) is text.
const NUMBERS: &[&str] = &[
    "domid",
    "vcpus",
    "maxmem",
    "memory",
    "shadow_memory",
    "cpu_weight",
    "cpu_cap",
    "start_time",
    "cpu_time",
    "up_time",
    "online_vcpus",
    "status",
    "store_mfn",
    "console_mfn",
    "cpus",
    "vcpu_avail",
    "number",
    "online",
    "blocked",
    "running",
    "cpu",
    "cpumap",
    "vcpu_count",
];

/// A node as nested arrays.
pub fn from_node(node: &Node) -> Value {
    typed(node, false)
}

fn typed(node: &Node, numbers: bool) -> Value {
    match node {
        Node::Atom(text) if numbers => number(text).unwrap_or_else(|| Value::String(text.clone())),
        Node::Atom(text) => Value::String(text.clone()),
        Node::List(members) => {
            let inner = match node.key() {
                Some(key) => numbers || NUMBERS.contains(&key),
                None => numbers,
            };
            let tag = usize::from(node.key().is_some() && !numbers);
            let mut all: Vec<Value> = Vec::with_capacity(members.len());
            for (index, member) in members.iter().enumerate() {
                all.push(if index < tag {
                    typed(member, false)
                } else {
                    typed(member, inner)
                });
            }
            Value::Array(all)
        }
    }
}

/// Whole numbers of 32 bits, else doubles, as Python's marshaller had to send them.
fn number(text: &str) -> Option<Value> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(match i32::try_from(whole) {
            Ok(short) => Value::Integer(short),
            Err(_) => Value::Double(whole as f64),
        });
    }
    text.parse::<f64>()
        .ok()
        .filter(|n| n.is_finite())
        .map(Value::Double)
}

/// Nested arrays as a node; `None` when they hold what no S-expression can.
pub fn to_node(value: &Value) -> Option<Node> {
    Some(match value {
        Value::Array(members) => Node::List(members.iter().map(to_node).collect::<Option<_>>()?),
        Value::String(text) => Node::atom(text.clone()),
        Value::Integer(number) => Node::atom(number.to_string()),
        Value::Long(number) => Node::atom(number.to_string()),
        Value::Boolean(flag) => Node::atom(u8::from(*flag).to_string()),
        Value::Double(number) => Node::atom(number.to_string()),
        Value::Nil => Node::atom(""),
        _ => return None,
    })
}

/// Text as Python 2's `repr` shows it between its quotes.
pub fn escaped(text: &str) -> Value {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x20..=0x7e => out.push(byte as char),
            other => out.push_str(&format!("\\x{other:02x}")),
        }
    }
    Value::String(out)
}
