//! A stock kernel's frame buffer, keyboard and pointer on our back ends.
//!
//! ```text
//!   guest: /dev/fb0 ── xen-fbfront ── vfb 0 ── control socket: Screen, Pixels
//!   control socket: Input ── vkbd 0 ── xen-kbdfront ── /dev/input/event*
//!   VNC viewer: keys ── vkbd 0 ── tty1 ── fbcon ── vfb 0 ── picture
//! ```

use crate::store::xenstore;
use crate::viewer::Viewer;
use crate::{in_lab, LIMIT};
use noxen_control::client::Client;
use noxen_control::screen::{Input, Part, Picture};
use noxen_control::{Reply, Request};
use noxen_integration_tests::assets::Flavour;
use noxen_integration_tests::guest::Domain;
use noxen_integration_tests::node::Node;
use noxen_integration_tests::wait;

/// The line that the guest paints, and how many pixels of it; the kernel's own text is far above.
const LINE: u32 = 500;
const PIXELS: u32 = 16;

struct Screen(Client);

impl Screen {
    fn ask(&mut self, request: &Request) -> Reply {
        self.0.ask(request).unwrap()
    }

    fn picture(&mut self) -> Option<Picture> {
        match self.ask(&Request::Screen { devid: 0 }) {
            Reply::Screen { picture } => picture,
            other => panic!("{other:?}"),
        }
    }

    fn pixels(&mut self) -> String {
        let part = Part {
            x: 0,
            y: LINE,
            width: PIXELS,
            height: 1,
        };
        match self.ask(&Request::Pixels { devid: 0, part }) {
            Reply::Pixels { hex } => hex,
            other => panic!("{other:?}"),
        }
    }

    fn input(&mut self, events: Vec<Input>) {
        let reply = self.ask(&Request::Input { devid: 0, events });
        assert_eq!(reply, Reply::Ok);
    }
}

#[test]
fn stock_front_ends_show_what_the_guest_draws_and_hand_it_keys() {
    in_lab();
    let node = Node::new().unwrap();
    let domain = Domain::debian("screen", Flavour::Generic)
        .unwrap()
        .line("vfb = [ 'vnc=1,vncdisplay=40,videoram=8' ]");
    let mut console = node.create_on_console(&domain).unwrap();
    console.login(LIMIT).unwrap();
    let socket = node.control_socket().unwrap();
    let mut screen = Screen(Client::connect(&socket, Some(LIMIT)).unwrap());
    let listing = console.run("cat /proc/fb; modprobe evdev", LIMIT).unwrap();
    assert!(listing.contains("xen"), "{listing}");
    let picture = screen.picture().unwrap();
    assert_eq!((picture.width, picture.height), (800, 600));
    assert_eq!(picture.depth, 32);
    assert!(!picture.changed.is_empty());

    // A line of one colour.
    let paint = format!(
        "n=0; while [ $n -lt {PIXELS} ]; do printf '\\001\\002\\003\\000'; n=$((n+1)); done | \
         dd of=/dev/fb0 bs=3200 seek={LINE} 2>/dev/null"
    );
    console.run(&paint, LIMIT).unwrap();
    let painted = wait::until("the painted line among what has changed", LIMIT, || {
        let changed = screen.picture().unwrap().changed;
        let hit = |part: &Part| part.y <= LINE && LINE < part.y + part.height;
        changed.iter().any(hit).then(|| screen.pixels())
    });
    assert_eq!(painted, "01020300".repeat(PIXELS as usize));

    // A key goes down and up; an input_event is 16 bytes of time, type, code, value.
    console
        .run(
            "for e in /sys/class/input/event*; do case $(cat $e/device/name) in *Keyboard*) k=/dev/input/${e##*/};; esac; done; \
             (dd if=$k bs=24 count=3 of=/tmp/keys 2>/dev/null; touch /tmp/pressed) & sleep 1",
            LIMIT,
        )
        .unwrap();
    let key = |pressed| Input::Key { code: 30, pressed };
    screen.input(vec![key(true), key(false)]);
    let keys = console
        .run(
            "n=0; while [ ! -e /tmp/pressed ] && [ $n -lt 600 ]; do n=$((n+1)); sleep 0.1; done; \
             od -A n -t x1 -v /tmp/keys | tr -d ' \\n'; echo",
            LIMIT,
        )
        .unwrap();
    let keys = keys.trim();
    assert_eq!(keys.len(), 3 * 48, "{keys}");
    // EV_KEY, KEY_A, down; EV_SYN; EV_KEY, KEY_A, up.
    assert_eq!(&keys[32..48], "01001e0001000000", "{keys}");
    assert_eq!(&keys[80..96], "0000000000000000", "{keys}");
    assert_eq!(&keys[128..144], "01001e0000000000", "{keys}");

    // A person at a viewer: types a line, sees it, and the guest has read it.
    let port = xenstore(
        &node,
        &["xenstore-read", "/local/domain/1/console/vnc-port"],
    );
    let mut viewer = Viewer::connect(port.trim().parse().unwrap());
    assert_eq!(viewer.size(), (800, 600));
    console
        .run(
            "chvt 1 2>/dev/null; printf '\\033[2J\\033[H' >/dev/tty1; (head -n 1 </dev/tty1 >/tmp/typed; touch /tmp/read) & sleep 1",
            LIMIT,
        )
        .unwrap();
    let is_black = |lines: &[u8]| lines.chunks(4).all(|pixel| pixel[..3] == [0; 3]);
    viewer.update(false);
    viewer.wait(100, 100, is_black);
    viewer.type_text("Hello, VNC!\n");
    let is_drawn =
        |lines: &[u8]| lines.chunks(4).filter(|pixel| pixel[..3] != [0; 3]).count() > 100;
    viewer.wait(0, 16, is_drawn);
    let typed = console
        .run(
            "n=0; while [ ! -e /tmp/read ] && [ $n -lt 600 ]; do n=$((n+1)); sleep 0.1; done; cat /tmp/typed",
            LIMIT,
        )
        .unwrap();
    // The terminal may have had the key of before, too.
    let typed = typed.trim().trim_start_matches('a');
    assert_eq!(typed, "Hello, VNC!");
    node.toolctl(&["destroy", "screen"]).ok();
}
