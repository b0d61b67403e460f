//! What the builder needs of guest memory.

/// A guest-physical range without memory behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("guest memory has no bytes {gpa:#x}..{:#x}", .gpa.saturating_add(*.len as u64))]
pub struct OutsideMemory {
    /// First guest-physical address.
    pub gpa: u64,
    /// Length in bytes.
    pub len: usize,
}

/// Guest memory by guest-physical address, before any vCPU runs. It must read as zero at first.
pub trait GuestMemory {
    /// Copies bytes in.
    ///
    /// # Errors
    /// [`OutsideMemory`] if any byte has no memory; what was written before is unspecified.
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), OutsideMemory>;

    /// The memory itself, so that a ramdisk is read straight into it. `None` where the memory is not one piece or
    /// cannot be lent; the builder then reads into a buffer and calls [`GuestMemory::write`].
    fn slice_mut(&mut self, gpa: u64, len: usize) -> Option<&mut [u8]> {
        let _ = (gpa, len);
        None
    }
}

/// Memory from guest-physical 0, one byte after the other.
impl GuestMemory for Vec<u8> {
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
        let outside = OutsideMemory {
            gpa,
            len: bytes.len(),
        };
        self.slice_mut(gpa, bytes.len())
            .ok_or(outside)?
            .copy_from_slice(bytes);
        Ok(())
    }

    fn slice_mut(&mut self, gpa: u64, len: usize) -> Option<&mut [u8]> {
        let start = usize::try_from(gpa).ok()?;
        self.get_mut(start..start.checked_add(len)?)
    }
}
