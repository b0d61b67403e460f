//! Xenstore's wire protocol and ring page (`io/xs_wire.h`), device states (`io/xenbus.h`).

abi_enums! {
    /// `type` of a message.
    pub struct XsMessage(u32) {
        /// Formerly `XS_DEBUG`.
        CONTROL = 0, "XS_CONTROL";
        DIRECTORY = 1, "XS_DIRECTORY";
        READ = 2, "XS_READ";
        GET_PERMS = 3, "XS_GET_PERMS";
        WATCH = 4, "XS_WATCH";
        UNWATCH = 5, "XS_UNWATCH";
        TRANSACTION_START = 6, "XS_TRANSACTION_START";
        TRANSACTION_END = 7, "XS_TRANSACTION_END";
        INTRODUCE = 8, "XS_INTRODUCE";
        RELEASE = 9, "XS_RELEASE";
        GET_DOMAIN_PATH = 10, "XS_GET_DOMAIN_PATH";
        WRITE = 11, "XS_WRITE";
        MKDIR = 12, "XS_MKDIR";
        RM = 13, "XS_RM";
        SET_PERMS = 14, "XS_SET_PERMS";
        WATCH_EVENT = 15, "XS_WATCH_EVENT";
        ERROR = 16, "XS_ERROR";
        IS_DOMAIN_INTRODUCED = 17, "XS_IS_DOMAIN_INTRODUCED";
        RESUME = 18, "XS_RESUME";
        SET_TARGET = 19, "XS_SET_TARGET";
        RESET_WATCHES = 21, "XS_RESET_WATCHES";
        DIRECTORY_PART = 22, "XS_DIRECTORY_PART";
        INVALID = 0xffff, "XS_INVALID";
    }

    /// `connection` of [`XenstoreDomainInterface`].
    pub struct XenstoreConnection(u32) {
        CONNECTED = 0, "XENSTORE_CONNECTED";
        RECONNECT = 1, "XENSTORE_RECONNECT";
    }

    /// `error` of [`XenstoreDomainInterface`].
    pub struct XenstoreRingError(u32) {
        NONE = 0, "XENSTORE_ERROR_NONE";
        COMM = 1, "XENSTORE_ERROR_COMM";
        RINGIDX = 2, "XENSTORE_ERROR_RINGIDX";
        PROTO = 3, "XENSTORE_ERROR_PROTO";
    }

    /// `state` node of a device's front and back end.
    pub struct XenbusState(u32) {
        UNKNOWN = 0, "XenbusStateUnknown";
        INITIALISING = 1, "XenbusStateInitialising";
        INIT_WAIT = 2, "XenbusStateInitWait";
        INITIALISED = 3, "XenbusStateInitialised";
        CONNECTED = 4, "XenbusStateConnected";
        CLOSING = 5, "XenbusStateClosing";
        CLOSED = 6, "XenbusStateClosed";
        RECONFIGURING = 7, "XenbusStateReconfiguring";
        RECONFIGURED = 8, "XenbusStateReconfigured";
    }
}

abi_consts! {
    /// One past the highest message type.
    XS_TYPE_COUNT: u32 = 23, "XS_TYPE_COUNT";
    /// The longest payload; a longer one breaks the connection.
    XENSTORE_PAYLOAD_MAX: usize = 4096, "XENSTORE_PAYLOAD_MAX";
    XENSTORE_ABS_PATH_MAX: usize = 3072, "XENSTORE_ABS_PATH_MAX";
    XENSTORE_REL_PATH_MAX: usize = 2048, "XENSTORE_REL_PATH_MAX";
    /// Bytes of each direction's ring.
    XENSTORE_RING_SIZE: usize = 1024, "XENSTORE_RING_SIZE";
    XENSTORE_SERVER_FEATURE_RECONNECTION: u32 = 1, "XENSTORE_SERVER_FEATURE_RECONNECTION";
    XENSTORE_SERVER_FEATURE_ERROR: u32 = 2, "XENSTORE_SERVER_FEATURE_ERROR";
    /// Index of the path in a watch event's strings.
    XS_WATCH_PATH: usize = 0, "XS_WATCH_PATH";
    /// Index of the token in a watch event's strings.
    XS_WATCH_TOKEN: usize = 1, "XS_WATCH_TOKEN";
}

abi_structs! {
    /// Header of every message; `len` bytes of payload follow.
    pub struct XsdSockmsg [both] 16 "struct xsd_sockmsg" {
        /// An [`XsMessage`].
        0 kind: u32 = "type",
        /// Chosen by the client, echoed.
        4 req_id: u32,
        /// Transaction, 0 for none.
        8 tx_id: u32,
        12 len: u32,
    }

    /// The xenstore page.
    pub struct XenstoreDomainInterface [both] 2076 "struct xenstore_domain_interface" {
        /// From the guest.
        0 req: [u8; 1024],
        /// To the guest.
        1024 rsp: [u8; 1024],
        2048 req_cons: u32,
        2052 req_prod: u32,
        2056 rsp_cons: u32,
        2060 rsp_prod: u32,
        /// `XENSTORE_SERVER_FEATURE_` flags.
        2064 server_features: u32,
        /// A [`XenstoreConnection`].
        2068 connection: u32,
        /// A [`XenstoreRingError`].
        2072 error: u32,
    }
}
