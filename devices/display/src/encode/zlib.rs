//! A stream of zlib that is flushed after each rectangle and goes on with the next.

use flate2::{Compress, Compression, FlushCompress};

/// Made when it is first used: most viewers use one of several.
#[derive(Debug, Default)]
pub(crate) struct Stream(Option<Compress>);

impl Stream {
    /// Appends `plain`, packed, so that the viewer can unpack all of it.
    pub(crate) fn pack(&mut self, level: u8, plain: &[u8], out: &mut Vec<u8>) {
        let begin = || Compress::new(Compression::new(level.into()), true);
        let stream = self.0.get_or_insert_with(begin);
        let first = stream.total_in();
        loop {
            let done = (stream.total_in() - first) as usize;
            // compress_vec fills what is reserved and no more; room left over means that all is flushed.
            out.reserve((plain.len() - done) / 2 + 64);
            let packed = stream.compress_vec(&plain[done..], out, FlushCompress::Sync);
            // Its only errors are misuse: a stream that was finished, which none is.
            debug_assert!(packed.is_ok());
            let done = (stream.total_in() - first) as usize;
            if packed.is_err() || (done == plain.len() && out.len() < out.capacity()) {
                return;
            }
        }
    }
}
