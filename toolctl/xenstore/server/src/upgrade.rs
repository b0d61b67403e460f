//! The loop's side of a change of program: what it hands over, and how the
//! next one takes its place. The way between them is [`crate::handover`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{ensure, Context};
use noxen_xenstore::dump::{dump, restore};
use noxen_xenstore::server::ConnId;
use noxen_xenstore::wire::Header;

use crate::connection::{Route, Table};
use crate::event_loop::Daemon;
use crate::handover::{self, State};
use crate::listeners::Listener;
use crate::log::Log;
use crate::options::Options;
use crate::output::Output;
use crate::process::PidFile;
use crate::recovery::Absent;
use crate::signals::Signals;

/// A change of program that a tool has asked for.
#[derive(Debug)]
pub struct Wanted {
    pub program: PathBuf,
    pub options: Option<String>,
    pub conn: ConnId,
    pub header: Header,
}

impl Daemon {
    /// Becomes the program that is wanted, if one is; says why where it cannot.
    pub(crate) fn upgrade(&mut self) {
        let Some(wanted) = self.wanted.take() else {
            return;
        };
        let shown = wanted.program.display();
        self.log.line(&format!("goes on as {shown}"));
        let (peers, indices) = self.table.for_next();
        let state = State {
            server: dump(&self.server),
            peers,
            absent: self.table.absent_guests(),
            asked: Some((wanted.conn, wanted.header)),
        };
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![self.pid_file.descriptor()];
        descriptors.extend(self.listeners.iter().map(|l| l.socket.as_fd()));
        let peers = indices.iter().filter_map(|i| self.table.peers[*i].as_ref());
        descriptors.extend(peers.map(|p| p.stream.as_fd()));
        let options = wanted.options.as_deref();
        let error = handover::become_next(&wanted.program, options, &state, &descriptors);
        drop(descriptors);
        self.log.line(&format!("stays as it is: {error:#}"));
        if let Some(route) = self.table.route_of(wanted.conn) {
            let header = wanted.header;
            let text = format!("{error:#}\0");
            self.table.outputs[route.peer].reply(
                header.kind,
                header.req_id,
                header.tx_id,
                &[text.as_bytes()],
            );
            self.table.dirty.push(route.peer);
            self.flush();
        }
    }

    /// The daemon that goes on with what another one has handed over.
    pub fn succeed(
        pid_file: PidFile,
        signals: Signals,
        listeners: Vec<Listener>,
        mut log: Log,
        state: State,
        descriptors: Vec<OwnedFd>,
        options: &Options,
    ) -> anyhow::Result<Daemon> {
        let server = restore(&state.server).context("the store that was handed over")?;
        ensure!(
            state.peers.len() == descriptors.len(),
            "{} connections were handed over with {} descriptors",
            state.peers.len(),
            descriptors.len()
        );
        log.line(&format!("took over {} connections", descriptors.len()));
        let mut table = Table::default();
        for (peer, descriptor) in state.peers.into_iter().zip(descriptors) {
            let index = table.add(UnixStream::from(descriptor), peer.door);
            table.outputs[index] = Output::from_parts(peer.ready, peer.sent, peer.events);
            if let Some(new) = &mut table.peers[index] {
                new.input.feed(&peer.input);
                new.ended = peer.ended;
            }
            if let Some((conn, kind, replies)) = peer.conn {
                let limit = server.outstanding_limit(conn);
                table.route(Route {
                    conn,
                    peer: index,
                    kind,
                    limit,
                    replies,
                });
            }
        }
        let kinds: Vec<_> = server.connections().collect();
        for guest in state.absent {
            let known = kinds.iter().find(|(conn, _)| *conn == guest.conn);
            let (conn, kind) = *known.context("an absent guest is not in the store")?;
            let limit = server.outstanding_limit(conn);
            table.add_absent(conn, kind, limit, Absent::of(guest, limit));
        }
        if let Some((conn, header)) = state.asked {
            if let Some(route) = table.route_of(conn) {
                table.outputs[route.peer].reply(
                    header.kind,
                    header.req_id,
                    header.tx_id,
                    &[b"OK\0"],
                );
            }
        }
        let mut daemon = Daemon::assemble(
            pid_file,
            signals,
            listeners,
            log,
            server,
            table,
            options.poll_limit,
        )?;
        daemon.take_peers_in()?;
        Ok(daemon)
    }
}
