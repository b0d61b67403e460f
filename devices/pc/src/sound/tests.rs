//! The card as a driver uses it, and what is heard of it.

use super::es1370::Es1370;
use super::subject::{out, play, SAMPLES};
use super::{Frame, Speaker};
use crate::conformance::{Ram, Run, Step, Subject};
use crate::device::{Device, Effect, Region, Turn, Width};
use std::sync::{Arc, Mutex};

/// A card and what was played.
#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Vec<Frame>>>);

impl Speaker for Heard {
    fn play(&mut self, frames: &[Frame]) {
        self.0.lock().unwrap().extend_from_slice(frames);
    }
}

impl Subject for Heard {
    type Device = Es1370;

    fn make(&self) -> Es1370 {
        Es1370::new(Box::new(self.clone()))
    }

    fn happen(&self, device: &mut Es1370, _: u8, turn: &mut Turn) {
        device.attend(turn);
    }

    fn moves(&self) -> Vec<Vec<Step>> {
        Vec::new()
    }
}

impl Heard {
    fn take(&self) -> Vec<Frame> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A card that may read memory, with `samples` there.
fn card<'a>(heard: &'a Heard, samples: &[u8]) -> Run<'a, Heard> {
    let mut run = Run::new(heard, heard.make(), Ram::new());
    run.go(&[
        Step::Config(4, 2, 5),
        Step::Memory(SAMPLES, samples.to_vec()),
    ]);
    run
}

/// Time in steps of 10 ms; what became of the pin.
fn pass(run: &mut Run<'_, Heard>, steps: usize) -> Vec<Effect> {
    let seen = run.go(&vec![Step::Pass(10_000_000); steps]);
    seen.into_iter().flat_map(|seen| seen.effects).collect()
}

#[test]
fn samples_are_played_as_they_are_and_the_count_interrupts() {
    let heard = Heard::default();
    let bytes: Vec<u8> = (0..128u16)
        .flat_map(|n| [n as i16 * 10, -(n as i16)])
        .flat_map(i16::to_le_bytes)
        .collect();
    let mut run = card(&heard, &bytes);
    run.go(&play(128, 3, 44_100, 441));
    let raised = pass(&mut run, 1);
    assert_eq!(raised, [Effect::Pin(true)]);
    let frames = heard.take();
    assert_eq!(frames.len(), 441);
    for (at, frame) in frames.iter().enumerate() {
        let n = (at % 128) as i16;
        assert_eq!(*frame, [n * 10, -n], "{at}");
    }
    let status =
        |run: &mut Run<'_, Heard>| run.go(&[Step::Read(Region::Bar(0), 4, Width::Dword)])[0].value;
    assert_eq!(status(&mut run), 1 << 31 | 2);
    // The place in the buffer: 441 = 3 * 128 + 57.
    let place = run.go(&[Step::Read(Region::Bar(0), 0x3c, Width::Dword)])[0].value;
    assert_eq!(place, 57 << 16 | 127);
    let quiet = run.go(&[out(0x20, 3 << 2)]);
    assert_eq!(quiet[0].effects, [Effect::Pin(false)]);
    assert_eq!(status(&mut run), 0);
    // Switched off, it says nothing more.
    run.go(&[out(0x00, 3)]);
    heard.take();
    pass(&mut run, 5);
    assert!(heard.take().is_empty());
}

#[test]
fn narrow_samples_of_one_channel_are_heard_on_both_sides_at_their_rate() {
    let heard = Heard::default();
    // 16 samples of a square wave at about 8 kHz.
    let bytes = [[0xff; 8], [0x00; 8]].concat();
    let mut run = card(&heard, &bytes);
    run.go(&play(4, 0, 8000, 1000));
    pass(&mut run, 100);
    let frames = heard.take();
    assert!(
        (44_000..=44_110).contains(&frames.len()),
        "{}",
        frames.len()
    );
    assert!(frames.iter().all(|[left, right]| left == right));
    let turns = frames.windows(2).filter(|pair| pair[0] != pair[1]).count();
    // 1411200 / 176 = 8018 samples: 1002 half waves.
    assert!((995..=1005).contains(&turns), "{turns}");
    let levels: std::collections::BTreeSet<i16> = frames.iter().map(|frame| frame[0]).collect();
    assert!(levels.contains(&(127 * 256)) && levels.contains(&(-128 * 256)));
}

#[test]
fn buffer_beyond_memory_is_silence() {
    let heard = Heard::default();
    let mut run = card(&heard, &[]);
    let mut steps = play(16, 3, 44_100, 100);
    steps.insert(5, out(0x38, 0xffff_fff0));
    run.go(&steps);
    pass(&mut run, 3);
    let frames = heard.take();
    assert!(!frames.is_empty() && frames.iter().all(|frame| *frame == [0, 0]));
}

#[test]
fn time_that_passed_at_once_is_not_played_late() {
    let heard = Heard::default();
    let mut run = card(&heard, &[1; 64]);
    run.go(&play(16, 3, 44_100, 100));
    run.go(&[Step::Pass(3_600_000_000_000)]);
    run.go(&[Step::Read(Region::Bar(0), 0, Width::Dword)]);
    assert!(heard.take().len() <= 2 * 4410);
}
