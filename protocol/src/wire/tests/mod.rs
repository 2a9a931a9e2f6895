//! Tests of the wire format, by subject.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod differential;
mod framing;
mod integrity;
mod packet_path;
mod properties;
mod values;
mod vectors;
mod words;

use alloc::vec::Vec;

use super::{Class, Framed, Method, TransactionId, Writer};

const ID: TransactionId = TransactionId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);

/// Bytes from hexadecimal digits, spaces and line breaks ignored.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| u8::try_from(digit).unwrap())
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// A message with whatever `fill` writes.
fn message(class: Class, method: Method, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    // Padding must be written, not inherited: the buffer begins dirty.
    let mut buffer = alloc::vec![0xAA; 70_000];
    let mut writer = Writer::new(&mut buffer, class, method, ID);
    fill(&mut writer);
    let len = writer.finish().unwrap();
    buffer.truncate(len);
    buffer
}

fn request(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    message(Class::Request, Method::Allocate, fill)
}

/// Sets the header's Length to what is there, after bytes were appended by hand.
fn fix_length(message: &mut [u8]) {
    let length = u16::try_from(message.len() - 20).unwrap();
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

fn types(bytes: &[u8]) -> Vec<u16> {
    Framed::parse(bytes)
        .unwrap()
        .unauthenticated()
        .iter()
        .map(|(kind, _)| kind)
        .collect()
}
