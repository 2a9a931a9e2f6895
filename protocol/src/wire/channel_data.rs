//! ChannelData (RFC 8656 §12.4): four bytes of header, then the payload.
//!
//! Responsible for the framing; not for whether a number is bound or may be.
//!
//! ```text
//! +-------------------------------+-------------------------------+
//! |  channel number, from 0x4000  |  length of the payload        |
//! +-------------------------------+-------------------------------+
//! |  payload; over TCP and TLS padded to a multiple of four       |
//! +---------------------------------------------------------------+
//! ```

use core::fmt;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 4;

/// A ChannelData message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChannelData<'a> {
    /// The channel number, 0x4000-0x7FFF.
    pub number: u16,
    /// The payload without padding; may be empty.
    pub payload: &'a [u8],
}

impl fmt::Debug for ChannelData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelData")
            .field("number", &self.number)
            .field("len", &self.payload.len())
            .finish()
    }
}

/// Why bytes are not ChannelData.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelDataError {
    /// Shorter than the header.
    TooShort,
    /// The number is outside 0x4000-0x7FFF.
    Number,
    /// The length passes the end of the datagram.
    Length,
}

impl fmt::Display for ChannelDataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "shorter than a channel data header",
            Self::Number => "not a channel number",
            Self::Length => "length passes the end of the datagram",
        })
    }
}

impl core::error::Error for ChannelDataError {}

/// Reads one ChannelData message. Bytes behind the payload are padding, which is allowed over UDP too, and are left out.
///
/// # Errors
///
/// The datagram is to be dropped in silence.
#[inline]
pub fn parse(datagram: &[u8]) -> Result<ChannelData<'_>, ChannelDataError> {
    let Some((&[n0, n1, l0, l1], body)) = datagram.split_first_chunk::<HEADER_LEN>() else {
        return Err(ChannelDataError::TooShort);
    };
    if n0 & 0xC0 != 0x40 {
        return Err(ChannelDataError::Number);
    }
    match body.get(..usize::from(u16::from_be_bytes([l0, l1]))) {
        Some(payload) => Ok(ChannelData {
            number: u16::from_be_bytes([n0, n1]),
            payload,
        }),
        None => Err(ChannelDataError::Length),
    }
}

/// Writes the header for a payload of `len` bytes.
#[inline]
pub fn write_header(out: &mut [u8; HEADER_LEN], number: u16, len: u16) {
    let ([n0, n1], [l0, l1]) = (number.to_be_bytes(), len.to_be_bytes());
    *out = [n0, n1, l0, l1];
}

/// `len` bytes padded to a multiple of four, as ChannelData is over TCP and TLS. `len` is at most that of a datagram.
#[inline]
pub const fn padded(len: usize) -> usize {
    len.saturating_add(3) & !3
}
