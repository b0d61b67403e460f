//! A VNC viewer for tests: takes raw pictures, follows the display's size, reads text screens, types (RFC 6143).

use crate::glyphs::Font;
use crate::LIMIT;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Pseudo-encoding of a new size of the display (RFC 6143, 7.8.2).
const DESKTOP_SIZE: i32 = -223;

/// A viewer that takes raw pictures.
pub struct Viewer {
    stream: TcpStream,
    size: (usize, usize),
    /// Four bytes for each pixel: blue, green, red, nothing.
    picture: Vec<u8>,
}

impl Viewer {
    /// 3.3, where the server tells the security type: none.
    pub fn connect(port: u16) -> Viewer {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut viewer = Viewer {
            stream,
            size: (0, 0),
            picture: Vec::new(),
        };
        assert_eq!(viewer.read(12), b"RFB 003.008\n");
        viewer.stream.write_all(b"RFB 003.003\n\x01").unwrap();
        assert_eq!(viewer.read(4), [0, 0, 0, 1]);
        let init = viewer.read(24);
        let side = |at: usize| usize::from(u16::from_be_bytes([init[at], init[at + 1]]));
        viewer.resize((side(0), side(2)));
        viewer.read(usize::from(init[23]));
        // Raw, and the display's size.
        let mut encodings = vec![2, 0, 0, 2, 0, 0, 0, 0];
        encodings.extend(DESKTOP_SIZE.to_be_bytes());
        viewer.stream.write_all(&encodings).unwrap();
        viewer
    }

    /// Width and height, pixels.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    fn resize(&mut self, size: (usize, usize)) {
        self.size = size;
        self.picture = vec![0; size.0 * size.1 * 4];
    }

    fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn ask(&mut self, incremental: bool) {
        let [wide, high] = [self.size.0 as u16, self.size.1 as u16].map(u16::to_be_bytes);
        let mut request = vec![3, incremental.into(), 0, 0, 0, 0];
        request.extend(wide.into_iter().chain(high));
        self.stream.write_all(&request).unwrap();
    }

    /// Waits for the update that was asked for and paints it.
    fn take(&mut self) {
        let head = self.read(4);
        assert_eq!(head[0], 0);
        for _ in 0..u16::from_be_bytes([head[2], head[3]]) {
            let part = self.read(12);
            let [x, y, width, height] =
                [0, 2, 4, 6].map(|at| usize::from(u16::from_be_bytes([part[at], part[at + 1]])));
            if part[8..] == DESKTOP_SIZE.to_be_bytes() {
                self.resize((width, height));
                continue;
            }
            assert_eq!(part[8..], [0; 4]);
            for line in y..y + height {
                let at = (line * self.size.0 + x) * 4;
                let pixels = self.read(width * 4);
                self.picture[at..at + width * 4].copy_from_slice(&pixels);
            }
        }
    }

    /// Waits for the next update and paints it.
    pub fn update(&mut self, incremental: bool) {
        self.ask(incremental);
        self.take();
    }

    /// Updates until `wanted` holds of the lines from `top` on.
    pub fn wait(&mut self, top: usize, lines: usize, wanted: impl Fn(&[u8]) -> bool) {
        let line = self.size.0 * 4;
        while !wanted(&self.picture[top * line..(top + lines) * line]) {
            self.update(true);
        }
    }

    /// Updates until each of `texts` stands on the screen, in one line each; the whole screen, as text.
    ///
    /// # Panics
    /// With the screen as it is, when that takes longer than [`LIMIT`].
    #[track_caller]
    pub fn wait_text(&mut self, font: &Font, texts: &[&str]) -> String {
        let deadline = Instant::now() + LIMIT;
        self.ask(false);
        let mut seen = String::new();
        loop {
            assert!(
                Instant::now() < deadline,
                "{texts:?} is not on the screen:\n{seen}"
            );
            if !self.has_come() {
                continue;
            }
            self.take();
            seen = font.read(&self.picture, self.size);
            if texts.iter().all(|text| seen.contains(text)) {
                return seen;
            }
            self.ask(true);
        }
    }

    /// Whether anything comes within a moment: a screen that stands still sends nothing.
    fn has_come(&mut self) -> bool {
        let short = Duration::from_secs(5);
        self.stream.set_read_timeout(Some(short)).unwrap();
        let come = self.stream.peek(&mut [0]).is_ok_and(|count| count > 0);
        self.stream.set_read_timeout(Some(LIMIT)).unwrap();
        come
    }

    /// Moves the pointer there, without a button.
    pub fn point(&mut self, x: usize, y: usize) {
        let [x, y] = [x as u16, y as u16].map(u16::to_be_bytes);
        let event = [5, 0, x[0], x[1], y[0], y[1]];
        self.stream.write_all(&event).unwrap();
    }

    /// Presses and lets go of a key for each character; newline is Enter, 0x1b is Esc.
    pub fn type_text(&mut self, text: &str) {
        for character in text.chars() {
            let keysym = match character {
                '\n' => 0xff0d,
                '\x1b' => 0xff1b,
                other => u32::from(other),
            };
            self.key(keysym, true);
            self.key(keysym, false);
        }
    }

    /// Shows a window: 1 the guest's screen, 2 the monitor, 3 the serial port.
    pub fn switch(&mut self, window: u8) {
        let keys = [0xffe3, 0xffe9, u32::from(b'0' + window)];
        keys.iter().for_each(|keysym| self.key(*keysym, true));
        keys.iter()
            .rev()
            .for_each(|keysym| self.key(*keysym, false));
    }

    fn key(&mut self, keysym: u32, pressed: bool) {
        let mut key = vec![4, u8::from(pressed), 0, 0];
        key.extend(keysym.to_be_bytes());
        self.stream.write_all(&key).unwrap();
    }
}
