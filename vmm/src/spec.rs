//! `noxen-vmm --spec-fd N`: a domain as xend asks for it.
//!
//! ```text
//!   fd N --DomainSpec--> descriptors taken over --> pv::build, or restore --> "ready" on ready_fd --> service
//!                                                     \--error--> "error: TEXT" on ready_fd, status 1
//! ```

use crate::control::server::Server;
use crate::devices::Door;
use crate::domain::pv::{self, Config, Domain, Files, STORE_PORT};
use crate::hvm::linux::Linux;
use crate::hvm::{self, service::HvmService};
use crate::log::{Level, Log};
use crate::run::kvm_from;
use crate::save::restore::{self, restore, Origin};
use crate::save::upgrade::{self, Coming, Goods, Handed, Ring};
use crate::service::{ConsoleEnd, Service, Until};
use crate::store::Connection;
use anyhow::{bail, Context, Result};
use kvm_ioctls::Kvm;
use noxen_control::kvm::{self, HostCpu};
use noxen_control::spec::{Hvm, Kind, Pvh, SPEC_VERSION};
use noxen_control::DomainSpec;
use noxen_devices::pv::pty::Pty;
use noxen_saved_image::Saved;
use rustix::fs::fcntl_getfl;
use rustix::io::{fcntl_setfd, FdFlags};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::AtomicBool;
use std::sync::Arc;

/// Longest spec, bytes.
const MAX_SPEC: u64 = 1 << 20;

/// The descriptors of a spec, each taken once.
#[derive(Debug, Default)]
struct Descriptors {
    taken: BTreeSet<RawFd>,
}

impl Descriptors {
    /// Takes over the inherited descriptor `fd`, called `name` in the spec.
    #[allow(unsafe_code)]
    fn take(&mut self, name: &str, fd: RawFd) -> Result<OwnedFd> {
        if fd <= 2 || !self.taken.insert(fd) {
            bail!("{name} = {fd}: each descriptor of the spec must be above 2 and be named once");
        }
        // SAFETY: borrowed only to ask the kernel whether it is open; a closed number gives EBADF.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        fcntl_setfd(borrowed, FdFlags::CLOEXEC)
            .and_then(|()| fcntl_getfl(borrowed))
            .with_context(|| format!("{name} = {fd} is not an open descriptor"))?;
        // SAFETY: it is open (checked above), was inherited for this use, and is taken only once; this
        // process opened nothing of its own under a number that it was told is inherited.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn take_if(&mut self, name: &str, fd: Option<RawFd>) -> Result<Option<OwnedFd>> {
        fd.map(|fd| self.take(name, fd)).transpose()
    }
}

/// Reads the spec from `fd` and serves the domain until it is destroyed.
pub fn serve(fd: RawFd) -> Result<()> {
    let mut descriptors = Descriptors::default();
    let mut text = String::new();
    File::from(descriptors.take("--spec-fd", fd)?)
        .take(MAX_SPEC)
        .read_to_string(&mut text)
        .context("cannot read the spec")?;
    let spec: DomainSpec = serde_json::from_str(&text).context("the spec is not valid")?;
    let mut ready = File::from(descriptors.take("ready_fd", spec.ready_fd)?);
    let service = prepare(&spec, &mut descriptors);
    let service = match service {
        Ok(service) => service,
        Err(error) => {
            let _ = writeln!(ready, "error: {}", crate::one_line(&error));
            return Err(error);
        }
    };
    writeln!(ready, "ready").context("cannot tell that the domain is ready")?;
    drop(ready);
    match service {
        Served::Pv(mut service) => service.run(Until::Destroyed)?,
        Served::Hvm(mut service) => service.run(Until::Destroyed)?,
    };
    Ok(())
}

/// A domain with its back ends, of either kind.
enum Served {
    Pv(Box<Service>),
    Hvm(Box<HvmService>),
}

fn prepare(spec: &DomainSpec, descriptors: &mut Descriptors) -> Result<Served> {
    if spec.version != SPEC_VERSION {
        bail!(
            "the spec has version {}, this noxen-vmm knows {SPEC_VERSION}: use xend and noxen-vmm of one build",
            spec.version
        );
    }
    let log = descriptors.take_if("log_fd", spec.log_fd)?;
    let log = Log::new(log.map(File::from), spec.domid, &spec.name);
    let control = UnixListener::from(descriptors.take("control_fd", spec.control_fd)?);
    let store = descriptors
        .take_if("store_fd", spec.store_fd)?
        .map(|fd| Connection {
            stream: UnixStream::from(fd),
            domid: spec.domid,
            door: Some(noxen_xenstore::locations::domains_socket()),
        });
    let node = File::from(descriptors.take("kvm_fd", spec.kvm_fd)?);
    kvm::check(&node, HostCpu::read())?;
    let kvm = kvm_from(node);
    let ram = descriptors.take_if("ram_fd", spec.ram_fd)?.map(File::from);
    let console = || Pty::open().context("cannot open a pseudo-terminal for the console");
    let control = Server::new(control).context("control_fd")?;
    let link = descriptors.take_if("handover_fd", spec.handover_fd)?;
    if let (Kind::Hvm(hvm), Some(link)) = (&spec.kind, link.as_ref()) {
        let link = UnixStream::from(link.try_clone().context("handover_fd")?);
        let service = take_over_hvm(spec, hvm, descriptors, &kvm, link, log, control)?;
        return Ok(Served::Hvm(Box::new(service)));
    }
    if let Kind::Hvm(hvm) = &spec.kind {
        let domain = build_hvm(spec, hvm, descriptors, &kvm, ram, None, log)?;
        let end = ConsoleEnd::Pty(console()?);
        let door = Door::Socket(noxen_xenstore::locations::socket());
        let service = HvmService::new(domain, end, store, door, Some(control))?;
        return Ok(Served::Hvm(Box::new(service)));
    }
    if let Kind::Pvh(pvh) = &spec.kind {
        let domain = build_pvh(spec, pvh, descriptors, &kvm, ram, log)?;
        let end = ConsoleEnd::Pty(console()?);
        let door = Door::Socket(noxen_xenstore::locations::socket());
        let service = HvmService::new(domain, end, store, door, Some(control))?;
        return Ok(Served::Hvm(Box::new(service)));
    }
    if let Some(link) = link {
        config(spec)?;
        let link = UnixStream::from(link);
        return Ok(Served::Pv(Box::new(take_over(
            spec, &kvm, link, log, control,
        )?)));
    }
    let (domain, state) = match origin(spec, descriptors, &log)? {
        Some(origin) => {
            config(spec)?;
            log.line(Level::Info, "restoring");
            let (domain, state) = restore(&kvm, origin, ram, spec.domid, log)?;
            (domain, Some(state))
        }
        None => (build(spec, descriptors, &kvm, ram, log)?, None),
    };
    let mut service = Service::new(
        domain,
        ConsoleEnd::Pty(console()?),
        store,
        Door::Socket(noxen_xenstore::locations::socket()),
        Some(control),
    )?;
    if let Some(state) = &state {
        service.take_up(state);
    }
    Ok(Served::Pv(Box::new(service)))
}

/// The domain that another noxen-vmm hands over by `link`. It is that one's still.
fn take_over(
    spec: &DomainSpec,
    kvm: &Kvm,
    link: UnixStream,
    log: Log,
    control: Server,
) -> Result<Service> {
    let watched = log.another(spec.domid, &spec.name)?;
    let Handed { state, goods, .. } = upgrade::receive(&link)?;
    let Saved::Pv(state) = state else {
        bail!("an HVM domain was handed over where a PV one was to come");
    };
    let taken = Arc::new(AtomicBool::new(false));
    upgrade::watch(link, taken.clone(), watched)?;
    let Some(console) = goods.console else {
        bail!("the domain was handed over without its console");
    };
    let console = Pty::of(console).context("the console's pseudo-terminal")?;
    let domain = restore::take_over(kvm, &state, goods.memory, spec.domid, log)?;
    let ring = Ring {
        page: domain.store_page,
        port: STORE_PORT,
        links: domain.links.clone(),
    };
    let mut service = Service::new(
        domain,
        ConsoleEnd::Pty(console),
        None,
        Door::Socket(noxen_xenstore::locations::socket()),
        Some(control),
    )?;
    let coming = Coming::new(*state, goods.devices, service.devices(), ring, taken)?;
    service.comes(coming);
    Ok(service)
}

/// The same of an HVM domain.
fn take_over_hvm(
    spec: &DomainSpec,
    hvm: &Hvm,
    descriptors: &mut Descriptors,
    kvm: &Kvm,
    link: UnixStream,
    log: Log,
    control: Server,
) -> Result<HvmService> {
    let watched = log.another(spec.domid, &spec.name)?;
    let Handed {
        state,
        image,
        mut goods,
    } = upgrade::receive(&link)?;
    let Saved::Hvm(_) = state else {
        bail!("a PV domain was handed over where an HVM one was to come");
    };
    let taken = Arc::new(AtomicBool::new(false));
    upgrade::watch(link, taken.clone(), watched)?;
    let Some(console) = goods.console.take() else {
        bail!("the domain was handed over without its console");
    };
    let console = Pty::of(console).context("the console's pseudo-terminal")?;
    let devices = std::mem::take(&mut goods.devices);
    let came = Came { image, goods };
    let domain = build_hvm(spec, hvm, descriptors, kvm, None, Some(came), log)?;
    let end = ConsoleEnd::Pty(console);
    let door = Door::Socket(noxen_xenstore::locations::socket());
    let mut service = HvmService::new(domain, end, None, door, Some(control))?;
    let comes = service.machine().comes(devices, taken);
    comes.map_err(anyhow::Error::msg)?;
    Ok(service)
}

/// A PC that another process hands over.
struct Came {
    /// Its state, and the memory of its display.
    image: File,
    /// Its memory, and where its viewers connect.
    goods: Goods,
}

/// Where the domain comes from, if it is not built anew.
fn origin(spec: &DomainSpec, descriptors: &mut Descriptors, log: &Log) -> Result<Option<Origin>> {
    let Some(image) = descriptors.take_if("restore_fd", spec.restore_fd)? else {
        return Ok(None);
    };
    let stream = descriptors.take_if("stream_fd", spec.stream_fd)?;
    let pages = match descriptors.take_if("pages_fd", spec.pages_fd)? {
        Some(pages) => Some((File::from(pages), log.another(spec.domid, &spec.name)?)),
        None => None,
    };
    let lazy = match spec.lazy {
        true => Some(log.another(spec.domid, &spec.name)?),
        false => None,
    };
    Ok(Some(Origin {
        image: File::from(image),
        stream: stream.map(File::from),
        pages,
        lazy,
    }))
}

fn build_hvm(
    spec: &DomainSpec,
    hvm: &Hvm,
    descriptors: &mut Descriptors,
    kvm: &Kvm,
    ram: Option<File>,
    came: Option<Came>,
    log: Log,
) -> Result<hvm::build::Domain> {
    let checked = config(spec)?;
    let config = hvm::build::Config {
        domid: checked.domid,
        name: spec.name.clone(),
        uuid: checked.uuid,
        memory_mib: checked.memory_mib,
        vcpus: checked.vcpus,
        hvm: hvm.clone(),
    };
    let (origin, handed, viewers) = match came {
        Some(Came { image, goods }) => {
            let origin = Origin {
                image,
                stream: None,
                pages: None,
                lazy: None,
            };
            (Some(origin), Some(goods.memory), Some(goods.viewers))
        }
        None => (origin(spec, descriptors, &log)?, None, None),
    };
    let files = hvm::build::Files {
        kvm,
        ram,
        origin,
        handed,
        bios: File::from(descriptors.take("bios_fd", hvm.bios_fd)?),
        loader: match &hvm.loader {
            Some(loader) => Some(File::from(descriptors.take("loader.fd", loader.fd)?)),
            None => None,
        },
        display_bios: match &hvm.display {
            Some(display) => Some(File::from(
                descriptors.take("display.bios_fd", display.bios_fd)?,
            )),
            None => None,
        },
        vnc: match (
            viewers,
            hvm.display
                .as_ref()
                .and_then(|display| display.vnc.as_ref()),
        ) {
            (Some(viewers), _) => viewers.map(Into::into),
            (None, Some(vnc)) => Some(descriptors.take("vnc.socket_fd", vnc.socket_fd)?.into()),
            (None, None) => None,
        },
        sound: descriptors
            .take_if(
                "sound.file_fd",
                hvm.sound.as_ref().and_then(|sound| sound.file_fd),
            )?
            .map(File::from),
        linux: match descriptors.take_if("kernel_fd", spec.kernel_fd)? {
            Some(kernel) => Some(Linux {
                kernel: File::from(kernel),
                path: spec.kernel_path.clone(),
                ramdisk: descriptors
                    .take_if("ramdisk_fd", spec.ramdisk_fd)?
                    .map(File::from),
                cmdline: spec.cmdline.clone(),
            }),
            None => None,
        },
    };
    log.line(
        Level::Info,
        format_args!(
            "building: HVM, {} MiB, {} vcpus, firmware {}",
            spec.memory_mib, spec.vcpus, hvm.bios_path
        ),
    );
    Ok(hvm::build::build(&config, files, log)?)
}

fn build_pvh(
    spec: &DomainSpec,
    pvh: &Pvh,
    descriptors: &mut Descriptors,
    kvm: &Kvm,
    ram: Option<File>,
    log: Log,
) -> Result<hvm::build::Domain> {
    if spec.restore_fd.is_some() || spec.handover_fd.is_some() {
        bail!("restoring a PVH domain is not built yet");
    }
    let checked = config(spec)?;
    let config = hvm::pvh::Config {
        domid: checked.domid,
        name: spec.name.clone(),
        uuid: checked.uuid,
        memory_mib: checked.memory_mib,
        vcpus: checked.vcpus,
        kernel_path: checked.kernel_path,
        cmdline: checked.cmdline,
        pvh: pvh.clone(),
    };
    let Some(kernel) = descriptors.take_if("kernel_fd", spec.kernel_fd)? else {
        bail!("the spec names no kernel");
    };
    let files = hvm::pvh::Files {
        kvm,
        ram,
        kernel: File::from(kernel),
        unpacked: descriptors
            .take_if("unpacked_fd", spec.unpacked_fd)?
            .map(File::from),
        ramdisk: descriptors
            .take_if("ramdisk_fd", spec.ramdisk_fd)?
            .map(File::from),
    };
    log.line(
        Level::Info,
        format_args!(
            "building: PVH, {} MiB, {} vcpus, kernel {}",
            spec.memory_mib, spec.vcpus, spec.kernel_path
        ),
    );
    Ok(hvm::pvh::build(&config, files, log)?)
}

fn build(
    spec: &DomainSpec,
    descriptors: &mut Descriptors,
    kvm: &Kvm,
    ram: Option<File>,
    log: Log,
) -> Result<Domain> {
    let Some(monitor) = crate::monitor_image() else {
        bail!("this build of noxen-vmm has no monitor image");
    };
    let Some(kernel) = descriptors.take_if("kernel_fd", spec.kernel_fd)? else {
        bail!("the spec names neither a kernel nor an image");
    };
    let files = Files {
        kvm,
        kernel: File::from(kernel),
        unpacked: descriptors
            .take_if("unpacked_fd", spec.unpacked_fd)?
            .map(File::from),
        ramdisk: descriptors
            .take_if("ramdisk_fd", spec.ramdisk_fd)?
            .map(File::from),
        ram,
        monitor,
    };
    log.line(
        Level::Info,
        format_args!(
            "building: {} MiB, {} vcpus, kernel {}",
            spec.memory_mib, spec.vcpus, spec.kernel_path
        ),
    );
    Ok(pv::build(&config(spec)?, files, log, None)?)
}

fn config(spec: &DomainSpec) -> Result<Config> {
    if spec.memory_mib == 0 || spec.maxmem_mib < spec.memory_mib {
        bail!(
            "memory = {} MiB with maxmem = {} MiB: give at least 1, and maxmem at least memory",
            spec.memory_mib,
            spec.maxmem_mib
        );
    }
    if spec.domid == 0 || spec.domid >= 0x7ff0 {
        bail!("domain id {} is not in 1 .. 0x7fef", spec.domid);
    }
    Ok(Config {
        domid: spec.domid,
        uuid: parse_uuid(&spec.uuid)
            .with_context(|| format!("uuid {:?} is not 8-4-4-4-12 hex digits", spec.uuid))?,
        memory_mib: spec.memory_mib,
        maxmem_mib: spec.maxmem_mib,
        vcpus: spec.vcpus,
        kernel_path: spec.kernel_path.clone(),
        cmdline: spec.cmdline.clone(),
        tune: spec.tune_kernel,
    })
}

/// "8-4-4-4-12" hex digits to bytes.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    if lengths != [8, 4, 4, 4, 12] {
        return None;
    }
    let digits = groups.concat().into_bytes();
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> DomainSpec {
        DomainSpec {
            version: SPEC_VERSION,
            domid: 1,
            kind: Kind::Pv,
            name: "d".into(),
            uuid: "00112233-4455-6677-8899-aabbccddeeff".into(),
            memory_mib: 64,
            maxmem_mib: 64,
            vcpus: 1,
            kernel_path: "k".into(),
            kernel_fd: Some(900),
            restore_fd: None,
            lazy: false,
            stream_fd: None,
            handover_fd: None,
            pages_fd: None,
            unpacked_fd: None,
            ramdisk_fd: None,
            cmdline: String::new(),
            tune_kernel: true,
            kvm_fd: 901,
            ram_fd: None,
            control_fd: 902,
            store_fd: None,
            log_fd: None,
            ready_fd: 903,
        }
    }

    #[test]
    fn uuid_is_read_digit_by_digit_or_refused() {
        let uuid = config(&spec()).unwrap().uuid;
        assert_eq!((uuid[0], uuid[1], uuid[15]), (0, 0x11, 0xff));
        for text in [
            "",
            "00112233445566778899aabbccddeeff",
            "0011223g-4455-6677-8899-aabbccddeeff",
        ] {
            assert_eq!(parse_uuid(text), None, "{text}");
        }
    }

    #[test]
    fn config_refuses_what_no_domain_can_have() {
        for spec in [
            DomainSpec {
                memory_mib: 0,
                ..spec()
            },
            DomainSpec {
                maxmem_mib: 63,
                ..spec()
            },
            DomainSpec { domid: 0, ..spec() },
            DomainSpec {
                domid: 0x7ff0,
                ..spec()
            },
        ] {
            assert!(config(&spec).is_err());
        }
    }

    #[test]
    fn prepare_of_another_version_names_both() {
        let spec = DomainSpec {
            version: 99,
            ..spec()
        };
        let Err(error) = prepare(&spec, &mut Descriptors::default()) else {
            panic!("version 99 was taken");
        };
        assert!(error.to_string().contains("99"));
    }

    #[test]
    fn descriptor_that_is_closed_or_named_twice_is_refused() {
        let mut descriptors = Descriptors::default();
        assert!(descriptors.take("x", 1).is_err());
        assert!(descriptors.take("x", 987).is_err());
        assert!(descriptors.take("x", 987).is_err());
    }
}
