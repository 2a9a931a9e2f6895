//! Strangers at the relay's door: what they make it say, and what they make it keep.
//!
//! Not responsible for floods at full speed (`tests/siege`).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use taciturn_protocol::wire::{Class, Method, TransactionId, Writer};

use crate::calls::Call;
use crate::client::{Over, binding, peer_at};
use crate::running::{Running, Setup, eventually};
use crate::scale::scale;

/// A relay with the limits that it has by itself.
fn start() -> Running {
    let mut setup = Setup::on_loopback(1);
    setup.limits = String::new();
    setup.start()
}

/// The smallest Allocate that there is.
fn allocate() -> Vec<u8> {
    let mut bytes = vec![0; 28];
    let id = TransactionId([3; 12]);
    let mut writer = Writer::new(&mut bytes, Class::Request, Method::Allocate, id);
    writer.requested_transport(17);
    assert_eq!(writer.finish().unwrap(), 28);
    bytes
}

/// What comes back until this socket has been quiet for a while.
fn answers(socket: &UdpSocket) -> Vec<Vec<u8>> {
    let quiet = std::time::Duration::from_millis(300);
    socket.set_read_timeout(Some(quiet)).unwrap();
    let mut answers = Vec::new();
    let mut buffer = [0; 2048];
    while let Ok(length) = socket.recv(&mut buffer) {
        answers.push(buffer[..length].to_vec());
    }
    answers
}

/// Waits until the relay has judged so many more requests than `before`.
fn await_judged(relay: &Running, before: u64, more: u64) {
    eventually("a judgement of every request", || {
        judged(relay) >= before + more
    });
}

/// How many requests of strangers were answered or dropped.
fn judged(relay: &Running) -> u64 {
    relay.dropped("unauthenticated_rate") + relay.metric("taciturn_relay_responses_total{")
}

/// Binding is answered with 1.6 times its bytes, Allocate with less than four times; a source without a call gets 20
/// answers at once and then 10 a second, whatever its port; one with a call, and everybody else, gets all.
#[test]
fn a_forged_source_gets_few_and_small_answers() {
    let mut relay = start();
    let server = relay.listener("udp");
    let at = |host: u8| peer_at(SocketAddr::from(([127, 0, 13, host], 0)));
    let one = at(1);
    one.send_to(&binding(1), server).unwrap();
    one.send_to(&allocate(), server).unwrap();
    await_judged(&relay, 0, 2);
    let sizes: Vec<_> = answers(&one).iter().map(Vec::len).collect();
    assert_eq!(sizes[0], 32, "1.6 times 20");
    assert!(sizes[1] < 4 * 28, "{} bytes for 28", sizes[1]);

    let begun = Instant::now();
    let victim: Vec<_> = (0..4).map(|_| at(2)).collect();
    for turn in 0..200 {
        let request = if turn % 2 == 0 {
            binding(1)
        } else {
            allocate()
        };
        victim[turn % 4].send_to(&request, server).unwrap();
    }
    await_judged(&relay, 2, 200);
    let answered: usize = victim.iter().map(|socket| answers(socket).len()).sum();
    let most = 20 + 10 * (begun.elapsed().as_secs() + 1);
    let answered = u64::try_from(answered).unwrap();
    assert!((20..=most).contains(&answered), "{answered}");
    assert!(relay.dropped("unauthenticated_rate") >= 200_u64.saturating_sub(most));
    // Its neighbour is not touched, and a source with a call is not counted: a hospital may have one address.
    let neighbour = at(3);
    neighbour.send_to(&binding(1), server).unwrap();
    await_judged(&relay, 202, 1);
    assert_eq!(answers(&neighbour).len(), 1);
    let socket = at(2);
    socket.connect(server).unwrap();
    // Its challenge is a stranger's answer as any other: it asks until there is one.
    let mut client = crate::client::Client::new(crate::client::Link::Udp(socket), "alice");
    eventually("an answer within the rate", || {
        client.send(&binding(9));
        client.receive().is_some()
    });
    std::thread::sleep(std::time::Duration::from_secs(1));
    client.set_timeout(crate::running::PATIENCE);
    client.allocate();
    let before = judged(&relay);
    for turn in 0..100 {
        victim[turn % 4].send_to(&binding(1), server).unwrap();
    }
    await_judged(&relay, before, 100);
    let answered: usize = victim.iter().map(|socket| answers(socket).len()).sum();
    assert_eq!(answered, 100);
    relay.assert_alive();
}

/// Bytes that the relay holds in memory.
fn resident(relay: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", relay.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

fn tasks(relay: &Running) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", relay.pid())).unwrap();
    tasks.count()
}

/// Sends these datagrams once from each of so many addresses and ports, and looks in between whether the relay answers. Fails
/// unless the relay has looked at them: at least 99 of 100, and the kernel says that it dropped the others.
fn from_everywhere(relay: &Running, sources: u64, datagrams: &[Vec<u8>]) {
    let server = relay.listener("udp");
    let came = || relay.metric("taciturn_relay_received_packets_total{leg=\"client\",");
    let lost = || {
        relay.metric("taciturn_relay_kernel_dropped_packets_total ")
            + relay.metric("taciturn_relay_crowding_dropped_packets_total ")
    };
    let (came_before, lost_before) = (came(), lost());
    let probe = peer_at(SocketAddr::from(([127, 0, 14, 1], 0)));
    let quick = std::time::Duration::from_millis(200);
    probe.set_read_timeout(Some(quick)).unwrap();
    for source in 0..sources {
        let [.., b, c, d] = (source % 0x00F0_0000 + 0x0020_0000).to_be_bytes();
        let socket = UdpSocket::bind((Ipv4Addr::new(127, b, c, d), 0)).unwrap();
        for datagram in datagrams {
            socket.send_to(datagram, server).unwrap();
        }
        // Never more on the way than a socket's buffer holds.
        if source % 16 == 15 {
            probe.send_to(&binding(5), server).unwrap();
            let _ = probe.recv(&mut [0; 64]);
        }
    }
    let sent = sources * u64::try_from(datagrams.len()).unwrap() + sources / 16;
    eventually("a look at everything that was sent", || {
        came() - came_before + lost() - lost_before >= sent
    });
    let lost = lost() - lost_before;
    assert!(lost <= sent / 100, "{lost} of {sent} were not looked at");
}

/// Fails unless the relay keeps nothing of what strangers send from a new source each time.
fn assert_nothing_kept(sources: u64, datagrams: &[Vec<u8>]) {
    let mut relay = {
        let mut setup = Setup::on_loopback(1);
        // Answered or not, so that nothing is left out for the limit.
        setup.limits = "unauthenticated-per-second = 1000000".to_owned();
        setup.start()
    };
    let mut call = Call::open(&relay, Over::Udp, "honest");
    // Buffers grow to their size once.
    from_everywhere(&relay, 500, datagrams);
    call.exchange();
    let (before, threads) = (resident(&relay), tasks(&relay));
    from_everywhere(&relay, sources, datagrams);
    call.exchange();
    let grown = resident(&relay).saturating_sub(before);
    assert!(grown <= 1 << 20, "{grown} bytes for {sources} sources");
    assert_eq!(tasks(&relay), threads);
    assert_eq!(relay.metric("taciturn_relay_allocations "), 1);
    relay.assert_alive();
}

/// there is no DTLS listener. Hellos without a cookie, from a new source each time, get no answer and leave nothing.
#[test]
fn dtls_hellos_leave_nothing() {
    // A record of DTLS 1.2's and of DTLS 1.3's version fields, handshake, epoch 0, and a ClientHello that fills it.
    let hello = [
        &[0x16, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1][..],
        &[7; 199],
    ]
    .concat();
    let older = [&[0x16, 0xFE, 0xFF][..], &hello[3..]].concat();
    let mut relay = start();
    let socket = peer_at(SocketAddr::from(([127, 0, 15, 1], 0)));
    for _ in 0..50 {
        socket.send_to(&hello, relay.listener("udp")).unwrap();
    }
    assert_eq!(answers(&socket), Vec::<Vec<u8>>::new());
    assert_eq!(relay.dropped("unknown_protocol"), 50);
    relay.assert_alive();
    assert_nothing_kept(scale(5_000, 1_000_000), &[hello, older]);
}

/// Binding, Allocate, forged credentials, ChannelData and what means nothing, from a new source each time: no memory,
/// no thread and no allocation for any of it.
#[test]
fn strangers_leave_nothing_behind() {
    let mut forged = vec![0; 512];
    let id = TransactionId([4; 12]);
    let mut writer = Writer::new(&mut forged, Class::Request, Method::Allocate, id);
    writer.requested_transport(17);
    writer.username(b"9999999999:nobody");
    writer.realm(crate::running::REALM.as_bytes());
    writer.nonce(b"obMatJos2gAAAnot-one-of-this-relay");
    writer.message_integrity(b"a guess");
    let length = writer.finish().unwrap();
    forged.truncate(length);
    let datagrams = [
        binding(1),
        allocate(),
        forged,
        vec![0x40, 0, 0, 4, 1, 2, 3, 4],
        vec![0xFF; 40],
        vec![0, 1, 0, 0xFF],
    ];
    assert_nothing_kept(scale(3_000, 100_000), &datagrams);
}
