//! A hostile VNC viewer: what it sends, in pieces, with pictures in between.
//!
//! ```text
//!   byte 0: the size of pieces, and whether there is a password   the rest: as it comes
//! ```

use noxen_control::screen::Part;
use noxen_display::session::{Session, Settings, LOW, MOST_OUTPUT, PIXELS};
use noxen_display::{Layout, Size, Surface};

/// Larger than one rectangle.
const SIZES: [(u32, u32); 3] = [(600, 500), (33, 1), (2100, 3)];

struct Pattern(Size);

impl Surface for Pattern {
    fn size(&self) -> Size {
        self.0
    }

    fn read(&self, part: Part, into: &mut Vec<u32>) {
        let lines = part.y..part.y + part.height;
        into.extend(
            lines.flat_map(|y| {
                (part.x..part.x + part.width).map(move |x| (x / 9) * (y / 5) * 0x10305)
            }),
        );
    }
}

/// One viewer, and a screen that changes its size now and then.
pub fn vnc(data: &[u8]) {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let settings = Settings {
        name: "fuzz".into(),
        password: (first & 0x80 != 0).then(|| "secret".into()),
        layout: Layout::english(),
        tls: first & 3 == 3,
    };
    let mut screen = Pattern(Size::new(SIZES[0].0, SIZES[0].1));
    let mut session = Session::new(&settings, [0; 16], screen.0);
    let mut inputs = Vec::new();
    for (turn, piece) in rest
        .chunks(1 + usize::from(first & 0x7f))
        .take(200)
        .enumerate()
    {
        let ended = session.feed(piece, &mut inputs).is_err();
        if session.awaits_tls() {
            session.tls_is_up();
        }
        // Turns are many only where pieces are small.
        if turn % 16 == 3 {
            let (width, height) = SIZES[turn / 16 % SIZES.len()];
            screen.0 = Size::new(width, height);
            session.set_absolute(turn % 32 == 3);
        }
        session.changed(screen.0.whole());
        session.update(&screen);
        assert!(session.output().len() < LOW + 8 * PIXELS as usize + 2 * MOST_OUTPUT);
        if turn % 3 == 0 {
            session.output().clear();
        }
        if ended {
            break;
        }
    }
    session.release_all(&mut inputs);
}
