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
}

/// Memory from guest-physical 0, one byte after the other.
impl GuestMemory for Vec<u8> {
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), OutsideMemory> {
        let outside = OutsideMemory {
            gpa,
            len: bytes.len(),
        };
        let range = usize::try_from(gpa)
            .ok()
            .and_then(|start| Some(start..start.checked_add(bytes.len())?));
        range
            .and_then(|range| self.get_mut(range))
            .ok_or(outside)?
            .copy_from_slice(bytes);
        Ok(())
    }
}
