//! What a subcommand is: one definition from which parsing, help, manual page and completion come.

use super::context::Context;
use super::failure::Failure;
use super::getopt::Parsed;

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opt {
    /// `-l`.
    pub short: Option<char>,
    /// `--long`; every option has one.
    pub long: &'static str,
    /// Name of its value when it takes one.
    pub arg: Option<&'static str>,
    /// One sentence.
    pub help: &'static str,
}

impl Opt {
    /// `-x, --xxx`.
    pub const fn flag(short: char, long: &'static str, help: &'static str) -> Opt {
        Opt {
            short: Some(short),
            long,
            arg: None,
            help,
        }
    }

    /// `--xxx`.
    pub const fn long_flag(long: &'static str, help: &'static str) -> Opt {
        Opt {
            short: None,
            long,
            arg: None,
            help,
        }
    }

    /// `-x, --xxx=ARG`.
    pub const fn value(
        short: char,
        long: &'static str,
        arg: &'static str,
        help: &'static str,
    ) -> Opt {
        Opt {
            short: Some(short),
            long,
            arg: Some(arg),
            help,
        }
    }

    /// `--xxx=ARG`.
    pub const fn long_value(long: &'static str, arg: &'static str, help: &'static str) -> Opt {
        Opt {
            short: None,
            long,
            arg: Some(arg),
            help,
        }
    }

    /// As help pages show it: `-l, --long` or `--state=STATE`.
    pub fn shown(&self) -> String {
        let value = self.arg.map(|arg| format!("={arg}")).unwrap_or_default();
        match self.short {
            Some(short) => format!("-{short}, --{}{value}", self.long),
            None => format!("--{}{value}", self.long),
        }
    }
}

/// The option of every listing.
pub const JSON: Opt = Opt::long_flag("json", "Print JSON instead of a table.");

/// Heading of `help --long` that a command stands under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Group {
    Domain,
    Host,
    Scheduler,
    Device,
    Vnet,
    Security,
    Other,
    /// Not a command of xm: on no list of `help`.
    Hidden,
}

impl Group {
    /// In the order of the long help, with their headings.
    pub const HEADINGS: &'static [(Group, &'static str)] = &[
        (Group::Domain, "Domain Commands:"),
        (Group::Host, "Xen Host Commands:"),
        (Group::Scheduler, "Scheduler Commands:"),
        (Group::Device, "Virtual Device Commands:"),
        (Group::Vnet, "Vnet commands:"),
        (Group::Security, "Access Control Commands:"),
        (Group::Other, "Other Commands:"),
    ];
}

/// How many words a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// The command looks itself.
    Any,
    /// Just so many.
    Exact(usize),
    /// From .. to.
    Between(usize, usize),
}

/// Whether a command does here what it did under Xen; docs/compatibility.md has a row of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Works,
    /// It does, but for what the text says.
    Partly(&'static str),
    /// Its words are checked, then it says that what it is about is not built; the text goes on with what to do.
    NotYet(&'static str),
    /// The same, since KVM has nothing of the kind; the text says what.
    NotOnKvm(&'static str),
}

/// What a command does; the number is the exit status.
pub type Run = fn(&mut Context, &Parsed) -> Result<i32, Failure>;

/// A subcommand.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// What follows the name on the usage line.
    pub args: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// More for the manual page; empty for none.
    pub details: &'static str,
    /// Its options.
    pub options: &'static [Opt],
    /// Its heading.
    pub group: Group,
    /// How many words.
    pub arity: Arity,
    /// More lines for its help page.
    pub more_help: Option<fn() -> String>,
    /// Does a fault of xend's end with the usage page? xm's `create` and `new` leave it out.
    pub usage_after_fault: bool,
    /// Whether it does what it did under Xen.
    pub standing: Standing,
    /// What it does; of one that is not there, the check of its words. None: nothing to check.
    pub run: Option<Run>,
}

impl Command {
    /// A command with nothing but what every one has; for `..Command::DEFAULT`.
    pub const DEFAULT: Command = Command {
        name: "",
        args: "",
        summary: "",
        details: "",
        options: &[],
        group: Group::Domain,
        arity: Arity::Any,
        more_help: None,
        usage_after_fault: true,
        standing: Standing::Works,
        run: None,
    };

    /// Why it does not do what it is named for; None where it does.
    pub fn missing(&self) -> Option<String> {
        let name = self.name;
        match self.standing {
            Standing::Works | Standing::Partly(_) => None,
            Standing::NotYet(why) => Some(format!("'xm {name}' is not built yet: {why}")),
            Standing::NotOnKvm(why) => Some(format!("'xm {name}' is nothing that KVM has: {why}")),
        }
    }
}
