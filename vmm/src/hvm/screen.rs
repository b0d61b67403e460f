//! The display of an HVM domain for its viewers, and what they do for its keyboard and pointer.
//!
//! ```text
//!   viewers' thread: look --> Pc (its lock, shortly) --> View --> changed parts; pixels from the View, without the lock
//!                    keys, pointer --> Pc --> the first device that takes them
//! ```

use crate::domain::hub::lock;
use crate::hvm::pc::Pc;
use crate::viewers::{Picture, Touch};
use noxen_control::screen::{Input, Part};
use noxen_display::{Size, Surface};
use noxen_pc::vga::{Area, View, Watcher};
use noxen_pc::{Pointing, Touch as Done};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often the display is looked at while somebody wants to see.
const PERIOD: Duration = Duration::from_millis(16);
/// The size of a machine without a display.
const NOTHING: Size = Size {
    width: 640,
    height: 400,
};

/// What viewers see.
#[derive(Debug)]
pub struct Screen {
    pc: Arc<Pc>,
    looked: Mutex<Looked>,
}

#[derive(Debug, Default)]
struct Looked {
    watcher: Watcher,
    view: Option<View>,
}

impl Screen {
    /// The display of `pc`.
    pub fn new(pc: Arc<Pc>) -> Screen {
        Screen {
            pc,
            looked: Mutex::default(),
        }
    }
}

impl Surface for Screen {
    fn size(&self) -> Size {
        let looked = lock(&self.looked);
        let size = looked.view.as_ref().map(View::size);
        size.map_or(NOTHING, |(width, height)| Size::new(width, height))
    }

    fn read(&self, part: Part, into: &mut Vec<u32>) {
        let view = lock(&self.looked).view.clone();
        let area = Area {
            x: part.x,
            y: part.y,
            width: part.width,
            height: part.height,
        };
        match view {
            Some(view) => view.read(area, into),
            None => into.resize(into.len() + (part.width * part.height) as usize, 0),
        }
    }
}

impl Picture for Screen {
    fn take_changes(&self) -> Vec<Part> {
        let Some(view) = self.pc.view() else {
            return Vec::new();
        };
        let mut looked = lock(&self.looked);
        let changed = looked.watcher.look(&view);
        looked.view = Some(view);
        let part = |area: Area| Part {
            x: area.x,
            y: area.y,
            width: area.width,
            height: area.height,
        };
        changed.into_iter().map(part).collect()
    }

    fn tell(&self, _: Arc<OwnedFd>) {
        // Nobody knows of changes before somebody looks.
    }

    fn period(&self) -> Option<Duration> {
        Some(PERIOD)
    }
}

/// What viewers do.
#[derive(Debug)]
pub struct Fingers(pub Arc<Pc>);

impl Touch for Fingers {
    fn push(&self, inputs: &[Input], size: Size) {
        for input in inputs {
            let done = match *input {
                Input::Key { code, pressed } => match u16::try_from(code) {
                    Ok(code) => Done::Key { code, pressed },
                    Err(_) => continue,
                },
                Input::Motion { x, y, wheel } => Done::Motion { x, y, wheel },
                Input::Position { x, y, wheel } => Done::Position {
                    x,
                    y,
                    wheel,
                    width: size.width.into(),
                    height: size.height.into(),
                },
            };
            self.0.touch(done);
        }
    }

    fn is_absolute(&self) -> bool {
        self.0.pointing() == Some(Pointing::Absolute)
    }
}
