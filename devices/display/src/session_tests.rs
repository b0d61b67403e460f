use super::*;

const SIZE: Size = Size {
    width: 40,
    height: 20,
};

/// One colour everywhere.
struct Plain(Size, u32);

impl Surface for Plain {
    fn size(&self) -> Size {
        self.0
    }

    fn read(&self, part: Part, into: &mut Vec<u32>) {
        into.resize(into.len() + (part.width * part.height) as usize, self.1);
    }
}

fn settings(password: Option<&str>) -> Settings {
    Settings {
        name: "guest".into(),
        password: password.map(str::to_owned),
        layout: Layout::english(),
        tls: false,
    }
}

struct Viewer {
    session: Session,
    inputs: Vec<Input>,
}

impl Viewer {
    fn new(password: Option<&str>) -> Viewer {
        let mut viewer = Viewer {
            session: Session::new(&settings(password), [7; CHALLENGE], SIZE),
            inputs: Vec::new(),
        };
        assert_eq!(viewer.read(), b"RFB 003.008\n");
        viewer
    }

    fn by_tls(password: Option<&str>) -> Viewer {
        let settings = Settings {
            tls: true,
            ..settings(password)
        };
        let mut viewer = Viewer {
            session: Session::new(&settings, [7; CHALLENGE], SIZE),
            inputs: Vec::new(),
        };
        viewer.read();
        viewer
    }

    fn running() -> Viewer {
        let mut viewer = Viewer::new(None);
        viewer.say(b"RFB 003.008\n");
        viewer.say(&[1]);
        viewer.say(&[1]);
        viewer.read();
        assert!(viewer.session.is_running());
        viewer
    }

    fn read(&mut self) -> Vec<u8> {
        std::mem::take(self.session.output())
    }

    fn say(&mut self, bytes: &[u8]) {
        self.session.feed(bytes, &mut self.inputs).unwrap();
    }

    fn encodings(&mut self, list: &[i32]) {
        let mut bytes = vec![2, 0];
        bytes.extend((list.len() as u16).to_be_bytes());
        bytes.extend(list.iter().flat_map(|number| number.to_be_bytes()));
        self.say(&bytes);
    }

    fn request(&mut self, incremental: bool) {
        self.say(&[3, incremental.into(), 0, 0, 0, 0, 0, 40, 0, 20]);
    }

    fn update(&mut self, surface: &Plain) -> Vec<u8> {
        self.session.update(surface);
        self.read()
    }
}

#[test]
fn viewers_of_all_versions_are_let_in() {
    for (version, expected) in [
        ("RFB 003.003\n", &[0u8, 0, 0, 1][..]),
        ("RFB 003.005\n", &[0, 0, 0, 1]),
        ("RFB 003.007\n", &[1, 1]),
        ("RFB 003.008\n", &[1, 1]),
        ("RFB 003.889\n", &[1, 1]),
        ("RFB 004.001\n", &[1, 1]),
    ] {
        let mut viewer = Viewer::new(None);
        viewer.say(version.as_bytes());
        assert_eq!(viewer.read(), expected, "{version}");
        if expected.len() == 2 {
            viewer.say(&[1]);
        }
        let result: &[u8] = if version > "RFB 003.007\n" {
            &[0; 4]
        } else {
            &[]
        };
        assert_eq!(viewer.read(), result, "{version}");
        viewer.say(&[0]);
        let init = viewer.read();
        assert_eq!(init[..4], [0, 40, 0, 20]);
        assert_eq!(init[20..], *b"\0\0\0\x05guest");
    }
}

#[test]
fn password_opens_and_anything_else_does_not() {
    for (given, good) in [("secret", true), ("secrer", false)] {
        let mut viewer = Viewer::new(Some("secret"));
        viewer.say(b"RFB 003.008\n");
        assert_eq!(viewer.read(), [1, 2]);
        viewer.say(&[2]);
        assert_eq!(viewer.read(), [7; CHALLENGE]);
        let answer = auth::answer(given, &[7; CHALLENGE]);
        let result = viewer.session.feed(&answer, &mut viewer.inputs);
        assert_eq!(result.is_ok(), good);
        let told = viewer.read();
        assert_eq!(told[..4], [0, 0, 0, u8::from(!good)]);
        // Whatever follows, nobody who failed gets in.
        let _ = viewer.session.feed(&[1; 100], &mut viewer.inputs);
        assert!(good || !viewer.session.is_running());
        assert_eq!(viewer.session.output().is_empty(), !good);
    }
    // Nor does he who asks for no password.
    let mut viewer = Viewer::new(Some("secret"));
    viewer.say(b"RFB 003.008\n");
    let none = viewer.session.feed(&[1], &mut viewer.inputs);
    assert!(matches!(none, Err(Ended::Protocol(_))));
}

#[test]
fn picture_comes_when_asked_for_and_once() {
    let mut viewer = Viewer::running();
    let screen = Plain(SIZE, 0x010203);
    viewer.session.changed(SIZE.whole());
    assert!(viewer.update(&screen).is_empty());
    viewer.request(true);
    let update = viewer.update(&screen);
    assert_eq!(
        update[..16],
        [0, 0, 0, 1, 0, 0, 0, 0, 0, 40, 0, 20, 0, 0, 0, 0]
    );
    assert_eq!(update[16..20], [3, 2, 1, 0]);
    assert_eq!(update.len(), 16 + 40 * 20 * 4);
    viewer.request(true);
    assert!(viewer.update(&screen).is_empty());
    viewer.session.changed(Part {
        x: 39,
        y: 19,
        width: 1,
        height: 1,
    });
    let update = viewer.update(&screen);
    assert_eq!(update[4..12], [0, 32, 0, 16, 0, 8, 0, 4]);
}

#[test]
fn viewer_that_does_not_read_costs_one_rectangle() {
    let mut viewer = Viewer::running();
    let size = Size::new(2000, 2000);
    let screen = Plain(size, 0);
    viewer.encodings(&[DESKTOP_SIZE]);
    for _ in 0..100 {
        viewer.say(&[3, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        viewer.session.changed(size.whole());
        viewer.session.update(&screen);
    }
    let waiting = viewer.session.output().len();
    let most = LOW + PIXELS as usize * 4 + 64;
    assert!((LOW..most).contains(&waiting), "{waiting}");
    // Its questions are answered up to a bound.
    let mut fence = vec![248, 0, 0, 0, 0x80, 0, 0, 0, 64];
    fence.resize(9 + 64, 1);
    let mut asked = 0usize;
    while viewer.session.feed(&fence, &mut viewer.inputs).is_ok() {
        asked += fence.len();
        assert!(asked < 2 * MOST_OUTPUT);
    }
}

#[test]
fn update_is_one_message_and_answers_wait_for_its_end() {
    let mut viewer = Viewer::running();
    let size = Size::new(1000, 1000);
    let screen = Plain(size, 1);
    viewer.encodings(&[DESKTOP_SIZE]);
    viewer.say(&[3, 0, 0, 0, 0, 0, 3, 0xe8, 3, 0xe8]);
    assert!(viewer.session.update(&screen));
    // It asks for a fence and other pixels in the middle.
    viewer.say(&[248, 0, 0, 0, 0x80, 0, 0, 0, 1, 9]);
    viewer.say(&[0, 0, 0, 0, 8, 8, 0, 1, 0, 7, 0, 7, 0, 3, 0, 3, 6, 0, 0, 0]);
    let mut bytes = viewer.read();
    while viewer.session.update(&screen) {
        bytes.extend(viewer.read());
    }
    let count = u16::from_be_bytes([bytes[2], bytes[3]]);
    let (mut at, mut pixels) = (4, 0);
    for _ in 0..count {
        let side = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let area = side(at + 4) * side(at + 6);
        if bytes[at + 8..at + 12] == [0; 4] {
            pixels += area;
            at += area * 4;
        }
        at += 12;
    }
    assert_eq!(pixels, 1000 * 1000);
    assert_eq!(bytes[at..], [248, 0, 0, 0, 0, 0, 0, 0, 1, 9]);
    // The next one has the other pixels.
    viewer.say(&[3, 0, 0, 0, 0, 0, 0, 16, 0, 16]);
    assert_eq!(viewer.update(&screen).len(), 16 + 256);
}

#[test]
fn size_is_told_to_those_who_know_how() {
    let other = Size::new(50, 10);
    let screen = Plain(other, 0);
    // An old viewer sees what both sizes have.
    let mut old = Viewer::running();
    old.request(false);
    let update = old.update(&screen);
    assert_eq!(update[4..12], [0, 0, 0, 0, 0, 40, 0, 10]);
    for (extension, length) in [(DESKTOP_SIZE, 12), (EXTENDED_SIZE, 12 + 20)] {
        let mut viewer = Viewer::running();
        viewer.encodings(&[extension]);
        viewer.request(false);
        let update = viewer.update(&screen);
        assert_eq!(update[..4], [0, 0, 0, 2]);
        assert_eq!(update[4..12], [0, 0, 0, 0, 0, 50, 0, 10]);
        assert_eq!(update[12..16], extension.to_be_bytes());
        assert_eq!(update[4 + length..][..8], [0, 0, 0, 0, 0, 50, 0, 10]);
    }
}

#[test]
fn viewer_may_not_set_the_size() {
    let mut viewer = Viewer::running();
    viewer.encodings(&[EXTENDED_SIZE]);
    viewer.request(true);
    viewer.update(&Plain(SIZE, 0));
    let mut set = vec![251, 0, 1, 0, 1, 0, 1, 0];
    set.resize(8 + 16, 0);
    viewer.say(&set);
    viewer.request(true);
    let update = viewer.update(&Plain(SIZE, 0));
    assert_eq!(update[4..12], [0, 1, 0, 1, 0, 40, 0, 20]);
}

#[test]
fn extensions_are_granted_and_used() {
    let mut viewer = Viewer::running();
    viewer.encodings(&[EXTENDED_KEYS, LONG_BUTTONS, POINTER_KIND, FENCE, CONTINUOUS]);
    assert_eq!(viewer.read(), [248, 0, 0, 0, 0x80, 0, 0, 0, 0, 150]);
    viewer.session.set_absolute(false);
    viewer.request(true);
    let update = viewer.update(&Plain(SIZE, 0));
    assert_eq!(update[..4], [0, 0, 0, 3]);
    // Movement by scancode's and pointer's extensions.
    viewer.say(&[255, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x1e]);
    viewer.say(&[5, 0x80, 0x80, 0x01, 0x7f, 0xfe, 1]);
    let key = |code, pressed| Input::Key { code, pressed };
    let motion = Input::Motion {
        x: 2,
        y: -1,
        wheel: 0,
    };
    assert_eq!(viewer.inputs, [key(30, true), motion, key(0x113, true)]);
    viewer.inputs.clear();
    viewer.session.release_all(&mut viewer.inputs);
    assert_eq!(viewer.inputs, [key(30, false), key(0x113, false)]);
    // Pictures without asking.
    viewer.say(&[150, 1, 0, 0, 0, 0, 0, 40, 0, 20]);
    viewer.session.changed(SIZE.whole());
    assert!(!viewer.update(&Plain(SIZE, 0)).is_empty());
    viewer.say(&[150, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(viewer.read(), [150]);
    viewer.session.changed(SIZE.whole());
    assert!(viewer.update(&Plain(SIZE, 0)).is_empty());
}

#[test]
fn messages_may_come_byte_by_byte() {
    let mut viewer = Viewer::running();
    let mut bytes = vec![2, 0, 0, 3];
    bytes.extend(
        [16i32, 5, EXTENDED_KEYS]
            .iter()
            .flat_map(|number| number.to_be_bytes()),
    );
    bytes.extend([6, 0, 0, 0, 0, 0, 0, 3, b'a', b'b', b'c']);
    bytes.extend([4, 1, 0, 0, 0, 0, 0, b'x']);
    bytes.extend([3, 0, 0, 0, 0, 0, 0, 40, 0, 20]);
    for byte in bytes {
        viewer.say(&[byte]);
    }
    assert_eq!(
        viewer.inputs,
        [Input::Key {
            code: 45,
            pressed: true
        }]
    );
    let update = viewer.update(&Plain(SIZE, 0));
    assert_eq!(update[..4], [0, 0, 0, 2]);
    assert_eq!(update[16 + 8..][..4], 16i32.to_be_bytes());
}

/// Both kinds, up to where TLS begins; what is said inside it is as without.
#[test]
fn tls_is_the_only_way_in_where_it_is_asked_for() {
    for (password, kind) in [(None, 260_u32), (Some("geheim"), 261)] {
        let mut viewer = Viewer::by_tls(password);
        viewer.say(b"RFB 003.008\n");
        assert_eq!(viewer.read(), [1, 19]);
        viewer.say(&[19]);
        assert_eq!(viewer.read(), [0, 2]);
        viewer.say(&[0, 2]);
        let kind = kind.to_be_bytes();
        assert_eq!(viewer.read(), [&[0, 1], kind.as_slice()].concat());
        assert!(!viewer.session.awaits_tls());
        viewer.say(&kind);
        assert_eq!(viewer.read(), [1]);
        assert!(viewer.session.awaits_tls() && !viewer.session.is_running());
        viewer.session.tls_is_up();
        assert!(!viewer.session.awaits_tls());
        match password {
            None => assert_eq!(viewer.read(), [0; 4]),
            Some(_) => assert_eq!(viewer.read(), [7; CHALLENGE]),
        }
    }
}

#[test]
fn ways_round_tls_are_refused() {
    let say = |parts: &[&[u8]]| {
        let mut viewer = Viewer::by_tls(Some("geheim"));
        let (last, before) = parts.split_last().unwrap();
        before.iter().for_each(|part| viewer.say(part));
        let ended = viewer.session.feed(last, &mut viewer.inputs);
        (ended.unwrap_err().to_string(), viewer.read())
    };
    let version = b"RFB 003.008\n".as_slice();
    let (why, _) = say(&[version, &[2]]);
    assert!(why.contains("type 2, which was not offered"), "{why}");
    let (why, told) = say(&[b"RFB 003.003\n"]);
    assert!(why.contains("3.3"), "{why}");
    assert!(told.ends_with(b"takes RFB 3.7"), "{told:?}");
    let (why, _) = say(&[version, &[19], &[0, 1]]);
    assert!(why.contains("VeNCrypt 0.1"), "{why}");
    let (why, _) = say(&[version, &[19], &[0, 2], &258_u32.to_be_bytes()]);
    assert!(why.contains("kind 258"), "{why}");
    // What comes with the choice, in the clear, must not be taken for what comes inside TLS.
    let chosen = [261_u32.to_be_bytes().as_slice(), &[0; CHALLENGE]].concat();
    let (why, _) = say(&[version, &[19], &[0, 2], &chosen]);
    assert!(why.contains("in the clear"), "{why}");
}
