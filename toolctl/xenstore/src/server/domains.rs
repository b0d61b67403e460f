//! Domains as the store knows them: introduced, released, resumed.
//!
//! ```text
//!   unknown --INTRODUCE--> introduced --RELEASE--> unknown
//!                 |            |  ^                    |
//!        @introduceDomain      '--' RESUME       @releaseDomain,
//!                                                its nodes removed
//! ```
//!
//! The ring itself is noxen-vmm's: it connects in the guest's name, before or
//! after the introduction, and that connection may come and go in between.

use super::{Call, Server, Sink, OK};
use crate::perms::{parse_domid, DOMID_FIRST_RESERVED};
use crate::{path, DomId, Errno};

/// An introduced domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Frame of the ring page, as the domain builder named it.
    pub mfn: u64,
    /// The guest's event channel port for the ring.
    pub evtchn: u32,
    /// A domain whose rights this one has as well.
    pub target: Option<DomId>,
}

fn domid(text: &[u8]) -> Result<DomId, Errno> {
    parse_domid(text)
        .filter(|d| *d < DOMID_FIRST_RESERVED)
        .ok_or(Errno::EINVAL)
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Result<T, Errno> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|t| t.parse().ok())
        .ok_or(Errno::EINVAL)
}

impl Server {
    /// The introduced domains.
    pub fn domains(&self) -> impl Iterator<Item = (DomId, Domain)> + '_ {
        self.domains.iter().map(|(id, d)| (*id, *d))
    }

    pub(super) fn introduce(&mut self, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        call.privileged()?;
        let mut strings = crate::wire::strings(call.payload).ok_or(Errno::EINVAL)?;
        let mut next = || strings.next().ok_or(Errno::EINVAL);
        let (id, mfn, evtchn) = (
            domid(next()?)?,
            number::<u64>(next()?)?,
            number::<u32>(next()?)?,
        );
        if id == 0 || evtchn == 0 {
            return Err(Errno::EINVAL);
        }
        let known = self.domains.get(&id).copied();
        let target = known.and_then(|d| d.target);
        self.domains.insert(
            id,
            Domain {
                mfn,
                evtchn,
                target,
            },
        );
        self.reply(&call, &[OK], sink);
        if known.is_none() {
            self.fire_special(path::INTRODUCE_DOMAIN, sink);
        }
        Ok(())
    }

    pub(super) fn release(&mut self, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        call.privileged()?;
        let id = domid(call.one()?)?;
        if id == 0 {
            return Err(Errno::EINVAL);
        }
        self.domains.remove(&id).ok_or(Errno::ENOENT)?;
        for other in self.domains.values_mut() {
            other.target = other.target.filter(|t| *t != id);
        }
        if let Some(conn) = self.guests.get(&id).copied() {
            self.disconnect(conn);
            sink.close(conn);
        }
        self.reply(&call, &[OK], sink);
        for (path, effect) in self.store.forget_domain(id) {
            self.fire(&path, &effect, sink);
        }
        self.fire_special(path::RELEASE_DOMAIN, sink);
        Ok(())
    }

    pub(super) fn resume(&mut self, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        call.privileged()?;
        let id = domid(call.one()?)?;
        if !self.domains.contains_key(&id) {
            return Err(Errno::ENOENT);
        }
        self.reply(&call, &[OK], sink);
        Ok(())
    }

    pub(super) fn set_target(&mut self, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        call.privileged()?;
        let [id, target] = call.exactly()?;
        let (id, target) = (domid(id)?, domid(target)?);
        if !self.domains.contains_key(&target) {
            return Err(Errno::ENOENT);
        }
        self.domains.get_mut(&id).ok_or(Errno::ENOENT)?.target = Some(target);
        self.reply(&call, &[OK], sink);
        Ok(())
    }

    pub(super) fn get_domain_path(
        &mut self,
        call: Call<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), Errno> {
        let id = parse_domid(call.one()?).ok_or(Errno::EINVAL)?;
        self.reply(&call, &[path::home(id).as_bytes(), b"\0"], sink);
        Ok(())
    }

    pub(super) fn is_domain_introduced(
        &mut self,
        call: Call<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), Errno> {
        let id = parse_domid(call.one()?).ok_or(Errno::EINVAL)?;
        let id = if id == DOMID_FIRST_RESERVED {
            call.who.domid
        } else {
            id
        };
        let known = id == 0 || self.domains.contains_key(&id);
        self.reply(&call, &[if known { b"T\0" } else { b"F\0" }], sink);
        Ok(())
    }
}
