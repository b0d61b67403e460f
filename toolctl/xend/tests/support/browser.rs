//! Headless Chromium, driven over its debugging pipe.
//!
//! ```text
//!   {"id":N,"method":M,"params":..}\0  --descriptor 3-->  chromium-headless-shell  --descriptor 4-->  {"id":N,"result":..}\0, events
//! ```

use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const PROGRAM: &str = "/usr/bin/chromium-headless-shell";

/// One browser with one page.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: String,
    last: u64,
}

impl Browser {
    /// Starts it; `profile` is a directory of its own.
    pub fn start(profile: &Path) -> Browser {
        assert!(
            Path::new(PROGRAM).exists(),
            "{PROGRAM} is missing: run `cargo xtask assets`"
        );
        // It wants its pipe at 3 and 4; we have 0 and 1.
        let line = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut child = Command::new("sh")
            .args(["-c", line, PROGRAM])
            // Tests run as root in containers, where it cannot make its sandbox; it only sees our page.
            .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--remote-debugging-pipe", "--no-proxy-server"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let mut browser = Browser {
            child,
            to,
            from,
            session: String::new(),
            last: 0,
        };
        let made = browser.ask("Target.createTarget", json!({"url": "about:blank"}));
        let target = made["targetId"].clone();
        let attached = browser.ask(
            "Target.attachToTarget",
            json!({"targetId": target, "flatten": true}),
        );
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    /// One command and its result.
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": params});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).unwrap();
            assert_eq!(bytes.pop(), Some(0), "the browser is gone");
            let mut answer: Value = serde_json::from_slice(&bytes).unwrap();
            if answer["id"] == json!(self.last) {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// Opens `address`.
    pub fn open(&mut self, address: &str) {
        let opened = self.ask("Page.navigate", json!({"url": address}));
        assert!(opened["errorText"].is_null(), "{address}: {opened}");
    }

    /// A window of that size, as a phone has it.
    pub fn size(&mut self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": true});
        self.ask("Emulation.setDeviceMetricsOverride", size);
    }

    /// A key of the keyboard's, pressed and let go; `text` is what it types, if it does.
    pub fn key(&mut self, name: &str, code: &str, text: &str) {
        let number = match name {
            "Enter" => 13,
            letter => letter.to_uppercase().as_bytes()[0],
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({
                "type": kind, "key": name, "code": code, "windowsVirtualKeyCode": number,
            });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.ask("Input.dispatchKeyEvent", event);
        }
    }

    /// What the page looks like, all of it, as a PNG file: for whoever changes it.
    pub fn picture(&mut self, path: &Path) {
        let wanted = json!({"format": "png", "captureBeyondViewport": true});
        let told = self.ask("Page.captureScreenshot", wanted);
        let data = told["data"].as_str().unwrap().to_owned();
        let mut decoder = Command::new("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(path).unwrap())
            .spawn()
            .unwrap();
        decoder
            .stdin
            .take()
            .unwrap()
            .write_all(data.as_bytes())
            .unwrap();
        assert!(decoder.wait().unwrap().success());
    }

    /// The value of a JavaScript expression in the page; promises are waited for.
    pub fn value(&mut self, expression: &str) -> Value {
        let wanted = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut told = self.ask("Runtime.evaluate", wanted);
        assert!(told["exceptionDetails"].is_null(), "{expression}: {told}");
        told["result"]["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
