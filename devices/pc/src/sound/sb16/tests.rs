//! The card as a program uses it, and what is heard of it.

use super::subject::{command, out, Card, SAMPLES};
use crate::conformance::{Ram, Run, Step, Subject};
use crate::device::{Device, Effect, Region, Width};
use crate::sound::{Frame, Speaker};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Vec<Frame>>>);

impl Speaker for Heard {
    fn play(&mut self, frames: &[Frame]) {
        self.0.lock().unwrap().extend_from_slice(frames);
    }
}

type Machine = Card<Heard>;

fn take(card: &Machine) -> Vec<Frame> {
    std::mem::take(&mut card.speaker.0.lock().unwrap())
}

fn run<'a>(card: &'a Machine, samples: &[u8]) -> Run<'a, Machine> {
    let mut run = Run::new(card, card.make(), Ram::new());
    run.go(&[Step::Memory(SAMPLES, samples.to_vec())]);
    run
}

fn read(run: &mut Run<'_, Machine>, port: u64) -> u8 {
    let seen = run.go(&[Step::Read(Region::Ports(0), port - 0x220, Width::Byte)]);
    seen[0].value as u8
}

fn pass(run: &mut Run<'_, Machine>, steps: usize) -> Vec<Effect> {
    let seen = run.go(&vec![Step::Pass(1_000_000); steps]);
    seen.into_iter().flat_map(|seen| seen.effects).collect()
}

#[test]
fn reset_answers_and_commands_are_answered() {
    let card = Machine::new(Heard::default());
    let mut run = run(&card, &[]);
    run.go(&[out(0x226, 1), out(0x226, 0)]);
    assert_eq!(
        (read(&mut run, 0x22c) & 0x80, read(&mut run, 0x22e)),
        (0, 0xff)
    );
    assert_eq!((read(&mut run, 0x22a), read(&mut run, 0x22e)), (0xaa, 0x7f));
    for (bytes, answers) in [
        (&[0xe1][..], &[4, 5][..]),
        (&[0xe0, 0x5a], &[0xa5]),
        (&[0xe4, 0x12, 0xe8], &[0x12]),
        (&[0xd1, 0xd8], &[0xff]),
        (&[0xd3, 0xd8], &[0]),
    ] {
        run.go(&command(bytes));
        for answer in answers {
            assert_eq!(read(&mut run, 0x22e), 0xff, "{bytes:x?}");
            assert_eq!(read(&mut run, 0x22a), *answer, "{bytes:x?}");
        }
        assert_eq!(read(&mut run, 0x22e), 0x7f, "{bytes:x?}");
    }
    let seen = run.go(&command(&[0x75]));
    assert!(matches!(&seen[0].effects[..], [Effect::Log(line)] if line.contains("0x75")));
    // The same registers by words and by one of four bytes.
    run.go(&command(&[0xe1]));
    let word = run.go(&[Step::Read(Region::Ports(0), 0xe, Width::Word)]);
    assert_eq!(word[0].value, 0xffff);
    let index = Step::Write(Region::Ports(0), 4, Width::Word, 0x2281);
    run.go(&[index]);
    let four = run.go(&[Step::Read(Region::Ports(0), 4, Width::Dword)]);
    assert_eq!(four[0].value & 0xffff, 0x2281);
}

#[test]
fn wide_samples_are_played_as_they_are_and_each_block_interrupts() {
    let card = Machine::new(Heard::default());
    card.set_up(5, 0x58, 256);
    let bytes: Vec<u8> = (0..128u16)
        .flat_map(|n| [n as i16 * 10, -(n as i16)])
        .flat_map(i16::to_le_bytes)
        .collect();
    let mut run = run(&card, &bytes);
    // 44100 a second, 16 bits signed, stereo, over and over, blocks of 441 frames.
    run.go(&command(&[0x41, 0xac, 0x44, 0xb6, 0x30, 0x71, 0x03]));
    assert_eq!(pass(&mut run, 11), [Effect::Line(5, true)]);
    let frames = take(&card);
    assert!((441..=485).contains(&frames.len()), "{}", frames.len());
    for (at, frame) in frames.iter().enumerate() {
        let n = (at % 128) as i16;
        assert_eq!(*frame, [n * 10, -n], "{at}");
    }
    run.go(&[out(0x224, 0x82)]);
    assert_eq!(read(&mut run, 0x225), 2);
    let quiet = run.go(&[Step::Read(Region::Ports(0), 0xf, Width::Byte)]);
    assert_eq!(quiet[0].effects, [Effect::Line(5, false)]);
    assert_eq!(read(&mut run, 0x225), 0);
    // It ends with the block that it is in, when it is told so.
    run.go(&command(&[0xd9]));
    assert_eq!(pass(&mut run, 30), [Effect::Line(5, true)]);
    take(&card);
    assert!(pass(&mut run, 20).is_empty() && take(&card).is_empty());
}

#[test]
fn narrow_block_is_played_once_at_its_rate_by_the_lines_that_the_mixer_says() {
    let card = Machine::new(Heard::default());
    let mut run = run(&card, &[[0xff; 40], [0x00; 40]].concat());
    card.set_up(3, 0x58, 80);
    // Line 7, channel 3.
    run.go(&[
        out(0x224, 0x80),
        out(0x225, 4),
        out(0x224, 0x81),
        out(0x225, 8),
    ]);
    // Time constant 131: 8000 samples a second; 800 bytes.
    run.go(&command(&[0x40, 131, 0x14, 0x1f, 0x03]));
    assert_eq!(pass(&mut run, 105), [Effect::Line(7, true)]);
    let frames = take(&card);
    // A tenth of a second, ten turns of a square wave.
    assert!((4390..=4420).contains(&frames.len()), "{}", frames.len());
    let turns = frames.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!((19..=21).contains(&turns), "{turns}");
    assert!(frames.contains(&[127 * 256; 2]));
    read(&mut run, 0x22e);
    assert!(pass(&mut run, 20).is_empty());
}

#[test]
fn channel_that_is_not_ready_is_waited_for_and_a_pause_moves_nothing() {
    let card = Machine::new(Heard::default());
    let mut run = run(&card, &[0x90; 64]);
    // The channel of bytes is masked still.
    run.go(&command(&[0x41, 0x2b, 0x11, 0xc0, 0x00, 63, 0]));
    assert!(pass(&mut run, 50).is_empty());
    card.set_up(1, 0x48, 64);
    run.go(&command(&[0xd0]));
    assert!(pass(&mut run, 50).is_empty());
    run.go(&command(&[0xd4]));
    assert_eq!(pass(&mut run, 10), [Effect::Line(5, true)]);
    let loud = take(&card)
        .iter()
        .filter(|frame| frame[0] == 0x1000)
        .count();
    // 64 samples at 11025 a second are 256 frames.
    assert!((250..=262).contains(&loud), "{loud}");
}

#[test]
fn it_hears_silence_and_holds_what_a_program_writes_itself() {
    let card = Machine::new(Heard::default());
    card.set_up(1, 0x54, 64);
    let mut run = run(&card, &[1; 64]);
    run.go(&command(&[0x41, 0xac, 0x44, 0x24, 63, 0]));
    assert_eq!(pass(&mut run, 10), [Effect::Line(5, true)]);
    assert_eq!(run.ram.get(SAMPLES, 64), [0x80; 64]);
    assert!(take(&card).is_empty());
    run.go(&command(&[0x10, 0xc0]));
    pass(&mut run, 200);
    let frames = take(&card);
    assert!((2100..=2700).contains(&frames.len()), "{}", frames.len());
    assert!(frames.iter().all(|frame| *frame == [0x4000; 2]));
}

#[test]
fn mixer_keeps_old_and_new_registers_together() {
    let card = Machine::new(Heard::default());
    let mut run = run(&card, &[]);
    let mut at = |index: u8, value: Option<u8>| {
        run.go(&[out(0x224, index)]);
        if let Some(value) = value {
            run.go(&[out(0x225, value)]);
        }
        read(&mut run, 0x225)
    };
    assert_eq!((at(0x80, None), at(0x81, None)), (2, 0x22));
    assert_eq!(at(0x22, None), 0xcc);
    assert_eq!(at(0x22, Some(0x5a)), 0x5a);
    assert_eq!((at(0x30, None), at(0x31, None)), (0x58, 0xa8));
    at(0x31, Some(0xf8));
    assert_eq!(at(0x22, None), 0x5f);
    at(0, Some(0));
    assert_eq!((at(0x22, None), at(0x80, None)), (0xcc, 2));
}

#[test]
fn time_that_passed_at_once_is_not_played_late() {
    let card = Machine::new(Heard::default());
    card.set_up(1, 0x58, 64);
    let mut run = run(&card, &[1; 64]);
    run.go(&command(&[0x48, 63, 0, 0x1c]));
    run.go(&[Step::Pass(3_600_000_000_000)]);
    read(&mut run, 0x22c);
    assert!(take(&card).len() <= 2 * 4410);
    assert!(run.device().next().is_some());
}
