//! The controller for the conformance suite: a person who types and points, and what drivers do.

use super::{Kind, Plug, Uhci};
use crate::conformance::{Step, Subject};
use crate::device::{Device, Region, Touch, Turn, Width};
use crate::medium::Shelf;

/// Somebody at a tablet and a keyboard.
#[derive(Debug, Clone, Copy)]
pub struct Somebody;

/// Where a schedule is in memory: list of frames, a queue, descriptors, data.
pub const LIST: u32 = 0x1000;
/// The queue.
pub const QUEUE: u32 = 0x2000;
/// The first descriptor; they are 32 bytes apart.
pub const FIRST: u32 = 0x2100;
/// Data of the first; 64 bytes apart.
pub const DATA: u32 = 0x3000;

/// The guest writes a 16-bit register.
pub fn out(offset: u64, value: u16) -> Step {
    Step::Write(Region::Bar(4), offset, Width::Word, value.into())
}

/// A descriptor: number in the queue, packet, device, endpoint, bytes.
pub fn descriptor(
    number: u32,
    last: bool,
    pid: u8,
    address: u8,
    endpoint: u8,
    bytes: usize,
) -> Vec<Step> {
    let at = FIRST + 32 * number;
    let link = if last { 1 } else { (at + 32) | 4 };
    let token = u32::from(pid)
        | u32::from(address) << 8
        | u32::from(endpoint) << 15
        | (bytes as u32).wrapping_sub(1) << 21;
    let interrupt = u32::from(last) << 24;
    let words = [
        link,
        1 << 23 | 3 << 27 | interrupt,
        token,
        DATA + 64 * number,
    ];
    let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    vec![Step::Memory(at.into(), bytes)]
}

/// Every frame leads to the queue, which leads to the first descriptor.
pub fn lists() -> Vec<Step> {
    let frames: Vec<u8> = std::iter::repeat_n((QUEUE | 2).to_le_bytes(), 1024)
        .flatten()
        .collect();
    vec![Step::Memory(LIST.into(), frames), start_queue()]
}

/// The queue leads to the first descriptor and no other queue.
pub fn start_queue() -> Step {
    let words = [1u32.to_le_bytes(), FIRST.to_le_bytes()].concat();
    Step::Memory(QUEUE.into(), words)
}

/// The controller runs on these lists, and port 1's device is enabled.
pub fn start() -> Vec<Step> {
    let mut steps = lists();
    steps.extend([
        out(0x00, 2),
        out(0x08, LIST as u16),
        out(0x0a, 0),
        out(0x04, 0xf),
        out(0x10, 1 << 9),
        out(0x10, 0),
        out(0x10, 1 << 2 | 1 << 1),
        out(0x00, 0xc1),
    ]);
    steps
}

/// A request without data, or with an answer of up to 64 bytes.
pub fn request(address: u8, packet: [u8; 8]) -> Vec<Step> {
    let asks = packet[0] & 0x80 != 0;
    let mut steps = vec![Step::Memory(DATA.into(), packet.to_vec())];
    steps.extend(descriptor(0, false, 0x2d, address, 0, 8));
    let mut number = 1;
    if asks {
        for _ in 0..usize::from(packet[6]).div_ceil(8).min(8) {
            steps.extend(descriptor(number, false, 0x69, address, 0, 8));
            number += 1;
        }
    }
    let end = if asks { 0xe1 } else { 0x69 };
    steps.extend(descriptor(number, true, end, address, 0, 0));
    steps.push(start_queue());
    steps.push(Step::Pass(2_000_000));
    steps
}

impl Subject for Somebody {
    type Device = Uhci;

    fn make(&self) -> Uhci {
        Uhci::new(vec![Plug::Hid(Kind::Tablet), Plug::Hid(Kind::Keyboard)])
    }

    fn happen(&self, device: &mut Uhci, choice: u8, turn: &mut Turn) {
        let away = i32::from(choice) - 128;
        let touch = match choice % 3 {
            0 => Touch::Key {
                code: u16::from(choice),
                pressed: choice & 0x40 != 0,
            },
            1 => Touch::Key {
                code: 0x110 + u16::from(choice / 4 % 5),
                pressed: choice & 0x40 != 0,
            },
            _ => Touch::Position {
                x: away * 5,
                y: away,
                wheel: away % 3,
                width: u32::from(choice),
                height: 480,
            },
        };
        device.touch(touch, turn);
    }

    fn moves(&self) -> Vec<Vec<Step>> {
        let mut all = vec![start()];
        all.push(request(0, [0x80, 6, 0, 1, 0, 0, 18, 0]));
        all.push(request(0, [0x00, 5, 1, 0, 0, 0, 0, 0]));
        all.push(request(1, [0x80, 6, 0, 2, 0, 0, 34, 0]));
        all.push(request(1, [0x00, 9, 1, 0, 0, 0, 0, 0]));
        let mut look = vec![Step::Happen(0x62)];
        look.extend(descriptor(0, true, 0x69, 1, 1, 8));
        look.extend([start_queue(), Step::Pass(5_000_000), out(0x02, 0x1f)]);
        all.push(look);
        // Whole: a device that is used, and reports.
        let whole = all.concat();
        all.push(whole);
        // A queue that leads to itself.
        let circle = [(QUEUE | 2).to_le_bytes(), 1u32.to_le_bytes()].concat();
        all.push(vec![
            Step::Memory(QUEUE.into(), circle),
            Step::Pass(3_000_000),
        ]);
        all
    }
}

/// Somebody who plugs things in and out: a tablet at port 1, a hub at port 2 with a keyboard.
#[derive(Debug, Clone, Copy)]
pub struct Plugger;

/// A request to the hub at address 2 without data.
pub fn to_hub(packet: [u8; 8]) -> Vec<Step> {
    request(2, packet)
}

/// Port 2 is enabled, its hub has address 2, is configured and has power at all its ports.
pub fn start_hub() -> Vec<Step> {
    let mut steps = vec![
        out(0x12, 1 << 9),
        out(0x12, 0),
        out(0x12, 1 << 2 | 1 << 1),
        // The tablet must not answer at address 0 meanwhile.
        out(0x10, 0),
    ];
    steps.extend(request(0, [0x00, 5, 2, 0, 0, 0, 0, 0]));
    steps.extend(to_hub([0x00, 9, 1, 0, 0, 0, 0, 0]));
    for port in 1..=8 {
        steps.extend(to_hub([0x23, 3, 8, 0, port, 0, 0, 0]));
    }
    steps
}

impl Subject for Plugger {
    type Device = Uhci;

    fn make(&self) -> Uhci {
        Uhci::new(vec![Plug::Hid(Kind::Tablet), Plug::Hid(Kind::Keyboard)])
    }

    fn happen(&self, device: &mut Uhci, choice: u8, turn: &mut Turn) {
        // Full, not there, a hub: refused, and nothing happens.
        let _ = match choice % 3 {
            0 => device.plug(Plug::Hid(Kind::Mouse), turn),
            1 => device.unplug(choice / 3 % 32, turn),
            _ => device.plug(Plug::Hid(Kind::Keyboard), turn),
        };
    }

    fn moves(&self) -> Vec<Vec<Step>> {
        let mut all = vec![start(), start_hub()];
        let whole = all.concat();
        all.push(whole);
        all.push(to_hub([0x23, 3, 4, 0, 1, 0, 0, 0]));
        all.push(request(0, [0x00, 5, 3, 0, 0, 0, 0, 0]));
        all.push(request(3, [0x00, 9, 1, 0, 0, 0, 0, 0]));
        all.push(to_hub([0x23, 1, 16, 0, 1, 0, 0, 0]));
        all.push(request(2, [0xa3, 0, 0, 0, 1, 0, 4, 0]));
        let mut news = descriptor(0, true, 0x69, 2, 1, 2);
        news.extend([start_queue(), Step::Pass(5_000_000)]);
        all.push(news);
        // The guest suspends the bus.
        all.push(vec![out(0x04, 2), out(0x00, 8), Step::Happen(0)]);
        all
    }
}

/// Somebody who reads and writes a disk.
#[derive(Debug, Clone)]
pub struct WithDisk {
    /// What is on it.
    pub shelf: Shelf,
}

impl WithDisk {
    /// 512 sectors of it.
    pub fn new() -> WithDisk {
        let bytes = (0..512 * 512).map(|at| (at / 512) as u8).collect();
        WithDisk {
            shelf: Shelf::new(bytes),
        }
    }
}

impl Default for WithDisk {
    fn default() -> WithDisk {
        WithDisk::new()
    }
}

/// A command of ten bytes to the disk at address 1, data of up to eight packets, and the status.
fn scsi(command: u8, first: u8, sectors: u8, to_guest: bool) -> Vec<Step> {
    let length = u32::from(sectors) * 512;
    let mut block = vec![command, 0, 0, 0, 0, first, 0, 0, sectors, 0];
    block.resize(16, 0);
    let head = [u8::from(to_guest) << 7, 0, 10];
    let bytes = [
        &b"USBC"[..],
        &[9, 0, 0, 0],
        &length.to_le_bytes(),
        &head,
        &block,
    ]
    .concat();
    let mut steps = vec![Step::Memory(DATA.into(), bytes)];
    steps.extend(descriptor(0, false, 0xe1, 1, 2, 31));
    let (pid, endpoint) = if to_guest { (0x69, 1) } else { (0xe1, 2) };
    let packets = length / 64;
    for number in 1..=packets {
        steps.extend(descriptor(number, false, pid, 1, endpoint, 64));
    }
    steps.extend(descriptor(packets + 1, true, 0x69, 1, 1, 13));
    steps.push(start_queue());
    for _ in 0..4 {
        steps.extend([Step::Pass(2_000_000), Step::Happen(0)]);
    }
    steps
}

impl Subject for WithDisk {
    type Device = Uhci;

    fn make(&self) -> Uhci {
        Uhci::new(vec![Plug::Disk(2048, self.shelf.slot())])
    }

    fn happen(&self, device: &mut Uhci, choice: u8, turn: &mut Turn) {
        self.shelf.fail(choice & 0xf0 == 0xf0);
        device.attend(turn);
    }

    fn moves(&self) -> Vec<Vec<Step>> {
        let mut all = vec![start()];
        all.push(request(0, [0x00, 5, 1, 0, 0, 0, 0, 0]));
        all.push(request(1, [0x00, 9, 1, 0, 0, 0, 0, 0]));
        all.push(scsi(0x28, 3, 1, true));
        all.push(scsi(0x2a, 5, 1, false));
        all.push(scsi(0x28, 0, 200, false));
        // Reset in the midst of it.
        all.push(request(1, [0x21, 0xff, 0, 0, 0, 0, 0, 0]));
        all.push(request(1, [0x02, 1, 0, 0, 0x81, 0, 0, 0]));
        // Whole: found, configured, read.
        let whole = all[..4].concat();
        all.push(whole);
        all
    }
}
