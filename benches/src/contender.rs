//! Ways to start a guest: the same kernel, initramfs and memory for all of them.
//!
//! ```text
//!   noxen           toolctl create -c   (xend and xenstored already run, as on any host that has domains)
//!   noxen-vmm       the monitor program alone, without tools
//!   qemu-microvm    QEMU/KVM's smallest machine, Debian's bzImage
//!   qemu-microvm-pvh, qemu-q35-pvh    that and QEMU/KVM's usual machine, the ELF kernel through its PVH entry
//! ```

use anyhow::{Context, Result};
use noxen_control::client::Client;
use noxen_control::{Reply, Request};
use noxen_integration_tests::assets::{self, Flavour};
use noxen_integration_tests::console::{command, Console};
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longest that anything may take in a lab on a busy machine, virtual time.
pub const LIMIT: Duration = Duration::from_secs(300);

/// Counters of a noxen-vmm: group, kind, count.
pub type Counters = BTreeMap<String, BTreeMap<String, u64>>;

/// A guest to start.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Memory, MiB.
    pub memory: u32,
    /// vCPUs.
    pub vcpus: u32,
    /// Initramfs.
    pub initramfs: PathBuf,
    /// Kernel command line after the console's name.
    pub cmdline: String,
}

/// A way to start it.
pub trait Contender {
    /// Its name in tables.
    fn name(&self) -> &'static str;
    /// The command whose start is time zero, and whose terminal is the guest's console.
    fn command(&self) -> Result<Command>;
    /// The process that made the VM.
    fn monitor(&self, console: &Console) -> u32;
    /// What the monitor in the VM counted, where there is one.
    fn counters(&self) -> Result<Counters> {
        Ok(Counters::new())
    }
    /// Ends the guest.
    fn end(&self, console: Console) -> Result<()> {
        drop(console);
        Ok(())
    }
}

/// All of Noxen.
pub struct Noxen {
    node: Node,
    name: String,
    config: String,
}

impl Noxen {
    /// A node whose daemons run.
    pub fn new(guest: &Guest) -> Result<Noxen> {
        let node = Node::new()?;
        let mut domain = Domain::debian("bench", Flavour::Generic)?
            .memory(guest.memory)
            .vcpus(guest.vcpus);
        domain.ramdisk = Some(guest.initramfs.clone());
        domain.extra.push(' ');
        domain.extra.push_str(&guest.cmdline);
        let config = node.config(&domain)?;
        node.toolctl(&["list"]).ok();
        Ok(Noxen {
            node,
            name: domain.name,
            config,
        })
    }

    /// Builds a domain and ends it unstarted: its unpacked kernel stays in the cache.
    pub fn warm_up(&self) {
        self.node.toolctl(&["create", "-p", &self.config]).ok();
        self.node.toolctl(&["destroy", &self.name]).ok();
        self.node.wait_gone(&self.name, LIMIT);
    }
}

impl Contender for Noxen {
    fn name(&self) -> &'static str {
        "noxen"
    }
    fn command(&self) -> Result<Command> {
        self.node
            .command("toolctl", &["create", "-c", &self.config])
    }
    fn monitor(&self, _: &Console) -> u32 {
        self.node.only_vmm().pid
    }
    fn counters(&self) -> Result<Counters> {
        let socket = self.node.control_socket();
        ask_counters(&socket.context("the domain has no control socket")?)
    }
    fn end(&self, mut console: Console) -> Result<()> {
        self.node.toolctl(&["destroy", &self.name]).ok();
        self.node.wait_gone(&self.name, LIMIT);
        console.wait(LIMIT)?;
        Ok(())
    }
}

/// noxen-vmm by itself.
pub struct NoxenVmm {
    program: PathBuf,
    args: Vec<String>,
    socket: PathBuf,
}

impl NoxenVmm {
    /// Ready to be started.
    pub fn new(guest: &Guest) -> Result<NoxenVmm> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let socket = format!("noxen-bench-{}-{number}.sock", std::process::id());
        let socket = std::env::temp_dir().join(socket);
        let text = |path: PathBuf| path.display().to_string();
        let args = [
            "run".to_owned(),
            "--kernel".to_owned(),
            text(assets::vmlinux(Flavour::Generic)?),
            "--ramdisk".to_owned(),
            text(guest.initramfs.clone()),
            "--memory".to_owned(),
            guest.memory.to_string(),
            "--vcpus".to_owned(),
            guest.vcpus.to_string(),
            "--cmdline".to_owned(),
            format!("console=hvc0 {}", guest.cmdline),
            "--control".to_owned(),
            text(socket.clone()),
        ];
        Ok(NoxenVmm {
            program: noxen_integration_tests::layout::bin_dir().join("noxen-vmm"),
            args: args.into(),
            socket,
        })
    }
}

impl NoxenVmm {
    /// The same with further options.
    pub fn with(mut self, options: &[String]) -> NoxenVmm {
        self.args.extend_from_slice(options);
        self
    }
}

impl Contender for NoxenVmm {
    fn name(&self) -> &'static str {
        "noxen-vmm"
    }
    fn command(&self) -> Result<Command> {
        // Left over when the last guest was killed.
        let _ = std::fs::remove_file(&self.socket);
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        Ok(command)
    }
    fn monitor(&self, console: &Console) -> u32 {
        console.pid()
    }
    fn counters(&self) -> Result<Counters> {
        ask_counters(&self.socket)
    }
}

/// QEMU's smallest machine, with the serial port that is the console.
const MICROVM: &str = "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=on";

/// QEMU with KVM.
pub struct Qemu {
    name: &'static str,
    args: Vec<String>,
}

impl Qemu {
    /// microvm, which unpacks the bzImage in the guest.
    pub fn microvm(guest: &Guest) -> Result<Qemu> {
        let kernel = assets::vmlinuz(Flavour::Generic)?;
        Ok(Qemu::new("qemu-microvm", MICROVM, &kernel, guest))
    }

    /// q35, entered through PVH.
    pub fn q35(guest: &Guest) -> Result<Qemu> {
        let kernel = assets::vmlinux(Flavour::Generic)?;
        Ok(Qemu::new("qemu-q35-pvh", "q35", &kernel, guest))
    }

    /// microvm with the ELF kernel: nothing to unpack, and the fewest devices.
    pub fn microvm_pvh(guest: &Guest) -> Result<Qemu> {
        let kernel = assets::vmlinux(Flavour::Generic)?;
        Ok(Qemu::new("qemu-microvm-pvh", MICROVM, &kernel, guest))
    }

    fn new(name: &'static str, machine: &str, kernel: &Path, guest: &Guest) -> Qemu {
        let args = [
            "-enable-kvm",
            "-name",
            // Threads called by what they do, so that the vCPU's time can be told from the machine's.
            "guest,debug-threads=on",
            "-cpu",
            // QEMU's TCG does not tell the lab's KVM of a guest's XSETBV, so an HVM guest that uses XSAVE
            // loses it at its first exit and never gets to its init.
            "host,-xsave",
            "-M",
            machine,
            "-m",
            &guest.memory.to_string(),
            "-smp",
            &guest.vcpus.to_string(),
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-kernel",
            &kernel.display().to_string(),
            "-initrd",
            &guest.initramfs.display().to_string(),
            "-append",
            &format!("console=ttyS0 {}", guest.cmdline),
        ];
        Qemu {
            name,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        }
    }
}

impl Qemu {
    /// The same under another name with further options.
    pub fn with(mut self, name: &'static str, options: &[String]) -> Qemu {
        self.name = name;
        self.args.extend_from_slice(options);
        self
    }
}

impl Contender for Qemu {
    fn name(&self) -> &'static str {
        self.name
    }
    fn command(&self) -> Result<Command> {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        Ok(command("qemu-system-x86_64", &args))
    }
    fn monitor(&self, console: &Console) -> u32 {
        console.pid()
    }
}

fn ask_counters(socket: &Path) -> Result<Counters> {
    match Client::connect(socket, Some(LIMIT))?.ask(&Request::Counters)? {
        Reply::Counters { groups } => Ok(groups),
        other => anyhow::bail!("asked for counters, noxen-vmm answered {other:?}"),
    }
}
