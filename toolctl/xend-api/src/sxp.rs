//! S-expressions as xend writes them (xm-reference: "SXP syntax").
//!
//! ```text
//!   Sxp tree -> flat text when indentation + length <= 80, else one member a line, indented by 4
//! ```

use std::fmt;

const WIDTH: usize = 80;
const INDENT: usize = 4;

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sxp {
    /// Text; quoted on output when it needs it.
    Atom(String),
    /// `( .. )`.
    List(Vec<Sxp>),
}

impl Sxp {
    /// An atom out of anything printable.
    pub fn atom(value: impl fmt::Display) -> Sxp {
        Sxp::Atom(value.to_string())
    }

    /// `(KEY VALUE)`.
    pub fn pair(key: &str, value: impl fmt::Display) -> Sxp {
        Sxp::List(vec![Sxp::atom(key), Sxp::atom(value)])
    }

    /// `(KEY MEMBER..)`.
    pub fn node(key: &str, members: impl IntoIterator<Item = Sxp>) -> Sxp {
        let mut list = vec![Sxp::atom(key)];
        list.extend(members);
        Sxp::List(list)
    }

    /// Pretty text, without a newline at the end. The root is always broken into lines.
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0, true);
        out
    }

    fn write(&self, out: &mut String, indent: usize, force: bool) {
        let Sxp::List(members) = self else {
            out.push_str(&self.to_string());
            return;
        };
        let nested = members.iter().any(|m| matches!(m, Sxp::List(_)));
        if !(force && nested) {
            let flat = self.to_string();
            if indent + flat.len() <= WIDTH {
                out.push_str(&flat);
                return;
            }
        }
        out.push('(');
        let mut members = members.iter();
        if let Some(head) = members.next() {
            head.write(out, indent + INDENT, false);
        }
        for member in members {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent + INDENT));
            member.write(out, indent + INDENT, false);
        }
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', indent));
        out.push(')');
    }
}

impl fmt::Display for Sxp {
    /// Flat.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sxp::Atom(text) => f.write_str(&quoted(text)),
            Sxp::List(members) => {
                f.write_str("(")?;
                for (i, member) in members.iter().enumerate() {
                    if i > 0 {
                        f.write_str(" ")?;
                    }
                    write!(f, "{member}")?;
                }
                f.write_str(")")
            }
        }
    }
}

/// `text` bare when every character may stand so, else quoted with escapes.
fn quoted(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || ".-_:/~".contains(c);
    if text.chars().all(bare) || text == "@" {
        return text.to_owned();
    }
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
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
            c if c.is_ascii() && !c.is_ascii_control() => out.push(c),
            c => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    out.push_str(&format!("\\x{byte:02x}"));
                }
            }
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_breaks_the_root_and_keeps_short_lists_flat() {
        let sxp = Sxp::node(
            "domain",
            [
                Sxp::pair("domid", 3),
                Sxp::pair("bootloader", ""),
                Sxp::node(
                    "image",
                    [Sxp::node(
                        "linux",
                        [
                            Sxp::pair("kernel", "/boot/vmlinuz-guest"),
                            Sxp::pair("args", "root=/dev/xvda1 ro 3"),
                            Sxp::pair("device_model", "/usr/lib/xen/bin/qemu-dm"),
                        ],
                    )],
                ),
            ],
        );
        assert_eq!(
            sxp.pretty(),
            "(domain\n    (domid 3)\n    (bootloader )\n    (image\n        (linux\n            \
             (kernel /boot/vmlinuz-guest)\n            (args 'root=/dev/xvda1 ro 3')\n            \
             (device_model /usr/lib/xen/bin/qemu-dm)\n        )\n    )\n)"
        );
    }

    #[test]
    fn atoms_are_quoted_as_python_does() {
        assert_eq!(quoted("a-b_c.d:/e~"), "a-b_c.d:/e~");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), "\"it's\"");
        assert_eq!(quoted("'\""), "'\\'\"'");
        assert_eq!(quoted("a\nb"), "'a\\nb'");
        assert_eq!(quoted("é"), "'\\xc3\\xa9'");
    }

    #[test]
    fn empty_lists_nest() {
        let cpus = Sxp::node("cpus", [Sxp::List(vec![Sxp::List(vec![])])]);
        assert_eq!(cpus.to_string(), "(cpus (()))");
    }
}
