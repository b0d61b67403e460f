//! One line being typed: characters, backspace, Ctrl-U, Ctrl-C, and the lines before it by the arrow keys.

use std::collections::VecDeque;

/// Longest line, characters.
const LINE: usize = 400;
/// Lines kept.
const HISTORY: usize = 64;
/// What the device models of Xen printed, which scripts wait for.
const PROMPT: &str = "(qemu) ";

/// A whole line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered(pub String);

/// What of an escape sequence has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Escape {
    #[default]
    None,
    Begun,
    /// Inside, up to its letter.
    Inside,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Editor {
    line: String,
    /// Bytes of a character that is not whole.
    partial: Vec<u8>,
    escape: Escape,
    history: VecDeque<String>,
    /// Which of `history` is shown, counted from its end.
    back: usize,
}

impl Editor {
    /// An empty line; what to print before it.
    pub fn begin(&mut self) -> &'static str {
        self.line.clear();
        self.back = 0;
        PROMPT
    }

    /// Lines entered so far, the oldest first.
    pub fn history(&self) -> Vec<String> {
        self.history.iter().cloned().collect()
    }

    /// Takes a byte of a terminal's; what to print for it, and the line if it is whole.
    pub fn take(&mut self, byte: u8) -> (String, Option<Entered>) {
        match (self.escape, byte) {
            (Escape::Begun, b'[' | b'O') => {
                self.escape = Escape::Inside;
                return (String::new(), None);
            }
            (Escape::Inside, b'0'..=b'9' | b';') => return (String::new(), None),
            (Escape::Inside, letter) => {
                self.escape = Escape::None;
                let echo = match letter {
                    b'A' => self.recall(self.back + 1),
                    b'B' => self.recall(self.back.saturating_sub(1)),
                    _ => String::new(),
                };
                return (echo, None);
            }
            _ => self.escape = Escape::None,
        }
        match byte {
            0x1b => self.escape = Escape::Begun,
            b'\r' | b'\n' => {
                let line = std::mem::take(&mut self.line);
                if !line.trim().is_empty() && self.history.back() != Some(&line) {
                    if self.history.len() == HISTORY {
                        self.history.pop_front();
                    }
                    self.history.push_back(line.clone());
                }
                return ("\r\n".into(), Some(Entered(line)));
            }
            // Backspace, Ctrl-H.
            0x7f | 8 => {
                let gone = self.line.pop();
                return (gone.map_or(String::new(), |_| "\x08 \x08".into()), None);
            }
            // Ctrl-U.
            0x15 => return (self.replace(String::new()), None),
            // Ctrl-C.
            3 => {
                self.line.clear();
                return ("^C\r\n".into(), Some(Entered(String::new())));
            }
            0..=0x1f => {}
            _ => return (self.character(byte), None),
        }
        (String::new(), None)
    }

    fn character(&mut self, byte: u8) -> String {
        self.partial.push(byte);
        let text = match std::str::from_utf8(&self.partial) {
            Ok(text) => text.to_owned(),
            Err(error) if error.error_len().is_none() => return String::new(),
            Err(_) => String::new(),
        };
        self.partial.clear();
        if text.is_empty() || self.line.chars().count() == LINE {
            return String::new();
        }
        self.line.push_str(&text);
        text
    }

    fn recall(&mut self, back: usize) -> String {
        let index = self.history.len().checked_sub(back);
        match (back, index) {
            (0, _) => {
                self.back = 0;
                self.replace(String::new())
            }
            (_, Some(index)) => {
                self.back = back;
                self.replace(self.history[index].clone())
            }
            (_, None) => String::new(),
        }
    }

    fn replace(&mut self, line: String) -> String {
        let echo = "\x08 \x08".repeat(self.line.chars().count()) + &line;
        self.line = line;
        echo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(editor: &mut Editor, bytes: &[u8]) -> (String, Vec<String>) {
        let (mut echo, mut lines) = (String::new(), Vec::new());
        for byte in bytes {
            let (more, entered) = editor.take(*byte);
            echo.push_str(&more);
            lines.extend(entered.map(|entered| entered.0));
        }
        (echo, lines)
    }

    #[test]
    fn line_is_corrected_and_entered() {
        let mut editor = Editor::default();
        let (echo, lines) = typed(&mut editor, b"helo\x7flp\r");
        assert_eq!(echo, "helo\x08 \x08lp\r\n");
        assert_eq!(lines, ["hellp"]);
        assert_eq!(typed(&mut editor, "x\u{15}ä\x7fö\r".as_bytes()).1, ["ö"]);
        assert_eq!(typed(&mut editor, b"abc\x03").1, [""]);
        assert_eq!(typed(&mut editor, b"\xff\xc3x\x00\x0c\x1b[5~y\r").1, ["y"]);
        assert_eq!(typed(&mut editor, &[b'x'; 999]).0.len(), LINE);
    }

    #[test]
    fn lines_before_come_back() {
        let mut editor = Editor::default();
        typed(&mut editor, b"one\rtwo\rtwo\r\r");
        assert_eq!(editor.history(), ["one", "two"]);
        assert_eq!(typed(&mut editor, b"\x1b[A\x1b[A\r").1, ["one"]);
        editor.begin();
        assert_eq!(
            typed(&mut editor, b"\x1b[A\x1bOA\x1b[A\x1b[A\x1b[B\r").1,
            ["two"]
        );
        editor.begin();
        assert_eq!(typed(&mut editor, b"\x1b[A\x1b[Bx\r").1, ["x"]);
        (0..200).for_each(|n| drop(typed(&mut editor, format!("{n}\r").as_bytes())));
        assert_eq!(editor.history().len(), HISTORY);
    }
}
