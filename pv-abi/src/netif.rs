//! Network devices: the transmit, receive and control rings (`io/netif.h`). Directions are the guest's.

abi_enums! {
    /// `status` of a response; a positive one on the receive ring is a length.
    pub struct NetifStatus(i16) {
        DROPPED = -2, "NETIF_RSP_DROPPED";
        ERROR = -1, "NETIF_RSP_ERROR";
        OKAY = 0, "NETIF_RSP_OKAY";
        /// No response, for the slot of an extra.
        NULL = 1, "NETIF_RSP_NULL";
    }

    /// `type` of a [`NetifExtraInfo`].
    pub struct NetifExtraType(u8) {
        NONE = 0, "XEN_NETIF_EXTRA_TYPE_NONE";
        GSO = 1, "XEN_NETIF_EXTRA_TYPE_GSO";
        MCAST_ADD = 2, "XEN_NETIF_EXTRA_TYPE_MCAST_ADD";
        MCAST_DEL = 3, "XEN_NETIF_EXTRA_TYPE_MCAST_DEL";
        HASH = 4, "XEN_NETIF_EXTRA_TYPE_HASH";
    }

    /// `gso_type` of a [`NetifExtraGso`].
    pub struct NetifGsoType(u8) {
        NONE = 0, "XEN_NETIF_GSO_TYPE_NONE";
        TCPV4 = 1, "XEN_NETIF_GSO_TYPE_TCPV4";
        TCPV6 = 2, "XEN_NETIF_GSO_TYPE_TCPV6";
    }

    /// `type` of a control request.
    pub struct NetifCtrlType(u16) {
        INVALID = 0, "XEN_NETIF_CTRL_TYPE_INVALID";
        GET_HASH_FLAGS = 1, "XEN_NETIF_CTRL_TYPE_GET_HASH_FLAGS";
        SET_HASH_FLAGS = 2, "XEN_NETIF_CTRL_TYPE_SET_HASH_FLAGS";
        SET_HASH_KEY = 3, "XEN_NETIF_CTRL_TYPE_SET_HASH_KEY";
        GET_HASH_MAPPING_SIZE = 4, "XEN_NETIF_CTRL_TYPE_GET_HASH_MAPPING_SIZE";
        SET_HASH_MAPPING_SIZE = 5, "XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING_SIZE";
        SET_HASH_MAPPING = 6, "XEN_NETIF_CTRL_TYPE_SET_HASH_MAPPING";
        SET_HASH_ALGORITHM = 7, "XEN_NETIF_CTRL_TYPE_SET_HASH_ALGORITHM";
        GET_GREF_MAPPING_SIZE = 8, "XEN_NETIF_CTRL_TYPE_GET_GREF_MAPPING_SIZE";
        ADD_GREF_MAPPING = 9, "XEN_NETIF_CTRL_TYPE_ADD_GREF_MAPPING";
        DEL_GREF_MAPPING = 10, "XEN_NETIF_CTRL_TYPE_DEL_GREF_MAPPING";
    }

    /// `status` of a control response.
    pub struct NetifCtrlStatus(u32) {
        SUCCESS = 0, "XEN_NETIF_CTRL_STATUS_SUCCESS";
        NOT_SUPPORTED = 1, "XEN_NETIF_CTRL_STATUS_NOT_SUPPORTED";
        INVALID_PARAMETER = 2, "XEN_NETIF_CTRL_STATUS_INVALID_PARAMETER";
        BUFFER_OVERFLOW = 3, "XEN_NETIF_CTRL_STATUS_BUFFER_OVERFLOW";
    }
}

abi_consts! {
    /// Slots of one packet which every back end must accept.
    NR_SLOTS_MIN: usize = 18, "XEN_NETIF_NR_SLOTS_MIN";
    /// The largest packet, bytes.
    MAX_TX_SIZE: usize = 0xffff, "XEN_NETIF_MAX_TX_SIZE";
    /// Transmit flags: the checksum field is blank.
    TXF_CSUM_BLANK: u16 = 1 << 0, "NETTXF_csum_blank";
    TXF_DATA_VALIDATED: u16 = 1 << 1, "NETTXF_data_validated";
    /// The packet goes on in the next slot.
    TXF_MORE_DATA: u16 = 1 << 2, "NETTXF_more_data";
    /// The next slot is a [`NetifExtraInfo`].
    TXF_EXTRA_INFO: u16 = 1 << 3, "NETTXF_extra_info";
    /// Receive flags.
    RXF_DATA_VALIDATED: u16 = 1 << 0, "NETRXF_data_validated";
    RXF_CSUM_BLANK: u16 = 1 << 1, "NETRXF_csum_blank";
    RXF_MORE_DATA: u16 = 1 << 2, "NETRXF_more_data";
    RXF_EXTRA_INFO: u16 = 1 << 3, "NETRXF_extra_info";
    RXF_GSO_PREFIX: u16 = 1 << 4, "NETRXF_gso_prefix";
    /// Extra flags: one more extra follows.
    EXTRA_FLAG_MORE: u8 = 1, "XEN_NETIF_EXTRA_FLAG_MORE";
    EXTRA_TYPE_MAX: u8 = 5, "XEN_NETIF_EXTRA_TYPE_MAX";
    CTRL_HASH_TYPE_IPV4: u32 = 1 << 0, "XEN_NETIF_CTRL_HASH_TYPE_IPV4";
    CTRL_HASH_TYPE_IPV4_TCP: u32 = 1 << 1, "XEN_NETIF_CTRL_HASH_TYPE_IPV4_TCP";
    CTRL_HASH_TYPE_IPV6: u32 = 1 << 2, "XEN_NETIF_CTRL_HASH_TYPE_IPV6";
    CTRL_HASH_TYPE_IPV6_TCP: u32 = 1 << 3, "XEN_NETIF_CTRL_HASH_TYPE_IPV6_TCP";
    CTRL_HASH_ALGORITHM_NONE: u32 = 0, "XEN_NETIF_CTRL_HASH_ALGORITHM_NONE";
    CTRL_HASH_ALGORITHM_TOEPLITZ: u32 = 1, "XEN_NETIF_CTRL_HASH_ALGORITHM_TOEPLITZ";
    CTRLF_GREF_READONLY: u16 = 1, "XEN_NETIF_CTRLF_GREF_readonly";
    /// Bytes of an entry on the transmit ring.
    TX_RING_ENTRY_SIZE: usize = 12, "sizeof(union netif_tx_sring_entry)";
    /// Bytes of an entry on the receive ring.
    RX_RING_ENTRY_SIZE: usize = 8, "sizeof(union netif_rx_sring_entry)";
    /// Bytes of an entry on the control ring.
    CTRL_RING_ENTRY_SIZE: usize = 16, "sizeof(union xen_netif_ctrl_sring_entry)";
}

abi_structs! {
    /// A packet, or a part of one, to send.
    pub struct NetifTxRequest [both] 12 "struct netif_tx_request" {
        0 gref: u32,
        /// Bytes into the page.
        4 offset: u16,
        6 flags: u16,
        8 id: u16,
        /// In the first slot: bytes of the whole packet; in later ones: of this part.
        10 size: u16,
    }

    /// Answer to a transmit request.
    pub struct NetifTxResponse [both] 4 "struct netif_tx_response" {
        0 id: u16,
        /// A [`NetifStatus`].
        2 status: i16,
    }

    /// A page to receive into.
    pub struct NetifRxRequest [both] 8 "struct netif_rx_request" {
        0 id: u16,
        2 pad: u16,
        4 gref: u32,
    }

    /// A received packet, or a part of one.
    pub struct NetifRxResponse [both] 8 "struct netif_rx_response" {
        0 id: u16,
        2 offset: u16,
        4 flags: u16,
        /// A negative [`NetifStatus`], or bytes.
        6 status: i16,
    }

    /// An extra of any type.
    pub struct NetifExtraInfo [both] 8 "struct netif_extra_info" {
        /// A [`NetifExtraType`].
        0 kind: u8 = "type",
        1 flags: u8,
        2 value: [u16; 3] = "u.pad",
    }

    /// An extra of [`NetifExtraType::GSO`].
    pub struct NetifExtraGso [both] 8 "struct netif_extra_info" {
        0 kind: u8 = "type",
        1 flags: u8,
        /// Bytes of each segment.
        2 size: u16 = "u.gso.size",
        /// A [`NetifGsoType`].
        4 gso_type: u8 = "u.gso.type",
        5 pad: u8 = "u.gso.pad",
        6 features: u16 = "u.gso.features",
    }

    /// An extra of [`NetifExtraType::MCAST_ADD`] or [`NetifExtraType::MCAST_DEL`].
    pub struct NetifExtraMcast [both] 8 "struct netif_extra_info" {
        0 kind: u8 = "type",
        1 flags: u8,
        2 addr: [u8; 6] = "u.mcast.addr",
    }

    /// An extra of [`NetifExtraType::HASH`].
    pub struct NetifExtraHash [both] 8 "struct netif_extra_info" {
        0 kind: u8 = "type",
        1 flags: u8,
        2 hash_type: u8 = "u.hash.type",
        3 algorithm: u8 = "u.hash.algorithm",
        4 value: [u8; 4] = "u.hash.value",
    }

    /// A control request.
    pub struct NetifCtrlRequest [both] 16 "struct xen_netif_ctrl_request" {
        0 id: u16,
        /// A [`NetifCtrlType`].
        2 kind: u16 = "type",
        4 data: [u32; 3],
    }

    /// A control response.
    pub struct NetifCtrlResponse [both] 12 "struct xen_netif_ctrl_response" {
        0 id: u16,
        2 kind: u16 = "type",
        /// A [`NetifCtrlStatus`].
        4 status: u32,
        8 data: u32,
    }

    /// Element of the grant lists in control requests.
    pub struct NetifGref [both] 8 "struct xen_netif_gref" {
        0 grant_ref: u32 = "ref",
        4 flags: u16,
        6 status: u16,
    }
}
