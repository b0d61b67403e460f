//! Rings of a hostile front end: a small guest memory, wholly of the stranger's making.
//!
//! ```text
//!   page 0 netif tx   1 netif rx   2 grant table (v1)   3 vfb or vkbd page   4 frames of the screen   5.. data
//! ```

use noxen_devices::pv::fb::{Screen, Width};
use noxen_devices::pv::grant::GrantTable;
use noxen_devices::pv::kbd::{Input, Keyboard};
use noxen_devices::pv::net::front::Features;
use noxen_devices::pv::net::receive::Receive;
use noxen_devices::pv::net::transmit::Transmit;
use noxen_devices::pv::net::{Host, Memory, Shared};
use std::io;
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress, VolatileSlice};

const PAGE: usize = 4096;
const PAGES: usize = 16;
const TX: GuestAddress = GuestAddress(0);
const RX: GuestAddress = GuestAddress(PAGE as u64);
const GRANTS: GuestAddress = GuestAddress(2 * PAGE as u64);
const EVENTS: GuestAddress = GuestAddress(3 * PAGE as u64);

fn memory(data: &[u8]) -> Memory {
    let memory = Memory::from_ranges(&[(GuestAddress(0), PAGES * PAGE)]).unwrap();
    let length = data.len().min(PAGES * PAGE);
    memory
        .write_slice(&data[..length], GuestAddress(0))
        .unwrap();
    memory
}

/// Looks at each frame that it is sent, and has a few of its own.
struct Wire {
    frames: usize,
    longest: usize,
}

impl Host for Wire {
    fn send(&mut self, head: &[u8], rest: &[VolatileSlice<'_>]) -> io::Result<()> {
        let length = head.len() + rest.iter().map(VolatileSlice::len).sum::<usize>();
        self.longest = self.longest.max(length);
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(left) = self.frames.checked_sub(1) else {
            return Ok(None);
        };
        self.frames = left;
        // Segmented and plain ones, of one page and of several.
        buffer[..10].copy_from_slice(&[
            (left % 2) as u8,
            (left % 2) as u8,
            54,
            0,
            9,
            0,
            34,
            0,
            16,
            0,
        ]);
        Ok(Some(64 + left * 3000))
    }
}

/// Both rings of a network interface.
pub fn netif(data: &[u8]) {
    let memory = memory(data);
    let features = Features {
        sg: true,
        gso_v4: true,
        gso_v6: true,
        csum_v4: true,
        csum_v6: data.len().is_multiple_of(2),
        multicast: data.len().is_multiple_of(3),
    };
    let grants = GrantTable::new(GRANTS, 1, PAGES as u64);
    let shared = Shared::new(grants, features, None);
    let mut wire = Wire {
        frames: 8,
        longest: 0,
    };
    if let Ok(mut transmit) = Transmit::new(&memory, TX) {
        for _ in 0..8 {
            match transmit.service(&memory, &shared, &mut wire, Duration::ZERO) {
                Ok(effect) if effect.again => {}
                _ => break,
            }
        }
    }
    if let Ok(mut receive) = Receive::new(&memory, RX) {
        let _ = receive.service(&memory, &shared, &mut wire);
    }
    assert!(wire.longest <= 10 + 0xffff);
}

/// A screen, and a keyboard on the same page.
pub fn events(data: &[u8]) {
    let memory = memory(data);
    let width = [Width::Bits64, Width::Bits32][data.len() % 2];
    if let Ok(mut screen) = Screen::new(&memory, EVENTS, width, PAGES as u64, 1 << 20) {
        let _ = screen.changes(&memory);
        let mut line = vec![0; screen.geometry().line_bytes()];
        for y in [0, screen.geometry().height - 1] {
            screen.read_line(&memory, y, &mut line).unwrap();
        }
    }
    if let Ok(mut keyboard) = Keyboard::new(&memory, EVENTS, data.len().is_multiple_of(2)) {
        for code in 0..100 {
            keyboard.push(Input::Key {
                code,
                pressed: true,
            });
        }
        let _ = keyboard.service(&memory);
    }
}

/// Good rings: a packet of three slots with a segmentation extra, ten pages to receive into, a screen.
#[allow(dead_code)] // libFuzzer's programs begin with nothing.
pub fn seed() -> Vec<u8> {
    let mut memory = vec![0u8; PAGES * PAGE];
    let mut put = |at: usize, bytes: &[u8]| memory[at..at + bytes.len()].copy_from_slice(bytes);
    let slot = |gref: u32, offset: u16, flags: u16, size: u16| {
        [
            &gref.to_le_bytes()[..],
            &offset.to_le_bytes(),
            &flags.to_le_bytes(),
            &[1, 0],
            &size.to_le_bytes(),
        ]
        .concat()
    };
    put(0, &4u32.to_le_bytes());
    put(64, &slot(8, 0, 0b1101, 6054));
    put(76, &[1, 0, 0xe8, 3, 1, 0, 0, 0]);
    put(88, &slot(9, 0, 0b100, 3000));
    put(100, &slot(10, 1000, 0, 3000));
    put(PAGE, &10u32.to_le_bytes());
    for request in 0..10u32 {
        let at = PAGE + 64 + request as usize * 8;
        put(at, &request.to_le_bytes());
        put(at + 4, &(11 + request % 5).to_le_bytes());
    }
    for gref in 0..16u32 {
        let at = 2 * PAGE + gref as usize * 8;
        put(at, &1u32.to_le_bytes());
        put(at + 4, &(gref % 11 + 5).to_le_bytes());
    }
    // Ethernet, IPv4, TCP in page 13 (reference 8).
    put(13 * PAGE + 12, &[8, 0, 0x45]);
    put(13 * PAGE + 23, &[6]);
    put(13 * PAGE + 46, &[0x50]);
    // 64 x 32 pixels of 32 bits: two pages, listed in page 4.
    for (at, value) in [
        (12, 1u32),
        (16, 64),
        (20, 32),
        (24, 256),
        (28, 8192),
        (40, 4),
    ] {
        put(3 * PAGE + at, &value.to_le_bytes());
    }
    put(3 * PAGE + 32, &[32]);
    put(
        3 * PAGE + 2048,
        &[2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 9],
    );
    put(4 * PAGE, &5u64.to_le_bytes());
    put(4 * PAGE + 8, &6u64.to_le_bytes());
    memory
}

#[test]
fn seed_of_the_rings_is_good() {
    let memory = memory(&seed());
    let grants = GrantTable::new(GRANTS, 1, PAGES as u64);
    let features = Features {
        sg: true,
        gso_v4: true,
        ..Features::default()
    };
    let shared = Shared::new(grants, features, None);
    let mut wire = Wire {
        frames: 2,
        longest: 0,
    };
    let mut transmit = Transmit::new(&memory, TX).unwrap();
    transmit
        .service(&memory, &shared, &mut wire, Duration::ZERO)
        .unwrap();
    assert_eq!(wire.longest, 10 + 6054);
    let mut receive = Receive::new(&memory, RX).unwrap();
    receive.service(&memory, &shared, &mut wire).unwrap();
    assert_eq!(shared.counters.packets(), 3);
    let mut screen = Screen::new(&memory, EVENTS, Width::Bits64, 16, 1 << 20).unwrap();
    assert_eq!(screen.changes(&memory).unwrap().len(), 1);
}
