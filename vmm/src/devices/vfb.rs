//! Screens: what a guest's frame buffer shows, kept ready for whoever shows it to people.
//!
//! ```text
//!   front end: page, frames --connect--> Screen     UPDATE, RESIZE --attendant--> Damage
//!   Display (shared): take() -> size, changed parts      pixels(part) -> bytes, copied from guest memory
//!     '-- control socket      '-- Picture: viewers (VNC), who are woken when something changes
//! ```
//! Nothing is copied until somebody asks for it. The control socket and the viewers each are told of every change.

use crate::devices::attendant::{self, Attendant};
use crate::devices::backend::{Backend, ConnectError, Context, Frontend, Published, Reporter};
use crate::domain::calls::lock;
use crate::viewers::{self, Picture as Shown, Server, Touch};
use crate::vstate::memory::GuestMemory;
use noxen_control::device::VncSpec;
use noxen_control::screen::{Part, Picture, MAX_PIXEL_BYTES};
use noxen_control::DeviceId;
use noxen_devices::pv::damage::Damage;
use noxen_devices::pv::fb::{self, Change, FbError, Geometry, Rectangle, Screen, Width};
use noxen_display::{Size, Surface};
use noxen_saved_image::device as state;
use noxen_saved_image::Device;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

/// Least and most of a screen's memory, MiB. The guest's page cannot describe more than the latter.
const VIDEORAM_MIB: std::ops::RangeInclusive<u32> = 1..=1024;

/// A screen as those see it who show it.
#[derive(Debug)]
pub struct Display {
    memory: GuestMemory,
    state: Mutex<Option<State>>,
    /// Written when something changes.
    wake: Mutex<Option<Arc<OwnedFd>>>,
}

#[derive(Debug)]
struct State {
    screen: Screen,
    /// What the control socket has not been told yet.
    told: Damage,
    /// What viewers have not been told yet.
    seen: Damage,
}

impl State {
    fn changed(&mut self, part: Rectangle) {
        self.told.add(part);
        self.seen.add(part);
    }
}

/// What viewers see while no front end draws.
const EMPTY: Size = Size {
    width: 640,
    height: 400,
};

impl Display {
    fn new(memory: GuestMemory) -> Display {
        Display {
            memory,
            state: Mutex::new(None),
            wake: Mutex::new(None),
        }
    }

    /// Its size, and what has changed since the last call; nothing while no front end uses it.
    pub fn take(&self) -> Option<Picture> {
        let mut state = lock(&self.state);
        let state = state.as_mut()?;
        let geometry = state.screen.geometry();
        Some(Picture {
            width: geometry.width,
            height: geometry.height,
            depth: geometry.depth,
            changed: state.told.take().into_iter().map(part).collect(),
        })
    }

    /// The pixels of `part`, line after line; an error line says why not.
    pub fn pixels(&self, part: Part) -> Result<Vec<u8>, String> {
        let state = lock(&self.state);
        let screen = match state.as_ref() {
            Some(state) => &state.screen,
            None => return Err("no front end uses it".into()),
        };
        let geometry = screen.geometry();
        let inside = |start: u32, length: u32, side: u32| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= side)
        };
        if !inside(part.x, part.width, geometry.width)
            || !inside(part.y, part.height, geometry.height)
        {
            return Err(format!(
                "{part:?} is not within the screen of {}x{}",
                geometry.width, geometry.height
            ));
        }
        let pixel = geometry.depth as usize / 8;
        let wanted = part.width as usize * pixel;
        let bytes = wanted * part.height as usize;
        if bytes > MAX_PIXEL_BYTES {
            return Err(format!(
                "{part:?} is {bytes} bytes; at most {MAX_PIXEL_BYTES} go at a time"
            ));
        }
        let mut pixels = Vec::with_capacity(bytes);
        let mut line = vec![0; geometry.line_bytes()];
        let first = part.x as usize * pixel;
        for y in part.y..part.y + part.height {
            screen
                .read_line(&self.memory, y, &mut line)
                .map_err(|error| error.to_string())?;
            pixels.extend_from_slice(&line[first..first + wanted]);
        }
        Ok(pixels)
    }

    fn connect(&self, screen: Screen) {
        let mut state = State {
            told: Damage::default(),
            seen: Damage::default(),
            screen,
        };
        state.changed(whole(state.screen.geometry()));
        *lock(&self.state) = Some(state);
        self.wake();
    }

    fn disconnect(&self) {
        *lock(&self.state) = None;
        self.wake();
    }

    fn wake(&self) {
        if let Some(wake) = &*lock(&self.wake) {
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
    }

    /// Takes what the guest says.
    fn follow(&self) -> Result<(), FbError> {
        let mut state = lock(&self.state);
        let Some(state) = state.as_mut() else {
            return Ok(());
        };
        let changes = state.screen.changes(&self.memory)?;
        let any = !changes.is_empty();
        for change in changes {
            match change {
                Change::Update(part) => state.changed(part),
                Change::Resize(geometry) => {
                    // Parts of the old picture may lie outside of the new one.
                    (state.told, state.seen) = (Damage::default(), Damage::default());
                    state.changed(whole(geometry));
                }
            }
        }
        if any {
            self.wake();
        }
        Ok(())
    }
}

impl Surface for Display {
    fn size(&self) -> Size {
        let state = lock(&self.state);
        let geometry = state.as_ref().map(|state| state.screen.geometry());
        geometry.map_or(EMPTY, |g| Size::new(g.width, g.height))
    }

    fn read(&self, part: Part, into: &mut Vec<u32>) {
        let end = into.len() + part.width as usize * part.height as usize;
        if let Some(state) = lock(&self.state).as_ref() {
            let geometry = state.screen.geometry();
            let pixel = geometry.depth as usize / 8;
            let mut line = vec![0; part.width as usize * pixel];
            for y in part.y..part.y.saturating_add(part.height).min(geometry.height) {
                line.fill(0);
                // A frame that cannot be read is black; the attendant reports what is wrong with the ring.
                let from = part.x as usize * pixel;
                let _ = state.screen.read_span(&self.memory, from, y, &mut line);
                into.extend(line.chunks_exact(pixel).map(colour));
            }
        }
        into.resize(end, 0);
    }
}

/// A pixel of 8 (three bits of red and green, two of blue), 16 (5, 6, 5), 24 or 32 bits, as `0x00RRGGBB`.
fn colour(pixel: &[u8]) -> u32 {
    let spread = |value: u32, bits: u32| value * 255 / ((1 << bits) - 1);
    match *pixel {
        [byte] => {
            let byte = u32::from(byte);
            spread(byte >> 5, 3) << 16 | spread(byte >> 2 & 7, 3) << 8 | spread(byte & 3, 2)
        }
        [low, high] => {
            let word = u32::from(high) << 8 | u32::from(low);
            spread(word >> 11, 5) << 16 | spread(word >> 5 & 63, 6) << 8 | spread(word & 31, 5)
        }
        [blue, green, red, ..] => u32::from_le_bytes([blue, green, red, 0]),
        [] => 0,
    }
}

impl Shown for Display {
    fn take_changes(&self) -> Vec<Part> {
        let mut state = lock(&self.state);
        match state.as_mut() {
            Some(state) => state.seen.take().into_iter().map(part).collect(),
            None => vec![EMPTY.whole()],
        }
    }

    fn tell(&self, wake: Arc<OwnedFd>) {
        *lock(&self.wake) = Some(wake);
    }
}

fn part(r: Rectangle) -> Part {
    Part {
        x: r.x,
        y: r.y,
        width: r.width,
        height: r.height,
    }
}

fn whole(geometry: Geometry) -> Rectangle {
    Rectangle {
        x: 0,
        y: 0,
        width: geometry.width,
        height: geometry.height,
    }
}

/// One screen's back end.
pub struct Vfb {
    id: DeviceId,
    context: Context,
    limit: u64,
    display: Arc<Display>,
    attendant: Option<Attendant>,
    /// The form that the guest had chosen before it was stopped.
    chosen: Option<Geometry>,
    server: Option<Server>,
    /// Where its viewers connect, once more.
    listener: Option<OwnedFd>,
}

/// Makes the back end of screen `id`.
pub fn make(id: DeviceId, videoram_mib: u32, context: &Context) -> Result<Vfb, String> {
    if !VIDEORAM_MIB.contains(&videoram_mib) {
        return Err(format!(
            "videoram of {videoram_mib} MiB; {} to {} are possible",
            VIDEORAM_MIB.start(),
            VIDEORAM_MIB.end()
        ));
    }
    Ok(Vfb {
        id,
        context: context.clone(),
        limit: u64::from(videoram_mib) << 20,
        display: Arc::new(Display::new(context.memory().clone())),
        attendant: None,
        chosen: None,
        server: None,
        listener: None,
    })
}

impl Vfb {
    /// What it shows.
    pub fn display(&self) -> Arc<Display> {
        self.display.clone()
    }

    /// Shows it to those who connect to the socket in `fds`, as `spec` says; `touch` takes what they do.
    pub fn serve(
        &mut self,
        spec: &VncSpec,
        fds: Vec<OwnedFd>,
        touch: Box<dyn Touch>,
    ) -> Result<(), String> {
        let Ok([listener]) = <[OwnedFd; 1]>::try_from(fds) else {
            return Err("VNC needs one descriptor, a listening socket".into());
        };
        self.listener = Some(listener.try_clone().map_err(|error| error.to_string())?);
        let house = viewers::house(spec)?;
        let hub = self.context.hub().clone();
        let server = Server::start(
            format!("vnc-{}", self.id.devid),
            TcpListener::from(listener),
            house,
            self.display.clone(),
            touch,
            Box::new(move |level, line| hub.log.guest_line(level, line)),
        );
        self.server = Some(server.map_err(|error| format!("VNC: {error}"))?);
        Ok(())
    }
}

impl Backend for Vfb {
    fn features(&self) -> Published {
        fb::offered()
    }

    fn connect(
        &mut self,
        frontend: &mut Frontend<'_>,
        reporter: Reporter,
    ) -> Result<Published, ConnectError> {
        let width = match frontend.text("protocol")?.as_deref() {
            None | Some("x86_64-abi") => Width::Bits64,
            Some("x86_32-abi") => Width::Bits32,
            Some(other) => {
                return Err(ConnectError::refused(format_args!(
                    "protocol is {other:?}; x86_64-abi and x86_32-abi are served"
                )))
            }
        };
        let wire = attendant::read(&self.context, frontend)?;
        let memory = self.context.memory();
        let mut screen = Screen::new(memory, wire.page, width, self.context.ram_end(), self.limit)
            .map_err(ConnectError::refused)?;
        if let Some(chosen) = self.chosen.take() {
            screen.take_up(chosen).map_err(ConnectError::refused)?;
        }
        self.display.connect(screen);
        let display = self.display.clone();
        let attendant = Attendant::start(
            format!("vfb-{}", self.id.devid),
            wire.channel,
            move || display.follow(),
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
        self.display.disconnect();
    }

    fn freeze(&mut self) -> Device {
        self.attendant = None;
        let shown = lock(&self.display.state).take();
        self.display.wake();
        self.chosen = shown.map(|state| state.screen.geometry());
        let geometry = self.chosen.map(|g| state::Geometry {
            width: g.width,
            height: g.height,
            depth: g.depth,
            stride: g.stride,
            offset: g.offset,
        });
        Device::Vfb(state::Vfb {
            devid: self.id.devid,
            geometry,
        })
    }

    fn take_up(&mut self, saved: Device) {
        let Device::Vfb(state::Vfb {
            geometry: Some(g), ..
        }) = saved
        else {
            return;
        };
        self.chosen = Some(Geometry {
            width: g.width,
            height: g.height,
            depth: g.depth,
            stride: g.stride,
            offset: g.offset,
        });
    }

    fn again(&self) -> Result<Vec<OwnedFd>, String> {
        let again = |fd: &OwnedFd| fd.try_clone().map_err(|error| error.to_string());
        self.listener.iter().map(again).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestAddress};

    /// A front end's page at 0x1000, its list of frames at 0x2000, frames 3 and 4: 32 x 48 pixels of 32 bits.
    fn display() -> Display {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 0x8000)]).unwrap();
        for (at, value) in [
            (0x1010u64, 32u32),
            (0x1014, 48),
            (0x1018, 128),
            (0x101c, 0x2000),
        ] {
            memory.write_obj(value, GuestAddress(at)).unwrap();
        }
        memory.write_obj(32u8, GuestAddress(0x1020)).unwrap();
        memory.write_obj(2u64, GuestAddress(0x1028)).unwrap();
        for (index, frame) in [3u64, 4].into_iter().enumerate() {
            let at = GuestAddress(0x2000 + 8 * index as u64);
            memory.write_obj(frame, at).unwrap();
        }
        let page = GuestAddress(0x1000);
        let screen = Screen::new(&memory, page, Width::Bits64, 8, 1 << 20).unwrap();
        let display = Display::new(memory);
        display.connect(screen);
        display
    }

    fn area(x: u32, y: u32, width: u32, height: u32) -> Part {
        Part {
            x,
            y,
            width,
            height,
        }
    }

    #[test]
    fn part_of_the_picture_is_read_across_frames() {
        let display = display();
        // Line 31 is the last in the first frame.
        for (at, byte) in [(0x3000 + 31 * 128 + 40, 0x31u8), (0x4000 + 40, 0x32)] {
            display.memory.write_obj(byte, GuestAddress(at)).unwrap();
        }
        let pixels = display.pixels(area(10, 31, 2, 2)).unwrap();
        assert_eq!(pixels.len(), 16);
        assert_eq!((pixels[0], pixels[8]), (0x31, 0x32));
    }

    #[test]
    fn part_outside_of_the_picture_is_named() {
        let display = display();
        for wrong in [
            area(31, 0, 2, 1),
            area(0, 48, 1, 1),
            area(0, 0, 0, 1),
            area(u32::MAX, 0, 2, 1),
        ] {
            let line = display.pixels(wrong).unwrap_err();
            assert!(line.contains("32x48"), "{line}");
        }
    }

    #[test]
    fn picture_is_new_at_first_and_unchanged_then() {
        let display = display();
        let picture = display.take().unwrap();
        assert_eq!((picture.width, picture.height, picture.depth), (32, 48, 32));
        assert_eq!(picture.changed, [area(0, 0, 32, 48)]);
        display.follow().unwrap();
        assert!(display.take().unwrap().changed.is_empty());
        *lock(&display.state) = None;
        assert!(display.take().is_none() && display.pixels(area(0, 0, 1, 1)).is_err());
    }

    #[test]
    fn viewers_see_what_the_guest_drew_and_are_told_apart_from_the_control_socket() {
        let display = display();
        let blue = [0x3000u64 + 31 * 128 + 40, 0x4000 + 40];
        for at in blue {
            display
                .memory
                .write_obj(0xff01_0203u32, GuestAddress(at))
                .unwrap();
        }
        let mut pixels = Vec::new();
        display.read(area(9, 31, 2, 2), &mut pixels);
        assert_eq!(pixels, [0, 0x010203, 0, 0x010203]);
        display.take().unwrap();
        assert_eq!(display.take_changes(), [area(0, 0, 32, 48)]);
        assert!(display.take_changes().is_empty());
        display.disconnect();
        pixels.clear();
        display.read(area(0, 0, 2, 1), &mut pixels);
        assert_eq!((display.size(), pixels), (EMPTY, vec![0, 0]));
    }

    #[test]
    fn colours_of_all_depths_are_spread() {
        assert_eq!(
            [colour(&[0xff]), colour(&[0xe0]), colour(&[1])],
            [0xff_ffff, 0xff_0000, 0x55]
        );
        assert_eq!(
            [colour(&[0, 0xf8]), colour(&[0xe0, 0x07])],
            [0xff_0000, 0x00_ff00]
        );
        assert_eq!(
            [colour(&[1, 2, 3]), colour(&[1, 2, 3, 4])],
            [0x03_0201, 0x03_0201]
        );
    }
}
