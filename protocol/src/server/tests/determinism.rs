//! The same seed and the same input give the same bytes.

use alloc::vec::Vec;
use core::time::Duration;

use super::sim::{Choices, Sim, addr};
use crate::wire::Method;

fn transcript(seed: u8) -> Vec<u8> {
    let mut sim = Sim::with(Choices {
        seed,
        ..Choices::default()
    });
    let mut transcript = Vec::new();
    for round in 0..500_u16 {
        for number in 1..=20_u8 {
            let mut client = sim.client(number);
            let answer = match (round + u16::from(number)) % 4 {
                0 => sim.request(&mut client, Method::Allocate, |w| w.requested_transport(17)),
                1 => sim.request(&mut client, Method::ChannelBind, |w| {
                    w.channel_number(0x4000 + u16::from(number));
                    w.xor_peer_address(addr("8.8.8.8:5000"));
                }),
                2 => sim.refresh(&mut client, None),
                _ => sim.refresh(&mut client, Some(0)),
            };
            transcript.extend_from_slice(&answer.0);
        }
        sim.advance(Duration::from_secs(u64::from(round) % 7));
    }
    transcript
}

/// Ten thousand requests replay byte for byte from a seed, and another seed gives other bytes.
#[test]
fn a_scenario_replays_from_its_seed() {
    let first = transcript(1);
    assert_eq!(first, transcript(1));
    assert_ne!(first, transcript(2));
}
