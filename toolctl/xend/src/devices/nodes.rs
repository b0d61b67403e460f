//! The nodes of a device in the store (xm-reference: "xenstore layout").
//!
//! ```text
//!   /local/domain/N/device/CLASS/DEV     nN r0   front end: the guest's own, domain 0 may read
//!   /local/domain/0/backend/CLASS/N/DEV  n0 rN   back end: the guest may read
//!   /vm/UUID/device/CLASS/DEV            n0 rN   where both are
//! ```

use super::device::Device;
use crate::registry::Record;
use crate::store::StoreOp;

/// XenbusStateInitialising: where both ends begin (io/xenbus.h).
const INITIALISING: &str = "1";

/// What a class adds to the nodes that every device has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassNodes {
    /// Of the front end.
    pub frontend: Vec<(&'static str, String)>,
    /// Of the back end.
    pub backend: Vec<(&'static str, String)>,
}

fn writes<'a>(
    directory: &'a str,
    nodes: impl IntoIterator<Item = (&'a str, String)>,
) -> Vec<StoreOp> {
    let write = |(name, value)| StoreOp::Write(format!("{directory}/{name}"), value);
    nodes.into_iter().map(write).collect()
}

/// Everything that is there before the back end looks. What an earlier device left in the place goes.
pub fn attach(record: &Record, device: &Device, class: ClassNodes) -> Vec<StoreOp> {
    let domid = record.domid;
    let (frontend, backend) = (device.frontend(domid), device.backend(domid));
    let vm = vm_directory(record, device);
    let mut ops = vec![
        StoreOp::Remove(frontend.clone()),
        StoreOp::Remove(backend.clone()),
        StoreOp::Mkdir(frontend.clone()),
        StoreOp::Perms(frontend.clone(), format!("n{domid} r0")),
        StoreOp::Mkdir(backend.clone()),
        StoreOp::Perms(backend.clone(), format!("n0 r{domid}")),
    ];
    ops.extend(writes(
        &frontend,
        [
            ("backend", backend.clone()),
            ("backend-id", "0".into()),
            ("state", INITIALISING.into()),
        ],
    ));
    ops.extend(writes(&frontend, class.frontend));
    ops.extend(writes(
        &backend,
        [
            ("domain", record.name.clone()),
            ("frontend", frontend.clone()),
            ("frontend-id", domid.to_string()),
            ("uuid", device.uuid.clone()),
            ("online", "1".into()),
            ("state", INITIALISING.into()),
        ],
    ));
    ops.extend(writes(&backend, class.backend));
    ops.extend(writes(
        &vm,
        [
            ("frontend", frontend.clone()),
            ("frontend-id", domid.to_string()),
            ("backend", backend.clone()),
            ("backend-id", "0".into()),
        ],
    ));
    ops
}

/// The device is gone.
pub fn detached(record: &Record, device: &Device) -> Vec<StoreOp> {
    vec![
        StoreOp::Remove(device.frontend(record.domid)),
        StoreOp::Remove(device.backend(record.domid)),
        StoreOp::Remove(vm_directory(record, device)),
    ]
}

/// The domain is gone: the directories of its back ends.
pub fn domain_gone(domid: u32) -> Vec<StoreOp> {
    ["vbd", "tap", "vif", "vfb", "vkbd"]
        .map(|class| StoreOp::Remove(format!("/local/domain/0/backend/{class}/{domid}")))
        .to_vec()
}

fn vm_directory(record: &Record, device: &Device) -> String {
    format!(
        "{}/device/{}/{}",
        record.vm_path,
        device.class().name(),
        device.devid
    )
}
