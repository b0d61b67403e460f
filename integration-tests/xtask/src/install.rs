//! `cargo xtask install --prefix DIR`: what `configs/` and the build hold, where Debian would put it.
//!
//! ```text
//!   target/release/{toolctl,xend,xenstored,noxen-vmm}   -> DIR/bin, xm, xl, xen -> toolctl
//!   configs/scripts/*                                   -> DIR/etc/xen/scripts (executable)
//!   configs/systemd/*                                   -> DIR/lib/systemd/system    (they name DIR/bin, DIR/etc)
//!   configs/init.d/*, configs/default/*                 -> DIR/etc/init.d, DIR/etc/default
//!   toolctl gen man, xend manual                        -> DIR/share/man/manN
//!   toolctl gen completion                              -> where bash, zsh and fish look for them
//!   configs/ (the rest)                                 -> DIR/etc/xen; a file of the user's is kept
//! ```

use crate::options::{Arg, Args};
use crate::suite;
use anyhow::{bail, Context, Result};
use noxen_integration_tests::layout;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: [&str; 4] = ["toolctl", "xend", "xenstored", "noxen-vmm"];

/// The command.
pub fn command(args: &[String]) -> Result<u8> {
    let mut reader = Args::new(args);
    let mut prefix = None;
    while let Some(arg) = reader.next()? {
        match arg {
            Arg::Switch(name) if name == "--prefix" => {
                prefix = Some(PathBuf::from(reader.value(&name)?))
            }
            Arg::Switch(other) => bail!("install knows no {other}"),
            Arg::Word(word) => bail!("install takes no '{word}'; use --prefix DIR"),
        }
    }
    let prefix = prefix.context("install needs --prefix DIR")?;
    let prefix = std::path::absolute(prefix)?;
    suite::build_binaries()?;
    install(
        &layout::bin_dir(),
        &layout::repo_root().join("configs"),
        &prefix,
    )?;
    generated(&layout::bin_dir().join("toolctl"), &prefix)?;
    settings_page(&layout::bin_dir().join("xend"), &prefix)?;
    Ok(0)
}

fn install(programs: &Path, configs: &Path, prefix: &Path) -> Result<()> {
    for program in PROGRAMS {
        let from = programs.join(program);
        if !from.exists() {
            bail!("{} was not built", from.display());
        }
        let bytes = fs::read(&from)?;
        put(&bytes, &prefix.join("bin").join(program), 0o755)?;
    }
    // Scripts of the last ten years call xl, and Debian's call xen, where they find them.
    for name in ["xm", "xl", "xen"] {
        let link = prefix.join("bin").join(name);
        if fs::symlink_metadata(&link).is_ok() {
            fs::remove_file(&link)?;
        }
        std::os::unix::fs::symlink("toolctl", &link)?;
        println!("{} -> toolctl", link.display());
    }
    for file in files_below(configs)? {
        let relative = file.strip_prefix(configs)?;
        let Some((to, mode, keep)) = destination(relative) else {
            continue;
        };
        let to = prefix.join(to);
        let new = match relative.starts_with("systemd") || relative.starts_with("init.d") {
            true => placed(&fs::read_to_string(&file)?, prefix).into_bytes(),
            false => fs::read(&file)?,
        };
        if keep && to.exists() && fs::read(&to)? != new {
            println!("{} kept: it differs from ours", to.display());
            continue;
        }
        put(&new, &to, mode)?;
    }
    Ok(())
}

/// Writes what toolctl makes out of its own definitions: manual pages and completions.
fn generated(toolctl: &Path, prefix: &Path) -> Result<()> {
    let dir = std::env::temp_dir().join(format!("noxen-generated-{}", std::process::id()));
    for what in ["man", "completion"] {
        let status = Command::new(toolctl)
            .args(["gen", what, "--dir"])
            .arg(&dir)
            .status()
            .with_context(|| format!("cannot run {}", toolctl.display()))?;
        if !status.success() {
            bail!("{} gen {what} failed: {status}", toolctl.display());
        }
    }
    let done = files_below(&dir)?.iter().try_for_each(|file| {
        let name = file.file_name().and_then(|name| name.to_str());
        let bytes = fs::read(file)?;
        for to in place_of_generated(name.unwrap_or_default()) {
            put(&bytes, &prefix.join(to), 0o644)?;
        }
        Ok(())
    });
    fs::remove_dir_all(&dir)?;
    done
}

/// Writes xend's own page, about its settings.
fn settings_page(xend: &Path, prefix: &Path) -> Result<()> {
    let output = Command::new(xend)
        .arg("manual")
        .output()
        .with_context(|| format!("cannot run {}", xend.display()))?;
    if !output.status.success() {
        bail!("{} manual failed: {}", xend.display(), output.status);
    }
    let to = prefix.join("share/man/man5/xend-config.sxp.5");
    put(&output.stdout, &to, 0o644)
}

/// Where a generated file goes. bash loads completions by the command's name, and ours has two.
fn place_of_generated(name: &str) -> Vec<PathBuf> {
    match name {
        "xm.bash" => vec![
            "share/bash-completion/completions/xm".into(),
            "share/bash-completion/completions/toolctl".into(),
        ],
        "_xm" => vec!["share/zsh/site-functions/_xm".into()],
        "xm.fish" => vec!["share/fish/vendor_completions.d/xm.fish".into()],
        page => {
            let section = page.rsplit('.').next().unwrap_or("1");
            vec![Path::new("share/man")
                .join(format!("man{section}"))
                .join(page)]
        }
    }
}

/// A unit or init script with the places where this installation has things: units have to give programs by their
/// full paths, and the domains' settings are below DIR as well.
fn placed(text: &str, prefix: &Path) -> String {
    let at = |inside: &str| prefix.join(inside).display().to_string();
    text.replace("/usr/bin/", &format!("{}/", at("bin")))
        .replace("=/etc/init.d/", &format!("={}/", at("etc/init.d")))
        .replace(
            "/usr/local/sbin:",
            &format!("{}:/usr/local/sbin:", at("bin")),
        )
}

/// Where a file of `configs/` goes, its mode, and whether a user's own version is kept.
fn destination(relative: &Path) -> Option<(PathBuf, u32, bool)> {
    let name = relative.file_name()?;
    let first = relative.components().next()?.as_os_str().to_str()?;
    let inside = relative.components().count() > 1;
    Some(match first {
        "scripts" if inside => (Path::new("etc/xen").join(relative), 0o755, true),
        "init.d" if inside => (Path::new("etc").join(relative), 0o755, true),
        "default" if inside => (Path::new("etc").join(relative), 0o644, true),
        "systemd" if inside => (Path::new("lib/systemd/system").join(name), 0o644, false),
        _ => (Path::new("etc/xen").join(relative), 0o644, true),
    })
}

/// Writes beside the destination, then renames: a running program is replaced, never written into.
fn put(bytes: &[u8], to: &Path, mode: u32) -> Result<()> {
    let dir = to.parent().context("no directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut name = to.file_name().context("no name")?.to_owned();
    name.push(".new");
    let new = dir.join(name);
    fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
    fs::rename(&new, to)?;
    println!("{}", to.display());
    Ok(())
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !dir.exists() {
        return Ok(files);
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn install_puts_files_in_place_and_keeps_the_users_config() {
        let base = std::env::temp_dir().join(format!("noxen-install-{}", std::process::id()));
        let (bin, configs, prefix) = (base.join("bin"), base.join("configs"), base.join("prefix"));
        for program in PROGRAMS {
            fs::create_dir_all(&bin).unwrap();
            fs::write(bin.join(program), program).unwrap();
        }
        for file in [
            "demo.cfg",
            "scripts/block",
            "systemd/xend.service",
            "init.d/xendomains",
        ] {
            let path = configs.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "ours").unwrap();
        }
        let unit = "ExecStart=/usr/bin/xend start\nExecStop=/etc/init.d/xendomains stop\n";
        fs::write(configs.join("systemd/xend.service"), unit).unwrap();
        install(&bin, &configs, &prefix).unwrap();
        for name in ["xm", "xl", "xen"] {
            assert_eq!(fs::read(prefix.join("bin").join(name)).unwrap(), b"toolctl");
        }
        assert_eq!(
            fs::read_to_string(prefix.join("lib/systemd/system/xend.service")).unwrap(),
            format!(
                "ExecStart={0}/bin/xend start\nExecStop={0}/etc/init.d/xendomains stop\n",
                prefix.display()
            )
        );
        let script = prefix.join("etc/init.d/xendomains");
        assert_eq!(
            fs::metadata(script).unwrap().permissions().mode() & 0o777,
            0o755
        );
        let mode = fs::metadata(prefix.join("etc/xen/scripts/block"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);

        fs::write(prefix.join("etc/xen/demo.cfg"), "the user's").unwrap();
        install(&bin, &configs, &prefix).unwrap();
        assert_eq!(
            fs::read(prefix.join("etc/xen/demo.cfg")).unwrap(),
            b"the user's"
        );
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn generated_pages_and_completions_go_where_man_and_the_shells_look() {
        let base = std::env::temp_dir().join(format!("noxen-place-{}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        let toolctl = base.join("toolctl");
        let script = "#!/bin/sh\nmkdir -p $4\ncase $2 in\nman) echo page > $4/xm.1; echo file > $4/xmdomain.cfg.5;;\n\
                      completion) echo b > $4/xm.bash; echo z > $4/_xm; echo f > $4/xm.fish;;\nesac\n";
        fs::write(&toolctl, script).unwrap();
        fs::set_permissions(&toolctl, fs::Permissions::from_mode(0o755)).unwrap();
        let prefix = base.join("prefix");
        generated(&toolctl, &prefix).unwrap();
        for (path, text) in [
            ("share/man/man1/xm.1", "page\n"),
            ("share/man/man5/xmdomain.cfg.5", "file\n"),
            ("share/bash-completion/completions/xm", "b\n"),
            ("share/bash-completion/completions/toolctl", "b\n"),
            ("share/zsh/site-functions/_xm", "z\n"),
            ("share/fish/vendor_completions.d/xm.fish", "f\n"),
        ] {
            assert_eq!(
                fs::read_to_string(prefix.join(path)).unwrap(),
                text,
                "{path}"
            );
        }
        fs::write(&toolctl, "#!/bin/sh\necho $1\n").unwrap();
        settings_page(&toolctl, &prefix).unwrap();
        let page = fs::read_to_string(prefix.join("share/man/man5/xend-config.sxp.5"));
        assert_eq!(page.unwrap(), "manual\n");
        fs::write(&toolctl, "#!/bin/sh\nexit 1\n").unwrap();
        assert!(generated(&toolctl, &prefix).is_err());
        assert!(settings_page(&toolctl, &prefix).is_err());
        fs::remove_dir_all(base).unwrap();
    }
}
