//! Names of virtual disks and their numbers, as front ends take them from `virtual-device`
//! (xm-reference: "Device numbering"; Xen's public io/blkif.h and docs/misc/vbd-interface).
//!
//! ```text
//!   sdaN   8,65..71,128..135 : 16 minors a disk     hdaN  3,22,33,34,56,57,88..91 : 64 minors a disk
//!   xvdaN  202 : 16 minors a disk, 16 disks         beyond: 1<<28 | disk<<8 | partition
//!   fda fdb, fd0 fd1  2 : floppies of HVM domains
//!   0xHEX, decimal: as they are
//! ```

/// First of the numbers that have room for many disks.
pub const EXTENDED: u32 = 1 << 28;

const SD_MAJORS: [u32; 16] = [
    8, 65, 66, 67, 68, 69, 70, 71, 128, 129, 130, 131, 132, 133, 134, 135,
];
const HD_MAJORS: [u32; 10] = [3, 22, 33, 34, 56, 57, 88, 89, 90, 91];
const XVD_MAJOR: u32 = 202;
const FD_MAJOR: u32 = 2;
/// Last disk of an extended number, and so of all of them.
const LAST_DISK: u32 = (1 << 20) - 1;

/// The number of `name`, which may begin with `/dev/`; nothing when there is none.
pub fn of_name(name: &str) -> Option<u32> {
    let name = name.strip_prefix("/dev/").unwrap_or(name);
    if let Some(hex) = name.strip_prefix("0x") {
        return literal(u32::from_str_radix(hex, 16).ok()?, hex);
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return literal(name.parse().ok()?, name);
    }
    if let Some(rest) = name.strip_prefix("xvd") {
        let (disk, part) = split(rest)?;
        return match (disk, part) {
            (0..=15, 0..=15) => Some(XVD_MAJOR << 8 | disk << 4 | part),
            (0..=LAST_DISK, 0..=255) => Some(EXTENDED | disk << 8 | part),
            _ => None,
        };
    }
    if let Some(rest) = name.strip_prefix("fd") {
        let drive = match rest {
            "a" | "0" => 0,
            "b" | "1" => 1,
            _ => return None,
        };
        return Some(FD_MAJOR << 8 | drive);
    }
    let (majors, disks, parts, rest) = if let Some(rest) = name.strip_prefix("sd") {
        (&SD_MAJORS[..], 16, 16, rest)
    } else {
        (&HD_MAJORS[..], 2, 64, name.strip_prefix("hd")?)
    };
    let (disk, part) = split(rest)?;
    let major = majors.get((disk / disks) as usize)?;
    (part < parts).then(|| (major << 8) | ((disk % disks) * parts) | part)
}

/// A sign or a blank would pass for a digit otherwise.
fn literal(number: u32, digits: &str) -> Option<u32> {
    let good = digits.bytes().all(|b| b.is_ascii_hexdigit());
    (good && number > 0 && number < EXTENDED << 1).then_some(number)
}

/// `bc12` is disk 54, partition 12.
fn split(rest: &str) -> Option<(u32, u32)> {
    let digits = rest.find(|c: char| c.is_ascii_digit());
    let (letters, digits) = rest.split_at(digits.unwrap_or(rest.len()));
    if letters.is_empty() || letters.len() > 4 || digits.len() > 3 || digits.starts_with('0') {
        return None;
    }
    let disk = letters.bytes().try_fold(0u32, |sum, b| {
        b.is_ascii_lowercase()
            .then(|| sum * 26 + u32::from(b - b'a') + 1)
    })?;
    let part = match digits {
        "" => 0,
        digits => digits.parse().ok()?,
    };
    Some((disk - 1, part))
}

/// The name that a Linux guest gives to the number; hexadecimal where there is none.
pub fn name(number: u32) -> String {
    let (major, minor) = (number >> 8, number & 0xff);
    let at = |majors: &[u32]| majors.iter().position(|&m| m == major).map(|i| i as u32);
    if number & EXTENDED != 0 && number < EXTENDED << 1 {
        return format!("xvd{}", join((number & !EXTENDED) >> 8, number & 0xff));
    }
    if major == XVD_MAJOR {
        return format!("xvd{}", join(minor >> 4, minor & 15));
    }
    if major == FD_MAJOR && minor < 2 {
        return ["fda", "fdb"][minor as usize].to_owned();
    }
    if let Some(i) = at(&SD_MAJORS) {
        return format!("sd{}", join(i * 16 + (minor >> 4), minor & 15));
    }
    match at(&HD_MAJORS) {
        Some(i) if minor < 128 => format!("hd{}", join(i * 2 + (minor >> 6), minor & 63)),
        _ => format!("0x{number:x}"),
    }
}

fn join(disk: u32, part: u32) -> String {
    let mut letters = Vec::new();
    let mut rest = disk + 1;
    while rest > 0 {
        rest -= 1;
        letters.push(char::from(b'a' + (rest % 26) as u8));
        rest /= 26;
    }
    letters.reverse();
    let letters = String::from_iter(letters);
    match part {
        0 => letters,
        part => format!("{letters}{part}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_numbers_that_guests_know() {
        for (name, number) in [
            ("xvda", 51712),
            ("/dev/xvda", 51712),
            ("xvda1", 51713),
            ("xvdb", 51728),
            ("xvdp15", 202 << 8 | 255),
            ("xvdq", EXTENDED | 16 << 8),
            ("xvdaa3", EXTENDED | 26 << 8 | 3),
            ("xvda16", EXTENDED | 16),
            ("sda", 2048),
            ("sda1", 2049),
            ("sdq", 65 << 8),
            ("sdiv15", 135 << 8 | 255),
            ("hda", 768),
            ("hdc", 22 << 8),
            ("hdd63", 22 << 8 | 127),
            ("hdt", 91 << 8 | 64),
            ("fda", 512),
            ("fd1", 513),
            ("0xca00", 51712),
            ("51712", 51712),
        ] {
            assert_eq!(of_name(name), Some(number), "{name}");
        }
    }

    #[test]
    fn names_of_nothing_have_no_number() {
        for name in [
            "",
            "xvd",
            "xvdA",
            "xvda01",
            "xvda256",
            "xvd1",
            "sdiw",
            "sda16",
            "hdu",
            "fdc",
            "fda1",
            "hda64",
            "vda",
            "0x",
            "0x+1",
            "-1",
            "+5",
            "0",
            "xvdzzzzz",
            "99999999999",
            "0x20000000",
            "xvda 1",
            "/dev/",
            "ioemu:hda",
        ] {
            assert_eq!(of_name(name), None, "{name}");
        }
    }

    /// Every number that has a name comes back from it, and no two names meet.
    #[test]
    fn name_of_a_number_leads_back_to_it() {
        let majors = SD_MAJORS.into_iter().chain(HD_MAJORS);
        let majors = majors.chain([XVD_MAJOR, FD_MAJOR]);
        let plain = majors.flat_map(|major| (0..256).map(move |minor| major << 8 | minor));
        let extended = (0..1 << 21).step_by(37).map(|n| EXTENDED | n);
        let mut named = 0;
        for number in plain.chain(extended) {
            let name = name(number);
            if name.starts_with("0x") {
                assert_eq!(of_name(&name), Some(number));
                continue;
            }
            named += 1;
            let canonical = of_name(&name).unwrap();
            // The first sixteen disks have both kinds of number; their names lead to the old one.
            let doubled = number & EXTENDED != 0 && canonical & EXTENDED == 0;
            assert!(
                canonical == number || doubled,
                "{name}: {number:x} {canonical:x}"
            );
            if doubled {
                assert_eq!(super::name(canonical), name);
            }
        }
        assert!(named > 50_000, "{named}");
    }
}
