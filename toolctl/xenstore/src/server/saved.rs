//! The server's own part of a dump: who is connected, who watches what, which
//! domains there are.

use std::collections::BTreeMap;

use super::{Conn, ConnId, ConnKind, Counters, Domain, Scratch, Server, Slot};
use crate::dump::{read_perms, write_perms, DumpError, NodeReader, NodeWriter, Reader, Writer};
use crate::quota::Quota;
use crate::store::{Store, Transaction};
use crate::watch::{Watch, Watches};

impl ConnId {
    /// Appends the connection's name to a dump or a journal.
    pub fn write(self, w: &mut Writer) {
        w.u32(self.slot);
        w.u32(self.life);
    }

    /// Takes a connection's name from a dump or a journal.
    pub fn read(r: &mut Reader<'_>) -> Result<ConnId, DumpError> {
        Ok(ConnId {
            slot: r.u32()?,
            life: r.u32()?,
        })
    }
}

fn write_conn(conn: &Conn, nodes: &mut NodeWriter, w: &mut Writer) {
    let (kind, domid) = match conn.kind {
        ConnKind::Tool => (1, 0),
        ConnKind::ReadOnlyTool => (2, 0),
        ConnKind::Guest(domid) => (3, domid),
    };
    w.u8(kind);
    w.u16(domid);
    w.u32(conn.next_tx);
    w.list(conn.transactions.iter(), |w, (id, tx)| {
        w.u32(*id);
        tx.write_state(nodes, w);
    });
}

fn read_conn(nodes: &NodeReader, r: &mut Reader<'_>) -> Result<Option<Conn>, DumpError> {
    let (kind, domid) = match r.u8()? {
        0 => return Ok(None),
        kind => (kind, r.u16()?),
    };
    let kind = match kind {
        1 => ConnKind::Tool,
        2 => ConnKind::ReadOnlyTool,
        3 => ConnKind::Guest(domid),
        _ => return Err(r.wrong("a kind of connection")),
    };
    let next_tx = r.u32()?;
    let transactions = r.list(|r| Ok((r.u32()?, Transaction::read_state(nodes, r)?)))?;
    Ok(Some(Conn {
        kind,
        domid,
        next_tx,
        transactions,
    }))
}

impl Server {
    pub(crate) fn write_state(&self, nodes: &mut NodeWriter, w: &mut Writer) {
        self.store.write_state(nodes, w);
        w.list(self.quota.list().into_iter(), |w, (_, limit)| w.u32(limit));
        w.list(self.soft.list().into_iter(), |w, (_, limit)| w.u32(limit));
        w.list(self.domains.iter(), |w, (id, domain)| {
            w.u16(*id);
            w.u64(domain.mfn);
            w.u32(domain.evtchn);
            w.u8(u8::from(domain.target.is_some()));
            w.u16(domain.target.unwrap_or(0));
        });
        w.list(self.special_perms.iter(), |w, (name, perms)| {
            w.bytes(name.as_bytes());
            write_perms(w, perms);
        });
        w.list(self.slots.iter(), |w, slot| {
            w.u32(slot.life);
            match &slot.conn {
                None => w.u8(0),
                Some(conn) => write_conn(conn, nodes, w),
            }
        });
        w.list(self.free.iter(), |w, slot| w.u32(*slot));
        w.u64(self.watches.last_serial());
        w.list(self.watches.all().into_iter(), |w, watch| {
            w.u64(watch.serial);
            watch.conn.write(w);
            w.bytes(watch.path.as_bytes());
            w.bytes(&watch.token);
            w.u32(watch.hide as u32);
        });
    }

    pub(crate) fn read_state(nodes: &NodeReader, r: &mut Reader<'_>) -> Result<Server, DumpError> {
        let mut server = Server::with_store(Store::read_state(nodes, r)?);
        let limits = r.list(|r| r.u32())?;
        let mut quota = Quota::GUEST;
        for ((name, _), limit) in Quota::GUEST.list().into_iter().zip(limits) {
            quota.set(name, limit).map_err(|_| r.wrong("a quota"))?;
        }
        let mut soft = Quota::UNLIMITED;
        for ((name, _), limit) in soft.list().into_iter().zip(r.list(|r| r.u32())?) {
            soft.set(name, limit).map_err(|_| r.wrong("a soft limit"))?;
        }
        let domains = r.list(|r| {
            let (id, mfn, evtchn) = (r.u16()?, r.u64()?, r.u32()?);
            let (is_some, target) = (r.u8()? != 0, r.u16()?);
            Ok((
                id,
                Domain {
                    mfn,
                    evtchn,
                    target: is_some.then_some(target),
                },
            ))
        })?;
        let special = r.list(|r| Ok((r.text()?.to_owned(), read_perms(r)?)))?;
        let slots = r.list(|r| {
            Ok(Slot {
                life: r.u32()?,
                conn: read_conn(nodes, r)?,
            })
        })?;
        let free = r.list(|r| r.u32())?;
        if free
            .iter()
            .any(|slot| slots.get(*slot as usize).is_none_or(|s| s.conn.is_some()))
        {
            return Err(r.wrong("a free slot"));
        }
        let serial = r.u64()?;
        let watches = r.list(|r| {
            Ok(Watch {
                serial: r.u64()?,
                conn: ConnId::read(r)?,
                path: r.text()?.into(),
                token: r.bytes()?.into(),
                hide: r.u32()? as usize,
            })
        })?;
        server.quota = quota;
        server.soft = soft;
        server.domains = domains.into_iter().collect();
        server.special_perms = special.into_iter().collect::<BTreeMap<_, _>>();
        server.slots = slots;
        server.free = free;
        server.guests = server
            .connections()
            .filter_map(|(id, kind)| guest(id, kind))
            .collect();
        if watches
            .iter()
            .any(|watch| server.conn(watch.conn).is_none())
        {
            return Err(r.wrong("a watching connection"));
        }
        server.watches = Watches::from_parts(serial, watches);
        server.counters = Counters::default();
        server.scratch = Scratch::default();
        Ok(server)
    }

    /// Every connection there is, with its kind.
    pub fn connections(&self) -> impl Iterator<Item = (ConnId, ConnKind)> + '_ {
        self.slots.iter().enumerate().filter_map(|(slot, place)| {
            let id = ConnId {
                slot: slot as u32,
                life: place.life,
            };
            place.conn.as_ref().map(|c| (id, c.kind))
        })
    }
}

fn guest(id: ConnId, kind: ConnKind) -> Option<(crate::DomId, ConnId)> {
    match kind {
        ConnKind::Guest(domid) => Some((domid, id)),
        ConnKind::Tool | ConnKind::ReadOnlyTool => None,
    }
}
