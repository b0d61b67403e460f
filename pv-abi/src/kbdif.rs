//! Paravirtual keyboard and pointer (`io/kbdif.h`). One page holds the header and two rings of 40-byte events;
//! "in" is towards the guest.

abi_enums! {
    /// `type` of an event to the guest.
    pub struct KbdType(u8) {
        MOTION = 1, "XENKBD_TYPE_MOTION";
        RESERVED = 2, "XENKBD_TYPE_RESERVED";
        KEY = 3, "XENKBD_TYPE_KEY";
        POS = 4, "XENKBD_TYPE_POS";
        MTOUCH = 5, "XENKBD_TYPE_MTOUCH";
    }

    /// `event_type` of a multi-touch event.
    pub struct KbdTouchEvent(u8) {
        DOWN = 0, "XENKBD_MT_EV_DOWN";
        UP = 1, "XENKBD_MT_EV_UP";
        MOTION = 2, "XENKBD_MT_EV_MOTION";
        SYN = 3, "XENKBD_MT_EV_SYN";
        SHAPE = 4, "XENKBD_MT_EV_SHAPE";
        ORIENT = 5, "XENKBD_MT_EV_ORIENT";
    }
}

abi_consts! {
    IN_EVENT_SIZE: usize = 40, "XENKBD_IN_EVENT_SIZE";
    OUT_EVENT_SIZE: usize = 40, "XENKBD_OUT_EVENT_SIZE";
    /// Bytes from the start of the page.
    IN_RING_OFFS: usize = 1024, "XENKBD_IN_RING_OFFS";
    IN_RING_SIZE: usize = 2048, "XENKBD_IN_RING_SIZE";
    /// Events; not a power of two, indices are taken modulo this.
    IN_RING_LEN: u32 = 51, "XENKBD_IN_RING_LEN";
    OUT_RING_OFFS: usize = 3072, "XENKBD_OUT_RING_OFFS";
    OUT_RING_SIZE: usize = 1024, "XENKBD_OUT_RING_SIZE";
    OUT_RING_LEN: u32 = 25, "XENKBD_OUT_RING_LEN";
}

abi_structs! {
    /// The pointer moved by.
    pub struct KbdMotion [both] 16 "struct xenkbd_motion" {
        0 kind: u8 = "type",
        1 _pad: [u8; 3] = _,
        4 rel_x: i32,
        8 rel_y: i32,
        /// Wheel.
        12 rel_z: i32,
    }

    /// A key or button.
    pub struct KbdKey [both] 8 "struct xenkbd_key" {
        0 kind: u8 = "type",
        1 pressed: u8,
        2 _pad: [u8; 2] = _,
        /// Linux input-event code.
        4 keycode: u32,
    }

    /// The pointer moved to.
    pub struct KbdPosition [both] 16 "struct xenkbd_position" {
        0 kind: u8 = "type",
        1 _pad: [u8; 3] = _,
        4 abs_x: i32,
        8 abs_y: i32,
        /// Wheel.
        12 rel_z: i32,
    }

    /// A finger. The last two fields are a union in C.
    pub struct KbdMtouch [both] 16 "struct xenkbd_mtouch" {
        0 kind: u8 = "type",
        /// A [`KbdTouchEvent`].
        1 event_type: u8,
        2 contact_id: u8,
        3 reserved: [u8; 5],
        /// Position, or major axis; an orientation is in the low 2 bytes.
        8 x: i32 = "u.pos.abs_x",
        /// Position, or minor axis.
        12 y: i32 = "u.pos.abs_y",
    }

    /// The page's header.
    pub struct KbdPage [both] 16 "struct xenkbd_page" {
        0 in_cons: u32,
        4 in_prod: u32,
        8 out_cons: u32,
        12 out_prod: u32,
    }
}
