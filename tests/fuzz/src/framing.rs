//! Messages out of a stream, split in every way that there is.
//!
//! Responsible for: where a frame ends does not depend on how its bytes arrived. Asked with every beginning of the stream, the
//! framer says the same as soon as it can say anything, and never asks for more than it needs.

use taciturn_protocol::address::ChannelRange;
use taciturn_protocol::wire::FirstByte;
use taciturn_protocol::wire::stream::{Step, StreamError, next_frame};

/// A stream from its first byte on; the last bit of the first one chooses the range of channels.
pub fn stream(input: &[u8]) {
    let Some((&choice, mut stream)) = input.split_first() else {
        return;
    };
    let channels = if choice & 1 == 0 {
        ChannelRange::Rfc8656
    } else {
        ChannelRange::Rfc5766
    };
    // Each frame has four bytes or more.
    for _ in 0..=input.len() / 4 {
        match one(stream, channels) {
            Some(total) => stream = &stream[total..],
            None => return,
        }
    }
    panic!("more frames than there are bytes for");
}

/// The frame at the beginning of `stream`: how many bytes it takes, if it is whole.
fn one(stream: &[u8], channels: ChannelRange) -> Option<usize> {
    let wanted = whole(stream, channels);
    let mut needed = 0;
    for have in 0..=stream.len() {
        let step = next_frame(&stream[..have], channels);
        match (step, wanted) {
            (Ok(Step::Incomplete { needed: asked }), _) => {
                assert!(asked > have, "asks for what it has");
                assert!(asked >= needed, "asks for less than before");
                // To ask before there is as much is of no use: nothing but a refusal may come earlier.
                needed = asked;
                if let Wanted::Frame { total, .. } = wanted {
                    assert!(asked <= total && have < total);
                }
            }
            (Ok(Step::Frame { kind, len, total }), Wanted::Frame { .. }) => {
                assert_eq!(Wanted::Frame { kind, len, total }, wanted);
                assert!(have == total, "known late: {have} of {total}");
                assert!(have >= needed);
                return Some(total);
            }
            (Err(error), Wanted::Error { at, .. }) => {
                assert_eq!(wanted, Wanted::Error { at, error });
                assert!(have == at, "refused late: {have}, {at}");
                return None;
            }
            (step, wanted) => panic!("{step:?} where {wanted:?} is right"),
        }
    }
    assert_eq!(wanted, Wanted::More);
    None
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Frame {
        kind: FirstByte,
        len: usize,
        total: usize,
    },
    /// Known as soon as `at` bytes are there.
    Error {
        at: usize,
        error: StreamError,
    },
    More,
}

/// RFC 8489 section 6.2.2 and RFC 8656 section 12.5, with all bytes at hand.
fn whole(stream: &[u8], channels: ChannelRange) -> Wanted {
    let Some(&first) = stream.first() else {
        return Wanted::More;
    };
    let last_channel = match channels {
        ChannelRange::Rfc8656 => 0x4F,
        ChannelRange::Rfc5766 => 0x7F,
    };
    let is_stun = first <= 3;
    if !is_stun && !(0x40..=last_channel).contains(&first) {
        let error = StreamError::FirstByte;
        return Wanted::Error { at: 1, error };
    }
    if stream.len() < 4 {
        return Wanted::More;
    }
    let length = usize::from(stream[2]) * 256 + usize::from(stream[3]);
    if is_stun {
        if !length.is_multiple_of(4) {
            let error = StreamError::Length;
            return Wanted::Error { at: 4, error };
        }
        if stream.len() >= 8 && stream[4..8] != [0x21, 0x12, 0xA4, 0x42] {
            let error = StreamError::Cookie;
            return Wanted::Error { at: 8, error };
        }
    }
    let (kind, len) = if is_stun {
        (FirstByte::Stun, 20 + length)
    } else {
        (FirstByte::ChannelData, 4 + length)
    };
    let total = len.next_multiple_of(4);
    if stream.len() < total {
        Wanted::More
    } else {
        Wanted::Frame { kind, len, total }
    }
}
