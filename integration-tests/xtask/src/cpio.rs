//! Writes cpio archives in the "new ASCII" (newc) format, which the kernel unpacks as an initramfs.
//!
//! Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. Each member is
//! "070701", thirteen 8-digit hexadecimal fields, the name with a NUL, padding to 4, data, padding to 4.

use std::io::{self, Write};

/// What a member is, besides its permissions.
enum Kind<'a> {
    Directory,
    File(&'a [u8]),
    Link(&'a str),
    CharDevice(u32, u32),
}

/// An archive being written. Members appear in call order; a directory must precede its contents.
pub struct Writer<W: Write> {
    out: W,
    inode: u32,
    at: usize,
}

impl<W: Write> Writer<W> {
    /// Starts an archive on `out`.
    pub fn new(out: W) -> Self {
        Writer {
            out,
            inode: 0,
            at: 0,
        }
    }

    /// A directory with `mode`'s permission bits.
    pub fn directory(&mut self, name: &str, mode: u32) -> io::Result<()> {
        self.member(name, 0o040_000 | mode, Kind::Directory)
    }

    /// A regular file.
    pub fn file(&mut self, name: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        self.member(name, 0o100_000 | mode, Kind::File(data))
    }

    /// A symbolic link.
    pub fn link(&mut self, name: &str, target: &str) -> io::Result<()> {
        self.member(name, 0o120_777, Kind::Link(target))
    }

    /// A character device.
    pub fn char_device(&mut self, name: &str, mode: u32, major: u32, minor: u32) -> io::Result<()> {
        self.member(name, 0o020_000 | mode, Kind::CharDevice(major, minor))
    }

    /// Ends the archive and gives the sink back.
    pub fn finish(mut self) -> io::Result<W> {
        self.inode = u32::MAX;
        self.member("TRAILER!!!", 0, Kind::File(b""))?;
        self.pad(512)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn member(&mut self, name: &str, mode: u32, kind: Kind<'_>) -> io::Result<()> {
        self.inode = self.inode.wrapping_add(1);
        let (data, major, minor): (&[u8], u32, u32) = match &kind {
            Kind::Directory => (b"", 0, 0),
            Kind::File(bytes) => (bytes, 0, 0),
            Kind::Link(target) => (target.as_bytes(), 0, 0),
            Kind::CharDevice(major, minor) => (b"", *major, *minor),
        };
        let links = if matches!(kind, Kind::Directory) {
            2
        } else {
            1
        };
        let size = u32::try_from(data.len())
            .map_err(|_| io::Error::other(format!("{name} is too large for a cpio archive")))?;
        let header = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}{size:08x}{:08x}{:08x}{major:08x}{minor:08x}{:08x}{:08x}",
            self.inode,
            0,
            0,
            0,
            0,
            0,
            name.len() + 1,
            0,
        );
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(b"\0")?;
        self.pad(4)?;
        self.put(data)?;
        self.pad(4)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len();
        self.out.write_all(bytes)
    }

    fn pad(&mut self, to: usize) -> io::Result<()> {
        let gap = self.at.next_multiple_of(to) - self.at;
        self.put(&vec![0u8; gap])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn archive_read_back_by_cpio_tool_has_every_member() {
        let mut archive = Writer::new(Vec::new());
        archive.directory("bin", 0o755).unwrap();
        archive.file("bin/hello", 0o755, b"hello there").unwrap();
        archive.link("bin/hi", "hello").unwrap();
        archive.char_device("console", 0o600, 5, 1).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 512, 0);

        let mut tool = Command::new("cpio")
            .args(["-tv", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the cpio tool is part of the packages that xtask installs");
        tool.stdin.take().unwrap().write_all(&bytes).unwrap();
        let out = tool.wait_with_output().unwrap();
        assert!(out.status.success());
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(
            text.lines()
                .any(|l| l.starts_with("drwxr-xr-x") && l.ends_with(" bin")),
            "{text}"
        );
        assert!(
            text.contains("-rwxr-xr-x") && text.contains(" 11 "),
            "{text}"
        );
        assert!(text.contains("bin/hi -> hello"), "{text}");
        assert!(
            text.contains("crw-------") && text.contains("5,   1"),
            "{text}"
        );
    }
}
