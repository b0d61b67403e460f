//! The `network-script` of xend-config.sxp: run with `start` each time xend starts, never with `stop`, as xend did.
//!
//! ```text
//!   (network-script 'network-bridge netdev=eth1') -> /etc/xen/scripts/network-bridge netdev=eth1 start
//! ```
//! A script that fails or hangs is logged; xend starts all the same, since domains without a network need it, too.

use crate::settings::Settings;
use crate::{error, info};
use noxen_xend_api::paths::Paths;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Most of its complaints that is kept, bytes.
const MOST_TEXT: u64 = 4096;

/// Program and arguments, if a script is set. A name without a directory is one of /etc/xen/scripts.
fn command_line(settings: &Settings, paths: &Paths) -> Option<(PathBuf, Vec<String>)> {
    let mut words = settings.text("network-script").split_whitespace();
    let program = words.next()?;
    let mut args: Vec<String> = words.map(str::to_owned).collect();
    args.push("start".into());
    // An absolute name stands for itself.
    Some((paths.scripts_dir().join(program), args))
}

/// Runs it, if there is one.
pub fn run(settings: &Settings, paths: &Paths) {
    let Some((program, args)) = command_line(settings, paths) else {
        return;
    };
    let shown = format!("{} {}", program.display(), args.join(" "));
    info!("running {shown}");
    match attempt(&program, &args, LIMIT) {
        Ok(()) => {}
        Err(reason) => error!("{shown}: {reason}; domains may have no network"),
    }
}

fn attempt(program: &PathBuf, args: &[String], limit: Duration) -> Result<(), String> {
    let mut child = Command::new(program)
        .args(args)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // A group of its own, so that what it has started can be ended with it.
        .process_group(0)
        .spawn()
        .map_err(|e| e.to_string())?;
    let said = child.stderr.take().map(|stderr| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            // A script that has ended has said all; what it left running may hold the pipe for ever.
            let _ = stderr.take(MOST_TEXT).read_to_end(&mut text);
            String::from_utf8_lossy(&text).trim().to_owned()
        })
    });
    let status = wait(&mut child, limit)?;
    if status.success() {
        return Ok(());
    }
    let deadline = Instant::now() + Duration::from_secs(1);
    let text = said.and_then(|said| {
        while !said.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        said.is_finished().then(|| said.join().ok()).flatten()
    });
    Err(format!("{status}: {}", text.unwrap_or_default()))
}

fn wait(child: &mut Child, limit: Duration) -> Result<std::process::ExitStatus, String> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
                // Gone already is as good.
                let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
            }
            let _ = child.wait();
            return Err(format!("it did not end within {} s", limit.as_secs_f64()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<(), String> {
        let args = ["-c".to_owned(), script.to_owned()];
        attempt(&"/bin/sh".into(), &args, limit)
    }

    #[test]
    fn script_that_fails_or_hangs_says_so() {
        let long = Duration::from_secs(20);
        assert_eq!(sh("exit 0", long), Ok(()));
        let error = sh("echo no bridge >&2; exit 3", long).unwrap_err();
        assert_eq!(error, "exit status: 3: no bridge");
        let error = sh("sleep 1000", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error, "it did not end within 0.05 s");
        let error = attempt(&"/nonexistent/script".into(), &[], long).unwrap_err();
        assert!(error.contains("No such file"), "{error}");
    }
}
