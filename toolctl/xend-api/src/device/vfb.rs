//! A screen: `key=value,...`, every key optional.

use super::DeviceError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What may be said of a screen (xm-reference: `vfb`).
const KEYS: &[&str] = &[
    "type",
    "vnc",
    "vnclisten",
    "vncdisplay",
    "vncunused",
    "vncpasswd",
    "sdl",
    "opengl",
    "display",
    "xauthority",
    "keymap",
    "videoram",
];
/// The one key whose empty value says something.
const PASSWORD: &str = "vncpasswd";
/// The first display's TCP port.
const FIRST_PORT: u16 = 5900;
/// MiB of a screen's memory unless `videoram` says otherwise: 32 bits for 1600x1200 and less.
const VIDEORAM_MIB: u32 = 8;
/// Most of it, MiB.
const MAX_VIDEORAM_MIB: u32 = 512;

/// A screen as configured.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Vfb {
    pairs: BTreeMap<String, String>,
}

impl Vfb {
    /// What may be said of one.
    pub const KEYS: &'static [&'static str] = KEYS;

    /// `text` as a configuration has it; blanks around commas and signs do not count, nor do pairs without a value.
    pub fn parse(text: &str) -> Result<Vfb, DeviceError> {
        let mut vfb = Vfb::default();
        for pair in super::pairs(text.split(',')) {
            let (key, value) = pair?;
            vfb.set(key, value)?;
        }
        vfb.videoram_mib()?;
        vfb.vnc_port()?;
        Ok(vfb)
    }

    /// Sets one key; the last of several counts.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), DeviceError> {
        let Some(known) = KEYS.iter().find(|known| **known == key) else {
            return Err(DeviceError::VfbOption(key.to_owned()));
        };
        if value.contains(char::is_control) {
            return Err(DeviceError::Control(known));
        }
        // An empty password is none; no password is xend's.
        if !value.is_empty() || key == PASSWORD {
            self.pairs.insert(key.to_owned(), value.to_owned());
        }
        Ok(())
    }

    /// One value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    /// What is set, by name.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.pairs.iter();
        pairs.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// As a configuration has it.
    pub fn text(&self) -> String {
        let pairs: Vec<String> = self
            .pairs()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        pairs.join(",")
    }

    /// Memory of the screen, MiB.
    pub fn videoram_mib(&self) -> Result<u32, DeviceError> {
        let Some(text) = self.get("videoram") else {
            return Ok(VIDEORAM_MIB);
        };
        match text.parse() {
            Ok(mib) if (1..=MAX_VIDEORAM_MIB).contains(&mib) => Ok(mib),
            _ => Err(DeviceError::Videoram(text.to_owned(), MAX_VIDEORAM_MIB)),
        }
    }

    fn is_on(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value != "0")
    }

    /// Whether it is to be shown by VNC. VNC wins over SDL where both are asked for.
    pub fn wants_vnc(&self) -> bool {
        self.is_on("vnc") || self.get("type") == Some("vnc")
    }

    /// Whether it is to be shown by SDL.
    pub fn wants_sdl(&self) -> bool {
        !self.wants_vnc() && (self.is_on("sdl") || self.get("type") == Some("sdl"))
    }

    /// The port that VNC is served on, or the first to be tried.
    pub fn vnc_port(&self) -> Result<u16, DeviceError> {
        let Some(text) = self.get("vncdisplay") else {
            return Ok(FIRST_PORT);
        };
        let display = text.parse::<u16>().ok();
        let port = display.and_then(|display| display.checked_add(FIRST_PORT));
        port.ok_or_else(|| DeviceError::Display(text.to_owned(), u16::MAX - FIRST_PORT))
    }

    /// Whether the next free display may be taken.
    pub fn may_take_another_display(&self) -> bool {
        self.get("vncunused").is_none_or(|value| value != "0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn screen_is_what_its_pairs_say() {
        let vfb = Vfb::parse(" vnc=1, vnclisten = 127.0.0.1 ,keymap=, videoram=16").unwrap();
        let pairs: Vec<_> = vfb.pairs().collect();
        let expected = [("videoram", "16"), ("vnc", "1"), ("vnclisten", "127.0.0.1")];
        assert_eq!(pairs, expected);
        assert_eq!(Vfb::parse(&vfb.text()), Ok(vfb.clone()));
        assert_eq!(vfb.videoram_mib(), Ok(16));
        assert!(vfb.wants_vnc() && !vfb.wants_sdl());
        let bare = Vfb::parse("").unwrap();
        assert_eq!(bare.videoram_mib(), Ok(VIDEORAM_MIB));
        assert!(!bare.wants_vnc() && !bare.wants_sdl());
    }

    #[test]
    fn display_is_a_port_and_an_empty_password_is_kept() {
        let vfb = Vfb::parse("type=vnc,vncdisplay=7,vncunused=0,vncpasswd=").unwrap();
        assert!(vfb.wants_vnc() && !vfb.may_take_another_display());
        assert_eq!((vfb.vnc_port(), vfb.get("vncpasswd")), (Ok(5907), Some("")));
        assert_eq!(Vfb::parse(&vfb.text()), Ok(vfb));
        assert!(Vfb::parse("sdl=1").unwrap().wants_sdl());
        assert_eq!(Vfb::parse("vnc=1").unwrap().vnc_port(), Ok(5900));
        for wrong in ["vncdisplay=-1", "vncdisplay=59636", "vncdisplay=:1"] {
            let line = Vfb::parse(wrong).unwrap_err().to_string();
            assert!(line.contains("59635"), "{line}");
        }
    }

    #[test]
    fn what_is_not_known_of_screens_is_named() {
        let line = Vfb::parse("vncc=1").unwrap_err().to_string();
        assert_eq!(line, "configuration option vncc unknown to vfbs");
        for wrong in ["videoram=0", "videoram=x", "videoram=1024"] {
            let line = Vfb::parse(wrong).unwrap_err().to_string();
            assert!(line.contains("videoram") && line.contains("512"), "{line}");
        }
        assert!(Vfb::parse("vnc").is_err() && Vfb::parse("keymap=a\u{1}").is_err());
    }
}
