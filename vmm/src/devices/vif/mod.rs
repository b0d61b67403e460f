//! Network interfaces: a front end's queues on the queues of a tap.
//!
//! ```text
//!   xend: tap fds --> make(): adopted, carrier off
//!   connect(): offloads as the guest takes them, a thread per queue (queue.rs), carrier on
//!   disconnect(): carrier off, threads ended, ring pages given back
//! ```
//! The carrier follows the front end, so a bridge keeps frames away from a domain that is not there to
//! take them.

mod announce;
mod queue;
mod tap;
#[cfg(test)]
pub(crate) mod testing;

use crate::devices::backend::{Backend, ConnectError, Context, Frontend, Published, Reporter};
use crate::log::Level;
use crate::vstate::irq::Channel;
use noxen_control::device::VifRate;
use noxen_control::tap::{adopt, set_carrier, set_offloads, set_queue_enabled, Offloads};
use noxen_control::DeviceId;
use noxen_devices::pv::grant::{Access, Grant};
use noxen_devices::pv::net::front::{offered, Features, Front, Ports, QueueNodes, MAX_QUEUES};
use noxen_devices::pv::net::rate::Credit;
use noxen_devices::pv::net::receive::Receive;
use noxen_devices::pv::net::transmit::Transmit;
use noxen_devices::pv::net::Shared;
use noxen_saved_image::device as state;
use noxen_saved_image::state::Bytes;
use noxen_saved_image::Device;
use queue::Queue;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tap::TapQueue;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// One interface.
pub struct Vif {
    id: DeviceId,
    context: Context,
    queues: Vec<Arc<OwnedFd>>,
    interface: String,
    mac: String,
    rate: Option<VifRate>,
    running: Option<Running>,
    /// Groups that the guest wanted to hear before it was stopped.
    heard: Vec<[u8; 6]>,
    /// The guest comes from elsewhere, and the network is to hear where it is now.
    arrives: bool,
}

/// What is in use while a front end is connected.
struct Running {
    stop: Arc<EventFd>,
    threads: Vec<JoinHandle<()>>,
    rings: Vec<Grant>,
    shared: Arc<Shared>,
}

/// Makes the back end of interface `id` on the queues of a tap. `goes_on`: another process was it until now, and the carrier stays as
/// it is.
pub fn make(
    id: DeviceId,
    mac: &str,
    rate: Option<VifRate>,
    fds: Vec<OwnedFd>,
    context: &Context,
    goes_on: bool,
) -> Result<Vif, String> {
    if fds.is_empty() || fds.len() > MAX_QUEUES as usize {
        return Err(format!(
            "{} tap queues came along; 1 to {MAX_QUEUES} are possible",
            fds.len()
        ));
    }
    let mut interface = String::new();
    for fd in &fds {
        let name = adopt(fd).map_err(|error| error.to_string())?;
        if !interface.is_empty() && name != interface {
            return Err(format!(
                "queues of two taps came along: {interface}, {name}"
            ));
        }
        interface = name;
    }
    if !goes_on {
        set_carrier(&fds[0], false).map_err(|error| format!("tap {interface}: {error}"))?;
    }
    Ok(Vif {
        id,
        context: context.clone(),
        queues: fds.into_iter().map(Arc::new).collect(),
        interface,
        mac: mac.to_owned(),
        rate,
        running: None,
        heard: Vec::new(),
        arrives: false,
    })
}

impl Vif {
    fn host(&self, error: std::io::Error) -> ConnectError {
        ConnectError::refused(format_args!("tap {}: {error}", self.interface))
    }

    /// Lets the host leave undone what the guest takes undone, on as many queues as it has.
    fn prepare_tap(&self, features: &Features, used: usize) -> Result<(), ConnectError> {
        let csum = features.csum_v4 && features.csum_v6;
        let offloads = Offloads {
            csum,
            tso4: csum && features.sg && features.gso_v4,
            tso6: csum && features.sg && features.gso_v6,
        };
        set_offloads(&self.queues[0], offloads).map_err(|error| self.host(error))?;
        if self.queues.len() > 1 {
            for (index, queue) in self.queues.iter().enumerate() {
                // Already as it should be: the kernel calls that an error.
                let _ = set_queue_enabled(queue, index < used);
            }
        }
        Ok(())
    }

    fn credit(&self) -> Option<Credit> {
        let rate = self.rate?;
        Credit::new(rate.bytes, rate.interval_us, Duration::ZERO)
    }

    /// Takes the rings of one queue into use. The grants go into `rings` at once, whatever comes of it.
    fn queue(
        &self,
        nodes: &QueueNodes,
        fd: &Arc<OwnedFd>,
        shared: &Arc<Shared>,
        rings: &mut Vec<Grant>,
    ) -> Result<Queue<Channel>, ConnectError> {
        let memory = self.context.memory();
        let mut page = |gref| {
            let grant = self.context.grants().map(memory, gref, Access::Write);
            let grant = grant.map_err(ConnectError::refused)?;
            let page = grant.page();
            rings.push(grant);
            Ok::<_, ConnectError>(page)
        };
        let (tx_page, rx_page) = (page(nodes.tx_ring)?, page(nodes.rx_ring)?);
        let (tx_channel, rx_channel) = match nodes.ports {
            Ports::One(port) => (self.context.bind(port)?, None),
            Ports::Split { tx, rx } => (self.context.bind(tx)?, Some(self.context.bind(rx)?)),
        };
        Ok(Queue {
            memory: memory.clone(),
            transmit: Transmit::new(memory, tx_page).map_err(ConnectError::refused)?,
            receive: Receive::new(memory, rx_page).map_err(ConnectError::refused)?,
            tap: TapQueue::new(fd.clone()),
            tx_channel,
            rx_channel,
            shared: shared.clone(),
        })
    }

    fn start(
        &self,
        front: &Front,
        shared: &Arc<Shared>,
        reporter: &Reporter,
        running: &mut Running,
    ) -> Result<(), ConnectError> {
        let started = Instant::now();
        let mut queues = Vec::new();
        for (nodes, fd) in front.queues.iter().zip(&self.queues) {
            queues.push(self.queue(nodes, fd, shared, &mut running.rings)?);
        }
        self.prepare_tap(&front.features, queues.len())?;
        for (index, mut queue) in queues.into_iter().enumerate() {
            let (stop, reporter) = (running.stop.clone(), reporter.clone());
            let work = move || {
                if let Err(error) = queue.run(&stop, started) {
                    reporter.broken(error);
                }
            };
            let thread = std::thread::Builder::new()
                .name(format!("vif{}-q{index}", self.id.devid))
                .spawn(work)
                .map_err(ConnectError::refused)?;
            running.threads.push(thread);
        }
        set_carrier(&self.queues[0], true).map_err(|error| self.host(error))
    }

    /// Tells switches where the guest's address is now.
    fn announce(&self, running: &mut Running) {
        let tap = self.queues[0].clone();
        match announce::start(&self.mac, tap, running.stop.clone()) {
            Ok(thread) => running.threads.extend(thread),
            // It is missed by nobody once the guest sends a frame of its own.
            Err(error) => self.context.hub().log.line(
                Level::Warning,
                format_args!("{} is not announced: {error}", self.id),
            ),
        }
    }

    /// Ends what runs, and gives back what it used.
    fn end(&self, running: Running) {
        // Only a counter at its limit refuses, and then it is readable.
        let _ = running.stop.write(1);
        for thread in running.threads {
            // A thread that panicked has nothing more to finish.
            let _ = thread.join();
        }
        for grant in running.rings {
            self.context.grants().unmap(self.context.memory(), grant);
        }
    }
}

impl Backend for Vif {
    fn features(&self) -> Published {
        offered(self.queues.len() as u32)
    }

    fn connect(
        &mut self,
        frontend: &mut Frontend<'_>,
        reporter: Reporter,
    ) -> Result<Published, ConnectError> {
        let mut failed = None;
        let front = Front::read(self.queues.len() as u32, &mut |name| {
            frontend.text(name).unwrap_or_else(|error| {
                failed.get_or_insert(error);
                None
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
        let front = front.map_err(ConnectError::refused)?;
        let grants = *self.context.grants();
        let shared = Arc::new(Shared::new(grants, front.features, self.credit()));
        let mut filter = shared.filter.lock().unwrap_or_else(PoisonError::into_inner);
        for address in self.heard.drain(..) {
            filter.add(address);
        }
        drop(filter);
        let stop = EventFd::new(EFD_NONBLOCK).map_err(ConnectError::refused)?;
        let mut running = Running {
            stop: Arc::new(stop),
            threads: Vec::new(),
            rings: Vec::new(),
            shared: shared.clone(),
        };
        if let Err(error) = self.start(&front, &shared, &reporter, &mut running) {
            self.end(running);
            return Err(error);
        }
        if std::mem::take(&mut self.arrives) {
            self.announce(&mut running);
        }
        self.running = Some(running);
        Ok(Published::new())
    }

    fn disconnect(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        // An interface that somebody has deleted has no carrier either.
        let _ = set_carrier(&self.queues[0], false);
        let shared = running.shared.clone();
        self.end(running);
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &shared.counters;
        self.context.hub().log.line(
            Level::Info,
            format_args!(
                "{} on {}: sent {} packets ({} bytes, {} lost), received {} ({} bytes, {} lost)",
                self.id,
                self.interface,
                count(&counters.tx_packets),
                count(&counters.tx_bytes),
                count(&counters.tx_dropped),
                count(&counters.rx_packets),
                count(&counters.rx_bytes),
                count(&counters.rx_dropped),
            ),
        );
    }

    fn freeze(&mut self) -> Device {
        let mut heard = Vec::new();
        let running = self.running.take();
        let connected = running.is_some();
        // The carrier stays: frames wait in the tap until somebody goes on.
        if let Some(running) = running {
            let shared = running.shared.clone();
            self.end(running);
            let filter = shared.filter.lock().unwrap_or_else(PoisonError::into_inner);
            heard.extend_from_slice(filter.addresses());
        }
        self.heard.clone_from(&heard);
        Device::Vif(state::Vif {
            devid: self.id.devid,
            connected,
            mac: self.mac.clone(),
            multicast: heard.iter().map(|group| Bytes(group.to_vec())).collect(),
        })
    }

    fn take_up(&mut self, saved: Device) {
        if let Device::Vif(saved) = saved {
            let group = |bytes: Bytes| bytes.0.try_into().ok();
            self.heard = saved.multicast.into_iter().filter_map(group).collect();
            self.arrives = true;
        }
    }

    fn again(&self) -> Result<Vec<OwnedFd>, String> {
        let again = |queue: &Arc<OwnedFd>| queue.try_clone().map_err(|error| error.to_string());
        self.queues.iter().map(again).collect()
    }
}

impl Drop for Vif {
    fn drop(&mut self) {
        self.disconnect();
    }
}
