//! The tests that each device passes.

use super::run::{Ram, Run};
use super::script::{Step, STEP_BYTES};
use super::Subject;
use crate::device::{Device, Width};
use serde_json::Value;

/// Random scripts of each test.
const SCRIPTS: u64 = 24;
/// Steps of each.
const STEPS: usize = 400;

/// xorshift64*, George Marsaglia's: chance that repeats.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn script(&mut self, steps: usize) -> Vec<u8> {
        (0..steps * STEP_BYTES / 8)
            .flat_map(|_| self.next().to_le_bytes())
            .collect()
    }
}

/// What a device does after it was saved and restored is what it would have done anyway.
pub fn restored_goes_on_as_the_straight_run<S: Subject>(make: impl Fn() -> S) {
    for seed in 0..SCRIPTS {
        let (one, other) = (make(), make());
        let mut straight = Run::new(&one, one.make(), Ram::new());
        let mut first = Run::new(&other, other.make(), Ram::new());
        let mut random = Random::new(seed);
        let script = straight.script(&random.script(STEPS));
        let (before, after) = script.split_at(random.below(script.len()));
        assert_eq!(
            straight.go(before),
            first.go(before),
            "chance in the device"
        );
        let saved = first.device().save();
        assert!(saved.get("version").is_some(), "a unit names its version");
        let mut fresh = other.make();
        fresh.restore(&saved).expect("refuses its own state");
        assert_eq!(fresh.save(), saved, "saves something else than it restored");
        let mut second = first.taken_over(fresh);
        for (index, step) in after.iter().enumerate() {
            assert_eq!(
                straight.step(step),
                second.step(step),
                "script {seed}, {index} steps after it was restored: {step:?}"
            );
        }
        assert_eq!(straight.device().save(), second.device().save());
        assert!(straight.ram.equals(&second.ram), "memory differs");
    }
}

/// Every register, in every width, read and written: nothing panics and the work is bounded.
pub fn every_register_takes_every_width<S: Subject>(make: impl Fn() -> S) {
    let subject = make();
    let mut run = Run::new(&subject, subject.make(), Ram::new());
    for place in run.places() {
        // Of large windows the first and the last page.
        let head = 0..place.length.min(0x1000);
        let tail = place.length.saturating_sub(0x1000).max(head.end)..place.length;
        for offset in head.chain(tail) {
            for width in [Width::Byte, Width::Word, Width::Dword] {
                if offset + width.bytes() as u64 > place.length {
                    continue;
                }
                run.step(&Step::Read(place.region, offset, width));
                for value in [0, u32::MAX, 0x5555_5555] {
                    let value = value & width.mask();
                    run.step(&Step::Write(place.region, offset, width, value));
                }
                run.step(&Step::Read(place.region, offset, width));
            }
            run.step(&Step::Pass(1_000_000));
        }
    }
}

/// A state that was tampered with is refused, or the device lives with it.
pub fn tampered_state_does_no_harm<S: Subject>(make: impl Fn() -> S) {
    for seed in 0..SCRIPTS * 4 {
        let subject = make();
        let mut run = Run::new(&subject, subject.make(), Ram::new());
        let mut random = Random::new(seed + 1000);
        let script = run.script(&random.script(STEPS / 4));
        run.go(&script);
        let mut saved = run.device().save();
        for _ in 0..=random.below(3) {
            tamper(&mut saved, &mut random);
        }
        let mut fresh = subject.make();
        if fresh.restore(&saved).is_err() {
            continue;
        }
        let mut run = Run::new(&subject, fresh, Ram::new());
        let script = run.script(&random.script(STEPS / 4));
        run.go(&script);
        run.device().save();
    }
}

/// A device answers as it should after a reset in the midst of anything.
pub fn reset_is_survived_and_repeats<S: Subject>(make: impl Fn() -> S) {
    for seed in 0..SCRIPTS {
        let subject = make();
        let mut run = Run::new(&subject, subject.make(), Ram::new());
        let mut random = Random::new(seed + 2000);
        let script = run.script(&random.script(STEPS / 4));
        run.go(&script);
        run.step(&Step::Reset);
        let once = run.device().save();
        run.step(&Step::Reset);
        assert_eq!(
            run.device().save(),
            once,
            "a second reset changes something"
        );
    }
}

fn tamper(value: &mut Value, random: &mut Random) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let which = random.below(fields.len());
            if let Some((_, field)) = fields.iter_mut().nth(which) {
                tamper(field, random);
            }
        }
        Value::Array(items) if !items.is_empty() && random.below(4) > 0 => {
            let which = random.below(items.len());
            tamper(&mut items[which], random);
        }
        Value::Array(items) => match random.below(3) {
            0 => items.clear(),
            1 => items.truncate(items.len() / 2),
            _ => items.extend(vec![Value::from(random.next() as u8); 300]),
        },
        Value::Bool(flag) => *flag = !*flag,
        other => {
            let numbers = [
                0,
                1,
                2,
                7,
                0xff,
                0x100,
                0xffff,
                0x7fff_ffff,
                0xffff_ffff,
                u64::MAX,
            ];
            *other = numbers[random.below(numbers.len())].into();
        }
    }
}
