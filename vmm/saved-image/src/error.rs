//! Why a saved image could not be written or read: one line each, as xm begins them.

use std::io;

/// The line's beginning that xm has for every file that is no image.
const NOT_VALID: &str = "not a valid guest state file";

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file or pipe failed.
    #[error("{0}")]
    Io(io::Error),
    /// It ends before `what` is complete.
    #[error("{NOT_VALID}: it ends in the middle of {what}")]
    Short {
        /// A part of the format.
        what: &'static str,
    },
    /// Another kind of file.
    #[error("{NOT_VALID}: found {found:?}")]
    Foreign {
        /// Its first bytes, printable.
        found: String,
    },
    /// xm's container around something else, such as Xen's own memory stream.
    #[error(
        "{NOT_VALID}: its memory is not in Noxen's format; a domain saved by Xen can only be restored by Xen"
    )]
    ForeignMemory,
    /// Bytes are not those that were written.
    #[error("{NOT_VALID}: {what} is damaged (checksum)")]
    Damaged {
        /// A part of the format.
        what: &'static str,
    },
    /// A length that no writer writes.
    #[error("{NOT_VALID}: {what} has {length} bytes, the most is {most}")]
    TooLong {
        /// A part of the format.
        what: &'static str,
        /// What it says.
        length: u64,
        /// What there may be.
        most: u64,
    },
    /// Written by a later version than this one can read.
    #[error(
        "the image was written by {writer} in format {format}, which needs a reader of format {needs}; this one reads up to \
         {ours}: use that version or a later one"
    )]
    Future {
        /// Program and version.
        writer: String,
        /// Its format.
        format: u32,
        /// The first format whose readers can read it.
        needs: u32,
        /// [`crate::header::FORMAT`].
        ours: u32,
    },
    /// A unit that this version does not know.
    #[error("the image has a part {name:?} of version {version}, which this version does not know; it was written by {writer}")]
    UnknownUnit {
        /// The unit.
        name: String,
        /// Its version.
        version: u32,
        /// Program and version.
        writer: String,
    },
    /// Twice the same, or one missing, or in an order that means nothing.
    #[error("{NOT_VALID}: {0}")]
    Structure(String),
    /// A unit's body does not say what such a unit says.
    #[error("{NOT_VALID}: part {name:?} (written by {writer}): {reason}")]
    Unit {
        /// The unit.
        name: String,
        /// Program and version.
        writer: String,
        /// The parser's word.
        reason: String,
    },
}

impl ImageError {
    /// An error of reading `what`: an early end has a line of its own.
    pub(crate) fn reading(what: &'static str) -> impl Fn(io::Error) -> ImageError {
        move |error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ImageError::Short { what },
            _ => ImageError::Io(error),
        }
    }
}

/// Bytes of a stranger as text for a message.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .map(|c| if c.is_control() { '.' } else { c })
        .collect()
}
