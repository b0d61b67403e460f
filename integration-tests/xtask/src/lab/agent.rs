//! The first process of the lab: `xtask` itself, found on the shared root.
//!
//! ```text
//!   mounts ── port ── Run frame ── command ──┬─ stdout, stderr ──> frames
//!                                            ├─ <── Stdin frames
//!                                            └─ ends ── all others killed ── Exit frame ── power off
//! ```

use super::frames::{Frame, Run, PORT};
use anyhow::{bail, Context, Result};
use rustix::mount::{mount, mount_bind, MountFlags};
use rustix::process::{Pid, Signal, WaitOptions};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

type Port = Arc<Mutex<File>>;

/// `xtask lab-agent`: never returns in the lab.
pub fn agent_main() -> Result<u8> {
    if std::process::id() != 1 {
        bail!("lab-agent is the lab's first process and does nothing elsewhere");
    }
    if let Err(error) = serve() {
        // To the serial console, whose tail the host shows.
        eprintln!("noxen-lab: {error:#}");
    }
    power_off()
}

fn power_off() -> ! {
    rustix::fs::sync();
    let _ = rustix::system::reboot(rustix::system::RebootCommand::PowerOff);
    loop {
        std::thread::park();
    }
}

fn serve() -> Result<()> {
    mount_all()?;
    let port = open_port()?;
    let mut from = port.try_clone()?;
    let to: Port = Arc::new(Mutex::new(port));
    let run = match Frame::read(&mut from)? {
        Some(Frame::Run(run)) => *run,
        other => bail!("first frame is {other:?}, not what to run"),
    };
    prepare(&run)?;
    send(&to, &Frame::Up);
    let status = match start(&run) {
        Ok(started) => conduct(started, from, &to),
        Err(error) => {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let text = format!("lab: {} does not run: {error}\n", run.argv[0]);
            send(&to, &Frame::Stderr(text.into_bytes()));
            if missing {
                127
            } else {
                126
            }
        }
    };
    rustix::fs::sync();
    send(&to, &Frame::Exit(status));
    Ok(())
}

fn send(to: &Port, frame: &Frame) {
    if let Ok(mut port) = to.lock() {
        // The host kills us when it has gone; there is nobody to tell.
        let _ = frame.write(&mut *port);
    }
}

/// What every Debian host has mounted.
fn mount_all() -> Result<()> {
    let secure = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let plain = MountFlags::NOSUID;
    let at = |what: &str, dir: &str, flags: MountFlags, options: &str| -> Result<()> {
        fs::create_dir_all(dir).ok();
        let data = std::ffi::CString::new(options)?;
        mount(what, dir, what, flags, Some(data.as_c_str()))
            .with_context(|| format!("cannot mount {what} at {dir}"))
    };
    at("proc", "/proc", secure, "")?;
    at("sysfs", "/sys", secure, "")?;
    at("cgroup2", "/sys/fs/cgroup", secure, "")?;
    at(
        "devpts",
        "/dev/pts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        "ptmxmode=666,mode=620,gid=5",
    )?;
    at("tmpfs", "/dev/shm", plain, "mode=1777")?;
    at("tmpfs", "/run", plain, "mode=755")?;
    for dir in ["/run/lock", "/run/user"] {
        fs::create_dir_all(dir)?;
    }
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        if !Path::new(link).exists() {
            std::os::unix::fs::symlink(target, link)?;
        }
    }
    Ok(())
}

/// The frame port, by its name in sysfs.
fn open_port() -> Result<File> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        for entry in fs::read_dir("/sys/class/virtio-ports")
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            let device = Path::new("/dev").join(entry.file_name());
            if name.trim() == PORT && device.exists() {
                return File::options()
                    .read(true)
                    .write(true)
                    .open(&device)
                    .with_context(|| format!("cannot open {}", device.display()));
            }
        }
        if Instant::now() > deadline {
            bail!("no virtio-serial port named {PORT}");
        }
        // The port is announced by a message from the device, which nothing lets us wait for.
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn prepare(run: &Run) -> Result<()> {
    rustix::system::sethostname(b"noxen-lab")?;
    let version = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let modules = Path::new("/lib/modules").join(version);
    fs::create_dir_all(&modules)?;
    mount_bind(Path::new(&run.modules), &modules)
        .with_context(|| format!("cannot show {} at {}", run.modules, modules.display()))?;
    mount(
        "out",
        run.out.as_str(),
        "9p",
        MountFlags::empty(),
        Some(c"trans=virtio,version=9p2000.L,msize=512000,cache=mmap"),
    )
    .with_context(|| format!("cannot mount {}", run.out))?;
    let limit = rustix::process::Rlimit {
        current: Some(65_536),
        maximum: Some(1 << 20),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?;
    Ok(())
}

/// A started command and our ends of its streams.
struct Started {
    pid: Pid,
    stdin: Option<File>,
    stdout: File,
    stderr: Option<File>,
}

fn start(run: &Run) -> std::io::Result<Started> {
    let program = run
        .argv
        .first()
        .ok_or_else(|| std::io::Error::other("no command"))?;
    let mut command;
    let master = match run.terminal {
        Some(size) => {
            let (master, slave) = open_terminal(size)?;
            // setsid(1) execs in place and makes its standard input the controlling terminal.
            command = Command::new("setsid");
            command
                .arg("--ctty")
                .arg("--")
                .arg(program)
                .args(&run.argv[1..]);
            command
                .stdin(slave.try_clone()?)
                .stdout(slave.try_clone()?)
                .stderr(slave);
            Some(master)
        }
        None => {
            command = Command::new(program);
            command.args(&run.argv[1..]);
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            None
        }
    };
    command.env_clear();
    command.envs(run.env.iter().map(|(name, value)| (name, value)));
    command.current_dir(&run.cwd);
    let mut child = command.spawn()?;
    drop(command);
    let pid = Pid::from_child(&child);
    let file = |fd: OwnedFd| File::from(fd);
    Ok(match master {
        Some(master) => Started {
            pid,
            stdin: Some(File::from(master.try_clone()?)),
            stdout: File::from(master),
            stderr: None,
        },
        None => Started {
            pid,
            stdin: child.stdin.take().map(|s| file(s.into())),
            stdout: child
                .stdout
                .take()
                .map(|s| file(s.into()))
                .ok_or_else(|| std::io::Error::other("no pipe"))?,
            stderr: child.stderr.take().map(|s| file(s.into())),
        },
    })
}

fn open_terminal(size: (u16, u16)) -> std::io::Result<(OwnedFd, OwnedFd)> {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = rustix::fs::open(
        name,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::termios::tcsetwinsize(
        &slave,
        rustix::termios::Winsize {
            ws_row: size.0,
            ws_col: size.1,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )?;
    Ok((master, slave))
}

/// Sees the command through; its exit status.
fn conduct(started: Started, from: File, to: &Port) -> u8 {
    let Started {
        pid,
        stdin,
        stdout,
        stderr,
    } = started;
    std::thread::spawn(move || feed(from, stdin));
    let mut copiers = Vec::new();
    let mut copy = |mut stream: File, frame: fn(Vec<u8>) -> Frame| {
        let to = Arc::clone(to);
        copiers.push(std::thread::spawn(move || {
            let mut buffer = vec![0u8; 32 << 10];
            loop {
                match stream.read(&mut buffer) {
                    Ok(n) if n > 0 => send(&to, &frame(buffer[..n].to_vec())),
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    // A terminal whose users have gone answers EIO.
                    _ => return,
                }
            }
        }));
    };
    copy(stdout, Frame::Stdout);
    if let Some(stderr) = stderr {
        copy(stderr, Frame::Stderr);
    }
    let status = wait_for(pid);
    kill_all();
    for copier in copiers {
        let _ = copier.join();
    }
    status
}

/// Standard input for the command; the host's going is our end.
fn feed(mut from: File, mut stdin: Option<File>) {
    loop {
        match Frame::read(&mut from) {
            Ok(Some(Frame::Stdin(data))) => {
                if let Some(pipe) = &mut stdin {
                    if pipe.write_all(&data).is_err() {
                        stdin = None;
                    }
                }
            }
            Ok(Some(Frame::StdinEnd)) => stdin = None,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => power_off(),
        }
    }
}

/// Waits for `pid`, burying everything else that dies (orphans are ours).
fn wait_for(pid: Pid) -> u8 {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((dead, status))) if dead == pid => {
                return match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => code as u8,
                    (None, Some(signal)) => 128u8.wrapping_add(signal as u8),
                    (None, None) => super::LAB_FAILED,
                };
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return super::LAB_FAILED,
        }
    }
}

/// Ends all other processes, so that the output streams end, and buries them.
fn kill_all() {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|n| n.parse::<i32>().ok());
            if let Some(pid) = pid.filter(|pid| *pid > 1).and_then(Pid::from_raw) {
                // Kernel threads do not mind.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                // Some still die; look again.
                Ok(None) => break,
                // No children left.
                Err(_) => return,
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
