//! A domain's screen in the page, in a real browser, by noVNC; the display crate's own server shows it.
//!
//! ```text
//!   key of the browser's ──> noVNC ──WebSocket──> xend ──> [look only: dropped] ──> Session ──> inputs
//!   canvas <── noVNC <──WebSocket── xend <── Session <── surface of two colours
//! ```

mod support;

#[path = "support/browser.rs"]
mod browser;
#[path = "support/web_page.rs"]
mod web_page;

use browser::Browser;
use noxen_control::screen::{Input, Part};
use noxen_display::{Layout, Session, Settings, Size, Surface};
use noxen_xend_api::DomainConfig;
use noxen_xenstore::client::Nodes;
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{asset, eventually, Lab};
use web_page::{host, press, sign_in, token, until};

const SIZE: Size = Size {
    width: 640,
    height: 480,
};
const LEFT: u32 = 0x10_20_30;
/// No colour: the screen goes away.
const HANG_UP: u32 = u32::MAX;

/// The left half stays as it is; the right half has the colour of the moment.
struct Halves(u32);

impl Surface for Halves {
    fn size(&self) -> Size {
        SIZE
    }

    fn read(&self, part: Part, into: &mut Vec<u32>) {
        for _ in 0..part.height {
            into.extend((part.x..part.x + part.width).map(|x| match x < 320 {
                true => LEFT,
                false => self.0,
            }));
        }
    }
}

/// A screen that shows itself at a port.
struct Screen {
    port: u16,
    colour: Arc<AtomicU32>,
    inputs: Arc<Mutex<Vec<Input>>>,
}

impl Screen {
    fn new(password: Option<&str>) -> Screen {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let screen = Screen {
            port: listener.local_addr().unwrap().port(),
            colour: Arc::new(AtomicU32::new(0xa0_b0_c0)),
            inputs: Arc::default(),
        };
        let settings = Settings {
            tls: false,
            name: "web1".into(),
            password: password.map(str::to_owned),
            layout: Layout::english(),
        };
        let (colour, inputs) = (screen.colour.clone(), screen.inputs.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &settings, &colour, &inputs);
            }
        });
        screen
    }

    /// Puts it in the place of the domain's own.
    fn is_that_of(&self, lab: &Lab, name: &str) {
        let domid = lab.guest(name).unwrap().domid.unwrap();
        let node = format!("/local/domain/{domid}/console/vnc-port");
        lab.store().write(&node, self.port.to_string()).unwrap();
    }

    fn keys(&self) -> Vec<Input> {
        let inputs = self.inputs.lock().unwrap();
        let keys = inputs.iter().filter(|i| matches!(i, Input::Key { .. }));
        keys.cloned().collect()
    }
}

/// One viewer until it leaves.
fn serve(
    mut stream: TcpStream,
    settings: &Settings,
    colour: &AtomicU32,
    inputs: &Mutex<Vec<Input>>,
) {
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mut session = Session::new(settings, [7; 16], SIZE);
    let mut shown = 0;
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => {
                if session
                    .feed(&bytes[..count], &mut inputs.lock().unwrap())
                    .is_err()
                {
                    return;
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        let now = colour.load(Ordering::Relaxed);
        if now == HANG_UP {
            return;
        }
        if now != shown {
            session.changed(SIZE.whole());
            shown = now;
        }
        while session.wants_update() {
            session.update(&Halves(now));
            if session.output().is_empty() {
                break;
            }
            let output = std::mem::take(session.output());
            if stream.write_all(&output).is_err() {
                return;
            }
        }
        let output = std::mem::take(session.output());
        if stream.write_all(&output).is_err() {
            return;
        }
    }
}

/// Waits until the canvas has this colour in its right half, and the other in its left one.
fn sees(browser: &mut Browser, colour: u32) {
    let [_, red, green, blue] = colour.to_be_bytes();
    until(
        browser,
        &format!(
            "(() => {{ const canvas = document.querySelector('#display-screen canvas'); if (!canvas || canvas.width !== 640) return false;\
             const at = (x) => canvas.getContext('2d').getImageData(x, 240, 1, 1).data.slice(0, 3).join();\
             return at(100) === '16,32,48' && at(500) === '{red},{green},{blue}'; }})()"
        ),
    );
}

#[test]
fn screen_is_looked_at_by_everybody_and_typed_at_with_the_token() {
    let novnc = asset("novnc");
    let (lab, address) = host(&format!("(novnc-path {})", novnc.display()));
    let config = |name: &str, vfb: &str| DomainConfig {
        vfb: vec![vfb.to_owned()],
        ..lab.config(name)
    };
    lab.run(config("web1", "vnc=1"));
    lab.run(config("web2", "vnc=1,vncpasswd=secret"));
    lab.run(lab.config("web3"));
    let (open, locked) = (Screen::new(None), Screen::new(Some("secret")));
    open.is_that_of(&lab, "web1");
    locked.is_that_of(&lab, "web2");
    let mut browser = Browser::start(&lab.root().join("profile"));
    browser.size(360, 640);
    browser.open(&address);

    // A visitor looks on, live.
    press(&mut browser, "web1", "screen");
    sees(&mut browser, 0xa0_b0_c0);
    let width = browser.value("document.documentElement.scrollWidth");
    assert_eq!(width, json!(360), "the page is wider than a telephone");
    assert_eq!(web_page::buttons(&mut browser, "web3"), [""; 0]);
    // What noVNC would not send, xend does not let through: these pictures were asked for behind the key.
    browser.value("shown.rfb.viewOnly = false; shown.rfb.focus()");
    browser.key("x", "KeyX", "x");
    for colour in [0x01_02_03, 0xff_00_00, 0x00_ff_00] {
        open.colour.store(colour, Ordering::Relaxed);
        sees(&mut browser, colour);
    }
    assert_eq!(open.keys(), []);
    browser.value("document.getElementById('display-close').click()");
    press(&mut browser, "web2", "screen");
    until(
        &mut browser,
        "document.getElementById('problem').textContent.includes('sign in to look at it')",
    );

    // With the token, keys arrive, and a password need not be known.
    sign_in(&mut browser, &token(&lab));
    until(&mut browser, "document.getElementById('sign-in').hidden");
    press(&mut browser, "web2", "screen");
    sees(&mut browser, 0xa0_b0_c0);
    press(&mut browser, "web1", "screen");
    sees(&mut browser, 0x00_ff_00);
    browser.key("a", "KeyA", "a");
    let pressed = |pressed| Input::Key { code: 30, pressed };
    eventually("the key that was typed", || {
        (open.keys() == [pressed(true), pressed(false)]).then_some(())
    });
    // As on a telephone: a line, and its end.
    browser.value(
        "document.getElementById('display-line').value = 'b'; document.getElementById('display-line-button').click()",
    );
    let codes = || -> Vec<u16> {
        let keys = open.keys();
        let down = keys.iter().filter_map(|key| match key {
            Input::Key {
                code,
                pressed: true,
            } => Some(*code as u16),
            _ => None,
        });
        down.collect()
    };
    eventually("b and Enter", || (codes() == [30, 48, 28]).then_some(()));
    if let Some(directory) = std::env::var_os("NOXEN_SCREENSHOTS") {
        browser.picture(&std::path::Path::new(&directory).join("web-screen.png"));
    }
    let own = "performance.getEntriesByType('resource').every((r) => new URL(r.name).origin === location.origin)";
    assert_eq!(browser.value(own), json!(true));
    // A screen that goes away takes its place in the page along.
    open.colour.store(HANG_UP, Ordering::Relaxed);
    until(
        &mut browser,
        "shown === null && document.getElementById('display').hidden",
    );
}
