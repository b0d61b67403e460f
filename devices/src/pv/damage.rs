//! What of a picture has changed since somebody looked: a few rectangles, more than that as one around all of them.
//!
//! ```text
//!   guest: UPDATE --add--> parts (at most MOST, none inside another) --take--> display server
//! ```

use super::fb::Rectangle;

/// Rectangles kept apart.
pub const MOST: usize = 16;

/// Changed parts of a screen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damage {
    parts: Vec<Rectangle>,
}

impl Damage {
    /// One more part.
    pub fn add(&mut self, part: Rectangle) {
        if self.parts.iter().any(|old| covers(old, &part)) {
            return;
        }
        self.parts.retain(|old| !covers(&part, old));
        self.parts.push(part);
        if self.parts.len() > MOST {
            let all = self.parts.drain(..).reduce(around);
            self.parts.extend(all);
        }
    }

    /// All parts; from now on nothing has changed.
    pub fn take(&mut self) -> Vec<Rectangle> {
        std::mem::take(&mut self.parts)
    }
}

/// First pixel and the one behind the last, both ways. Sides are far from overflow ([`super::fb::MAX_SIDE`]).
fn edges(part: &Rectangle) -> [u32; 4] {
    [part.x, part.y, part.x + part.width, part.y + part.height]
}

fn covers(outer: &Rectangle, inner: &Rectangle) -> bool {
    let ([left, top, right, bottom], [x, y, end, low]) = (edges(outer), edges(inner));
    left <= x && top <= y && right >= end && bottom >= low
}

fn around(one: Rectangle, two: Rectangle) -> Rectangle {
    let (one, two) = (edges(&one), edges(&two));
    let (x, y) = (one[0].min(two[0]), one[1].min(two[1]));
    Rectangle {
        x,
        y,
        width: one[2].max(two[2]) - x,
        height: one[3].max(two[3]) - y,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(x: u32, y: u32, width: u32, height: u32) -> Rectangle {
        Rectangle {
            x,
            y,
            width,
            height,
        }
    }

    #[test]
    fn parts_within_others_are_not_told_twice() {
        let mut damage = Damage::default();
        damage.add(part(10, 10, 5, 5));
        damage.add(part(12, 12, 1, 1));
        damage.add(part(40, 0, 1, 1));
        damage.add(part(8, 8, 20, 20));
        assert_eq!(damage.take(), [part(40, 0, 1, 1), part(8, 8, 20, 20)]);
        assert!(damage.take().is_empty());
    }

    #[test]
    fn many_parts_become_one_around_them() {
        let mut damage = Damage::default();
        for index in 0..=MOST as u32 {
            damage.add(part(100 + 10 * index, 500 - 20 * index, 3, 7));
        }
        let last = MOST as u32;
        let all = part(100, 500 - 20 * last, 10 * last + 3, 20 * last + 7);
        assert_eq!(damage.take(), [all]);
    }
}
