use super::*;
use crate::log::Log;
use crate::vstate::memory::GuestMemory;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// A domain that counts how often it was let run on.
struct Stand {
    hub: Arc<Hub>,
    job: Option<Job>,
    ran_on: u32,
    asked: u32,
    taken_back: u32,
    suspended: bool,
    refuses: Option<&'static str>,
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
            asked: 0,
            taken_back: 0,
            suspended: false,
            refuses: None,
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

    fn halt(&mut self, _directories: &[String]) -> Result<Saved, String> {
        Err("it cannot".into())
    }

    fn goods(&mut self) -> Result<Goods, String> {
        Err("it has none".into())
    }

    fn run_on(&mut self) {
        self.ran_on += 1;
    }

    fn stop_logging(&mut self) {}

    fn ask_suspend(&mut self) -> Result<(), String> {
        self.asked += 1;
        self.refuses.map_or(Ok(()), |line| Err(line.into()))
    }

    fn take_back_suspend(&mut self) {
        self.taken_back += 1;
    }

    fn is_suspended(&self) -> bool {
        self.suspended
    }
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

/// Waits until the job has asked the guest.
fn until_asked(host: &mut Stand) {
    let limit = Instant::now() + Duration::from_secs(20);
    while host.asked == 0 {
        assert_eq!(take_news(host), None);
        assert!(Instant::now() < limit, "it is not asked");
        std::thread::yield_now();
    }
}

fn begin_by_guest(host: &mut Stand) {
    let writes = |mailbox: &Mailbox, progress: &Arc<Progress>| {
        suspended::wait(mailbox, progress, 1)?;
        match mailbox.halt() {
            Err(line) => assert_eq!(line, "it cannot"),
            Ok(_) => panic!("it stands still"),
        }
        Ok(Ledger::of_file(5))
    };
    start(host, 3, Vec::new(), Phase::Rounds, writes).unwrap();
}

#[test]
fn guest_that_is_asked_to_suspend_itself_is_waited_for_and_then_stands_still() {
    let mut host = Stand::new();
    begin_by_guest(&mut host);
    until_asked(&mut host);
    // News of something else.
    guest_news(&mut host, false);
    assert!(host.job.as_ref().unwrap().awaits.is_some());
    host.suspended = true;
    guest_news(&mut host, false);
    assert!(host.ran_on == 0);
    assert_eq!(host.reply(), (3, Reply::Saved { bytes: 5 }));
    assert_eq!(host.taken_back, 0);
    end(&mut host);
    assert_eq!(host.ran_on, 1);
}

#[test]
fn guest_that_suspends_itself_unasked_runs_on() {
    let mut host = Stand::new();
    host.suspended = true;
    guest_news(&mut host, false);
    assert_eq!(host.ran_on, 1);
}

#[test]
fn guest_that_does_not_suspend_itself_is_not_saved_and_need_not_any_more() {
    // It cannot be asked.
    let mut host = Stand::new();
    host.refuses = Some("no store");
    begin_by_guest(&mut host);
    let message = "no store".to_owned();
    assert_eq!(host.reply(), (3, Reply::Error { message }));
    assert_eq!((host.taken_back, host.ran_on), (0, 0));

    // Whoever wanted it goes.
    let mut host = Stand::new();
    begin_by_guest(&mut host);
    until_asked(&mut host);
    abandon(&mut host);
    let (_, reply) = host.reply();
    assert!(matches!(reply, Reply::Error { .. }));
    assert_eq!((host.taken_back, host.ran_on), (1, 0));

    // It ends.
    let mut host = Stand::new();
    begin_by_guest(&mut host);
    until_asked(&mut host);
    guest_news(&mut host, true);
    let (_, reply) = host.reply();
    let Reply::Error { message } = reply else {
        panic!("{reply:?}")
    };
    assert!(message.contains("shut down instead"), "{message}");

    // It has suspended itself, and whoever wanted it goes before it stands still.
    let mut host = Stand::new();
    begin_by_guest(&mut host);
    until_asked(&mut host);
    host.suspended = true;
    abandon(&mut host);
    let (_, reply) = host.reply();
    assert!(matches!(reply, Reply::Error { .. }));
    assert_eq!((host.taken_back, host.ran_on), (1, 1));
}

#[test]
fn pages_after_a_domain_are_waited_for_and_cut_off_once_it_runs_on() {
    let mut host = Stand::new();
    let (go, gone) = channel();
    let wanted = Pages {
        bytes: 8192,
        asked: 1,
        micros: 2,
    };
    let writes = move |mailbox: &Mailbox, _: &Arc<Progress>| {
        let later = mailbox.clone();
        std::thread::spawn(move || {
            gone.recv().unwrap();
            later.send(News::Pushed(Ok(wanted)));
        });
        Ok(Ledger::of_file(5))
    };
    start(&mut host, 1, Vec::new(), Phase::Still, writes).unwrap();
    let (link, mut far) = UnixStream::pair().unwrap();
    host.job.as_mut().unwrap().after = Some(After {
        link: File::from(OwnedFd::from(link)),
        done: None,
        waits: None,
    });
    let early = pages(&mut host, 9);
    assert!(matches!(early, Some(Reply::Error { .. })), "{early:?}");
    assert_eq!(host.reply(), (1, Reply::Saved { bytes: 5 }));
    hold(&mut host).unwrap();
    assert_eq!(pages(&mut host, 9), None);
    go.send(()).unwrap();
    let reply = Reply::Pages { pages: wanted };
    assert_eq!(host.reply(), (9, reply.clone()));
    // As often as it is asked, and nobody's going changes that.
    abandon(&mut host);
    assert_eq!(pages(&mut host, 10), Some(reply));
    assert_eq!(host.ran_on, 0);
    give_up_written(&mut host).unwrap();
    assert_eq!(host.ran_on, 1);
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
    assert!(matches!(pages(&mut host, 9), Some(Reply::Error { .. })));
}
