//! Strangers who send as fast as they can, and calls beside them.
//!
//! Not responsible for rates; what is asserted holds on a machine of any speed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::calls::{Call, Canaries};
use crate::client::{Over, peer};
use crate::running::Setup;

/// Floods at relayed ports cost other calls nothing, over no transport and whatever becomes of the flooded ones.
#[test]
fn a_flood_at_one_relayed_port_costs_the_others_nothing() {
    for workers in [1, 2] {
        let mut relay = Setup::on_loopback(workers).start();
        let canaries = Canaries::start(&relay);
        let victims = Over::ALL.map(|over| Call::open(&relay, over, "victim"));
        let strangers = std::iter::repeat_with(peer).take(3).collect::<Vec<_>>();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for (victim, stranger) in victims.iter().zip(&strangers) {
                let (stop, relayed) = (&stop, victim.relayed);
                scope.spawn(move || {
                    let mut sent = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        // A full queue is the kernel's business.
                        let _ = stranger.send_to(&[0x16; 700], relayed);
                        let _ = victim.peer.send_to(&sent.to_be_bytes(), relayed);
                        sent += 1;
                    }
                });
            }
            thread::sleep(std::time::Duration::from_millis(700));
            stop.store(true, Ordering::Relaxed);
        });
        canaries.finish();
        assert!(relay.metric("taciturn_relay_received_packets_total{") > 500);
        relay.assert_alive();
        drop(victims);
    }
}
