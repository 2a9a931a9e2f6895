//! A STUN message by RFC 8489 sections 5, 6.3 and 14, read in the most simple-minded way, to hold the product's reader against.
//!
//! Responsible for being seen to be right. Not responsible for speed: it counts bytes from the beginning, each time.

use taciturn_protocol::wire::FrameError;

/// Message types that there are: method and class as they are on the wire, which classes each method has.
const TYPES: [u16; 18] = [
    0x0001, 0x0011, 0x0101, 0x0111, // Binding: request, indication, success, error
    0x0003, 0x0103, 0x0113, // Allocate
    0x0004, 0x0104, 0x0114, // Refresh
    0x0016, // Send
    0x0017, // Data
    0x0008, 0x0108, 0x0118, // CreatePermission
    0x0009, 0x0109, 0x0119, // ChannelBind
];

/// One attribute: where it begins in the message, its type, and its value without padding.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// Bytes of the message before it.
    pub at: usize,
    /// Its type.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

/// A message whose structure is right.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// Message type: method and class.
    pub kind: u16,
    /// Whether it ends with a FINGERPRINT.
    pub fingerprint: bool,
    /// Bytes of it that an integrity attribute covers, or all but the FINGERPRINT.
    pub covered: usize,
}

/// The two bytes at `at`, as a number.
fn number(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) * 256 + usize::from(bytes[at + 1])
}

/// The attribute at `at`, and where the next one is.
fn attribute(bytes: &[u8], at: usize) -> Option<(Attribute<'_>, usize)> {
    if bytes.len() < at + 4 {
        return None;
    }
    let length = number(bytes, at + 2);
    let padding = (4 - length % 4) % 4;
    let next = at + 4 + length + padding;
    if bytes.len() < next {
        return None;
    }
    let kind = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let value = &bytes[at + 4..at + 4 + length];
    Some((Attribute { at, kind, value }, next))
}

/// Reads a message.
///
/// # Errors
///
/// What is wrong with it, in the order of the RFC: header, method and class, attributes.
pub fn read(bytes: &[u8]) -> Result<Message<'_>, FrameError> {
    if bytes.len() < 20 {
        return Err(FrameError::TooShort);
    }
    if bytes[0] > 63 {
        return Err(FrameError::FirstBits);
    }
    if bytes[4..8] != [0x21, 0x12, 0xA4, 0x42] {
        return Err(FrameError::Cookie);
    }
    let length = number(bytes, 2);
    if !length.is_multiple_of(4) || bytes.len() < 20 + length {
        return Err(FrameError::Length);
    }
    if bytes.len() > 20 + length {
        return Err(FrameError::TrailingBytes);
    }
    let kind = u16::from_be_bytes([bytes[0], bytes[1]]);
    if !TYPES.iter().any(|known| known & 0xFEEF == kind & 0xFEEF) {
        return Err(FrameError::UnknownMethod);
    }
    if !TYPES.contains(&kind) {
        return Err(FrameError::IllegalClass);
    }
    let mut message = Message {
        bytes,
        kind,
        fingerprint: false,
        covered: bytes.len(),
    };
    let mut sealed = false;
    let mut at = 20;
    while at < bytes.len() {
        let Some((found, next)) = attribute(bytes, at) else {
            return Err(FrameError::AttributeOverrun);
        };
        if !sealed && (found.kind == 0x0008 || found.kind == 0x001C) {
            sealed = true;
            message.covered = at;
        }
        if found.kind == 0x8028 && next == bytes.len() {
            if found.value != fingerprint(&bytes[..at]).to_be_bytes() {
                return Err(FrameError::Fingerprint);
            }
            message.fingerprint = true;
            if !sealed {
                message.covered = at;
            }
        }
        at = next;
    }
    Ok(message)
}

impl<'a> Message<'a> {
    /// Every attribute, covered or not.
    pub fn all(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let bytes = self.bytes;
        let mut at = 20;
        std::iter::from_fn(move || {
            let (found, next) = attribute(bytes, at)?;
            at = next;
            Some(found)
        })
    }

    /// The attributes that count.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let covered = self.covered;
        self.all().take_while(move |found| found.at < covered)
    }

    /// The value of the first attribute of this type that counts.
    pub fn first(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes()
            .find(|found| found.kind == kind)
            .map(|found| found.value)
    }
}

/// CRC-32 a bit at a time (ITU V.42), XORed with the mask of RFC 8489 section 14.7.
fn fingerprint(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc >>= 1;
            if low == 1 {
                crc ^= 0xEDB8_8320;
            }
        }
    }
    (crc ^ u32::MAX) ^ 0x5354_554E
}
