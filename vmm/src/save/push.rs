//! Post-copy at the source: the guest is about to run over there, or does, and the pages that it lacks go after it.
//!
//! ```text
//!   a thread:  asked pages first --> then one run after another --> end --> waits for the word that all is there
//!   another:   8 bytes each: the offset of a page that somebody over there waits for | ALL --> the queue of the first
//! ```
//! The way for pages is a connection of its own, begun with a header as any stream. A page goes once. The domain stands still here all
//! the while; whether it may ever run here again is xend's business.

use crate::domain::hub::Hub;
use crate::save::job::{Progress, BUFFER};
use crate::save::memory::{Ram, RAM};
use crate::save::missing::Missing;
use crate::save::WRITER;
use noxen_control::message::Pages;
use noxen_saved_image::{Header, Writer, PAGE};
use rustix::net::{shutdown, Shutdown};
use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::ops::Range;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender, TryRecvError};
use std::sync::Arc;
use std::time::Instant;

/// What the other side says instead of an offset once it has all pages.
pub const ALL: u64 = u64::MAX;
/// Pages sent at a time: few, so that one that is asked for waits for little.
const RUN: u64 = 16;
/// Requests that may wait. Each is a thread over there that waits for it, so there are not many.
const WAITING: usize = 256;

/// The way for pages.
#[derive(Debug)]
pub struct Push {
    hub: Arc<Hub>,
    region: (u64, &'static str),
    link: File,
    writer: Writer<BufWriter<File>>,
}

impl Push {
    /// Over `link`, for the move `token`; what is no RAM begins at the first of `region`.
    pub fn new(
        hub: Arc<Hub>,
        region: (u64, &'static str),
        link: File,
        token: &str,
    ) -> io::Result<Push> {
        let out = BufWriter::with_capacity(BUFFER, link.try_clone()?);
        let mut writer = Writer::begin(out, "", &Header::of_stream(WRITER, 0, token))?;
        writer.flush()?;
        Ok(Push {
            hub,
            region,
            link,
            writer,
        })
    }

    /// Sends all of `missing`, until the other side has it.
    pub fn run(self, missing: Missing, progress: &Progress) -> Result<Pages, String> {
        let link = self.link.try_clone().map_err(failed)?;
        let done = self.send(missing, progress);
        // Ends the thread that listens, and tells the other side that nothing more comes; one that is gone knows.
        let _ = shutdown(&link, Shutdown::Both);
        done
    }

    fn send(mut self, mut missing: Missing, progress: &Progress) -> Result<Pages, String> {
        let began = Instant::now();
        let mut pages = Pages {
            bytes: missing.left() * PAGE,
            ..Pages::default()
        };
        progress.begin(pages.bytes);
        let (sender, asked) = sync_channel(WAITING);
        let words = self.link.try_clone().map_err(failed)?;
        let thread = std::thread::Builder::new().name("asked".into());
        let listens = thread.spawn(move || listen(words, &sender));
        listens.map_err(|error| format!("no thread to listen for pages: {error}"))?;
        let hub = self.hub.clone();
        let ram = Ram::of(&hub.memory, self.region).map_err(failed)?;
        let mut next = 0;
        while missing.left() > 0 {
            let run = match asked.try_recv() {
                Ok(ALL) => {
                    return Err("the other host says that it has pages that were not sent".into())
                }
                Ok(offset) => {
                    pages.asked += 1;
                    let page = offset / PAGE;
                    match missing.has(page) {
                        true => missing.run(page, RUN),
                        // On its way already.
                        false => continue,
                    }
                }
                Err(TryRecvError::Empty) => missing.run(next, RUN).or_else(|| missing.run(0, RUN)),
                Err(TryRecvError::Disconnected) => return Err(LET_GO.into()),
            };
            let Some(run) = run else { break };
            next = run.end;
            self.run_of(&ram, run.clone()).map_err(failed)?;
            run.clone().for_each(|page| {
                missing.take(page);
            });
            let bytes = (run.end - run.start) * PAGE;
            progress.pass(bytes).map_err(|error| error.to_string())?;
        }
        self.writer.end().map_err(failed)?;
        pages.asked += until_all(&asked)?;
        pages.micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(pages)
    }

    fn run_of(&mut self, ram: &Ram<'_>, run: Range<u64>) -> io::Result<()> {
        let mut buffer = vec![0; ((run.end - run.start) * PAGE) as usize];
        ram.read(run.start * PAGE, &mut buffer)?;
        self.writer.memory_again(RAM, run.start * PAGE, &buffer)?;
        self.writer.flush()
    }
}

const LET_GO: &str = "the other host let go of the connection for pages before it had all of them";

fn failed(error: io::Error) -> String {
    format!("the connection for pages failed: {error}")
}

/// Waits until the other side has all; requests that crossed the last pages are answered by these.
fn until_all(asked: &Receiver<u64>) -> Result<u64, String> {
    let mut count = 0;
    loop {
        match asked.recv() {
            Ok(ALL) => return Ok(count),
            Ok(_) => count += 1,
            Err(_) => return Err(LET_GO.into()),
        }
    }
}

/// Takes requests until the last word or the end.
fn listen(mut words: File, queue: &SyncSender<u64>) {
    let mut word = [0; 8];
    while words.read_exact(&mut word).is_ok() {
        let word = u64::from_le_bytes(word);
        if queue.send(word).is_err() || word == ALL {
            return;
        }
    }
}
