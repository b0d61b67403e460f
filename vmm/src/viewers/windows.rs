//! What viewers switch between with Ctrl-Alt and a digit: 1 the guest's screen, 2 and 3 text of ours.
//!
//! ```text
//!   viewers' thread: keys --Ctrl-Alt-N--> which window      window 1: Picture, Touch of the guest
//!                                                           others: Typist --bytes--> Console's owner
//!   main loop: text --Console::write--> Text --wake--> viewers' thread; or a Source that is asked while somebody looks
//! ```
//! All viewers of a screen see the same window. A key that the guest saw go down it sees go up.

use crate::domain::hub::lock;
use crate::viewers::{Picture, Touch};
use noxen_control::screen::{Input, Part};
use noxen_display::keys::{Typed, Typist};
use noxen_display::{Layout, Size, Surface, Text};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Lines that are scrolled at a time.
const HALF: isize = 12;

/// Takes what is typed in a window.
pub type Sink = Box<dyn Fn(&[u8]) + Send + Sync>;

/// What a window shows, where nobody writes it: asked for while somebody looks.
pub type Source = Box<dyn Fn() -> Vec<u8> + Send + Sync>;

/// How often a source is asked.
const PERIOD: Duration = Duration::from_millis(16);

/// A window with text.
pub struct Console {
    text: Mutex<Text>,
    source: Mutex<Option<Source>>,
    wake: Mutex<Option<Arc<OwnedFd>>>,
    typed: Mutex<Option<Sink>>,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl Console {
    /// An empty one; what is typed there is lost until [`Console::type_into`].
    pub fn new() -> Arc<Console> {
        Arc::new(Console {
            text: Mutex::new(Text::new()),
            source: Mutex::default(),
            wake: Mutex::default(),
            typed: Mutex::default(),
        })
    }

    /// What is typed goes to `sink` from now on.
    pub fn type_into(&self, sink: Sink) {
        *lock(&self.typed) = Some(sink);
    }

    /// It shows what `source` has.
    pub fn show_from(&self, source: Source) {
        *lock(&self.source) = Some(source);
    }

    fn look(&self) -> Vec<Part> {
        let fresh = lock(&self.source).as_ref().map(|source| source());
        let mut text = lock(&self.text);
        if let Some(fresh) = fresh.filter(|fresh| !fresh.is_empty()) {
            text.write(&fresh);
        }
        text.look()
    }

    /// Shows `bytes`.
    pub fn write(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        lock(&self.text).write(bytes);
        self.show();
    }

    /// The text on it.
    pub fn contents(&self) -> String {
        lock(&self.text).contents()
    }

    fn show(&self) {
        if let Some(wake) = &*lock(&self.wake) {
            // A counter at its limit is readable already.
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
    }

    fn take(&self, typed: Typed) {
        match typed {
            Typed::Bytes(bytes) => {
                if let Some(sink) = &*lock(&self.typed) {
                    sink(&bytes);
                }
            }
            Typed::Scroll { up } => {
                lock(&self.text).scroll(if up { HALF } else { -HALF });
                self.show();
            }
            Typed::Switch(_) => {}
        }
    }
}

/// The windows of a screen, as its viewers see them.
pub struct Windows {
    guest: Arc<dyn Picture>,
    consoles: Vec<Arc<Console>>,
    /// 0 the guest's, else that of `consoles`, counted from 1.
    shown: AtomicUsize,
    switched: AtomicBool,
    wake: Mutex<Option<Arc<OwnedFd>>>,
}

impl fmt::Debug for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windows")
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

impl Windows {
    /// The guest's picture, and `consoles` behind it.
    pub fn new(guest: Arc<dyn Picture>, consoles: Vec<Arc<Console>>) -> Arc<Windows> {
        Arc::new(Windows {
            guest,
            consoles,
            shown: AtomicUsize::new(0),
            switched: AtomicBool::new(false),
            wake: Mutex::default(),
        })
    }

    fn console(&self) -> Option<&Arc<Console>> {
        let shown = self.shown.load(Ordering::SeqCst);
        self.consoles.get(shown.checked_sub(1)?)
    }

    /// Shows another window, if there is one of that number; false if there is none.
    fn switch(&self, window: usize) -> bool {
        if window > self.consoles.len() {
            return false;
        }
        if self.shown.swap(window, Ordering::SeqCst) != window {
            self.switched.store(true, Ordering::SeqCst);
            if let Some(wake) = &*lock(&self.wake) {
                // As in Console::show.
                let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
            }
        }
        true
    }
}

impl Surface for Windows {
    fn size(&self) -> Size {
        match self.console() {
            Some(console) => lock(&console.text).size(),
            None => self.guest.size(),
        }
    }

    fn read(&self, part: Part, into: &mut Vec<u32>) {
        match self.console() {
            Some(console) => lock(&console.text).read(part, into),
            None => self.guest.read(part, into),
        }
    }
}

impl Picture for Windows {
    fn take_changes(&self) -> Vec<Part> {
        let switched = self.switched.swap(false, Ordering::SeqCst);
        let changed = match self.console() {
            Some(console) => console.look(),
            None => self.guest.take_changes(),
        };
        match switched {
            true => vec![self.size().whole()],
            false => changed,
        }
    }

    fn tell(&self, wake: Arc<OwnedFd>) {
        for console in &self.consoles {
            *lock(&console.wake) = Some(wake.clone());
        }
        *lock(&self.wake) = Some(wake.clone());
        self.guest.tell(wake);
    }

    fn period(&self) -> Option<Duration> {
        match self.console() {
            Some(console) => lock(&console.source).is_some().then_some(PERIOD),
            None => self.guest.period(),
        }
    }
}

/// The keys and the pointer of those who look at [`Windows`].
pub struct Hands {
    windows: Arc<Windows>,
    guest: Box<dyn Touch>,
    inside: Mutex<Inside>,
}

struct Inside {
    typist: Typist,
    /// Keys and buttons that the guest saw go down.
    held: Vec<u32>,
}

impl Hands {
    /// Nothing is held; the viewers' keys are those of `layout`.
    pub fn new(windows: Arc<Windows>, guest: Box<dyn Touch>, layout: &'static Layout) -> Hands {
        Hands {
            windows,
            guest,
            inside: Mutex::new(Inside {
                typist: Typist::new(layout),
                held: Vec::new(),
            }),
        }
    }

    /// What of `input` the guest is to have.
    fn sort(&self, inside: &mut Inside, input: Input) -> Vec<Input> {
        let console = self.windows.console();
        let Input::Key { code, pressed } = input else {
            return if console.is_some() {
                Vec::new()
            } else {
                vec![input]
            };
        };
        let application = console.is_some_and(|console| {
            let text = lock(&console.text);
            text.keys_are_an_applications()
        });
        let typed = u16::try_from(code).ok();
        let typed = typed.and_then(|code| inside.typist.key(code, pressed, application));
        if let Some(Typed::Switch(digit)) = typed {
            if self.windows.switch(usize::from(digit) - 1) {
                // What it holds it would hold until the window comes back.
                let up = |code| Input::Key {
                    code,
                    pressed: false,
                };
                return inside.held.drain(..).rev().map(up).collect();
            }
        }
        match console {
            Some(console) => {
                typed.into_iter().for_each(|typed| console.take(typed));
                Vec::new()
            }
            None => {
                let known = inside.held.contains(&code);
                match pressed {
                    true if !known => inside.held.push(code),
                    true => {}
                    // It was pressed in another window.
                    false if !known => return Vec::new(),
                    false => inside.held.retain(|held| *held != code),
                }
                vec![input]
            }
        }
    }
}

impl Touch for Hands {
    fn push(&self, inputs: &[Input], size: Size) {
        let mut inside = lock(&self.inside);
        for input in inputs {
            let for_guest = self.sort(&mut inside, *input);
            if !for_guest.is_empty() {
                self.guest.push(&for_guest, size);
            }
        }
    }

    fn is_absolute(&self) -> bool {
        self.guest.is_absolute()
    }
}

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
