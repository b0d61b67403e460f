//! Colours, where somebody looks: on a terminal, unless NO_COLOR is set or the terminal is dumb.

use std::ffi::OsStr;
use std::io::IsTerminal;

/// What a text is to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// It goes well.
    Green,
    /// It waits for somebody.
    Yellow,
    /// It went wrong.
    Red,
    /// It is over.
    Dim,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Red => "31",
            Colour::Dim => "2",
        }
    }
}

/// A stream's brush, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// That of `stream`.
    pub fn of(stream: &impl IsTerminal) -> Paint {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == OsStr::new("dumb"));
        Paint {
            on: stream.is_terminal() && !dumb && set("NO_COLOR").is_none(),
        }
    }

    /// `text` in that colour. It is as wide as before.
    pub fn paint(self, colour: Colour, text: &str) -> String {
        match self.on {
            true => format!("\x1b[{}m{text}\x1b[0m", colour.code()),
            false => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_added_where_nobody_looks() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let paint = Paint::of(&file);
        assert_eq!(paint.paint(Colour::Red, "x"), "x");
        assert_eq!(
            Paint { on: true }.paint(Colour::Red, "x"),
            "\x1b[31mx\x1b[0m"
        );
    }
}
