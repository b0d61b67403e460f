//! Lines out of a byte stream, for the side that must not block.
//!
//! ```text
//!   bytes as they come --push--> [ buffer <= limit ] --next_line--> one line at a time
//! ```

/// Collects bytes and hands out whole lines.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Bytes after the last line end; kept so that each byte is looked at once.
    tail: usize,
    limit: usize,
}

/// The peer sent more than the limit without a line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a control line is longer than {0} bytes; send one JSON object per line")]
pub struct TooLong(pub usize);

impl LineBuffer {
    /// A buffer for lines of at most `limit` bytes, line end not counted.
    pub fn new(limit: usize) -> LineBuffer {
        LineBuffer {
            bytes: Vec::new(),
            tail: 0,
            limit,
        }
    }

    /// Adds what was read. After [`TooLong`] the stream has lost its frame: close it.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.bytes.extend_from_slice(bytes);
        self.tail = match bytes.iter().rposition(|&b| b == b'\n') {
            Some(end) => bytes.len() - end - 1,
            None => self.tail + bytes.len(),
        };
        if self.tail > self.limit {
            return Err(TooLong(self.limit));
        }
        Ok(())
    }

    /// Takes the next whole line, without its line end; `None` when there is none yet.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        if self.tail == self.bytes.len() {
            return None;
        }
        let end = self.bytes.iter().position(|&b| b == b'\n')?;
        let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
        line.pop();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_split_over_reads_comes_out_whole() {
        let mut buffer = LineBuffer::new(16);
        buffer.push(b"ab").unwrap();
        assert_eq!(buffer.next_line(), None);
        buffer.push(b"c\nde\nf").unwrap();
        assert_eq!(buffer.next_line().as_deref(), Some(&b"abc"[..]));
        assert_eq!(buffer.next_line().as_deref(), Some(&b"de"[..]));
        assert_eq!(buffer.next_line(), None);
    }

    #[test]
    fn line_over_the_limit_is_refused() {
        let mut buffer = LineBuffer::new(4);
        buffer.push(b"1234").unwrap();
        assert_eq!(buffer.push(b"5"), Err(TooLong(4)));
    }

    #[test]
    fn line_limit_counts_from_the_last_line_end() {
        let mut buffer = LineBuffer::new(4);
        buffer.push(b"1234\n1234\n12").unwrap();
        assert_eq!(buffer.next_line().as_deref(), Some(&b"1234"[..]));
    }
}
