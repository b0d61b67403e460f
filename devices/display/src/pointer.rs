//! A viewer's pointer: buttons and wheel by their bits, places or movements.

use noxen_control::screen::Input;

/// Linux' codes of buttons, by their bits; the wheel has bits 3 to 6.
const BUTTONS: [Option<u32>; 9] = [
    Some(0x110),
    Some(0x112),
    Some(0x111),
    None,
    None,
    None,
    None,
    Some(0x113),
    Some(0x114),
];
const WHEEL_UP: u16 = 1 << 3;
const WHEEL_DOWN: u16 = 1 << 4;
/// The middle of what a viewer says while it tells movements (QEMU's pointer motion change).
const MIDDLE: i32 = 0x7fff;

/// One viewer's.
#[derive(Debug, Default)]
pub(crate) struct Pointer {
    buttons: u16,
}

impl Pointer {
    /// At `x`, `y`, with these buttons down; `relative`: the viewer tells movements.
    pub(crate) fn event(
        &mut self,
        buttons: u16,
        x: u16,
        y: u16,
        relative: bool,
        inputs: &mut Vec<Input>,
    ) {
        let pressed = buttons & !self.buttons;
        let wheel = i32::from(pressed & WHEEL_DOWN != 0) - i32::from(pressed & WHEEL_UP != 0);
        let (x, y) = (i32::from(x), i32::from(y));
        if relative {
            let (x, y) = (x - MIDDLE, y - MIDDLE);
            if (x, y, wheel) != (0, 0, 0) {
                inputs.push(Input::Motion { x, y, wheel });
            }
        } else {
            inputs.push(Input::Position { x, y, wheel });
        }
        self.buttons(buttons, inputs);
    }

    fn buttons(&mut self, buttons: u16, inputs: &mut Vec<Input>) {
        for (bit, code) in BUTTONS.iter().enumerate() {
            let (Some(code), 1) = (code, (buttons ^ self.buttons) >> bit & 1) else {
                continue;
            };
            inputs.push(Input::Key {
                code: *code,
                pressed: buttons >> bit & 1 != 0,
            });
        }
        self.buttons = buttons;
    }

    /// Lets go of all buttons.
    pub(crate) fn release_all(&mut self, inputs: &mut Vec<Input>) {
        self.buttons(0, inputs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buttons_and_wheel_are_told_when_they_change() {
        let mut pointer = Pointer::default();
        let mut inputs = Vec::new();
        pointer.event(1, 10, 20, false, &mut inputs);
        pointer.event(1 | WHEEL_UP, 10, 20, false, &mut inputs);
        pointer.event(1, 0x7fff + 3, 0x7fff - 2, true, &mut inputs);
        pointer.release_all(&mut inputs);
        let button = |pressed| Input::Key {
            code: 0x110,
            pressed,
        };
        let position = |wheel| Input::Position {
            x: 10,
            y: 20,
            wheel,
        };
        let motion = Input::Motion {
            x: 3,
            y: -2,
            wheel: 0,
        };
        assert_eq!(
            inputs,
            [
                position(0),
                button(true),
                position(-1),
                motion,
                button(false)
            ]
        );
    }
}
