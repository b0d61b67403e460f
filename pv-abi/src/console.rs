//! The console ring's page and `console_io` (18) (`io/console.h`, `xen.h`).
//!
//! Indices run freely; the byte of index i is at i modulo the ring's length.

abi_enums! {
    /// Operation of `console_io`: (cmd, count, buffer).
    pub struct ConsoleIoOp(u32) {
        WRITE = 0, "CONSOLEIO_write";
        READ = 1, "CONSOLEIO_read";
    }
}

abi_consts! {
    /// Bytes to the guest.
    CONSOLE_IN_SIZE: usize = 1024, "sizeof(((struct xencons_interface *)0)->in)";
    /// Bytes from the guest.
    CONSOLE_OUT_SIZE: usize = 2048, "sizeof(((struct xencons_interface *)0)->out)";
    /// Debug console of HVM guests.
    HVM_DEBUGCONS_IOPORT: u16 = 0xe9, "XEN_HVM_DEBUGCONS_IOPORT";
}

abi_structs! {
    /// The console page; "in" is towards the guest.
    pub struct ConsoleInterface [both] 3088 "struct xencons_interface" {
        0 input: [u8; 1024] = "in",
        1024 output: [u8; 2048] = "out",
        /// Written by the guest.
        3072 in_cons: u32,
        /// Written by the backend.
        3076 in_prod: u32,
        /// Written by the backend.
        3080 out_cons: u32,
        /// Written by the guest.
        3084 out_prod: u32,
    }
}
