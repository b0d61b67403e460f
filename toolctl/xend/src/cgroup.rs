//! A control group (v2) for each domain, in which its share of the host's CPUs is set.
//!
//! ```text
//!   <cgroup2>/noxen/domN   cgroup.procs <- the monitor
//!                          cpu.weight   <- weight, 256 becoming the kernel's default of 100
//!                          cpu.max      <- cap, per cent of one CPU
//! ```
//! A host without a writable cgroup2 runs domains all the same, each with the default share.

use noxen_xend_api::paths::Paths;
use noxen_xend_api::Sedf;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Weight of a domain unless set (Xen's credit scheduler).
pub const DEFAULT_WEIGHT: i64 = 256;
/// Period of `cpu.max`, µs.
const PERIOD_US: u64 = 100_000;
/// Least quota that the kernel takes, µs.
const LEAST_QUOTA_US: u64 = 1_000;

/// Why a share could not be set.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No cgroup2 file system is mounted.
    #[error(
        "the host has no cgroup2 file system mounted; mount one at /sys/fs/cgroup (mount -t cgroup2 none /sys/fs/cgroup)"
    )]
    NotMounted,
    /// A file of it does not do what is wanted.
    #[error("cannot {verb} {}: {source}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// File or directory.
        path: PathBuf,
        /// OS error.
        source: io::Error,
    },
}

fn failed<'a>(
    verb: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> CgroupError + use<'a> {
    let path = path.to_owned();
    move |source| CgroupError::Io { verb, path, source }
}

/// Where cgroup2 is mounted, by the text of /proc/self/mounts.
fn mount_point(mounts: &str) -> Option<PathBuf> {
    let mut fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .and_then(|fields| fields.get(1).map(PathBuf::from))
}

/// Puts process `pid` into the group (v2) that the text of another process's /proc/PID/cgroup names.
pub fn join(groups: &str, pid: u32) -> io::Result<()> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let (Some(path), Some(mount)) = (path, mount_point(&mounts)) else {
        return Err(io::Error::other("the domain's group is none of cgroup2"));
    };
    fs::write(mount.join(path).join("cgroup.procs"), pid.to_string())
}

/// Groups are made and removed one at a time, so that none is made in a parent that is just going away.
static ONE: Mutex<()> = Mutex::new(());

/// The groups of the domains of one xend.
#[derive(Clone, Debug)]
pub struct Groups {
    name: String,
}

impl Groups {
    /// The groups of the xend whose files are where `paths` says: several with roots of their own do not meet.
    pub fn of(paths: &Paths) -> Groups {
        let root = paths.root();
        let name = match root == Path::new("/") {
            true => "noxen".to_owned(),
            false => format!(
                "noxen{}",
                root.display().to_string().replace(['/', '\n', ' '], "-")
            ),
        };
        Groups { name }
    }

    fn parent(&self) -> Result<PathBuf, CgroupError> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mount = mount_point(&mounts).ok_or(CgroupError::NotMounted)?;
        Ok(mount.join(&self.name))
    }

    fn group(&self, domid: u32) -> Result<PathBuf, CgroupError> {
        Ok(self.parent()?.join(format!("dom{domid}")))
    }

    /// Makes the group of domain `domid` and puts process `pid` into it.
    pub fn enter(&self, domid: u32, pid: u32) -> Result<(), CgroupError> {
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let parent = self.parent()?;
        let group = self.group(domid)?;
        fs::create_dir_all(&group).map_err(failed("make", &group))?;
        // A controller has to be handed down level by level; one that is there already may be written again.
        for level in [parent.parent(), Some(parent.as_path())]
            .into_iter()
            .flatten()
        {
            let control = level.join("cgroup.subtree_control");
            let handed = fs::write(&control, "+cpu").map_err(failed("write +cpu to", &control));
            if let Err(e) = handed {
                let _ = fs::remove_dir(&group);
                let _ = fs::remove_dir(&parent);
                return Err(e);
            }
        }
        let procs = group.join("cgroup.procs");
        fs::write(&procs, pid.to_string()).map_err(failed("write to", &procs))
    }

    /// Sets the share of a domain in its group.
    pub fn set(&self, domid: u32, weight: i64, cap: i64) -> Result<(), CgroupError> {
        let group = self.group(domid)?;
        for (file, value) in [
            ("cpu.weight", weight_text(weight)),
            ("cpu.max", cap_text(cap)),
        ] {
            let path = group.join(file);
            fs::write(&path, &value).map_err(failed("write to", &path))?;
        }
        Ok(())
    }

    /// Sets what `sched-sedf` asks for: CPU time in each period, and the weight unless it is 0.
    pub fn set_sedf(&self, domid: u32, sedf: &Sedf) -> Result<(), CgroupError> {
        let group = self.group(domid)?;
        let path = group.join("cpu.max");
        fs::write(&path, sedf_text(sedf)).map_err(failed("write to", &path))?;
        if sedf.weight != 0 {
            let path = group.join("cpu.weight");
            fs::write(&path, weight_text(sedf.weight)).map_err(failed("write to", &path))?;
        }
        Ok(())
    }

    /// Removes the group of a domain that is gone, and with the last one what held them.
    pub fn remove(&self, domid: u32) {
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Ok(parent), Ok(group)) = (self.parent(), self.group(domid)) {
            // There may never have been one; a group that holds nothing can be removed at any time.
            let _ = fs::remove_dir(group);
            let _ = fs::remove_dir(parent);
        }
    }
}

/// 1..=65535 on the kernel's scale of 1..=10000.
fn weight_text(weight: i64) -> String {
    let scaled = (weight.max(1) * 100 + DEFAULT_WEIGHT / 2) / DEFAULT_WEIGHT;
    scaled.clamp(1, 10_000).to_string()
}

/// Per cent of one CPU as quota and period.
fn cap_text(cap: i64) -> String {
    match u64::try_from(cap) {
        Ok(cap) if cap > 0 => {
            let quota = (cap * PERIOD_US / 100).max(LEAST_QUOTA_US);
            format!("{quota} {PERIOD_US}")
        }
        _ => format!("max {PERIOD_US}"),
    }
}

/// Slice and period as quota and period; no quota for a domain that may have more.
fn sedf_text(sedf: &Sedf) -> String {
    let us = |ms: f64| (ms * 1000.0).round() as u64;
    let period = us(sedf.period_ms);
    match sedf.extra {
        true => format!("max {period}"),
        false => format!("{} {period}", us(sedf.slice_ms).max(LEAST_QUOTA_US)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_point_is_that_of_cgroup2_wherever_it_is() {
        let mounts = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            mount_point(mounts),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(mount_point("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn weights_keep_their_ratios_as_far_as_the_kernels_range_goes() {
        let scaled = [1, 128, 256, 512, 25_600, 65_535].map(weight_text);
        assert_eq!(scaled, ["1", "50", "100", "200", "10000", "10000"]);
    }

    #[test]
    fn slice_bounds_only_who_may_have_no_extra_time() {
        let mut sedf = Sedf {
            period_ms: 20.0,
            slice_ms: 5.5,
            extra: false,
            ..Sedf::default()
        };
        assert_eq!(sedf_text(&sedf), "5500 20000");
        sedf.extra = true;
        assert_eq!(sedf_text(&sedf), "max 20000");
    }

    #[test]
    fn caps_are_quotas_of_a_tenth_of_a_second() {
        assert_eq!(cap_text(0), "max 100000");
        assert_eq!(cap_text(50), "50000 100000");
        assert_eq!(cap_text(250), "250000 100000");
        assert_eq!(cap_text(1), "1000 100000");
    }
}
