//! The command on this very machine, with the lab's time limit and nothing left running.

use super::{RunDir, Spec, TIMED_OUT};
use anyhow::{Context, Result};
use noxen_integration_tests::layout;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::mpsc;

/// Runs the command.
pub fn run(spec: &Spec, run_dir: &RunDir) -> Result<u8> {
    // Whatever the command leaves behind becomes our child, so that it can be found and ended.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .args(&spec.argv)
        .envs(spec.env.iter().map(|(k, v)| (k, v)))
        .env("NOXEN_LAB", "1")
        .env("NOXEN_LAB_OUT", run_dir.out())
        .current_dir(layout::repo_root())
        .spawn()
        .context("setpriv (package util-linux) does not run")?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(child.wait()));
    let status = match told.recv_timeout(spec.timeout) {
        Ok(status) => code(status?),
        Err(_) => {
            eprintln!(
                "lab: time limit of {} s reached, everything is killed",
                spec.timeout.as_secs()
            );
            TIMED_OUT
        }
    };
    kill_descendants();
    Ok(status)
}

/// An exit status as a shell tells it.
pub fn code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => 128u8.wrapping_add(signal as u8),
        (None, None) => super::LAB_FAILED,
    }
}

/// Ends every process below this one, until none is left (a process can fork while we look).
fn kill_descendants() {
    for _ in 0..100 {
        let found = descendants(std::process::id());
        if found.is_empty() {
            return;
        }
        for pid in found {
            if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
            }
        }
    }
}

/// Pids of the live processes below `root`.
fn descendants(root: u32) -> Vec<u32> {
    let mut parents = std::collections::HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // pid (name, which may hold anything) state ppid ...
        let mut rest = stat.rsplit(") ").next().unwrap_or("").split(' ');
        let (state, parent) = (rest.next(), rest.next().and_then(|p| p.parse::<u32>().ok()));
        if let (Some(state), Some(parent)) = (state, parent) {
            if state != "Z" || parent == root {
                parents.insert(pid, parent);
            }
        }
    }
    let below = |mut pid: u32| {
        for _ in 0..64 {
            match parents.get(&pid) {
                Some(parent) if *parent == root => return true,
                Some(parent) => pid = *parent,
                None => return false,
            }
        }
        false
    };
    parents.keys().copied().filter(|pid| below(*pid)).collect()
}
