//! Requests of toolctl's in calls of the Xen-API.
//!
//! ```text
//!   Request::Pause { domain } ──find──> reference ──> VM.pause(session, reference)
//!   Request::List             ──> VM and VM_metrics records ──> DomainInfo
//!   Request::Create           ──> VM.create, VBD.create.., VIF.create.., VM.start(paused)      (its VM stays when it halts)
//! ```

mod create;
mod devices;
mod domains;
mod host;

pub use create::vm_record;

use crate::error::Error;
use crate::session::{text, Session};
use dxr::Value;
use noxen_xend_api::migrate::SaveHow;
use noxen_xend_api::{Change, Request, Response, ShutdownKind};

/// A text as a parameter.
fn word(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

/// A whole number as a parameter: decimal text.
fn number(number: impl ToString) -> Value {
    Value::String(number.to_string())
}

impl Session {
    /// Does `request` by calls.
    pub fn ask(&mut self, request: &Request) -> Result<Response, Error> {
        match request {
            Request::Ping => Ok(Response::Ok),
            Request::List { domains, state } => self.list(domains, *state),
            Request::Domain { domain } => self.one(domain),
            Request::Sxp { domains, state } => self.forms(domains, *state),
            Request::VcpuList { domains } => self.vcpus(domains),
            Request::Shares { domains } => self.shares(domains),
            Request::Create { config } => self.create(config),
            Request::New { config } => {
                let reference = self.keep(config)?;
                self.with_devices(&reference, config)?;
                Ok(Response::Ok)
            }
            Request::Start { domain } => {
                let reference = self.find(domain)?;
                self.start(&reference)
            }
            // VM.start has waited for them.
            Request::WaitForDevices { domain } => self.find(domain).map(|_| Response::Ok),
            Request::Delete { domain } => self.simple("VM.destroy", domain, &[]),
            Request::Pause { domain } => self.simple("VM.pause", domain, &[]),
            Request::Unpause { domain } => self.simple("VM.unpause", domain, &[]),
            Request::Destroy { domain } => self.simple("VM.hard_shutdown", domain, &[]),
            Request::Shutdown { domain, kind } => {
                let method = match kind {
                    ShutdownKind::Reboot => "VM.clean_reboot",
                    ShutdownKind::Poweroff | ShutdownKind::Halt => "VM.clean_shutdown",
                };
                self.simple(method, domain, &[])
            }
            Request::Reset { domain } => {
                let reference = self.find(domain)?;
                self.call("VM.hard_reboot", &[word(&reference)])?;
                self.one(&reference)
            }
            Request::Save {
                domain,
                file,
                checkpoint,
                how,
            } if *how == SaveHow::default() => self.simple(
                "VM.save",
                domain,
                &[word(file), Value::Boolean(*checkpoint)],
            ),
            Request::Restore {
                file,
                paused,
                lazy: false,
            } => self.restore(file, *paused),
            Request::Suspend { domain } => self.simple("VM.suspend", domain, &[]),
            Request::Resume { domain, paused } => self.simple(
                "VM.resume",
                domain,
                &[Value::Boolean(*paused), Value::Boolean(false)],
            ),
            Request::Change { domain, change } => self.change(domain, change),
            Request::Info => self.host(),
            Request::Dmesg { clear } => self.dmesg(*clear),
            Request::DebugKeys { keys } => {
                let host = self.this_host()?;
                self.call("host.send_debug_keys", &[word(host), word(keys)])?;
                Ok(Response::Ok)
            }
            Request::Console { domain } => self.console(domain),
            Request::Devices { domain, class } => self.devices(domain, *class),
            Request::AttachDevice { domain, device } => {
                let reference = self.find(domain)?;
                self.attach(&reference, device)
            }
            Request::DetachDevice {
                domain,
                class,
                device,
                force,
            } => self.detach(domain, *class, device, *force),
            Request::ConfigureDevice { domain, device } => self.configure(domain, device),
            // What the log is in is a file of the server's: see Session::log.
            Request::LogPath
            | Request::Settings
            | Request::DumpCore { .. }
            | Request::Migrate { .. }
            // Otherwise than plainly.
            | Request::Save { .. }
            | Request::Restore { .. }
            | Request::Check { .. }
            | Request::Transfer { .. }
            | Request::Cancel { .. }
            | Request::Upgrade { .. }
            | Request::Config { .. }
            | Request::Configure { .. }
            | Request::Counters { .. }
            | Request::Vnc { .. }
            | Request::Registers { .. } => Err(Error::NotSupported(None)),
        }
    }

    /// `C.m(vm, rest..)` that gives nothing.
    fn simple(&mut self, method: &str, domain: &str, rest: &[Value]) -> Result<Response, Error> {
        let mut params = vec![word(self.find(domain)?)];
        params.extend_from_slice(rest);
        self.call(method, &params)?;
        Ok(Response::Ok)
    }

    /// The reference of the domain that a name, an id or a UUID means, looked up in that order.
    fn find(&mut self, domain: &str) -> Result<String, Error> {
        let found = self.references("VM.get_by_name_label", &[word(domain)])?;
        if let Some(reference) = found.first() {
            return Ok(reference.clone());
        }
        if domain.parse::<u32>().is_ok() {
            let records = self.records("VM")?;
            let same = records
                .into_iter()
                .find(|(_, record)| text(record, "domid") == domain);
            if let Some((reference, _)) = same {
                return Ok(reference);
            }
        } else if let Ok(reference) = self.text("VM.get_by_uuid", &[word(domain)]) {
            return Ok(reference);
        }
        Err(Error::NoDomain(domain.to_owned()))
    }

    fn change(&mut self, domain: &str, change: &Change) -> Result<Response, Error> {
        let bytes = |mib: i64| number(mib.saturating_mul(1 << 20));
        let reference = self.find(domain)?;
        // Live while it runs, else in what it will be built from.
        let runs = self.runs(&reference)?;
        let vm = || word(&reference);
        let mut set = |method: &str, rest: &[Value]| {
            let mut params = vec![vm()];
            params.extend_from_slice(rest);
            self.call(&format!("VM.{method}"), &params).map(drop)
        };
        let parameter = match runs {
            true => "add_to_VCPUs_params_live",
            false => "add_to_VCPUs_params",
        };
        match change {
            Change::Pin { vcpu, cpus } => {
                let all = match vcpu {
                    Some(vcpu) => vec![*vcpu],
                    None => {
                        let count = self.text("VM.get_VCPUs_max", &[vm()])?;
                        (0..count.parse().unwrap_or(0).min(256)).collect()
                    }
                };
                for vcpu in all {
                    let key = word(format!("cpumap{vcpu}"));
                    self.call(&format!("VM.{parameter}"), &[vm(), key, word(cpus)])?;
                }
            }
            Change::Vcpus { count } if runs => set("set_VCPUs_number_live", &[number(count)])?,
            Change::Vcpus { count } => set("set_VCPUs_max", &[number(count)])?,
            Change::Memory { mib } if runs => {
                set("set_memory_dynamic_max_live", &[bytes(*mib)])?;
                set("set_memory_dynamic_min_live", &[bytes(*mib)])?;
            }
            Change::Memory { mib } => set("set_memory_dynamic_max", &[bytes(*mib)])?,
            Change::MaxMemory { mib } => set("set_memory_static_max", &[bytes(*mib)])?,
            Change::Name { name } => set("set_name_label", &[word(name)])?,
            Change::Credit { weight, cap } => {
                for (key, value) in [("weight", weight), ("cap", cap)] {
                    if let Some(value) = value {
                        set(parameter, &[word(key), number(value)])?;
                    }
                }
            }
            Change::Sysrq { key } => set("send_sysrq", &[word(*key)])?,
            Change::Trigger { trigger, vcpu } => {
                set("send_trigger", &[word(trigger), number(vcpu)])?;
            }
            Change::Sedf(_) => return Err(Error::NotSupported(None)),
        }
        Ok(Response::Ok)
    }

    fn runs(&mut self, reference: &str) -> Result<bool, Error> {
        let state = self.text("VM.get_power_state", &[word(reference)])?;
        Ok(!matches!(state.as_str(), "Halted" | "Suspended"))
    }

    fn restore(&mut self, file: &str, paused: bool) -> Result<Response, Error> {
        let answer = self.call("VM.restore", &[word(file), Value::Boolean(paused)])?;
        match answer {
            Value::String(reference) if !reference.is_empty() => self.one(&reference),
            // Servers of old gave nothing; who it was is not known then.
            _ => Err(Error::not_supported(
                "the domain is restored, but the server does not say which it is; see xm list",
            )),
        }
    }
}
