//! A guest at work while something is done to it: it counts, talks over a connection and writes to its disk.
//!
//! ```text
//!   /run/data (random) ── dd, fsync, again and again ──> /dev/xvda       numbers ── nc ──> this test
//! ```

use crate::network::{serve, sum};
use crate::LIMIT;
use noxen_integration_tests::console::Console;
use std::io::{BufRead, BufReader};
use std::sync::mpsc::{channel, Receiver};

/// Bytes of the data in the guest's memory and on its disk.
const DATA: u32 = 20_000_000;

/// Such a guest. Its interface is up, and its disk `xvda` holds nothing of worth.
pub struct Busy {
    sum: String,
    line: Receiver<String>,
    last: u64,
}

impl Busy {
    /// Puts it to work; it talks to `host` (an address of this host) at `port`.
    pub fn start(console: &mut Console, host: &str, port: u16) -> Busy {
        let (told, line) = channel();
        serve(&format!("{host}:{port}"), move |stream| {
            for text in BufReader::new(stream).lines() {
                let _ = told.send(text?);
            }
            Ok(())
        });
        let data = format!("head -c {DATA} /dev/urandom > /run/data; md5sum /run/data");
        let sum = sum(&console.run(&data, LIMIT).unwrap());
        let talk = format!(
            "sh -c 'n=0; while :; do n=$((n+1)); echo $n; sleep 0.2; done | nc {host} {port}' > /dev/null 2>&1 & true"
        );
        console.run(&talk, LIMIT).unwrap();
        let load = "sh -c 'while [ ! -e /run/stop ]; do dd if=/run/data of=/dev/xvda bs=64k conv=fsync 2>/dev/null; done; touch /run/stopped' & true";
        console.run(load, LIMIT).unwrap();
        let mut busy = Busy { sum, line, last: 0 };
        busy.talks_on(1);
        busy
    }

    /// The same connection goes on with what was said so far and `more` beyond it, and nothing of it is missing.
    pub fn talks_on(&mut self, more: usize) {
        let came: Vec<String> = self.line.try_iter().collect();
        let next = (0..more).map(|_| self.line.recv_timeout(LIMIT).unwrap());
        for text in came.into_iter().chain(next) {
            self.last += 1;
            assert_eq!(text, self.last.to_string());
        }
    }

    /// What is in its memory is what was.
    pub fn memory_is_right(&self, console: &mut Console) {
        let said = console.run("md5sum /run/data", LIMIT).unwrap();
        assert_eq!(sum(&said), self.sum);
    }

    /// Has it stop writing: its disk holds what was written, and its driver noticed nothing.
    pub fn disk_is_right(&self, console: &mut Console) {
        let compare = format!(
            "touch /run/stop; n=0; while [ ! -e /run/stopped ] && [ $n -lt 900 ]; do n=$((n+1)); sleep 0.1; done; \
             echo 3 > /proc/sys/vm/drop_caches; head -c {DATA} /dev/xvda | md5sum"
        );
        let said = console.run(&compare, LIMIT).unwrap();
        assert_eq!(sum(&said), self.sum);
        let errors = console
            .run("dmesg | grep -ci 'I/O error' || true", LIMIT)
            .unwrap();
        assert_eq!(errors.trim(), "0");
    }
}
