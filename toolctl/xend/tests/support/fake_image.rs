//! Images of the fake monitor: real ones, of a domain without a single register.

use noxen_control::message::Move;
use noxen_control::spec::Kind;
use noxen_control::{DeviceClass, DeviceId, DomainSpec};
use noxen_saved_image::hvm::{Board, Chips, HvmState, Pc, Saved};
use noxen_saved_image::state::{
    read_announced, Announced, Bytes, Clock, Console, Domain, Node, Nodes, Outline, Outlined, Vcpu,
};
use noxen_saved_image::{Device, Header, Reader, State, Writer};
use std::fs::File;
use std::io::{self, Read, Write};

pub fn write(
    file: File,
    spec: &DomainSpec,
    config: &str,
    nodes: Vec<(String, String)>,
    devices: Vec<Device>,
) -> io::Result<()> {
    if nodes
        .iter()
        .any(|(path, value)| path == "data/fault" && value == "save")
    {
        return Err(io::Error::from_raw_os_error(28)); // ENOSPC
    }
    let mut writer = Writer::begin(file, config, &Header::new("fake monitor", 1))?;
    let state = state(spec, nodes, devices);
    match spec.kind {
        Kind::Pv => writer.state(&state)?,
        Kind::Hvm(_) => writer.hvm_state(&pc(spec, state))?,
        Kind::Pvh(_) => return Err(io::ErrorKind::Unsupported.into()),
    }
    writer.memory("ram", 0, &[b'o'; 4096])?;
    writer.end().map(drop)
}

fn state(spec: &DomainSpec, nodes: Vec<(String, String)>, devices: Vec<Device>) -> State {
    let none = Bytes::default;
    let vcpu = |id| Vcpu {
        id,
        regs: none(),
        sregs: none(),
        xsave: none(),
        xcrs: none(),
        debug: none(),
        lapic: none(),
        events: none(),
        mp_state: 0,
        msrs: Vec::new(),
    };
    let nodes = nodes.into_iter().map(|(path, value)| Node {
        path,
        value: Bytes(value.into_bytes()),
    });
    State {
        domain: Domain {
            domid: spec.domid,
            boot_pages: spec.memory_mib << 8,
            max_pages: spec.maxmem_mib << 8,
            vcpus: spec.vcpus,
            bits32: false,
            layout: 1,
            image_size: 0,
            region_size: 0,
            monitor_abi: 1,
            store_mfn: 11,
            console_mfn: 12,
            features: Vec::new(),
        },
        clock: Clock {
            tsc: 0,
            tsc_khz: 1,
            host_ns: 0,
        },
        vcpus: (0..spec.vcpus).map(vcpu).collect(),
        console: Console::default(),
        store: None,
        nodes: Some(Nodes {
            nodes: nodes.collect(),
        }),
        devices,
    }
}

fn pc(spec: &DomainSpec, state: State) -> HvmState {
    let none = Bytes::default;
    HvmState {
        pc: Pc {
            domid: spec.domid,
            pages: spec.memory_mib << 8,
            vcpus: spec.vcpus,
            bios: 1 << 18,
            video: 0,
            features: Vec::new(),
            disks: Vec::new(),
        },
        clock: state.clock,
        vcpus: state.vcpus,
        console: state.console,
        chips: Chips {
            pic_master: none(),
            pic_slave: none(),
            ioapic: none(),
            pit: none(),
            clock_ns: 0,
        },
        board: Board {
            now: 0,
            config_address: 0,
            isa: Vec::new(),
            pci: Vec::new(),
            routes: [None; 4],
        },
        devices: Vec::new(),
    }
}

/// The same to another host.
pub fn send(
    out: File,
    spec: &DomainSpec,
    how: &Move,
    nodes: Vec<(String, String)>,
    devices: Vec<Device>,
) -> io::Result<()> {
    let header = Header::of_stream("fake monitor", 1, &how.token);
    let mut writer = Writer::begin(out, &how.config, &header)?;
    let state = state(spec, nodes, devices);
    let hvm = match spec.kind {
        Kind::Pv => None,
        Kind::Hvm(_) => Some(pc(spec, state.clone())),
        Kind::Pvh(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    match &hvm {
        None => writer.unit(&state.domain)?,
        Some(hvm) => writer.unit(&hvm.pc)?,
    }
    let outlined = |(class, devid, mac): &(String, u32, String)| Outlined {
        class: class.clone(),
        devid: *devid,
        mac: mac.clone(),
    };
    writer.unit(&Outline {
        devices: match &hvm {
            None => how.devices.iter().map(outlined).collect(),
            Some(_) => Vec::new(),
        },
    })?;
    for _ in 0..2 {
        writer.memory_again("ram", 0, &[b'o'; 4096])?;
    }
    match &hvm {
        None => writer.state_but_domain(&state)?,
        Some(hvm) => writer.hvm_state_but_pc(hvm)?,
    }
    writer.end().map(drop)
}

/// By post-copy: a page after the domain, and the word that it is there.
pub fn push(mut link: &File, token: &str, wait: Option<String>) -> io::Result<()> {
    let header = Header::of_stream("fake monitor", 1, token);
    let mut writer = Writer::begin(link, "", &header)?;
    while wait
        .as_ref()
        .is_some_and(|path| !std::path::Path::new(path).exists())
    {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    writer.memory_again("ram", 0, &[b'o'; 4096])?;
    writer.end()?;
    let mut word = [0; 8];
    link.read_exact(&mut word)?;
    match word == [0xff; 8] {
        true => Ok(()),
        false => Err(io::Error::other("it said something else")),
    }
}

/// Takes that page; without it the domain ends.
pub fn pull(link: File) {
    let read = Reader::open(&link).and_then(|mut reader| {
        while reader.next()?.is_some() {}
        Ok(())
    });
    match read {
        Ok(()) => drop((&link).write_all(&[0xff; 8])),
        Err(_) => std::process::abort(),
    }
}

/// Nodes, and devices in use.
pub type Came = (Vec<(String, String)>, Vec<DeviceId>);

/// Takes one in: its nodes and the devices in use. A node `data/wait` names a file that is waited for.
pub fn receive(head: File, stream: File) -> Result<Came, String> {
    let mut reader = Reader::open(head.chain(stream)).map_err(|e| e.to_string())?;
    let (announced, _) = read_announced(&mut reader).map_err(|e| e.to_string())?;
    let state = match announced {
        Announced::Pv(domain) => State::read_stream(&mut reader, *domain, |_| Ok(())),
        Announced::Hvm(pc) => {
            let read = HvmState::read_stream(&mut reader, *pc, |_| Ok(()));
            return read.map(|_| Default::default()).map_err(|e| e.to_string());
        }
    };
    let state = state.map_err(|e| e.to_string())?;
    let nodes = state.nodes.unwrap_or_default().nodes.into_iter();
    let nodes: Vec<(String, String)> = nodes
        .map(|node| (node.path, String::from_utf8(node.value.0).unwrap()))
        .collect();
    if let Some((_, path)) = nodes.iter().find(|(path, _)| path == "data/wait") {
        while !std::path::Path::new(path).exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    let used = state.devices.iter().filter(|d| d.is_connected());
    let id = |device: &Device| DeviceId {
        class: match device {
            Device::Vbd(_) => DeviceClass::Vbd,
            Device::Vif(_) => DeviceClass::Vif,
            Device::Vfb(_) => DeviceClass::Vfb,
            Device::Vkbd(_) => DeviceClass::Vkbd,
        },
        devid: device.id().1,
    };
    Ok((nodes, used.map(id).collect()))
}

/// The text that the fake monitor takes for a kernel.
pub fn read(file: File) -> String {
    let mut reader = Reader::open(file).unwrap();
    let (_, mut record) = Saved::read(&mut reader).unwrap();
    loop {
        match record.is_some() {
            true => match reader.next() {
                Ok(next) => record = next,
                Err(error) => return format!("error: {error}"),
            },
            false => return "ok".into(),
        }
    }
}
