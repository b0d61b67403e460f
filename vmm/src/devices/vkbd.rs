//! Keyboards and pointers: what people do, for a guest's front end.
//!
//! ```text
//!   Keys (shared): push(inputs) --> Keyboard --> ring --> guest, notified
//!   guest has read --attendant--> Keyboard: what was pending
//! ```

use crate::devices::attendant::{self, Attendant};
use crate::devices::backend::{Backend, ConnectError, Context, Frontend, Published, Reporter};
use crate::domain::calls::lock;
use crate::vstate::irq::Channel;
use crate::vstate::memory::GuestMemory;
use noxen_control::screen::{Input as Asked, MAX_INPUTS};
use noxen_control::DeviceId;
use noxen_devices::pv::events::EventError;
use noxen_devices::pv::kbd::{self, Input, Keyboard};
use noxen_display::Size;
use noxen_saved_image::device as state;
use noxen_saved_image::Device;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

/// A keyboard and pointer as those see it who feed it.
#[derive(Debug)]
pub struct Keys {
    memory: GuestMemory,
    size: (u32, u32),
    state: Mutex<Option<(Keyboard, Arc<Channel>)>>,
}

impl Keys {
    /// Hands the guest `inputs`; an error line says what was lost.
    pub fn push(&self, inputs: &[Asked]) -> Result<(), String> {
        if inputs.len() > MAX_INPUTS {
            return Err(format!(
                "{} events; at most {MAX_INPUTS} go at a time",
                inputs.len()
            ));
        }
        let mut state = lock(&self.state);
        let Some((keyboard, channel)) = state.as_mut() else {
            return Err("no front end uses it".into());
        };
        let taken = inputs
            .iter()
            .filter(|asked| keyboard.push(input(**asked)))
            .count();
        // A ring that is broken is reported by the attendant, which the guest's next notification wakes.
        if keyboard.service(&self.memory) == Ok(true) {
            channel.kick();
        }
        match inputs.len() - taken {
            0 => Ok(()),
            lost => Err(format!("{lost} events were lost: the guest reads none")),
        }
    }

    /// Hands the guest what a viewer did; positions are on a screen of `screen`. What the guest does not take is lost.
    pub fn push_scaled(&self, inputs: &[Asked], screen: Size) {
        let scale = |at: i32, from: u16, to: u32| {
            let scaled = i64::from(at) * i64::from(to) / i64::from(from.max(1));
            scaled.clamp(0, i64::from(to.saturating_sub(1))) as i32
        };
        let fit = |input: &Asked| match *input {
            Asked::Position { x, y, wheel } => Asked::Position {
                x: scale(x, screen.width, self.size.0),
                y: scale(y, screen.height, self.size.1),
                wheel,
            },
            other => other,
        };
        let inputs: Vec<Asked> = inputs.iter().map(fit).collect();
        for some in inputs.chunks(MAX_INPUTS) {
            // A guest that takes nothing has lost it; its viewer sees as much.
            let _ = self.push(some);
        }
    }

    /// The front end takes positions; so does one that is not there yet.
    pub fn is_absolute(&self) -> bool {
        let state = lock(&self.state);
        state
            .as_ref()
            .is_none_or(|(keyboard, _)| keyboard.is_absolute())
    }

    /// Goes on with what is pending.
    fn follow(&self) -> Result<(), EventError> {
        if let Some((keyboard, channel)) = lock(&self.state).as_mut() {
            if keyboard.service(&self.memory)? {
                channel.kick();
            }
        }
        Ok(())
    }
}

fn input(asked: Asked) -> Input {
    match asked {
        Asked::Key { code, pressed } => Input::Key { code, pressed },
        Asked::Motion { x, y, wheel } => Input::Motion { x, y, wheel },
        Asked::Position { x, y, wheel } => Input::Position { x, y, wheel },
    }
}

/// An input as an image has it.
fn written(input: Input) -> state::Input {
    match input {
        Input::Key { code, pressed } => state::Input::Key { code, pressed },
        Input::Motion { x, y, wheel } => state::Input::Motion { x, y, wheel },
        Input::Position { x, y, wheel } => state::Input::Position { x, y, wheel },
    }
}

/// The other way round.
fn read(input: state::Input) -> Input {
    match input {
        state::Input::Key { code, pressed } => Input::Key { code, pressed },
        state::Input::Motion { x, y, wheel } => Input::Motion { x, y, wheel },
        state::Input::Position { x, y, wheel } => Input::Position { x, y, wheel },
    }
}

/// The last position told, and what was pending.
type Before = (Option<(i32, i32)>, Vec<Input>);

/// One keyboard's back end.
pub struct Vkbd {
    id: DeviceId,
    context: Context,
    size: (u32, u32),
    keys: Arc<Keys>,
    attendant: Option<Attendant>,
    /// Where it stood when the guest was stopped.
    before: Option<Before>,
}

/// Makes the back end of keyboard `id`, positions of which lie on a screen of `size`.
pub fn make(id: DeviceId, size: (u32, u32), context: &Context) -> Vkbd {
    Vkbd {
        id,
        context: context.clone(),
        size,
        keys: Arc::new(Keys {
            memory: context.memory().clone(),
            size,
            state: Mutex::new(None),
        }),
        attendant: None,
        before: None,
    }
}

impl Vkbd {
    /// The way to it.
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.clone()
    }
}

impl Backend for Vkbd {
    fn features(&self) -> Published {
        kbd::offered(self.size.0, self.size.1)
    }

    fn connect(
        &mut self,
        frontend: &mut Frontend<'_>,
        reporter: Reporter,
    ) -> Result<Published, ConnectError> {
        let absolute = frontend.number("request-abs-pointer")? == Some(1);
        let wire = attendant::read(&self.context, frontend)?;
        let mut keyboard = Keyboard::new(self.context.memory(), wire.page, absolute)
            .map_err(ConnectError::refused)?;
        if let Some((last, pending)) = self.before.take() {
            keyboard.take_up(last, &pending);
        }
        *lock(&self.keys.state) = Some((keyboard, wire.channel.clone()));
        let keys = self.keys.clone();
        let attendant = Attendant::start(
            format!("vkbd-{}", self.id.devid),
            wire.channel,
            move || keys.follow(),
            move |error| reporter.broken(error),
        );
        if attendant.is_err() {
            self.disconnect();
        }
        self.attendant = Some(attendant.map_err(ConnectError::refused)?);
        Ok(Published::new())
    }

    fn disconnect(&mut self) {
        self.attendant = None;
        *lock(&self.keys.state) = None;
    }

    fn freeze(&mut self) -> Device {
        self.attendant = None;
        let state = lock(&self.keys.state).take();
        self.before = state.map(|(keyboard, _)| keyboard.state());
        let (last, pending) = self.before.clone().unwrap_or_default();
        Device::Vkbd(state::Vkbd {
            devid: self.id.devid,
            connected: self.before.is_some(),
            last,
            pending: pending.into_iter().map(written).collect(),
        })
    }

    fn take_up(&mut self, saved: Device) {
        if let Device::Vkbd(saved) = saved {
            let pending = saved.pending.into_iter().map(read).collect();
            self.before = Some((saved.last, pending));
        }
    }

    fn again(&self) -> Result<Vec<OwnedFd>, String> {
        Ok(Vec::new())
    }
}
