//! `sysrq` and `trigger`.

use super::started;
use crate::domain::Domain;
use crate::node::{internal, Node};
use crate::requests::refused;
use crate::store::StoreOp;
use crate::store_nodes;
use noxen_control::message::CaseButton;
use noxen_xend_api::Fault;
use std::sync::Arc;

/// Gives the guest's kernel a sysrq key: its watch on `control/sysrq` takes it.
pub fn sysrq(node: &Node, domain: &Arc<Domain>, key: char) -> Result<(), Fault> {
    started(domain)?;
    if !key.is_ascii_graphic() {
        return Err(Fault::generic(format!(
            "Invalid sysrq key {key:?}: give one letter or digit, such as s"
        )));
    }
    let path = format!("{}/control/sysrq", store_nodes::home(domain.domid()));
    node.store
        .apply(&[StoreOp::Write(path, key.into())])
        .map_err(internal)
}

/// Sends a trigger to a vCPU.
pub fn trigger(domain: &Arc<Domain>, trigger: &str, vcpu: u32) -> Result<(), Fault> {
    let instead = match trigger {
        "nmi" => {
            started(domain)?;
            return domain.monitor().nmi(vcpu).map_err(refused);
        }
        "init" if domain.record().config.is_hvm() => {
            started(domain)?;
            return domain.monitor().init(vcpu).map_err(refused);
        }
        "power" | "sleep" | "reset" | "s3resume" if domain.record().config.is_hvm() => {
            started(domain)?;
            let button = match trigger {
                "power" => CaseButton::Power,
                "sleep" => CaseButton::Sleep,
                "s3resume" => CaseButton::Wake,
                _ => CaseButton::Reset,
            };
            return domain.monitor().press(button).map_err(refused);
        }
        "reset" => "; xm reset ends the domain and builds it again",
        "power" => "; xm shutdown asks the guest to power off",
        "sleep" | "init" | "s3resume" => "",
        other => return Err(Fault::generic(format!("Invalid trigger: {other}"))),
    };
    Err(Fault::generic(format!(
        "Trigger '{trigger}' is a signal of a PC's, which a paravirtual domain has none of{instead}"
    )))
}
