//! Messages come out of the stream however it was cut.

use std::net::Shutdown;
use std::time::Duration;

use taciturn_protocol::wire::FirstByte;

use super::super::{CloseReason, StreamLimits};
use super::{Message, Pair, channel_data, padded, stun};

/// STUN and ChannelData with all four remainders, as a stream and as messages.
fn mixture() -> (Vec<u8>, Vec<Message>) {
    let mut bytes = Vec::new();
    let mut messages = Vec::new();
    for len in 0..6_u8 {
        let request = stun(u16::from(len) * 4);
        bytes.extend_from_slice(&request);
        messages.push((FirstByte::Stun, request));
        let data = channel_data(0x4000 + u16::from(len), &vec![len; usize::from(len)]);
        bytes.extend_from_slice(&padded(data.clone()));
        messages.push((FirstByte::ChannelData, data));
    }
    (bytes, messages)
}

fn any_split_gives_the_same_messages(mut pair: Pair) {
    let (bytes, messages) = mixture();
    for at in 0..=bytes.len() {
        let mut received = Vec::new();
        for part in [&bytes[..at], &bytes[at..]] {
            if !part.is_empty() {
                pair.client_sends(part);
                received.extend(pair.receive().unwrap());
            }
        }
        assert_eq!(received, messages, "split at {at}");
    }
}

/// S-18, T-71: any split point gives identical results (RFC 8489 §6.2.2, RFC 8656 §12.5).
#[test]
fn a_tcp_stream_may_be_split_anywhere() {
    any_split_gives_the_same_messages(Pair::tcp(StreamLimits::default()));
}

/// S-18, T-71: any split point gives identical results, TLS records included (RFC 8489 §6.2.2).
#[test]
fn a_tls_stream_may_be_split_anywhere() {
    any_split_gives_the_same_messages(Pair::tls(StreamLimits::default()));
}

/// 1 record per byte.
#[test]
fn records_of_one_byte_make_whole_messages() {
    let mut pair = Pair::tls(StreamLimits::default());
    let (bytes, messages) = mixture();
    for byte in &bytes {
        pair.client_sends(&[*byte]);
    }
    assert_eq!(pair.receive_all(messages.len()), messages);
}

/// a 16 KB record of small messages is taken apart, and one of one-byte STUN prefixes closes the connection.
#[test]
fn a_full_record_may_hold_very_many_messages() {
    let mut pair = Pair::tls(StreamLimits::default());
    let frame = padded(channel_data(0x4000, &[1]));
    pair.client_sends(&frame.repeat(2048));
    let messages = pair.receive_all(2048);
    assert!(
        messages
            .iter()
            .all(|(kind, message)| *kind == FirstByte::ChannelData && *message == frame[..5])
    );
    pair.client_sends(&[0; 16 * 1024]);
    assert_eq!(pair.receive(), Err(CloseReason::NotTurn));
}

#[test]
fn a_long_stream_comes_through_in_order() {
    for mut pair in [
        Pair::tcp(StreamLimits::default()),
        Pair::tls(StreamLimits::default()),
    ] {
        let mut sent = Vec::new();
        for number in 0..400_u32 {
            let payload = number.to_be_bytes().repeat(1 + number as usize % 300);
            sent.push((FirstByte::ChannelData, channel_data(0x4001, &payload)));
        }
        let bytes: Vec<u8> = sent
            .iter()
            .flat_map(|(_, message)| padded(message.clone()))
            .collect();
        let mut received = Vec::new();
        for piece in bytes.chunks(30_011) {
            pair.client_sends(piece);
            received.extend(pair.receive().unwrap());
        }
        while received.len() < sent.len() {
            received.extend(pair.receive().unwrap());
        }
        assert!(received == sent, "the messages differ");
    }
}

/// the largest message of each kind, which wraps a 16-bit length once its header is counted.
#[test]
fn the_largest_messages_are_taken_whole() {
    let mut largest = stun(0xFFFC);
    largest[1] = 0x16;
    for mut pair in [
        Pair::tcp(StreamLimits::default()),
        Pair::tls(StreamLimits::default()),
    ] {
        for message in [largest.clone(), channel_data(0x4000, &vec![5; 0xFFFF])] {
            pair.client_sends(&padded(message.clone()));
            let received = pair.receive_all(1);
            assert!(received.len() == 1 && received[0].1 == message);
        }
        assert!(
            pair.connection.tail.capacity() <= 4096,
            "the buffer of a long frame is given back"
        );
    }
}

/// S-18: a wrong first byte, cookie or Length alignment closes the connection; what came before is still answered
/// (RFC 8489 §6.2.2).
#[test]
fn what_is_not_turn_closes_the_connection_behind_the_last_good_message() {
    let mut unaligned = stun(4);
    unaligned[3] = 5;
    let mut cookie = stun(0);
    cookie[4] = 0;
    for garbage in [
        vec![0x16, 3, 1, 0],
        vec![0x80],
        b"\xFFxyz".to_vec(),
        unaligned,
        cookie,
    ] {
        let mut pair = Pair::tcp(StreamLimits::default());
        let good = stun(8);
        pair.client_sends(&[good.as_slice(), &garbage].concat());
        super::wait_readable(&pair.connection);
        let mut batch = pair
            .connection
            .receive(pair.now, &mut pair.scratch)
            .unwrap();
        let (kind, frame) = batch.next_frame().unwrap().unwrap();
        assert_eq!((kind, &*frame), (FirstByte::Stun, good.as_slice()));
        assert_eq!(
            batch.next_frame().unwrap_err(),
            CloseReason::NotTurn,
            "{garbage:02x?}"
        );
    }
}

/// a control message over 9 KB is refused as soon as it is announced; a Send indication may be long.
#[test]
fn a_long_request_is_refused_when_it_is_announced() {
    let mut pair = Pair::tcp(StreamLimits::default());
    pair.client_sends(&stun(0xFFFC)[..20]);
    assert_eq!(pair.receive(), Err(CloseReason::FrameTooLong));
    let mut pair = Pair::tcp(StreamLimits::default());
    let mut indication = stun(40_000);
    indication[1] = 0x16;
    pair.client_sends(&indication[..20]);
    assert_eq!(pair.receive(), Ok(Vec::new()));
}

/// a frame that is announced and stalls is closed at the frame deadline, 10 s, with at most one frame buffered.
#[test]
fn a_frame_that_stalls_meets_its_deadline() {
    let mut pair = Pair::tcp(StreamLimits {
        idle: Duration::from_secs(600),
        ..StreamLimits::default()
    });
    let frame = channel_data(0x4000, &vec![0; 0xFFFF]);
    pair.client_sends(&frame[..100]);
    assert_eq!(pair.receive(), Ok(Vec::new()));
    let begun = pair.now;
    // A trickle of bytes does not put the deadline off.
    for piece in frame[100..160].chunks(10) {
        pair.later(Duration::from_millis(1_500));
        pair.client_sends(piece);
        assert_eq!(pair.receive(), Ok(Vec::new()));
        assert_eq!(pair.connection.handle_timeout(pair.now), Ok(()));
    }
    assert_eq!(pair.connection.tail.len(), 160);
    assert_eq!(
        pair.connection.poll_timeout(),
        Some(begun + Duration::from_secs(10))
    );
    pair.now = begun + Duration::from_secs(10);
    assert_eq!(
        pair.connection.handle_timeout(pair.now),
        Err(CloseReason::FrameDeadline)
    );
}

#[test]
fn a_message_that_begins_behind_a_whole_one_has_a_deadline_of_its_own() {
    let mut pair = Pair::tcp(StreamLimits::default());
    let message = stun(0);
    pair.client_sends(&message[..7]);
    pair.receive().unwrap();
    pair.later(Duration::from_secs(9));
    pair.client_sends(&[&message[7..], &message[..7]].concat());
    assert_eq!(pair.receive().unwrap().len(), 1);
    pair.later(Duration::from_secs(9));
    assert_eq!(pair.connection.handle_timeout(pair.now), Ok(()));
    pair.client_sends(&message[7..]);
    assert_eq!(pair.receive().unwrap().len(), 1);
    assert_eq!(
        pair.connection.poll_timeout(),
        Some(pair.now + Duration::from_secs(10)),
        "only idle buffers are left"
    );
}

/// S-17: whatever comes resets the idle timer of its connection; a connection on which nothing moves is closed.
#[test]
fn a_connection_on_which_nothing_moves_is_closed() {
    let limits = StreamLimits {
        idle: Duration::from_secs(60),
        ..StreamLimits::default()
    };
    let mut pair = Pair::tcp(limits);
    for _ in 0..3 {
        pair.later(Duration::from_secs(59));
        assert_eq!(pair.connection.handle_timeout(pair.now), Ok(()));
        let mut indication = stun(0);
        indication[1] = 0x11;
        pair.client_sends(&indication);
        assert_eq!(pair.receive().unwrap().len(), 1);
    }
    pair.later(Duration::from_secs(60));
    assert_eq!(
        pair.connection.handle_timeout(pair.now),
        Err(CloseReason::Idle)
    );
}

#[test]
fn the_last_messages_of_a_client_are_read_before_its_end_is_seen() {
    for mut pair in [
        Pair::tcp(StreamLimits::default()),
        Pair::tls(StreamLimits::default()),
    ] {
        pair.client_sends(&stun(0));
        if let Some(tls) = &mut pair.client_tls {
            tls.send_close_notify();
            tls.write_tls(&mut pair.client).unwrap();
        }
        pair.client.shutdown(Shutdown::Write).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let mut batch = pair
            .connection
            .receive(pair.now, &mut pair.scratch)
            .unwrap();
        assert!(batch.next_frame().unwrap().is_some());
        assert!(batch.next_frame().unwrap().is_none());
        let kept = pair.connection.keep_rest(pair.now, batch);
        let ended = kept.and_then(|()| pair.receive_now().map(|_| ()));
        assert_eq!(ended, Err(CloseReason::PeerClosed));
    }
}

#[test]
fn a_forged_record_closes_the_connection() {
    let mut pair = Pair::tls(StreamLimits::default());
    std::io::Write::write_all(
        &mut pair.client,
        &[
            0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
            20,
        ],
    )
    .unwrap();
    assert_eq!(pair.receive(), Err(CloseReason::Tls));
}

#[test]
fn bytes_that_came_with_the_connection_come_first() {
    let mut pair = Pair::tcp(StreamLimits::default());
    let message = stun(4);
    pair.connection.early = message[..9].to_vec();
    assert_eq!(pair.receive_now(), Ok(Vec::new()));
    pair.client_sends(&message[9..]);
    assert_eq!(pair.receive().unwrap(), [(FirstByte::Stun, message)]);
}
