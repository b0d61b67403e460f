//! What is shown, and what of it has changed: a grid of tiles, one bit each.
//!
//! ```text
//!   changed(part) --> tiles --take(within, pixels)--> rectangles, no tile twice
//! ```

use noxen_control::screen::Part;

/// Most pixels and most lines of a screen.
pub const MAX_SIDE: u32 = 16384;

/// Pixels to a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Pixels of a line.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

impl Size {
    /// A size within [`MAX_SIDE`] and of at least one pixel.
    pub fn new(width: u32, height: u32) -> Size {
        Size {
            width: width.clamp(1, MAX_SIDE) as u16,
            height: height.clamp(1, MAX_SIDE) as u16,
        }
    }

    /// All of it.
    pub fn whole(self) -> Part {
        Part {
            x: 0,
            y: 0,
            width: self.width.into(),
            height: self.height.into(),
        }
    }

    /// What both sizes have.
    pub fn common(self, other: Size) -> Size {
        Size {
            width: self.width.min(other.width),
            height: self.height.min(other.height),
        }
    }
}

/// A picture that can be looked at.
pub trait Surface {
    /// Its size now.
    fn size(&self) -> Size;
    /// Appends the pixels of `part`, line after line, as `0x00RRGGBB`. What lies outside, or cannot be read, is black:
    /// as many pixels as `part` has are appended, always.
    fn read(&self, part: Part, into: &mut Vec<u32>);
}

/// Pixels of a tile, both ways.
const TILE: u32 = 16;

/// Tiles of a screen that have changed.
#[derive(Debug, Clone)]
pub struct Changes {
    size: Size,
    columns: u32,
    tiles: Vec<bool>,
    count: usize,
}

impl Changes {
    /// Nothing of a screen of `size`.
    pub fn none(size: Size) -> Changes {
        let columns = u32::from(size.width).div_ceil(TILE);
        let rows = u32::from(size.height).div_ceil(TILE);
        Changes {
            size,
            columns,
            tiles: vec![false; (columns * rows) as usize],
            count: 0,
        }
    }

    /// Nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// `part` has changed; what lies outside of the screen does not count.
    pub fn add(&mut self, part: Part) {
        let Some([left, top, right, bottom]) = self.tiles_of(part) else {
            return;
        };
        for row in top..bottom {
            for tile in
                &mut self.tiles[(row * self.columns + left) as usize..][..(right - left) as usize]
            {
                self.count += usize::from(!*tile);
                *tile = true;
            }
        }
    }

    /// Columns and rows of tiles that `part` touches: first and behind the last.
    fn tiles_of(&self, part: Part) -> Option<[u32; 4]> {
        let (width, height) = (u32::from(self.size.width), u32::from(self.size.height));
        let right = part.x.saturating_add(part.width).min(width);
        let bottom = part.y.saturating_add(part.height).min(height);
        (part.x < right && part.y < bottom).then(|| {
            [
                part.x / TILE,
                part.y / TILE,
                right.div_ceil(TILE),
                bottom.div_ceil(TILE),
            ]
        })
    }

    /// Takes rectangles that touch `within`, of at most `pixels` together (but one tile at least) and at most `most`.
    pub fn take(&mut self, within: Part, pixels: u32, most: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        let Some([left, top, right, bottom]) = self.tiles_of(within) else {
            return parts;
        };
        let mut left_over = (pixels / (TILE * TILE)).max(1);
        for row in top..bottom {
            let mut column = left;
            while column < right {
                if self.count == 0 || left_over == 0 || parts.len() == most {
                    return parts;
                }
                if !self.is_set(column, row) {
                    column += 1;
                    continue;
                }
                let wide = (column..right.min(column + left_over))
                    .take_while(|at| self.is_set(*at, row))
                    .count() as u32;
                let high = (row..bottom.min(row + left_over / wide))
                    .take_while(|at| (column..column + wide).all(|x| self.is_set(x, *at)))
                    .count() as u32;
                self.clear([column, row, column + wide, row + high]);
                left_over -= wide * high;
                parts.push(self.pixels_of([column, row, column + wide, row + high]));
                column += wide;
            }
        }
        parts
    }

    fn is_set(&self, column: u32, row: u32) -> bool {
        self.tiles[(row * self.columns + column) as usize]
    }

    fn clear(&mut self, [left, top, right, bottom]: [u32; 4]) {
        for row in top..bottom {
            let first = (row * self.columns + left) as usize;
            self.tiles[first..first + (right - left) as usize].fill(false);
        }
        self.count -= ((right - left) * (bottom - top)) as usize;
    }

    fn pixels_of(&self, [left, top, right, bottom]: [u32; 4]) -> Part {
        let (x, y) = (left * TILE, top * TILE);
        Part {
            x,
            y,
            width: (right * TILE).min(self.size.width.into()) - x,
            height: (bottom * TILE).min(self.size.height.into()) - y,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(x: u32, y: u32, width: u32, height: u32) -> Part {
        Part {
            x,
            y,
            width,
            height,
        }
    }

    #[test]
    fn changed_parts_come_back_as_tiles_and_only_once() {
        let mut changes = Changes::none(Size::new(100, 50));
        changes.add(part(20, 20, 1, 1));
        changes.add(part(90, 40, 500, 500));
        changes.add(part(100, 0, 5, 5));
        let whole = Size::new(100, 50).whole();
        let parts = changes.take(whole, 1 << 20, 100);
        assert_eq!(parts, [part(16, 16, 16, 16), part(80, 32, 20, 18)]);
        assert!(changes.is_empty());
        assert!(changes.take(whole, 1 << 20, 100).is_empty());
    }

    #[test]
    fn takes_no_more_pixels_than_asked_and_goes_on_later() {
        let mut changes = Changes::none(Size::new(640, 480));
        let whole = Size::new(640, 480).whole();
        changes.add(whole);
        let mut seen = 0;
        let mut turns = 0;
        while !changes.is_empty() {
            let parts = changes.take(whole, 10_000, 3);
            let pixels: u32 = parts.iter().map(|p| p.width * p.height).sum();
            assert!(pixels <= 10_000 && !parts.is_empty());
            seen += pixels;
            turns += 1;
        }
        assert_eq!(seen, 640 * 480);
        assert!(turns > 30);
    }

    #[test]
    fn what_is_not_asked_for_stays() {
        let mut changes = Changes::none(Size::new(64, 64));
        changes.add(part(0, 0, 64, 64));
        let parts = changes.take(part(0, 0, 10, 10), 1 << 20, 10);
        assert_eq!(parts, [part(0, 0, 16, 16)]);
        assert!(!changes.is_empty());
    }
}
