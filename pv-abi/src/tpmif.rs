//! The virtual TPM's page (`io/tpmif.h`), protocol version 2: one command at a time, data behind the header.

abi_enums! {
    /// `state`.
    pub struct TpmState(u8) {
        /// Nobody waits.
        IDLE = 0, "TPMIF_STATE_IDLE";
        /// The front end has put a command.
        SUBMIT = 1, "TPMIF_STATE_SUBMIT";
        /// The back end has put the response.
        FINISH = 2, "TPMIF_STATE_FINISH";
        /// The front end has given up the command.
        CANCEL = 3, "TPMIF_STATE_CANCEL";
    }
}

abi_consts! {}

abi_structs! {
    /// Start of the page; `nr_extra_pages` grant references of 4 bytes follow, then the data.
    pub struct TpmSharedPage [both] 8 "struct tpmif_shared_page" {
        /// Bytes of the command or response.
        0 length: u32,
        /// A [`TpmState`].
        4 state: u8,
        5 locality: u8,
        6 pad: u8,
        7 nr_extra_pages: u8,
    }
}
