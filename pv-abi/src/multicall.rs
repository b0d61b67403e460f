//! `multicall` (13): a batch of hypercalls (`xen.h`).

abi_enums! {}
abi_consts! {}

abi_structs! {
    /// One call of a batch.
    pub struct MulticallEntry64 [64] 64 "struct multicall_entry" {
        /// Hypercall number.
        0 op: u64,
        /// Out.
        8 result: u64,
        16 args: [u64; 6],
    }

    /// One call of a batch.
    pub struct MulticallEntry32 [32] 32 "struct multicall_entry" {
        0 op: u32,
        4 result: u32,
        8 args: [u32; 6],
    }
}
