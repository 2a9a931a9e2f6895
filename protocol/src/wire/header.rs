//! The 20-byte STUN header (RFC 8489 §5) and the first byte that tells protocols apart (RFC 7983).
//!
//! Responsible for what a header can say; not for the attributes behind it (`framed`).

use core::fmt;

use crate::address::ChannelRange;

/// The fixed value of bytes 4-7 of every STUN message.
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// Length of the STUN header in bytes.
pub const HEADER_LEN: usize = 20;

/// What the first byte of a datagram, or of a frame on a stream, announces (RFC 7983 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FirstByte {
    /// 0-3: a STUN message.
    Stun,
    /// 64-79: ChannelData.
    ChannelData,
    /// 20-63: a DTLS record.
    Dtls,
    /// ZRTP, RTP and everything else: nothing that a relay takes.
    Other,
}

impl FirstByte {
    /// Tells the protocols apart. Where clients of RFC 5766 are admitted, 80-127 are ChannelData too.
    #[inline]
    pub const fn classify(byte: u8, channels: ChannelRange) -> Self {
        match (byte, channels) {
            (0..=3, _) => Self::Stun,
            (20..=63, _) => Self::Dtls,
            (64..=79, _) | (80..=127, ChannelRange::Rfc5766) => Self::ChannelData,
            _ => Self::Other,
        }
    }
}

/// The methods that this implementation speaks (RFC 8489 §18.2, RFC 8656 §17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Asks for the reflexive address.
    Binding = 0x001,
    /// Asks for a relayed address.
    Allocate = 0x003,
    /// Prolongs or ends an allocation.
    Refresh = 0x004,
    /// Carries a payload from the client; indication only.
    Send = 0x006,
    /// Carries a payload to the client; indication only.
    Data = 0x007,
    /// Installs permissions.
    CreatePermission = 0x008,
    /// Binds a channel.
    ChannelBind = 0x009,
}

impl Method {
    /// The method's number.
    #[inline]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The method with this number; `None` when it is not spoken here.
    #[inline]
    pub const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0x001 => Self::Binding,
            0x003 => Self::Allocate,
            0x004 => Self::Refresh,
            0x006 => Self::Send,
            0x007 => Self::Data,
            0x008 => Self::CreatePermission,
            0x009 => Self::ChannelBind,
            _ => return None,
        })
    }

    /// Whether a message of this method may be of `class`: Send and Data are indications only, and of the others only
    /// Binding is an indication too.
    #[inline]
    pub const fn permits(self, class: Class) -> bool {
        match self {
            Self::Binding => true,
            Self::Send | Self::Data => matches!(class, Class::Indication),
            Self::Allocate | Self::Refresh | Self::CreatePermission | Self::ChannelBind => {
                !matches!(class, Class::Indication)
            }
        }
    }
}

/// The four classes of a STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// A success response.
    Success,
    /// An error response.
    Error,
}

impl Class {
    /// The two class bits, in their places within the message type.
    #[inline]
    const fn bits(self) -> u16 {
        match self {
            Self::Request => 0x0000,
            Self::Indication => 0x0010,
            Self::Success => 0x0100,
            Self::Error => 0x0110,
        }
    }

    #[inline]
    const fn from_type(kind: u16) -> Self {
        match kind & 0x0110 {
            0x0000 => Self::Request,
            0x0010 => Self::Indication,
            0x0100 => Self::Success,
            _ => Self::Error,
        }
    }
}

/// The message type: method and class interleaved (RFC 8489 §5, figure 3).
#[inline]
pub(super) const fn message_type(method: Method, class: Class) -> u16 {
    // Every method spoken here is below 0x10, so its bits sit in the four lowest places and need no shifting.
    method.number() | class.bits()
}

/// Method and class of a message type.
#[inline]
pub(super) const fn method_and_class(kind: u16) -> Result<(Method, Class), FrameError> {
    let number = (kind & 0x000F) | ((kind & 0x00E0) >> 1) | ((kind & 0x3E00) >> 2);
    let Some(method) = Method::from_number(number) else {
        return Err(FrameError::UnknownMethod);
    };
    let class = Class::from_type(kind);
    if method.permits(class) {
        Ok((method, class))
    } else {
        Err(FrameError::IllegalClass)
    }
}

/// Correlates an answer with its request, and masks the XOR addresses of IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub [u8; 12]);

/// Why bytes are not a STUN message for us. Nobody is told: such datagrams are dropped in silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameError {
    /// Shorter than the header.
    TooShort,
    /// The first two bits are not zero.
    FirstBits,
    /// The magic cookie is another.
    Cookie,
    /// Length is no multiple of four, or points past the end.
    Length,
    /// Bytes follow the message.
    TrailingBytes,
    /// An attribute or its padding passes the end of the message.
    AttributeOverrun,
    /// A method that is not spoken here.
    UnknownMethod,
    /// A class that the method does not have.
    IllegalClass,
    /// A FINGERPRINT at the end that does not match.
    Fingerprint,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "shorter than a stun header",
            Self::FirstBits => "first two bits are not zero",
            Self::Cookie => "wrong magic cookie",
            Self::Length => "length is not a multiple of four or passes the end",
            Self::TrailingBytes => "bytes follow the message",
            Self::AttributeOverrun => "an attribute passes the end of the message",
            Self::UnknownMethod => "unknown method",
            Self::IllegalClass => "class is illegal for the method",
            Self::Fingerprint => "wrong fingerprint",
        })
    }
}

impl core::error::Error for FrameError {}

/// A header whose fixed parts are right.
#[derive(Clone, Copy)]
pub(super) struct Header<'a> {
    pub(super) kind: u16,
    pub(super) id: &'a [u8; 12],
    pub(super) attributes: &'a [u8],
}

/// Splits a datagram into header and attributes, and checks everything about the header but method and class.
#[inline(always)]
pub(super) fn split(datagram: &[u8]) -> Result<Header<'_>, FrameError> {
    let Some((header, attributes)) = datagram.split_first_chunk::<HEADER_LEN>() else {
        return Err(FrameError::TooShort);
    };
    let &[t0, t1, l0, l1, c0, c1, c2, c3, ref id @ ..] = header;
    if t0 & 0xC0 != 0 {
        return Err(FrameError::FirstBits);
    }
    if u32::from_be_bytes([c0, c1, c2, c3]) != MAGIC_COOKIE {
        return Err(FrameError::Cookie);
    }
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if length & 3 != 0 || length > attributes.len() {
        return Err(FrameError::Length);
    }
    if length != attributes.len() {
        return Err(FrameError::TrailingBytes);
    }
    Ok(Header {
        kind: u16::from_be_bytes([t0, t1]),
        id,
        attributes,
    })
}
