//! Everything that can be wrong with a kernel file, one line each.

use crate::Compression;

/// Why a file cannot serve as the kernel of a PV domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The first bytes are neither ELF, nor a packed ELF, nor a bzImage.
    #[error("not a kernel: the file {found}; a PV kernel is an ELF file, a gzipped ELF file or a Linux bzImage")]
    NotAKernel {
        /// What the file looks like instead.
        found: String,
    },
    /// A bzImage of a boot protocol from before the payload fields.
    #[error("the bzImage speaks boot protocol {major}.{minor:02}, but PV boot needs 2.08 (Linux 2.6.24) or newer; use a newer kernel or its vmlinux")]
    OldBzImage {
        /// Protocol version, upper byte.
        major: u8,
        /// Protocol version, lower byte.
        minor: u8,
    },
    /// The bzImage header points outside the file.
    #[error("the bzImage is cut short or damaged: its header places the payload at bytes {start}..{end}, but the file has {size}")]
    PayloadOutside {
        /// First byte of the payload.
        start: u64,
        /// One past the last byte of the payload.
        end: u64,
        /// Length of the file.
        size: u64,
    },
    /// No known compression starts with these bytes.
    #[error("the kernel's payload is packed in an unknown way (it starts with {magic}); known are gzip, bzip2, xz, lzma, lzo, lz4, zstd and none")]
    UnknownCompression {
        /// The first bytes in hexadecimal.
        magic: String,
    },
    /// A bare compressed file of a kind that states no length.
    #[error("the file is a {0} archive; of packed ELF files only gzip is taken, so unpack it first or name the bzImage")]
    BareArchive(Compression),
    /// The payload does not unpack to what it declares.
    #[error("cannot unpack the kernel's {compression} payload: {reason}; the file is damaged or cut short")]
    Unpack {
        /// How the payload is packed.
        compression: Compression,
        /// What the unpacker met.
        reason: String,
    },
    /// The file unpacks, but not to what was packed.
    #[error("the bzImage is damaged: its checksum does not fit what it holds; install the kernel's package again or fetch the file again")]
    Checksum,
    /// The declared size is absurd.
    #[error("the kernel's {compression} payload claims to unpack to {size} bytes, more than {limit} can be true of it; the file is damaged")]
    ClaimsTooMuch {
        /// How the payload is packed.
        compression: Compression,
        /// Size that the file declares, bytes.
        size: u64,
        /// Largest credible size, bytes.
        limit: u64,
    },
    /// The ELF structure is unusable.
    #[error("bad ELF file: {0}")]
    Elf(String),
    /// An ELF for another machine or of another kind.
    #[error("the ELF file is {0}; a PV kernel is an executable for x86-64 or i386")]
    WrongMachine(String),
    /// An ELF without any Xen note.
    #[error("the kernel has no Xen notes: it cannot run as a PV guest; boot it as an HVM guest (builder='hvm') or use a kernel with Xen PV support")]
    NoXenNotes,
    /// Only the PVH entry is there.
    #[error("the kernel offers only a PVH entry (PHYS32_ENTRY), none for PV; boot it as an HVM or PVH guest or use a kernel with CONFIG_XEN_PV")]
    PvhOnly,
    /// No PVH entry is there.
    #[error("the kernel has no PVH entry (note PHYS32_ENTRY); boot it as type='pv' or 'hvm', or use a kernel with CONFIG_PVH")]
    NoPvhEntry,
    /// Not made for the xen-3.0 ABI.
    #[error("the kernel's Xen notes ask for ABI \"{0}\"; only \"xen-3.0\" is served")]
    WrongAbi(String),
    /// A loader other than the generic one is required.
    #[error("the kernel's Xen notes ask for loader \"{0}\"; only \"generic\" is served")]
    WrongLoader(String),
    /// A note contradicts the image or itself.
    #[error("the kernel's Xen notes lie: {0}")]
    Note(String),
    /// A required feature that nobody knows.
    #[error("the kernel requires the unknown Xen feature \"{0}\"")]
    UnknownFeature(String),
    /// A required feature that a PV guest never gets.
    #[error("the kernel requires the Xen feature \"{feature}\", {why}")]
    RefusedFeature {
        /// Its name in the notes.
        feature: &'static str,
        /// Why it cannot be had.
        why: &'static str,
    },
    /// The file could not be read.
    #[error("cannot read it: {0}")]
    Read(String),
    /// The file is too large to be a packed kernel.
    #[error("the file has {size} bytes, more than any packed kernel")]
    FileTooLarge {
        /// Its size.
        size: u64,
    },
    /// A 32-bit PV kernel with two-level page tables.
    #[error("this is a 32-bit PV kernel ({0}) without PAE; only PAE kernels (PAE_MODE=yes) can be started, so use a PAE or an amd64 build of it")]
    NoPae(String),
    /// A 32-bit kernel that keeps too much of its address space for itself.
    #[error("the kernel's Xen notes leave the hypervisor only addresses from {start:#x} on (HV_START_LOW); it needs those from {needed:#x} on")]
    HvStart {
        /// HV_START_LOW.
        start: u64,
        /// First address that the hypervisor uses.
        needed: u64,
    },
}

impl KernelError {
    pub(crate) fn unpack(compression: Compression, reason: impl Into<String>) -> Self {
        KernelError::Unpack {
            compression,
            reason: reason.into(),
        }
    }

    pub(crate) fn elf(reason: impl Into<String>) -> Self {
        KernelError::Elf(reason.into())
    }

    pub(crate) fn note(reason: impl Into<String>) -> Self {
        KernelError::Note(reason.into())
    }
}
