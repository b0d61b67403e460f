//! The modules that configs import: what they compute, without the host they would reach.
//!
//! A function is named by its module, `os.path.join`, and so is everything refused.

mod addresses;
mod regex;
mod strings;
mod system;

use super::call::Named;
use super::{xm_vars, Evaluator};
use crate::error::{ConfigError, Pos, Result};
use crate::value::Value;

const MODULES: &[&str] = &[
    "errno",
    "math",
    "os",
    "os.path",
    "random",
    "re",
    "socket",
    "string",
    "struct",
    "sys",
    "time",
    "xen",
    "xen.util",
    "xen.util.ip",
    "xm_vars",
];

const FUNCTIONS: &[&str] = &[
    "math.ceil",
    "math.floor",
    "math.sqrt",
    "os.path.basename",
    "os.path.dirname",
    "os.path.isabs",
    "os.path.join",
    "os.path.normpath",
    "os.path.split",
    "os.path.splitext",
    "os.uname",
    "random.choice",
    "random.randint",
    "random.random",
    "random.seed",
    "re.escape",
    "re.findall",
    "re.match",
    "re.search",
    "re.split",
    "re.sub",
    "socket.gethostname",
    "string.atoi",
    "string.capitalize",
    "string.find",
    "string.join",
    "string.lower",
    "string.replace",
    "string.split",
    "string.strip",
    "string.upper",
    "string.zfill",
    "sys.exit",
    "time.time",
    "xen.util.ip.add_offset_to_ip",
    "xen.util.ip.check_subnet",
    "xen.util.ip.inet_aton",
    "xen.util.ip.inet_ntoa",
    "xm_vars.check",
    "xm_vars.var",
];

/// What is out of a configuration's reach, by the beginning of its full name.
const OUT_OF_REACH: &[(&str, &str)] = &[
    ("os.path.exists", "files are"),
    ("os.path.is", "files are"),
    ("os.path.get", "files are"),
    ("os.path.realpath", "files are"),
    ("os.path.abspath", "files are"),
    ("os.path.expand", "the environment is"),
    ("os.environ", "the environment is"),
    ("os.getenv", "the environment is"),
    ("os.", "processes and files are"),
    ("socket.", "the network is"),
    ("sys.std", "files are"),
    ("time.sleep", "the clock is"),
    ("subprocess", "processes are"),
    ("commands", "processes are"),
    ("popen2", "processes are"),
    ("multiprocessing", "processes are"),
    ("threading", "processes are"),
    ("urllib", "the network is"),
    ("httplib", "the network is"),
    ("ftplib", "the network is"),
    ("smtplib", "the network is"),
    ("shutil", "files are"),
    ("glob", "files are"),
    ("tempfile", "files are"),
    ("pickle", "files are"),
    ("xen.util.ip.get_", "the network is"),
    ("xen.", "xend's own modules are"),
];

/// What `from xen.util.ip import *` brings: xm did that before it ran a file.
pub(super) const GIVEN: [(&str, &str); 8] = [
    ("add_offset_to_ip", "xen.util.ip.add_offset_to_ip"),
    ("check_subnet", "xen.util.ip.check_subnet"),
    ("inet_aton", "xen.util.ip.inet_aton"),
    ("inet_ntoa", "xen.util.ip.inet_ntoa"),
    ("get_defaultroute", "xen.util.ip.get_defaultroute"),
    ("get_current_ipaddr", "xen.util.ip.get_current_ipaddr"),
    ("get_current_ipmask", "xen.util.ip.get_current_ipmask"),
    ("get_current_ipgw", "xen.util.ip.get_current_ipgw"),
];

/// The error for something that is out of reach.
pub(super) fn out_of_reach(name: &str, at: Pos) -> Option<ConfigError> {
    let (_, what) = OUT_OF_REACH
        .iter()
        .find(|(start, _)| name.starts_with(start))?;
    let message = format!("{name}: {what} out of a configuration's reach");
    Some(ConfigError::at(
        crate::error::ErrorKind::NotSupported,
        at,
        message,
    ))
}

/// `import NAME`.
pub(super) fn find(name: &str, at: Pos) -> Result<Value> {
    if let Some(module) = MODULES.iter().find(|module| **module == name) {
        return Ok(Value::Module(module));
    }
    Err(out_of_reach(name, at).unwrap_or_else(|| {
        let shown: String = name.chars().take(64).collect();
        ConfigError::runtime("ImportError", at, format!("No module named {shown}"))
    }))
}

/// `from MODULE import *`: the functions that are there, by their short and full names.
pub(super) fn all_of(module: &Value) -> Vec<(&'static str, &'static str)> {
    let Value::Module(module) = module else {
        return Vec::new();
    };
    let own = FUNCTIONS.iter().filter_map(|full| {
        let name = full.strip_prefix(module)?.strip_prefix('.')?;
        (!name.contains('.')).then_some((name, *full))
    });
    let refused = GIVEN.iter().filter(|_| *module == "xen.util.ip");
    own.chain(refused.copied()).collect()
}

/// `module.name`.
pub(super) fn attribute(
    _evaluator: &mut Evaluator<'_>,
    module: &Value,
    name: &str,
    at: Pos,
) -> Result<Value> {
    let Value::Module(module) = module else {
        return Err(super::call::no_attribute(module, name, at));
    };
    let full = format!("{module}.{name}");
    if let Some(module) = MODULES.iter().find(|module| **module == full) {
        return Ok(Value::Module(module));
    }
    if let Some(function) = FUNCTIONS.iter().find(|function| **function == full) {
        return Ok(Value::Builtin(function));
    }
    Ok(match full.as_str() {
        "os.sep" | "os.path.sep" => Value::text("/"),
        "os.name" => Value::text("posix"),
        "os.linesep" => Value::text("\n"),
        "os.error" => Value::Builtin("OSError"),
        "sys.platform" => Value::text("linux2"),
        "sys.version" => Value::text("2.7.18 (evaluated by Noxen)"),
        "sys.version_info" => Value::tuple([2, 7, 18].map(Value::Int).to_vec()),
        "sys.maxint" => Value::Int(i64::MAX),
        "sys.argv" => Value::list(vec![Value::text("xm")]),
        "sys.path" => Value::list(Vec::new()),
        "sys.stderr" => Value::Module("sys.stderr"),
        "sys.stdout" => Value::Module("sys.stdout"),
        "string.digits" => Value::text("0123456789"),
        "string.hexdigits" => Value::text("0123456789abcdefABCDEF"),
        "string.lowercase" | "string.ascii_lowercase" => Value::text("abcdefghijklmnopqrstuvwxyz"),
        "string.uppercase" | "string.ascii_uppercase" => Value::text("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        "string.letters" | "string.ascii_letters" => {
            Value::text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        }
        "math.pi" => Value::Float(std::f64::consts::PI),
        "socket.error" => Value::Builtin("IOError"),
        _ => {
            return Err(out_of_reach(&full, at).unwrap_or_else(|| {
                let shown: String = full.chars().take(64).collect();
                ConfigError::not_supported(at, &format!("'{shown}'"))
            }))
        }
    })
}

/// Calls a function of a module by its full name.
pub(super) fn call(
    evaluator: &mut Evaluator<'_>,
    name: &str,
    args: &[Value],
    named: &Named,
    at: Pos,
) -> Result<Value> {
    if name == "xm_vars.var" {
        return xm_vars::var(evaluator, args, named, at);
    }
    if name.starts_with("xen.util.ip.get_") {
        if let Some(refused) = out_of_reach(name, at) {
            return Err(refused);
        }
    }
    if let Some((argument, _)) = named.first() {
        let message = format!("{name}() takes no argument by the name '{argument}'");
        return Err(ConfigError::runtime("TypeError", at, message));
    }
    if name == "xm_vars.check" {
        return xm_vars::check(evaluator, at);
    }
    let result = match name.split('.').next().unwrap_or_default() {
        "xen" => addresses::call(evaluator, name, args, at)?,
        "re" => regex::call(evaluator, name, args, at)?,
        "string" => strings::string(evaluator, name, args, at)?,
        "os" if name.starts_with("os.path.") => strings::path(evaluator, name, args, at)?,
        _ => system::call(evaluator, name, args, at)?,
    };
    result.ok_or_else(|| {
        let message = format!("{name}() cannot take these {} arguments", args.len());
        ConfigError::runtime("TypeError", at, message)
    })
}
