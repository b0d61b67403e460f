//! Kernel command line of a PV domain out of its variables (xm-reference: "Kernel command line composition").
//!
//! ```text
//!   root, ip.., extra -> [root=ROOT ][ip=IP ][nfsroot=SERVER:PATH ]EXTRA
//! ```

use crate::config::DomainConfig;

/// Most bytes a PV kernel's command line can have (start_info.cmd_line less its NUL).
pub const MAX_CMDLINE: usize = 1023;

/// What is wrong with the variables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// `nfs_root` without `nfs_server`.
    #[error("Must set nfs root and nfs server")]
    NfsServer,
    /// Too long.
    #[error(
        "kernel command line is {0} bytes long; at most {MAX_CMDLINE} fit: shorten extra or root"
    )]
    TooLong(usize),
    /// Holds a NUL byte.
    #[error("kernel command line holds a NUL byte; remove it from extra or root")]
    Nul,
}

/// The `ip=` value, or nothing when neither `ip` nor `dhcp` asks for one.
pub fn ip_value(config: &DomainConfig) -> Option<String> {
    let ip = config.ip.strip_prefix("ip=").unwrap_or(&config.ip);
    let dhcp = if config.dhcp.is_empty() {
        "off"
    } else {
        &config.dhcp
    };
    if ip.is_empty() && dhcp == "off" {
        return None;
    }
    let server = match config.nfs_server.as_deref() {
        Some(server) if !server.is_empty() => server,
        _ => "127.0.255.255",
    };
    let interface = if config.interface.is_empty() {
        "eth0"
    } else {
        &config.interface
    };
    Some(format!(
        "{ip}:{server}:{}:{}:{}:{interface}:{dhcp}",
        config.gateway, config.netmask, config.hostname
    ))
}

/// `extra` with the NFS root in front when there is one: the `(args ..)` of the image.
pub fn args(config: &DomainConfig) -> Result<String, CmdlineError> {
    match config.nfs_root.as_deref() {
        None | Some("") => Ok(config.extra.clone()),
        Some(root) => match config.nfs_server.as_deref() {
            None | Some("") => Err(CmdlineError::NfsServer),
            Some(server) => Ok(format!("nfsroot={server}:{root} {}", config.extra)),
        },
    }
}

/// The whole command line.
pub fn compose(config: &DomainConfig) -> Result<String, CmdlineError> {
    let mut line = args(config)?;
    if let Some(ip) = ip_value(config) {
        if !has_word(&line, "ip=") {
            line = format!("ip={ip} {line}");
        }
    }
    let root = config.root.strip_prefix("root=").unwrap_or(&config.root);
    if !root.is_empty() && !has_word(&line, "root=") {
        line = format!("root={root} {line}");
    }
    if line.len() > MAX_CMDLINE {
        return Err(CmdlineError::TooLong(line.len()));
    }
    if line.contains('\0') {
        return Err(CmdlineError::Nul);
    }
    Ok(line)
}

fn has_word(line: &str, prefix: &str) -> bool {
    line.split_whitespace().any(|word| word.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(root: &str, extra: &str) -> DomainConfig {
        DomainConfig {
            root: root.into(),
            extra: extra.into(),
            ..DomainConfig::default()
        }
    }

    #[test]
    fn compose_puts_root_then_ip_then_extra() {
        let mut c = config("/dev/xvda1 ro", "3 quiet");
        c.dhcp = "dhcp".into();
        assert_eq!(
            compose(&c).unwrap(),
            "root=/dev/xvda1 ro ip=:127.0.255.255::::eth0:dhcp 3 quiet"
        );
    }

    #[test]
    fn compose_keeps_root_and_ip_given_in_extra() {
        let mut c = config("/dev/xvda1", "root=/dev/ram ip=off");
        c.ip = "10.0.0.2".into();
        assert_eq!(compose(&c).unwrap(), "root=/dev/ram ip=off");
    }

    #[test]
    fn compose_does_not_take_nfsroot_for_root() {
        let mut c = config("/dev/nfs", "");
        c.nfs_root = Some("/srv".into());
        c.nfs_server = Some("10.0.0.1".into());
        c.ip = "10.0.0.2".into();
        c.netmask = "255.0.0.0".into();
        assert_eq!(
            compose(&c).unwrap(),
            "root=/dev/nfs ip=10.0.0.2:10.0.0.1::255.0.0.0::eth0:off nfsroot=10.0.0.1:/srv "
        );
    }

    #[test]
    fn compose_nfs_root_without_server_fails() {
        let mut c = config("", "");
        c.nfs_root = Some("/srv".into());
        assert_eq!(compose(&c), Err(CmdlineError::NfsServer));
    }

    #[test]
    fn compose_longer_than_the_abi_field_fails() {
        assert_eq!(compose(&config("", &"a".repeat(1023))).unwrap().len(), 1023);
        assert_eq!(
            compose(&config("", &"a".repeat(1024))),
            Err(CmdlineError::TooLong(1024))
        );
    }
}
