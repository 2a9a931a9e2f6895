//! What is answered, and what is met with silence, before anybody is authenticated.

use alloc::{format, vec};
use core::time::Duration;

use super::sim::{Choices, Client, Outcome, Sim, addr, credentials, five_tuple, write};
use crate::address::Transport;
use crate::forward::DropReason;
use crate::server::Limits;
use crate::wire::{Class, Method, TransactionId};

const HOUR: Duration = Duration::from_secs(3600);
const ID: TransactionId = TransactionId([7; 12]);

/// S-15, S-41: Binding is answered without credentials, over every transport, with the address that was seen
/// (RFC 8489 §12).
#[test]
fn binding_tells_the_observed_address() {
    let mut sim = Sim::new();
    for transport in Transport::ALL {
        for client in ["198.51.100.3:4000", "[2001:db8::77]:4001"] {
            let from = five_tuple(transport, client);
            let bytes = write(Class::Request, Method::Binding, ID, |_| {});
            let answer = sim.deliver(from, &bytes).answer();
            assert_eq!(answer.framed().class(), Class::Success);
            assert_eq!(answer.framed().transaction_id(), ID);
            assert_eq!(
                answer.attributes().xor_mapped_address(),
                Some(Ok(addr(client)))
            );
            assert_eq!(
                answer.0.len(),
                if client.starts_with('[') { 44 } else { 32 },
                "A-01"
            );
        }
    }
}

/// S-41: USERNAME and MESSAGE-INTEGRITY on Binding are ignored, wrong ones too.
#[test]
fn binding_ignores_credentials() {
    let mut sim = Sim::new();
    let from = five_tuple(Transport::Udp, "198.51.100.3:4000");
    let bytes = write(Class::Request, Method::Binding, ID, |w| {
        w.username(b"nobody");
        w.message_integrity(b"wrong");
    });
    let answer = sim.deliver(from, &bytes).answer();
    assert_eq!(answer.framed().class(), Class::Success);
}

/// S-14: a request with FINGERPRINT gets one back, one without gets none.
#[test]
fn a_fingerprint_is_answered_by_a_fingerprint() {
    let mut sim = Sim::new();
    let from = five_tuple(Transport::Udp, "198.51.100.3:4000");
    let with = write(Class::Request, Method::Binding, ID, |w| w.fingerprint());
    assert!(sim.deliver(from, &with).answer().framed().has_fingerprint());
    let without = write(Class::Request, Method::Binding, ID, |_| {});
    assert!(
        !sim.deliver(from, &without)
            .answer()
            .framed()
            .has_fingerprint()
    );
}

/// S-14: a wrong FINGERPRINT is met with silence.
#[test]
fn a_wrong_fingerprint_is_dropped() {
    let mut sim = Sim::new();
    let from = five_tuple(Transport::Udp, "198.51.100.3:4000");
    let mut bytes = write(Class::Request, Method::Binding, ID, |w| w.fingerprint());
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(
        sim.deliver(from, &bytes),
        Outcome::Dropped(DropReason::MalformedStun)
    );
}

/// S-01, S-04, T-72, T-73: what is not STUN or ChannelData is dropped without an answer or state.
#[test]
fn foreign_bytes_are_dropped() {
    let mut sim = Sim::new();
    let from = five_tuple(Transport::Udp, "198.51.100.3:4000");
    for length in [0, 1, 3, 19] {
        for first in [0_u8, 1, 0x40, 0x4f, 16, 20, 63, 80, 127, 128, 191, 192, 255] {
            let mut bytes = vec![0_u8; length];
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            let outcome = sim.deliver(from, &bytes);
            assert!(
                matches!(outcome, Outcome::Dropped(_)),
                "{length} {first}: {outcome:?}"
            );
        }
    }
    sim.assert_nothing_left();
}

/// S-02, S-03, S-07: a wrong cookie, a length that is off, an attribute beyond the end: silence.
#[test]
fn misframed_messages_are_dropped() {
    let mut sim = Sim::new();
    let from = five_tuple(Transport::Udp, "198.51.100.3:4000");
    let good = write(Class::Request, Method::Binding, ID, |w| w.software("abc"));
    let corrupt = [
        (4, 0x20),
        (3, 3),
        (3, 9),
        (3, 12),
        (21, 0xff),
        (22, 0xff),
        (23, 9),
    ];
    for (place, value) in corrupt {
        let mut bytes = good.clone();
        bytes[place] = value;
        let outcome = sim.deliver(from, &bytes);
        // Byte 21 is the attribute's type: an unknown optional one is no error.
        if place != 21 {
            assert_eq!(
                outcome,
                Outcome::Dropped(DropReason::MalformedStun),
                "{place}={value}"
            );
        }
    }
    let mut longer = good;
    longer.extend_from_slice(&[0; 4]);
    assert_eq!(
        sim.deliver(from, &longer),
        Outcome::Dropped(DropReason::MalformedStun)
    );
}

/// S-05, S-06: unknown methods, impossible classes, responses and the server's own indications: silence.
#[test]
fn what_no_client_sends_is_dropped() {
    let mut sim = Sim::new();
    let from = five_tuple(Transport::Udp, "198.51.100.3:4000");
    for (class, method) in [
        (Class::Success, Method::Binding),
        (Class::Error, Method::Binding),
        (Class::Success, Method::Allocate),
        (Class::Error, Method::Refresh),
        (Class::Indication, Method::Data),
    ] {
        let bytes = write(class, method, ID, |_| {});
        assert!(
            matches!(sim.deliver(from, &bytes), Outcome::Dropped(_)),
            "{class:?} {method:?}"
        );
    }
    // Connect (RFC 6062), an unassigned method, Allocate as an indication.
    for kind in [
        [0x00, 0x0a],
        [0x00, 0x0b],
        [0x00, 0x0c],
        [0x0f, 0x01],
        [0x00, 0x13],
    ] {
        let mut bytes = write(Class::Request, Method::Binding, ID, |_| {});
        bytes[..2].copy_from_slice(&kind);
        assert!(
            matches!(sim.deliver(from, &bytes), Outcome::Dropped(_)),
            "{kind:?}"
        );
    }
    sim.assert_nothing_left();
}

/// S-17: a Binding indication is not answered.
#[test]
fn a_binding_indication_is_not_answered() {
    let mut sim = Sim::new();
    let from = five_tuple(Transport::Tcp, "198.51.100.3:4000");
    let bytes = write(Class::Indication, Method::Binding, ID, |_| {});
    assert_eq!(sim.deliver(from, &bytes), Outcome::Silence);
}

/// S-09, S-11, N-01: unknown required attributes are listed in a 420, each once; optional ones are ignored; the
/// attributes of RFC 5780 are unknown here. The 420 is at most 32 bytes longer than its request.
#[test]
fn unknown_required_attributes_are_listed() {
    let mut sim = Sim::new();
    let from = five_tuple(Transport::Udp, "198.51.100.3:4000");
    let bytes = write(Class::Request, Method::Binding, ID, |w| {
        for kind in [0x0003, 0x0027, 0x0026, 0x7777, 0x0003, 0xc001] {
            w.raw(kind, &[]);
        }
    });
    let answer = sim.deliver(from, &bytes).answer();
    assert_eq!(answer.code(), Some(420));
    let listed: vec::Vec<u16> = answer.attributes().unknown_attributes().unwrap().collect();
    assert_eq!(listed, [0x0003, 0x0027, 0x0026, 0x7777]);
    assert!(answer.0.len() <= bytes.len() + 32);
    let optional = write(Class::Request, Method::Binding, ID, |w| {
        w.raw(0xc001, b"xyz")
    });
    assert_eq!(
        sim.deliver(from, &optional).answer().framed().class(),
        Class::Success
    );
}

/// S-09: an unknown required attribute in an indication drops it.
#[test]
fn an_indication_with_an_unknown_attribute_is_dropped() {
    let mut sim = Sim::new();
    let mut client = sim.client(1);
    sim.allocate(&mut client);
    let peer = addr("8.8.8.8:5000");
    assert_eq!(sim.permit(&mut client, &[peer]), None);
    let id = sim.transaction();
    let bytes = write(Class::Indication, Method::Send, id, |w| {
        w.raw(0x7777, &[]);
        w.xor_peer_address(peer);
        w.data(b"x");
    });
    let outcome = sim.deliver(client.five_tuple, &bytes);
    assert_eq!(outcome, Outcome::Dropped(DropReason::MalformedSend));
}

/// answers to unauthenticated datagrams are bounded for each source; a source that holds an allocation, and
/// connections, are not.
#[test]
fn unauthenticated_answers_are_bounded() {
    let limits = Limits {
        unauthenticated_per_second: 10,
        ..Limits::default()
    };
    let mut sim = Sim::with(Choices {
        limits,
        ..Choices::default()
    });
    let bytes = write(Class::Request, Method::Binding, ID, |_| {});
    let count = |sim: &mut Sim, from| {
        (0..200)
            .filter(|_| matches!(sim.deliver(from, &bytes), Outcome::Answer(_)))
            .count()
    };
    assert_eq!(
        count(&mut sim, five_tuple(Transport::Udp, "198.51.100.9:1")),
        20
    );
    assert_eq!(
        count(&mut sim, five_tuple(Transport::Udp, "198.51.100.9:2")),
        0
    );
    assert_eq!(
        count(&mut sim, five_tuple(Transport::Tcp, "198.51.100.9:3")),
        200
    );
    sim.advance(Duration::from_secs(60));
    let mut client = sim.client(9);
    sim.allocate(&mut client);
    assert_eq!(
        count(&mut sim, five_tuple(Transport::Udp, "198.51.100.9:4")),
        200
    );
}

/// S-42: every answer repeats the method and the transaction id of its request.
#[test]
fn answers_repeat_method_and_transaction() {
    let mut sim = Sim::new();
    let from = five_tuple(Transport::Udp, "198.51.100.3:4000");
    for method in [
        Method::Binding,
        Method::Allocate,
        Method::Refresh,
        Method::CreatePermission,
        Method::ChannelBind,
    ] {
        let id = sim.transaction();
        let bytes = write(Class::Request, method, id, |_| {});
        let answer = sim.deliver(from, &bytes).answer();
        assert_eq!(
            (answer.framed().method(), answer.framed().transaction_id()),
            (method, id)
        );
    }
}

/// S-29: a source that has spent its answers is not worth verifying: its requests are dropped before any HMAC.
#[test]
fn a_source_without_answers_left_is_not_verified() {
    let limits = Limits {
        unauthenticated_per_second: 10,
        ..Limits::default()
    };
    let mut sim = Sim::with(Choices {
        limits,
        ..Choices::default()
    });
    let mut refused = 0;
    for turn in 0..100 {
        // Another name each time, as one and the same is held off after a few.
        let mut client = Client::new(1, &credentials(&format!("user{turn}"), HOUR));
        client.password.push('x');
        let id = sim.transaction();
        let bytes = client.sign(Method::Allocate, id, |w| w.requested_transport(17));
        match sim.deliver(client.five_tuple, &bytes) {
            Outcome::Dropped(DropReason::UnauthenticatedRate) => refused += 1,
            Outcome::Answer(answer) => assert_eq!(answer.code(), Some(401)),
            outcome @ (Outcome::ToPeer(_) | Outcome::Dropped(_) | Outcome::Silence) => {
                panic!("{outcome:?}")
            }
        }
    }
    assert_eq!(refused, 80);
    sim.advance(Duration::from_secs(1));
    let mut client = sim.client(1);
    sim.allocate(&mut client);
}
