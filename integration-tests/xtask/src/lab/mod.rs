//! `cargo xtask lab`: a command on a Debian host with real kvm.
//!
//! ```text
//!   CPUID: VT-x or AMD-V?  and does /dev/kvm open? ── yes ── direct: the command, here
//!          │ no
//!          └── QEMU TCG, -cpu max ── Debian's kernel, kvm-amd ── root over 9p under an overlay ── agent ── the command
//! ```
//! CPUID decides, not the presence of /dev/kvm: a software KVM offers the device and cannot run
//! ring-0 code. Nothing that the command does reaches the host's files, save in `$NOXEN_LAB_OUT`.

mod agent;
mod direct;
mod frames;
mod initramfs;
mod nudge;
mod qemu;
mod session;
mod terminal;

use crate::assets;
use crate::options::{Arg, Args};
use anyhow::{bail, Result};
use noxen_integration_tests::layout;
use std::path::PathBuf;
use std::time::Duration;

pub use agent::agent_main;

/// The exit status when the time limit struck (as timeout(1)).
pub const TIMED_OUT: u8 = 124;
/// The exit status when the lab itself failed.
pub const LAB_FAILED: u8 = 125;

/// Two nanoseconds an instruction, of all figures that do not say otherwise.
const ICOUNT_SHIFT: u32 = 1;

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Virtual CPUs of the host that the command sees.
    pub vcpus: u32,
    /// Its memory in MiB.
    pub mem_mib: u32,
    /// Time limit in real time, start to end.
    pub timeout: Duration,
    /// Deterministic virtual time, one vCPU.
    pub icount: bool,
    /// Its pace: an instruction takes two to the power of this nanoseconds.
    pub icount_shift: u32,
    /// Say how long things took.
    pub verbose: bool,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment on top of ours.
    pub env: Vec<(String, String)>,
    /// Where to copy the files that the command left in its out directory.
    pub keep_out: Option<PathBuf>,
}

impl Spec {
    /// A run of `argv` with the defaults: 2 vCPUs, 4 GiB, 15 minutes.
    pub fn new(argv: Vec<String>) -> Spec {
        Spec {
            vcpus: 2,
            mem_mib: 4096,
            timeout: Duration::from_secs(900),
            icount: false,
            icount_shift: ICOUNT_SHIFT,
            verbose: false,
            argv,
            env: Vec::new(),
            keep_out: None,
        }
    }
}

/// Directories of one run, under `target/lab/<run>`.
#[derive(Debug)]
pub struct RunDir {
    /// The directory.
    pub path: PathBuf,
}

impl RunDir {
    /// A fresh one; old ones beyond the last twenty go.
    fn create() -> Result<RunDir> {
        let base = layout::repo_root().join("target/lab");
        std::fs::create_dir_all(&base)?;
        let seconds = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let path = base.join(format!("{seconds}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("out"))?;
        let mut runs: Vec<PathBuf> = std::fs::read_dir(&base)?
            .filter_map(|entry| entry.ok().map(|e| e.path()))
            .collect();
        runs.sort();
        // A run of another session may be going on in any of the newest ones.
        for old in runs.iter().rev().skip(40) {
            let _ = std::fs::remove_dir_all(old);
        }
        Ok(RunDir { path })
    }

    /// What the command writes here stays.
    pub fn out(&self) -> PathBuf {
        self.path.join("out")
    }

    /// The lab kernel's console.
    pub fn console_log(&self) -> PathBuf {
        self.path.join("console.log")
    }

    /// Socket of QEMU's port for debuggers.
    pub fn debugger(&self) -> PathBuf {
        self.path.join("debugger")
    }

    /// Removes the directory when there is nothing in it worth keeping.
    fn tidy(&self) {
        let empty = std::fs::read_dir(self.out()).is_ok_and(|mut entries| entries.next().is_none());
        if empty {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn parse(args: &[String]) -> Result<Spec> {
    let mut spec = Spec::new(Vec::new());
    let mut reader = Args::new(args);
    let mut vcpus = None;
    let mut argv = Vec::new();
    while let Some(arg) = reader.next()? {
        match arg {
            Arg::Switch(name) => {
                match name.as_str() {
                    "--vcpus" => vcpus = Some(reader.number(&name, 1..=64)? as u32),
                    "--mem" => spec.mem_mib = reader.number(&name, 256..=1 << 20)? as u32,
                    "--timeout" => {
                        spec.timeout = Duration::from_secs(reader.number(&name, 1..=86_400)?)
                    }
                    "--icount" => spec.icount = true,
                    "--icount-shift" => {
                        spec.icount = true;
                        spec.icount_shift = reader.number(&name, 0..=10)? as u32;
                    }
                    "--verbose" => spec.verbose = true,
                    "--hosts" => {
                        let hosts = reader.number(&name, 1..=2)?;
                        if hosts != 1 {
                            bail!("--hosts {hosts}: a pair of joined lab hosts is not there yet; use one");
                        }
                    }
                    other => bail!("lab knows no {other}; see cargo xtask help"),
                }
            }
            Arg::Word(word) => {
                argv.push(word);
                break;
            }
        }
    }
    argv.extend_from_slice(reader.after());
    if argv.first().is_some_and(|first| first == "--") {
        argv.remove(0);
    }
    if argv.is_empty() {
        bail!("no command given: cargo xtask lab [switches] -- CMD...");
    }
    spec.argv = argv;
    match (spec.icount, vcpus) {
        (true, None | Some(1)) => spec.vcpus = 1,
        (true, Some(n)) => bail!("--icount runs one vCPU, --vcpus {n} asks for more"),
        (false, n) => spec.vcpus = n.unwrap_or(spec.vcpus),
    }
    Ok(spec)
}

/// `cargo xtask lab ...`
pub fn run_command(args: &[String]) -> Result<u8> {
    run(&parse(args)?)
}

/// Runs `spec`; its exit status, [`TIMED_OUT`] or [`LAB_FAILED`].
pub fn run(spec: &Spec) -> Result<u8> {
    let run_dir = RunDir::create()?;
    let status = on(spec, &run_dir);
    if let Some(dir) = &spec.keep_out {
        for entry in std::fs::read_dir(run_dir.out())? {
            let path = entry?.path();
            if let (true, Some(name)) = (path.is_file(), path.file_name()) {
                std::fs::copy(&path, dir.join(name))?;
                std::fs::remove_file(&path)?;
            }
        }
    }
    if status.as_ref().is_ok_and(|status| *status == 0) {
        run_dir.tidy();
    }
    status
}

/// Runs `spec` where it can be run.
fn on(spec: &Spec, run_dir: &RunDir) -> Result<u8> {
    match host_kvm() {
        // Virtual time is QEMU's to give.
        _ if spec.icount => in_qemu(spec, run_dir, "deterministic time was asked for"),
        Ok(kind) => {
            eprintln!("lab: on this host, whose CPU has {kind} and whose /dev/kvm opens");
            direct::run(spec, run_dir)
        }
        Err(why) => in_qemu(spec, run_dir, &why),
    }
}

fn in_qemu(spec: &Spec, run_dir: &RunDir, why: &str) -> Result<u8> {
    assets::ensure_lab()?;
    eprintln!(
        "lab: QEMU TCG, {} vCPU{}, {} MiB, because {why}",
        spec.vcpus,
        if spec.vcpus == 1 { "" } else { "s" },
        spec.mem_mib
    );
    session::run(spec, run_dir)
}

/// Whether this machine itself can run the command; the error says why not.
fn host_kvm() -> Result<&'static str, String> {
    let kind = hardware_virtualisation()
        .ok_or_else(|| "this CPU shows neither VT-x nor AMD-V (CPUID)".to_owned())?;
    match std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
    {
        Ok(_) => Ok(kind),
        Err(error) => Err(format!(
            "the CPU has {kind}, but /dev/kvm does not open: {error}"
        )),
    }
}

/// VT-x (CPUID leaf 1, ECX bit 5) or AMD-V (leaf 0x8000_0001, ECX bit 2).
#[cfg(target_arch = "x86_64")]
fn hardware_virtualisation() -> Option<&'static str> {
    use std::arch::x86_64::__cpuid;
    if __cpuid(1).ecx & (1 << 5) != 0 {
        return Some("VT-x");
    }
    if __cpuid(0x8000_0000).eax >= 0x8000_0001 && __cpuid(0x8000_0001).ecx & (1 << 2) != 0 {
        return Some("AMD-V");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn switches_and_command_are_told_apart() {
        let spec = parse(&words(
            "--vcpus 4 --mem 1024 --timeout 7 -- sh -c exit --vcpus",
        ))
        .unwrap();
        assert_eq!(
            (spec.vcpus, spec.mem_mib, spec.timeout.as_secs()),
            (4, 1024, 7)
        );
        assert_eq!(spec.argv, words("sh -c exit --vcpus"));
    }

    #[test]
    fn pace_of_virtual_time_implies_it() {
        let spec = parse(&words("--icount -- ls")).unwrap();
        assert_eq!((spec.icount, spec.icount_shift), (true, 1));
        let spec = parse(&words("--icount-shift=0 -- ls")).unwrap();
        assert_eq!((spec.icount, spec.icount_shift, spec.vcpus), (true, 0, 1));
        assert!(parse(&words("--icount-shift=11 -- ls")).is_err());
    }

    #[test]
    fn icount_with_two_vcpus_is_refused() {
        assert!(parse(&words("--icount --vcpus 2 -- ls")).is_err());
        assert_eq!(parse(&words("--icount -- ls")).unwrap().vcpus, 1);
    }

    #[test]
    fn two_hosts_are_refused_clearly() {
        let error = parse(&words("--hosts 2 -- ls")).unwrap_err().to_string();
        assert!(error.contains("not there yet"), "{error}");
    }

    #[test]
    fn no_command_is_refused() {
        assert!(parse(&words("--vcpus 2 --")).is_err());
        assert!(parse(&[]).is_err());
    }

    /// Whether a process holds `word` in its command line.
    fn is_running(word: &str) -> bool {
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(word))
        })
    }

    #[test]
    fn lab_over_its_time_limit_ends_with_124_and_leaves_no_process() {
        // A number that no other process has in its command line; the host's part of the lab has the run's directory.
        let seconds = format!("31{}", std::process::id());
        let mut spec = Spec::new(vec!["sleep".to_owned(), seconds.clone()]);
        (spec.timeout, spec.mem_mib) = (Duration::from_secs(2), 512);
        let run_dir = RunDir::create().unwrap();
        let status = on(&spec, &run_dir).unwrap();
        assert_eq!(status, TIMED_OUT);
        assert!(!is_running(&seconds));
        assert!(!is_running(&run_dir.path.display().to_string()));
        std::fs::remove_dir_all(&run_dir.path).unwrap();
    }
}
