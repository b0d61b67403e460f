//! What the display shows: a copy of the registers that matter, and the memory, so that pictures are made while the guest
//! runs on.
//!
//! ```text
//!   Vga --view()--> View: form, palette, start, pitch, cursor, memory          one look
//!   Watcher: the look before --look(view)--> changed parts       text: cells; graphics: pages written --> lines
//!   View::read(part) --> 0x00RRGGBB
//! ```

use super::dispi::Mode;
use super::registers::Registers;
use super::text::{Cell, Text};
use crate::backing::{Backing, Pages};
use std::sync::Arc;

/// A part of the picture, pixels from the upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// From the left.
    pub x: u32,
    /// From the top.
    pub y: u32,
    /// Pixels.
    pub width: u32,
    /// Lines.
    pub height: u32,
}

/// Lines and pixels of the largest picture that the registers can describe.
pub const MAX_SIDE: u32 = 4096;
/// The size of a display that shows nothing.
const DARK: (u32, u32) = (640, 400);

/// How bytes become pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing is shown.
    Dark,
    /// Cells of characters.
    Text(Text),
    /// Four planes, a bit of each for a pixel.
    Planes,
    /// Two bits for a pixel, in planes 0 and 2, then 1 and 3 (CGA).
    Pairs,
    /// A byte for a pixel.
    Bytes,
    /// 15, 16, 24 or 32 bits for a pixel.
    Direct(u32),
}

/// A look at the display.
#[derive(Debug, Clone)]
pub struct View {
    pub(super) form: Form,
    pub(super) size: (u32, u32),
    /// Each pixel and each line of the memory is shown so often.
    pub(super) times: (u32, u32),
    /// Bytes from a line to the next.
    pub(super) pitch: u64,
    /// First byte.
    pub(super) start: u64,
    /// From this line on, the picture begins anew at byte 0.
    pub(super) split: u32,
    /// Pixels that the picture is moved to the left.
    pub(super) pan: u32,
    /// Odd lines lie 8 KiB higher, or second pairs 16 KiB (CGA, Hercules).
    pub(super) banks: (bool, bool),
    /// Colours of all indices.
    pub(super) palette: Arc<[u32; 256]>,
    /// Indices of the sixteen colours of the attribute controller.
    pub(super) sixteen: [u8; 16],
    /// A cursor that the display draws by itself.
    pub(super) sprite: Option<Sprite>,
    pub(super) memory: Arc<dyn Backing>,
}

/// A cursor over the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sprite {
    pub(super) x: u32,
    pub(super) y: u32,
    /// Pixels of a side.
    pub(super) side: u32,
    /// For each: 0 the picture, 1 its inverse, 2 and 3 a colour.
    pub(super) pixels: Arc<[u8]>,
    pub(super) colours: [u32; 2],
}

impl Sprite {
    /// What it covers of a picture of `size`.
    fn area(&self, (width, height): (u32, u32)) -> Option<Area> {
        let area = Area {
            x: self.x,
            y: self.y,
            width: self.side.min(width.saturating_sub(self.x)),
            height: self.side.min(height.saturating_sub(self.y)),
        };
        (area.width > 0 && area.height > 0).then_some(area)
    }

    /// Draws itself over `pixels`, which are those of `area`.
    fn draw(&self, area: Area, pixels: &mut [u32]) {
        let rows = self.y.max(area.y)..(self.y + self.side).min(area.y.saturating_add(area.height));
        for y in rows {
            let columns =
                self.x.max(area.x)..(self.x + self.side).min(area.x.saturating_add(area.width));
            for x in columns {
                let at = (y - area.y) as usize * area.width as usize + (x - area.x) as usize;
                let kind = self.pixels[((y - self.y) * self.side + x - self.x) as usize];
                pixels[at] = match kind {
                    0 => continue,
                    1 => pixels[at] ^ 0xff_ffff,
                    2 => self.colours[0],
                    _ => self.colours[1],
                };
            }
        }
    }
}

impl View {
    /// A view of registers and memory at `now`.
    pub(super) fn new(
        registers: &Registers,
        mode: Option<Mode>,
        wide: bool,
        memory: Arc<dyn Backing>,
        now: u64,
    ) -> View {
        let crt = |index: usize| u32::from(registers.crt[index]);
        let height = 1 + (crt(0x12) | (crt(7) & 2) << 7 | (crt(7) & 0x40) << 3);
        let columns = crt(1) + 1;
        let mut view = View {
            form: Form::Dark,
            size: DARK,
            times: (1, 1),
            pitch: u64::from(crt(0x13)) * 8,
            start: u64::from(crt(0x0c) << 8 | crt(0x0d)) * 4,
            split: crt(0x18) | (crt(7) & 0x10) << 4 | (crt(9) & 0x40) << 3,
            pan: 0,
            banks: (false, false),
            palette: Arc::new(std::array::from_fn(|index| {
                registers.colour(index as u8, wide)
            })),
            sixteen: std::array::from_fn(|colour| registers.attribute_colour(colour as u8)),
            sprite: None,
            memory,
        };
        if !registers.is_shown() {
            return view;
        }
        if let Some(mode) = mode {
            view.size = (mode.width, mode.height);
            view.pitch = mode.pitch.into();
            view.start = mode.start;
            view.split = u32::MAX;
            view.form = match mode.bits {
                4 => Form::Planes,
                8 => Form::Bytes,
                bits => Form::Direct(bits),
            };
            return view;
        }
        if registers.graphics[6] & 1 == 0 {
            let text = Text::new(registers, columns, height, now);
            view.size = text.size();
            view.form = Form::Text(text);
            return view;
        }
        view.size = (columns * 8, height);
        let double = registers.crt[9] >> 7;
        view.times.1 = ((crt(9) & 0x1f) + 1) << double;
        view.banks = (crt(0x17) & 1 == 0, crt(0x17) & 2 == 0);
        let half = registers.sequencer[1] & 8 != 0;
        let pan = u32::from(registers.attribute[0x13] & 7);
        (view.form, view.times.0, view.pan) = match registers.graphics[5] >> 5 & 3 {
            0 => (Form::Planes, 1 + u32::from(half), pan),
            1 => (Form::Pairs, 1 + u32::from(half), pan),
            // Each byte takes two of the dots that the width counts.
            _ => (Form::Bytes, 2, pan / 2),
        };
        if half {
            view.size.0 *= 2;
        }
        view.size.0 = view.size.0.min(MAX_SIDE);
        view
    }

    /// Pixels of a line, lines.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Bytes from the start of line `y` that `pixels` from `x` on lie in: first, how many.
    fn span(&self, x: u32, pixels: u32) -> (u64, u64) {
        let first = u64::from(x / self.times.0 + self.pan);
        let last = u64::from((x + pixels - 1) / self.times.0 + self.pan);
        let bytes = |pixel: u64| match self.form {
            // Four bytes for eight pixels.
            Form::Planes | Form::Pairs => (pixel / 8 * 4, pixel / 8 * 4 + 4),
            Form::Bytes => (pixel, pixel + 1),
            Form::Direct(bits) => {
                let size = u64::from(bits.div_ceil(8));
                (pixel * size, pixel * size + size)
            }
            Form::Dark | Form::Text(_) => (0, 0),
        };
        let (from, to) = (bytes(first).0, bytes(last).1);
        (from, to - from)
    }

    /// The byte that line `y` of the picture starts with.
    fn line(&self, y: u32) -> u64 {
        let (start, y) = match y.checked_sub(self.split.saturating_add(1)) {
            Some(below) => (0, below),
            None => (self.start, y),
        };
        let line = y / self.times.1;
        let (odd, pairs) = self.banks;
        let mut row = line;
        let mut at = 0;
        if odd {
            at |= u64::from(line & 1) << 15;
            row = line / 2;
        }
        if pairs {
            at |= u64::from(line >> 1 & 1) << 16;
            row = line / 4;
        }
        start + at + u64::from(row) * self.pitch
    }

    /// Appends the pixels of `area`, line after line; what lies outside of the picture or of the memory is black.
    pub fn read(&self, area: Area, into: &mut Vec<u32>) {
        let pixels = area.width as usize * area.height as usize;
        let end = into.len() + pixels;
        match &self.form {
            Form::Dark => {}
            Form::Text(text) => text.read(self, area, into),
            _ => {
                let width = area.width.min(self.size.0.saturating_sub(area.x));
                let mut bytes = Vec::new();
                for y in area.y..area.y.saturating_add(area.height) {
                    let line_end = into.len() + area.width as usize;
                    if width > 0 && y < self.size.1 {
                        let (from, count) = self.span(area.x, width);
                        bytes.resize(count as usize, 0);
                        self.memory.read(self.line(y) + from, &mut bytes);
                        self.pixels(area.x, width, &bytes, into);
                    }
                    into.resize(line_end, 0);
                }
            }
        }
        into.resize(end, 0);
        if let Some(sprite) = &self.sprite {
            sprite.draw(area, &mut into[end - pixels..]);
        }
    }

    /// Appends `width` pixels from `x` on, which lie in `bytes`.
    fn pixels(&self, x: u32, width: u32, bytes: &[u8], into: &mut Vec<u32>) {
        let first = (x / self.times.0 + self.pan) as usize;
        let indices = (x..x + width).map(|x| (x / self.times.0 + self.pan) as usize - first);
        match self.form {
            Form::Bytes => into.extend(indices.map(|at| self.palette[usize::from(bytes[at])])),
            Form::Planes => {
                let colour = |at: usize| {
                    let pixel = first % 8 + at;
                    let group = &bytes[pixel / 8 * 4..][..4];
                    let bit = 7 - pixel % 8;
                    let bits =
                        (0..4).fold(0, |bits, plane| bits | (group[plane] >> bit & 1) << plane);
                    self.palette[usize::from(self.sixteen[usize::from(bits)])]
                };
                into.extend(indices.map(colour));
            }
            Form::Pairs => {
                let colour = |at: usize| {
                    let pixel = first % 8 + at;
                    let group = &bytes[pixel / 8 * 4..][..4];
                    let (plane, shift) = (pixel % 8 / 4, 6 - 2 * (pixel % 4));
                    let pair = group[plane] >> shift & 3 | (group[plane + 2] >> shift & 3) << 2;
                    self.palette[usize::from(self.sixteen[usize::from(pair)])]
                };
                into.extend(indices.map(colour));
            }
            Form::Direct(bits) => {
                let size = bits.div_ceil(8) as usize;
                into.extend(bytes.chunks_exact(size).map(|pixel| direct(bits, pixel)));
            }
            Form::Dark | Form::Text(_) => {}
        }
    }
}

/// A pixel of 15 (5, 5, 5), 16 (5, 6, 5), 24 or 32 bits.
fn direct(bits: u32, pixel: &[u8]) -> u32 {
    let spread = |value: u32, bits: u32| value * 255 / ((1 << bits) - 1);
    match *pixel {
        [low, high] => {
            let word = u32::from(high) << 8 | u32::from(low);
            let green = if bits == 15 { 5 } else { 6 };
            let red = word >> (5 + green) & 31;
            let middle = word >> 5 & ((1 << green) - 1);
            spread(red, 5) << 16 | spread(middle, green) << 8 | spread(word & 31, 5)
        }
        [blue, green, red, ..] => u32::from_le_bytes([blue, green, red, 0]),
        _ => 0,
    }
}

/// Remembers the look before, to tell what has changed since.
#[derive(Debug, Default)]
pub struct Watcher {
    before: Option<View>,
    cells: Vec<Cell>,
}

impl Watcher {
    /// What has changed since the look before; everything the first time. One watcher looks at a memory: what it is told was
    /// written is told to nobody else.
    pub fn look(&mut self, view: &View) -> Vec<Area> {
        let mut written = Pages::none(view.memory.length());
        view.memory.take_written(&mut written);
        let same = self
            .before
            .as_ref()
            .is_some_and(|before| is_same_form(before, view));
        let before = self.before.replace(view.clone());
        let before = before.and_then(|before| before.sprite);
        let mut changed = self.picture(view, &written, same);
        if same && before != view.sprite {
            let sprites = before.iter().chain(&view.sprite);
            changed.extend(sprites.filter_map(|sprite| sprite.area(view.size)));
        }
        changed
    }

    /// The same of the picture below the cursor; `same`: it has the same form as before.
    fn picture(&mut self, view: &View, written: &Pages, same: bool) -> Vec<Area> {
        let whole = Area {
            x: 0,
            y: 0,
            width: view.size.0,
            height: view.size.1,
        };
        match &view.form {
            Form::Dark if same => Vec::new(),
            Form::Text(text) => {
                let cells = text.cells(view);
                let fonts = text.fonts_touched(view, written);
                let before = std::mem::replace(&mut self.cells, cells);
                if !same || fonts || before.len() != self.cells.len() {
                    return vec![whole];
                }
                text.changed(&before, &self.cells)
            }
            _ if !same => vec![whole],
            _ => lines(view, written),
        }
    }
}

/// Runs of lines whose bytes were written.
fn lines(view: &View, written: &Pages) -> Vec<Area> {
    let (width, height) = view.size;
    let (from, count) = view.span(0, width);
    let mut areas: Vec<Area> = Vec::new();
    for y in (0..height).filter(|y| written.touches(view.line(*y) + from, count)) {
        match areas.last_mut() {
            Some(last) if last.y + last.height == y => last.height += 1,
            _ => areas.push(Area {
                x: 0,
                y,
                width,
                height: 1,
            }),
        }
    }
    areas
}

/// Both show the same bytes in the same way.
fn is_same_form(one: &View, two: &View) -> bool {
    let form = match (&one.form, &two.form) {
        (Form::Text(one), Form::Text(two)) => one.is_same_form(two),
        (one, two) => one == two,
    };
    form && one.size == two.size
        && one.times == two.times
        && one.pitch == two.pitch
        && one.start == two.start
        && one.split == two.split
        && one.pan == two.pan
        && one.banks == two.banks
        && one.palette == two.palette
        && one.sixteen == two.sixteen
}
