//! The thread that serves the viewers of one screen.
//!
//! ```text
//!   wait: stop | wake (picture changed) | listener | clients
//!     clients: read -> inputs -> guest        write what waits
//!     changed, FRAME since the last look, somebody wants it: take changes -> sessions -> update -> write
//! ```

use crate::log::Level;
use crate::viewers::client::{Client, Gone};
use crate::viewers::guard::Guard;
use crate::viewers::{House, Picture, Touch};
use noxen_display::Settings;
use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use std::fmt::Arguments;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Viewers of one screen at a time.
pub const MOST: usize = 16;
/// No picture is made sooner after the one before: sixty in a second are more than people see.
const FRAME: Duration = Duration::from_millis(16);
/// How often it is looked for viewers that say nothing.
const ROUND: Duration = Duration::from_secs(5);
/// How long nobody is let in after the host could not take a connection (it has no descriptors left, mostly).
const REST: Duration = Duration::from_secs(1);

/// Takes lines that viewers can cause, and limits their rate.
pub type Report = Box<dyn Fn(Level, Arguments<'_>) + Send>;

/// Serves until dropped.
#[derive(Debug)]
pub struct Server {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `picture` to those who connect to `listener`.
    pub fn start(
        name: String,
        listener: TcpListener,
        house: House,
        picture: Arc<dyn Picture>,
        touch: Box<dyn Touch>,
        report: Report,
    ) -> io::Result<Server> {
        listener.set_nonblocking(true)?;
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(Arc::new);
        let (stop, wake) = (event()?, event()?);
        picture.tell(wake.clone());
        let serving = Serving {
            stop: stop.clone(),
            wake,
            listener,
            house,
            picture,
            touch,
            report,
            clients: Vec::new(),
            guard: Guard::default(),
            dirty: true,
            more: false,
            looked: Instant::now(),
            closed_until: None,
        };
        let thread = std::thread::Builder::new()
            .name(name)
            .stack_size(512 << 10)
            .spawn(move || serving.run())?;
        Ok(Server {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to give back.
            let _ = thread.join();
        }
    }
}

struct Serving {
    stop: Arc<OwnedFd>,
    wake: Arc<OwnedFd>,
    listener: TcpListener,
    house: House,
    picture: Arc<dyn Picture>,
    touch: Box<dyn Touch>,
    report: Report,
    clients: Vec<Client>,
    guard: Guard,
    /// The picture has changed since it was looked at.
    dirty: bool,
    /// Somebody was sent an update, and there may be more for it.
    more: bool,
    looked: Instant,
    closed_until: Option<Instant>,
}

/// What a wait ended with.
struct Ready {
    stop: bool,
    wake: bool,
    arrival: bool,
    clients: Vec<PollFlags>,
}

impl Serving {
    fn run(mut self) {
        loop {
            let ready = self.wait();
            if ready.stop {
                return;
            }
            if ready.wake {
                let mut count = [0; 8];
                let _ = rustix::io::read(&self.wake, &mut count);
                self.dirty = true;
            }
            self.serve(&ready.clients);
            if ready.arrival {
                self.accept();
            }
            self.show();
        }
    }

    fn somebody_wants(&self) -> bool {
        self.clients
            .iter()
            .any(|client| client.session.wants_update())
    }

    /// When to look at the picture again, from now.
    fn pause(&self) -> Option<Duration> {
        if !self.somebody_wants() {
            return None;
        }
        let period = match (self.dirty, self.picture.period()) {
            (true, _) => FRAME,
            (false, period) => period?,
        };
        Some(period.saturating_sub(self.looked.elapsed()))
    }

    fn wait(&mut self) -> Ready {
        let pause = match self.more {
            true => Duration::ZERO,
            false => self.pause().unwrap_or(ROUND).min(ROUND),
        };
        let now = Instant::now();
        let open = self.closed_until.is_none_or(|until| until <= now);
        let flags = if open {
            PollFlags::IN
        } else {
            PollFlags::empty()
        };
        let mut fds = vec![
            PollFd::new(&self.stop, PollFlags::IN),
            PollFd::new(&self.wake, PollFlags::IN),
            PollFd::new(&self.listener, flags),
        ];
        for client in &mut self.clients {
            let (socket, flags) = client.wanted();
            fds.push(PollFd::new(socket, flags));
        }
        let timeout = Timespec {
            tv_sec: pause.as_secs() as i64,
            tv_nsec: i64::from(pause.subsec_nanos()),
        };
        // An interrupted wait only looks earlier.
        let _ = poll(&mut fds, Some(&timeout));
        let is = |at: usize| !fds[at].revents().is_empty();
        Ready {
            stop: is(0),
            wake: is(1),
            arrival: is(2),
            clients: fds[3..].iter().map(PollFd::revents).collect(),
        }
    }

    fn serve(&mut self, ready: &[PollFlags]) {
        let size = self.picture.size();
        let mut index = 0;
        for flags in ready {
            let client = &mut self.clients[index];
            let was_in = client.session.is_running();
            let mut inputs = Vec::new();
            let mut result = client.check();
            if result.is_ok() && flags.contains(PollFlags::OUT) {
                result = client.write();
            }
            if result.is_ok() && flags.intersects(!PollFlags::OUT) {
                result = client.read(&mut inputs);
            }
            if !was_in && client.session.is_running() {
                self.guard.passed(client.address());
            }
            self.touch.push(&inputs, size);
            match result {
                Ok(()) => index += 1,
                Err(why) => self.part_with(index, why),
            }
        }
    }

    fn part_with(&mut self, index: usize, why: Gone) {
        let mut client = self.clients.remove(index);
        self.note();
        let mut inputs = Vec::new();
        client.session.release_all(&mut inputs);
        self.touch.push(&inputs, self.picture.size());
        let address = client.address();
        if let Gone::Ended(noxen_display::Ended::Password) = why {
            self.guard.failed(address, Instant::now());
        }
        (self.report)(
            Level::Info,
            format_args!("VNC: viewer from {address} is gone: {why}"),
        );
    }

    fn note(&self) {
        let there = self.clients.iter().map(Client::address);
        self.house.book.note(there.collect());
    }

    fn accept(&mut self) {
        let (socket, address) = match self.listener.accept() {
            Ok((socket, address)) => (socket, address.ip()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                self.closed_until = Some(Instant::now() + REST);
                return (self.report)(
                    Level::Warning,
                    format_args!("VNC: cannot take a viewer's connection: {error}"),
                );
            }
        };
        let refused = if self.clients.len() == MOST {
            Some("there are enough viewers")
        } else if !self.guard.admits(address, Instant::now()) {
            Some("it gave wrong passwords too often")
        } else {
            None
        };
        if let Some(why) = refused {
            return (self.report)(
                Level::Warning,
                format_args!("VNC: viewer from {address} is not let in: {why}"),
            );
        }
        let settings = Settings {
            password: self.house.book.password(),
            ..self.house.settings.clone()
        };
        let tls = self.house.tls.clone();
        match Client::new(socket, address, &settings, tls, self.picture.size()) {
            Ok(client) => {
                self.clients.push(client);
                self.note();
            }
            Err(error) => {
                return (self.report)(
                    Level::Warning,
                    format_args!("VNC: viewer from {address}: {error}"),
                );
            }
        }
        (self.report)(Level::Info, format_args!("VNC: viewer from {address}"));
    }

    /// Looks at the picture, if it is time, and sends who wants it what they have not seen.
    fn show(&mut self) {
        let due = self.pause() == Some(Duration::ZERO);
        if due {
            self.dirty = false;
            self.looked = Instant::now();
            let absolute = self.touch.is_absolute();
            for part in self.picture.take_changes() {
                for client in &mut self.clients {
                    client.session.changed(part);
                }
            }
            for client in &mut self.clients {
                client.session.set_absolute(absolute);
            }
        }
        self.more = false;
        for index in (0..self.clients.len()).rev() {
            let client = &mut self.clients[index];
            self.more |= client.session.update(&*self.picture);
            if let Err(why) = client.write() {
                self.part_with(index, why);
            }
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
