//! Classes that are records and little else: devices of domains, parts of the host.
//!
//! ```text
//!   CLASS.get_all | get_all_records | get_by_name_label     over all()
//!   CLASS.get_by_uuid | get_uuid | get_record | get_ATTR    over the one of that reference
//!   CLASS.create | destroy ..                               devices
//! ```
//! A reference is made of what the object is (its class, its domain, its number), so it stays the same over restarts of xend without being
//! kept anywhere.

use super::failure::Failure;
use super::{devices, hardware, policy, record, told, Call, Record};
use dxr::Value;
use std::collections::BTreeMap;

/// Objects by reference.
pub type Objects = BTreeMap<String, Record>;

/// All objects of a class.
type All = fn(&Call<'_>) -> Result<Objects, Failure>;

/// Classes and where their objects come from. Those without any are known, so that a client that asks for them goes on.
const CLASSES: &[(&str, All)] = &[
    ("VBD", devices::vbds),
    ("VBD_metrics", devices::vbd_metrics),
    ("VIF", devices::vifs),
    ("VIF_metrics", devices::vif_metrics),
    ("VDI", devices::vdis),
    ("console", devices::consoles),
    ("host_cpu", hardware::cpus),
    ("host_metrics", hardware::metrics),
    ("network", hardware::networks),
    ("PIF", hardware::pifs),
    ("PIF_metrics", hardware::pif_metrics),
    ("SR", hardware::repositories),
    ("PBD", hardware::attachments),
    ("VM_guest_metrics", none),
    ("VTPM", none),
    ("PPCI", none),
    ("DPCI", none),
    ("PSCSI", none),
    ("DSCSI", none),
    ("crashdump", none),
    ("XSPolicy", none),
    ("ACMPolicy", none),
    ("debug", none),
    ("cpu_pool", hardware::pools),
    ("PSCSI_HBA", none),
    ("DSCSI_HBA", none),
];

/// Methods of the interface that nothing is behind, and why.
const NOT_BUILT: &[(&str, &str)] = &[
    ("network.create", BRIDGES),
    ("network.destroy", BRIDGES),
    ("PIF.create_VLAN", BRIDGES),
    ("PIF.destroy", BRIDGES),
    ("PIF.plug", BRIDGES),
    ("PIF.unplug", BRIDGES),
    ("PBD.create", REPOSITORY),
    ("PBD.destroy", REPOSITORY),
    ("VTPM.create", PASSED_ON),
    ("VTPM.destroy", PASSED_ON),
    ("DPCI.create", PASSED_ON),
    ("DPCI.destroy", PASSED_ON),
    ("DSCSI.create", PASSED_ON),
    ("DSCSI.destroy", PASSED_ON),
    ("DSCSI_HBA.create", PASSED_ON),
    ("DSCSI_HBA.destroy", PASSED_ON),
    ("cpu_pool.create", POOL),
    ("cpu_pool.destroy", POOL),
    ("cpu_pool.activate", POOL),
    ("cpu_pool.deactivate", POOL),
    ("cpu_pool.add_host_CPU_live", POOL),
    ("cpu_pool.remove_host_CPU_live", POOL),
    ("XSPolicy.set_xspolicy", POLICY),
    ("XSPolicy.reset_xspolicy", POLICY),
    ("XSPolicy.activate_xspolicy", POLICY),
    ("XSPolicy.rm_xsbootpolicy", POLICY),
    ("XSPolicy.set_resource_label", POLICY),
    ("XSPolicy.can_run", POLICY),
    ("ACMPolicy.get_enforced_binary", POLICY),
    ("ACMPolicy.get_VM_ssidref", POLICY),
    ("debug.wait", TRIAL),
    ("debug.return_failure", TRIAL),
    ("debug.create", TRIAL),
    ("debug.destroy", TRIAL),
];
const REPOSITORY: &str =
    "there is one repository, the host's own files and volumes, and it is always attached";
const PASSED_ON: &str = "no such device is passed on to domains; VBD.create gives a domain a disk, VIF.create an interface";
const POOL: &str =
    "all CPUs of the host are one pool, Pool-0; VCPUs_params (cpumapN, weight, cap) divide them";
const POLICY: &str = "there is no access control between domains; keep domains that must not meet on hosts of their own";
const TRIAL: &str = "the class was there to try xend's own server out";
const BRIDGES: &str = "bridges and interfaces are made with the host's own tools, such as ip link; networks are the bridges that there are";

fn none(_: &Call) -> Result<Objects, Failure> {
    Ok(Objects::new())
}

/// A record that knows its reference.
pub fn add<const N: usize>(into: &mut Objects, reference: String, attributes: [(&str, Value); N]) {
    let mut record = record::of(attributes);
    record.insert("uuid".into(), record::text(&reference));
    into.insert(reference, record);
}

/// The reference of the object that `parts` name: their FNV-1a hash of 128 bits, written as a UUID.
pub fn reference(parts: &[&str]) -> String {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut hash = BASIS;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
    }
    let hex = format!("{hash:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

/// A list of references.
pub fn references<'a>(all: impl IntoIterator<Item = &'a String>) -> Value {
    Value::Array(all.into_iter().map(record::text).collect())
}

/// `CLASS.METHOD`; None when there is no such class.
pub fn method(class: &str, method: &str, call: &mut Call) -> Option<Result<Value, Failure>> {
    let (class, all) = CLASSES.iter().find(|(name, _)| *name == class)?;
    if *class == "XSPolicy" {
        if let Some(answer) = policy::method(method, call) {
            return Some(answer);
        }
    }
    Some(of_class(class, all, method, call))
}

/// The methods that every class of records has; `all` gives its objects.
pub fn of_class(
    class: &'static str,
    all: &dyn Fn(&Call) -> Result<Objects, Failure>,
    method: &str,
    call: &mut Call,
) -> Result<Value, Failure> {
    if let Some((_, why)) = NOT_BUILT.iter().find(|(name, _)| *name == call.name) {
        return Err(Failure::NotImplemented(call.name.to_owned(), why));
    }
    match method {
        "get_all" => {
            call.end()?;
            return Ok(references(all(call)?.keys()));
        }
        "get_all_records" => {
            call.end()?;
            let records = all(call)?;
            return Ok(Value::Struct(
                records
                    .into_iter()
                    .map(|(reference, record)| (reference, Value::Struct(record)))
                    .collect(),
            ));
        }
        "get_by_name_label" => {
            let name = record::text(call.text(2)?);
            call.end()?;
            let mut found = all(call)?;
            found.retain(|_, record| record.get("name_label") == Some(&name));
            return Ok(references(found.keys()));
        }
        "get_by_SR" if class == "PBD" => {
            let repository = record::text(call.text(2)?);
            call.end()?;
            let mut found = all(call)?;
            found.retain(|_, record| record.get("SR") == Some(&repository));
            return Ok(references(found.keys()));
        }
        "create" => {
            return devices::create(class, call).unwrap_or_else(|| Err(call.unknown()));
        }
        _ => {}
    }
    let handle = call.text(2)?;
    let record = all(call)?
        .remove(&handle)
        .ok_or_else(|| Failure::HandleInvalid(class, handle.clone()))?;
    match method {
        "get_record" => {
            call.end()?;
            Ok(Value::Struct(record))
        }
        "get_by_uuid" => {
            call.end()?;
            Ok(record::text(handle))
        }
        "media_change" if class == "VBD" => devices::media_change(&handle, call),
        "destroy" => devices::destroy(class, &handle, call).unwrap_or_else(|| Err(call.unknown())),
        _ => told(call, method, &record),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_depends_on_every_part_and_on_nothing_else() {
        let one = reference(&["VBD", "a", "51712"]);
        assert_eq!(one, reference(&["VBD", "a", "51712"]));
        assert_ne!(one, reference(&["VBD", "a5", "1712"]));
        assert_ne!(one, reference(&["VIF", "a", "51712"]));
        assert_eq!(one.len(), 36);
    }
}
