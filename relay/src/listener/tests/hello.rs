//! ClientHellos made by hand: what no TLS library of today offers any more (RFC 5246 §7.4.1.2).

use std::io::Write;
use std::net::TcpStream;

/// TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, which the test certificate and every profile but `ism` can do.
pub(super) const GOOD_SUITE: u16 = 0xC02B;

/// What to offer.
pub(super) struct Hello<'a> {
    /// Version of the record and of the hello, such as 0x0301.
    pub(super) version: u16,
    pub(super) suites: &'a [u16],
    pub(super) compression: &'a [u8],
    /// Whether the extensions are there that TLS 1.2 needs; SSL 3 has none.
    pub(super) extensions: bool,
}

impl Hello<'_> {
    /// The hello as one record.
    pub(super) fn to_record(&self) -> Vec<u8> {
        let message = self.to_message();
        let mut record = vec![0x16];
        record.extend_from_slice(&self.version.to_be_bytes());
        record.extend_from_slice(&u16::try_from(message.len()).unwrap().to_be_bytes());
        record.extend_from_slice(&message);
        record
    }

    fn to_message(&self) -> Vec<u8> {
        let mut body = self.version.to_be_bytes().to_vec();
        body.extend_from_slice(&[0x5A; 32]);
        body.push(0);
        body.extend_from_slice(&u16::try_from(self.suites.len() * 2).unwrap().to_be_bytes());
        body.extend(self.suites.iter().flat_map(|suite| suite.to_be_bytes()));
        body.push(u8::try_from(self.compression.len()).unwrap());
        body.extend_from_slice(self.compression);
        if self.extensions {
            let extensions: [(u16, &[u8]); 5] = [
                (10, &[0, 4, 0, 0x17, 0, 0x1D]),
                (11, &[1, 0]),
                (13, &[0, 8, 4, 3, 8, 4, 4, 1, 2, 1]),
                (23, &[]),
                (0xFF01, &[0]),
            ];
            let mut bytes = Vec::new();
            for (kind, value) in extensions {
                bytes.extend_from_slice(&kind.to_be_bytes());
                bytes.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
                bytes.extend_from_slice(value);
            }
            body.extend_from_slice(&u16::try_from(bytes.len()).unwrap().to_be_bytes());
            body.extend_from_slice(&bytes);
        }
        let mut message = vec![1];
        message.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
        message.extend_from_slice(&body);
        message
    }
}

/// Sends bytes and returns everything that the relay answers before it closes the connection.
pub(super) fn answer_to(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).unwrap();
    super::read_to_end(stream)
}

/// The description of a fatal alert, when the bytes are one alert record and nothing else.
pub(super) fn alert_in(answer: &[u8]) -> Option<u8> {
    match answer {
        [21, 3, _, 0, 2, 2, description] => Some(*description),
        _ => None,
    }
}
