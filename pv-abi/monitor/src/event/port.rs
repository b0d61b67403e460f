//! A port's record, as packed into two words of the event-channel table.

use noxen_pv_abi::event_channel::{EvtchnState, EVTCHN_FIFO_PRIORITY_DEFAULT};

/// One event channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// EVTCHNSTAT_*.
    pub state: EvtchnState,
    /// vCPU that is told.
    pub vcpu: u32,
    /// VIRQ number (state virq).
    pub virq: u32,
    /// Domain at the other end (unbound, interdomain).
    pub remote_dom: u16,
    /// Port at the other end (interdomain within the domain).
    pub remote_port: u32,
    /// FIFO priority, 0 highest.
    pub priority: u8,
    /// FIFO queue that the port was last put on, while the guest may not have taken it off yet.
    pub last_vcpu: u32,
    /// Its priority.
    pub last_priority: u8,
    /// Pending since before its page of the event array existed.
    pub early: bool,
}

impl Default for Port {
    fn default() -> Port {
        let priority = EVTCHN_FIFO_PRIORITY_DEFAULT as u8;
        Port {
            state: EvtchnState::CLOSED,
            vcpu: 0,
            virq: 0,
            remote_dom: 0,
            remote_port: 0,
            priority,
            last_vcpu: 0,
            last_priority: priority,
            early: false,
        }
    }
}

impl Port {
    /// Unpacks. Zeroed words are a closed port (priorities are stored relative to the default).
    pub fn from_words(words: [u64; 2]) -> Port {
        let default = EVTCHN_FIFO_PRIORITY_DEFAULT as u8;
        Port {
            state: EvtchnState((words[0] & 0xff) as u32),
            virq: (words[0] >> 8 & 0xff) as u32,
            priority: (words[0] >> 16 & 15) as u8 ^ default,
            last_priority: (words[0] >> 20 & 15) as u8 ^ default,
            early: words[0] >> 24 & 1 != 0,
            vcpu: (words[0] >> 32 & 0xffff) as u32,
            remote_dom: (words[0] >> 48) as u16,
            remote_port: words[1] as u32,
            last_vcpu: (words[1] >> 32 & 0xffff) as u32,
        }
    }

    /// Packs.
    pub fn to_words(self) -> [u64; 2] {
        let default = EVTCHN_FIFO_PRIORITY_DEFAULT as u8;
        [
            u64::from(self.state.0 & 0xff)
                | u64::from(self.virq & 0xff) << 8
                | u64::from((self.priority ^ default) & 15) << 16
                | u64::from((self.last_priority ^ default) & 15) << 20
                | u64::from(self.early) << 24
                | u64::from(self.vcpu & 0xffff) << 32
                | u64::from(self.remote_dom) << 48,
            u64::from(self.remote_port) | u64::from(self.last_vcpu & 0xffff) << 32,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_words_are_a_closed_port() {
        assert_eq!(Port::from_words([0, 0]), Port::default());
    }

    #[test]
    fn packed_port_unpacks_to_itself() {
        let port = Port {
            state: EvtchnState::INTERDOMAIN,
            vcpu: 31,
            virq: 13,
            remote_dom: 0x7ff0,
            remote_port: 131_071,
            priority: 15,
            last_vcpu: 7,
            last_priority: 0,
            early: true,
        };
        assert_eq!(Port::from_words(port.to_words()), port);
    }
}
