//! The variables that a configuration may set: one definition each.
//!
//! ```text
//!   KeyDef --> conversion of var=value words      (convert)
//!          --> type check of values from the file (settings)
//!          --> "unknown key, did you mean ..."    (nearest)
//!          --> `create --help_config`, xmdomain.cfg(5)
//! ```

pub mod convert;
mod nearest;
mod table_devices;
mod table_general;
mod table_hvm;
mod table_other;
mod table_xl;

pub use nearest::nearest;

/// What a variable holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Str,
    /// Whole number.
    Int,
    /// 0 or 1; `yes`/`no` on the command line.
    Bool,
    /// Whole number, `0x` allowed on the command line.
    Hex,
    /// List of texts.
    List,
    /// Text, or list of texts.
    StrOrList,
}

/// Whose variable it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guests {
    /// Every domain's.
    All,
    /// Paravirtual domains'.
    Pv,
    /// Fully virtualised domains'.
    Hvm,
}

/// What setting it does today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Takes effect.
    Used,
    /// Accepted and checked; takes effect once what it configures is built.
    Later,
    /// Refused when set, since a domain without it would not be what was asked for; until it is built.
    Refused,
    /// Accepted and without effect, as it was with xm; the reason.
    Ignored(&'static str),
    /// Accepted and without effect, since KVM has nothing of the kind; the reason.
    NotOnKvm(&'static str),
}

/// One variable.
#[derive(Clone, Copy, Debug)]
pub struct KeyDef {
    /// Its name in a file.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// How help calls the value.
    pub arg: &'static str,
    /// Default as help shows it; empty for none.
    pub default: &'static str,
    /// Whose it is.
    pub guests: Guests,
    /// What it does today.
    pub status: Status,
    /// One or two sentences.
    pub help: &'static str,
}

const fn key(
    name: &'static str,
    kind: Kind,
    arg: &'static str,
    default: &'static str,
    guests: Guests,
    status: Status,
    help: &'static str,
) -> KeyDef {
    KeyDef {
        name,
        kind,
        arg,
        default,
        guests,
        status,
        help,
    }
}

/// A heading and its variables, in the order of help and manual page.
pub const GROUPS: &[(&str, &[KeyDef])] = &[
    ("General", table_general::GENERAL),
    ("Kernel and boot", table_general::BOOT),
    ("Life cycle", table_general::LIFE_CYCLE),
    ("CPU placement", table_general::CPU),
    ("Devices", table_devices::DEVICES),
    (
        "Network boot of paravirtual kernels",
        table_devices::NETWORK,
    ),
    ("Fully virtualised machines", table_hvm::MACHINE),
    ("Display", table_hvm::DISPLAY),
    ("Accepted for older or other tools", table_other::OTHER),
    ("Names of xl", table_xl::XL),
];

/// All variables.
pub fn all() -> impl Iterator<Item = &'static KeyDef> {
    GROUPS.iter().flat_map(|(_, keys)| keys.iter())
}

/// Names of xl that are refused when they are set.
pub(crate) fn refused_of_xl() -> impl Iterator<Item = &'static str> {
    table_xl::XL
        .iter()
        .filter(|key| key.status == Status::Refused)
        .map(|key| key.name)
}

/// The variable of that name.
pub fn find(name: &str) -> Option<&'static KeyDef> {
    all().find(|key| key.name == name)
}

#[cfg(test)]
mod tests;
