//! Boot loaders such as pygrub: programs that look for a kernel on the domain's own disk (xm-reference: "Bootloader
//! protocol").
//!
//! ```text
//!   BOOTLOADER [--kernel=K] [--ramdisk=R] [--args=A] --output=FIFO [BOOTARGS] DISK
//!        |  /var/run/xend/boot/xenbl.N
//!        v
//!   (linux (kernel PATH)(ramdisk PATH)(args "..")) --> the domain's kernel, ramdisk and whole command line
//!                 \--> extracted into temporary files, removed once the domain is built
//! ```
//! It runs each time that the domain starts, so a kernel which the guest has installed is the one that boots next.

use crate::atomic;
use crate::devices::hotplug;
use crate::node::{internal, Node};
use crate::{info, warning};
use noxen_xend_api::device::{Image, TapDriver};
use noxen_xend_api::{cmdline, DomainConfig, Fault};
use noxen_xm_config::{sxp, Limits};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{mkfifoat, Mode, OFlags, CWD};
use rustix::process::{kill_process_group, pidfd_open, Pid, PidfdFlags, Signal};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a boot loader may take: it may have to copy a kernel out of a large image on a busy host.
const TIME: Duration = Duration::from_secs(300);
/// Most that it may say, bytes.
const SAID: u64 = 64 << 10;
/// Below these, what a boot loader names is its own temporary file; a kernel elsewhere is somebody's.
const TEMPORARY: [&str; 4] = ["/var/run/", "/run/", "/tmp/", "/var/tmp/"];

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A configuration with what its boot loader said; the files go with the value.
#[derive(Debug)]
pub struct Booted {
    /// Kernel, ramdisk and command line are those to boot.
    pub config: DomainConfig,
    temporary: Vec<PathBuf>,
    /// Where it was told to extract files to.
    directory: Option<PathBuf>,
}

impl Drop for Booted {
    fn drop(&mut self) {
        for path in &self.temporary {
            if let Err(e) = std::fs::remove_file(path) {
                warning!("cannot remove {}: {e}", path.display());
            }
        }
        if let Some(directory) = &self.directory {
            if let Err(e) = std::fs::remove_dir_all(directory) {
                warning!("cannot remove {}: {e}", directory.display());
            }
        }
    }
}

/// Runs the boot loader of `config`, if it has one.
pub fn run(node: &Node, config: &DomainConfig) -> Result<Booted, Fault> {
    let mut booted = Booted {
        config: config.clone(),
        temporary: Vec::new(),
        directory: None,
    };
    if config.bootloader.is_empty() {
        return Ok(booted);
    }
    let program = Path::new(&config.bootloader);
    if !hotplug::is_executable(program) {
        return Err(Fault::generic(format!(
            "Bootloader isn't executable: {}",
            program.display()
        )));
    }
    let disk = disk_of(config)?;
    let directory = node.options.paths.boot_dir();
    atomic::make_directory(&directory, 0o700).map_err(internal)?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let fifo = directory.join(format!("xenbl.{}.{number}", std::process::id()));
    let files = directory.join(format!("files.{}.{number}", std::process::id()));
    atomic::make_directory(&files, 0o700).map_err(internal)?;
    booted.directory = Some(files.clone());
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).map_err(internal)?;
    let places = Places {
        fifo: &fifo,
        files: &files,
    };
    let said = ask(node, config, program, &disk, places);
    if let Err(e) = std::fs::remove_file(&fifo) {
        warning!("cannot remove {}: {e}", fifo.display());
    }
    judge(&said?, &mut booted)?;
    info!(
        "domain {}: {} chose {}",
        config.name,
        program.display(),
        booted.config.kernel
    );
    Ok(booted)
}

/// The disk that it is to look at: the first, which must be readable as it is.
fn disk_of(config: &DomainConfig) -> Result<String, Fault> {
    let Some(disk) = config.disk.iter().find(|disk| !disk.cdrom) else {
        return Err(Fault::generic(
            "Had a bootloader specified, but no disks are bootable",
        ));
    };
    let image = disk.image().map_err(|e| Fault::generic(e.to_string()))?;
    let path = match image {
        Image::Phy(path) | Image::File(path) => path,
        Image::Tap(TapDriver::Aio | TapDriver::Sync | TapDriver::Ram, path) => path,
        _ => {
            return Err(Fault::generic(format!(
                "Disk isn't accessible: a boot loader cannot read {}; use a raw image or name the kernel by kernel =",
                disk.uname
            )))
        }
    };
    match File::open(&path) {
        Ok(_) => Ok(path),
        Err(e) => Err(Fault::generic(format!(
            "Disk isn't accessible: {path}: {e}"
        ))),
    }
}

/// Where it is to write.
#[derive(Clone, Copy)]
struct Places<'a> {
    /// Its answer.
    fifo: &'a Path,
    /// What it extracts.
    files: &'a Path,
}

/// Everything that it says.
fn ask(
    node: &Node,
    config: &DomainConfig,
    program: &Path,
    disk: &str,
    places: Places<'_>,
) -> Result<String, Fault> {
    // Before there is a writer, so that neither waits for the other.
    let reader = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(places.fifo)
        .map_err(internal)?;
    let log_path = node.options.paths.bootloader_log();
    let log = File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(&log_path)
        .map_err(internal)?;
    let mut command = Command::new(program);
    command
        .args(arguments(config, program, disk, places)?)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(internal)?)
        .stderr(log)
        .process_group(0);
    let mut child = command.spawn().map_err(|e| {
        Fault::generic(format!(
            "Bootloader isn't executable: {}: {e}",
            program.display()
        ))
    })?;
    let heard = listen(&child, reader);
    if let (Err(_), Some(group)) = (&heard, Pid::from_raw(child.id() as i32)) {
        // It may have ended meanwhile; then there is nothing to kill.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait().map_err(internal)?;
    let log = log_path.display();
    let said = heard.map_err(|e| {
        Fault::generic(format!("Boot loader {}: {e}; see {log}", program.display()))
    })?;
    if said.trim().is_empty() {
        return Err(Fault::generic(format!(
            "Boot loader didn't return any data! ({} ended with {status}; see {log})",
            program.display()
        )));
    }
    Ok(said)
}

fn arguments(
    config: &DomainConfig,
    program: &Path,
    disk: &str,
    places: Places<'_>,
) -> Result<Vec<String>, Fault> {
    let line = cmdline::compose(config).map_err(|e| Fault::generic(e.to_string()))?;
    let mut arguments: Vec<String> = [
        ("kernel", config.kernel.as_str()),
        ("ramdisk", &config.ramdisk),
        ("args", &line),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| format!("--{name}={value}"))
    .collect();
    if program.file_name().is_some_and(|name| name == "pygrub") {
        // Of all boot loaders it alone is known to take these, and its own defaults have changed over time.
        arguments.push("--output-format=sxp".into());
        arguments.push(format!("--output-directory={}", places.files.display()));
    }
    arguments.push(format!("--output={}", places.fifo.display()));
    arguments.extend(config.bootargs.split_whitespace().map(str::to_owned));
    arguments.push(disk.to_owned());
    Ok(arguments)
}

/// Reads until the program has ended.
fn listen(child: &Child, mut fifo: File) -> io::Result<String> {
    let pid = Pid::from_raw(child.id() as i32).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + TIME;
    let mut said = Vec::new();
    loop {
        let ended = wait(&pidfd, &fifo, deadline)?;
        let room = SAID + 1 - said.len() as u64;
        match (&mut fifo).take(room).read_to_end(&mut said) {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
            _ => {}
        }
        if said.len() as u64 > SAID {
            return Err(io::Error::other(format!("it says more than {SAID} bytes")));
        }
        if ended {
            return Ok(String::from_utf8_lossy(&said).into_owned());
        }
    }
}

/// Waits for something to read. True once the program has ended.
fn wait(pidfd: &OwnedFd, fifo: &File, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::other(format!(
                "it did not end within {} s",
                TIME.as_secs()
            )));
        }
        let mut fds = [
            PollFd::new(pidfd, PollFlags::IN),
            PollFd::new(fifo, PollFlags::IN),
        ];
        // Without a writer a FIFO is always ready, which says nothing: look again now and then.
        let slice = Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        match poll(&mut fds[..1], Some(&slice)) {
            Ok(0) => {}
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(e.into()),
        }
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if matches!(poll(&mut fds[1..], Some(&now)), Ok(n) if n > 0) {
            return Ok(false);
        }
    }
}

/// What it said, made part of the configuration.
fn judge(said: &str, booted: &mut Booted) -> Result<(), Fault> {
    let program = booted.config.bootloader.clone();
    let bad = |why: String| Fault::generic(format!("Boot loader {program}: {why}"));
    // pygrub leaves the outer parentheses out; what xend read was a list either way.
    let mut all = sxp::parse_all(said, &Limits::default()).map_err(|e| bad(e.to_string()))?;
    let node = match (all.len(), all.pop()) {
        (1, Some(only)) => only,
        (_, last) => sxp::Node::List(all.into_iter().chain(last).collect()),
    };
    let own = booted.directory.clone();
    let files = ["kernel", "ramdisk"].map(|key| node.get(key).unwrap_or("").to_owned());
    for path in files.iter().filter(|path| !path.is_empty()).map(Path::new) {
        // What is in its own directory goes with that.
        let owned = own.as_ref().is_some_and(|own| path.starts_with(own));
        let temporary = !owned && TEMPORARY.iter().any(|t| path.starts_with(t));
        if temporary && !path.components().any(|part| part.as_os_str() == "..") {
            booted.temporary.push(path.to_owned());
        }
    }
    let [kernel, ramdisk] = files;
    if node.key() != Some("linux") || kernel.is_empty() {
        return Err(bad("it names no kernel".into()));
    }
    booted.config.kernel = kernel;
    booted.config.ramdisk = ramdisk;
    if let Some(args) = node.get("args") {
        // It was given the whole command line and gives it back with what it has added.
        booted.config.extra = args.to_owned();
        booted.config.root.clear();
        booted.config.ip.clear();
        booted.config.dhcp = "off".into();
        booted.config.nfs_root = None;
    }
    Ok(())
}

#[cfg(test)]
#[path = "bootloader_tests.rs"]
mod tests;
