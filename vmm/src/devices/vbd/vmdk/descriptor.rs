//! The descriptor of a VMDK: a text, here at a place inside the file that has the disk (Virtual Disk Format 5.0, "The Descriptor File").
//!
//! ```text
//!   CID=1234abcd                     another one after each time that the disk was written to
//!   parentCID=ffffffff               the whole disk is here
//!   createType="monolithicSparse"
//!   RW 81920 SPARSE "disk.vmdk"      an extent: access, sectors, kind, file
//! ```
//! Other lines (`ddb.` and so on) are for whoever shows the disk's shape.

use std::ops::Range;

/// What a text file begins with that describes a disk whose data are in other files.
pub const ALONE: &[u8] = b"# Disk DescriptorFile";
/// Of a disk that needs no other.
const NO_PARENT: &str = "ffffffff";
/// Said where the image has to become another one.
pub const CONVERT: &str =
    "make one file of it: qemu-img convert -f vmdk -O vmdk -o subformat=monolithicSparse OLD NEW";

/// What is known from a descriptor.
#[derive(Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Where in the text the digits of its `CID` are.
    pub cid: Range<usize>,
    /// Sectors of the disk.
    pub sectors: u64,
    /// Its extent may be written.
    pub writable: bool,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    cid: Option<Range<usize>>,
    parent: Option<String>,
    kind: Option<String>,
    extents: Vec<Extent>,
}

#[derive(Debug)]
struct Extent {
    writable: bool,
    sectors: u64,
}

impl Descriptor {
    /// Reads the text in `bytes`, which ends at a zero byte.
    ///
    /// # Errors
    /// A line: it says that the disk is not all here, or is no descriptor.
    pub fn parse(bytes: &[u8]) -> Result<Descriptor, String> {
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut found = Found::default();
        let mut at = 0;
        for line in text.split(|byte| *byte == b'\n') {
            found.take(line, at)?;
            at += line.len() + 1;
        }
        let kind = found.kind.ok_or("its descriptor has no createType")?;
        if !["monolithicSparse", "streamOptimized"].contains(&kind.as_str()) {
            return Err(format!("a disk of type {kind}, in other files; {CONVERT}"));
        }
        if found.parent.as_deref() != Some(NO_PARENT) {
            return Err(format!(
                "it holds only what differs from another image; {CONVERT}"
            ));
        }
        let [extent] = found.extents.as_slice() else {
            let count = found.extents.len();
            return Err(format!("a disk of {count} extents, not one; {CONVERT}"));
        };
        Ok(Descriptor {
            cid: found.cid.ok_or("its descriptor has no CID")?,
            sectors: extent.sectors,
            writable: extent.writable,
        })
    }
}

impl Found {
    /// Takes in `line`, which begins at `at` of the text.
    fn take(&mut self, line: &[u8], at: usize) -> Result<(), String> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let (first, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        if ["RW", "RDONLY", "NOACCESS"].contains(&first) {
            self.extents.push(Extent::parse(first, rest)?);
            return Ok(());
        }
        let Some((key, value)) = text.split_once('=') else {
            return Err(format!("its descriptor says {:?}", first_of(text)));
        };
        let value = value.trim().trim_matches('"');
        match key.trim() {
            "parentCID" => self.parent = Some(value.to_ascii_lowercase()),
            "createType" => self.kind = Some(first_of(value)),
            "CID" => self.cid = Some(digits(line, at)?),
            _ => {}
        }
        Ok(())
    }
}

impl Extent {
    fn parse(access: &str, rest: &str) -> Result<Extent, String> {
        let mut words = rest.split_whitespace();
        let sectors = words.next().and_then(|word| word.parse().ok());
        match (access, sectors, words.next()) {
            ("RW" | "RDONLY", Some(sectors), Some("SPARSE")) => Ok(Extent {
                writable: access == "RW",
                sectors,
            }),
            _ => Err(format!(
                "an extent {:?}, which is not in this file; {CONVERT}",
                first_of(&format!("{access} {rest}"))
            )),
        }
    }
}

/// The place of the hexadecimal digits behind `=` in `line`.
fn digits(line: &[u8], at: usize) -> Result<Range<usize>, String> {
    let behind = |byte: &u8| *byte == b'=';
    let start = line.iter().position(behind).map_or(0, |equals| equals + 1);
    let rest = line.get(start..).unwrap_or_default();
    let skip = rest.iter().take_while(|byte| **byte == b' ').count();
    let hex = rest[skip..]
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit());
    match hex.count() {
        count @ 1..=8 => Ok(at + start + skip..at + start + skip + count),
        count => Err(format!("a CID of {count} digits")),
    }
}

/// The beginning of a text that is shown to somebody.
fn first_of(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "# Disk DescriptorFile\nversion=1\nCID=5bacf79\nparentCID=FFFFFFFF\n\
        createType=\"monolithicSparse\"\n\n# Extent description\nRW 81920 SPARSE \"a b.vmdk\"\n\nddb.adapterType = \"ide\"\n\0\0";

    #[test]
    fn descriptor_tells_size_and_where_its_identity_stands() {
        let found = Descriptor::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(&GOOD[found.cid.clone()], "5bacf79");
        assert_eq!((found.sectors, found.writable), (81920, true));
        let read_only = GOOD.replace("RW ", "RDONLY ");
        assert!(!Descriptor::parse(read_only.as_bytes()).unwrap().writable);
    }

    #[test]
    fn disks_that_are_not_all_here_are_refused_with_a_line() {
        for (from, to, word) in [
            ("FFFFFFFF", "12345678", "another image"),
            ("monolithicSparse", "vmfs", "type vmfs"),
            ("createType", "Type", "no createType"),
            ("\nCID", "\nDIC", "no CID"),
            ("5bacf79", "xyz", "0 digits"),
            ("RW 81920", "NOACCESS 81920", "NOACCESS"),
            ("SPARSE", "FLAT", "FLAT"),
            ("81920", "-1", "-1"),
            ("\n\n# Ext", "\nRW 1 SPARSE \"x\"\n# Ext", "2 extents"),
            ("RW 81920", "#RW", "0 extents"),
            ("version=1", "what is this", "what is this"),
        ] {
            let line = Descriptor::parse(GOOD.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(line.contains(word), "{word}: {line}");
        }
    }

    proptest! {
        /// Whatever the text is: the place of the CID is inside it.
        #[test]
        fn wild_text_is_taken_or_refused(
            changes in proptest::collection::vec((0..GOOD.len(), any::<u8>()), 0..8),
        ) {
            let mut bytes = GOOD.as_bytes().to_vec();
            for (at, value) in changes {
                bytes[at] = value;
            }
            if let Ok(found) = Descriptor::parse(&bytes) {
                prop_assert!(bytes[found.cid].iter().all(u8::is_ascii_hexdigit));
            }
        }
    }
}
