//! The descriptor of a VMDK: a text, inside the file that has the disk or beside it (Virtual Disk Format 5.0, "The Descriptor File").
//!
//! ```text
//!   CID=1234abcd                        another one after each time that the disk was written to
//!   parentCID=ffffffff                  the whole disk is here
//!   createType="monolithicSparse"       or streamOptimized: noxen-vmm reads it out of the file
//!   RW 81920 SPARSE "disk.vmdk"         an extent: access, sectors, kind, file
//!
//!   createType="monolithicFlat"         a file of its own: xend reads it, and opens the other one
//!   RW 81920 FLAT "disk-flat.vmdk" 0    the disk's bytes as they are, from that sector of the file on
//! ```
//! Other lines (`ddb.` and so on) are for whoever shows the disk's shape. A descriptor may come from anybody: of the file that
//! it names only the name is taken, and only one as such files have.

use std::ops::Range;

/// What a text file begins with that describes a disk whose data are in other files.
pub const ALONE: &[u8] = b"# Disk DescriptorFile";
/// Longest descriptor that is looked at; what makes such files leaves 10 KiB for one.
pub const LONGEST: u64 = 1 << 20;
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
    /// Where the disk's bytes are.
    pub data: Data,
}

/// Where the bytes of a disk are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// In the file that the descriptor is in.
    Here,
    /// In the file of that name in the descriptor's directory, from its beginning to its end.
    Flat(String),
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
    data: Data,
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
        let flat = match kind.as_str() {
            "monolithicSparse" | "streamOptimized" => false,
            "monolithicFlat" => true,
            _ => return Err(format!("a disk of type {kind}, in other files; {CONVERT}")),
        };
        if found.parent.as_deref() != Some(NO_PARENT) {
            return Err(format!(
                "it holds only what differs from another image; {CONVERT}"
            ));
        }
        let [extent] = found.extents.as_slice() else {
            let count = found.extents.len();
            return Err(format!("a disk of {count} extents, not one; {CONVERT}"));
        };
        if flat != matches!(extent.data, Data::Flat(_)) {
            return Err(format!("a disk of type {kind} with an extent of another"));
        }
        if let Data::Flat(name) = &extent.data {
            beside(name)?;
        }
        Ok(Descriptor {
            cid: found.cid.ok_or("its descriptor has no CID")?,
            sectors: extent.sectors,
            writable: extent.writable,
            data: extent.data.clone(),
        })
    }
}

/// As many digits for a new `CID` as there are random bytes.
pub fn new_cid(random: &[u8]) -> Vec<u8> {
    // Never the number that stands for no image, which is all f.
    let digit = |byte: &u8| b"0123456789abcde"[usize::from(*byte) % 15];
    random.iter().map(digit).collect()
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
        let shown = || first_of(&format!("{access} {rest}"));
        let data = match (access, words.next()) {
            ("RW" | "RDONLY", Some("SPARSE")) => Data::Here,
            ("RW" | "RDONLY", Some("FLAT")) => {
                let (name, start) = quoted(rest)
                    .ok_or_else(|| format!("an extent {:?} without a name", shown()))?;
                if !["", "0"].contains(&start) {
                    return Err(format!("an extent {:?} that begins inside", shown()));
                }
                Data::Flat(name.to_owned())
            }
            _ => {
                return Err(format!(
                    "an extent {:?}, which is not in this file; {CONVERT}",
                    shown()
                ))
            }
        };
        Ok(Extent {
            writable: access == "RW",
            sectors: sectors.ok_or_else(|| format!("an extent {:?} of no size", shown()))?,
            data,
        })
    }
}

/// What stands between the quotes, and behind them.
fn quoted(rest: &str) -> Option<(&str, &str)> {
    let (_, quoted) = rest.split_once('"')?;
    let (name, behind) = quoted.rsplit_once('"')?;
    Some((name, behind.trim()))
}

/// Refuses a name that could be any file's but such an extent's, which VMware and QEMU call `DISK-flat.SUFFIX`.
fn beside(name: &str) -> Result<(), String> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let plain = !name.contains(['/', '\\', '"']) && !name.contains(char::is_control);
    match plain && stem.ends_with("-flat") && name.len() <= 255 {
        true => Ok(()),
        false => Err(format!(
            "an extent in {:?}: its data is looked for in the same directory, in a file called ..-flat.vmdk",
            first_of(name)
        )),
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
        assert_eq!(found.data, Data::Here);
        assert_eq!(new_cid(&[15, 14, 0, 254, 255]), b"0e0e0");
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
            ("SPARSE", "VMFS", "VMFS"),
            ("SPARSE", "ZERO", "ZERO"),
            (
                "SPARSE \"a b.vmdk\"",
                "FLAT \"a-flat.vmdk\" 0",
                "of another",
            ),
            ("monolithicSparse", "monolithicFlat", "of another"),
            ("81920", "-1", "-1"),
            ("\n\n# Ext", "\nRW 1 SPARSE \"x\"\n# Ext", "2 extents"),
            ("RW 81920", "#RW", "0 extents"),
            ("version=1", "what is this", "what is this"),
        ] {
            let line = Descriptor::parse(GOOD.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(line.contains(word), "{word}: {line}");
        }
    }

    #[test]
    fn flat_disk_names_a_file_beside_it_and_no_other() {
        let flat = |extent: &str| {
            let text = GOOD.replace("monolithicSparse", "monolithicFlat");
            Descriptor::parse(
                text.replace("RW 81920 SPARSE \"a b.vmdk\"", extent)
                    .as_bytes(),
            )
        };
        for (extent, writable) in [
            ("RW 81920 FLAT \"a b-flat.vmdk\" 0", true),
            ("RDONLY 81920 FLAT \"a b-flat.vmdk\"", false),
        ] {
            let found = flat(extent).unwrap();
            assert_eq!((found.sectors, found.writable), (81920, writable));
            assert_eq!(found.data, Data::Flat("a b-flat.vmdk".into()));
        }
        for name in [
            "/etc/shadow",
            "../b-flat.vmdk",
            "/a-flat.vmdk",
            "sub/a-flat.vmdk",
            "c:\\a-flat.vmdk",
            "a\u{7}-flat.vmdk",
            "..",
            "",
            "a.vmdk",
            "other.img",
            "a-flat.vmdk\" 0 \"",
        ] {
            let line = flat(&format!("RW 81920 FLAT \"{name}\" 0")).unwrap_err();
            assert!(line.contains("..-flat.vmdk"), "{name}: {line}");
        }
        let long = format!("{}-flat", "a".repeat(251));
        let line = flat(&format!("RW 81920 FLAT \"{long}\" 0")).unwrap_err();
        assert!(line.len() < 200, "{line}");
        for (extent, word) in [
            ("RW 81920 FLAT \"a-flat.vmdk\" 1", "begins inside"),
            ("RW 81920 FLAT", "without a name"),
            ("RW many FLAT \"a-flat.vmdk\" 0", "no size"),
            (
                "RW 1 FLAT \"a-flat.vmdk\" 0\nRW 1 FLAT \"b-flat.vmdk\" 0",
                "2 extents",
            ),
        ] {
            let line = flat(extent).unwrap_err();
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
