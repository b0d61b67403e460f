//! The paravirtual framebuffer (`io/fbif.h`). One page holds the header and two rings of 40-byte events; "in"
//! is towards the guest.

abi_enums! {
    /// `type` of an event from the guest.
    pub struct FbOutType(u8) {
        UPDATE = 2, "XENFB_TYPE_UPDATE";
        RESIZE = 3, "XENFB_TYPE_RESIZE";
    }

    /// `type` of an event to the guest.
    pub struct FbInType(u8) {
        REFRESH_PERIOD = 1, "XENFB_TYPE_REFRESH_PERIOD";
    }
}

abi_consts! {
    OUT_EVENT_SIZE: usize = 40, "XENFB_OUT_EVENT_SIZE";
    IN_EVENT_SIZE: usize = 40, "XENFB_IN_EVENT_SIZE";
    /// Bytes from the start of the page.
    IN_RING_OFFS: usize = 1024, "XENFB_IN_RING_OFFS";
    IN_RING_SIZE: usize = 1024, "XENFB_IN_RING_SIZE";
    /// Events; not a power of two, indices are taken modulo this.
    IN_RING_LEN: u32 = 25, "XENFB_IN_RING_LEN";
    OUT_RING_OFFS: usize = 2048, "XENFB_OUT_RING_OFFS";
    OUT_RING_SIZE: usize = 2048, "XENFB_OUT_RING_SIZE";
    /// Events; not a power of two, indices are taken modulo this.
    OUT_RING_LEN: u32 = 51, "XENFB_OUT_RING_LEN";
    /// `period` of [`FbRefreshPeriod`]: the screen is not shown.
    NO_REFRESH: u32 = 0, "XENFB_NO_REFRESH";
}

abi_structs! {
    /// A rectangle has changed.
    pub struct FbUpdate [both] 20 "struct xenfb_update" {
        0 kind: u8 = "type",
        1 _pad: [u8; 3] = _,
        4 x: i32,
        8 y: i32,
        12 width: i32,
        16 height: i32,
    }

    /// The framebuffer has a new geometry.
    pub struct FbResize [both] 24 "struct xenfb_resize" {
        0 kind: u8 = "type",
        1 _pad: [u8; 3] = _,
        4 width: i32,
        8 height: i32,
        /// Bytes per line.
        12 stride: i32,
        /// Bits per pixel.
        16 depth: i32,
        /// Bytes into the framebuffer.
        20 offset: i32,
    }

    /// How often the back end looks.
    pub struct FbRefreshPeriod [both] 8 "struct xenfb_refresh_period" {
        0 kind: u8 = "type",
        1 _pad: [u8; 3] = _,
        /// ms, or [`NO_REFRESH`].
        4 period: u32,
    }

    /// The page's header.
    pub struct FbPage64 [64] 2088 "struct xenfb_page" {
        0 in_cons: u32,
        4 in_prod: u32,
        8 out_cons: u32,
        12 out_prod: u32,
        16 width: i32,
        20 height: i32,
        24 line_length: u32,
        /// Bytes of the framebuffer.
        28 mem_length: u32,
        32 depth: u8,
        33 _pad: [u8; 7] = _,
        /// Frames of pages of frame numbers of the framebuffer, ended by 0. The rings lie over entries from 123 up.
        40 pd: [u64; 256],
    }

    /// The page's header.
    pub struct FbPage32 [32] 1060 "struct xenfb_page" {
        0 in_cons: u32,
        4 in_prod: u32,
        8 out_cons: u32,
        12 out_prod: u32,
        16 width: i32,
        20 height: i32,
        24 line_length: u32,
        28 mem_length: u32,
        32 depth: u8,
        33 _pad: [u8; 3] = _,
        /// As in [`FbPage64`]; the rings lie over entries from 247 up.
        36 pd: [u32; 256],
    }
}
