//! Errors that point at the character they are about.
//!
//! [`ConfigError`]'s `Display` is the text that `xm` printed after `Error: `; [`ConfigError::render`] adds the source line
//! with a caret, as people see it.

use std::fmt;

/// A place in a configuration file. Both count from 1; columns count characters, a tab being one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Pos {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What kind of mistake it is; decides how it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The file is not Python.
    Syntax,
    /// Python that this evaluator does not know yet.
    NotSupported,
    /// The program failed while it ran.
    Runtime,
    /// It is too large, too deep or runs too long.
    Limit,
    /// The program ran but says something that no domain can be built from.
    Config,
    /// The program ended itself with this status (`sys.exit`).
    Exit(i32),
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Its kind.
    pub kind: ErrorKind,
    /// Python's name of the exception, for `except`; empty for what no handler catches.
    pub class: &'static str,
    /// What is wrong, without place.
    pub message: String,
    /// Where, when it has a place.
    pub at: Option<Pos>,
    /// File as the user named it; filled in by the loader.
    pub file: Option<String>,
    /// The source line, cut to a printable length; filled in by the loader.
    pub line: Option<String>,
}

/// Longest source line shown under an error, characters.
const SHOWN_LINE: usize = 200;

impl ConfigError {
    /// An error at a place.
    pub fn at(kind: ErrorKind, at: Pos, message: impl Into<String>) -> ConfigError {
        ConfigError {
            kind,
            class: "",
            message: message.into(),
            at: Some(at),
            file: None,
            line: None,
        }
    }

    /// The file is not Python.
    pub fn syntax(at: Pos, message: impl Into<String>) -> ConfigError {
        ConfigError::at(ErrorKind::Syntax, at, message)
    }

    /// The program failed while it ran, with Python's exception `class`.
    pub fn runtime(class: &'static str, at: Pos, message: impl Into<String>) -> ConfigError {
        ConfigError {
            class,
            ..ConfigError::at(ErrorKind::Runtime, at, message)
        }
    }

    /// Python which is not evaluated yet.
    pub fn not_supported(at: Pos, construct: &str) -> ConfigError {
        ConfigError::at(
            ErrorKind::NotSupported,
            at,
            format!("{construct}: not supported yet"),
        )
    }

    /// A bound was reached.
    pub fn limit(at: Pos, message: impl Into<String>) -> ConfigError {
        ConfigError::at(ErrorKind::Limit, at, message)
    }

    /// A value that no domain can have, from no particular place.
    pub fn config(message: impl Into<String>) -> ConfigError {
        ConfigError {
            kind: ErrorKind::Config,
            class: "",
            message: message.into(),
            at: None,
            file: None,
            line: None,
        }
    }

    /// Adds the file's name and the line that the error points at.
    pub fn in_file(mut self, file: &str, source: &str) -> ConfigError {
        if self.file.is_none() {
            self.file = Some(file.to_owned());
        }
        if let (None, Some(at)) = (&self.line, self.at) {
            let index = (at.line as usize).saturating_sub(1);
            self.line = source.lines().nth(index).map(|line| {
                line.chars()
                    .take(SHOWN_LINE)
                    .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
                    .collect()
            });
        }
        self
    }

    /// Several lines: the message, the source line after a tab, a caret under the place with `file:line:column`.
    pub fn render(&self) -> String {
        let mut text = self.to_string();
        let (Some(line), Some(at)) = (&self.line, self.at) else {
            return text;
        };
        let column = (at.column as usize).saturating_sub(1);
        if column > SHOWN_LINE {
            return text;
        }
        // Tabs are kept so that the caret stands under its character whatever the terminal's tab stops.
        let mut pad: String = line
            .chars()
            .take(column)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let missing = column.saturating_sub(pad.chars().count());
        pad.extend(std::iter::repeat_n(' ', missing));
        let file = self.file.as_deref().unwrap_or("");
        text.push_str(&format!("\n\t{line}\n\t{pad}^ {file}:{at}"));
        if self.kind == ErrorKind::Syntax {
            text.push_str(&format!(": {}", self.message));
        }
        text
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.kind, &self.file, self.at) {
            // xm's own sentence; `render` adds what exactly is wrong beside the caret.
            (ErrorKind::Syntax, Some(file), Some(at)) => write!(
                f,
                "Errors were found at line {} while processing {file}:",
                at.line
            ),
            (ErrorKind::NotSupported | ErrorKind::Limit, Some(file), Some(at)) => {
                write!(f, "{file}:{at}: {}", self.message)
            }
            (ErrorKind::Syntax | ErrorKind::NotSupported | ErrorKind::Limit, _, Some(at)) => {
                write!(f, "{at}: {}", self.message)
            }
            _ => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, ConfigError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_error_renders_as_xm_did_with_a_caret() {
        let error = ConfigError::syntax(Pos { line: 2, column: 4 }, "expected a value")
            .in_file("./x", "a = 1\n\tb =\n");
        assert_eq!(
            error.render(),
            "Errors were found at line 2 while processing ./x:\n\t\tb =\n\t\t  ^ ./x:2:4: expected a value"
        );
    }

    #[test]
    fn runtime_error_first_line_is_the_bare_message() {
        let error = ConfigError::runtime(
            "NameError",
            Pos { line: 1, column: 5 },
            "name 'x' is not defined",
        )
        .in_file("f", "a = x\n");
        assert_eq!(error.to_string(), "name 'x' is not defined");
        assert_eq!(
            error.render(),
            "name 'x' is not defined\n\ta = x\n\t    ^ f:1:5"
        );
    }

    #[test]
    fn control_characters_in_a_source_line_are_not_echoed() {
        let error = ConfigError::runtime("NameError", Pos { line: 1, column: 1 }, "m")
            .in_file("f", "a\x1b[2Jb");
        assert!(!error.render().contains('\x1b'));
    }
}
