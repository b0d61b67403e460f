//! Store and transactions in a dump.

use super::transaction::Touch;
use super::{Effect, Holdings, Store, Transaction};
use crate::dump::{read_perms, write_perms, DumpError, NodeReader, NodeWriter, Reader, Writer};

impl Store {
    pub(crate) fn write_state(&self, nodes: &mut NodeWriter, w: &mut Writer) {
        w.u64(self.generation);
        w.u32(nodes.number(self.live.root()));
    }

    pub(crate) fn read_state(nodes: &NodeReader, r: &mut Reader<'_>) -> Result<Store, DumpError> {
        let generation = r.u64()?;
        let store = Store::from_tree(nodes.tree(r)?, generation);
        store.check().map_err(|_| r.wrong("consistent tree"))?;
        Ok(store)
    }
}

impl Transaction {
    pub(crate) fn write_state(&self, nodes: &mut NodeWriter, w: &mut Writer) {
        w.u32(nodes.number(self.base.root()));
        w.u32(nodes.number(self.view.root()));
        w.u32(self.bytes);
        w.list(self.touched.iter(), |w, (path, touch)| {
            w.bytes(path.as_bytes());
            w.u8(touch.to_bits());
        });
        w.list(
            self.delta.iter().collect::<Vec<_>>().into_iter(),
            |w, (domid, count)| {
                w.u16(domid);
                w.u64(count as u64);
            },
        );
        w.list(self.effects.iter(), |w, (path, effect)| {
            w.bytes(path.as_bytes());
            match effect {
                Effect::None | Effect::Written => w.u8(0),
                Effect::Chmod(old) => {
                    w.u8(1);
                    write_perms(w, old);
                }
                Effect::Removed(node) => {
                    w.u8(2);
                    w.u32(nodes.number(node));
                }
            }
        });
    }

    pub(crate) fn read_state(
        nodes: &NodeReader,
        r: &mut Reader<'_>,
    ) -> Result<Transaction, DumpError> {
        let (base, view) = (nodes.tree(r)?, nodes.tree(r)?);
        let bytes = r.u32()?;
        let touched = r.list(|r| Ok((r.text()?.into(), Touch::from_bits(r.u8()?))))?;
        let mut delta = Holdings::default();
        for (domid, count) in r.list(|r| Ok((r.u16()?, r.u64()? as i64)))? {
            delta.add(domid, count);
        }
        let effects = r.list(|r| {
            let path = r.text()?.into();
            let effect = match r.u8()? {
                0 => Effect::Written,
                1 => Effect::Chmod(read_perms(r)?),
                2 => Effect::Removed(nodes.node(r)?),
                _ => return Err(r.wrong("an effect")),
            };
            Ok((path, effect))
        })?;
        Ok(Transaction {
            base,
            view,
            touched: touched.into_iter().collect(),
            delta,
            effects,
            bytes,
        })
    }
}
