//! KVM's own counters of a vCPU (KVM_GET_STATS_FD, Linux 5.14): every exit, also those that never
//! reach this process.
//!
//! ```text
//!   fd:  header | id string | descriptors (16 bytes + name) ... | data u64 ...
//! ```
#![allow(unsafe_code)] // kvm-ioctls has no wrapper for KVM_GET_STATS_FD.

use kvm_ioctls::VcpuFd;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

#[allow(missing_docs)] // The macro makes an undocumented function.
mod ioctl {
    vmm_sys_util::ioctl_io_nr!(KVM_GET_STATS_FD, kvm_bindings::KVMIO, 0xce);
}
use ioctl::KVM_GET_STATS_FD;

/// The counters of one vCPU, read as often as wanted.
#[derive(Debug)]
pub struct Stats {
    file: File,
    names: Vec<(String, u64)>,
}

impl Stats {
    /// Opens the counters; `None` where KVM has none.
    pub fn open(vcpu: &VcpuFd) -> Option<Stats> {
        // SAFETY: the ioctl takes no argument and answers with a new descriptor or an error.
        let fd = unsafe { vmm_sys_util::ioctl::ioctl(vcpu, KVM_GET_STATS_FD()) };
        if fd < 0 {
            return None;
        }
        // SAFETY: `fd` was just returned as a new descriptor that nothing else owns.
        let file = unsafe { File::from_raw_fd(fd) };
        debug_assert!(file.as_raw_fd() >= 0);
        let names = names(|buffer, offset| file.read_exact_at(buffer, offset).ok())?;
        Some(Stats { file, names })
    }

    /// Name -> value of the plain counters.
    pub fn read(&self) -> BTreeMap<String, u64> {
        let value = |offset| {
            let mut bytes = [0u8; 8];
            self.file.read_exact_at(&mut bytes, offset).ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        self.names
            .iter()
            .filter_map(|(name, offset)| Some((name.clone(), value(*offset)?)))
            .collect()
    }
}

/// Reads the descriptors: (name, offset of the value) of each single-word counter.
fn names(read: impl Fn(&mut [u8], u64) -> Option<()>) -> Option<Vec<(String, u64)>> {
    let mut header = [0u8; 24];
    read(&mut header, 0)?;
    let word = |bytes: &[u8], at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let name_size = word(&header, 4)? as usize;
    let count = word(&header, 8)?;
    let descriptors = u64::from(word(&header, 16)?);
    let data = u64::from(word(&header, 20)?);
    if name_size > 256 || count > 4096 {
        return None;
    }
    let mut found = Vec::new();
    let mut descriptor = vec![0u8; 16 + name_size];
    for index in 0..u64::from(count) {
        let at = descriptors + index * (16 + name_size as u64);
        read(&mut descriptor, at)?;
        let size = u16::from_le_bytes([descriptor[6], descriptor[7]]);
        let offset = word(&descriptor, 8)?;
        let name = descriptor[16..].split(|&b| b == 0).next().unwrap_or(&[]);
        if size == 1 {
            found.push((
                String::from_utf8_lossy(name).into_owned(),
                data + u64::from(offset),
            ));
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stats file as the KVM API document draws it: two counters and a histogram.
    fn file() -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [0u32, 16, 3, 24, 32, 128] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.resize(32, 0);
        for (name, size, offset) in [("exits", 1u16, 0u32), ("hist", 4, 8), ("halt_exits", 1, 40)] {
            bytes.extend([0u8; 6]);
            bytes.extend(size.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            bytes.extend([0u8; 4]);
            let mut padded = name.as_bytes().to_vec();
            padded.resize(16, 0);
            bytes.extend(padded);
        }
        bytes
    }

    #[test]
    fn names_finds_plain_counters_with_their_offsets() {
        let file = file();
        let found = names(|buffer, offset| {
            let start = offset as usize;
            buffer.copy_from_slice(file.get(start..start + buffer.len())?);
            Some(())
        });
        assert_eq!(
            found.unwrap(),
            [("exits".to_string(), 128), ("halt_exits".to_string(), 168)]
        );
    }

    #[test]
    fn names_of_a_short_file_is_none() {
        assert_eq!(names(|_, _| None), None);
    }
}
