//! Images of the fake monitor: real ones, of a domain without a single register.

use noxen_control::DomainSpec;
use noxen_saved_image::state::{Bytes, Clock, Console, Domain, Node, Nodes, Vcpu};
use noxen_saved_image::{Device, Header, Reader, State, Writer};
use std::fs::File;
use std::io;

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
    writer.unit(&Domain {
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
    })?;
    writer.unit(&Clock {
        tsc: 0,
        tsc_khz: 1,
        host_ns: 0,
    })?;
    for id in 0..spec.vcpus {
        let none = Bytes::default;
        writer.unit(&Vcpu {
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
        })?;
    }
    writer.unit(&Console::default())?;
    let nodes = nodes.into_iter().map(|(path, value)| Node {
        path,
        value: Bytes(value.into_bytes()),
    });
    writer.unit(&Nodes {
        nodes: nodes.collect(),
    })?;
    for device in &devices {
        writer.device(device)?;
    }
    writer.memory("ram", 0, &[b'o'; 4096])?;
    writer.end().map(drop)
}

/// The text that the fake monitor takes for a kernel.
pub fn read(file: File) -> String {
    let mut reader = Reader::open(file).unwrap();
    let (_, mut record) = State::read(&mut reader).unwrap();
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
