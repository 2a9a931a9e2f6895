//! What types of the wire say of themselves: fragments that fit into a log line, and never what a message holds.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};

use super::super::channel_data::{self, ChannelData, ChannelDataError};
use super::super::indication::{self, SendError};
use super::super::stream::StreamError;
use super::super::{BufferFull, Class, FrameError, Framed, Malformed, Method, Name, Writer};
use super::{ID, message};

const FRAME_ERRORS: [FrameError; 9] = [
    FrameError::TooShort,
    FrameError::FirstBits,
    FrameError::Cookie,
    FrameError::Length,
    FrameError::TrailingBytes,
    FrameError::AttributeOverrun,
    FrameError::UnknownMethod,
    FrameError::IllegalClass,
    FrameError::Fingerprint,
];

fn assert_are_fragments(words: impl IntoIterator<Item = String>) {
    let mut seen = BTreeSet::new();
    for word in words {
        let first = word.chars().next().unwrap();
        assert!(first.is_lowercase() && !word.ends_with('.'), "{word}");
        assert!(!word.contains(['\n', '\r', '\x1B']), "{word}");
        assert!(seen.insert(word.clone()), "{word}: of two errors");
    }
}

#[test]
fn every_error_has_a_fragment_of_its_own() {
    assert_are_fragments(FRAME_ERRORS.map(|error| error.to_string()));
    let of_send = [
        SendError::NotSend,
        SendError::UnknownAttribute,
        SendError::MissingPeer,
        SendError::MalformedPeer,
        SendError::MissingData,
    ];
    let framed = FRAME_ERRORS.map(SendError::Frame);
    assert_are_fragments(
        of_send
            .into_iter()
            .chain(framed)
            .map(|error| error.to_string()),
    );
    let of_channel_data = [
        ChannelDataError::TooShort,
        ChannelDataError::Number,
        ChannelDataError::Length,
    ];
    assert_are_fragments(of_channel_data.map(|error| error.to_string()));
    let of_stream = [
        StreamError::FirstByte,
        StreamError::Length,
        StreamError::Cookie,
    ];
    assert_are_fragments(of_stream.map(|error| error.to_string()));
    assert_are_fragments([BufferFull.to_string(), Malformed.to_string()]);
}

/// what a message holds does not come out of its `Debug` form: no payload, no name, no address, no proof.
#[test]
fn debug_forms_hold_nothing_of_a_message() {
    const PAYLOAD: &[u8] = b"PAYLOAD-OF-A-CALL";
    let mut header = [0; channel_data::HEADER_LEN];
    channel_data::write_header(&mut header, 0x4001, 17);
    let channel = [&header[..], PAYLOAD].concat();
    let parsed: ChannelData<'_> = channel_data::parse(&channel).unwrap();
    assert_eq!(
        format!("{parsed:?}"),
        "ChannelData { number: 16385, len: 17 }"
    );

    let send = message(Class::Indication, Method::Send, |writer| {
        writer.xor_peer_address("198.51.100.7:9".parse().unwrap());
        writer.data(PAYLOAD);
    });
    let parsed = indication::parse_send(&send).unwrap();
    assert_eq!(format!("{parsed:?}"), "SendIndication { len: 17, .. }");

    let key = *b"A-KEY-OF-16-BYTE";
    let request = message(Class::Request, Method::Refresh, |writer| {
        writer.username(b"NAME");
        writer.message_integrity(&key);
    });
    let framed = Framed::parse(&request).unwrap();
    let checked = framed.verify(&key).unwrap();
    let said = format!("{framed:?} {checked:?} {:?}", framed.credentials());
    assert!(
        !said.contains("NAME") && said.contains("Username(..)"),
        "{said}"
    );
    assert_eq!(format!("{:?}", Name::Userhash(PAYLOAD)), "Userhash(..)");

    let mut buffer = [0; 64];
    let mut writer = Writer::new(&mut buffer, Class::Success, Method::Binding, ID);
    writer.software("NAME");
    assert_eq!(
        format!("{writer:?}"),
        "Writer { len: 28, overflow: false, .. }"
    );
}

/// A value that its attribute cannot hold is told at the end, like a buffer that is too small.
#[test]
fn what_does_not_fit_is_told_at_the_end() {
    let mut buffer = [0; 1024];
    let mut writer = Writer::new(&mut buffer, Class::Error, Method::Allocate, ID);
    writer.alternate_domain(&"d".repeat(256));
    assert_eq!(writer.finish(), Err(BufferFull));
    let mut writer = Writer::new(&mut buffer, Class::Error, Method::Allocate, ID);
    writer.alternate_domain(&"d".repeat(255));
    assert!(writer.finish().is_ok());
    // Beyond what a Length can say, there is nothing that a proof could be of.
    for sha256 in [false, true] {
        let mut large = alloc::vec![0; 140_000];
        let mut writer = Writer::new(&mut large, Class::Request, Method::Send, ID);
        for _ in 0..3 {
            writer.data(&[0; 32_000]);
        }
        if sha256 {
            writer.message_integrity_sha256(&[7; 32]);
        } else {
            writer.message_integrity(&[7; 16]);
        }
        assert_eq!(writer.finish(), Err(BufferFull));
    }
}
