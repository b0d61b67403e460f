//! event_channel_op and its older form (public/event_channel.h).

use super::{efault, Answer};
use crate::cpu::Cpu;
use crate::event::Port;
use crate::machine::Machine;
use core::sync::atomic::Ordering;
use noxen_pv_abi::domid::DomId;
use noxen_pv_abi::errno::Errno;
use noxen_pv_abi::event_channel::*;

impl<M: Machine> Cpu<'_, M> {
    /// event_channel_op_compat(struct evtchn_op): {cmd, argument}.
    pub(super) fn event_channel_op_compat(&mut self, args: &[u64; 6]) -> Answer {
        let cmd = self.read_u32(args[0]).map_err(efault)?;
        if cmd > EvtchnOp::UNMASK.0 {
            return Err(Errno::ENOSYS);
        }
        self.event_channel_op(&[u64::from(cmd), args[0].wrapping_add(4), 0, 0, 0, 0])
    }

    /// event_channel_op(command, argument).
    pub(super) fn event_channel_op(&mut self, args: &[u64; 6]) -> Answer {
        let [cmd, arg, ..] = *args;
        match EvtchnOp(cmd as u32) {
            EvtchnOp::SEND => {
                let port = self.read_u32(arg).map_err(efault)?;
                self.send(port).map(|()| 0)
            }
            EvtchnOp::UNMASK => {
                let port = self.read_u32(arg).map_err(efault)?;
                if port >= self.max_ports() {
                    return Err(Errno::EINVAL);
                }
                self.unmask(port);
                Ok(0)
            }
            EvtchnOp::BIND_VIRQ => self.bind_virq(arg),
            EvtchnOp::BIND_IPI => {
                let mut bind = EvtchnBindIpi::from_bytes(&self.read_array(arg).map_err(efault)?);
                self.dom.vcpu(bind.vcpu).ok_or(Errno::ENOENT)?;
                bind.port = self.make(Port {
                    state: EvtchnState::IPI,
                    vcpu: bind.vcpu,
                    ..Port::default()
                })?;
                self.write(arg, &bind.to_bytes()).map_err(efault)?;
                Ok(0)
            }
            EvtchnOp::ALLOC_UNBOUND => {
                let mut alloc =
                    EvtchnAllocUnbound::from_bytes(&self.read_array(arg).map_err(efault)?);
                if !self.names_self(alloc.dom) {
                    return Err(Errno::EPERM);
                }
                let remote = if alloc.remote_dom == DomId::SELF.0 {
                    self.own_domid()
                } else {
                    alloc.remote_dom
                };
                alloc.port = self.make(Port {
                    state: EvtchnState::UNBOUND,
                    remote_dom: remote,
                    ..Port::default()
                })?;
                self.write(arg, &alloc.to_bytes()).map_err(efault)?;
                Ok(0)
            }
            EvtchnOp::BIND_INTERDOMAIN => self.bind_interdomain(arg),
            EvtchnOp::CLOSE => {
                let port = self.read_u32(arg).map_err(efault)?;
                let _lock = self.lock_events();
                if self.port(port).state == EvtchnState::CLOSED {
                    return Err(Errno::EINVAL);
                }
                self.close(port);
                Ok(0)
            }
            EvtchnOp::STATUS => self.port_status(arg),
            EvtchnOp::BIND_VCPU => self.bind_vcpu(arg),
            EvtchnOp::RESET => {
                let reset = EvtchnReset::from_bytes(&self.read_array(arg).map_err(efault)?);
                if !self.names_self(reset.dom) {
                    return Err(Errno::EPERM);
                }
                let _lock = self.lock_events();
                for port in 1..self.dom.port_limit.load(Ordering::Relaxed) {
                    if self.port(port).state != EvtchnState::CLOSED {
                        self.close(port);
                    }
                }
                self.fifo_reset();
                Ok(0)
            }
            EvtchnOp::INIT_CONTROL => {
                let mut init =
                    EvtchnInitControl::from_bytes(&self.read_array(arg).map_err(efault)?);
                self.fifo_init_control(init.vcpu, init.control_gfn, init.offset)?;
                init.link_bits = EVTCHN_FIFO_LINK_BITS as u8;
                self.write(arg, &init.to_bytes()).map_err(efault)?;
                Ok(0)
            }
            EvtchnOp::EXPAND_ARRAY => {
                let frame = self.read_u64(arg).map_err(efault)?;
                self.fifo_expand(frame).map(|()| 0)
            }
            EvtchnOp::SET_PRIORITY => {
                let set = EvtchnSetPriority::from_bytes(&self.read_array(arg).map_err(efault)?);
                if set.priority > EVTCHN_FIFO_PRIORITY_MIN {
                    return Err(Errno::EINVAL);
                }
                if !self.dom.fifo.load(Ordering::Acquire) {
                    return Err(Errno::ENOSYS);
                }
                let _lock = self.lock_events();
                let record = self.port(set.port);
                if record.state == EvtchnState::CLOSED {
                    return Err(Errno::EINVAL);
                }
                self.set_port(
                    set.port,
                    Port {
                        priority: set.priority as u8,
                        ..record
                    },
                );
                Ok(0)
            }
            EvtchnOp::BIND_PIRQ => Err(Errno::EPERM),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn names_self(&self, dom: u16) -> bool {
        dom == DomId::SELF.0 || dom == self.own_domid()
    }

    /// Takes the lowest free port for `record`.
    fn make(&self, record: Port) -> Result<u32, Errno> {
        let _lock = self.lock_events();
        self.make_locked(record)
    }

    fn make_locked(&self, record: Port) -> Result<u32, Errno> {
        let port = self.allocate_port()?;
        let old = self.port(port);
        // The guest may still have the port's old incarnation on a queue.
        self.set_port(
            port,
            Port {
                last_vcpu: old.last_vcpu,
                last_priority: old.last_priority,
                ..record
            },
        );
        self.dom.port_limit.fetch_max(port + 1, Ordering::Relaxed);
        Ok(port)
    }

    fn bind_virq(&mut self, arg: u64) -> Answer {
        let mut bind = EvtchnBindVirq::from_bytes(&self.read_array(arg).map_err(efault)?);
        if bind.virq >= NR_VIRQS || (!Self::is_per_vcpu(bind.virq) && bind.vcpu != 0) {
            return Err(Errno::EINVAL);
        }
        let target = self.dom.vcpu(bind.vcpu).ok_or(Errno::ENOENT)?;
        {
            let _lock = self.lock_events();
            let slot = &target.virq[bind.virq as usize];
            if slot.load(Ordering::Relaxed) != 0 {
                return Err(Errno::EEXIST);
            }
            let record = Port {
                state: EvtchnState::VIRQ,
                vcpu: bind.vcpu,
                virq: bind.virq,
                ..Port::default()
            };
            bind.port = self.make_locked(record)?;
            slot.store(bind.port, Ordering::Relaxed);
        }
        self.write(arg, &bind.to_bytes()).map_err(efault)?;
        Ok(0)
    }

    /// Within the domain only: another domain's ports need that domain's monitor.
    fn bind_interdomain(&mut self, arg: u64) -> Answer {
        let mut bind = EvtchnBindInterdomain::from_bytes(&self.read_array(arg).map_err(efault)?);
        if !self.names_self(bind.remote_dom) {
            return Err(Errno::ESRCH);
        }
        {
            let _lock = self.lock_events();
            let me = self.own_domid();
            let remote = self.port(bind.remote_port);
            if remote.state != EvtchnState::UNBOUND || remote.remote_dom != me {
                return Err(Errno::EINVAL);
            }
            let record = Port {
                state: EvtchnState::INTERDOMAIN,
                remote_dom: me,
                remote_port: bind.remote_port,
                ..Port::default()
            };
            bind.local_port = self.make_locked(record)?;
            let there = Port {
                state: EvtchnState::INTERDOMAIN,
                remote_port: bind.local_port,
                ..remote
            };
            self.set_port(bind.remote_port, there);
        }
        // The binder may have missed events: it looks once.
        self.raise(bind.local_port);
        self.write(arg, &bind.to_bytes()).map_err(efault)?;
        Ok(0)
    }

    /// Closes a port (event lock held).
    fn close(&self, port: u32) {
        let record = self.port(port);
        match record.state {
            EvtchnState::VIRQ => {
                if let Some(slot) = self
                    .dom
                    .vcpu(record.vcpu)
                    .and_then(|vcpu| vcpu.virq.get(record.virq as usize))
                {
                    slot.store(0, Ordering::Relaxed);
                }
            }
            EvtchnState::INTERDOMAIN
                if record.remote_dom == self.own_domid() && record.remote_port != port =>
            {
                let other = self.port(record.remote_port);
                if other.state == EvtchnState::INTERDOMAIN && other.remote_port == port {
                    self.set_port(
                        record.remote_port,
                        Port {
                            state: EvtchnState::UNBOUND,
                            remote_port: 0,
                            ..other
                        },
                    );
                }
            }
            _ => {}
        }
        self.clear_pending(port);
        let closed = Port {
            last_vcpu: record.last_vcpu,
            last_priority: record.last_priority,
            ..Port::default()
        };
        self.set_port(port, closed);
    }

    fn port_status(&mut self, arg: u64) -> Answer {
        let mut status = EvtchnStatus::from_bytes(&self.read_array(arg).map_err(efault)?);
        if !self.names_self(status.dom) {
            return Err(Errno::EPERM);
        }
        if status.port >= self.max_ports() {
            return Err(Errno::EINVAL);
        }
        let record = self.port(status.port);
        status.status = record.state.0;
        status.vcpu = record.vcpu;
        match record.state {
            EvtchnState::UNBOUND => status.detail = u32::from(record.remote_dom),
            EvtchnState::INTERDOMAIN => {
                status.detail = u32::from(record.remote_dom);
                status.remote_port = record.remote_port;
            }
            EvtchnState::VIRQ => status.detail = record.virq,
            _ => {}
        }
        self.write(arg, &status.to_bytes()).map_err(efault)?;
        Ok(0)
    }

    fn bind_vcpu(&mut self, arg: u64) -> Answer {
        let bind = EvtchnBindVcpu::from_bytes(&self.read_array(arg).map_err(efault)?);
        self.dom.vcpu(bind.vcpu).ok_or(Errno::ENOENT)?;
        let _lock = self.lock_events();
        let record = self.port(bind.port);
        let movable = match record.state {
            EvtchnState::UNBOUND | EvtchnState::INTERDOMAIN | EvtchnState::PIRQ => true,
            EvtchnState::VIRQ => !Self::is_per_vcpu(record.virq),
            _ => false,
        };
        if !movable {
            return Err(Errno::EINVAL);
        }
        self.set_port(
            bind.port,
            Port {
                vcpu: bind.vcpu,
                ..record
            },
        );
        Ok(0)
    }
}
