//! An administrator's rules for CPUID (`cpuid`, `cpuid_check`) on the leaves that KVM is given.
//!
//! ```text
//!   check(): host's leaves <-- ones, zeros          a line says which bit the host does not have
//!   judge(): ones of feature registers <-- KVM      a line says which feature KVM cannot give
//!   apply(): leaves of the vCPU --ones, zeros, hosts--> leaves that the guest finds
//! ```
//! A register whose bits are features can have no more than KVM has; in others (names, numbers, sizes) any bit may be set.

use crate::vstate::features;
use kvm_bindings::{kvm_cpuid_entry2, KVM_CPUID_FLAG_SIGNIFCANT_INDEX};
use noxen_control::spec::{CpuidRule, Register};

/// Changes `entries` as `rules` say, in their order; `host` is what KVM supports.
pub fn apply(rules: &[CpuidRule], entries: &mut Vec<kvm_cpuid_entry2>, host: &[kvm_cpuid_entry2]) {
    for rule in rules {
        if !entries.iter().any(|entry| is_of(rule, entry)) {
            entries.push(kvm_cpuid_entry2 {
                function: rule.leaf,
                index: rule.subleaf.unwrap_or(0),
                flags: match rule.subleaf {
                    Some(_) => KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                    None => 0,
                },
                ..Default::default()
            });
        }
        for entry in entries.iter_mut().filter(|entry| is_of(rule, entry)) {
            let hosts = host
                .iter()
                .find(|other| other.function == entry.function && other.index == entry.index)
                .map_or(0, |other| value(other, rule.register));
            let register = match rule.register {
                Register::Eax => &mut entry.eax,
                Register::Ebx => &mut entry.ebx,
                Register::Ecx => &mut entry.ecx,
                Register::Edx => &mut entry.edx,
            };
            *register = *register & !(rule.zeros | rule.hosts) | rule.ones | hosts & rule.hosts;
        }
    }
}

/// Whether KVM can do all that is set; `default` is what a guest has without rules.
pub fn judge(
    rules: &[CpuidRule],
    host: &[kvm_cpuid_entry2],
    default: &[kvm_cpuid_entry2],
) -> Result<(), String> {
    for rule in rules {
        let name = name(rule.register);
        let there = first(rule, host) | first(rule, default);
        let lacking = rule.ones & !there;
        if features::are_features(rule.leaf, rule.subleaf, name) && lacking != 0 {
            return Err(format!(
                "cpuid: leaf {}, {name}, bits {lacking:#x} cannot be 1: KVM on this host has no such features; leave them at x",
                leaf(rule)
            ));
        }
    }
    Ok(())
}

/// Whether the host has and lacks what `rules` say.
pub fn check(rules: &[CpuidRule], host: &[kvm_cpuid_entry2]) -> Result<(), String> {
    for rule in rules {
        let here = first(rule, host);
        for (wrong, wanted) in [(rule.ones & !here, 1), (rule.zeros & here, 0)] {
            if wrong != 0 {
                return Err(format!(
                    "cpuid_check: leaf {}, {}, bits {wrong:#x} must be {wanted}, and KVM on this host has {}; start the domain on another host or change cpuid_check",
                    leaf(rule),
                    name(rule.register),
                    1 - wanted
                ));
            }
        }
    }
    Ok(())
}

fn is_of(rule: &CpuidRule, entry: &kvm_cpuid_entry2) -> bool {
    let indexed = entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0;
    let fits = !indexed || rule.subleaf.is_none_or(|subleaf| subleaf == entry.index);
    entry.function == rule.leaf && fits
}

/// The register of the first entry that the rule is about.
fn first(rule: &CpuidRule, entries: &[kvm_cpuid_entry2]) -> u32 {
    let entry = entries.iter().find(|entry| is_of(rule, entry));
    entry.map_or(0, |entry| value(entry, rule.register))
}

fn value(entry: &kvm_cpuid_entry2, register: Register) -> u32 {
    match register {
        Register::Eax => entry.eax,
        Register::Ebx => entry.ebx,
        Register::Ecx => entry.ecx,
        Register::Edx => entry.edx,
    }
}

fn name(register: Register) -> &'static str {
    match register {
        Register::Eax => "eax",
        Register::Ebx => "ebx",
        Register::Ecx => "ecx",
        Register::Edx => "edx",
    }
}

fn leaf(rule: &CpuidRule) -> String {
    match rule.subleaf {
        Some(subleaf) => format!("{:#x}.{subleaf}", rule.leaf),
        None => format!("{:#x}", rule.leaf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: u32, index: Option<u32>, ecx: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 {
            function,
            index: index.unwrap_or(0),
            flags: index.map_or(0, |_| KVM_CPUID_FLAG_SIGNIFCANT_INDEX),
            ecx,
            ..Default::default()
        }
    }

    fn rule(leaf: u32, subleaf: Option<u32>, [ones, zeros, hosts]: [u32; 3]) -> CpuidRule {
        CpuidRule {
            leaf,
            subleaf,
            register: Register::Ecx,
            ones,
            zeros,
            hosts,
        }
    }

    #[test]
    fn bits_are_set_cleared_and_taken_from_the_host() {
        let host = [entry(1, None, 0b1100)];
        let mut entries = vec![entry(1, None, 0b0011)];
        apply(&[rule(1, None, [0x10, 1, 0b0110])], &mut entries, &host);
        assert_eq!(entries[0].ecx, 0b1_0100);
        // Later rules have the last word.
        apply(
            &[rule(1, None, [0, u32::MAX, 0]), rule(1, None, [4, 0, 0])],
            &mut entries,
            &host,
        );
        assert_eq!(entries[0].ecx, 4);
    }

    #[test]
    fn rule_is_for_its_subleaf_or_for_all_and_makes_a_leaf_that_is_not_there() {
        let mut entries = vec![entry(4, Some(0), 0), entry(4, Some(1), 0)];
        apply(&[rule(4, Some(1), [1, 0, 0])], &mut entries, &[]);
        assert_eq!((entries[0].ecx, entries[1].ecx), (0, 1));
        apply(&[rule(4, None, [2, 0, 0])], &mut entries, &[]);
        assert_eq!((entries[0].ecx, entries[1].ecx), (2, 3));
        apply(&[rule(0x8000_00ff, None, [8, 0, 0])], &mut entries, &[]);
        assert_eq!((entries[2].function, entries[2].ecx), (0x8000_00ff, 8));
    }

    #[test]
    fn feature_that_kvm_lacks_is_refused_and_another_bit_is_not() {
        let host = [entry(1, None, 0b1)];
        let default = [entry(1, None, 0b10)];
        assert_eq!(
            judge(&[rule(1, None, [0b11, 0, 0])], &host, &default),
            Ok(())
        );
        let line = judge(&[rule(1, None, [0b111, 0, 0])], &host, &default).unwrap_err();
        assert!(
            line.contains("leaf 0x1, ecx, bits 0x4 cannot be 1"),
            "{line}"
        );
        assert_eq!(
            judge(&[rule(2, None, [u32::MAX, 0, 0])], &host, &default),
            Ok(())
        );
    }

    #[test]
    fn host_is_checked_for_what_it_has_and_lacks() {
        let host = [entry(7, Some(0), 0b10)];
        assert_eq!(check(&[rule(7, Some(0), [0b10, 0b01, 0])], &host), Ok(()));
        let lacks = check(&[rule(7, Some(0), [0b11, 0, 0])], &host).unwrap_err();
        assert!(
            lacks.contains("leaf 0x7.0, ecx, bits 0x1 must be 1"),
            "{lacks}"
        );
        let has = check(&[rule(7, None, [0, 0b10, 0])], &host).unwrap_err();
        assert!(has.contains("bits 0x2 must be 0"), "{has}");
    }
}
