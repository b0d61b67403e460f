//! An unlinked file for guest RAM on a tmpfs that uses huge pages.
//!
//! KVM maps guest memory by 2 MiB where the host does, which saves a domain's boot tens of thousands
//! of exits. memfd_create gets huge pages only where the administrator switched them on for the whole
//! host; a tmpfs of one's own carries `huge=always` whatever the host's default is, but only a process
//! with CAP_SYS_ADMIN may make one. So xend makes it and passes the file to noxen-vmm.

use rustix::fs::{openat, unlinkat, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, FsMountFlags, FsOpenFlags,
    MountAttrFlags,
};
use std::fs::File;
use std::os::fd::AsFd;

/// An empty file whose pages are huge where possible, or the error of the kernel (EPERM without
/// CAP_SYS_ADMIN). The mount is detached: it has no path and goes with the last descriptor.
pub fn huge_page_file() -> Result<File, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "huge", "always")?;
    // The limit of a domain is its memory size, not half of the host's RAM (tmpfs' default).
    fsconfig_set_string(context.as_fd(), "size", "100%")?;
    fsconfig_set_string(context.as_fd(), "mode", "0700")?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(&mount, "ram", flags, Mode::RUSR | Mode::WUSR)?;
    unlinkat(&mount, "ram", AtFlags::empty())?;
    Ok(File::from(file))
}

/// [`huge_page_file`], or `None` where it cannot be had: noxen-vmm then uses memfd_create.
pub fn huge_page_file_if_possible() -> Option<File> {
    huge_page_file().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn huge_page_file_outlives_its_mount_or_is_refused_by_permission() {
        match huge_page_file() {
            Ok(file) => {
                file.set_len(4 << 20).unwrap();
                file.write_all_at(b"x", 3 << 20).unwrap();
                let mut byte = [0u8; 1];
                file.read_exact_at(&mut byte, 3 << 20).unwrap();
                assert_eq!(&byte, b"x");
            }
            Err(error) => assert!(matches!(error, Errno::PERM | Errno::NOSYS | Errno::INVAL)),
        }
    }
}
