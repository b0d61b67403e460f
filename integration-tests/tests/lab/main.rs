//! The tests that need a host with real kvm; `cargo xtask test` runs them in the lab, one at a time.

mod host;

/// Fails, with what to do, when the test does not run in the lab.
#[track_caller]
pub fn in_lab() {
    assert!(
        std::env::var_os("NOXEN_LAB").is_some(),
        "this test needs the lab: run `cargo xtask test`, or `cargo xtask lab -- <this binary>`"
    );
}
