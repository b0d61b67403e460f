use super::*;
use noxen_xend_api::Cpus;

fn config() -> DomainConfig {
    DomainConfig {
        name: "a".into(),
        kernel: "/boot/vmlinuz".into(),
        ..DomainConfig::default()
    }
}

fn refusal(change: impl FnOnce(&mut DomainConfig)) -> String {
    let mut c = config();
    change(&mut c);
    let fault = check(&c, 8).unwrap_err();
    assert_eq!(fault.code, Fault::GENERIC);
    assert!(!fault.message.contains('\n'), "{}", fault.message);
    fault.message
}

#[test]
fn check_takes_xms_defaults() {
    let plan = check(&config(), 8).unwrap();
    assert_eq!(
        (plan.memory_mib, plan.maxmem_mib, plan.vcpus),
        (128, 128, 1)
    );
    assert_eq!(plan.pinning, [None]);
}

#[test]
fn check_names_wrong_memory() {
    for memory in [0, 3, -1, i64::MIN, i64::MAX] {
        let text = refusal(|c| c.memory = memory);
        assert!(text.contains(&format!("memory = {memory}:")), "{text}");
    }
    let text = refusal(|c| c.maxmem = Some(64));
    assert!(
        text.contains("maxmem = 64 is less than memory = 128"),
        "{text}"
    );
}

#[test]
fn check_names_wrong_vcpus_and_the_limit() {
    for vcpus in [0, 33, 33000, -1, i64::MIN] {
        let text = refusal(|c| c.vcpus = vcpus);
        assert!(
            text.contains(&format!("vcpus = {vcpus}:")) && text.contains("1 to 32"),
            "{text}"
        );
    }
    let mut c = config();
    c.vcpus = 32;
    assert_eq!(check(&c, 8).unwrap().vcpus, 32);
}

#[test]
fn check_names_and_uuids() {
    assert_eq!(refusal(|c| c.name = String::new()), "Missing VM Name");
    for name in ["a b", "a\n", "é", "../x", "a/../b", &"x".repeat(129)] {
        let text = refusal(|c| c.name = name.into());
        assert!(text.starts_with("Invalid VM Name '"), "{text}");
    }
    for uuid in ["", "12", "5e1ad6c1-9a0b-4a2e-8d8f-0c4b5d2f7a1g"] {
        assert!(
            refusal(|c| c.uuid = Some(uuid.into())).contains("uuid"),
            "{uuid}"
        );
    }
}

#[test]
fn check_event_values() {
    let text = refusal(|c| c.on_crash = "explode".into());
    assert!(
        text.starts_with("Invalid event handling mode: on_crash"),
        "{text}"
    );
}

#[test]
fn check_refuses_what_is_not_built() {
    assert!(refusal(|c| c.builder = "plan9".into()).contains("'plan9'"));
    assert!(refusal(|c| c.vtpm.push("instance=1".into())).contains("vtpm"));
}

#[test]
fn check_weights_and_caps() {
    assert!(refusal(|c| c.cpu_weight = Some(0)).starts_with("Cpu weight out of range"));
    assert!(refusal(|c| c.cpu_cap = Some(101)).contains("from 0 to 100"));
}

#[test]
fn check_wrong_cpus_are_refused() {
    let text = refusal(|c| c.cpus = Cpus::PerVcpu(vec!["0".into(), "1".into()]));
    assert_eq!(text, "vcpus and the item number of cpus are not same");
    assert!(refusal(|c| c.cpus = Cpus::All("9".into())).contains("no CPU 9"));
}

#[test]
fn check_without_kernel_says_so() {
    assert!(refusal(|c| c.kernel = String::new()).starts_with("Kernel image does not exist"));
}

#[test]
fn unapplied_names_what_is_set_without_effect() {
    let mut c = config();
    assert!(unapplied(&c).is_empty());
    (c.cpu_weight, c.localtime) = (Some(512), true);
    assert_eq!(unapplied(&c), ["localtime"]);
    c.features = "x".into();
    assert_eq!(unapplied(&c), ["features", "localtime"]);
}

#[test]
fn check_vcpu_avail_is_a_mask_of_the_vcpus_that_has_the_first() {
    let mut config = config();
    config.vcpus = 4;
    assert_eq!(check(&config, 8).unwrap().vcpu_avail, 0b1111);
    config.vcpu_avail = Some(0b1_0101);
    assert_eq!(check(&config, 8).unwrap().vcpu_avail, 0b0101);
    assert!(refusal(|c| c.vcpu_avail = Some(2)).contains("vCPU 0, which boots"));
}
