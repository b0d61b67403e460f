//! Xen feature flags in their two spellings: names joined by `|` and the bitmap.
//!
//! A name with `!` in front is *required*: a builder that does not know it must refuse the kernel. No loader insists on
//! providing a known one (Linux "requires" writable_page_tables, which Xen never gives a PV domain), apart from the few
//! that [`Features::refuse_for_pv`] names. Source: Xen public header `features.h`; libelf's use of it.

use std::fmt;

use crate::KernelError;

/// A feature by its XENFEAT number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Bit number in submap 0.
    pub bit: u8,
    /// Name in a FEATURES note.
    pub name: &'static str,
}

const fn feature(bit: u8, name: &'static str) -> Feature {
    Feature { bit, name }
}

impl Feature {
    /// The guest does not need shadow or physical addresses of its own: HVM-like memory.
    pub const AUTO_TRANSLATED_PHYSMAP: Feature = feature(2, "auto_translated_physmap");
    /// The kernel runs in ring 0.
    pub const SUPERVISOR_MODE_KERNEL: Feature = feature(3, "supervisor_mode_kernel");
    /// The kernel can be domain 0.
    pub const DOM0: Feature = feature(11, "dom0");

    /// Every feature with a name.
    pub const ALL: [Feature; 16] = [
        feature(0, "writable_page_tables"),
        feature(1, "writable_descriptor_tables"),
        Self::AUTO_TRANSLATED_PHYSMAP,
        Self::SUPERVISOR_MODE_KERNEL,
        feature(4, "pae_pgdir_above_4gb"),
        feature(5, "mmu_pt_update_preserve_ad"),
        feature(6, "highmem_assist"),
        feature(7, "gnttab_map_avail_bits"),
        feature(8, "hvm_callback_vector"),
        feature(9, "hvm_safe_pvclock"),
        feature(10, "hvm_pirqs"),
        Self::DOM0,
        feature(13, "memory_op_vnode_supported"),
        feature(14, "ARM_SMCCC_supported"),
        feature(15, "linux_rsdp_unrestricted"),
        feature(17, "direct_mapped"),
    ];

    fn by_name(name: &str) -> Option<Feature> {
        Self::ALL.into_iter().find(|f| f.name == name)
    }
}

/// What a kernel says about features: bit n is XENFEAT number n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features {
    /// Features that the kernel can work with.
    pub supported: u64,
    /// Features that it says it cannot work without.
    pub required: u64,
}

impl Features {
    /// Adds the names of a FEATURES note or of the legacy FEATURES key.
    ///
    /// # Errors
    /// `UnknownFeature` for an unknown name with `!`; other unknown names are ignored.
    pub(crate) fn add_names(&mut self, names: &str) -> Result<(), KernelError> {
        for name in names.split('|').map(str::trim).filter(|n| !n.is_empty()) {
            let (required, name) = match name.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, name),
            };
            match Feature::by_name(name) {
                Some(f) => {
                    self.supported |= 1 << f.bit;
                    self.required |= u64::from(required) << f.bit;
                }
                None if required => {
                    return Err(KernelError::UnknownFeature(
                        name.chars()
                            .take(64)
                            .collect::<String>()
                            .escape_default()
                            .to_string(),
                    ))
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Whether the kernel can work with the feature.
    pub fn supports(&self, feature: Feature) -> bool {
        self.supported >> feature.bit & 1 == 1
    }

    /// Whether the kernel says that it needs the feature.
    pub fn requires(&self, feature: Feature) -> bool {
        self.required >> feature.bit & 1 == 1
    }

    /// The three requirements that rule an unprivileged PV domain out.
    pub(crate) fn refuse_for_pv(&self) -> Result<(), KernelError> {
        let refused = [
            (Feature::DOM0, "so it runs as domain 0 only"),
            (
                Feature::AUTO_TRANSLATED_PHYSMAP,
                "which PV domains do not have; boot it as an HVM or PVH guest",
            ),
            (
                Feature::SUPERVISOR_MODE_KERNEL,
                "but a PV kernel runs outside ring 0",
            ),
        ];
        match refused.into_iter().find(|(f, _)| self.requires(*f)) {
            Some((f, why)) => Err(KernelError::RefusedFeature {
                feature: f.name,
                why,
            }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Features {
    /// The note's own spelling: names joined by `|`, required ones with `!`, unnamed bits as `bitN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for bit in (0..64).filter(|b| self.supported >> b & 1 == 1) {
            let bang = if self.required >> bit & 1 == 1 {
                "!"
            } else {
                ""
            };
            match Feature::ALL.into_iter().find(|k| u32::from(k.bit) == bit) {
                Some(known) => write!(f, "{separator}{bang}{}", known.name)?,
                None => write!(f, "{separator}{bang}bit{bit}")?,
            }
            separator = "|";
        }
        if separator.is_empty() {
            f.write_str("none")?;
        }
        Ok(())
    }
}
