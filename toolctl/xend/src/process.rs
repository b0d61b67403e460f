//! A monitor's process: started with exactly the descriptors that it is to have, watched without races.
//!
//! ```text
//!   spawn: fork -> setsid, all fds close-on-exec but those passed -> exec
//!   pid --pidfd_open--> Process { wait, kill }     the pidfd never names another process
//! ```
#![allow(unsafe_code)] // Code between fork and exec (pre_exec) is unsafe by nature.

use crate::pinning;
use noxen_systemd::PRIVATE_VARIABLES;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal};
use rustix::thread::CpuSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A running (or dead) process.
pub struct Process {
    pid: u32,
    start: u64,
    pidfd: OwnedFd,
    /// Ours to reap; none when it was adopted.
    child: Mutex<Option<Child>>,
}

/// What to start.
pub struct Launch<'a> {
    /// Program, looked up on PATH when it has no slash.
    pub program: &'a Path,
    /// Arguments.
    pub args: &'a [String],
    /// Descriptors that it inherits, under the numbers that they have here.
    pub inherit: &'a [RawFd],
    /// Where its standard output and error go.
    pub output: fs::File,
    /// Host CPUs that it may use.
    pub affinity: Option<&'a [u32]>,
    /// An empty file into which the new process writes its id before it becomes the program, so that it can be
    /// found whenever the caller dies.
    pub pid_file: &'a fs::File,
}

impl Process {
    /// Starts a process in a session of its own, so that nothing which ends xend ends it.
    pub fn spawn(launch: Launch<'_>) -> io::Result<Process> {
        let errors = launch.output.try_clone()?;
        let mut command = Command::new(launch.program);
        command
            .args(launch.args)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(launch.output)
            .stderr(errors);
        for variable in PRIVATE_VARIABLES {
            command.env_remove(variable);
        }
        let inherit = launch.inherit.to_vec();
        let pid_fd = launch.pid_file.as_raw_fd();
        let cpus = launch.affinity.map(pinning::cpu_set);
        // SAFETY: the closure runs in the child of fork and calls only async-signal-safe system calls; it
        // neither allocates nor locks (`inherit` was allocated before). std has no safe way to pass
        // descriptors or to make a session.
        unsafe {
            command.pre_exec(move || {
                write_pid(pid_fd)?;
                prepare_child(&inherit, cpus.as_ref())
            });
        }
        let mut child = command.spawn()?;
        match Process::open(child.id(), None) {
            Ok(mut process) => {
                process.child = Mutex::new(Some(child));
                Ok(process)
            }
            Err(e) => {
                // Without a pidfd it could not be watched. Both calls fail only when it is gone already.
                let _ = child.kill();
                let _ = child.wait();
                Err(e)
            }
        }
    }

    /// Takes up a process that an earlier xend started; an error when it is gone or `pid` is another one now.
    pub fn adopt(pid: u32, start: u64) -> io::Result<Process> {
        Process::open(pid, Some(start))
    }

    /// Takes up the process whose id `pid_file` holds, if it was started with `argument`.
    pub fn find(pid_file: &Path, argument: &str) -> Option<Process> {
        let pid: u32 = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
        let process = Process::open(pid, None).ok()?;
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        arguments
            .split(|&b| b == 0)
            .any(|a| a == argument.as_bytes())
            .then_some(process)
    }

    /// Start time of process `pid`, as [`Process::adopt`] wants it.
    pub fn start_of(pid: u32) -> io::Result<u64> {
        start_time(pid)
    }

    fn open(pid: u32, expected: Option<u64>) -> io::Result<Process> {
        let raw = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty())?;
        let start = start_time(pid)?;
        if expected.is_some_and(|expected| expected != start) {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("process {pid} is another one now"),
            ));
        }
        Ok(Process {
            pid,
            start,
            pidfd,
            child: Mutex::new(None),
        })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its start time, clock ticks since boot; with the id it names the process for ever.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// For polling: readable once it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.pidfd.as_fd()
    }

    /// Has it ended?
    pub fn ended(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits until it has ended, at most `timeout`; reaps it. True when it has.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let time = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut fds, Some(&time)) {
                Ok(0) => return false,
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return false,
            }
        }
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = child.take() {
            // It has ended, so this returns at once; how it ended is in the monitor's own log.
            let _ = child.wait();
        }
        true
    }

    /// Sends SIGKILL; nothing happens when it has ended.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// What this process is to become.
pub struct Become {
    /// Program, arguments and environment.
    pub command: Command,
    /// Descriptors and the numbers that the program knows them by.
    pub fds: Vec<(OwnedFd, RawFd)>,
    /// Its standard output and error.
    pub output: OwnedFd,
    /// Host CPUs that it may use.
    pub cpus: Option<Vec<u32>>,
}

/// Becomes that program; returns only if that fails, and why.
pub fn become_program(what: Become) -> io::Error {
    match try_to_become(what) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_to_become(what: Become) -> io::Result<std::convert::Infallible> {
    let Become {
        mut command,
        fds,
        output,
        cpus,
    } = what;
    if let Some(cpus) = cpus {
        rustix::thread::sched_setaffinity(None, &pinning::cpu_set(&cpus))?;
    }
    // Above all numbers that are wanted, so that none is overwritten before it is where it belongs.
    let above = 1 + fds.iter().map(|(_, number)| *number).max().unwrap_or(2);
    let mut moves = Vec::new();
    for (fd, number) in fds {
        if number < 3 {
            return Err(io::Error::other(format!(
                "descriptor {number} is none to pass"
            )));
        }
        moves.push((rustix::io::fcntl_dupfd_cloexec(&fd, above)?, number));
    }
    let errors = output.try_clone()?;
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    // SAFETY: with `exec` the closure runs in this very process, which has one thread; it makes only system calls.
    // `dup2` gives each number to the program and closes what this process had there: nothing that it uses again, since
    // what follows is either the program or the end. rustix has no safe way to name a number that nobody owns yet.
    unsafe {
        command.pre_exec(move || {
            for (fd, number) in &moves {
                if libc::dup2(fd.as_raw_fd(), *number) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    Err(command.exec())
}

/// Writes the caller's process id, a line in decimal, without allocating.
fn write_pid(fd: RawFd) -> io::Result<()> {
    let mut left = rustix::process::getpid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs();
    let mut line = [b'\n'; 11];
    let mut at = line.len() - 1;
    while left > 0 {
        at -= 1;
        line[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    // SAFETY: the caller of spawn holds the file open until it returns, and this runs before that.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::write(fd, &line[at..])?;
    Ok(())
}

fn prepare_child(inherit: &[RawFd], cpus: Option<&CpuSet>) -> io::Result<()> {
    rustix::process::setsid()?;
    if let Some(cpus) = cpus {
        rustix::thread::sched_setaffinity(None, cpus)?;
    }
    // SAFETY: a system call without memory; it marks descriptors close-on-exec in the child only, std's own
    // (the pipe that reports a failing exec) are marked so anyway. rustix does not wrap it.
    let marked =
        unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) };
    if marked != 0 {
        return Err(io::Error::last_os_error());
    }
    for &fd in inherit {
        // SAFETY: the caller holds these descriptors open over the spawn, and the child has its own table.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
    }
    Ok(())
}

/// Field 22 of /proc/PID/stat. The name before it may hold blanks and parentheses.
fn start_time(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    text.rsplit_once(") ")
        .and_then(|(_, rest)| rest.split(' ').nth(19))
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unknown /proc/PID/stat"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use std::io::Read;

    fn spawn(script: &str, inherit: &[RawFd]) -> Process {
        let dir = TempDir::new("process");
        spawn_with(script, inherit, &dir.path().join("pid"))
    }

    fn spawn_with(script: &str, inherit: &[RawFd], pid_file: &Path) -> Process {
        Process::spawn(Launch {
            pid_file: &fs::File::create(pid_file).unwrap(),
            program: Path::new("sh"),
            args: &["-c".into(), script.into()],
            inherit,
            output: fs::File::options().write(true).open("/dev/null").unwrap(),
            affinity: None,
        })
        .unwrap()
    }

    #[test]
    fn spawn_passes_named_descriptors_and_no_others() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (_other_reader, other) = io::pipe().unwrap();
        // A descriptor that xend itself might have inherited without close-on-exec.
        rustix::io::fcntl_setfd(&other, rustix::io::FdFlags::empty()).unwrap();
        // By path, since shells take one-digit numbers only behind ">&".
        let script = format!("ls /proc/$$/fd >/proc/self/fd/{}", writer.as_raw_fd());
        let process = spawn(&script, &[writer.as_raw_fd()]);
        let mine = writer.as_raw_fd().to_string();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(process.wait(Duration::from_secs(10)));
        let fds: Vec<&str> = text.lines().collect();
        assert!(fds.contains(&mine.as_str()), "{text}");
        assert!(
            !fds.contains(&other.as_raw_fd().to_string().as_str()),
            "{text}"
        );
    }

    #[test]
    fn kill_ends_a_process_and_wait_reaps_it() {
        let process = spawn("exec sleep 1000", &[]);
        assert!(!process.ended());
        process.kill();
        assert!(process.wait(Duration::from_secs(10)));
        assert!(start_time(process.pid()).is_err(), "still a zombie");
    }

    #[test]
    fn find_takes_the_process_of_the_file_only_if_it_is_the_right_one() {
        let dir = TempDir::new("process");
        let pid_file = dir.path().join("pid");
        let process = spawn_with("sleep 1000; true", &[], &pid_file);
        let found = Process::find(&pid_file, "-c").unwrap();
        assert_eq!(
            (found.pid(), found.start()),
            (process.pid(), process.start())
        );
        assert!(Process::find(&pid_file, "--spec-fd").is_none());
        process.kill();
        assert!(process.wait(Duration::from_secs(10)));
        assert!(Process::find(&pid_file, "-c").is_none());
    }

    #[test]
    fn adopt_of_a_reused_id_is_refused() {
        let process = spawn("exec sleep 1000", &[]);
        assert!(Process::adopt(process.pid(), process.start() + 1).is_err());
        assert!(Process::adopt(process.pid(), process.start()).is_ok());
        process.kill();
        assert!(process.wait(Duration::from_secs(10)));
        assert!(Process::adopt(process.pid(), process.start()).is_err());
    }
}
