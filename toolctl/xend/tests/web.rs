//! The web page in a real browser: what it shows, what it lets a visitor do, and what the token adds.

mod support;

#[path = "support/browser.rs"]
mod browser;

#[path = "support/web_page.rs"]
mod web_page;

use browser::Browser;
use noxen_xend_api::Request;
use serde_json::json;
use support::{asset, eventually, toolctl, Lab};
use web_page::{buttons, host, press, sign_in, token, until};

#[test]
fn visitor_sees_charts_and_whoever_has_the_token_pauses_creates_and_destroys() {
    let (lab, address) = host("");
    lab.run(lab.config("web1"));
    let mut browser = Browser::start(&lab.root().join("profile"));
    browser.size(360, 640);
    browser.open(&address);

    // What everybody sees, on a telephone.
    let names = "[...document.querySelectorAll('h2')].map((h) => h.textContent)";
    until(&mut browser, &format!("{names}.includes('web1')"));
    until(
        &mut browser,
        "[...document.querySelectorAll('article polyline')].length >= 8 && \
         [...document.querySelectorAll('article polyline')].every((p) => p.getAttribute('points').split(' ').length >= 2)",
    );
    let memory = browser.value(
        "[...document.querySelectorAll('article')].find((a) => a.querySelector('h2').textContent === 'web1')\
         .querySelectorAll('figcaption')[1].textContent",
    );
    assert_eq!(memory, json!("Memory64 MiB"));
    let width = browser.value("document.documentElement.scrollWidth");
    assert_eq!(width, json!(360), "the page is wider than a telephone");
    let own = "performance.getEntriesByType('resource').every((r) => new URL(r.name).origin === location.origin)";
    assert_eq!(browser.value(own), json!(true));

    // Nothing can be changed yet, by button or without one.
    assert!(buttons(&mut browser, "web1").is_empty());
    let refused = browser.value(
        "fetch('/xend/domain/web1', {method: 'POST', headers: {'X-Xend': '1'}, body: new URLSearchParams({op: 'destroy'})})\
         .then((a) => a.status)",
    );
    assert_eq!(refused, json!(403));
    sign_in(&mut browser, "not-the-token");
    until(
        &mut browser,
        "document.getElementById('problem').textContent === 'this is not the token of this host'",
    );
    assert!(buttons(&mut browser, "web1").is_empty());

    // With the token.
    sign_in(&mut browser, &token(&lab));
    press(&mut browser, "web1", "pause");
    eventually("web1 is paused", || {
        (lab.letters("web1") == "--p---").then_some(())
    });
    press(&mut browser, "web1", "unpause");
    eventually("web1 runs", || {
        (lab.letters("web1") != "--p---").then_some(())
    });
    assert_eq!(
        browser.value("document.cookie"),
        json!(""),
        "scripts cannot read the token"
    );
    assert!(buttons(&mut browser, "Domain-0").is_empty());

    let config = format!(
        "name = 'web' + str(2)\\nkernel = '{}'\\nmemory = 32 * 2\\n",
        lab.root().join("kernel-ok").display()
    );
    browser.value(&format!(
        "document.getElementById('config').value = \"{config}\"; document.getElementById('create-button').click()"
    ));
    until(&mut browser, &format!("{names}.includes('web2')"));
    assert_eq!(lab.guest("web2").unwrap().memory_mib, 64);
    browser.value("document.getElementById('config').value = 'memory ='; document.getElementById('create-button').click()");
    until(
        &mut browser,
        "document.getElementById('problem').textContent.includes('line 1')",
    );

    press(&mut browser, "web1", "shutdown");
    until(&mut browser, &format!("!{names}.includes('web1')"));
    browser.value("window.confirm = () => true");
    press(&mut browser, "web2", "destroy");
    until(&mut browser, &format!("!{names}.includes('web2')"));
    assert!(lab.guests().is_empty());

    // A managed domain is started; signed out, the buttons go.
    let mut config = Box::new(lab.config("kept"));
    lab.script("block", "say hotplug-status connected");
    let disk = format!("file:{},xvda,w", lab.image("disk.img", "data"));
    config.disk = vec![noxen_xend_api::Disk::parse(&disk).unwrap()];
    lab.ask(&Request::New { config }).unwrap();
    press(&mut browser, "kept", "start");
    eventually("kept runs", || {
        lab.guest("kept")
            .filter(|guest| guest.domid.is_some())
            .map(|_| ())
    });
    // Suspended, resumed, saved, restored; where nobody listens it cannot move.
    press(&mut browser, "kept", "suspend");
    press(&mut browser, "kept", "resume");
    browser.value("window.prompt = () => '127.0.0.1'");
    press(&mut browser, "kept", "migrate");
    until(
        &mut browser,
        "document.getElementById('problem').textContent.includes('127.0.0.1')",
    );
    let file = lab.root().join("kept.img");
    browser.value(&format!("window.prompt = () => '{}'", file.display()));
    press(&mut browser, "kept", "save");
    press(&mut browser, "kept", "delete");
    until(&mut browser, &format!("!{names}.includes('kept')"));
    browser.value(&format!(
        "document.getElementById('file').value = '{}'; document.getElementById('restore-button').click()",
        file.display()
    ));
    let disks = "[...document.querySelectorAll('article')].find((a) => a.querySelector('h2').textContent === 'kept')\
         ?.querySelectorAll('figcaption')[3].textContent === 'Disks0 B/s out, 0 B/s in'";
    until(&mut browser, disks);
    press(&mut browser, "kept", "pause");
    if let Some(directory) = std::env::var_os("NOXEN_SCREENSHOTS") {
        browser.picture(&std::path::Path::new(&directory).join("web-telephone.png"));
        browser.size(1280, 800);
        browser.picture(&std::path::Path::new(&directory).join("web-wide.png"));
        browser.size(360, 640);
    }
    let width = browser.value("document.documentElement.scrollWidth");
    assert_eq!(width, json!(360), "the page is wider than a telephone");
    browser.value("document.getElementById('sign-out-button').click()");
    until(&mut browser, "!document.getElementById('sign-in').hidden");
    assert!(buttons(&mut browser, "kept").is_empty());
}

/// The console of a domain that asks "login: " and says what was typed, on a telephone.
fn console_of_web1(settings: &str) -> (Lab, Browser) {
    toolctl();
    let (lab, address) = host(settings);
    let mut config = lab.config("web1");
    config.kernel = lab.kernel("console", "console");
    lab.run(config);
    let mut browser = Browser::start(&lab.root().join("profile"));
    browser.size(360, 640);
    browser.open(&address);
    until(&mut browser, "document.querySelector('article') !== null");
    browser.value("window.violations = []; addEventListener('securitypolicyviolation', (e) => violations.push(e.violatedDirective))");
    sign_in(&mut browser, &token(&lab));
    press(&mut browser, "web1", "console");
    (lab, browser)
}

#[test]
fn console_in_the_browser_shows_what_the_guest_prints_and_types_what_is_typed() {
    let (lab, mut browser) = console_of_web1("(xterm-path /nonexistent)");
    let screen = "document.getElementById('screen').textContent";
    until(&mut browser, &format!("{screen} === 'login: '"));
    // By the field, as on a telephone; then by keys, one of which takes another back.
    browser.value("document.getElementById('line').value = 'hello'; document.getElementById('line-button').click()");
    until(
        &mut browser,
        &format!("{screen} === 'login: hello\\nyou typed hello\\nlogin: '"),
    );
    for key in ["a", "x", "Backspace", "b", "Enter"] {
        browser.value(&format!(
            "document.getElementById('screen').dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))"
        ));
    }
    until(
        &mut browser,
        &format!("{screen}.endsWith('\\nlogin: ab\\nyou typed ab\\nlogin: ')"),
    );
    let width = browser.value("document.documentElement.scrollWidth");
    assert_eq!(width, json!(360), "the page is wider than a telephone");

    // It is the one console of the domain, as long as the page has it.
    let leave = lab.image("leave", "\x1d");
    let console = || {
        let mut command = lab.command(toolctl());
        command.args(["console", "web1"]);
        command.stdin(std::fs::File::open(&leave).unwrap());
        let output = command.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), words)
    };
    let (_, words) = console();
    assert!(words.contains("is already taken by process"), "{words}");
    browser.value("document.getElementById('console-close').click()");
    eventually("the console is free", || console().0.then_some(()));
}

#[test]
fn console_is_a_terminal_where_xterm_is_installed() {
    let xterm = asset("xterm");
    let (lab, mut browser) = console_of_web1(&format!("(xterm-path {})", xterm.display()));
    until(
        &mut browser,
        "current !== null && current.view instanceof XtermView",
    );
    let line = |number: u32| {
        format!("current.view.terminal.buffer.active.getLine({number}).translateToString(true)")
    };
    until(&mut browser, &format!("{} === 'login: '", line(0)));
    // Bold, as the guest asked for, in the terminal and as it is drawn: its own style sheets are in force.
    until(
        &mut browser,
        "[...document.querySelectorAll('.xterm-rows span')].some((s) => s.textContent.startsWith('login:') && \
         Number(getComputedStyle(s).fontWeight) >= 700)",
    );
    assert_eq!(browser.value("violations"), json!([]));

    // By keys, and by the field as on a telephone. What the guest prints moves the cursor.
    browser.value("current.view.focus()");
    for letter in ["h", "i"] {
        browser.key(letter, &format!("Key{}", letter.to_uppercase()), letter);
    }
    browser.key("Enter", "Enter", "\r");
    until(&mut browser, &format!("{} === 'you typed hi'", line(1)));
    browser.value("document.getElementById('line').value = '\x1b[12;9H\x1b[31mthere'; document.getElementById('line-button').click()");
    until(&mut browser, &format!("{} === '        there'", line(11)));
    let red = "current.view.terminal.buffer.active.getLine(11).getCell(8).getFgColor()";
    assert_eq!(browser.value(red), json!(1));
    // As long as no request of the page's takes it in one piece.
    browser.value("type('x'.repeat(9000) + '\\r')");
    until(
        &mut browser,
        "(() => { const buffer = current.view.terminal.buffer.active; let text = '';\
         for (let i = 0; i < buffer.length; i += 1) text += buffer.getLine(i).translateToString(true);\
         return text.includes('you typed ' + 'x'.repeat(9000) + 'login: '); })()",
    );
    let width = browser.value("document.documentElement.scrollWidth");
    assert_eq!(width, json!(360), "the page is wider than a telephone");
    if let Some(directory) = std::env::var_os("NOXEN_SCREENSHOTS") {
        browser.picture(&std::path::Path::new(&directory).join("web-terminal.png"));
        browser.size(1280, 800);
        browser.picture(&std::path::Path::new(&directory).join("web-terminal-wide.png"));
    }
    let own = "performance.getEntriesByType('resource').every((r) => new URL(r.name).origin === location.origin)";
    assert_eq!(browser.value(own), json!(true));

    // Ctrl-] leaves; opened again, it is a new terminal.
    browser.value("current.view.terminal.input('\x1d')");
    until(
        &mut browser,
        "current === null && document.getElementById('console').hidden && document.getElementById('terminal').childElementCount === 0",
    );
    press(&mut browser, "web1", "console");
    until(
        &mut browser,
        "current !== null && current.view instanceof XtermView",
    );
    assert_eq!(lab.guests().len(), 1);
}
