//! The dump's bytes: little-endian numbers and counted strings.
//!
//! Reading never trusts a count: it fails instead of running past the end or
//! reserving memory that the bytes at hand could not fill.

use super::DumpError;

/// Appends values.
#[derive(Debug, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    /// Appends a byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Appends a number of two bytes.
    pub fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a number of four bytes.
    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a number of eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a length and the bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.u32(value.len() as u32);
        self.0.extend_from_slice(value);
    }

    /// A count, then each item by `each`.
    pub fn list<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut each: impl FnMut(&mut Writer, T),
    ) {
        self.u32(items.len() as u32);
        for item in items {
            each(self, item);
        }
    }
}

/// Takes values from the front.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    /// Reads these bytes from their beginning.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader {
            rest: bytes,
            len: bytes.len(),
        }
    }

    /// The error that says what was expected here.
    pub fn wrong(&self, what: &'static str) -> DumpError {
        DumpError {
            what,
            at: self.len - self.rest.len(),
        }
    }

    fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], DumpError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(n)
            .ok_or_else(|| self.wrong(what))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DumpError> {
        let taken = self.take(N, "a number")?;
        <[u8; N]>::try_from(taken).map_err(|_| self.wrong("a number"))
    }

    /// Takes a byte.
    pub fn u8(&mut self) -> Result<u8, DumpError> {
        Ok(self.array::<1>()?[0])
    }

    /// Takes a number of two bytes.
    pub fn u16(&mut self) -> Result<u16, DumpError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Takes a number of four bytes.
    pub fn u32(&mut self) -> Result<u32, DumpError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Takes a number of eight bytes.
    pub fn u64(&mut self) -> Result<u64, DumpError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Takes a counted string of bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], DumpError> {
        let n = self.u32()? as usize;
        self.take(n, "a string")
    }

    /// Takes a counted text.
    pub fn text(&mut self) -> Result<&'a str, DumpError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.wrong("a text"))
    }

    /// A counted list, each item by `each`.
    pub fn list<T>(
        &mut self,
        mut each: impl FnMut(&mut Reader<'a>) -> Result<T, DumpError>,
    ) -> Result<Vec<T>, DumpError> {
        let count = self.u32()?;
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(each(self)?);
        }
        Ok(all)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes bytes without a count.
    pub fn raw(&mut self, n: usize) -> Result<&'a [u8], DumpError> {
        self.take(n, "enough bytes")
    }

    /// Fails if anything is left.
    pub fn finish(self) -> Result<(), DumpError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.wrong("an end"))
        }
    }
}
