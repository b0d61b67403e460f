//! A network interface: `key=value,...`, every key optional.

use super::{DeviceError, Rate};
use serde::{Deserialize, Serialize};

/// A network interface as configured.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Vif {
    /// `ioemu` for an emulated card beside the PV one; `netfront` or nothing otherwise.
    pub r#type: Option<String>,
    /// Six bytes, `00:16:3e:..`; xend chooses one where there is none.
    pub mac: Option<String>,
    /// Bridge of the host.
    pub bridge: Option<String>,
    /// Addresses that the guest may use, blanks between them.
    pub ip: Option<String>,
    /// Hotplug script, below /etc/xen/scripts unless it is a path.
    pub script: Option<String>,
    /// Domain that has the back end.
    pub backend: Option<String>,
    /// Name of the host's interface; `vifDOMID.N` where there is none.
    pub vifname: Option<String>,
    /// Most that the guest may send, see [`Rate`].
    pub rate: Option<String>,
    /// Emulated card.
    pub model: Option<String>,
    /// Plug-in of the back end.
    pub accel: Option<String>,
    /// Policy of its label.
    pub policy: Option<String>,
    /// Its label.
    pub label: Option<String>,
}

impl Vif {
    /// `text` as a configuration has it; blanks around commas and signs do not count.
    pub fn parse(text: &str) -> Result<Vif, DeviceError> {
        Vif::from_words(text.split(','))
    }

    /// The same out of words such as those of `network-attach`.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Vif, DeviceError> {
        let mut vif = Vif::default();
        for pair in super::pairs(words) {
            let (key, value) = pair?;
            vif.set(key, value)?;
        }
        Ok(vif)
    }

    /// Sets one key; the last of several counts.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), DeviceError> {
        let field = self
            .fields()
            .into_iter()
            .find(|(name, _)| *name == key)
            .ok_or_else(|| DeviceError::VifOption(key.to_owned()))?;
        *field.1 = Some(value.to_owned()).filter(|value| !value.is_empty());
        Ok(())
    }

    fn fields(&mut self) -> [(&'static str, &mut Option<String>); 12] {
        [
            ("type", &mut self.r#type),
            ("mac", &mut self.mac),
            ("bridge", &mut self.bridge),
            ("ip", &mut self.ip),
            ("script", &mut self.script),
            ("backend", &mut self.backend),
            ("vifname", &mut self.vifname),
            ("rate", &mut self.rate),
            ("model", &mut self.model),
            ("accel", &mut self.accel),
            ("policy", &mut self.policy),
            ("label", &mut self.label),
        ]
    }

    /// What is set, in the order of the fields.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        self.clone()
            .fields()
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.take()?)))
            .collect()
    }

    /// Its rate; nothing when no limit is asked for or, as with Xen, when the text means none.
    pub fn rate(&self) -> Option<Rate> {
        let text = self.rate.as_deref()?;
        Some(Rate::parse(text).unwrap_or(Rate::UNLIMITED))
    }

    /// Judges what does not depend on the host, and writes the address in lower case.
    pub fn checked(mut self) -> Result<Vif, DeviceError> {
        for (key, value) in self.fields() {
            if value
                .as_deref()
                .is_some_and(|v| v.contains(char::is_control))
            {
                return Err(DeviceError::Control(key));
            }
        }
        if let Some(mac) = &mut self.mac {
            let lower = mac.to_ascii_lowercase();
            if !is_mac(&lower) {
                return Err(DeviceError::Mac(mac.clone()));
            }
            *mac = lower;
        }
        if let Some(name) = &self.vifname {
            let bad = |c: char| c.is_whitespace() || c == '/' || c == ':' || !c.is_ascii();
            if name.len() > 15 || name.contains(bad) || name == "." || name == ".." {
                return Err(DeviceError::VifName(name.clone()));
            }
        }
        Ok(self)
    }
}

/// Six bytes in hexadecimal that a single card can have.
fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let hex = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let first = parts.first().and_then(|p| u8::from_str_radix(p, 16).ok());
    parts.len() == 6 && parts.iter().all(hex) && first.is_some_and(|b| b & 1 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vif_text_is_read_with_blanks_and_empty_parts() {
        let vif =
            Vif::parse("mac=00:16:3E:00:01:03, bridge = xenbr0,,ip=10.0.0.2 10.0.1.0/24").unwrap();
        assert_eq!(vif.bridge.as_deref(), Some("xenbr0"));
        assert_eq!(vif.ip.as_deref(), Some("10.0.0.2 10.0.1.0/24"));
        assert_eq!(
            vif.checked().unwrap().mac.as_deref(),
            Some("00:16:3e:00:01:03")
        );
        assert_eq!(Vif::parse("").unwrap(), Vif::default());
    }

    #[test]
    fn vif_that_means_nothing_names_the_bad_part() {
        assert_eq!(
            Vif::parse("mac=1,colour=red").unwrap_err().to_string(),
            "Invalid vif option: colour"
        );
        assert_eq!(
            Vif::parse("bridge").unwrap_err().to_string(),
            "'bridge' should be a pair, separated by an equals sign."
        );
        for bad in [
            "mac=00:16:3e:00:01",
            "mac=01:00:5e:00:00:01",
            "mac=00:16:3e:00:01:zz",
            "mac=0:16:3e:00:01:033",
        ] {
            let error = Vif::parse(bad).unwrap().checked().unwrap_err();
            assert!(matches!(error, DeviceError::Mac(_)), "{bad}");
        }
        for bad in [
            "vifname=a b",
            "vifname=sixteen-letters-",
            "vifname=a/b",
            "ip=10.0.0.1\n2",
        ] {
            assert!(Vif::parse(bad).unwrap().checked().is_err(), "{bad}");
        }
    }

    #[test]
    fn vif_pairs_read_back_to_the_same_interface() {
        let vif = Vif::parse(
            "rate=10Mb/s,type=netfront,mac=00:16:3e:00:01:03,script=vif-route,accel=a,label=l",
        )
        .unwrap();
        let text: Vec<String> = vif
            .pairs()
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(Vif::parse(&text.join(",")).unwrap(), vif);
        assert_eq!(vif.rate().unwrap().to_string(), "62500,50000");
        let odd = Vif::parse("rate=fast").unwrap();
        assert_eq!(odd.rate(), Some(Rate::UNLIMITED));
    }
}
