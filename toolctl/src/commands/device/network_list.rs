//! `network-list DOM`.

use super::list::{self, number, Shape};
use crate::cli::command::{Command, Group, Opt, JSON};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::getopt::Parsed;
use noxen_xend_api::{DeviceClass, DeviceInfo};

/// The definition.
pub const COMMAND: Command = Command {
    name: "network-list",
    args: "<Domain> [--long]",
    summary: "List virtual network interfaces for a domain.",
    details: "The columns are the index, the back end's domain, MAC address, handle, state (1 initialising to 4 connected, 6 closed), event \
        channel, ring references, and where the back end is in the store; -1 stands for what the guest has not said yet.",
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
            class: DeviceClass::Vif,
            heading: "Idx BE     MAC Addr.     handle state evt-ch tx-/rx-ring-ref BE-path",
            row,
        },
    )
}

fn row(device: &DeviceInfo) -> String {
    // A front end may have a channel for each direction.
    let channel = device
        .number("event-channel")
        .or(device.number("event-channel-tx"));
    format!(
        "{:<3} {:<3}{:<17}    {:<3}   {:<3}    {:<3}   {:<5}/{:<5}   {:<30}  ",
        device.devid,
        number(device, "backend-id"),
        device.nodes.get("mac").map_or("??", String::as_str),
        number(device, "handle"),
        number(device, "state"),
        channel.unwrap_or(-1),
        number(device, "tx-ring-ref"),
        number(device, "rx-ring-ref"),
        device.backend
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::fake;

    #[test]
    fn row_has_the_widths_of_xm() {
        let mut vif = fake::device(
            "phy:a,xvda,w",
            &[
                ("backend-id", "0"),
                ("mac", "00:16:3e:00:01:03"),
                ("handle", "0"),
                ("state", "4"),
                ("event-channel", "7"),
                ("tx-ring-ref", "768"),
                ("rx-ring-ref", "769"),
            ],
        );
        vif.devid = 0;
        vif.backend = "/local/domain/0/backend/vif/3/0".into();
        assert_eq!(
            row(&vif),
            "0   0  00:16:3e:00:01:03    0     4      7     768  /769     /local/domain/0/backend/vif/3/0  "
        );
    }
}
