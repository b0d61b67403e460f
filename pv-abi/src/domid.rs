//! Domain numbers with a meaning (`xen.h`).

abi_enums! {
    /// A domain number.
    pub struct DomId(u16) {
        /// The caller itself.
        SELF = 0x7ff0, "DOMID_SELF";
        /// Owner of I/O frames.
        IO = 0x7ff1, "DOMID_IO";
        /// Owner of the hypervisor's frames.
        XEN = 0x7ff2, "DOMID_XEN";
        COW = 0x7ff3, "DOMID_COW";
        INVALID = 0x7ff4, "DOMID_INVALID";
        IDLE = 0x7fff, "DOMID_IDLE";
    }
}

abi_consts! {
    /// The first number that no domain can have.
    DOMID_FIRST_RESERVED: u16 = 0x7ff0, "DOMID_FIRST_RESERVED";
    DOMID_MASK: u16 = 0x7fff, "DOMID_MASK";
}

abi_structs! {}

impl DomId {
    /// Whether a domain can have this number.
    #[inline]
    #[must_use]
    pub const fn is_domain(self) -> bool {
        self.0 < DOMID_FIRST_RESERVED
    }
}
