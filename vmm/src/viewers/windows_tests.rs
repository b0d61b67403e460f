use super::*;

/// A picture of one pixel.
#[derive(Debug)]
struct Dot;

impl Surface for Dot {
    fn size(&self) -> Size {
        Size::new(1, 1)
    }

    fn read(&self, _: Part, into: &mut Vec<u32>) {
        into.push(7);
    }
}

impl Picture for Dot {
    fn take_changes(&self) -> Vec<Part> {
        Vec::new()
    }

    fn tell(&self, _: Arc<OwnedFd>) {}

    fn period(&self) -> Option<Duration> {
        Some(Duration::from_millis(1))
    }
}

#[derive(Default)]
struct Guest(Arc<Mutex<Vec<Input>>>);

impl Touch for Guest {
    fn push(&self, inputs: &[Input], _: Size) {
        lock(&self.0).extend_from_slice(inputs);
    }

    fn is_absolute(&self) -> bool {
        true
    }
}

struct Room {
    windows: Arc<Windows>,
    hands: Hands,
    guest: Arc<Mutex<Vec<Input>>>,
    typed: Arc<Mutex<Vec<u8>>>,
    console: Arc<Console>,
}

fn room() -> Room {
    let (console, guest, typed) = (Console::new(), Guest::default(), Arc::default());
    let windows = Windows::new(Arc::new(Dot), vec![console.clone()]);
    let sink: Arc<Mutex<Vec<u8>>> = Arc::clone(&typed);
    console.type_into(Box::new(move |bytes| lock(&sink).extend_from_slice(bytes)));
    let seen = guest.0.clone();
    Room {
        hands: Hands::new(windows.clone(), Box::new(guest), Layout::english()),
        windows,
        guest: seen,
        typed,
        console,
    }
}

fn key(code: u32, pressed: bool) -> Input {
    Input::Key { code, pressed }
}

/// Ctrl-Alt with a digit, pressed and let go.
fn switch(digit: u32) -> [Input; 6] {
    let code = digit + 1;
    [
        (29, true),
        (56, true),
        (code, true),
        (code, false),
        (56, false),
        (29, false),
    ]
    .map(|(code, pressed)| key(code, pressed))
}

impl Room {
    fn push(&self, inputs: &[Input]) {
        self.hands.push(inputs, Size::new(1, 1));
    }

    fn seen(&self) -> Vec<Input> {
        std::mem::take(&mut lock(&self.guest))
    }
}

#[test]
fn keys_go_where_the_window_is() {
    let room = room();
    room.push(&[key(30, true), key(30, false)]);
    assert_eq!(room.seen(), [key(30, true), key(30, false)]);
    assert!(room.windows.take_changes().is_empty());
    room.push(&switch(2));
    // The guest is not left with Ctrl and Alt in its hands, and never sees the digit.
    let ctrl_alt = [key(29, true), key(56, true), key(56, false), key(29, false)];
    assert_eq!(room.seen(), ctrl_alt);
    let pointer = Input::Position {
        x: 0,
        y: 0,
        wheel: 0,
    };
    room.push(&[
        key(30, true),
        key(30, false),
        key(28, true),
        pointer,
        key(272, true),
    ]);
    assert_eq!(
        (room.seen(), lock(&room.typed).as_slice()),
        (vec![], &b"a\r"[..])
    );
    room.push(&switch(1));
    room.push(&[key(31, true)]);
    assert_eq!(room.seen(), [key(31, true)]);
    assert_eq!(lock(&room.typed).len(), 2);
}

#[test]
fn window_that_is_not_there_is_the_guests_key() {
    let room = room();
    room.push(&switch(3));
    assert_eq!(room.seen(), switch(3));
    assert_eq!(room.windows.size(), Size::new(1, 1));
}

#[test]
fn switching_shows_all_of_the_other_window_and_then_what_changes() {
    let room = room();
    assert_eq!(room.windows.period(), Some(Duration::from_millis(1)));
    room.push(&switch(2));
    let whole = room.windows.size().whole();
    assert!(whole.width > 1);
    assert_eq!(
        (room.windows.take_changes(), room.windows.period()),
        (vec![whole], None)
    );
    assert!(room.windows.take_changes().is_empty());
    room.console.write(b"\r\nsecond");
    let changed = room.windows.take_changes();
    // The cursor left the first line.
    assert_eq!(changed.len(), 2);
    assert_eq!(room.console.contents().trim_end(), "\nsecond");
    let mut pixels = Vec::new();
    room.windows.read(changed[1], &mut pixels);
    assert!(pixels.iter().any(|pixel| *pixel != 0));
    room.push(&switch(1));
    assert_eq!(room.windows.take_changes(), [Size::new(1, 1).whole()]);
}

#[test]
fn what_happens_in_a_window_wakes_the_viewers_thread() {
    use rustix::event::{eventfd, EventfdFlags};
    let room = room();
    let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap());
    room.windows.tell(wake.clone());
    let woken = || {
        let mut count = [0; 8];
        rustix::io::read(&wake, &mut count).is_ok()
    };
    assert!(!woken());
    room.console.write(b"x");
    assert!(woken());
    room.push(&switch(2));
    assert!(woken() && !woken());
    // Shift and page up.
    room.push(&[key(42, true), key(104, true)]);
    assert!(woken());
}

#[test]
fn source_is_asked_while_somebody_looks() {
    let room = room();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    room.console.show_from(Box::new(move || {
        format!("{}", count.fetch_add(1, Ordering::SeqCst)).into_bytes()
    }));
    room.windows.take_changes();
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    room.push(&switch(2));
    assert!(room.windows.period().is_some());
    (0..3).for_each(|_| drop(room.windows.take_changes()));
    assert_eq!(room.console.contents().trim_end(), "012");
}
