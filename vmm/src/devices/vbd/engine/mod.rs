//! What carries out jobs: io_uring for raw images where the kernel has it, else a pool of threads.

mod pool;
mod uring;

use crate::devices::vbd::image::Image;
use crate::vstate::memory::GuestMemory;
use noxen_control::device::Engine as Wish;
use noxen_devices::pv::block::{Job, Outcome};
use std::fmt::Debug;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Carries out jobs without blocking its caller.
pub trait Engine: Debug + Send {
    /// Takes `jobs` (all of them); those that are over at once are added to `ended`.
    fn begin(&mut self, jobs: &mut Vec<Job>, ended: &mut Vec<(u32, Outcome)>);

    /// Adds the jobs that have ended, by token.
    fn finished(&mut self, ended: &mut Vec<(u32, Outcome)>);

    /// Readable when [`Self::finished`] has something.
    fn fd(&self) -> BorrowedFd<'_>;
}

/// Whether `wish` can be had for `image`; the line says why not.
pub fn check(wish: Wish, image: &Image) -> Result<(), String> {
    match (wish, image.raw()) {
        (Wish::IoUring, None) => {
            Err("engine io-uring is for raw images; leave the engine out".into())
        }
        (Wish::IoUring, Some(_)) => uring::available()
            .map_err(|error| format!("this kernel refuses io_uring ({error}); use engine threads")),
        _ => Ok(()),
    }
}

/// Makes the engine of one ring with `entries` requests at a time.
pub fn make(
    wish: Wish,
    image: &Arc<Image>,
    memory: &GuestMemory,
    entries: u32,
) -> Result<Box<dyn Engine>, String> {
    if wish != Wish::Threads && image.raw().is_some() {
        match uring::Uring::new(image.clone(), memory.clone(), entries) {
            Ok(engine) => return Ok(Box::new(engine)),
            Err(error) if wish == Wish::IoUring => {
                return Err(format!("this kernel refuses io_uring: {error}"))
            }
            // Without it (seccomp, kernel.io_uring_disabled, memory limits) threads serve as well.
            Err(_) => {}
        }
    }
    match pool::Pool::new(image.clone(), memory.clone()) {
        Ok(engine) => Ok(Box::new(engine)),
        Err(error) => Err(format!("cannot start an I/O thread: {error}")),
    }
}
