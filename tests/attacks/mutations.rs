//! Random and mutated messages from a fixed seed, beside calls that must not notice.
//!
//! Responsible for many inputs without a judgement of each. Not responsible for those with a known answer (`bad_input`).

use std::io::{Read, Write};
use std::net::Shutdown;

use rustls::StreamOwned;

use crate::calls::{Call, Canaries};
use crate::client::{Client, Over, binding, connect, tls_connection};
use crate::malformed::{Dice, mutated, originals};
use crate::running::{Running, Setup};

fn start() -> Running {
    let mut setup = Setup::on_loopback(2);
    // What is not answered is closed soon, so that no half of a message stays behind for long.
    setup.limits += "\nhandshake-timeout = \"2s\"";
    setup.start()
}

/// 20,000 random and mutated datagrams → no call loses anything and the process is the same.
#[test]
fn mutated_datagrams_harm_no_call() {
    let mut relay = start();
    let canaries = Canaries::start(&relay);
    let mut dice = Dice(0x7AC1_7042);
    // Half of them come from the owner of an allocation, so that they get as far as possible.
    let mut owner = Call::open(&relay, Over::Udp, "mallory");
    let mut stranger = Client::of(&relay, Over::Udp, "mallory");
    let originals = originals(&mut owner);
    for turn in 0..20_000_u32 {
        let sender = if turn % 2 == 0 {
            &mut owner.client
        } else {
            &mut stranger
        };
        sender.send(&mutated(&mut dice, &originals));
        // Never more on the way than a socket's buffer holds.
        if turn % 64 < 2 {
            let id = turn.to_be_bytes()[3] | 1;
            sender.send(&binding(id));
            while sender.receive().expect("an answer")[8..20] != [id; 12] {}
        }
    }
    canaries.finish();
    relay.assert_alive();
}

/// the same on streams, in the clear, inside TLS, and instead of TLS.
#[test]
fn mutated_streams_harm_no_call() {
    let mut relay = start();
    let canaries = Canaries::start(&relay);
    let mut dice = Dice(0x5EED);
    let mut owner = Call::open(&relay, Over::Tcp, "mallory");
    let originals = originals(&mut owner);
    for turn in 0..400 {
        let mut bytes: Vec<u8> = (0..3)
            .flat_map(|_| mutated(&mut dice, &originals))
            .collect();
        let listener = relay.listener(["tcp", "auto", "tls", "auto"][turn % 4]);
        let mut stream = connect(listener);
        let inside = turn % 4 > 1;
        if inside && turn % 8 > 5 {
            bytes.splice(0..0, [0x16, 3, 1]);
        } else if inside {
            let mut tls = StreamOwned::new(tls_connection(&relay.certificate, &[]), stream);
            // The relay closes when it has seen enough, whether everything was written or not.
            let _ = tls.write_all(&bytes);
            tls.conn.send_close_notify();
            let _ = tls.flush();
            let _ = tls.sock.shutdown(Shutdown::Write);
            let _ = tls.read_to_end(&mut Vec::new());
            continue;
        }
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    canaries.finish();
    relay.assert_alive();
}
