//! Operations on nodes: payload to store and back.

use super::{Call, ConnKind, Server, Sink, OK};
use crate::store::Effect;
use crate::wire::PAYLOAD_MAX;
use crate::{path, Errno, Perms};

impl Server {
    pub(super) fn read(&mut self, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        let mut name = std::mem::take(&mut self.scratch.name);
        let result = path::resolve(call.one()?, call.who.domid, &mut name).and_then(|path| {
            self.with_request(&call, |r| {
                let value = r.read(path)?;
                sink.send(
                    call.conn,
                    crate::wire::Op::Read,
                    call.header.req_id,
                    call.header.tx_id,
                    &[value],
                );
                Ok(())
            })
        });
        self.scratch.name = name;
        result
    }

    pub(super) fn directory(&mut self, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        self.answer(call, sink, |server, path, reply| {
            server.with_request(&call, |r| {
                for (name, _) in r.directory(path)?.children.iter() {
                    if reply.len() + name.len() + 1 > PAYLOAD_MAX {
                        return Err(Errno::E2BIG);
                    }
                    reply.extend_from_slice(name.as_bytes());
                    reply.push(0);
                }
                Ok(())
            })
        })
    }

    /// `DIRECTORY_PART`: path and offset in; out come the list's generation
    /// and the names from that offset on, with an empty name after the last
    /// of all.
    pub(super) fn directory_part(
        &mut self,
        call: Call<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), Errno> {
        let [raw, offset] = call.exactly()?;
        let offset = leading_number(offset);
        let mut name = std::mem::take(&mut self.scratch.name);
        let mut reply = std::mem::take(&mut self.scratch.reply);
        reply.clear();
        let result = path::resolve(raw, call.who.domid, &mut name).and_then(|path| {
            self.with_request(&call, |r| {
                let node = r.directory(path)?;
                reply.extend_from_slice(format!("{}\0", node.children_generation).as_bytes());
                let (mut at, mut all) = (0, true);
                for (name, _) in node.children.iter() {
                    let here = at;
                    at += name.len() + 1;
                    if here < offset {
                        continue;
                    }
                    // One byte stays free for the empty name at the end.
                    if reply.len() + name.len() + 2 > PAYLOAD_MAX {
                        all = false;
                        break;
                    }
                    reply.extend_from_slice(name.as_bytes());
                    reply.push(0);
                }
                if all {
                    reply.push(0);
                }
                Ok(())
            })
        });
        if result.is_ok() {
            self.reply(&call, &[&reply], sink);
        }
        (self.scratch.name, self.scratch.reply) = (name, reply);
        result
    }

    pub(super) fn get_perms(&mut self, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        let raw = call.one()?;
        if path::is_special(raw) {
            let special = std::str::from_utf8(raw)
                .ok()
                .and_then(|n| self.special_perms.get(n));
            let mut reply = Vec::new();
            special.ok_or(Errno::EINVAL)?.append_wire(&mut reply);
            self.reply(&call, &[&reply], sink);
            return Ok(());
        }
        self.answer(call, sink, |server, path, reply| {
            server.with_request(&call, |r| {
                r.perms(path)?.append_wire(reply);
                if reply.len() > PAYLOAD_MAX {
                    return Err(Errno::E2BIG);
                }
                Ok(())
            })
        })
    }

    /// Resolves the one path of the payload, lets `fill` make the reply.
    fn answer(
        &mut self,
        call: Call<'_>,
        sink: &mut dyn Sink,
        fill: impl FnOnce(&mut Server, &str, &mut Vec<u8>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut name = std::mem::take(&mut self.scratch.name);
        let mut reply = std::mem::take(&mut self.scratch.reply);
        reply.clear();
        let result = call
            .one()
            .and_then(|raw| path::resolve(raw, call.who.domid, &mut name))
            .and_then(|path| fill(self, path, &mut reply));
        if result.is_ok() {
            self.reply(&call, &[&reply], sink);
        }
        (self.scratch.name, self.scratch.reply) = (name, reply);
        result
    }

    /// Resolves a path, lets `act` change the store, replies OK and tells the
    /// watchers, in this order.
    fn change(
        &mut self,
        call: Call<'_>,
        raw: &[u8],
        sink: &mut dyn Sink,
        act: impl FnOnce(&mut Server, &str) -> Result<Effect, Errno>,
    ) -> Result<(), Errno> {
        let mut name = std::mem::take(&mut self.scratch.name);
        let result = path::resolve(raw, call.who.domid, &mut name).and_then(|path| {
            let effect = act(self, path)?;
            self.reply(&call, &[OK], sink);
            self.fire(path, &effect, sink);
            Ok(())
        });
        self.scratch.name = name;
        result
    }

    pub(super) fn write(&mut self, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        let (raw, value) = call.first_and_rest()?;
        self.change(call, raw, sink, |server, path| {
            server.with_request(&call, |r| r.write(path, value))
        })
    }

    pub(super) fn mkdir(&mut self, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        self.change(call, call.one()?, sink, |server, path| {
            server.with_request(&call, |r| r.mkdir(path))
        })
    }

    pub(super) fn rm(&mut self, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        self.change(call, call.one()?, sink, |server, path| {
            server.with_request(&call, |r| r.rm(path))
        })
    }

    pub(super) fn set_perms(&mut self, call: Call<'_>, sink: &mut dyn Sink) -> Result<(), Errno> {
        let mut strings = crate::wire::strings(call.payload).ok_or(Errno::EINVAL)?;
        let raw = strings.next().ok_or(Errno::EINVAL)?;
        let perms = Perms::parse(strings)?;
        if path::is_special(raw) {
            if !matches!(call.kind, ConnKind::Tool) {
                return Err(Errno::EACCES);
            }
            let known = std::str::from_utf8(raw)
                .ok()
                .and_then(|n| self.special_perms.get_mut(n));
            *known.ok_or(Errno::EINVAL)? = perms;
            self.reply(&call, &[OK], sink);
            return Ok(());
        }
        self.change(call, raw, sink, |server, path| {
            server.with_request(&call, |r| r.set_perms(path, perms))
        })
    }
}

/// Like C's `atoi` for an offset: digits up to the first other byte, 0
/// without any; bounded.
fn leading_number(text: &[u8]) -> usize {
    let digits = text.iter().take_while(|b| b.is_ascii_digit());
    digits.fold(0usize, |n, d| {
        n.saturating_mul(10).saturating_add(usize::from(d - b'0'))
    })
}
