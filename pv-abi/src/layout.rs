//! The tables which say what this crate believes about Xen's headers.
//!
//! ```text
//!   abi_structs! ---> STRUCTS --+
//!   abi_enums!   ---> ENUMS   --+--> crate::TABLES --> tests/headers.rs --> gcc -m64, gcc -m32
//!   abi_consts!  ---> CONSTS  --+                            compares every size, offset and value
//! ```
//!
//! A declaration cannot leave out its C counterpart: the macros' grammar asks for it. All of this is
//! constant data which nobody but the test refers to, so it costs nothing in a linked image.

/// The C targets in which a declaration means what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// Same layout or value under `-m64` and `-m32`.
    Both,
    /// `-m64` only.
    Bits64,
    /// `-m32` only.
    Bits32,
}

/// Where a constant comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counterpart {
    /// A C expression, valid with Xen's public headers included.
    Header(&'static str),
    /// A macro which later headers than Xen 4.17's define; compared if it is there.
    Newer(&'static str),
    /// No header has it; the text names the source.
    Own(&'static str),
}

/// One field of a structure.
#[derive(Clone, Copy, Debug)]
pub struct FieldLayout {
    /// Name in this crate.
    pub rust: &'static str,
    /// Member designator in C, `None` for padding that C leaves unnamed.
    pub c: Option<&'static str>,
    /// Bytes from the start of the structure.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
}

/// One structure.
#[derive(Clone, Copy, Debug)]
pub struct StructLayout {
    /// Name in this crate.
    pub rust: &'static str,
    /// The C type, as `sizeof` takes it.
    pub c: &'static str,
    /// Targets to compare under.
    pub width: Width,
    /// Bytes.
    pub size: usize,
    /// In order of offset.
    pub fields: &'static [FieldLayout],
    /// Decodes from the first slice and encodes into the second, for tests which go through all structures.
    pub recode: fn(&[u8], &mut [u8]),
}

/// One constant, free-standing or of an open enum.
#[derive(Clone, Copy, Debug)]
pub struct ConstLayout {
    /// Name in this crate.
    pub rust: &'static str,
    /// Where the value comes from.
    pub c: Counterpart,
    /// Targets to compare under.
    pub width: Width,
    /// Width of the constant's type in bits; the comparison is made modulo 2^bits.
    pub bits: u32,
    /// The value, sign-extended to 64 bits.
    pub value: u64,
}

/// One open enum.
#[derive(Clone, Copy, Debug)]
pub struct EnumLayout {
    /// Name in this crate.
    pub rust: &'static str,
    /// Targets to compare under, for all values.
    pub width: Width,
    /// Its known values.
    pub values: &'static [ConstLayout],
}

/// All that one module declares.
#[derive(Clone, Copy, Debug)]
pub struct ModuleLayout {
    /// Module name.
    pub name: &'static str,
    /// Structures.
    pub structs: &'static [StructLayout],
    /// Open enums.
    pub enums: &'static [EnumLayout],
    /// Free-standing constants.
    pub consts: &'static [ConstLayout],
}
