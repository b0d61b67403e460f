use super::*;
use proptest::prelude::*;

const INITIALISING: XenbusState = XenbusState::INITIALISING;
const INITIALISED: XenbusState = XenbusState::INITIALISED;
const CONNECTED: XenbusState = XenbusState::CONNECTED;
const CLOSING: XenbusState = XenbusState::CLOSING;
const CLOSED: XenbusState = XenbusState::CLOSED;
const INIT_WAIT: XenbusState = XenbusState::INIT_WAIT;

fn connected() -> Xenbus {
    let mut bus = Xenbus::new();
    bus.step(Input::Attached);
    bus.step(Input::Frontend(Some(INITIALISED)));
    bus.step(Input::Connected(Ok(())));
    bus
}

#[test]
fn device_connects_once_the_front_end_is_initialised() {
    let mut bus = Xenbus::new();
    let announced = bus.step(Input::Attached);
    assert_eq!(announced, [Action::Announce, Action::State(INIT_WAIT)]);
    assert_eq!(
        bus.step(Input::Frontend(Some(INITIALISED))),
        [Action::Connect]
    );
    let done = bus.step(Input::Connected(Ok(())));
    assert_eq!(done, [Action::State(CONNECTED)]);
    assert_eq!(bus.step(Input::Frontend(Some(CONNECTED))), []);
    assert_eq!(*bus.phase(), Phase::Connected);
}

#[test]
fn front_end_that_closes_gets_its_rings_released_first() {
    let mut bus = connected();
    let closing = bus.step(Input::Frontend(Some(CLOSING)));
    assert_eq!(closing, [Action::Disconnect, Action::State(CLOSING)]);
    let closed = bus.step(Input::Frontend(Some(CLOSED)));
    assert_eq!(closed, [Action::State(CLOSED)]);
    let again = bus.step(Input::Frontend(Some(INITIALISING)));
    assert_eq!(again, [Action::Announce, Action::State(INIT_WAIT)]);
}

#[test]
fn detach_waits_for_the_front_end_with_its_rings() {
    let mut bus = connected();
    let asked = bus.step(Input::Detach { force: false });
    assert_eq!(asked, [Action::Offline, Action::State(CLOSING)]);
    let closed = bus.step(Input::Frontend(Some(CLOSED)));
    let expected = [Action::Disconnect, Action::State(CLOSED), Action::Release];
    assert_eq!(closed, expected);
    assert_eq!(bus.step(Input::Frontend(Some(INITIALISING))), []);
}

#[test]
fn forced_detach_waits_for_nobody() {
    let mut bus = connected();
    let expected = [
        Action::Offline,
        Action::Disconnect,
        Action::State(CLOSED),
        Action::Release,
    ];
    assert_eq!(bus.step(Input::Detach { force: true }), expected);
    assert_eq!(*bus.phase(), Phase::Released);
}

#[test]
fn detach_of_a_device_without_a_front_end_is_over_at_once() {
    let mut bus = Xenbus::new();
    bus.step(Input::Attached);
    let actions = bus.step(Input::Detach { force: false });
    assert_eq!(actions.last(), Some(&Action::Release));
}

#[test]
fn broken_device_stays_so_until_it_is_detached() {
    let mut bus = connected();
    let actions = bus.step(Input::Broken("lies".into()));
    let expected = [
        Action::Disconnect,
        Action::Error("lies".into()),
        Action::State(CLOSING),
    ];
    assert_eq!(actions, expected);
    assert_eq!(bus.step(Input::Frontend(Some(INITIALISING))), []);
    assert_eq!(bus.step(Input::Frontend(Some(INITIALISED))), []);
    assert_eq!(*bus.phase(), Phase::Broken("lies".into()));
    bus.step(Input::Frontend(Some(CLOSED)));
    let actions = bus.step(Input::Detach { force: false });
    assert_eq!(actions.last(), Some(&Action::Release));
}

#[test]
fn front_end_whose_nodes_make_no_sense_is_given_up() {
    let mut bus = Xenbus::new();
    bus.step(Input::Attached);
    bus.step(Input::Frontend(Some(INITIALISED)));
    let actions = bus.step(Input::Connected(Err("ring-ref x".into())));
    let expected = [Action::Error("ring-ref x".into()), Action::State(CLOSING)];
    assert_eq!(actions, expected);
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        Just(Input::Attached),
        (0u32..12).prop_map(|state| Input::Frontend(Some(XenbusState(state)))),
        any::<u32>().prop_map(|state| Input::Frontend(Some(XenbusState(state)))),
        Just(Input::Frontend(None)),
        Just(Input::Broken("x".into())),
        any::<bool>().prop_map(|force| Input::Detach { force }),
    ]
}

proptest! {
    /// In any order of events: rings are taken at most once between two releases of them, nothing
    /// happens after the release of the device, and none is released while its rings are in use.
    #[test]
    fn rings_are_never_held_twice_nor_kept(
        inputs in proptest::collection::vec((input(), any::<bool>()), 1..60),
    ) {
        let mut bus = Xenbus::new();
        let (mut held, mut released) = (false, false);
        for (input, succeeds) in inputs {
            let mut pending = vec![input];
            while let Some(input) = pending.pop() {
                let before = bus.state();
                let mut state = before;
                for action in bus.step(input) {
                    prop_assert!(!released);
                    match action {
                        Action::Connect => {
                            prop_assert!(!held);
                            held = succeeds;
                            let result = if succeeds { Ok(()) } else { Err("no".into()) };
                            pending.push(Input::Connected(result));
                        }
                        Action::Disconnect => {
                            prop_assert!(held);
                            held = false;
                        }
                        Action::Release => {
                            prop_assert!(!held);
                            released = true;
                        }
                        Action::State(now) => state = now,
                        _ => {}
                    }
                }
                prop_assert_eq!(bus.state(), state);
            }
        }
    }
}
