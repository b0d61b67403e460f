//! xterm.js for the page's consoles, where it is installed.
//!
//! ```text
//!   xterm-path/lib/xterm.js, css/xterm.css   there ──> GET /web/xterm/.. hands them out; the page's console is a terminal
//!                                            not there ──> the page's console is text (files/console.js)
//! ```
//! The directory is the npm package `@xterm/xterm` as it is unpacked. Its renderer makes style sheets of its own while it runs, so the page's
//! policy lets it where it is installed, and nowhere else.

use super::read;
use crate::http::Response;
use std::path::PathBuf;

pub(super) const XTERM: &str = "/web/xterm/";

/// What is handed out of the package, and its type.
const FILES: [(&str, &str); 2] = [
    ("lib/xterm.js", "text/javascript; charset=utf-8"),
    ("css/xterm.css", "text/css; charset=utf-8"),
];

/// The package's directory.
pub struct Terminal(PathBuf);

impl Terminal {
    /// xterm.js is in `directory`, if it is installed.
    pub fn new(directory: PathBuf) -> Terminal {
        Terminal(directory)
    }

    /// Is all there that the page loads?
    pub(super) fn is_installed(&self) -> bool {
        FILES.iter().all(|(name, _)| self.0.join(name).is_file())
    }

    /// A file of the package; `path` is what follows [`XTERM`].
    pub(super) fn file(&self, path: &str) -> Response {
        let found = FILES.iter().find(|(name, _)| *name == path);
        match found.map(|(name, kind)| (read(&self.0.join(name)), *kind)) {
            Some((Ok(text), kind)) => Response::new(200, kind, text),
            _ => Response::text(404, "xterm.js has no such file, or is not installed"),
        }
    }
}
