//! A relay that is broken on purpose is found out: the storms see what they are there to see.

use taciturn_simulation::{Fault, Invariant, run};

/// Storms within which each fault must show.
const PATIENCE: u64 = 40;

/// Whether a storm shows that this is broken.
fn is_found(fault: Fault) -> bool {
    let mut broken = (0..PATIENCE).filter_map(|seed| run(seed, Some(fault), false).broken);
    broken.any(|broken| broken.invariant == breaks(fault))
}

/// What a fault breaks. In some storms it shows by something else first.
fn breaks(fault: Fault) -> Invariant {
    match fault {
        Fault::RelaysWithoutPermission | Fault::KeepsRoutes | Fault::DeliversToWrongClient => {
            Invariant::Permission
        }
        Fault::PermitsDenied | Fault::KeepsWhatIsClosed => Invariant::Denied,
        Fault::ForgetsPort | Fault::GivesPortsAgain => Invariant::Ports,
        Fault::AnswersIndication | Fault::AnswersTwice => Invariant::Invited,
        Fault::OversizeAnswer => Invariant::Size,
        Fault::LosesData | Fault::AltersData => Invariant::Loss,
        Fault::SwallowsAnswers | Fault::ForgetsRevocations => Invariant::Answer,
    }
}

/// G-08: each of fourteen ways in which the world around the server could be wrong breaks the invariant that it is about.
#[test]
fn every_fault_is_found_by_the_invariant_that_it_breaks() {
    let missed = Fault::ALL.into_iter().filter(|fault| !is_found(*fault));
    assert_eq!(missed.collect::<Vec<_>>(), []);
}

/// G-07: a storm that found a fault finds it again, at the same place.
#[test]
fn a_fault_is_found_again_by_its_seed() {
    let first = (0..PATIENCE).find(|&seed| {
        let outcome = run(seed, Some(Fault::KeepsRoutes), false);
        outcome.broken.is_some()
    });
    let seed = first.expect("a fault that shows");
    let again = || run(seed, Some(Fault::KeepsRoutes), true);
    let text = again().text.expect("it was asked for");
    assert_eq!(Some(&text), again().text.as_ref());
    let last = text.lines().last().expect("a line for what is broken");
    assert!(last.contains("BROKEN Permission"), "{last}");
}
