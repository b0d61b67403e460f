//! What a driver sees, command by command.

use super::subject::{channel, command, results, start, Disks};
use super::*;
use crate::conformance::{Ram, Run, Step, Subject};

const DATA: u32 = 0x1_8000;

struct Host<'a> {
    run: Run<'a, Disks>,
    disks: &'a Disks,
}

impl<'a> Host<'a> {
    fn new(disks: &'a Disks) -> Host<'a> {
        let mut run = Run::new(disks, disks.make(), Ram::new());
        run.go(&start());
        Host { run, disks }
    }

    fn go(&mut self, steps: &[Step]) -> Vec<u8> {
        self.run
            .go(steps)
            .iter()
            .map(|seen| seen.value as u8)
            .collect()
    }

    /// Sends a command; its result once the medium has done `requests`.
    fn command(&mut self, bytes: &[u8], requests: usize, count: usize) -> Vec<u8> {
        self.go(&command(bytes));
        self.go(&vec![Step::Happen(20); requests]);
        let status = self.status();
        assert_eq!(
            status & 0xd0,
            if count > 0 { 0xd0 } else { 0x80 },
            "main status {status:#x}"
        );
        self.go(&results(count))
    }

    fn status(&mut self) -> u8 {
        self.go(&[Step::Read(Region::Ports(0), 4, Width::Byte)])[0]
    }

    fn sector(&self, number: usize, count: usize) -> Vec<u8> {
        self.disks.disk.bytes()[number * 512..][..count * 512].to_vec()
    }
}

#[test]
fn reset_is_polled_four_times_and_then_there_is_nothing() {
    let disks = Disks::new();
    let mut run = Run::new(&disks, disks.make(), Ram::new());
    let seen = run.step(&Step::Write(Region::Ports(0), 2, Width::Byte, 0x1c));
    assert_eq!(seen.effects, vec![Effect::Line(6, true)]);
    let mut host = Host { run, disks: &disks };
    for drive in 0..4 {
        assert_eq!(host.command(&[8], 0, 2), [0xc0 | drive, 0]);
    }
    assert_eq!(host.command(&[8], 0, 1), [0x80]);
    assert_eq!(host.command(&[0x10], 0, 1), [0x90]);
}

#[test]
fn read_ends_at_terminal_count_and_names_the_next_sector() {
    let disks = Disks::new();
    let mut host = Host::new(&disks);
    host.go(&channel(0x44, DATA, 1024));
    let read = [0xe6, 0, 0, 0, 17, 2, 18, 0x1b, 0xff];
    assert_eq!(host.command(&read, 1, 7), [4, 0, 0, 0, 1, 1, 2]);
    assert_eq!(host.run.ram.get(DATA.into(), 1024), host.sector(16, 2));
    // Over the edge to the other side.
    host.go(&channel(0x44, DATA, 2048));
    assert_eq!(host.command(&read, 2, 7), [4, 0, 0, 0, 1, 3, 2]);
    assert_eq!(host.run.ram.get(DATA.into(), 2048), host.sector(16, 4));
}

#[test]
fn read_beyond_the_last_sector_ends_there() {
    let disks = Disks::new();
    let mut host = Host::new(&disks);
    host.go(&channel(0x44, DATA, 2048));
    let read = [0x46, 0, 0, 0, 17, 2, 18, 0x1b, 0xff];
    assert_eq!(host.command(&read, 1, 7), [0x40, 0x80, 0, 1, 0, 1, 2]);
    let wrong_track = [0x46, 0, 3, 0, 1, 2, 18, 0x1b, 0xff];
    assert_eq!(host.command(&wrong_track, 0, 7)[..3], [0x40, 4, 0x10]);
    let no_sector = [0x46, 0, 0, 0, 19, 2, 18, 0x1b, 0xff];
    assert_eq!(host.command(&no_sector, 0, 7)[..3], [0x40, 4, 0]);
    // The channel is masked after its end: nobody takes the bytes.
    host.go(&channel(0x44, DATA, 512));
    host.command(&read, 1, 7);
    assert_eq!(host.command(&read, 1, 7)[..3], [0x40, 0x10, 0]);
}

#[test]
fn write_and_seek_reach_the_disk() {
    let disks = Disks::new();
    let mut host = Host::new(&disks);
    host.go(&command(&[0x0f, 0, 40]));
    assert_eq!(host.command(&[8], 0, 2), [0x20, 40]);
    host.run.ram.put(DATA.into(), &[9; 512]);
    host.go(&channel(0x48, DATA, 512));
    let write = [0x45, 4, 40, 1, 5, 2, 18, 0x1b, 0xff];
    assert_eq!(host.command(&write, 1, 7), [4, 0, 0, 40, 1, 6, 2]);
    assert_eq!(host.sector((40 * 2 + 1) * 18 + 4, 1), [9; 512]);
    assert_eq!(host.command(&[0x4a, 0], 0, 7), [0, 0, 0, 40, 0, 1, 2]);
    assert_eq!(host.command(&[4, 0], 0, 1), [0x28]);
}

#[test]
fn format_fills_a_whole_track_and_only_a_whole_one() {
    let disks = Disks::new();
    let mut host = Host::new(&disks);
    let names: Vec<u8> = (1..=18).flat_map(|sector| [0, 0, sector, 2]).collect();
    host.run.ram.put(DATA.into(), &names);
    let format = [0x4d, 0, 2, 18, 0x54, 0xf6];
    host.go(&channel(0x48, DATA, 72));
    assert_eq!(host.command(&format, 1, 7)[..3], [0, 0, 0]);
    assert_eq!(host.sector(0, 18), [0xf6; 18 * 512]);
    host.run.ram.put(DATA.into(), &[0; 72]);
    host.go(&channel(0x48, DATA, 72));
    assert_eq!(host.command(&format, 0, 7)[..2], [0x40, 4]);
    assert_eq!(
        host.command(&[0x4d, 0, 2, 255, 0x54, 0], 0, 7)[..2],
        [0x40, 4]
    );
}

#[test]
fn bytes_by_hand_come_with_requests_of_their_own() {
    let disks = Disks::new();
    let mut host = Host::new(&disks);
    host.go(&command(&[3, 0xaf, 3]));
    host.go(&command(&[0x46, 0, 0, 0, 18, 2, 18, 0x1b, 0xff]));
    assert_eq!(host.status(), 0x10);
    host.go(&[Step::Happen(20)]);
    assert_eq!(host.status(), 0xf0);
    assert_eq!(host.go(&results(512)), host.sector(17, 1));
    assert_eq!(host.status(), 0xd0);
    assert_eq!(
        host.go(&results(7))[..2],
        [0x40, 0x80],
        "no terminal count by hand"
    );
    assert_eq!(host.status(), 0x80);
}

#[test]
fn disks_of_another_density_need_another_rate() {
    let disks = Disks::new();
    let mut host = Host::new(&disks);
    disks.disk.change(Some(vec![1; 720 * 1024]));
    assert_eq!(host.command(&[0x4a, 0], 0, 7)[..2], [0x40, 1]);
    host.go(&[Step::Write(Region::Ports(1), 0, Width::Byte, 2)]);
    assert_eq!(host.command(&[0x4a, 0], 0, 7)[..2], [0, 0]);
}

#[test]
fn change_line_rises_with_another_disk_and_falls_with_a_step() {
    let disks = Disks::new();
    let mut host = Host::new(&disks);
    let line = Step::Read(Region::Ports(1), 0, Width::Byte);
    assert_eq!(host.go(std::slice::from_ref(&line)), [0]);
    disks.disk.change(None);
    assert_eq!(host.go(std::slice::from_ref(&line)), [0x80]);
    host.go(&command(&[7, 0, 8]));
    host.go(&results(2));
    assert_eq!(host.go(std::slice::from_ref(&line)), [0x80], "still empty");
    disks.disk.change(Some(vec![0; 1440 * 1024]));
    host.go(&command(&[0x0f, 0, 1, 8]));
    host.go(&results(2));
    assert_eq!(host.go(std::slice::from_ref(&line)), [0]);
}

#[test]
fn short_image_reads_zeros_behind_its_end_and_cannot_be_written_there() {
    let disks = Disks::new();
    disks.disk.change(Some(vec![7; 1_296_384]));
    let mut host = Host::new(&disks);
    host.go(&command(&[0x0f, 0, 79, 8]));
    host.go(&results(2));
    host.go(&channel(0x44, DATA, 512));
    let read = [0x46, 0, 79, 0, 1, 2, 18, 0x1b, 0xff];
    assert_eq!(host.command(&read, 0, 7)[..3], [0, 0, 0]);
    assert_eq!(host.run.ram.get(DATA.into(), 512), [0; 512]);
    host.go(&channel(0x48, DATA, 512));
    let write = [0x45, 0, 79, 0, 1, 2, 18, 0x1b, 0xff];
    assert_eq!(host.command(&write, 0, 7)[..3], [0x40, 0x20, 0x20]);
}

#[test]
fn configuration_survives_a_reset_only_under_lock() {
    let disks = Disks::new();
    let mut host = Host::new(&disks);
    host.go(&command(&[0x13, 0, 0x47, 3]));
    assert_eq!(host.command(&[0x94], 0, 1), [0x10]);
    host.go(&start());
    assert_eq!(host.command(&[0x0e], 0, 10)[7..], [0x80, 0x47, 3]);
    assert_eq!(host.command(&[0x14], 0, 1), [0]);
    host.go(&start());
    assert_eq!(host.command(&[0x0e], 0, 10)[7..], [0, 0x20, 0]);
}

#[test]
fn no_drive_and_no_command_are_told() {
    let disks = Disks::new();
    let mut host = Host::new(&disks);
    assert_eq!(host.command(&[0x1f], 0, 1), [0x80]);
    host.go(&command(&[7, 1]));
    assert_eq!(host.command(&[8], 0, 2), [0x71, 0]);
    assert_eq!(
        host.command(&[0x46, 1, 0, 0, 1, 2, 18, 0x1b, 0xff], 0, 7)[..2],
        [0x41, 1]
    );
}
