//! Sets a lab going again that stands still by a fault of QEMU's.
//!
//! ```text
//!   nothing said for a while --> debugger's port: one instruction stepped, detached --> QEMU drops all translations
//! ```
//! QEMU (7.2, a thread for each vCPU) now and then translates code that another vCPU is rewriting, and keeps what stood there
//! a moment before: of the kernel's jump labels an INT3, at which every vCPU that passes then turns for ever, though memory has had the new
//! instruction long since. (Seen by QEMU's own dump of its vCPUs: all of them between `asm_exc_int3` and `kprobe_int3_handler`.) A stop by the
//! debugger's port has QEMU drop what it has translated; nothing else that it offers does.

use anyhow::{bail, Result};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a lab may say nothing before it is nudged, and again.
pub const SILENCE: Duration = Duration::from_secs(30);
/// How long the port may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Packets that may come before the one that is waited for.
const PACKETS: usize = 8;
/// Bytes that are read for one.
const LONGEST: usize = 4096;

/// Nudges the QEMU whose debugger's port is `port`.
pub fn nudge(port: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(port)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Interrupts and timers go on meanwhile, without which a vCPU that halts would never take its step.
    let stepped = ask(&mut stream, "Qqemu.sstep=1", "OK").and_then(|()| ask(&mut stream, "s", "T"));
    // Whatever came of it, the machine is to run on. A packet that meets a running machine only stops it, hence again.
    let mut detached = ask(&mut stream, "D", "OK");
    for _ in 0..2 {
        detached = detached.or_else(|_| ask(&mut stream, "D", "OK"));
    }
    stepped.and(detached)
}

/// Sends a packet of GDB's remote protocol and waits for one that begins with `answer`; others (that the machine was
/// stopped, which each connection does) are passed over.
fn ask(stream: &mut (impl Read + Write), packet: &str, answer: &str) -> Result<()> {
    let sum = packet.bytes().fold(0u8, u8::wrapping_add);
    write!(stream, "${packet}#{sum:02x}")?;
    for _ in 0..PACKETS {
        if receive(stream)?.starts_with(answer) {
            return Ok(());
        }
    }
    bail!("QEMU's debugger port does not answer {packet:?} by {answer:?}")
}

/// The next packet.
fn receive(stream: &mut (impl Read + Write)) -> Result<String> {
    let mut said = Vec::new();
    let mut begun = false;
    for _ in 0..LONGEST {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        match byte[0] {
            b'$' => begun = true,
            b'#' if begun => {
                stream.read_exact(&mut [0; 2])?;
                stream.write_all(b"+")?;
                return Ok(String::from_utf8_lossy(&said).into_owned());
            }
            byte if begun => said.push(byte),
            _ => {}
        }
    }
    bail!("QEMU's debugger port does not end its answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_their_sums_and_their_answers_are_found_and_acknowledged() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"$T02thread:01;#04+$OK#9a").unwrap();
        ask(&mut ours, "D", "OK").unwrap();
        let mut sent = [0; 7];
        theirs.read_exact(&mut sent).unwrap();
        assert_eq!(&sent, b"$D#44++");
        theirs.write_all(&b"$E01#a6".repeat(PACKETS)).unwrap();
        assert!(ask(&mut ours, "s", "T").is_err());
        theirs.write_all(&[b'x'; LONGEST]).unwrap();
        assert!(ask(&mut ours, "s", "T").is_err());
        drop(theirs);
        assert!(ask(&mut ours, "s", "T").is_err());
    }
}
