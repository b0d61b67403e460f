//! The command `xend` (xm-reference: "xend command").
//!
//! ```text
//!   xend start --spawn--> supervisor (own session) --spawn--> daemon: lock, adopt, listen
//!        ^ exit 0              | died by a signal: once more        | "ready" | "running" | "error: TEXT"
//!        \--------------------------- standard output --------------/
//!   xend stop: SIGTERM, wait      xend reload: SIGHUP      xend status: is the lock held?
//! ```

use crate::daemon::{self, Announce, Setup};
use crate::node::Options;
use crate::settings::{self, Settings};
use crate::unit::{self, Units};
use crate::{api_tokens, atomic, clock, create, lifecycle, pam};
use noxen_xend_api::client::sibling_program;
use noxen_xend_api::paths::Paths;
use noxen_xend_api::{Client, Request};
use rustix::fs::{flock, FlockOperation};
use rustix::process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const USAGE: &str = "usage: xend {start|stop|reload|restart}";
/// How long a xend that is starting may take to listen (it takes up every domain first).
const LISTEN: Duration = Duration::from_secs(120);
/// How long a xend that runs may take to say so.
const PING: Duration = Duration::from_secs(5);
/// How long a xend that was told to stop may take to finish what it is doing.
const STOP: Duration = Duration::from_secs(150);
/// A daemon that lived for less is started again only after this long.
const RESPAWN: Duration = Duration::from_secs(1);

/// A command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// Its first word.
    pub command: String,
    /// Stay in the foreground.
    pub foreground: bool,
    /// Seconds; see [`Options::restart_guard_s`].
    pub restart_guard_s: f64,
    /// See [`Options::build_limit`].
    pub build_limit: Duration,
}

/// Reads the arguments after the program's name; none at all gives none.
pub fn parse(args: &[String]) -> Result<Option<Invocation>, String> {
    let mut invocation = Invocation {
        command: String::new(),
        foreground: std::env::var("XEND_DAEMONIZE").is_ok_and(|v| v == "0"),
        restart_guard_s: lifecycle::RESTART_GUARD_S,
        build_limit: create::BUILD,
    };
    let number = |switch: &str, value: Option<&String>| {
        let seconds = value.and_then(|v| v.parse::<f64>().ok());
        seconds
            .filter(|s| (0.0..=1e6).contains(s))
            .ok_or(format!("{switch} needs a number of seconds"))
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--foreground" => invocation.foreground = true,
            "--restart-guard" => {
                invocation.restart_guard_s = number(arg, args.next())?;
            }
            "--build-limit" => {
                let seconds = number(arg, args.next())?;
                invocation.build_limit = Duration::from_secs_f64(seconds);
            }
            word if invocation.command.is_empty() => invocation.command = word.to_owned(),
            word => return Err(format!("not an option: {word}")),
        }
    }
    if invocation.command.is_empty() {
        if !invocation.foreground {
            return Ok(None);
        }
        invocation.command = "start".into();
    }
    Ok(Some(invocation))
}

/// Runs the command line.
pub fn main(args: &[String]) -> ExitCode {
    if args
        .first()
        .is_some_and(|first| unit::COMMANDS.contains(&first.as_str()))
    {
        return unit::command(&Paths::from_env(), args);
    }
    if args.first().is_some_and(|first| first == pam::COMMAND) {
        return pam::command(&Paths::from_env());
    }
    if let Some((_, words)) = args.split_first().filter(|(first, _)| *first == "token") {
        return match api_tokens::command(&Paths::from_env(), words) {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(line) => {
                eprintln!("{line}");
                ExitCode::from(1)
            }
        };
    }
    let invocation = match parse(args) {
        Ok(Some(invocation)) => invocation,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::from(1);
        }
        Err(line) => {
            println!("{line}");
            return ExitCode::from(1);
        }
    };
    let paths = Paths::from_env();
    if !rustix::process::geteuid().is_root() && paths.root() == Path::new("/") {
        let stars = "*".repeat(70);
        eprintln!("{stars}\n*** Xend must be run as root.\n{stars}");
        return ExitCode::from(1);
    }
    // `stop` and `status` have to work with a broken file, too.
    let config = settings::path(&paths);
    let settings = match Settings::load(&config) {
        Ok(settings) => settings,
        Err(_) if matches!(invocation.command.as_str(), "stop" | "status") => Settings::default(),
        Err(e) => {
            eprintln!("Exception {} xend: {e}", doing(&invocation.command));
            return ExitCode::from(1);
        }
    };
    let options = options(paths, &invocation, &settings);
    let setup = || Setup {
        options: options.clone(),
        settings: settings.clone(),
        config: config.clone(),
    };
    let done = match invocation.command.as_str() {
        "start" if invocation.foreground => serve(setup(), Announce::ServiceManager, true),
        "start" => start(&options, args),
        "stop" => stop(&options.paths),
        "restart" => stop(&options.paths).and_then(|()| {
            if invocation.foreground {
                serve(setup(), Announce::ServiceManager, true)
            } else {
                start(&options, args)
            }
        }),
        "reload" => reload(&options.paths),
        "manual-table" => {
            print!("{}", crate::settings::table());
            return ExitCode::SUCCESS;
        }
        "manual" => {
            print!("{}", crate::settings::page());
            return ExitCode::SUCCESS;
        }
        "status" => return ExitCode::from(if is_running(&options.paths) { 0 } else { 3 }),
        "trace_start" => Err("call tracing is not supported; use `xend start`".into()),
        SUPERVISE => supervise(&options, args),
        DAEMON => serve(setup(), Announce::StandardOutput, false),
        other => {
            println!("not an option: {other}");
            return ExitCode::from(1);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            eprintln!("Exception {} xend: {line}", doing(&invocation.command));
            ExitCode::from(1)
        }
    }
}

fn doing(command: &str) -> &'static str {
    match command {
        "stop" => "stopping",
        "reload" => "reloading",
        _ => "starting",
    }
}

/// Private commands by which `start` reaches its own children.
const SUPERVISE: &str = "--supervise";
const DAEMON: &str = "--daemon";

fn options(paths: Paths, invocation: &Invocation, settings: &Settings) -> Options {
    let program = |variable: &str, name: &str| {
        std::env::var_os(variable)
            .filter(|v| !v.is_empty())
            .map_or_else(|| sibling_program(name), PathBuf::from)
    };
    Options {
        vmm: program("NOXEN_VMM", "noxen-vmm"),
        xenstored: program("NOXEN_XENSTORED", "xenstored"),
        kvm: std::env::var_os("NOXEN_KVM")
            .filter(|v| !v.is_empty())
            .map_or_else(|| PathBuf::from("/dev/kvm"), PathBuf::from),
        tun: std::env::var_os("NOXEN_TUN")
            .filter(|v| !v.is_empty())
            .map_or_else(|| PathBuf::from("/dev/net/tun"), PathBuf::from),
        vif_script: settings.text("vif-script").to_owned(),
        device_timeout: seconds(settings, "device-create-timeout"),
        detach_timeout: seconds(settings, "device-destroy-timeout"),
        build_limit: invocation.build_limit,
        units: Units::of(&paths),
        restart_guard_s: invocation.restart_guard_s,
        paths,
    }
}

/// How long a device may take to come or go; `NOXEN_DEVICE_TIMEOUT` (seconds) is for tests.
fn seconds(settings: &Settings, key: &str) -> Duration {
    let asked = std::env::var("NOXEN_DEVICE_TIMEOUT");
    let asked = asked.ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(asked.unwrap_or(settings.int(key).max(1).unsigned_abs()))
}

fn serve(setup: Setup, announce: Announce, echo: bool) -> Result<(), String> {
    let echo = echo || std::env::var_os("XEND_DEBUG").is_some();
    daemon::run(setup, announce, echo)
}

/// Does a xend answer? A connection alone would not tell: one that is being killed still has its socket.
fn answers(paths: &Paths) -> bool {
    let Ok(mut client) = Client::connect(paths) else {
        return false;
    };
    let limited = client.set_timeout(Some(PING));
    limited.is_ok() && client.ask_ok(&Request::Ping).is_ok()
}

/// The arguments for a child: the private command, and the switches as they were given.
fn child_args(command: &str, args: &[String]) -> Vec<String> {
    let mut out = vec![command.to_owned()];
    for switch in ["--restart-guard", "--build-limit"] {
        let at = args.iter().position(|a| a == switch);
        out.extend(
            at.into_iter()
                .flat_map(|i| args[i..].iter().take(2).cloned()),
        );
    }
    out
}

fn start(options: &Options, args: &[String]) -> Result<(), String> {
    let paths = &options.paths;
    let deadline = Instant::now() + LISTEN;
    while !answers(paths) {
        match launch(paths, args)? {
            Launched::Ready => return Ok(()),
            // Another xend holds the lock: it is about to listen, or about to be gone.
            Launched::Locked if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Launched::Locked => {
                return Err(format!(
                    "another xend holds {} and does not answer; stop it first",
                    paths.xend_lock().display()
                ))
            }
        }
    }
    Ok(())
}

enum Launched {
    /// The daemon listens.
    Ready,
    /// There was another one.
    Locked,
}

fn launch(paths: &Paths, args: &[String]) -> Result<Launched, String> {
    let log = debug_log(paths)?;
    let program = std::env::current_exe().map_err(|e| format!("cannot find xend itself: {e}"))?;
    let mut child = Command::new(&program)
        .args(child_args(SUPERVISE, args))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|e| format!("cannot start {}: {e}", program.display()))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(|e| format!("the daemon's answer cannot be read: {e}"))?;
    }
    match line.trim_end() {
        "ready" => Ok(Launched::Ready),
        "running" => Ok(Launched::Locked),
        line => Err(match line.strip_prefix("error: ") {
            Some(reason) => reason.to_owned(),
            None => format!(
                "the daemon ended without a word; see {}",
                paths.xend_debug_log().display()
            ),
        }),
    }
}

fn debug_log(paths: &Paths) -> Result<File, String> {
    let path = paths.xend_debug_log();
    let error = |e: io::Error| format!("cannot open {}: {e}", path.display());
    atomic::make_directory(&paths.log_dir(), 0o755).map_err(error)?;
    let file = File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(&path);
    file.map_err(error)
}

/// Keeps a daemon running: one that dies by a signal is started again, one that ends by itself is not.
fn supervise(options: &Options, args: &[String]) -> Result<(), String> {
    // Fails only for a group leader, which has a session to itself already.
    let _ = rustix::process::setsid();
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut first = true;
    loop {
        let log = debug_log(&options.paths)?;
        let mut command = Command::new(&program);
        command
            .args(child_args(DAEMON, args))
            .stdin(Stdio::null())
            .stderr(log.try_clone().map_err(|e| e.to_string())?);
        if !first {
            command.stdout(log.try_clone().map_err(|e| e.to_string())?);
        }
        let begun = Instant::now();
        let mut child = command.spawn().map_err(|e| e.to_string())?;
        if first {
            // Only the daemon itself is to hold the pipe to `xend start`.
            rustix::stdio::dup2_stdout(&log).map_err(|e| e.to_string())?;
            first = false;
        }
        let status = child.wait().map_err(|e| e.to_string())?;
        let Some(signal) = status.signal() else {
            return Ok(());
        };
        let now = clock::stamp(clock::now());
        // Standard error is the debug log; when even that fails there is nobody to tell.
        let _ = writeln!(
            io::stderr(),
            "Xend died due to signal {signal} at {now}!  Restarting it."
        );
        std::thread::sleep(RESPAWN.saturating_sub(begun.elapsed()));
        // Meanwhile somebody may have started another one, or stopped xend.
        let dead = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if named_pid(&options.paths) != dead {
            return Ok(());
        }
    }
}

/// Is there a xend that holds the lock?
pub fn is_running(paths: &Paths) -> bool {
    match File::options()
        .read(true)
        .write(true)
        .open(paths.xend_lock())
    {
        Ok(file) => flock(&file, FlockOperation::NonBlockingLockExclusive).is_err(),
        Err(_) => false,
    }
}

/// The process that the pid file names.
fn named_pid(paths: &Paths) -> Option<Pid> {
    let text = std::fs::read_to_string(paths.xend_pid()).ok()?;
    text.trim().parse().ok().and_then(Pid::from_raw)
}

/// The daemon's process, while it holds the lock.
fn daemon_process(paths: &Paths) -> Result<Option<(Pid, rustix::fd::OwnedFd)>, String> {
    if !is_running(paths) {
        return Ok(None);
    }
    // One that has just got the lock has not written its id yet.
    let Some(pid) = named_pid(paths) else {
        return Ok(None);
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some((pid, pidfd))),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(e) => Err(format!("cannot watch process {pid:?}: {e}")),
    }
}

/// Ends every daemon: while one ends, a supervisor may be starting another that was killed before.
fn stop(paths: &Paths) -> Result<(), String> {
    let deadline = Instant::now() + STOP;
    let mut told = None;
    while !forget_dead(paths) {
        if let Some((pid, pidfd)) = daemon_process(paths)? {
            if told != Some(pid) {
                match pidfd_send_signal(&pidfd, Signal::TERM) {
                    Ok(()) | Err(rustix::io::Errno::SRCH) => told = Some(pid),
                    Err(e) => return Err(format!("it may not be signalled: {e}")),
                }
            }
        }
        if Instant::now() > deadline {
            return Err(format!("it did not end within {} s", STOP.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// True when no daemon runs. The pid file of one that was killed goes, which tells its supervisor to let it be.
fn forget_dead(paths: &Paths) -> bool {
    let Ok(file) = File::options()
        .read(true)
        .write(true)
        .open(paths.xend_lock())
    else {
        return true; // None has ever run.
    };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return false;
    }
    // It need not be there.
    let _ = std::fs::remove_file(paths.xend_pid());
    true
}

fn reload(paths: &Paths) -> Result<(), String> {
    match daemon_process(paths)? {
        Some((_, pidfd)) => pidfd_send_signal(&pidfd, Signal::HUP).map_err(|e| e.to_string()),
        None => Err("it is not running".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn parse_without_arguments_asks_for_the_usage() {
        assert_eq!(parse(&[]).unwrap(), None);
    }

    #[test]
    fn parse_switches_may_stand_anywhere() {
        let i = parse(&words("--restart-guard 0.5 start --foreground"))
            .unwrap()
            .unwrap();
        assert_eq!(i.command, "start");
        assert!(i.foreground);
        assert_eq!(i.restart_guard_s, 0.5);
    }

    #[test]
    fn parse_nonsense_is_refused() {
        assert!(parse(&words("start --restart-guard")).is_err());
        assert!(parse(&words("start --restart-guard -1")).is_err());
        assert_eq!(
            parse(&words("start stop")).unwrap_err(),
            "not an option: stop"
        );
    }

    #[test]
    fn child_args_carry_the_switches_on() {
        assert_eq!(
            child_args(DAEMON, &words("start --restart-guard 5")),
            ["--daemon", "--restart-guard", "5"]
        );
        assert_eq!(child_args(DAEMON, &words("start")), ["--daemon"]);
    }
}
