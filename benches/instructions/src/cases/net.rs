//! The socket layer's share in user space: queueing, messages for the kernel, cutting what was received.
//!
//! The system calls are made, on loopback, and cost nothing here: callgrind counts the program alone.

use std::time::Duration;

use anyhow::Context;
use taciturn_relay::net::{Destination, Lane, ReceiveBatch, SendBatch, UdpOptions, UdpSocket};

use super::messages::{CHANNEL, PAYLOAD, channel_message};
use crate::count::Counter;

const DATAGRAMS: usize = 64;

/// Runs the cases.
pub(super) fn run(counter: &mut Counter) -> anyhow::Result<()> {
    let local = "127.0.0.1:0".parse()?;
    // Without trains, so that the count does not depend on what the kernel joins.
    let plain = UdpOptions {
        gro: false,
        receive_buffer: Some(1 << 20),
        ..UdpOptions::listener()
    };
    let listener = UdpSocket::bind(local, &plain)?;
    let sender = UdpSocket::bind(local, &UdpOptions::relayed())?;
    let mut received = ReceiveBatch::new();
    let mut send = SendBatch::new();
    // Before the count, so that buffers have grown and pages are there.
    for counted in [false, true] {
        let to = Destination::new(listener.local_addr());
        for _ in 0..DATAGRAMS {
            send.push_copy(Lane(0), &to, &[&channel_message(CHANNEL)]);
        }
        let sent = send.flush(&received, |_| Some(&sender));
        anyhow::ensure!(sent.datagrams == DATAGRAMS as u64, "{sent:?}");
        received.clear();
        // The kernel may deliver a little later when the machine is busy.
        std::thread::sleep(Duration::from_millis(50));
        let mut receive = || {
            let filled = listener.receive(&mut received, DATAGRAMS);
            let datagrams = filled.map(|filled| received.datagrams(filled));
            datagrams.map_or(0, |datagrams| {
                datagrams
                    .filter(|datagram| datagram.bytes.len() == 4 + PAYLOAD)
                    .count()
            })
        };
        if counted {
            counter.once("net: receive, each of 64 datagrams", DATAGRAMS, receive)?;
        } else {
            anyhow::ensure!(receive() == DATAGRAMS, "not all arrived in time");
        }
    }
    sending(counter, &received, &mut send)
}

fn sending(
    counter: &mut Counter,
    received: &ReceiveBatch,
    send: &mut SendBatch,
) -> anyhow::Result<()> {
    let local = "127.0.0.1:0".parse()?;
    // On all of loopback's addresses, so that nothing is answered by an ICMP error. What it has no room for is dropped.
    let sink = UdpSocket::bind("0.0.0.0:0".parse()?, &UdpOptions::default())?;
    let to = Destination::new(sink.local_addr());
    let sockets = (0..DATAGRAMS).map(|_| UdpSocket::bind(local, &UdpOptions::relayed()));
    let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
    let payloads: Vec<_> = received
        .datagrams(0..DATAGRAMS)
        .map(|datagram| datagram.part(4..datagram.bytes.len()).context("a payload"))
        .collect::<Result<_, _>>()?;
    // (name, header, lanes, destinations): 64 datagrams in all.
    let cases: [(&str, &[u8], usize, usize); 4] = [
        (
            "net: send, each of 64 by one socket as one train",
            &[],
            1,
            1,
        ),
        ("net: send, each of 64 by 64 sockets", &[], DATAGRAMS, 1),
        (
            "net: send with header, each of 64 to one client",
            &[0x40, 0, 0, 172],
            1,
            1,
        ),
        (
            "net: send with header, each of 64 to 64 clients",
            &[0x40, 0, 0, 172],
            1,
            DATAGRAMS,
        ),
    ];
    for (name, header, lanes, destinations) in cases {
        let mut round = || {
            for (number, payload) in payloads.iter().enumerate() {
                let lane = Lane(u32::try_from(number % lanes).unwrap_or_default());
                let mut to = to;
                let last = 1 + u8::try_from(number % destinations).unwrap_or_default();
                to.to.set_ip([127, 0, 0, last].into());
                send.push(lane, &to, header, *payload, 0);
            }
            let outcome = send.flush(received, |lane| sockets.get(lane.0 as usize));
            usize::try_from(outcome.datagrams).unwrap_or_default()
        };
        anyhow::ensure!(round() == DATAGRAMS, "{name}: not all were sent");
        counter.once(name, DATAGRAMS, round)?;
    }
    Ok(())
}
