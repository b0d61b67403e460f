use super::*;
use crate::log::Log;
use crate::vstate::memory::GuestMemory;
use std::time::{Duration, Instant};
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// A domain that counts how often it was let run on.
struct Stand {
    hub: Arc<Hub>,
    job: Option<Job>,
    ran_on: u32,
}

impl Stand {
    fn new() -> Stand {
        let memory = GuestMemory::from_ranges(&[(GuestAddress(0), 4096)]).unwrap();
        let wake = EventFd::new(EFD_NONBLOCK).unwrap();
        let log = Log::new(None, 1, "test");
        Stand {
            hub: Arc::new(Hub::new(log, memory, channel().0, wake)),
            job: None,
            ran_on: 0,
        }
    }

    /// Waits for the reply of its job.
    fn reply(&mut self) -> (u64, Reply) {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(reply) = take_news(self) {
                return reply;
            }
            assert!(Instant::now() < limit, "no reply");
            std::thread::yield_now();
        }
    }
}

impl Host for Stand {
    fn hub(&self) -> Arc<Hub> {
        self.hub.clone()
    }

    fn job(&mut self) -> &mut Option<Job> {
        &mut self.job
    }

    fn halt(&mut self, _directories: &[String]) -> Result<State, String> {
        Err("it cannot".into())
    }

    fn run_on(&mut self) {
        self.ran_on += 1;
    }

    fn stop_logging(&mut self) {}
}

#[test]
fn written_domain_stands_still_until_it_is_let_run_or_nobody_waits() {
    let mut host = Stand::new();
    begin_still(&mut host, 7, |_| Ok(Ledger::of_file(5))).unwrap();
    assert!(give_up_written(&mut host).is_err() || host.job.as_ref().unwrap().is_written());
    assert_eq!(host.reply(), (7, Reply::Saved { bytes: 5 }));
    assert!(host.job.as_ref().unwrap().is_still() && host.ran_on == 0);
    give_up_written(&mut host).unwrap();
    assert!(host.job.is_none() && host.ran_on == 1);

    begin_still(&mut host, 8, |_| Ok(Ledger::of_file(5))).unwrap();
    host.reply();
    hold(&mut host).unwrap();
    abandon(&mut host);
    assert!(host.job.is_some(), "it was held");
    end(&mut host);
    assert!(host.job.is_none() && host.ran_on == 2);
    assert!(hold(&mut host).is_err());
}

#[test]
fn domain_runs_on_after_an_error_and_when_its_asker_goes_meanwhile() {
    let mut host = Stand::new();
    begin_still(&mut host, 1, |_| Err("no space".into())).unwrap();
    let message = "no space".to_owned();
    assert_eq!(host.reply(), (1, Reply::Error { message }));
    assert!(host.job.is_none() && host.ran_on == 1);

    begin_still(&mut host, 2, |progress| {
        progress.begin(1 << 40);
        loop {
            progress.pass(1).map_err(|error| error.to_string())?;
            std::thread::yield_now();
        }
    })
    .unwrap();
    abandon(&mut host);
    let (_, reply) = host.reply();
    assert!(matches!(reply, Reply::Error { message } if message.contains("gone")));
    assert!(host.job.is_none() && host.ran_on == 2);
}
