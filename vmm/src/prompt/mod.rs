//! The monitor window: commands that a person types about a running domain.
//!
//! ```text
//!   window --keys--> Inbox --wake--> main loop: Prompt --edit.rs--> line --commands.rs--> one command's function
//!                                      |                                  Subject: the domain, typed
//!                                      |                                     |
//!        window <--text----------------+<---------- Outcome: text, or a Wish of xend's --Event::Wished--> xend
//!                                                          next prompt <--Request::Fulfilled---------------'
//! ```
//! A command is one entry of a table: in `info/` what can be asked, in `act.rs`, `media.rs`, `touch.rs`, `usb.rs` and `memory.rs` what
//! can be done. None of them knows KVM, files or threads. What needs a file of the host, or ends the domain, is done by xend.

mod act;
mod commands;
mod edit;
mod info;
mod keys;
mod media;
mod memory;
pub mod subject;
mod touch;
mod usb;

use crate::domain::hub::lock;
use crate::viewers::Console;
use commands::Outcome;
use edit::{Editor, Entered};
use noxen_control::wish::Wish;
use noxen_control::Event;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use subject::Subject;

/// What is typed and not yet looked at, bytes at most; more is lost.
const INBOX: usize = 1024;

/// Keys on their way from the viewers' thread to the main loop.
pub type Inbox = Arc<Mutex<VecDeque<u8>>>;

/// The monitor window of a domain.
#[derive(Debug)]
pub struct Prompt {
    console: Arc<Console>,
    inbox: Inbox,
    editor: Editor,
    /// Wishes so far.
    wishes: u64,
    /// One that xend has not fulfilled yet.
    open: Option<u64>,
}

impl Prompt {
    /// In `console`; `wake` has [`Prompt::serve`] called.
    pub fn new(console: Arc<Console>, wake: impl Fn() + Send + Sync + 'static) -> Prompt {
        let inbox = Inbox::default();
        let kept = inbox.clone();
        console.type_into(Box::new(move |bytes| {
            let mut inbox = lock(&kept);
            let room = INBOX.saturating_sub(inbox.len());
            inbox.extend(bytes.iter().take(room));
            wake();
        }));
        let mut prompt = Prompt {
            console,
            inbox,
            editor: Editor::default(),
            wishes: 0,
            open: None,
        };
        prompt.say(&format!(
            "Noxen {} monitor - type 'help' for more information",
            env!("CARGO_PKG_VERSION")
        ));
        prompt.begin();
        prompt
    }

    fn say(&mut self, text: &str) {
        for line in text.lines() {
            self.console.write(line.as_bytes());
            self.console.write(b"\r\n");
        }
    }

    fn begin(&mut self) {
        self.console.write(self.editor.begin().as_bytes());
    }

    /// Does what has been typed since the last call; what it wants of xend is returned, and holds up the rest.
    pub fn serve(&mut self, subject: &mut dyn Subject) -> Option<Event> {
        while self.open.is_none() {
            let byte = lock(&self.inbox).pop_front()?;
            let (echo, entered) = self.editor.take(byte);
            self.console.write(echo.as_bytes());
            let Some(Entered(line)) = entered else {
                continue;
            };
            let history = self.editor.history();
            match commands::run(&line, &history, subject) {
                Outcome::Said(text) => {
                    self.say(&text);
                    self.begin();
                }
                Outcome::Wants(wish) => return Some(self.wish(wish)),
            }
        }
        None
    }

    fn wish(&mut self, wish: Wish) -> Event {
        self.wishes += 1;
        self.open = Some(self.wishes);
        Event::Wished {
            number: self.wishes,
            wish,
        }
    }

    /// A wish is out.
    pub fn waits(&self) -> bool {
        self.open.is_some()
    }

    /// xend has done what it was asked for, or says why not. An answer to what nobody wished is refused.
    pub fn fulfilled(&mut self, number: u64, refusal: Option<&str>) -> Result<(), String> {
        if self.open.take_if(|open| *open == number).is_none() {
            return Err(format!("the monitor window waits for no wish {number}"));
        }
        if let Some(line) = refusal {
            self.say(line);
        }
        self.begin();
        Ok(())
    }

    /// Nobody is there who could fulfil a wish.
    pub fn is_left_alone(&mut self) {
        if self.open.take().is_some() {
            self.say("xend does not answer; look whether it was done, and try again once it runs");
            self.begin();
        }
    }
}

#[cfg(test)]
mod tests;
