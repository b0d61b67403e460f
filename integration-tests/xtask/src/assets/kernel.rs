//! A Debian kernel package laid out for use: bzImage, the ELF file inside it, config, modules.
//!
//! ```text
//!   boot/vmlinuz-V ── setup header: payload offset, length ── xz | lz4 | ... ── vmlinux
//!   lib/modules/V  ── busybox depmod ── modules.dep, modules.alias
//! ```
//! Header fields: Linux, Documentation/x86/boot.rst, "The Real-Mode Kernel Header".

use super::apt;
use anyhow::{bail, Context, Result};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Lays out the unpacked package `tree` as directory `to` (which must not exist).
pub fn lay_out(tree: &Path, busybox: &Path, to: &Path) -> Result<()> {
    let boot = tree.join("boot");
    let version = fs::read_dir(&boot)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned))
        .with_context(|| format!("no vmlinuz in {}", boot.display()))?;
    // busybox depmod wants the installed layout.
    apt::run(
        Command::new(busybox)
            .args(["depmod", "-b"])
            .arg(tree)
            .arg(&version),
    )?;
    fs::create_dir_all(to)?;
    let image = fs::read(boot.join(format!("vmlinuz-{version}")))?;
    fs::write(to.join("vmlinuz"), &image)?;
    fs::write(to.join("vmlinux"), unpack_payload(&image)?)?;
    fs::rename(boot.join(format!("config-{version}")), to.join("config"))?;
    fs::rename(tree.join("lib/modules").join(&version), to.join("modules"))?;
    fs::write(to.join("version"), format!("{version}\n"))?;
    Ok(())
}

/// The ELF file inside a bzImage, by the packers' own tools (so it can check our own unpacker).
fn unpack_payload(image: &[u8]) -> Result<Vec<u8>> {
    let field = |at: usize| -> Result<usize> {
        let bytes = image
            .get(at..at + 4)
            .context("the image is shorter than a bzImage header")?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    };
    if image.get(0x202..0x206) != Some(b"HdrS") {
        bail!("not a bzImage: no HdrS at 0x202");
    }
    let start = (usize::from(image[0x1f1]) + 1) * 512 + field(0x248)?;
    // The payload ends with its unpacked size, 4 bytes, which is not part of the packed stream.
    let end = (start + field(0x24c)?).saturating_sub(4);
    let payload = image
        .get(start..end)
        .context("the bzImage header points behind the end of the file")?;
    let tool: &[&str] = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => &["xz", "-dc", "--single-stream"],
        [0x02, 0x21, 0x4c, 0x18, ..] => &["lz4", "-dc"],
        [0x28, 0xb5, 0x2f, 0xfd, ..] => &["zstd", "-dc"],
        [0x1f, 0x8b, ..] => &["gzip", "-dc"],
        other => bail!(
            "unknown payload, first bytes {:02x?}",
            &other[..4.min(other.len())]
        ),
    };
    let elf = filter(tool, payload)?;
    if !elf.starts_with(b"\x7fELF") {
        bail!("the payload unpacked by {} is no ELF file", tool[0]);
    }
    Ok(elf)
}

/// `input` through a command.
fn filter(tool: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new(tool[0])
        .args(&tool[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} does not run", tool[0]))?;
    let mut feed = child.stdin.take().context("no pipe to the unpacker")?;
    let data = input.to_vec();
    let feeder = std::thread::spawn(move || feed.write_all(&data));
    let out = child.wait_with_output()?;
    let fed = feeder
        .join()
        .map_err(|_| anyhow::anyhow!("feeding {} failed", tool[0]))?;
    if !out.status.success() {
        bail!("{} ended with {}", tool[0], out.status);
    }
    fed.with_context(|| format!("writing to {}", tool[0]))?;
    Ok(out.stdout)
}

/// Module files (relative to the module directory) in an order in which they load, dependencies first.
pub fn load_order(modules: &Path, wanted: &[&str]) -> Result<Vec<String>> {
    let table = fs::read_to_string(modules.join("modules.dep"))
        .with_context(|| format!("no modules.dep in {}", modules.display()))?;
    order_from(&table, wanted)
}

fn order_from(table: &str, wanted: &[&str]) -> Result<Vec<String>> {
    use std::collections::HashMap;
    let lines: HashMap<&str, Vec<&str>> = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (file.trim(), needs.split_whitespace().collect()))
        .collect();
    fn visit<'a>(
        file: &'a str,
        lines: &HashMap<&'a str, Vec<&'a str>>,
        depth: usize,
        done: &mut Vec<String>,
    ) -> Result<()> {
        if done.iter().any(|seen| seen == file) {
            return Ok(());
        }
        if depth > 32 {
            bail!("modules.dep has a circle at {file}");
        }
        let needs = lines
            .get(file)
            .with_context(|| format!("modules.dep has no line for {file}"))?;
        for need in needs {
            visit(need, lines, depth + 1, done)?;
        }
        done.push(file.to_owned());
        Ok(())
    }
    let mut done = Vec::new();
    for name in wanted {
        let file = lines
            .keys()
            .copied()
            .find(|path| {
                Path::new(path)
                    .file_name()
                    .and_then(|f| f.to_str())
                    .and_then(|f| f.strip_suffix(".ko"))
                    == Some(*name)
            })
            .with_context(|| format!("this kernel has no module {name}"))?;
        visit(file, &lines, 0, &mut done)?;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_order_puts_dependencies_first_whatever_the_table_order() {
        // fscache needs netfs, but 9p's own line names it first.
        let table = "k/9p.ko: k/9pnet.ko k/fscache.ko k/netfs.ko\nk/fscache.ko: k/netfs.ko\nk/netfs.ko:\nk/9pnet.ko:\n";
        let order = order_from(table, &["9p"]).unwrap();
        assert_eq!(
            order,
            ["k/9pnet.ko", "k/netfs.ko", "k/fscache.ko", "k/9p.ko"]
        );
    }

    #[test]
    fn load_order_of_unknown_module_is_an_error() {
        assert!(order_from("k/a.ko:\n", &["b"]).is_err());
    }

    #[test]
    fn load_order_of_circle_ends_with_error() {
        assert!(order_from("k/a.ko: k/b.ko\nk/b.ko: k/a.ko\n", &["a"]).is_err());
    }

    #[test]
    fn payload_of_something_else_is_refused() {
        assert!(unpack_payload(b"MZ").is_err());
        assert!(unpack_payload(&[0u8; 4096]).is_err());
    }
}
