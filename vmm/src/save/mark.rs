//! Marks in a stream of memory: the source hears that a round has not only left, but arrived.
//!
//! ```text
//!   source: ... pages --> mark ──────────> target: has put away all before it
//!           waits <────── [`HERE`] ───────┘
//! ```
//! Between the two lie buffers of two kernels and of whatever is on the way, megabytes of them. Without an answer a round would look
//! sent while it waits there, the time that the rest needs would be foreseen too short, and the domain would stand still for all of it.
//! The byte comes on the connection's way back, on which xend hears `(ok prepared)` or why not: of that nothing is taken.

use noxen_saved_image::state::Mark;
use noxen_saved_image::{ImageError, Record, Writer};
use rustix::io::Errno;
use rustix::net::{recv, RecvFlags};
use std::fs::File;
use std::io::{self, Write};

/// The answer to a mark (ASCII ACK).
const HERE: u8 = 0x06;

/// The source's side.
#[derive(Debug)]
pub struct Asks {
    stream: File,
    rounds: u32,
}

impl Asks {
    /// On `stream`, on which the writer writes.
    pub fn on(stream: &File) -> io::Result<Asks> {
        Ok(Asks {
            stream: stream.try_clone()?,
            rounds: 0,
        })
    }

    /// Waits until all that was written has arrived.
    pub fn arrived<W: Write>(&mut self, writer: &mut Writer<W>) -> io::Result<()> {
        self.rounds = self.rounds.saturating_add(1);
        writer.unit(&Mark {
            rounds: self.rounds,
        })?;
        writer.flush()?;
        let mut byte = [0];
        let mut hear = |flags| loop {
            match recv(&self.stream, &mut byte, flags) {
                Err(Errno::INTR) => {}
                Ok((_, count)) => break Ok((count == 1).then_some(byte[0])),
                Err(error) => break Err(io::Error::from(error)),
            }
        };
        match hear(RecvFlags::PEEK)? {
            Some(HERE) => hear(RecvFlags::empty()).map(drop),
            Some(_) => Err(io::Error::other("the other side takes no more")),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The target's side.
#[derive(Debug)]
pub struct Answers(File);

impl Answers {
    /// On `stream`, from which is read.
    pub fn on(stream: &File) -> io::Result<Answers> {
        stream.try_clone().map(Answers)
    }

    /// Answers a mark; any other record is for the caller, who has put away all that came before.
    pub fn take(&mut self, record: Record) -> Result<Option<Record>, ImageError> {
        if !record.is_mark() {
            return Ok(Some(record));
        }
        self.0.write_all(&[HERE]).map_err(ImageError::Io)?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use noxen_saved_image::{Header, Reader};
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    const PAGE: [u8; 4096] = [7; 4096];

    fn pair() -> (File, File) {
        let (one, other) = UnixStream::pair().unwrap();
        let file = |stream| File::from(OwnedFd::from(stream));
        (file(one), file(other))
    }

    fn writer(stream: &File) -> Writer<File> {
        let header = Header::of_stream("noxen-vmm 0", 0, "token");
        Writer::begin(stream.try_clone().unwrap(), "(domain)", &header).unwrap()
    }

    #[test]
    fn source_goes_on_once_what_it_sent_is_put_away() {
        let (here, there) = pair();
        let target = std::thread::spawn(move || {
            let mut answers = Answers::on(&there).unwrap();
            let mut reader = Reader::open(there).unwrap();
            let mut put = 0;
            while let Some(record) = reader.next().unwrap() {
                match answers.take(record).unwrap() {
                    Some(Record::Memory { .. }) => put += 1,
                    Some(other) => panic!("{other:?}"),
                    None => assert!(put > 0),
                }
            }
            put
        });
        let mut asks = Asks::on(&here).unwrap();
        let mut writer = writer(&here);
        for round in 0..3 {
            writer.memory("ram", round * 4096, &PAGE).unwrap();
            asks.arrived(&mut writer).unwrap();
        }
        writer.end().unwrap();
        assert_eq!(target.join().unwrap(), 3);
    }

    #[test]
    fn what_xend_is_told_instead_is_left_for_it() {
        let (here, mut there) = pair();
        there.write_all(b"(err (type 1))\n").unwrap();
        let error = Asks::on(&here).unwrap().arrived(&mut writer(&here));
        assert!(error.unwrap_err().to_string().contains("takes no more"));
        let mut heard = [0; 4];
        (&here).read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"(err");
    }

    #[test]
    fn other_side_that_is_gone_is_noticed() {
        let (here, there) = pair();
        let mut writer = writer(&here);
        drop(there);
        assert!(Asks::on(&here).unwrap().arrived(&mut writer).is_err());
    }
}
