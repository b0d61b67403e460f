//! A node's web page in the browser: opened, waited for, and pressed.
#![allow(dead_code)] // Each test file uses its part.

use crate::browser::Browser;
use crate::support::{eventually, free_port, Lab};
use serde_json::json;

/// A node whose web page is at the returned address.
pub fn host(more: &str) -> (Lab, String) {
    let lab = Lab::new();
    lab.stop();
    let port = free_port();
    lab.settings(&format!(
        "(xend-http-server yes)(xend-address 127.0.0.1)(xend-port {port}){more}"
    ));
    lab.start();
    (lab, format!("http://127.0.0.1:{port}/"))
}

/// What the page asks for before it lets somebody change something.
pub fn token(lab: &Lab) -> String {
    let text = std::fs::read_to_string(lab.paths().web_token()).unwrap();
    text.trim().to_owned()
}

/// Waits until the expression is true in the page.
pub fn until(browser: &mut Browser, expression: &str) {
    eventually(expression, || {
        (browser.value(expression) == json!(true)).then_some(())
    });
}

/// Types the token and sends it.
pub fn sign_in(browser: &mut Browser, token: &str) {
    browser.value(&format!(
        "document.getElementById('token').value = '{token}'; document.getElementById('sign-in-button').click()"
    ));
}

/// Buttons of domain `name` that a visitor sees.
pub fn buttons(browser: &mut Browser, name: &str) -> Vec<String> {
    let seen = browser.value(&format!(
        "[...document.querySelectorAll('article')].filter((a) => a.querySelector('h2').textContent === '{name}')\
         .flatMap((a) => [...a.querySelectorAll('button')]).filter((b) => b.offsetParent).map((b) => b.dataset.op)"
    ));
    serde_json::from_value(seen).unwrap()
}

/// Waits for button `op` of domain `name`, and presses it.
pub fn press(browser: &mut Browser, name: &str, op: &str) {
    eventually(&format!("button {op} of {name}"), || {
        buttons(browser, name)
            .contains(&op.to_owned())
            .then_some(())
    });
    browser.value(&format!(
        "[...document.querySelectorAll('article')].find((a) => a.querySelector('h2').textContent === '{name}')\
         .querySelector('[data-op={op}]').click()"
    ));
}
