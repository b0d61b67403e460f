//! Looking at processes through /proc.

use rustix::process::{kill_process, Pid, Signal};
use std::path::Path;

/// A process as /proc shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its command line, one word an argument.
    pub argv: Vec<String>,
}

impl Process {
    /// The base name of the program.
    pub fn program(&self) -> &str {
        self.argv
            .first()
            .and_then(|first| first.rsplit('/').next())
            .unwrap_or("")
    }
}

/// Every live process (zombies have no command line and are left out).
pub fn all() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let bytes = std::fs::read(entry.path().join("cmdline")).ok()?;
            let argv: Vec<String> = bytes
                .split(|byte| *byte == 0)
                .filter(|word| !word.is_empty())
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            (!argv.is_empty()).then_some(Process { pid, argv })
        })
        .collect()
}

/// The processes that were started with `name=value` in their environment.
pub fn with_env(name: &str, value: &str) -> Vec<Process> {
    let wanted = format!("{name}={value}");
    all()
        .into_iter()
        .filter(|process| {
            let path = format!("/proc/{}/environ", process.pid);
            std::fs::read(path).is_ok_and(|environ| {
                environ
                    .split(|byte| *byte == 0)
                    .any(|word| word == wanted.as_bytes())
            })
        })
        .collect()
}

/// Sends a signal; false when there is no such process.
pub fn signal(pid: u32, signal: Signal) -> bool {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Whether the process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat
            .rsplit(") ")
            .next()
            .unwrap_or("")
            .starts_with(['Z', 'X']),
        Err(_) => false,
    }
}

/// How many file descriptors a process has open.
pub fn open_files(pid: u32) -> usize {
    std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"))
        .map_or(0, Iterator::count)
}

/// How many threads a process has.
pub fn threads(pid: u32) -> usize {
    std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"))
        .map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn child_is_found_by_its_environment_and_gone_after_kill() {
        let value = format!("marked-{}", std::process::id());
        let mut child = Command::new("sleep")
            .arg("1000")
            .env("NOXEN_TEST_MARK", &value)
            .spawn()
            .unwrap();
        let found = crate::wait::until(
            "the child's exec",
            std::time::Duration::from_secs(10),
            || {
                with_env("NOXEN_TEST_MARK", &value)
                    .into_iter()
                    .find(|p| p.program() == "sleep")
            },
        );
        assert_eq!(found.pid, child.id());
        assert!(is_alive(found.pid));
        assert!(signal(found.pid, Signal::KILL));
        child.wait().unwrap();
        assert!(!is_alive(found.pid));
        assert!(with_env("NOXEN_TEST_MARK", &value).is_empty());
    }
}
