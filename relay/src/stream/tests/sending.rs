//! A slow client loses its oldest media, and nothing else.

use std::time::Duration;

use super::super::{CloseReason, Patience, QueueClass, Queued, StreamLimits, Waits};
use super::{Pair, channel_data, padded, stun};

/// Queues media frame `number` with a payload from which its number can be read back.
fn queue_media(pair: &mut Pair, number: u32, len: usize) -> Queued {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(len.max(4), 0x55);
    let frame = channel_data(0x4000, &payload);
    pair.connection
        .queue(pair.now, QueueClass::Media, &[&frame[..4], &frame[4..]])
}

fn queue_control(pair: &mut Pair, number: u32) -> Queued {
    let mut response = stun(4);
    response[20..].copy_from_slice(&number.to_be_bytes());
    pair.connection
        .queue(pair.now, QueueClass::Control, &[&response])
}

/// A whole frame as the client reads it.
#[derive(Debug, PartialEq)]
enum Read {
    Media(u32),
    Control(u32),
}

/// Takes a stream apart, strictly: every byte belongs to a whole, well-formed frame.
fn read_strictly(mut bytes: &[u8]) -> Vec<Read> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let len = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let total = if bytes[0] == 0x40 {
            assert!(
                bytes[8..4 + len].iter().all(|byte| *byte == 0x55),
                "payload is whole"
            );
            assert!(
                bytes[4 + len..(4 + len).next_multiple_of(4)]
                    .iter()
                    .all(|byte| *byte == 0),
                "padding is zero"
            );
            frames.push(Read::Media(number(4)));
            (4 + len).next_multiple_of(4)
        } else {
            assert_eq!(
                (bytes[..4].to_vec(), &bytes[4..8]),
                (vec![0, 1, 0, 4], [0x21, 0x12, 0xA4, 0x42].as_slice())
            );
            frames.push(Read::Control(number(20)));
            24
        };
        bytes = &bytes[total..];
    }
    frames
}

/// T-71: ChannelData is padded to four, with the padding outside Length, for all four remainders (RFC 8656 §12.5).
#[test]
fn channel_data_is_padded_and_stun_is_not() {
    for mut pair in [
        Pair::tcp(StreamLimits::default()),
        Pair::tls(StreamLimits::default()),
    ] {
        let mut expected = Vec::new();
        for len in 0..8 {
            let frame = channel_data(0x4000, &vec![9; len]);
            assert_eq!(
                pair.connection
                    .queue(pair.now, QueueClass::Media, &[&frame]),
                Queued::Accepted
            );
            expected.extend(padded(frame));
        }
        let response = stun(4);
        assert_eq!(
            pair.connection
                .queue(pair.now, QueueClass::Control, &[&[], &response]),
            Queued::Accepted
        );
        expected.extend(response);
        pair.connection.flush(pair.now).unwrap();
        assert!(!pair.connection.wants_write());
        let mut read = Vec::new();
        pair.client_reads(&mut read);
        assert_eq!(read, expected);
    }
}

#[test]
fn how_long_media_waited_is_known_once_it_has_gone() {
    let mut pair = Pair::tcp(StreamLimits::default());
    assert_eq!(queue_control(&mut pair, 0), Queued::Accepted);
    assert_eq!(queue_media(&mut pair, 0, 100), Queued::Accepted);
    pair.later(Duration::from_millis(30));
    assert_eq!(queue_media(&mut pair, 1, 100), Queued::Accepted);
    pair.connection.flush(pair.now).unwrap();
    let waits = pair.connection.take_waits();
    assert_eq!(waits.counts, [1, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(waits.nanos, 30_000_000);
    assert_eq!(pair.connection.take_waits(), Waits::default());
}

/// The kernel takes part of the queue: what is left waits on, and is counted when it goes.
#[test]
fn media_that_the_kernel_did_not_take_is_counted_when_it_goes() {
    let mut pair = Pair::tcp(StreamLimits::default());
    let mut queued = 0;
    while !pair.connection.wants_write() {
        assert_eq!(queue_media(&mut pair, queued, 1000), Queued::Accepted);
        queued += 1;
        pair.connection.flush(pair.now).unwrap();
    }
    assert_eq!(queue_media(&mut pair, queued, 1000), Queued::Accepted);
    pair.later(Duration::from_millis(150));
    let gone = pair.connection.take_waits();
    let mut bytes = Vec::new();
    while pair.connection.wants_write() {
        pair.client_reads(&mut bytes);
        pair.connection.flush(pair.now).unwrap();
    }
    let late = pair.connection.take_waits();
    assert_eq!(gone.counts[0] + late.counts.iter().sum::<u32>(), queued + 1);
    assert!(late.counts[5] >= 1, "{late:?}");
}

/// Overloads a client that does not read, then reads everything: frames are whole and in order, every control frame
/// is there, and the media that is missing was counted.
fn a_slow_client_loses_only_old_media(mut pair: Pair) {
    let mut controls = 0;
    let total = 12_000;
    for number in 0..total {
        let len = 700 + number as usize % 701;
        assert_eq!(queue_media(&mut pair, number, len), Queued::Accepted);
        if number % 50 == 0 {
            assert_eq!(queue_control(&mut pair, controls), Queued::Accepted);
            controls += 1;
        }
        if number % 16 == 0 {
            pair.connection.flush(pair.now).unwrap();
        }
    }
    assert!(pair.connection.wants_write());
    assert!(pair.connection.queued_bytes() <= 256 * 1024 + 24 * controls as usize);
    let dropped = pair.connection.take_dropped();
    assert!(
        dropped.overflow_frames > 0 && dropped.aged_frames == 0,
        "{dropped:?}"
    );
    assert!(dropped.overflow_bytes >= dropped.overflow_frames * 704);

    let mut bytes = Vec::new();
    while pair.connection.wants_write() {
        pair.client_reads(&mut bytes);
        pair.connection.flush(pair.now).unwrap();
    }
    pair.client_reads(&mut bytes);
    let frames = read_strictly(&bytes);
    let media: Vec<u32> = frames
        .iter()
        .filter_map(|f| {
            if let Read::Media(n) = f {
                Some(*n)
            } else {
                None
            }
        })
        .collect();
    let control: Vec<u32> = frames
        .iter()
        .filter_map(|f| {
            if let Read::Control(n) = f {
                Some(*n)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(
        control,
        (0..controls).collect::<Vec<_>>(),
        "every control frame, in order"
    );
    assert!(
        media.windows(2).all(|pair| pair[0] < pair[1]),
        "media keeps its order"
    );
    assert_eq!(
        media.len() as u64 + dropped.overflow_frames,
        u64::from(total),
        "what is missing was counted"
    );
    assert_eq!(media.last(), Some(&(total - 1)), "the newest is kept");
    for window in frames.windows(2) {
        if let [Read::Media(before), Read::Control(number)] = window {
            assert!(
                *before <= number * 50,
                "control has not overtaken or fallen behind media"
            );
        }
    }
}

#[test]
fn a_slow_tcp_client_loses_only_old_media() {
    a_slow_client_loses_only_old_media(Pair::tcp(StreamLimits::default()));
}

#[test]
fn a_slow_tls_client_loses_only_old_media() {
    a_slow_client_loses_only_old_media(Pair::tls(StreamLimits::default()));
}

/// Fills the kernel's buffers and some of the queue.
fn clog(pair: &mut Pair) -> u32 {
    let mut number = 0;
    while pair.connection.queued_bytes() < 64 * 1024 {
        let _ = queue_media(pair, number, 1000);
        number += 1;
        pair.connection.flush(pair.now).unwrap();
    }
    number
}

#[test]
fn media_that_has_waited_too_long_is_dropped_and_control_is_not() {
    for mut pair in [
        Pair::tcp(StreamLimits::default()),
        Pair::tls(StreamLimits::default()),
    ] {
        let number = clog(&mut pair);
        assert_eq!(queue_control(&mut pair, 1), Queued::Accepted);
        pair.later(Duration::from_millis(600));
        assert_eq!(
            pair.connection.queue_age(pair.now),
            Duration::from_millis(600)
        );
        let _ = queue_media(&mut pair, number, 1000);
        pair.later(Duration::from_millis(600));
        pair.connection.flush(pair.now).unwrap();
        let dropped = pair.connection.take_dropped();
        assert!(
            dropped.aged_frames > 60 && dropped.overflow_frames == 0,
            "{dropped:?}"
        );
        let mut bytes = Vec::new();
        while pair.connection.wants_write() {
            pair.client_reads(&mut bytes);
            pair.connection.flush(pair.now).unwrap();
        }
        pair.client_reads(&mut bytes);
        let frames = read_strictly(&bytes);
        assert_eq!(
            frames[frames.len() - 2..],
            [Read::Control(1), Read::Media(number)]
        );
        assert_eq!(
            frames.len() as u64 + dropped.aged_frames,
            u64::from(number) + 2
        );
    }
}

#[test]
fn another_connection_does_not_feel_a_clogged_one() {
    let mut slow = Pair::tcp(StreamLimits::default());
    clog(&mut slow);
    let mut other = Pair::tcp(StreamLimits::default());
    for number in 0..100 {
        assert_eq!(queue_media(&mut slow, number, 1000), Queued::Accepted);
        slow.connection.flush(slow.now).unwrap();
        assert_eq!(queue_media(&mut other, number, 1000), Queued::Accepted);
        other.connection.flush(other.now).unwrap();
        assert!(!other.connection.wants_write());
    }
    let mut bytes = Vec::new();
    other.client_reads(&mut bytes);
    assert_eq!(read_strictly(&bytes).len(), 100);
    assert!(other.connection.take_dropped().is_empty());
}

#[test]
fn control_that_piles_up_closes_the_connection() {
    let mut pair = Pair::tcp(StreamLimits::default());
    clog(&mut pair);
    let mut queued = 0;
    while queue_control(&mut pair, queued) == Queued::Accepted {
        queued += 1;
        assert!(queued < 10_000);
    }
    assert_eq!(queued as usize, 64 * 1024 / 24);
    assert_eq!(pair.connection.flush(pair.now), Err(CloseReason::Backlog));
}

/// S-18: no idle close while an answer is owed, but a client that takes nothing is given up (RFC 8489 §6.2.2).
#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let mut pair = Pair::tcp(StreamLimits {
        idle: Duration::from_secs(5),
        ..StreamLimits::default()
    });
    clog(&mut pair);
    assert_eq!(queue_control(&mut pair, 0), Queued::Accepted);
    pair.later(Duration::from_secs(29));
    assert_eq!(pair.connection.flush(pair.now), Ok(()));
    assert_eq!(pair.connection.handle_timeout(pair.now), Ok(()));
    pair.later(Duration::from_secs(1));
    assert_eq!(pair.connection.poll_timeout(), Some(pair.now));
    assert_eq!(
        pair.connection.handle_timeout(pair.now),
        Err(CloseReason::Stalled)
    );
}

#[test]
fn a_frame_larger_than_the_queue_is_dropped_alone() {
    let mut pair = Pair::tcp(StreamLimits {
        media_bytes: 2000,
        ..StreamLimits::default()
    });
    assert_eq!(queue_media(&mut pair, 1, 1000), Queued::Accepted);
    assert_eq!(queue_media(&mut pair, 2, 3000), Queued::Dropped);
    pair.connection.flush(pair.now).unwrap();
    assert_eq!(pair.connection.take_dropped().overflow_frames, 1);
    let mut bytes = Vec::new();
    pair.client_reads(&mut bytes);
    assert_eq!(read_strictly(&bytes), [Read::Media(1)]);
}

#[test]
fn buffers_stay_while_used_and_go_when_idle() {
    let mut pair = Pair::tcp(StreamLimits::default());
    let mut bytes = Vec::new();
    let mut warm = None;
    for round in 0..200 {
        for number in 0..20 {
            let _ = queue_media(&mut pair, number, 1200);
        }
        pair.connection.flush(pair.now).unwrap();
        pair.client_reads_now(&mut bytes, 20 * 1204);
        let capacity = pair.connection.queue.capacity();
        if round > 2 {
            assert_eq!(
                *warm.get_or_insert(capacity),
                capacity,
                "no allocation once warm"
            );
        }
    }
    pair.later(Duration::from_secs(10));
    assert_eq!(pair.connection.poll_timeout(), Some(pair.now));
    assert_eq!(pair.connection.handle_timeout(pair.now), Ok(()));
    assert_eq!(pair.connection.queue.capacity(), 0);
}

#[test]
fn closing_sends_what_is_queued_and_says_goodbye() {
    for mut pair in [
        Pair::tcp(StreamLimits::default()),
        Pair::tls(StreamLimits::default()),
    ] {
        let _ = queue_media(&mut pair, 1, 10);
        let _ = queue_control(&mut pair, 2);
        let Pair {
            client,
            client_tls,
            connection,
            scratch,
            now,
        } = pair;
        connection.close(now);
        let mut read = Vec::new();
        let mut reading = super::Reading { client, client_tls };
        reading.read_all(&mut read);
        assert_eq!(read_strictly(&read), [Read::Media(1), Read::Control(2)]);
        drop(scratch);
    }
}

/// A live call outlives what would end a stranger's connection: a client that takes nothing for a while, a frame that
/// does not go on. What bounds it is the lifetime of its allocation.
#[test]
fn a_connection_that_holds_an_allocation_is_waited_for() {
    let limits = StreamLimits::default();
    let mut pair = Pair::tcp(limits);
    let socket = pair.connection.stream.try_clone().unwrap();
    let user_timeout = || {
        socket2::SockRef::from(&socket)
            .tcp_user_timeout()
            .unwrap()
            .unwrap_or_default()
    };
    socket2::SockRef::from(&socket)
        .set_tcp_user_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    pair.connection.set_patience(Patience::ALLOCATION);
    assert!(user_timeout() >= Duration::from_secs(3600));
    pair.client_sends(&channel_data(0x4000, &[0; 8])[..5]);
    assert_eq!(pair.receive(), Ok(Vec::new()));
    clog(&mut pair);
    for _ in 0..59 {
        pair.later(Duration::from_secs(60));
        assert_eq!(pair.connection.flush(pair.now), Ok(()));
        assert_eq!(pair.connection.handle_timeout(pair.now), Ok(()));
    }
    pair.connection.set_patience(limits.patience());
    assert_eq!(user_timeout(), Duration::from_secs(30));
    assert_eq!(
        pair.connection.handle_timeout(pair.now),
        Err(CloseReason::FrameDeadline)
    );
}

/// S-18: what TLS has to say of its own accord does not make the client one that takes nothing.
#[test]
fn what_tls_says_by_itself_is_sent_and_keeps_nothing_open() {
    let mut pair = Pair::tls(StreamLimits {
        idle: Duration::from_secs(5),
        ..StreamLimits::default()
    });
    let tls = pair.connection.tls.as_mut().unwrap();
    tls.refresh_traffic_keys().unwrap();
    assert!(pair.connection.wants_write());
    pair.later(Duration::from_secs(5));
    assert_eq!(
        pair.connection.handle_timeout(pair.now),
        Err(CloseReason::Idle)
    );
    assert_eq!(pair.connection.flush(pair.now), Ok(()));
    assert!(!pair.connection.wants_write());
}
