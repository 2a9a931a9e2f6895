//! Which protocol a connection's first bytes belong to.
//!
//! Responsible for the decision on a shared port. Not responsible for reading the bytes.
//!
//! ```text
//!  0x00-0x03   STUN message                                    (RFC 8489 §5)
//!  0x16 0x03   TLS handshake record                            (RFC 8446 §5.1)
//!  0x40-0x7F   ChannelData, unless it spells another protocol  (RFC 8656 §12)
//!  else        not ours
//! ```

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstBytes {
    /// Too few to tell.
    Undecided,
    /// TURN in the clear.
    Turn,
    /// A TLS ClientHello.
    Tls,
    /// An HTTP request that can be answered here: GET or HEAD.
    Http,
    /// Another protocol.
    Foreign,
}

/// Decides by at most four bytes.
pub(super) fn classify(bytes: &[u8]) -> FirstBytes {
    match bytes {
        [] => FirstBytes::Undecided,
        [0x00..=0x03, ..] => FirstBytes::Turn,
        [0x16] => FirstBytes::Undecided,
        [0x16, 0x03, ..] => FirstBytes::Tls,
        // Letters lie in the range of channel numbers. Nobody has a channel before the first request, so that nothing
        // is lost when four letters are taken for a word; waiting for a "frame" of 20 KB would help no one.
        [0x40..=0x7F, ..] => match bytes.first_chunk::<4>() {
            None => FirstBytes::Undecided,
            Some(b"GET " | b"HEAD") => FirstBytes::Http,
            Some(word) if is_word(*word) => FirstBytes::Foreign,
            Some(_) => FirstBytes::Turn,
        },
        _ => FirstBytes::Foreign,
    }
}

/// Whether four bytes are the beginning of a text protocol: a request line, a banner, a PROXY header.
fn is_word(bytes: [u8; 4]) -> bool {
    let text = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-' | b'/' | b'\r' | b'\n')
    };
    bytes.iter().all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stun_and_channel_data_are_turn() {
        assert_eq!(classify(&[0x00]), FirstBytes::Turn);
        assert_eq!(classify(&[0x03, 0xFF]), FirstBytes::Turn);
        assert_eq!(classify(&[0x40, 0x00, 0x00]), FirstBytes::Undecided);
        assert_eq!(classify(&[0x40, 0x00, 0x00, 0x04]), FirstBytes::Turn);
        assert_eq!(classify(&[0x7F, 0xFF, 0x00, 0x00]), FirstBytes::Turn);
    }

    #[test]
    fn a_tls_record_is_told_by_two_bytes() {
        assert_eq!(classify(&[0x16]), FirstBytes::Undecided);
        assert_eq!(classify(&[0x16, 0x03]), FirstBytes::Tls);
        assert_eq!(
            classify(&[0x16, 0xFE, 0xFF]),
            FirstBytes::Foreign,
            "a DTLS record has no place on a stream"
        );
    }

    /// A-34: wrong protocol on the port.
    #[test]
    fn text_protocols_and_others_are_foreign() {
        for opening in [
            "POST / HTTP/1.1",
            "SSH-2.0-x",
            "PROXY TCP4",
            "OPTIONS *",
            "HELO x",
            "PUT /x",
        ] {
            assert_eq!(
                classify(opening.as_bytes()),
                FirstBytes::Foreign,
                "{opening}"
            );
        }
        assert_eq!(
            classify(b"\r\n\r\n\0\r\nQUIT\n"),
            FirstBytes::Foreign,
            "PROXY protocol, version 2"
        );
        assert_eq!(
            classify(&[0x80, 0x2E, 0x01]),
            FirstBytes::Foreign,
            "an SSL 2 hello"
        );
        assert_eq!(classify(b"GET /live"), FirstBytes::Http);
        assert_eq!(classify(b"HEAD /"), FirstBytes::Http);
        for byte in (0x04..=0x15).chain(0x17..=0x3F).chain(0x80..=0xFF) {
            assert_eq!(classify(&[byte]), FirstBytes::Foreign, "{byte:#04x}");
        }
    }

    #[test]
    fn more_bytes_never_change_a_decision() {
        for first in 0..=255_u8 {
            for second in [0x00, 0x03, 0x45, 0xFF] {
                let bytes = [first, second, 0x54, 0x20, 0x00];
                let decisions: Vec<_> = (0..=bytes.len())
                    .map(|len| classify(&bytes[..len]))
                    .collect();
                let decided: Vec<_> = decisions
                    .iter()
                    .filter(|d| **d != FirstBytes::Undecided)
                    .collect();
                assert!(
                    decided.windows(2).all(|pair| pair[0] == pair[1]),
                    "{bytes:02x?}: {decisions:?}"
                );
                assert_ne!(*decisions.last().expect("not empty"), FirstBytes::Undecided);
            }
        }
    }
}
