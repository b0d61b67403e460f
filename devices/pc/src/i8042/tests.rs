use super::subject::{out, take, Somebody};
use super::*;
use crate::conformance::{Ram, Run, Step, Subject};

fn run() -> Run<'static, Somebody> {
    Run::new(&Somebody, Somebody.make(), Ram::new())
}

/// Bytes read until none is left.
fn drain(run: &mut Run<'_, Somebody>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while run.step(&take(1)).value & 1 != 0 {
        bytes.push(run.step(&take(0)).value as u8);
    }
    bytes
}

fn touch(run: &mut Run<'_, Somebody>, touch: Touch) -> Vec<Effect> {
    let ram = Ram::new();
    let mut effects = Vec::new();
    let mut turn = Turn {
        now: 0,
        memory: &ram,
        effects: &mut effects,
    };
    assert!(run.device().touch(touch, &mut turn));
    effects
}

fn key(run: &mut Run<'_, Somebody>, code: u16, pressed: bool) -> Vec<Effect> {
    touch(run, Touch::Key { code, pressed })
}

/// Sends the mouse bytes; what it answered.
fn mouse(run: &mut Run<'_, Somebody>, bytes: &[u8]) -> Vec<u8> {
    let mut answers = Vec::new();
    for byte in bytes {
        run.go(&[out(1, 0xd4), out(0, *byte)]);
        answers.extend(drain(run));
    }
    answers
}

#[test]
fn firmware_finds_a_controller_a_keyboard_and_a_mouse() {
    let mut run = run();
    run.step(&out(1, 0xaa));
    assert_eq!(drain(&mut run), [0x55]);
    run.step(&out(1, 0xab));
    assert_eq!(drain(&mut run), [0]);
    run.step(&out(0, 0xff));
    assert_eq!(drain(&mut run), [0xfa, 0xaa]);
    run.step(&out(0, 0xf2));
    // Translated: 0xab stays, 0x83 is F7's.
    assert_eq!(drain(&mut run), [0xfa, 0xab, 0x41]);
    assert_eq!(mouse(&mut run, &[0xff, 0xf2]), [0xfa, 0xaa, 0, 0xfa, 0]);
}

#[test]
fn keys_come_translated_with_an_edge_of_line_1_for_each_byte() {
    let mut run = run();
    assert_eq!(key(&mut run, 30, true), [Effect::Line(1, true)]);
    // A second byte waits and raises nothing until the first was read.
    assert!(key(&mut run, 30, false).is_empty());
    let seen = run.step(&take(0));
    assert_eq!(seen.value, 0x1e);
    assert_eq!(
        seen.effects,
        [Effect::Line(1, false), Effect::Line(1, true)]
    );
    let seen = run.step(&take(0));
    assert_eq!(
        (seen.value, seen.effects),
        (0x9e, vec![Effect::Line(1, false)])
    );
    // An empty one reads the last byte again.
    assert_eq!(run.step(&take(0)).value, 0x9e);
}

#[test]
fn sets_1_and_2_come_as_they_are_without_translation() {
    let mut run = run();
    run.go(&[out(1, 0x60), out(0, LINE_1)]);
    key(&mut run, 103, true);
    key(&mut run, 103, false);
    assert_eq!(drain(&mut run), [0xe0, 0x75, 0xe0, 0xf0, 0x75]);
    run.go(&[out(0, 0xf0), out(0, 1)]);
    assert_eq!(drain(&mut run), [0xfa, 0xfa]);
    run.go(&[out(0, 0xf0), out(0, 0)]);
    assert_eq!(drain(&mut run), [0xfa, 0xfa, 1]);
    key(&mut run, 103, false);
    assert_eq!(drain(&mut run), [0xe0, 0xc8]);
}

#[test]
fn keyboard_that_nobody_reads_keeps_whole_keys_only() {
    let mut run = run();
    for _ in 0..100 {
        key(&mut run, 103, true);
        key(&mut run, 103, false);
    }
    let bytes = drain(&mut run);
    assert!(bytes.len() > 20 && bytes.len() <= keyboard::KEYS + 1);
    assert!(
        bytes.iter().step_by(2).all(|byte| *byte == 0xe0),
        "{bytes:x?}"
    );
}

#[test]
fn mouse_streams_packets_on_line_12() {
    let mut run = run();
    assert_eq!(mouse(&mut run, &[0xf4]), [0xfa]);
    let moved = Touch::Motion {
        x: 5,
        y: -3,
        wheel: 1,
    };
    assert_eq!(touch(&mut run, moved), [Effect::Line(12, true)]);
    assert_eq!(run.step(&take(1)).value & 0x21, 0x21);
    assert_eq!(drain(&mut run), [0x08, 5, 3]);
    key(&mut run, 0x110, true);
    touch(
        &mut run,
        Touch::Motion {
            x: -1,
            y: 300,
            wheel: 0,
        },
    );
    // The click went out first; 300 lines down are more than a packet holds.
    let bytes = drain(&mut run);
    assert_eq!(bytes, [0x09, 0, 0, 0x39, 0xff, 0x01, 0x29, 0, 0xd3]);
}

#[test]
fn wheel_and_more_buttons_are_found_by_sample_rates() {
    let mut run = run();
    let rates = [0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf2];
    assert_eq!(mouse(&mut run, &rates).last(), Some(&3));
    mouse(&mut run, &[0xf4]);
    touch(
        &mut run,
        Touch::Motion {
            x: 0,
            y: 0,
            wheel: -1,
        },
    );
    assert_eq!(drain(&mut run), [0x08, 0, 0, 0xff]);
    let rates = [0xf3, 200, 0xf3, 200, 0xf3, 80, 0xf2];
    assert_eq!(mouse(&mut run, &rates).last(), Some(&4));
    key(&mut run, 0x113, true);
    assert_eq!(drain(&mut run), [0x08, 0, 0, 0x10]);
    assert_eq!(mouse(&mut run, &[0xe9]), [0xfa, 0x20, 2, 80]);
}

#[test]
fn places_become_movements_unless_ctrl_and_alt_hold_the_pointer() {
    let mut run = run();
    mouse(&mut run, &[0xf4]);
    let place = |x, y| Touch::Position {
        x,
        y,
        wheel: 0,
        width: 640,
        height: 480,
    };
    assert!(touch(&mut run, place(100, 100)).is_empty());
    touch(&mut run, place(110, 90));
    assert_eq!(drain(&mut run), [0x08, 10, 10]);
    run.step(&out(0, 0xf5));
    key(&mut run, 29, true);
    key(&mut run, 56, true);
    drain(&mut run);
    assert!(touch(&mut run, place(0, 0)).is_empty());
    key(&mut run, 56, false);
    touch(&mut run, place(1, 0));
    assert_eq!(drain(&mut run), [0x08, 1, 0]);
}

#[test]
fn output_port_has_a20_and_reset() {
    let mut run = run();
    let seen = |run: &mut Run<'_, Somebody>, steps: &[Step]| run.go(steps).pop().unwrap().effects;
    assert_eq!(seen(&mut run, &[out(1, 0xdd)]), [Effect::A20(false)]);
    assert_eq!(
        seen(&mut run, &[out(1, 0xd1), out(0, 0xdf)]),
        [Effect::A20(true)]
    );
    run.step(&out(1, 0xd0));
    assert_eq!(drain(&mut run)[0] & 3, 3);
    assert_eq!(seen(&mut run, &[out(1, 0xfe)]), [Effect::Reset]);
    assert_eq!(
        seen(&mut run, &[out(1, 0xd1), out(0, 0xde)]),
        [Effect::Reset]
    );
}
