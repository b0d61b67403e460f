//! The three macros in which the whole ABI is written. Each is used once per module, so that the table it
//! leaves behind (`STRUCTS`, `ENUMS`, `CONSTS`) cannot miss a declaration.

/// Declares structures.
///
/// ```text
/// abi_structs! {
///     /// What it is.
///     pub struct Name64 [64] SIZE "c type" {
///         /// What the field is.
///         OFFSET field: type,                 // the C member has the same name
///         OFFSET field: type = "c.member",    // it has another
///         OFFSET _pad: [u8; 4] = _,           // C leaves it unnamed
///     }
/// }
/// ```
///
/// The bracket names the C targets: `[64]`, `[32]`, `[both]`, or `[packed]` for a layout which is packed in both.
/// `[32]` and `[packed]` lower alignment to 4 bytes, the largest of the i386 ABI. Every byte must belong to a field. Offset, size and absence of holes are checked at
/// compile time, agreement with Xen's headers by `tests/headers.rs`.
macro_rules! abi_structs {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident [$width:tt] $size:literal $c:literal {
            $( $(#[$fmeta:meta])* $offset:literal $field:ident : $ty:ty $(= $fc:tt)? ),* $(,)?
        }
    )*) => {
        $(
            abi_structs! {
                @define $width
                #[doc = concat!("Xen's `", $c, "`, ", stringify!($size), " bytes.\n")]
                $(#[$meta])*
                $name { $( $(#[$fmeta])* $offset $field : $ty ),* }
            }

            const _: () = {
                assert!(core::mem::size_of::<$name>() == $size, "size");
                assert!(0 $( + <$ty as $crate::codec::AbiValue>::SIZE )* == $size, "hole between fields");
                $( assert!(core::mem::offset_of!($name, $field) == $offset, concat!("offset of ", stringify!($field))); )*
            };

            impl $name {
                /// Bytes.
                pub const SIZE: usize = $size;
                /// All bytes zero.
                pub const ZERO: Self = Self { $( $field: <$ty as $crate::codec::AbiValue>::ZERO ),* };
                /// What `tests/headers.rs` compares with the C headers.
                pub const LAYOUT: $crate::layout::StructLayout = $crate::layout::StructLayout {
                    rust: stringify!($name),
                    c: $c,
                    width: abi_structs!(@width $width),
                    size: $size,
                    fields: &[ $( $crate::layout::FieldLayout {
                        rust: stringify!($field),
                        c: abi_structs!(@member $field $($fc)?),
                        offset: $offset,
                        size: <$ty as $crate::codec::AbiValue>::SIZE,
                    } ),* ],
                    recode: |from, to| {
                        let value = <$name as $crate::codec::AbiValue>::decode(from);
                        $crate::codec::AbiValue::encode(&value, to);
                    },
                };

                /// Decodes the bytes a guest sees.
                #[inline]
                #[must_use]
                pub fn from_bytes(bytes: &[u8; $size]) -> Self {
                    <Self as $crate::codec::AbiValue>::decode(bytes)
                }

                /// Encodes to the bytes a guest sees.
                #[inline]
                #[must_use]
                pub fn to_bytes(&self) -> [u8; $size] {
                    let mut bytes = [0; $size];
                    $crate::codec::AbiValue::encode(self, &mut bytes);
                    bytes
                }
            }

            impl Default for $name {
                #[inline]
                fn default() -> Self {
                    Self::ZERO
                }
            }

            impl $crate::codec::AbiValue for $name {
                const SIZE: usize = $size;
                const ZERO: Self = <$name>::ZERO;

                #[inline]
                fn decode(bytes: &[u8]) -> Self {
                    Self { $(
                        $field: <$ty as $crate::codec::AbiValue>::decode(bytes.get($offset..).unwrap_or(&[])),
                    )* }
                }

                #[inline]
                fn encode(&self, bytes: &mut [u8]) {
                    $(
                        // A copy, because a field of a packed structure cannot be borrowed.
                        let value: $ty = self.$field;
                        if let Some(tail) = bytes.get_mut($offset..) {
                            $crate::codec::AbiValue::encode(&value, tail);
                        }
                    )*
                }
            }
        )*

        /// Every structure of this module.
        pub const STRUCTS: &[$crate::layout::StructLayout] = &[ $( $name::LAYOUT ),* ];
    };

    (@define 32 $(#[$meta:meta])* $name:ident { $( $(#[$fmeta:meta])* $offset:literal $field:ident : $ty:ty ),* }) => {
        $(#[$meta])*
        #[repr(C, packed(4))]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $name { $(
            #[doc = concat!("Offset ", stringify!($offset), ".\n")]
            $(#[$fmeta])*
            pub $field: $ty,
        )* }
    };
    (@define packed $($rest:tt)*) => { abi_structs! { @define 32 $($rest)* } };
    (@define $width:tt $(#[$meta:meta])* $name:ident { $( $(#[$fmeta:meta])* $offset:literal $field:ident : $ty:ty ),* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $name { $(
            #[doc = concat!("Offset ", stringify!($offset), ".\n")]
            $(#[$fmeta])*
            pub $field: $ty,
        )* }
    };

    (@width 64) => { $crate::layout::Width::Bits64 };
    (@width 32) => { $crate::layout::Width::Bits32 };
    (@width both) => { $crate::layout::Width::Both };
    (@width packed) => { $crate::layout::Width::Both };

    (@member $field:ident) => { Some(stringify!($field)) };
    (@member $field:ident _) => { None };
    (@member $field:ident $c:literal) => { Some($c) };
}

/// Declares open enums: newtypes for numbers that a guest supplies, which hold unknown values as well.
///
/// ```text
/// abi_enums! {
///     /// What it is.
///     pub struct Op(u32) {                    // or (u32) [64]: the names exist under -m64 only
///         NAME = 0, "C_NAME";
///         NAME = 1, newer "C_NAME";           // in later headers than Xen 4.17's
///         NAME = 2, own "EXTERNAL_NAME";      // in no header
///     }
/// }
/// ```
macro_rules! abi_enums {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident ($raw:ty) $([$width:tt])? {
            $( $(#[$vmeta:meta])* $value_name:ident = $value:literal, $($origin:ident)? $c:literal; )*
        }
    )*) => {
        $(
            $(#[$meta])*
            #[repr(transparent)]
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub struct $name(
                /// The number as the guest gave it.
                pub $raw,
            );

            impl $name {
                $(
                    #[doc = concat!("`", $c, "`.\n")]
                    $(#[$vmeta])*
                    pub const $value_name: Self = Self($value);
                )*

                /// What `tests/headers.rs` compares with the C headers.
                pub const LAYOUT: $crate::layout::EnumLayout = $crate::layout::EnumLayout {
                    rust: stringify!($name),
                    width: abi_consts!(@width $($width)?),
                    values: &[ $( $crate::layout::ConstLayout {
                        rust: stringify!($value_name),
                        c: abi_consts!(@origin $c $($origin)?),
                        width: $crate::layout::Width::Both,
                        bits: <$raw>::BITS,
                        value: ($value as $raw) as i64 as u64,
                    } ),* ],
                };

                /// Xen's name of a known value.
                #[must_use]
                pub const fn name(self) -> Option<&'static str> {
                    match self.0 {
                        $( $value => Some($c), )*
                        _ => None,
                    }
                }
            }

            impl From<$raw> for $name {
                #[inline]
                fn from(raw: $raw) -> Self {
                    Self(raw)
                }
            }

            impl core::fmt::Debug for $name {
                fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                    match self.name() {
                        Some(name) => f.write_str(name),
                        None => write!(f, concat!(stringify!($name), "({})"), self.0),
                    }
                }
            }

            impl core::fmt::Display for $name {
                fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                    core::fmt::Debug::fmt(self, f)
                }
            }
        )*

        /// Every open enum of this module.
        pub const ENUMS: &[$crate::layout::EnumLayout] = &[ $( $name::LAYOUT ),* ];
    };
}

/// Declares free-standing constants: flags, limits, addresses.
///
/// ```text
/// abi_consts! {
///     /// What it is.
///     NAME: u32 = 1, "C_EXPRESSION";
///     NAME [64]: u64 = 1, "C_EXPRESSION";     // -m64 only; [32] likewise
///     NAME: u32 = 1, newer "C_NAME";          // in later headers than Xen 4.17's
///     NAME: u32 = 1, own "where it is from";  // in no header
/// }
/// ```
macro_rules! abi_consts {
    (@origin $c:literal) => { $crate::layout::Counterpart::Header($c) };
    (@origin $c:literal newer) => { $crate::layout::Counterpart::Newer($c) };
    (@origin $c:literal own) => { $crate::layout::Counterpart::Own($c) };

    (@width) => { $crate::layout::Width::Both };
    (@width 64) => { $crate::layout::Width::Bits64 };
    (@width 32) => { $crate::layout::Width::Bits32 };

    ($( $(#[$meta:meta])* $name:ident $([$width:tt])? : $ty:ty = $value:expr, $($origin:ident)? $c:literal; )*) => {
        $(
            #[doc = concat!("`", $c, "`.\n")]
            $(#[$meta])*
            pub const $name: $ty = $value;
        )*

        /// Every free-standing constant of this module.
        pub const CONSTS: &[$crate::layout::ConstLayout] = &[ $( $crate::layout::ConstLayout {
            rust: stringify!($name),
            c: abi_consts!(@origin $c $($origin)?),
            width: abi_consts!(@width $($width)?),
            bits: <$ty>::BITS,
            value: $name as i64 as u64,
        } ),* ];
    };
}
