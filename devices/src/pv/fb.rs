//! Framebuffer back end (public/io/fbif.h): what the guest shows, for a display server to read.
//!
//! ```text
//!   page: geometry, pd[] = frames that list frames --> Screen { frames }   read once, checked, at connect
//!   guest: UPDATE rectangle, RESIZE geometry --------> Change              clipped to the screen
//!   server: read_line(y) ------ copies from guest memory      set_period(ms) --> REFRESH_PERIOD
//! ```
//! The pages are the guest's own memory, given by frame number and not by grant; frames outside of its RAM
//! are refused. The guest may draw at any time: a torn picture is its own.

use super::events::{EventError, Events, Place, EVENT};
use noxen_pv_abi::codec::AbiValue;
use noxen_pv_abi::fbif::{
    FbInType, FbOutType, FbRefreshPeriod, FbResize, FbUpdate, IN_RING_LEN, IN_RING_OFFS,
    OUT_RING_LEN, OUT_RING_OFFS,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

const PAGE: u64 = 4096;
/// Largest width and height, pixels.
pub const MAX_SIDE: u32 = 8192;

/// What the back end writes before it waits for a front end.
pub fn offered() -> Vec<(&'static str, String)> {
    vec![
        ("feature-resize", "1".to_owned()),
        ("request-update", "1".to_owned()),
    ]
}

/// Why a screen cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FbError {
    /// The page's rings.
    #[error(transparent)]
    Events(#[from] EventError),
    /// A geometry that cannot be.
    #[error("a screen of {width}x{height}, {depth} bits, {stride} bytes a line, from byte {offset} of {memory}")]
    Geometry {
        /// Pixels.
        width: i32,
        /// Lines.
        height: i32,
        /// Bits per pixel.
        depth: i32,
        /// Bytes per line.
        stride: i32,
        /// First byte.
        offset: i32,
        /// Bytes there are.
        memory: u64,
    },
    /// More memory than the domain may show, or than the page can describe.
    #[error("a framebuffer of {0} bytes; at most {1} are possible")]
    TooLarge(u64, u64),
    /// A frame that is not the guest's RAM.
    #[error("framebuffer frame {0:#x} is not the guest's RAM")]
    Frame(u64),
}

/// Form of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Pixels.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bits per pixel: 8, 16, 24 or 32.
    pub depth: u32,
    /// Bytes per line.
    pub stride: u32,
    /// First byte.
    pub offset: u32,
}

impl Geometry {
    /// Checks what a guest says, for a framebuffer of `memory` bytes.
    fn new(
        [width, height, depth, stride, offset]: [i32; 5],
        memory: u64,
    ) -> Result<Geometry, FbError> {
        let error = FbError::Geometry {
            width,
            height,
            depth,
            stride,
            offset,
            memory,
        };
        let number = |value: i32| u32::try_from(value).map_err(|_| error.clone());
        let geometry = Geometry {
            width: number(width)?,
            height: number(height)?,
            depth: number(depth)?,
            stride: number(stride)?,
            offset: number(offset)?,
        };
        let sides = 1..=MAX_SIDE;
        let line = u64::from(geometry.width) * u64::from(geometry.depth) / 8;
        let end = u64::from(geometry.offset)
            + u64::from(geometry.height.saturating_sub(1)) * u64::from(geometry.stride)
            + line;
        let good = sides.contains(&geometry.width)
            && sides.contains(&geometry.height)
            && matches!(geometry.depth, 8 | 16 | 24 | 32)
            && u64::from(geometry.stride) >= line
            && end <= memory;
        good.then_some(geometry).ok_or(error)
    }

    /// Bytes of the pixels of a line.
    pub fn line_bytes(&self) -> usize {
        self.width as usize * self.depth as usize / 8
    }
}

/// A part of the picture, inside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rectangle {
    /// From the left.
    pub x: u32,
    /// From the top.
    pub y: u32,
    /// Pixels, not 0.
    pub width: u32,
    /// Lines, not 0.
    pub height: u32,
}

/// What the guest did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It drew there.
    Update(Rectangle),
    /// Everything is different.
    Resize(Geometry),
}

/// Layout of the header: that of a 64-bit or of a 32-bit guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// `protocol` = x86_64-abi.
    Bits64,
    /// `protocol` = x86_32-abi.
    Bits32,
}

impl Width {
    /// Bytes of a frame number, first byte of `pd`.
    fn directory(self) -> (u64, u64) {
        match self {
            Width::Bits64 => (8, 40),
            Width::Bits32 => (4, 36),
        }
    }
}

/// One screen.
#[derive(Debug)]
pub struct Screen {
    events: Events,
    frames: Vec<GuestAddress>,
    memory_length: u64,
    geometry: Geometry,
}

impl Screen {
    /// The screen that the page at `page` describes; its frames are below `ram_end` (a frame number), its
    /// size at most `limit` bytes (`videoram`).
    pub fn new<M: GuestMemoryBackend>(
        memory: &M,
        page: GuestAddress,
        width: Width,
        ram_end: u64,
        limit: u64,
    ) -> Result<Screen, FbError> {
        let inward = Place {
            at: IN_RING_OFFS as u64,
            length: IN_RING_LEN,
        };
        let outward = Place {
            at: OUT_RING_OFFS as u64,
            length: OUT_RING_LEN,
        };
        let events = Events::new(memory, page, inward, outward)?;
        let mut header = [0; 40];
        memory
            .read_slice(&mut header, page)
            .map_err(|_| EventError::Page(page.0))?;
        let word = |at: usize| u32::decode(&header[at..]);
        let memory_length = u64::from(word(28));
        let form = [16, 20, 32, 24, 0].map(word).map(|value| value as i32);
        let form = [form[0], form[1], i32::from(header[32]), form[3], 0];
        let geometry = Geometry::new(form, memory_length)?;
        let frames = frames(memory, page, width, memory_length, ram_end, limit)?;
        Ok(Screen {
            events,
            frames,
            memory_length,
            geometry,
        })
    }

    /// Its form.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Goes on with the form that the guest had chosen, which its page need not have.
    pub fn take_up(&mut self, geometry: Geometry) -> Result<(), FbError> {
        let Geometry {
            width,
            height,
            depth,
            stride,
            offset,
        } = geometry;
        // What is no number to the guest is none that it chose.
        let form = [width, height, depth, stride, offset].map(|v| i32::try_from(v).unwrap_or(-1));
        self.geometry = Geometry::new(form, self.memory_length)?;
        Ok(())
    }

    /// What has changed since the last call, at most a ring full.
    pub fn changes<M: GuestMemoryBackend>(&mut self, memory: &M) -> Result<Vec<Change>, FbError> {
        let mut changes = Vec::new();
        for _ in 0..OUT_RING_LEN {
            let Some(event) = self.events.take(memory)? else {
                break;
            };
            match FbOutType(event[0]) {
                FbOutType::UPDATE => {
                    let update = FbUpdate::decode(&event);
                    changes.extend(self.clip(&update).map(Change::Update));
                }
                FbOutType::RESIZE => {
                    let resize = FbResize::decode(&event);
                    let form = [
                        resize.width,
                        resize.height,
                        resize.depth,
                        resize.stride,
                        resize.offset,
                    ];
                    self.geometry = Geometry::new(form, self.memory_length)?;
                    changes.push(Change::Resize(self.geometry));
                }
                // Events that are not known are passed over (fbif.h).
                _ => {}
            }
        }
        Ok(changes)
    }

    fn clip(&self, update: &FbUpdate) -> Option<Rectangle> {
        let side = |from: i32, length: i32, limit: u32| {
            let start = i64::from(from).clamp(0, i64::from(limit));
            let end = (i64::from(from) + i64::from(length)).clamp(0, i64::from(limit));
            (end > start).then_some((start as u32, (end - start) as u32))
        };
        let (x, width) = side(update.x, update.width, self.geometry.width)?;
        let (y, height) = side(update.y, update.height, self.geometry.height)?;
        Some(Rectangle {
            x,
            y,
            width,
            height,
        })
    }

    /// Copies the pixels of line `y` into the front of `line` ([`Geometry::line_bytes`]).
    pub fn read_line<M: GuestMemoryBackend>(
        &self,
        memory: &M,
        y: u32,
        line: &mut [u8],
    ) -> Result<(), FbError> {
        let wanted = self.geometry.line_bytes().min(line.len());
        self.read_span(memory, 0, y, &mut line[..wanted])
    }

    /// Copies bytes of line `y` from byte `from` on; what would go beyond the line's end is left as it is.
    pub fn read_span<M: GuestMemoryBackend>(
        &self,
        memory: &M,
        from: usize,
        y: u32,
        into: &mut [u8],
    ) -> Result<(), FbError> {
        let wanted = self
            .geometry
            .line_bytes()
            .saturating_sub(from)
            .min(into.len());
        let y = u64::from(y.min(self.geometry.height - 1));
        let mut at =
            u64::from(self.geometry.offset) + y * u64::from(self.geometry.stride) + from as u64;
        let mut done = 0;
        while done < wanted {
            let inside = at % PAGE;
            let part = ((PAGE - inside) as usize).min(wanted - done);
            // The geometry lies within the memory, and that within the frames.
            let frame = self.frames[(at / PAGE) as usize];
            memory
                .read_slice(&mut into[done..done + part], GuestAddress(frame.0 + inside))
                .map_err(|_| FbError::Frame(frame.0 / PAGE))?;
            done += part;
            at += part as u64;
        }
        Ok(())
    }

    /// Tells the guest how often anybody looks (ms; `None`: nobody does); true: notify it.
    pub fn set_period<M: GuestMemoryBackend>(
        &mut self,
        memory: &M,
        period: Option<u32>,
    ) -> Result<bool, FbError> {
        let mut refresh = FbRefreshPeriod::ZERO;
        refresh.kind = FbInType::REFRESH_PERIOD.0;
        refresh.period = period.unwrap_or(noxen_pv_abi::fbif::NO_REFRESH);
        let mut event = [0; EVENT];
        refresh.encode(&mut event);
        Ok(self.events.put(memory, &event)?)
    }
}

/// The frames of a framebuffer of `length` bytes, through the lists that the page names.
fn frames<M: GuestMemoryBackend>(
    memory: &M,
    page: GuestAddress,
    width: Width,
    length: u64,
    ram_end: u64,
    limit: u64,
) -> Result<Vec<GuestAddress>, FbError> {
    let (size, start) = width.directory();
    // Entries from there on lie under the rings.
    let lists = (IN_RING_OFFS as u64 - start) / size;
    let per_list = PAGE / size;
    let most = limit.min(lists * per_list * PAGE);
    if length > most {
        return Err(FbError::TooLarge(length, most));
    }
    let number = |at: GuestAddress| -> Result<u64, FbError> {
        let mut bytes = [0; 8];
        memory
            .read_slice(&mut bytes[..size as usize], at)
            .map_err(|_| FbError::Frame(at.0 / PAGE))?;
        Ok(u64::from_le_bytes(bytes))
    };
    let in_ram = |frame: u64| {
        let address = GuestAddress(frame.wrapping_mul(PAGE));
        let good = frame < ram_end && memory.get_slice(address, PAGE as usize).is_ok();
        good.then_some(address).ok_or(FbError::Frame(frame))
    };
    let count = length.div_ceil(PAGE);
    let mut frames = Vec::with_capacity(count as usize);
    for list in 0..count.div_ceil(per_list) {
        let base = in_ram(number(GuestAddress(page.0 + start + list * size))?)?;
        for entry in 0..per_list.min(count - list * per_list) {
            frames.push(in_ram(number(GuestAddress(base.0 + entry * size))?)?);
        }
    }
    Ok(frames)
}

#[cfg(test)]
#[path = "fb_tests.rs"]
mod tests;
