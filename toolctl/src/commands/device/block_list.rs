//! `block-list DOM`.

use super::list::{self, number, Shape};
use crate::cli::command::{Command, Group, Opt, JSON};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{DeviceClass, DeviceInfo};

/// The definition.
pub const COMMAND: Command = Command {
    name: "block-list",
    args: "<Domain> [--long]",
    summary: "List virtual block devices for a domain.",
    details: "The columns are the number in the guest, the back end's domain, handle, state (1 initialising to 4 connected, 6 closed), event \
        channel, ring reference, and where the back end is in the store; -1 stands for what the guest has not said yet.",
    options: &[Opt::flag('l', "long", "Output all device details in SXP."), JSON],
    group: Group::Device,
    run: Some(run),
    ..Command::DEFAULT
};

fn run(context: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    list::run(
        context,
        parsed,
        &Shape {
            command: &COMMAND,
            class: DeviceClass::Vbd,
            heading: "Vdev  BE handle state evt-ch ring-ref BE-path",
            row,
        },
    )
}

fn row(device: &DeviceInfo) -> String {
    // A ring of several pages has a reference each.
    let ring = device.number("ring-ref").or(device.number("ring-ref0"));
    format!(
        "{:<5}  {:<3}  {:<3}   {:<3}    {:<3}    {:<5} {:<30}  ",
        device.devid,
        number(device, "backend-id"),
        0,
        number(device, "state"),
        number(device, "event-channel"),
        ring.unwrap_or(-1),
        device.backend
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::fake;

    #[test]
    fn row_has_the_widths_of_xm() {
        let disk = fake::device(
            "phy:vg0/t3,xvda1,w",
            &[
                ("backend-id", "0"),
                ("state", "4"),
                ("ring-ref", "8"),
                ("event-channel", "9"),
            ],
        );
        assert_eq!(
            row(&disk),
            "51713  0    0     4      9      8     /local/domain/0/backend/vbd/3/51713  "
        );
        let fresh = fake::device("phy:vg0/t3,xvda1,w", &[]);
        assert!(row(&fresh).starts_with("51713  -1   0     -1     -1     -1    /local"));
    }
}
