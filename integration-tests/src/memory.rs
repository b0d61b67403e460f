//! The memory cop: what a process has for itself.
//!
//! ```text
//!   /proc/PID/smaps ── per mapping: rights, Private_Clean + Private_Dirty ── guest RAM (shared mapping) | everything else
//! ```
//! A domain's RAM is a shared mapping of a file without a name (a memfd, or a file of a detached tmpfs)
//! that mostly only one process maps, so /proc counts it as private: it is told apart by its rights
//! (`rw-s`; proc(5)). What a process keeps for itself it maps privately.

use std::time::Duration;

/// KiB of a process, by owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Pages that only this process has, without guest RAM.
    pub private_kib: u64,
    /// Resident pages of shared mappings: guest RAM, the monitor's pages, KVM's run pages.
    pub guest_kib: u64,
}

/// The usage of a process now; None when it has gone.
pub fn usage(pid: u32) -> Option<Usage> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).ok()?;
    Some(parse(&text))
}

fn parse(smaps: &str) -> Usage {
    let mut usage = Usage::default();
    let mut shared = false;
    for line in smaps.lines() {
        let first = line.split_whitespace().next().unwrap_or("");
        if !first.ends_with(':') {
            // A mapping's own line: address, rights, offset, device, inode, name.
            shared = line
                .split_whitespace()
                .nth(1)
                .is_some_and(|rights| rights.ends_with('s'));
            continue;
        }
        let kib = || -> u64 {
            line.split_whitespace()
                .nth(1)
                .and_then(|number| number.parse().ok())
                .unwrap_or(0)
        };
        match (first, shared) {
            ("Rss:", true) => usage.guest_kib += kib(),
            ("Private_Clean:" | "Private_Dirty:" | "Private_Hugetlb:", false) => {
                usage.private_kib += kib()
            }
            _ => {}
        }
    }
    usage
}

/// Samples a process until dropped or asked, and keeps the highest value seen.
pub struct Cop {
    stop: std::sync::mpsc::Sender<()>,
    thread: Option<std::thread::JoinHandle<Usage>>,
}

impl Cop {
    /// Watches `pid`, ten times a second.
    pub fn watch(pid: u32) -> Cop {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut highest = Usage::default();
            loop {
                if let Some(now) = usage(pid) {
                    highest.private_kib = highest.private_kib.max(now.private_kib);
                    highest.guest_kib = highest.guest_kib.max(now.guest_kib);
                }
                match stopped.recv_timeout(Duration::from_millis(100)) {
                    Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                    _ => return highest,
                }
            }
        });
        Cop {
            stop,
            thread: Some(thread),
        }
    }

    /// Stops; the highest of each number.
    pub fn highest(mut self) -> Usage {
        let _ = self.stop.send(());
        self.thread
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
55d0a0000000-55d0a0100000 r-xp 00000000 fe:00 1 /usr/bin/noxen-vmm
Rss:                 900 kB
Private_Clean:       100 kB
Private_Dirty:         4 kB
7f0000000000-7f0020000000 rw-s 00000000 00:01 2 /memfd:guest (deleted)
Rss:              524288 kB
Private_Clean:         0 kB
Private_Dirty:    524288 kB
7f0030000000-7f0030001000 rw-p 00000000 00:00 0
Private_Dirty:        12 kB
";

    #[test]
    fn guest_ram_is_kept_apart_from_private_pages() {
        assert_eq!(
            parse(SMAPS),
            Usage {
                private_kib: 116,
                guest_kib: 524_288
            }
        );
    }

    #[test]
    fn own_process_has_private_pages() {
        let own = usage(std::process::id()).unwrap();
        assert!(own.private_kib > 100, "{own:?}");
    }
}
