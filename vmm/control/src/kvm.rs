//! Opening /dev/kvm and judging it, with one clear line for each way it can be unusable.
//!
//! ```text
//!   open(path) --File--> check(&file, &HostCpu::read()) --ok--> pass the fd to noxen-vmm
//!       | NotFound, Permission, Open      | Software, ApiVersion, Missing
//! ```
//! xend opens and checks before it spawns noxen-vmm; noxen-vmm checks the fd that it was given again.
#![allow(unsafe_code)] // KVM ioctls need a Kvm wrapper, which kvm-ioctls makes only from a raw fd.

use kvm_ioctls::{Cap, Kvm};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use std::path::Path;

/// The only API version there has been since Linux 2.6.22.
const API_VERSION: i32 = 12;

/// Why a /dev/kvm cannot run a domain.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// No such device node.
    #[error("no {0}: this kernel has no KVM loaded; run `modprobe kvm_amd` or `modprobe kvm_intel`, or switch virtualisation on in the firmware")]
    NotFound(String),
    /// The node may not be opened.
    #[error("{path} may not be opened by user {uid}: run as root, or add the user to group kvm")]
    Permission {
        /// Device node.
        path: String,
        /// Effective user id.
        uid: u32,
    },
    /// Any other failure to open.
    #[error("cannot open {path}: {source}")]
    Open {
        /// Device node.
        path: String,
        /// OS error.
        source: io::Error,
    },
    /// No hardware virtualisation under this KVM.
    #[error("this KVM is a software KVM that cannot run ring-0 guest code (the CPU has neither VT-x nor AMD-V); use the lab: cargo xtask lab -- COMMAND")]
    Software,
    /// The file answers like something else than KVM.
    #[error("KVM API version is {0}, expected 12: this is not a /dev/kvm that noxen-vmm knows")]
    ApiVersion(i32),
    /// Something that Noxen needs is not offered.
    #[error("this KVM lacks {0}, which PV domains need; use Linux 5.10 or newer")]
    Missing(&'static str),
}

/// What the CPU offers for virtualisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostCpu {
    /// CPUID.1:ECX[5].
    pub vmx: bool,
    /// CPUID.80000001:ECX[2].
    pub svm: bool,
}

impl HostCpu {
    /// Reads CPUID of this machine.
    pub fn read() -> HostCpu {
        use std::arch::x86_64::__cpuid;
        let vmx = __cpuid(1).ecx & 1 << 5 != 0;
        let extended = __cpuid(0x8000_0000).eax >= 0x8000_0001;
        let svm = extended && __cpuid(0x8000_0001).ecx & 1 << 2 != 0;
        HostCpu { vmx, svm }
    }

    /// Whether guests can run in ring 0 of a VM here.
    pub fn can_run_guests(self) -> bool {
        self.vmx || self.svm
    }
}

/// What PV domains need of KVM, with the names of the API document.
const NEEDED: &[(Cap, &str)] = &[
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::Irqfd, "KVM_CAP_IRQFD"),
    (Cap::IrqRouting, "KVM_CAP_IRQ_ROUTING"),
    (Cap::Ioeventfd, "KVM_CAP_IOEVENTFD"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::GetTscKhz, "KVM_CAP_GET_TSC_KHZ"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::TscDeadlineTimer, "KVM_CAP_TSC_DEADLINE_TIMER"),
];

/// Opens `path` (normally /dev/kvm) close-on-exec.
pub fn open(path: &Path) -> Result<File, KvmError> {
    let name = path.display().to_string();
    File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => KvmError::NotFound(name),
            io::ErrorKind::PermissionDenied => KvmError::Permission {
                path: name,
                uid: rustix::process::geteuid().as_raw(),
            },
            _ => KvmError::Open { path: name, source },
        })
}

/// Judges an open /dev/kvm on a machine with `cpu`.
pub fn check(file: &impl AsFd, cpu: HostCpu) -> Result<(), KvmError> {
    let duplicate = file
        .as_fd()
        .try_clone_to_owned()
        .map_err(|source| KvmError::Open {
            path: "a duplicate of /dev/kvm".into(),
            source,
        })?;
    // SAFETY: the descriptor was duplicated above, so `Kvm` owns it alone and closes it once; a
    // descriptor of something else only makes the ioctls fail. kvm-ioctls has no safe constructor.
    let kvm = unsafe { Kvm::from_raw_fd(duplicate.into_raw_fd()) };
    let version = kvm.get_api_version();
    if version != API_VERSION {
        return Err(KvmError::ApiVersion(version));
    }
    if !cpu.can_run_guests() {
        return Err(KvmError::Software);
    }
    match NEEDED.iter().find(|(cap, _)| !kvm.check_extension(*cap)) {
        Some((_, name)) => Err(KvmError::Missing(name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_of_a_missing_node_says_what_to_load() {
        let error = open(Path::new("/nonexistent/kvm")).unwrap_err();
        assert!(matches!(error, KvmError::NotFound(_)));
        assert!(error.to_string().contains("modprobe"));
    }

    #[test]
    fn check_of_another_file_is_refused_by_version() {
        let null = File::open("/dev/null").unwrap();
        let cpu = HostCpu {
            vmx: true,
            svm: false,
        };
        assert!(matches!(check(&null, cpu), Err(KvmError::ApiVersion(-1))));
    }

    #[test]
    fn errors_are_one_line_each() {
        for error in [
            KvmError::Software,
            KvmError::Missing("X"),
            KvmError::ApiVersion(3),
        ] {
            assert!(!error.to_string().contains('\n'));
        }
    }
}
