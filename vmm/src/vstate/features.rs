//! CPU features that a guest may have found, and whether this host has them all.
//!
//! ```text
//!   PV table --of()--> Feature list in an image --missing()--> the first that this host lacks
//! ```

use noxen_monitor_abi::CpuidEntry;
use noxen_saved_image::state::Feature;

/// Registers whose bits are features (SDM 2A, APM 3: CPUID).
const REGISTERS: [(u32, u32, &str); 12] = [
    (1, 0, "ecx"),
    (1, 0, "edx"),
    (7, 0, "ebx"),
    (7, 0, "ecx"),
    (7, 0, "edx"),
    (7, 1, "eax"),
    (0xd, 0, "eax"),
    (0xd, 1, "eax"),
    (0x8000_0001, 0, "ecx"),
    (0x8000_0001, 0, "edx"),
    (0x8000_0007, 0, "edx"),
    (0x8000_0008, 0, "ebx"),
];

/// Whether each bit of that register is a feature. A leaf's register without a subleaf is that of subleaf 0.
pub fn are_features(leaf: u32, subleaf: Option<u32>, register: &str) -> bool {
    REGISTERS.contains(&(leaf, subleaf.unwrap_or(0), register))
}

fn bits(table: &[CpuidEntry], leaf: u32, subleaf: u32, register: &str) -> u32 {
    let row = table
        .iter()
        .find(|row| row.leaf == leaf && (row.indexed == 0 || row.subleaf == subleaf));
    row.map_or(0, |row| match register {
        "eax" => row.eax,
        "ebx" => row.ebx,
        "ecx" => row.ecx,
        "edx" => row.edx,
        _ => 0,
    })
}

/// The features in the table that the monitor answers its guest from.
pub fn of(table: &[CpuidEntry]) -> Vec<Feature> {
    let feature = |(leaf, subleaf, register): &(u32, u32, &str)| Feature {
        leaf: *leaf,
        subleaf: *subleaf,
        register: (*register).to_owned(),
        bits: bits(table, *leaf, *subleaf, register),
    };
    REGISTERS.iter().map(feature).collect()
}

/// The first of `saved` that `table` lacks.
pub fn missing(saved: &[Feature], table: &[CpuidEntry]) -> Option<Feature> {
    saved.iter().find_map(|feature| {
        let here = bits(table, feature.leaf, feature.subleaf, &feature.register);
        let bits = feature.bits & !here;
        (bits != 0).then(|| Feature {
            bits,
            ..feature.clone()
        })
    })
}

/// Whether `table` has all of `saved`; the error is the first that it lacks.
pub fn check(saved: &[Feature], table: &[CpuidEntry]) -> Result<(), Feature> {
    missing(saved, table).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(ecx: u32) -> Vec<CpuidEntry> {
        vec![CpuidEntry {
            leaf: 1,
            ecx,
            ..CpuidEntry::default()
        }]
    }

    #[test]
    fn host_with_more_is_taken_and_one_with_less_is_named() {
        let saved = of(&table(0b1010));
        assert_eq!(missing(&saved, &table(0b1110)), None);
        let lacks = missing(&saved, &table(0b0010)).unwrap();
        assert_eq!(
            (lacks.leaf, &*lacks.register, lacks.bits),
            (1, "ecx", 0b1000)
        );
        assert!(missing(&saved, &[]).is_some());
    }
}
