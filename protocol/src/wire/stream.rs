//! Framing on TCP and TLS (RFC 8489 §6.2.2, RFC 8656 §12.5): where one message ends and the next begins.
//!
//! Responsible for lengths only, from as few bytes as possible; not for buffering, and not for what is inside a frame.

use core::fmt;

use super::channel_data;
use super::header::{FirstByte, HEADER_LEN, MAGIC_COOKIE};
use crate::address::ChannelRange;

/// What the buffered bytes amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No whole frame yet.
    Incomplete {
        /// How many bytes the buffer must hold in all before asking again is of use.
        needed: usize,
    },
    /// A whole frame at the beginning of the buffer.
    Frame {
        /// STUN or ChannelData.
        kind: FirstByte,
        /// Length of the message without padding, in bytes.
        len: usize,
        /// Bytes to take off the buffer: with padding.
        total: usize,
    },
}

/// Why a stream cannot be followed any further: it is to be closed, as nothing tells where the next frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamError {
    /// The frame begins neither as STUN nor as ChannelData.
    FirstByte,
    /// The STUN Length is not a multiple of four.
    Length,
    /// The magic cookie is another.
    Cookie,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstByte => "frame is neither stun nor channel data",
            Self::Length => "stun length is not a multiple of four",
            Self::Cookie => "wrong magic cookie",
        })
    }
}

impl core::error::Error for StreamError {}

/// Looks for a whole frame at the beginning of `buffered`.
///
/// # Errors
///
/// As soon as the bytes that tell are there, even if the frame is not complete.
#[inline]
pub fn next_frame(buffered: &[u8], channels: ChannelRange) -> Result<Step, StreamError> {
    let Some(&first) = buffered.first() else {
        return Ok(Step::Incomplete {
            needed: channel_data::HEADER_LEN,
        });
    };
    let kind = FirstByte::classify(first, channels);
    if !matches!(kind, FirstByte::Stun | FirstByte::ChannelData) {
        return Err(StreamError::FirstByte);
    }
    let Some((&[_, _, l0, l1], body)) =
        buffered.split_first_chunk::<{ channel_data::HEADER_LEN }>()
    else {
        return Ok(Step::Incomplete {
            needed: channel_data::HEADER_LEN,
        });
    };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let (len, total) = if matches!(kind, FirstByte::Stun) {
        if length & 3 != 0 {
            return Err(StreamError::Length);
        }
        let Some(cookie) = body.first_chunk::<4>() else {
            return Ok(Step::Incomplete { needed: 8 });
        };
        if *cookie != MAGIC_COOKIE.to_be_bytes() {
            return Err(StreamError::Cookie);
        }
        let len = length.saturating_add(HEADER_LEN);
        (len, len)
    } else {
        let len = length.saturating_add(channel_data::HEADER_LEN);
        (len, channel_data::padded(len))
    };
    if buffered.len() < total {
        return Ok(Step::Incomplete { needed: total });
    }
    Ok(Step::Frame { kind, len, total })
}
