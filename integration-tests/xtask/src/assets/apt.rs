//! Debian's package tools: what is installed, installing it, fetching packages without installing.

use anyhow::{bail, Context, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Everything the lab, the tests and the demo run or compile against.
const NEEDED: &[&str] = &[
    // the lab
    "qemu-system-x86",
    "qemu-system-data",
    "seabios",
    "util-linux",
    // programs and the C probe of the ABI tests
    "gcc",
    "binutils",
    "libc6-dev",
    "gcc-multilib",
    "libxen-dev",
    // the store's real clients
    "xenstore-utils",
    "libxenstore4",
    "python3",
    "curl",
    "ca-certificates",
    "openssl",
    "python3",
    "python3-pyxs",
    // what the unpacked clients of xm (assets/clients.rs) need of the system
    "perl",
    "libcurl3-gnutls",
    // packers that make kernel payloads for the tests
    "bzip2",
    "xz-utils",
    "zstd",
    "lzop",
    "lz4",
    "cpio",
    "busybox-static",
    "iproute2",
    // disks
    "nbd-server",
    "qemu-utils",
    "dmsetup",
    "e2fsprogs",
    "lvm2",
    // a whole Debian guest, and who gives it its address
    "mmdebstrap",
    "xen-tools",
    "dnsmasq-base",
    // CDs; network boot of a PC
    "xorriso",
    "ipxe-qemu",
    // hotplug scripts
    "nftables",
    // the web page, looked at
    "chromium-headless-shell",
    // completions and manual pages
    "zsh",
    "fish",
    "groff-base",
    // services: socket activation and units; init scripts
    "systemd",
    "shellcheck",
];

/// Which of the needed packages are not installed.
fn missing() -> Result<Vec<&'static str>> {
    let listing = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Abbrev}${Package}\n"])
        .stdin(Stdio::null())
        .output()
        .context("dpkg-query does not run: this needs Debian 12 or one derived from it")?;
    let text = String::from_utf8_lossy(&listing.stdout);
    let installed: std::collections::HashSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("ii "))
        .collect();
    Ok(NEEDED
        .iter()
        .copied()
        .filter(|name| !installed.contains(name))
        .collect())
}

/// Installs what is missing (as root), else fails with the line to run.
pub fn install_missing() -> Result<()> {
    let wanted = missing()?;
    if wanted.is_empty() {
        return Ok(());
    }
    let line = format!(
        "apt-get install -y --no-install-recommends {}",
        wanted.join(" ")
    );
    if !rustix::process::geteuid().is_root() {
        bail!("packages are missing; run as root: apt-get update && {line}");
    }
    eprintln!("xtask: {line}");
    if apt_install(&wanted).is_err() {
        // Fresh machines and containers come without package lists; stale lists name files that are gone.
        update()?;
        apt_install(&wanted)?;
    }
    Ok(())
}

fn apt_install(packages: &[&str]) -> Result<()> {
    run(Command::new("apt-get")
        .args(["install", "-y", "-q", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::io::stderr()))
}

fn update() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the package lists are missing or stale; run as root: apt-get update");
    }
    eprintln!("xtask: apt-get update");
    run(Command::new("apt-get")
        .args(["update", "-q"])
        .stdout(std::io::stderr()))
}

/// The package that a meta-package stands for at present (its first dependency named `prefix*`).
pub fn resolve(meta: &str, prefix: &str) -> Result<String> {
    let ask = || -> Result<Option<String>> {
        let out = Command::new("apt-cache")
            .args(["depends", meta])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .context("apt-cache does not run")?;
        let text = String::from_utf8_lossy(&out.stdout);
        let found = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with(prefix))
            .map(str::to_owned);
        Ok(found)
    };
    if let Some(name) = ask()? {
        return Ok(name);
    }
    update()?;
    ask()?.with_context(|| {
        format!("apt knows no package {prefix}* behind {meta}: Debian 12's main and security archives are needed")
    })
}

/// Downloads `package` and unpacks it below `scratch`; the directory holds its file tree.
pub fn fetch(package: &str, scratch: &Path) -> Result<PathBuf> {
    let options = ["-o", "APT::Sandbox::User=root"];
    if fetch_with(package, scratch, &options).is_err() {
        update()?;
        fetch_with(package, scratch, &options)?;
    }
    unpack(package, scratch)
}

/// The same from another architecture's archive, by package lists of its own (the machine's stay as they are).
pub fn fetch_foreign(package: &str, architecture: &str, scratch: &Path) -> Result<PathBuf> {
    let mut options = private_lists(scratch, None)?;
    options.extend(
        [
            format!("APT::Architecture={architecture}"),
            format!("APT::Architectures={architecture}"),
        ]
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option]),
    );
    let borrowed: Vec<&str> = options.iter().map(String::as_str).collect();
    // A source without that architecture makes apt-get complain; the download decides.
    let listed = Command::new("apt-get")
        .args(["update", "-q"])
        .args(&borrowed)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    listed.context("apt-get does not run")?;
    fetch_with(package, scratch, &borrowed)?;
    unpack(package, scratch)
}

/// Options that give apt-get lists and a cache of its own below `dir`, and sources from `list` alone if there is one.
pub fn private_lists(dir: &Path, list: Option<&Path>) -> Result<Vec<String>> {
    let state = dir.join("apt-state");
    let cache = dir.join("apt-cache");
    std::fs::create_dir_all(state.join("lists/partial"))?;
    std::fs::create_dir_all(cache.join("archives/partial"))?;
    std::fs::write(state.join("status"), "")?;
    let mut options = vec![
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
        format!("Dir::State={}", state.display()),
        format!("Dir::State::status={}", state.join("status").display()),
        format!("Dir::Cache={}", cache.display()),
    ];
    if let Some(list) = list {
        options.push(format!("Dir::Etc::SourceList={}", list.display()));
        options.push("Dir::Etc::SourceParts=/dev/null".to_owned());
    }
    Ok(options
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect())
}

fn fetch_with(package: &str, scratch: &Path, options: &[&str]) -> Result<()> {
    let dir = scratch.join("deb").join(package);
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    let out = Command::new("apt-get")
        .args(["download", "-q"])
        .args(options)
        .arg(package)
        .current_dir(&dir)
        .stdin(Stdio::null())
        .output()
        .context("apt-get does not run")?;
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr);
        bail!(
            "apt-get download {package}: {}",
            text.lines().last().unwrap_or("failed").trim()
        );
    }
    Ok(())
}

fn unpack(package: &str, scratch: &Path) -> Result<PathBuf> {
    let dir = scratch.join("deb").join(package);
    let archive = std::fs::read_dir(&dir)?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .find(|path| path.extension().is_some_and(|ext| ext == "deb"))
        .with_context(|| format!("apt-get download {package} left no .deb"))?;
    let tree = scratch.join("tree").join(package);
    std::fs::create_dir_all(&tree)?;
    run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&tree))?;
    std::fs::remove_file(&archive)?;
    Ok(tree)
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{} does not run", command.get_program().to_string_lossy()))?;
    if !status.success() {
        bail!("{} ended with {status}", describe(command));
    }
    Ok(())
}

fn describe(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
