//! Values of records.

use super::{hvm, vm_config, Record};
use dxr::Value;
use noxen_xend_api::info::ranges;
use noxen_xend_api::{cmdline, DomainConfig, DomainInfo, DomainVcpus, Share, VcpuInfo};
use std::collections::BTreeMap;
use std::time::SystemTime;
use time::OffsetDateTime;

/// A record of these attributes.
pub fn of<const N: usize>(attributes: [(&str, Value); N]) -> Record {
    attributes
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// A text.
pub fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

/// A whole number as decimal text.
pub fn number(number: impl ToString) -> Value {
    Value::String(number.to_string())
}

/// Seconds since the epoch as `YYYYMMDDTHH:MM:SSZ` in UTC: the text form that XenAPI clients take.
pub fn time(at: SystemTime) -> Value {
    let seconds = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let at = OffsetDateTime::from_unix_timestamp(seconds.try_into().unwrap_or(0))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let ((year, month, day), (hour, minute, second)) = (at.to_calendar_date(), at.to_hms());
    let month = u8::from(month);
    text(format!(
        "{year:04}{month:02}{day:02}T{hour:02}:{minute:02}:{second:02}Z"
    ))
}

/// The power state of a domain.
pub fn power_state(info: &DomainInfo) -> &'static str {
    let state = &info.state;
    match info.domid {
        None if info.suspended => "Suspended",
        None => "Halted",
        Some(_) if state.crashed => "Crashed",
        Some(_) if state.shutdown || state.dying => "Halted",
        Some(_) if state.paused => "Paused",
        Some(_) => "Running",
    }
}

/// A lifecycle action's word.
fn action(word: &str) -> Value {
    text(match word {
        "coredump-destroy" => "coredump_and_destroy".into(),
        "coredump-restart" => "coredump_and_restart".into(),
        other => other.replace('-', "_"),
    })
}

/// The record of a VM, from its short record and what it is built from.
pub fn vm(info: &DomainInfo, config: &DomainConfig, host: &str) -> Record {
    let bytes = |mib: u64| number(mib << 20);
    let empty_list = || Value::Array(Vec::new());
    let empty_map = || Value::Struct(BTreeMap::new());
    let resident = match info.domid {
        Some(_) => vec![text(host)],
        None => Vec::new(),
    };
    of([
        ("uuid", text(&info.uuid)),
        ("power_state", text(power_state(info))),
        ("name_label", text(&info.name)),
        ("name_description", text("")),
        ("user_version", number(1)),
        ("is_a_template", Value::Boolean(false)),
        ("is_control_domain", Value::Boolean(info.domid == Some(0))),
        (
            "auto_power_on",
            Value::Boolean(config.on_xend_start == "start"),
        ),
        ("resident_on", Value::Array(resident)),
        ("memory_static_min", number(0)),
        ("memory_static_max", bytes(info.maxmem_mib)),
        ("memory_dynamic_min", bytes(info.memory_mib)),
        ("memory_dynamic_max", bytes(info.memory_mib)),
        ("VCPUs_max", number(info.vcpus)),
        ("VCPUs_at_startup", number(starting(config, info.vcpus))),
        ("VCPUs_params", Value::Struct(vm_config::parameters(config))),
        ("actions_after_shutdown", action(&config.on_poweroff)),
        ("actions_after_reboot", action(&config.on_reboot)),
        ("actions_after_suspend", text("")),
        ("actions_after_crash", action(&config.on_crash)),
        ("PV_bootloader", text(&config.bootloader)),
        ("PV_bootloader_args", text(&config.bootargs)),
        ("PV_kernel", text(&config.kernel)),
        ("PV_ramdisk", text(&config.ramdisk)),
        (
            "PV_args",
            text(cmdline::compose(config).unwrap_or_default()),
        ),
        ("HVM_boot_policy", text(hvm::policy(config))),
        ("HVM_boot_params", Value::Struct(hvm::boot(config))),
        ("platform", Value::Struct(hvm::platform(config))),
        ("PCI_bus", text("")),
        ("other_config", empty_map()),
        ("tools_version", empty_map()),
        ("VTPMs", empty_list()),
        ("DPCIs", empty_list()),
        ("DSCSIs", empty_list()),
        ("crash_dumps", empty_list()),
        ("security_label", text("")),
        ("domid", info.domid.map_or_else(|| text("-1"), number)),
        ("metrics", text(&info.uuid)),
        // No guest has an agent that would tell of itself.
        ("guest_metrics", text("")),
    ])
}

/// How many virtual CPUs start.
fn starting(config: &DomainConfig, vcpus: u32) -> u32 {
    match config.vcpu_avail {
        Some(mask) => mask.count_ones().min(vcpus),
        None => vcpus,
    }
}

/// The record of a VM's metrics.
pub fn metrics(info: &DomainInfo, vcpus: &DomainVcpus, share: Option<&Share>) -> Record {
    let start = SystemTime::UNIX_EPOCH
        + std::time::Duration::try_from_secs_f64(info.start_time.max(0.0)).unwrap_or_default();
    let states = [
        (info.state.running, "running"),
        (info.state.blocked, "blocked"),
        (info.state.paused, "paused"),
        (info.state.dying, "dying"),
        (info.state.crashed, "crashed"),
        (info.state.shutdown, "shutdown"),
    ];
    let states = states
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, word)| text(word));
    let by_vcpu = |tell: &dyn Fn(&VcpuInfo) -> Value| {
        let all = vcpus.vcpus.iter();
        Value::Struct(
            all.map(|vcpu| (vcpu.vcpu.to_string(), tell(vcpu)))
                .collect(),
        )
    };
    let seconds = |vcpu: &VcpuInfo| vcpu.cpu_time_ns as f64 / 1e9;
    let uptime = info.uptime_s.max(1) as f64;
    let flags = |vcpu: &VcpuInfo| {
        let set = [
            (vcpu.running, "running"),
            (vcpu.blocked, "blocked"),
            (vcpu.online, "online"),
        ];
        let set = set.into_iter().filter(|(set, _)| *set);
        Value::Array(set.map(|(_, word)| text(word)).collect())
    };
    let mut parameters: Record = vcpus
        .vcpus
        .iter()
        .map(|vcpu| (format!("cpumap{}", vcpu.vcpu), text(ranges(&vcpu.affinity))))
        .collect();
    if let Some(share) = share {
        parameters.insert("weight".into(), number(share.weight));
        parameters.insert("cap".into(), number(share.cap));
    }
    of([
        ("uuid", text(&info.uuid)),
        (
            "VCPUs_utilisation",
            by_vcpu(&|vcpu| Value::Double(seconds(vcpu) / uptime)),
        ),
        (
            "VCPUs_CPU",
            by_vcpu(&|vcpu| vcpu.cpu.map_or_else(|| text("-1"), number)),
        ),
        ("VCPUs_flags", by_vcpu(&flags)),
        ("VCPUs_params", Value::Struct(parameters)),
        // Our own: seconds of CPU, which utilisation tells only since the start.
        ("VCPUs_time", by_vcpu(&|vcpu| Value::Double(seconds(vcpu)))),
        // Our own, too: a reboot is seen by it.
        ("restart_count", number(info.restart_count)),
        ("memory_actual", number(info.memory_mib << 20)),
        ("VCPUs_number", number(info.online_vcpus)),
        ("state", Value::Array(states.collect())),
        ("start_time", time(start)),
        ("last_updated", time(SystemTime::now())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn time_is_the_civil_date() {
        let at = |seconds: u64| time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), text("19700101T00:00:00Z"));
        assert_eq!(at(951_782_400), text("20000229T00:00:00Z"));
        assert_eq!(at(1_709_251_199), text("20240229T23:59:59Z"));
        assert_eq!(at(4_107_542_400), text("21000301T00:00:00Z"));
    }
}
