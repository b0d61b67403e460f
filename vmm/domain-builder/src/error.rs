//! Why a domain cannot be built, one line each.

use noxen_kernel_image::KernelError;

use crate::memory::OutsideMemory;
use crate::spec::{MAX_CMDLINE, MAX_PAGES};

/// A domain that cannot be built as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The kernel is not for a PV domain, or its file cannot be read.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Kernel, ramdisk and tables exceed the memory.
    #[error("the domain has {memory_mib} MiB of memory, but its kernel ({kernel_mib} MiB loaded) and ramdisk ({ramdisk_mib} MiB) need at least {needed_mib} MiB to start; set memory={needed_mib} or more")]
    TooSmall {
        /// What the domain has.
        memory_mib: u64,
        /// End of the kernel image.
        kernel_mib: u64,
        /// Length of the ramdisk.
        ramdisk_mib: u64,
        /// Smallest memory with which the builder would succeed.
        needed_mib: u64,
    },
    /// No memory at all.
    #[error("the domain has no memory; set memory= to the MiB that it shall have")]
    NoMemory,
    /// More than is supported.
    #[error("the domain is to have {pages} pages of memory; at most {most} ({mib} MiB) are supported{why}", mib = .most >> 8, why = if *.most < MAX_PAGES { " for a 32-bit kernel" } else { "" })]
    TooLarge {
        /// Pages asked for.
        pages: u64,
        /// Most that a domain of this width can have.
        most: u64,
    },
    /// shared_info is where a 32-bit guest cannot find it.
    #[error("shared_info is at {gpa:#x}, but a 32-bit kernel reaches only addresses below 4 GiB; this is a fault of the caller's layout")]
    SharedInfoAbove {
        /// Its guest-physical address.
        gpa: u64,
    },
    /// maxmem is below memory.
    #[error("the domain is to start with {start_mib} MiB of memory but may have only {max_mib} MiB; set maxmem= to at least memory=")]
    AboveMaximum {
        /// Memory at start.
        start_mib: u64,
        /// Most memory.
        max_mib: u64,
    },
    /// The command line does not fit start_info.
    #[error("the kernel command line is {len} bytes long; at most {MAX_CMDLINE} fit, so shorten extra= or root=")]
    CmdlineTooLong {
        /// Its length.
        len: usize,
    },
    /// The command line holds a NUL.
    #[error(
        "the kernel command line has a NUL byte at {at}; the kernel would not see what follows it"
    )]
    CmdlineNul {
        /// Offset of the NUL.
        at: usize,
    },
    /// What must be mapped at VIRT_BASE does not fit there.
    #[error("kernel and ramdisk need {mib} MiB mapped from VIRT_BASE {virt_base:#x}, more than the address space has there; use a smaller ramdisk")]
    NoAddressSpace {
        /// Where the mapping starts.
        virt_base: u64,
        /// Its length.
        mib: u64,
    },
    /// The p2m list cannot be mapped where the kernel wants it.
    #[error("the kernel wants its p2m list ({mib} MiB) at {init_p2m:#x}, which {why}")]
    P2mPlace {
        /// INIT_P2M.
        init_p2m: u64,
        /// Length of the list.
        mib: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// The file ended early or could not be read.
    #[error("cannot read the ramdisk's {len} bytes: {source}")]
    Ramdisk {
        /// Bytes wanted.
        len: u64,
        /// What the reader said.
        source: std::io::Error,
    },
    /// The ramdisk is not the one that was planned for.
    #[error("the ramdisk has {found} bytes, but {planned} were planned for; it changed meanwhile, so try again")]
    RamdiskChanged {
        /// Length in the plan.
        planned: u64,
        /// Length now.
        found: u64,
    },
    /// Guest memory is smaller than the caller said.
    #[error(transparent)]
    Memory(#[from] OutsideMemory),
}
