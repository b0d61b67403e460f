//! Commands that are a person's hands: keys and the pointer.

use super::commands::{Call, Command, Outcome, DONE};
use super::keys;
use super::subject::Subject;
use noxen_pc::{Pointing, Touch};

/// Most keys of one `sendkey`.
const KEYS: usize = 16;
/// Buttons of a mouse, by Linux' codes: left, right, middle.
const BUTTONS: [u16; 3] = [272, 273, 274];
/// How far one command moves the pointer.
const FAR: std::ops::RangeInclusive<i32> = -10_000..=10_000;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        names: &["sendkey"],
        args: "KEY[-KEY...]",
        words: (1, 1),
        help: "press keys together and let go of them (ctrl-alt-delete)",
        run: sendkey,
    },
    Command {
        names: &["mouse_move"],
        args: "DX DY [DZ]",
        words: (2, 3),
        help: "move the pointer, turn the wheel",
        run: mouse_move,
    },
    Command {
        names: &["mouse_button"],
        args: "STATE",
        words: (1, 1),
        help: "buttons that are down: 1 left + 2 right + 4 middle",
        run: mouse_button,
    },
];

fn taken(taken: bool) -> Result<Outcome, String> {
    match taken {
        true => Ok(DONE),
        false => Err("no device of the machine takes that now".into()),
    }
}

fn sendkey(call: &Call, subject: &mut dyn Subject) -> Result<Outcome, String> {
    let names: Vec<&str> = match call.words[0] {
        // The key of that name alone, and behind others.
        "-" => vec!["minus"],
        words => words.split('-').collect(),
    };
    if names.len() > KEYS {
        return Err(format!("{KEYS} keys at most"));
    }
    let codes = names.iter().map(|name| {
        keys::code(name).ok_or_else(|| {
            let shown: String = name.escape_debug().take(20).collect();
            format!("unknown key: '{shown}'; letters, digits, f1 to f12, ctrl, alt, shift, ret, spc, esc, delete ...")
        })
    });
    let codes: Vec<u16> = codes.collect::<Result<_, _>>()?;
    let down = codes.iter().map(|code| (*code, true));
    let up = codes.iter().rev().map(|code| (*code, false));
    let all: Vec<_> = down.chain(up).collect();
    let took = all.into_iter().fold(true, |took, (code, pressed)| {
        subject.touch(Touch::Key { code, pressed }) && took
    });
    taken(took)
}

fn mouse_move(call: &Call, subject: &mut dyn Subject) -> Result<Outcome, String> {
    let mut by = [0; 3];
    for (value, word) in by.iter_mut().zip(call.words) {
        *value = word
            .parse()
            .ok()
            .filter(|value| FAR.contains(value))
            .ok_or_else(|| {
                format!(
                    "'{word}' is no number from {} to {}",
                    FAR.start(),
                    FAR.end()
                )
            })?;
    }
    let [x, y, wheel] = by;
    if subject.pointing() == Some(Pointing::Absolute) && (x, y) != (0, 0) {
        return Err(
            "the pointer is a tablet, which has places, not movements; use a viewer".into(),
        );
    }
    taken(subject.touch(Touch::Motion { x, y, wheel }))
}

fn mouse_button(call: &Call, subject: &mut dyn Subject) -> Result<Outcome, String> {
    let word = call.words[0];
    let state: u8 = word
        .parse()
        .ok()
        .filter(|state| *state < 8)
        .ok_or_else(|| format!("'{word}' is no number from 0 to 7"))?;
    let mut took = true;
    for (bit, code) in BUTTONS.into_iter().enumerate() {
        let pressed = state & 1 << bit != 0;
        took &= subject.touch(Touch::Key { code, pressed });
    }
    taken(took)
}
