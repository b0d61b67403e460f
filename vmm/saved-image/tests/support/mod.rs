//! An image to write, and one that a version of before has written.

use noxen_saved_image::device::{Device, Geometry, Input, Vbd, Vfb, Vif, Vkbd};
use noxen_saved_image::hvm::{Board, Chips, Disk, HvmState, Pc, PcDevice};
use noxen_saved_image::state::{Bytes, Clock, Console, Domain, Feature, State, Store, Vcpu, Watch};
use noxen_saved_image::{Header, Writer};

pub const CONFIG: &str = "(domain (name saved) (memory 1))";

pub fn header() -> Header {
    Header {
        format: 1,
        reader: 1,
        writer: "noxen-vmm 0.1.0".into(),
        created: 1_700_000_000,
        config_sum: None,
        moving: None,
    }
}

/// Of an image of format 2: `compressed` or not.
pub fn header_2(compressed: bool) -> Header {
    Header {
        format: 2,
        reader: if compressed { 2 } else { 1 },
        ..header()
    }
}

pub fn state() -> State {
    let vcpu = |id: u32| Vcpu {
        id,
        regs: Bytes(vec![id as u8; 4]),
        sregs: Bytes(vec![2; 3]),
        xsave: Bytes(vec![3; 2]),
        xcrs: Bytes(Vec::new()),
        debug: Bytes(vec![5]),
        lapic: Bytes(vec![6]),
        events: Bytes(vec![7]),
        mp_state: 0,
        msrs: vec![(0xc000_0080, 0xd01)],
    };
    State {
        domain: Domain {
            domid: 3,
            boot_pages: 256,
            max_pages: 256,
            vcpus: 2,
            bits32: false,
            layout: 1,
            image_size: 4096,
            region_size: 8192,
            monitor_abi: 1,
            store_mfn: 17,
            console_mfn: 18,
            features: vec![Feature {
                leaf: 1,
                subleaf: 0,
                register: "ecx".into(),
                bits: 1,
            }],
        },
        clock: Clock {
            tsc: 1 << 40,
            tsc_khz: 2_000_000,
            host_ns: 1_700_000_000_000_000_000,
        },
        vcpus: vec![vcpu(0), vcpu(1)],
        console: Console {
            output: Bytes(b"login: ".to_vec()),
            input: Bytes(Vec::new()),
        },
        store: Some(Store {
            watches: vec![Watch {
                path: Bytes(b"control/shutdown".to_vec()),
                token: Bytes(b"t".to_vec()),
            }],
            to_guest: Bytes(Vec::new()),
            from_guest: Bytes(vec![1, 0]),
        }),
        nodes: None,
        devices: Vec::new(),
    }
}

/// The same with a device of each class.
pub fn with_devices() -> State {
    State {
        devices: vec![
            Device::Vbd(Vbd {
                devid: 51712,
                connected: true,
            }),
            Device::Vif(Vif {
                devid: 1,
                connected: true,
                mac: "00:16:3e:00:00:01".into(),
                multicast: vec![Bytes(vec![1, 0, 0x5e, 0, 0, 1])],
            }),
            Device::Vfb(Vfb {
                devid: 0,
                geometry: Some(Geometry {
                    width: 800,
                    height: 600,
                    depth: 32,
                    stride: 3200,
                    offset: 0,
                }),
            }),
            Device::Vkbd(Vkbd {
                devid: 0,
                connected: true,
                last: Some((4, -5)),
                pending: vec![
                    Input::Key {
                        code: 30,
                        pressed: true,
                    },
                    Input::Position {
                        x: 1,
                        y: 2,
                        wheel: -1,
                    },
                    Input::Motion {
                        x: 1,
                        y: -2,
                        wheel: 0,
                    },
                ],
            }),
        ],
        ..state()
    }
}

/// The state and pages as the writer writes them.
pub fn image(state: &State, pages: &[(u64, Vec<u8>)]) -> Vec<u8> {
    image_with(&header(), state, pages)
}

pub fn image_with(header: &Header, state: &State, pages: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), CONFIG, header).unwrap();
    writer.state(state).unwrap();
    for (offset, bytes) in pages {
        writer.memory("ram", *offset, bytes).unwrap();
    }
    writer.end().unwrap().0
}

/// An HVM domain.
pub fn hvm() -> HvmState {
    let State {
        clock,
        vcpus,
        console,
        domain,
        ..
    } = state();
    HvmState {
        pc: Pc {
            domid: 4,
            pages: 256,
            vcpus: 2,
            bios: 0x4_0000,
            video: 4 << 20,
            features: domain.features,
            disks: vec![Disk {
                devid: 768,
                bytes: 1 << 20,
            }],
        },
        clock,
        vcpus,
        console,
        chips: Chips {
            pic_master: Bytes(vec![1]),
            pic_slave: Bytes(vec![2, 2]),
            ioapic: Bytes(vec![3]),
            pit: Bytes(vec![4]),
            clock_ns: 5,
        },
        board: Board {
            now: 1_000_000,
            config_address: 0x8000_0000,
            isa: vec![(1, 14)],
            pci: vec![(0, 3)],
            routes: [Some(10), None, Some(11), None],
        },
        devices: ["host-bridge", "ide"]
            .map(|name| PcDevice {
                name: name.into(),
                state: serde_json::json!({ "version": 1, "state": { "b": [1, null], "a": name } }),
            })
            .to_vec(),
    }
}

/// The state and pages as the writer writes them.
pub fn hvm_image(state: &HvmState, pages: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), CONFIG, &header()).unwrap();
    writer.hvm_state(state).unwrap();
    for (offset, bytes) in pages {
        writer.memory("ram", *offset, bytes).unwrap();
    }
    writer.end().unwrap().0
}

/// A page of one byte, after one of zeros.
pub fn pages() -> Vec<(u64, Vec<u8>)> {
    let mut bytes = vec![0; 3 * 4096];
    bytes[4096..2 * 4096].fill(0x5a);
    vec![(8192, bytes)]
}
