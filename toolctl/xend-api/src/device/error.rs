//! What can be wrong with the text of a device; the words are xm's where it had some.

/// A device that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Not of the form `UNAME,DEV,MODE[,BACKEND[,PROTOCOL]]`.
    #[error("Invalid disk specifier: {0}")]
    Disk(String),
    /// Neither `r`, `w` nor `w!`.
    #[error("Invalid mode '{mode}' in disk {disk}; it is r, w or w!")]
    Mode {
        /// What was found.
        mode: String,
        /// The whole text.
        disk: String,
    },
    /// Not a protocol of a front end.
    #[error("Invalid protocol '{protocol}' in disk {disk}; it is x86_32-abi or x86_64-abi")]
    Protocol {
        /// What was found.
        protocol: String,
        /// The whole text.
        disk: String,
    },
    /// No number follows from the name.
    #[error("Unable to find number for device ({0})")]
    Number(String),
    /// The word before the colon means nothing.
    #[error("Block device type \"{0}\" is invalid.")]
    Type(String),
    /// Nothing after the colon.
    #[error("Block device must have physical details specified")]
    NoDetails,
    /// The word after `tap:` means nothing.
    #[error("tap:{0} not a valid disk type")]
    TapDriver(String),
    /// Unknown key.
    #[error("Invalid vif option: {0}")]
    VifOption(String),
    /// Unknown key.
    #[error("configuration option {0} unknown to vfbs")]
    VfbOption(String),
    /// Not a display.
    #[error("vncdisplay={0}: from 0 to {1} are possible")]
    Display(String, u16),
    /// Not that much memory.
    #[error("videoram={0} of a vfb: from 1 to {1} MiB are possible")]
    Videoram(String, u32),
    /// No `=`.
    #[error("'{0}' should be a pair, separated by an equals sign.")]
    Pair(String),
    /// Not six bytes, or a group address.
    #[error("Cannot create a new virtual network interface - MAC address is not valid! ({0})")]
    Mac(String),
    /// An interface of the host cannot be called so.
    #[error("Invalid vifname '{0}': the name of an interface has 1 to 15 characters, without blanks, '/' and ':'")]
    VifName(String),
    /// A byte that no store value may have.
    #[error("Invalid device: {0} holds a control character")]
    Control(&'static str),
}
