//! Register by register what a driver sees.

use super::subject::{command, master, out, packet, table, Shelves, DATA, DISK_SECTORS, TABLE};
use super::*;
use crate::conformance::{Ram, Run, Step, Subject};
use crate::device::Effect;

struct Host<'a> {
    run: Run<'a, Shelves>,
    shelves: &'a Shelves,
    lines: Vec<(u8, bool)>,
}

impl<'a> Host<'a> {
    fn new(shelves: &'a Shelves) -> Host<'a> {
        Host {
            run: Run::new(shelves, shelves.make(), Ram::new()),
            shelves,
            lines: Vec::new(),
        }
    }

    fn go(&mut self, steps: &[Step]) -> u32 {
        let mut value = 0;
        for seen in self.run.go(steps) {
            value = seen.value;
            self.lines
                .extend(seen.effects.iter().filter_map(|effect| match effect {
                    Effect::Line(line, level) => Some((*line, *level)),
                    _ => None,
                }));
        }
        value
    }

    fn register(&mut self, channel: usize, offset: u64) -> u8 {
        self.go(&[Step::Read(Region::Ports(channel * 2), offset, Width::Byte)]) as u8
    }

    fn status(&mut self, channel: usize) -> u8 {
        self.go(&[Step::Read(Region::Ports(channel * 2 + 1), 0, Width::Byte)]) as u8
    }

    /// The medium does one request; the interrupt lines' changes since the last time.
    fn attend(&mut self) -> Vec<(u8, bool)> {
        self.go(&[Step::Happen(9)]);
        std::mem::take(&mut self.lines)
    }

    fn data(&mut self, channel: usize, bytes: usize) -> Vec<u8> {
        let read = Step::Read(Region::Ports(channel * 2), 0, Width::Word);
        (0..bytes / 2)
            .flat_map(|_| (self.go(std::slice::from_ref(&read)) as u16).to_le_bytes())
            .collect()
    }

    fn give(&mut self, channel: usize, bytes: &[u8]) {
        for pair in bytes.chunks(2) {
            let word = u16::from_le_bytes([pair[0], pair[1]]);
            self.go(&[Step::Write(
                Region::Ports(channel * 2),
                0,
                Width::Word,
                word.into(),
            )]);
        }
    }

    fn disk(&self, sector: usize, sectors: usize) -> Vec<u8> {
        self.shelves.disk.bytes()[sector * 512..][..sectors * 512].to_vec()
    }

    /// Sends a packet and takes all that comes; what came, and the sense key of the end.
    fn packet(&mut self, bytes: [u8; 12]) -> (Vec<u8>, u8) {
        self.go(&packet(0, 0x1000, bytes));
        let mut data = Vec::new();
        for _ in 0..1000 {
            match self.status(1) {
                status if status & 0x80 != 0 => {
                    self.attend();
                }
                status if status & 0x08 != 0 => {
                    let count = u16::from_le_bytes([self.register(1, 4), self.register(1, 5)]);
                    data.extend(self.data(1, usize::from(count)));
                }
                _ => break,
            }
        }
        (data, self.register(1, 1) >> 4)
    }
}

fn word(bytes: &[u8], index: usize) -> u16 {
    u16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]])
}

const UP: (u8, bool) = (14, true);

#[test]
fn disk_says_what_it_is() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    host.go(&command(0, false, 0, 0, 0xec));
    assert_eq!(host.status(0), 0x58);
    let block = host.data(0, 512);
    assert_eq!(host.status(0), 0x50);
    assert_eq!(&block[20..24], b"XN 0");
    assert_eq!(word(&block, 60), DISK_SECTORS as u16);
    assert_eq!(word(&block, 100), DISK_SECTORS as u16);
    assert_eq!((word(&block, 3), word(&block, 6)), (16, 63));
    assert_eq!(word(&block, 63), 0x0407);
    assert_ne!(word(&block, 83) & 0x0400, 0, "48 bits");
}

#[test]
fn each_block_of_a_pio_read_has_its_interrupt_and_the_end_has_none() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    host.go(&command(0, false, 7, 2, 0x20));
    assert_eq!(host.status(0), 0x80);
    assert_eq!(host.attend(), [UP]);
    assert_eq!(
        host.register(0, 7),
        0x58,
        "reading status takes the interrupt"
    );
    assert_eq!(host.lines, [(14, false)]);
    host.lines.clear();
    let expected = host.disk(7, 2);
    assert_eq!(host.data(0, 512), expected[..512]);
    assert_eq!(host.lines, [UP]);
    host.register(0, 7);
    host.lines.clear();
    // The data port is as wide as the access.
    let first = host.go(&[Step::Read(Region::Ports(0), 0, Width::Dword)]);
    assert_eq!(first.to_le_bytes(), expected[512..516]);
    assert_eq!(host.data(0, 508), expected[516..]);
    assert_eq!(host.register(0, 7), 0x50);
    assert_eq!(host.lines, []);
}

#[test]
fn multiple_moves_as_many_sectors_between_interrupts_as_was_set() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    host.go(&command(0, false, 0, 2, 0xc5));
    assert_eq!(
        (host.status(0), host.register(0, 1)),
        (0x51, 0x04),
        "not set yet"
    );
    host.go(&command(0, false, 0, 3, 0xc6));
    assert_eq!(host.register(0, 7), 0x51, "no power of two");
    host.go(&command(0, false, 0, 4, 0xc6));
    assert_eq!(host.register(0, 7), 0x50);
    host.go(&command(0, false, 100, 5, 0xc5));
    host.lines.clear();
    let data: Vec<u8> = (0..5 * 512).map(|at| (at / 3) as u8).collect();
    host.give(0, &data[..4 * 512]);
    assert_eq!(host.status(0), 0x80);
    assert_eq!(host.attend(), [UP]);
    assert_eq!(host.register(0, 7), 0x58);
    host.give(0, &data[4 * 512..]);
    host.attend();
    assert_eq!(host.register(0, 7), 0x50);
    assert_eq!(host.disk(100, 5), data);
}

#[test]
fn bus_master_scatters_a_read_and_gathers_a_write() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    let pieces = [(DATA as u32, 0x300), (DATA as u32 + 0x1000, 0x500)];
    host.go(&[table(&pieces), master(0, 4, Width::Dword, TABLE as u32)]);
    host.go(&command(0, false, 20, 4, 0xc8));
    host.attend();
    host.go(&[master(0, 0, Width::Byte, 9)]);
    assert_eq!(host.lines, [UP]);
    let status = Step::Read(Region::Bar(4), 2, Width::Byte);
    assert_eq!(host.go(std::slice::from_ref(&status)), 0x04);
    let expected = host.disk(20, 4);
    assert_eq!(host.run.ram.get(DATA, 0x300), expected[..0x300]);
    assert_eq!(host.run.ram.get(DATA + 0x1000, 0x500), expected[0x300..]);

    host.go(&[master(0, 2, Width::Byte, 4), master(0, 0, Width::Byte, 0)]);
    assert_eq!(host.go(std::slice::from_ref(&status)), 0);
    host.go(&command(0, true, 40, 4, 0xca));
    assert_eq!(host.register(0, 7), 0x58);
    host.go(&[master(0, 0, Width::Byte, 1)]);
    host.attend();
    assert_eq!(host.disk(40, 4), expected);
    assert_eq!(host.go(&[status]), 0x04);
}

#[test]
fn descriptors_that_are_short_leave_the_drive_waiting_and_long_ones_stay_active() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    let status = [Step::Read(Region::Bar(4), 2, Width::Byte)];
    for (bytes, expected) in [(0x200, 0x00), (0x800, 0x05)] {
        host.go(&[
            table(&[(DATA as u32, bytes)]),
            master(0, 4, Width::Dword, TABLE as u32),
        ]);
        host.go(&command(0, false, 20, 2, 0xc8));
        host.go(&[master(0, 0, Width::Byte, 9)]);
        host.attend();
        assert_eq!(host.go(&status), expected);
        host.go(&[Step::Reset, Step::Config(4, 2, 5)]);
    }
    // A table outside of memory is an error of the bus, not the program's.
    host.go(&[master(0, 4, Width::Dword, 0xf000_0000)]);
    host.go(&command(0, false, 20, 2, 0xc8));
    host.attend();
    host.go(&[master(0, 0, Width::Byte, 9)]);
    assert_eq!(host.go(&status), 0x02);
}

#[test]
fn addresses_are_checked_in_all_three_ways_of_counting() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    host.go(&command(0, false, DISK_SECTORS as u32 - 1, 2, 0x20));
    assert_eq!((host.status(0), host.register(0, 1)), (0x51, 0x10));
    // 48 bits: the older halves first.
    let steps = [
        (2, 0),
        (3, 1),
        (4, 0),
        (5, 0),
        (2, 1),
        (3, 0),
        (4, 0),
        (5, 0),
        (6, 0x40),
        (7, 0x24),
    ];
    host.go(&steps.map(|(offset, value)| out(0, offset, value)));
    assert_eq!(host.register(0, 1), 0x10, "sector 2^24 is not there");
    host.go(&[Step::Write(Region::Ports(1), 0, Width::Byte, 0x80)]);
    assert_eq!(host.register(0, 3), 1, "HOB shows the older half");
    // Cylinder 1, head 2, sector 3 of 16 heads and 63 sectors.
    let steps = [(6, 0xa2), (2, 1), (3, 3), (4, 1), (5, 0), (7, 0x20)];
    host.go(&steps.map(|(offset, value)| out(0, offset, value)));
    host.attend();
    let expected = host.disk((16 + 2) * 63 + 2, 1);
    assert_eq!(host.data(0, 512), expected);
    host.go(&[out(0, 3, 0), out(0, 7, 0x20)]);
    assert_eq!(host.register(0, 1), 0x10, "sectors count from 1");
}

#[test]
fn flush_and_a_cache_that_is_off_make_data_durable() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    host.go(&command(0, false, 0, 0, 0xe7));
    assert_eq!(host.attend(), [UP]);
    assert_eq!(shelves.disk.flushes(), 1);
    host.go(&[out(0, 1, 0x82), out(0, 7, 0xef)]);
    host.attend();
    assert_eq!(shelves.disk.flushes(), 2);
    host.go(&command(0, false, 1, 1, 0x30));
    host.give(0, &[5; 512]);
    host.attend();
    assert_eq!(host.status(0), 0x80);
    host.attend();
    assert_eq!((host.register(0, 7), shelves.disk.flushes()), (0x50, 3));
}

#[test]
fn medium_that_fails_is_told_and_later_commands_work() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    shelves.disk.fail(true);
    host.go(&command(0, false, 0, 1, 0x20));
    assert_eq!(host.attend(), [UP]);
    assert_eq!((host.register(0, 7), host.register(0, 1)), (0x51, 0x40));
    host.go(&command(0, false, 0, 1, 0x30));
    host.give(0, &[0; 512]);
    host.attend();
    assert_eq!(host.register(0, 7), 0x71);
    shelves.disk.fail(false);
    host.go(&command(0, false, 0, 1, 0x20));
    host.attend();
    assert_eq!(host.register(0, 7), 0x58);
}

#[test]
fn reset_and_diagnostics_show_signatures_and_forget_what_was_under_way() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    host.go(&command(0, false, 0, 1, 0x20));
    let control = |value| Step::Write(Region::Ports(1), 0, Width::Byte, value);
    host.go(&[control(4)]);
    assert_eq!(host.status(0), 0x80);
    host.go(&[control(0)]);
    assert_eq!(host.attend(), [], "the old answer is of no use");
    assert_eq!(host.status(0), 0x50);
    host.go(&[out(1, 7, 0x90)]);
    let shown: Vec<u8> = (1..6).map(|offset| host.register(1, offset)).collect();
    assert_eq!(shown, [1, 1, 1, 0x14, 0xeb]);
    assert_eq!(host.lines, [(15, true)]);
    // No drive, no answer.
    host.go(&[out(1, 6, 0xb0), out(1, 2, 0x55)]);
    assert_eq!((host.register(1, 7), host.register(1, 2)), (0, 0));
}

#[test]
fn interrupts_are_held_back_by_nien() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    host.go(&[Step::Write(Region::Ports(1), 0, Width::Byte, 2)]);
    host.go(&command(0, false, 0, 1, 0x20));
    assert_eq!(host.attend(), []);
    host.go(&[Step::Write(Region::Ports(1), 0, Width::Byte, 0)]);
    assert_eq!(host.lines, [UP]);
}

#[test]
fn cd_is_read_by_words_in_the_hosts_portions() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    host.go(&packet(0, 0x0900, [0x28, 0, 0, 0, 0, 3, 0, 0, 2, 0, 0, 0]));
    assert_eq!(host.attend(), [(15, true)]);
    assert_eq!((host.register(1, 7), host.register(1, 2)), (0x58, 2));
    assert_eq!(
        (host.register(1, 4), host.register(1, 5)),
        (0, 8),
        "whole blocks"
    );
    let expected = shelves.cd.bytes()[3 * 2048..5 * 2048].to_vec();
    assert_eq!(host.data(1, 2048), expected[..2048]);
    assert_eq!(host.data(1, 2048), expected[2048..]);
    assert_eq!((host.register(1, 7), host.register(1, 2)), (0x50, 3));
    // As blocks of 12-byte READ and by READ CD it is the same.
    let (data, key) = host.packet([0xa8, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0]);
    assert_eq!((data, key), (expected.clone(), 0));
    let (data, _) = host.packet([0xbe, 8, 0, 0, 0, 3, 0, 0, 2, 0x10, 0, 0]);
    assert_eq!(data, expected);
    let (data, key) = host.packet([0x28, 0, 0, 0, 0, 63, 0, 0, 2, 0, 0, 0]);
    assert_eq!((data, key), (vec![], 5));
    let (sense, _) = host.packet([3, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((sense[2], sense[12], sense[13]), (5, 0x21, 0));
}

#[test]
fn cd_tells_its_size_contents_and_abilities() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    let (data, _) = host.packet([0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(data, [0, 0, 0, 63, 0, 0, 8, 0]);
    let (data, _) = host.packet([0x43, 2, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0]);
    assert_eq!(
        data,
        [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 2, 0, 0, 0x14, 0xaa, 0, 0, 0, 2, 64]
    );
    let (data, _) = host.packet([0x12, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((data.len(), data[0], data[1], data[4]), (36, 5, 0x80, 31));
    let (data, _) = host.packet([0x46, 2, 0, 0x10, 0, 0, 0, 0, 64, 0, 0, 0]);
    assert_eq!(data[..12], [0, 0, 0, 16, 0, 0, 0, 8, 0, 0x10, 1, 8]);
    let (data, _) = host.packet([0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 64, 0, 0, 0]);
    assert_eq!((data.len(), data[8]), (28, 0x2a));
    assert_eq!(host.packet([0x77; 12]).1, 5);
}

#[test]
fn another_medium_is_noticed_and_the_tray_obeys() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    let ready = [0; 12];
    let event = [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0, 0, 0];
    let eject = [0x1b, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(host.packet(ready).1, 0);
    shelves.cd.change(Some(vec![9; 4096]));
    assert_eq!(host.packet(event).0[4..6], [2, 2]);
    assert_eq!(host.packet(event).0[4..6], [0, 2]);
    assert_eq!(host.packet(ready).1, 6, "it hears of the change once");
    assert_eq!(host.packet(ready).1, 0);
    assert_eq!(host.packet([0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).0[3], 1);

    host.packet([0x1e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(host.packet(eject).1, 5, "it is locked");
    host.packet([0x1e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(host.packet(eject).1, 0);
    assert!(shelves.cd.bytes().is_empty());
    assert_eq!(host.packet(event).0[4..6], [3, 1]);
    assert_eq!(host.packet(ready).1, 2);
    let (sense, _) = host.packet([3, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((sense[2], sense[12], sense[13]), (2, 0x3a, 2));
}

#[test]
fn cd_goes_by_bus_master_too() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    host.go(&[
        table(&[(DATA as u32, 0x1800)]),
        master(1, 4, Width::Dword, TABLE as u32),
        master(1, 0, Width::Byte, 9),
    ]);
    host.go(&packet(1, 0, [0x28, 0, 0, 0, 0, 1, 0, 0, 3, 0, 0, 0]));
    assert_eq!(host.attend(), [(15, true)]);
    assert_eq!((host.register(1, 7), host.register(1, 2)), (0x50, 3));
    let expected = shelves.cd.bytes()[2048..4 * 2048].to_vec();
    assert_eq!(host.run.ram.get(DATA, 0x1800), expected);
}

#[test]
fn disks_command_to_a_cd_is_refused_with_its_signature() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    host.go(&command(1, false, 0, 1, 0xec));
    assert_eq!(host.register(1, 7) & 1, 1);
    assert_eq!((host.register(1, 4), host.register(1, 5)), (0x14, 0xeb));
    host.go(&[out(1, 7, 0xa1)]);
    let block = host.data(1, 512);
    assert_eq!(word(&block, 0), 0x85c0);
}

#[test]
fn disk_whose_medium_is_gone_answers_no_more() {
    let shelves = Shelves::new();
    let mut host = Host::new(&shelves);
    shelves.disk.change(None);
    host.go(&command(0, false, 0, 1, 0x20));
    assert_eq!(host.status(0), 0);
}
