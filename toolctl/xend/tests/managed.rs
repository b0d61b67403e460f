//! Managed domains: kept, listed, started, changed, deleted, over restarts of xend.

mod support;

use noxen_xend_api::{
    Change, DeviceClass, DeviceConfig, Disk, DomainInfo, Request, Response, StateFilter, Vif,
};
use support::{eventually, Lab};

fn add(lab: &Lab, name: &str, change: impl FnOnce(&mut noxen_xend_api::DomainConfig)) {
    let mut config = lab.config(name);
    change(&mut config);
    let config = Box::new(config);
    assert_eq!(lab.ask(&Request::New { config }), Ok(Response::Ok));
}

fn start(lab: &Lab, domain: &str) -> Result<DomainInfo, String> {
    let domain = domain.into();
    match lab.ask(&Request::Start { domain }) {
        Ok(Response::Domain { domain }) => Ok(*domain),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault.message),
    }
}

fn delete(lab: &Lab, domain: &str) -> Result<(), String> {
    let domain = domain.into();
    lab.ask(&Request::Delete { domain })
        .map(drop)
        .map_err(|fault| fault.message)
}

fn listed(lab: &Lab, state: StateFilter) -> Vec<(String, Option<u32>)> {
    let request = Request::List {
        domains: vec![],
        state,
    };
    match lab.ask(&request).unwrap() {
        Response::Domains { domains } => domains
            .into_iter()
            .map(|domain| (domain.name, domain.domid))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn managed_domain_lives_through_new_start_end_and_delete() {
    let lab = Lab::new();
    add(&lab, "m", |c| c.memory = 48);
    assert_eq!(
        listed(&lab, StateFilter::All),
        [("Domain-0".into(), Some(0)), ("m".into(), None)]
    );
    assert_eq!(listed(&lab, StateFilter::Halted), [("m".into(), None)]);
    let info = lab.guest("m").unwrap();
    assert_eq!((info.memory_mib, info.vcpus, info.cpu_time_ns), (48, 1, 0));

    let started = start(&lab, "m").unwrap();
    assert_eq!(started.uuid, info.uuid);
    assert_eq!(start(&lab, "m").unwrap_err(), "Domain is already running");
    assert_eq!(delete(&lab, "m").unwrap_err(), "Domain is not halted.");
    assert!(listed(&lab, StateFilter::Halted).is_empty());
    lab.destroy("m");
    assert_eq!(listed(&lab, StateFilter::Halted), [("m".into(), None)]);

    delete(&lab, &info.uuid).unwrap();
    assert!(lab.guest("m").is_none());
    let left = std::fs::read_dir(lab.paths().managed_dir()).unwrap();
    assert_eq!(left.count(), 0);
    assert_eq!(delete(&lab, "m").unwrap_err(), "Domain 'm' does not exist.");
}

#[test]
fn managed_domains_survive_xend_and_start_with_it_when_told_to() {
    let lab = Lab::new();
    add(&lab, "sleeps", |_| {});
    add(&lab, "rises", |c| c.on_xend_start = "start".into());
    lab.stop();
    lab.start();
    let domid = eventually("the start of a domain with xend", || {
        lab.guest("rises")?.domid
    });
    eventually("its vCPUs run", || {
        (lab.letters("rises") == "-b----").then_some(())
    });
    assert_eq!(lab.guest("sleeps").unwrap().domid, None);
    // One that runs already is left alone.
    lab.stop();
    lab.start();
    assert_eq!(lab.guest("rises").unwrap().domid, Some(domid));
}

#[test]
fn name_of_a_managed_domain_is_its_own() {
    let lab = Lab::new();
    add(&lab, "m", |_| {});
    let text = lab.refusal(lab.config("m"));
    assert!(text.starts_with("VM name 'm' already exists"), "{text}");
    let config = Box::new(lab.config("m"));
    let fault = lab.ask(&Request::New { config }).unwrap_err();
    assert!(fault.message.starts_with("Domain 'm' already exists"));
    lab.run(lab.config("other"));
    let config = Box::new(lab.config("other"));
    let fault = lab.ask(&Request::New { config }).unwrap_err();
    assert_eq!(fault.message, "Domain 'other' already exists with ID '1'");
    let rename = |domain: &str, name: &str| {
        let request = Request::Change {
            domain: domain.into(),
            change: Change::Name { name: name.into() },
        };
        lab.ask(&request).map(drop).map_err(|fault| fault.message)
    };
    assert_eq!(
        rename("other", "m").unwrap_err(),
        "VM name 'm' already exists"
    );
    assert_eq!(
        rename("m", "other").unwrap_err(),
        "VM name 'other' already exists as domain 1"
    );
    rename("m", "n").unwrap();
    assert!(lab.guest("m").is_none() && lab.guest("n").is_some());
}

#[test]
fn halted_domain_is_changed_in_its_configuration_and_a_running_one_in_both() {
    let lab = Lab::new();
    add(&lab, "m", |c| c.maxmem = Some(96));
    let change = |change: Change| {
        let request = Request::Change {
            domain: "m".into(),
            change,
        };
        lab.ask(&request).map(drop).map_err(|fault| fault.message)
    };
    change(Change::Memory { mib: 40 }).unwrap();
    change(Change::Vcpus { count: 3 }).unwrap();
    let text = change(Change::Memory { mib: 97 }).unwrap_err();
    assert!(
        text.contains("maxmem = 96 is less than memory = 97"),
        "{text}"
    );
    assert_eq!(
        change(Change::Sysrq { key: 'h' }).unwrap_err(),
        "Domain 'm' is not started"
    );
    let started = start(&lab, "m").unwrap();
    assert_eq!((started.memory_mib, started.vcpus), (40, 3));
    change(Change::Memory { mib: 80 }).unwrap();
    lab.destroy("m");
    lab.stop();
    lab.start();
    assert_eq!(lab.guest("m").unwrap().memory_mib, 80);
}

#[test]
fn commands_for_running_domains_say_that_it_is_not_started() {
    let lab = Lab::new();
    add(&lab, "m", |_| {});
    let domain = || "m".to_owned();
    for request in [
        Request::Pause { domain: domain() },
        Request::Console { domain: domain() },
        Request::Destroy { domain: domain() },
    ] {
        let fault = lab.ask(&request).unwrap_err();
        assert_eq!(fault.message, "Domain 'm' is not started");
    }
    let text = match lab.ask(&Request::Sxp {
        domains: vec![domain()],
        state: StateFilter::All,
    }) {
        Ok(Response::Texts { texts }) => texts.concat(),
        other => panic!("{other:?}"),
    };
    assert!(text.starts_with("(domain\n    (name m)"), "{text}");
    assert!(text.contains("(status 0)") && !text.contains("(domid"));
}

#[test]
fn devices_of_a_halted_domain_are_entries_of_its_configuration() {
    let lab = Lab::new();
    lab.script("block", "say hotplug-status connected");
    let image = lab.image("disk.img", "data");
    add(&lab, "m", |_| {});
    let domain = || "m".to_owned();
    let attach = |device: DeviceConfig| {
        let domain = domain();
        let request = Request::AttachDevice { domain, device };
        lab.ask(&request).map(drop).map_err(|fault| fault.message)
    };
    let numbers = |class| match lab.ask(&Request::Devices {
        domain: domain(),
        class,
    }) {
        Ok(Response::Devices { devices }) => devices.iter().map(|d| d.devid).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let disk = DeviceConfig::Disk(Disk::parse(&format!("file:{image},xvdb,w")).unwrap());
    attach(disk.clone()).unwrap();
    assert!(attach(disk).unwrap_err().contains("already defined"));
    let mac = "mac=00:16:3e:00:00:07";
    attach(DeviceConfig::Vif(Vif::parse(mac).unwrap())).unwrap();
    assert_eq!(
        (numbers(DeviceClass::Vbd), numbers(DeviceClass::Vif)),
        (vec![51728], vec![0])
    );
    let detach = |device: &str| {
        let request = Request::DetachDevice {
            domain: domain(),
            class: DeviceClass::Vif,
            device: device.into(),
            force: false,
        };
        lab.ask(&request).map(drop).map_err(|fault| fault.message)
    };
    assert_eq!(detach("3").unwrap_err(), "Device 3 not connected");
    detach("00:16:3E:00:00:07").unwrap();
    // Over a restart of xend, and into the domain that starts.
    lab.stop();
    lab.start();
    start(&lab, "m").unwrap();
    assert_eq!(
        (numbers(DeviceClass::Vbd), numbers(DeviceClass::Vif)),
        (vec![51728], vec![])
    );
    let config = match lab.ask(&Request::Config { domain: domain() }) {
        Ok(Response::Config { config }) => config,
        other => panic!("{other:?}"),
    };
    let fault = lab.ask(&Request::Configure { config }).unwrap_err();
    assert_eq!(fault.message, "Domain is not halted.");
}
