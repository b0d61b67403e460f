//! Serves a test card by VNC, to try viewers: `cargo run -p noxen-vmm --example vnc -- [PORT [PASSWORD [KEYMAP [DIRECTORY OF PEM FILES]]]]`.
//!
//! Each click or key moves the card's bar; what viewers do is printed.

use noxen_control::device::{VncSpec, VncTls};
use noxen_control::screen::{Input, Part};
use noxen_display::{Size, Surface};
use noxen_vmm::viewers::{house, Picture, Server, Touch};
use std::error::Error;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

const SIZE: Size = Size {
    width: 1280,
    height: 800,
};

/// Bars of colours, a gradient, stripes as fine as text, and a white bar at `at`.
#[derive(Default)]
struct Card {
    at: AtomicU32,
    changed: Mutex<Vec<Part>>,
    wake: Mutex<Option<Arc<OwnedFd>>>,
}

impl Surface for Card {
    fn size(&self) -> Size {
        SIZE
    }

    fn read(&self, part: Part, into: &mut Vec<u32>) {
        let at = self.at.load(Ordering::Relaxed);
        for y in part.y..part.y + part.height {
            into.extend((part.x..part.x + part.width).map(|x| {
                if (at..at + 8).contains(&x) {
                    return 0xff_ffff;
                }
                match y {
                    0..=299 => [
                        0xff_ffff, 0xff_ff00, 0x00_ffff, 0x00_ff00, 0xff_00ff, 0xff_0000,
                        0x00_00ff, 0,
                    ][(x / 160) as usize % 8],
                    300..=499 => (x * 255 / 1280) << 16 | ((y - 300) * 255 / 200) << 8,
                    _ => [0x20_2020, 0xc0_c0c0][((x / 3 % 2) & (y / 5 % 2)) as usize],
                }
            }));
        }
    }
}

impl Picture for Card {
    fn take_changes(&self) -> Vec<Part> {
        std::mem::take(
            &mut *self
                .changed
                .lock()
                .unwrap_or_else(|poison| poison.into_inner()),
        )
    }

    fn tell(&self, wake: Arc<OwnedFd>) {
        *self
            .wake
            .lock()
            .unwrap_or_else(|poison| poison.into_inner()) = Some(wake);
    }
}

struct Hand(Arc<Card>);

impl Touch for Hand {
    fn push(&self, inputs: &[Input], _: Size) {
        for input in inputs {
            println!("{input:?}");
            if let Input::Key { pressed: true, .. } = input {
                self.0.at.fetch_add(16, Ordering::Relaxed);
                let mut changed = self
                    .0
                    .changed
                    .lock()
                    .unwrap_or_else(|poison| poison.into_inner());
                changed.push(SIZE.whole());
                let wake = self
                    .0
                    .wake
                    .lock()
                    .unwrap_or_else(|poison| poison.into_inner());
                if let Some(wake) = &*wake {
                    let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
                }
            }
        }
    }

    fn is_absolute(&self) -> bool {
        true
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let port = words.first().map_or(Ok(5900), |word| word.parse())?;
    let card = Arc::new(Card::default());
    let word = |at: usize| words.get(at).filter(|word| !word.is_empty()).cloned();
    let pem =
        |directory: &str, name: &str| std::fs::read_to_string(Path::new(directory).join(name));
    let tls = match word(3) {
        None => None,
        Some(directory) => Some(VncTls {
            chain: pem(&directory, "server-cert.pem")?,
            key: pem(&directory, "server-key.pem")?,
            viewers: None,
        }),
    };
    let house = house(&VncSpec {
        title: "test card".into(),
        password: word(1),
        keymap: word(2),
        tls,
    })?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let report = Box::new(|level, line: std::fmt::Arguments<'_>| println!("{level}: {line}"));
    let _server = Server::start(
        "vnc".into(),
        listener,
        house,
        card.clone(),
        Box::new(Hand(card)),
        report,
    )?;
    loop {
        std::thread::park();
    }
}
