//! A disk: `UNAME,DEV,MODE[,BACKEND[,PROTOCOL]]`.

use super::{number, DeviceError};
use serde::{Deserialize, Serialize};

/// How a guest may use a disk.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub enum Mode {
    /// Reading only.
    #[serde(rename = "r")]
    Read,
    /// Reading and writing.
    #[serde(rename = "w")]
    Write,
    /// The same, whoever else has it.
    #[serde(rename = "w!")]
    Force,
}

impl Mode {
    /// `r`, `w` or `w!`.
    pub fn parse(text: &str) -> Option<Mode> {
        [Mode::Read, Mode::Write, Mode::Force]
            .into_iter()
            .find(|mode| mode.text() == text)
    }

    /// As configurations have it.
    pub fn text(self) -> &'static str {
        match self {
            Mode::Read => "r",
            Mode::Write => "w",
            Mode::Force => "w!",
        }
    }

    /// May the guest write?
    pub fn writes(self) -> bool {
        self != Mode::Read
    }
}

/// What `tap:` may be followed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapDriver {
    /// A raw file, past the host's cache where its file system can.
    Aio,
    /// A raw file, each write on the medium before it is answered.
    Sync,
    /// A raw file through the host's cache.
    Ram,
    /// The same; the name of an emulator's back end.
    Ioemu,
    /// QEMU's first copy-on-write format.
    Qcow,
    /// Its second.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// Microsoft's.
    Vhd,
    /// Its successor.
    Vhdx,
}

impl TapDriver {
    const ALL: [(&'static str, TapDriver); 9] = [
        ("aio", TapDriver::Aio),
        ("sync", TapDriver::Sync),
        ("ram", TapDriver::Ram),
        ("ioemu", TapDriver::Ioemu),
        ("qcow", TapDriver::Qcow),
        ("qcow2", TapDriver::Qcow2),
        ("vmdk", TapDriver::Vmdk),
        ("vhd", TapDriver::Vhd),
        ("vhdx", TapDriver::Vhdx),
    ];
}

/// Where the blocks of a disk are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// Nowhere: a drive without a medium.
    Empty,
    /// A block device of the host, an absolute path.
    Phy(String),
    /// A file.
    File(String),
    /// A file in a format.
    Tap(TapDriver, String),
    /// Whatever the script `block-KIND` makes of the text after the colon.
    Script(String, String),
}

/// A disk as configured.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// `phy:vg/lv`, `file:/a`, `tap:aio:/a`, `NAME:...`; empty for a drive without a medium.
    pub uname: String,
    /// Name in the guest without `/dev/` and suffix: `xvda1`.
    pub dev: String,
    /// A CD drive: read only, its medium can be changed.
    #[serde(default)]
    pub cdrom: bool,
    /// How it may be used.
    pub mode: Mode,
    /// Domain that has the back end.
    #[serde(default)]
    pub backend: Option<String>,
    /// `x86_32-abi` or `x86_64-abi`.
    #[serde(default)]
    pub protocol: Option<String>,
}

impl Disk {
    /// `text` as a configuration has it.
    pub fn parse(text: &str) -> Result<Disk, DeviceError> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let invalid = || DeviceError::Disk(text.to_owned());
        let (uname, dev, mode, rest) = match parts.as_slice() {
            [uname, dev, mode, rest @ ..] if rest.len() <= 2 => (*uname, *dev, *mode, rest),
            _ => return Err(invalid()),
        };
        let word = |at: usize| rest.get(at).filter(|word| !word.is_empty());
        if let Some(protocol) = word(1).filter(|p| !matches!(**p, "x86_32-abi" | "x86_64-abi")) {
            return Err(DeviceError::Protocol {
                protocol: protocol.to_string(),
                disk: text.to_owned(),
            });
        }
        let mode = Mode::parse(mode).ok_or_else(|| DeviceError::Mode {
            mode: mode.to_owned(),
            disk: text.to_owned(),
        })?;
        let mut disk = Disk::new(uname, dev, mode).ok_or_else(invalid)?;
        disk.backend = word(0).map(|word| word.to_string());
        disk.protocol = word(1).map(|word| word.to_string());
        Ok(disk)
    }

    /// A disk of its three parts, `dev` with its suffix `:disk` or `:cdrom`; none when they make no disk.
    pub fn new(uname: &str, dev: &str, mode: Mode) -> Option<Disk> {
        let (dev, cdrom) = match dev.rsplit_once(':') {
            Some((dev, "cdrom")) => (dev, true),
            Some((dev, "disk")) => (dev, false),
            _ => (dev, false),
        };
        let dev = dev.strip_prefix("ioemu:").unwrap_or(dev);
        let dev = dev.strip_prefix("/dev/").unwrap_or(dev);
        let good = !dev.is_empty() && (uname.contains(':') || (uname.is_empty() && cdrom));
        good.then(|| Disk {
            uname: uname.to_owned(),
            dev: dev.to_owned(),
            cdrom,
            mode,
            backend: None,
            protocol: None,
        })
    }

    /// The text that [`Disk::parse`] reads.
    pub fn text(&self) -> String {
        let mut text = format!("{},{},{}", self.uname, self.dev_text(), self.mode.text());
        if self.backend.is_some() || self.protocol.is_some() {
            text.push(',');
            text.push_str(self.backend.as_deref().unwrap_or(""));
        }
        if let Some(protocol) = &self.protocol {
            text.push(',');
            text.push_str(protocol);
        }
        text
    }

    /// Its name with `:cdrom` where it is one, as configurations have it.
    pub fn dev_text(&self) -> String {
        match self.cdrom {
            true => format!("{}:cdrom", self.dev),
            false => self.dev.clone(),
        }
    }

    /// `cdrom` or `disk`.
    pub fn device_type(&self) -> &'static str {
        match self.cdrom {
            true => "cdrom",
            false => "disk",
        }
    }

    /// Directory of its back end: `tap` or `vbd`.
    pub fn class(&self) -> &'static str {
        match self.uname.starts_with("tap:") || self.uname.starts_with("tap2:") {
            true => "tap",
            false => "vbd",
        }
    }

    /// The number in `virtual-device`.
    pub fn number(&self) -> Result<u32, DeviceError> {
        number::of_name(&self.dev).ok_or_else(|| DeviceError::Number(self.dev.clone()))
    }

    /// Words before and after the first colon: the nodes `type` and `params` of the back end.
    pub fn type_and_params(&self) -> (&str, &str) {
        self.uname.split_once(':').unwrap_or(("", ""))
    }

    /// Where its blocks are.
    pub fn image(&self) -> Result<Image, DeviceError> {
        if self.uname.contains(char::is_control) {
            return Err(DeviceError::Control("the disk"));
        }
        if self.uname.is_empty() {
            return Ok(Image::Empty);
        }
        let (kind, params) = self.type_and_params();
        if params.is_empty() {
            return match self.cdrom {
                true => Ok(Image::Empty),
                false => Err(DeviceError::NoDetails),
            };
        }
        match kind {
            "phy" => Ok(Image::Phy(below_dev(params))),
            "file" => Ok(Image::File(params.to_owned())),
            "tap" | "tap2" => {
                let params = params.strip_prefix("tapdisk:").unwrap_or(params);
                let (driver, path) = params.split_once(':').unwrap_or((params, ""));
                let (_, known) = TapDriver::ALL
                    .into_iter()
                    .find(|(name, _)| *name == driver)
                    .ok_or_else(|| DeviceError::TapDriver(driver.to_owned()))?;
                match path {
                    "" => Err(DeviceError::NoDetails),
                    path => Ok(Image::Tap(known, path.to_owned())),
                }
            }
            // It becomes part of a file's name.
            kind if !kind.is_empty()
                && kind
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') =>
            {
                Ok(Image::Script(kind.to_owned(), params.to_owned()))
            }
            kind => Err(DeviceError::Type(kind.to_owned())),
        }
    }
}

/// Paths of block devices are below /dev unless they say otherwise.
fn below_dev(path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/dev/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> Result<Image, String> {
        Disk::parse(text)
            .and_then(|disk| disk.image())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn disk_text_gives_its_parts() {
        let disk = Disk::parse("phy:vg0/t3, xvda1 ,w!,0,x86_32-abi").unwrap();
        assert_eq!((disk.dev.as_str(), disk.mode), ("xvda1", Mode::Force));
        assert_eq!(disk.backend.as_deref(), Some("0"));
        assert_eq!(disk.protocol.as_deref(), Some("x86_32-abi"));
        assert_eq!(disk.number(), Ok(51713));
        assert_eq!(disk.text(), "phy:vg0/t3,xvda1,w!,0,x86_32-abi");
        let cd = Disk::parse(",hdc:cdrom,r").unwrap();
        assert!(cd.cdrom && cd.image() == Ok(Image::Empty));
        assert_eq!(cd.text(), ",hdc:cdrom,r");
        let emulated = Disk::parse("file:/a,ioemu:hda:disk,w").unwrap();
        assert_eq!(emulated.text(), "file:/a,hda,w");
    }

    #[test]
    fn images_follow_from_the_first_word() {
        assert_eq!(
            image("phy:vg0/t3,xvda,w"),
            Ok(Image::Phy("/dev/vg0/t3".into()))
        );
        assert_eq!(
            image("phy:/dev/sdb,xvda,w"),
            Ok(Image::Phy("/dev/sdb".into()))
        );
        assert_eq!(image("file:/a:b,xvda,w"), Ok(Image::File("/a:b".into())));
        let aio = Ok(Image::Tap(TapDriver::Aio, "/a".into()));
        assert_eq!(image("tap:aio:/a,xvda,w"), aio);
        assert_eq!(image("tap:tapdisk:aio:/a,xvda,w"), aio);
        assert_eq!(image("tap2:aio:/a,xvda,w"), aio);
        assert_eq!(
            image("nbd:10.0.0.1 10809,xvda,w"),
            Ok(Image::Script("nbd".into(), "10.0.0.1 10809".into()))
        );
    }

    #[test]
    fn disk_that_means_nothing_names_the_bad_part() {
        for (text, wanted) in [
            ("phy:a,b", "Invalid disk specifier: phy:a,b"),
            (
                "phy:a,b,w,0,x86_64-abi,z",
                "Invalid disk specifier: phy:a,b,w,0,x86_64-abi,z",
            ),
            ("", "Invalid disk specifier: "),
            (",xvda,r", "Invalid disk specifier: ,xvda,r"),
            (
                "phy:a,xvda,x",
                "Invalid mode 'x' in disk phy:a,xvda,x; it is r, w or w!",
            ),
            (
                "phy:a,xvda,w,,arm",
                "Invalid protocol 'arm' in disk phy:a,xvda,w,,arm; it is x86_32-abi or x86_64-abi",
            ),
            (
                "phy:,xvda,w",
                "Block device must have physical details specified",
            ),
            (
                "tap:aio:,xvda,w",
                "Block device must have physical details specified",
            ),
            ("tap:floppy:/a,xvda,w", "tap:floppy not a valid disk type"),
            ("../x:/a,xvda,w", "Block device type \"../x\" is invalid."),
            (
                "file:/a\u{7},xvda,w",
                "Invalid device: the disk holds a control character",
            ),
        ] {
            assert_eq!(image(text), Err(wanted.into()), "{text}");
        }
        assert_eq!(
            Disk::parse("phy:a,vda,w")
                .unwrap()
                .number()
                .unwrap_err()
                .to_string(),
            "Unable to find number for device (vda)"
        );
    }

    /// Whatever text is read is written as one that is read the same.
    #[test]
    fn disk_text_that_is_read_is_read_again_the_same() {
        let words = [
            "",
            "phy:a",
            "tap:qcow2:/b c",
            "xvda",
            "hdc:cdrom",
            "r",
            "w!",
            "0",
            "x86_64-abi",
            " ",
        ];
        let mut read = 0;
        let mut at = [0usize; 5];
        loop {
            for parts in 3..=5 {
                let text = at[..parts]
                    .iter()
                    .map(|&i| words[i])
                    .collect::<Vec<_>>()
                    .join(",");
                if let Ok(disk) = Disk::parse(&text) {
                    assert_eq!(Disk::parse(&disk.text()).as_ref(), Ok(&disk), "{text}");
                    read += 1;
                }
            }
            let Some(next) = at.iter().rposition(|&i| i + 1 < words.len()) else {
                break;
            };
            at[next] += 1;
            at[next + 1..].fill(0);
        }
        assert!(read > 300, "{read}");
    }
}
