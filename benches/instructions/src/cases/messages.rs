//! Messages and addresses that the cases are made of.

use std::net::SocketAddr;

use taciturn_protocol::address::{ClientAddr, FiveTuple, PeerAddr, Transport};
use taciturn_protocol::wire::{Class, Method, TransactionId, Writer, channel_data};

/// Bytes of a payload, as ChannelData's header says them: an Opus packet with its RTP and SRTP.
pub(super) const LENGTH: u16 = 172;
/// The same as a length.
pub(super) const PAYLOAD: usize = LENGTH as usize;

/// The first channel number.
pub(super) const CHANNEL: u16 = 0x4000;

/// A message with these attributes.
pub(super) fn message(
    class: Class,
    method: Method,
    id: TransactionId,
    attributes: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    let mut writer = Writer::new(&mut bytes, class, method, id);
    attributes(&mut writer);
    let length = writer
        .finish()
        .expect("the buffer is larger than any case's");
    bytes.truncate(length);
    bytes
}

/// A transaction of its own for each number.
pub(super) fn transaction(number: u32) -> TransactionId {
    let mut id = [0x5A; 12];
    id[8..].copy_from_slice(&number.to_be_bytes());
    TransactionId(id)
}

/// A Send indication of [`PAYLOAD`] bytes.
pub(super) fn send_indication(peer: SocketAddr) -> Vec<u8> {
    message(Class::Indication, Method::Send, transaction(0), |writer| {
        writer.xor_peer_address(peer);
        writer.data(&[0x5A; PAYLOAD]);
    })
}

/// ChannelData of [`PAYLOAD`] bytes.
pub(super) fn channel_message(number: u16) -> Vec<u8> {
    let mut header = [0; channel_data::HEADER_LEN];
    channel_data::write_header(&mut header, number, LENGTH);
    [&header[..], &[0x5A; PAYLOAD]].concat()
}

/// The client of this number.
pub(super) fn client(number: u32) -> FiveTuple {
    let [_, a, b, c] = number.to_be_bytes();
    FiveTuple {
        transport: Transport::Udp,
        client: ClientAddr(SocketAddr::from(([100, a, b, c], 4000))),
        server: SocketAddr::from(([203, 0, 113, 1], 3478)),
    }
}

/// The peer of this number; each has an address of its own.
pub(super) fn peer(number: u32) -> PeerAddr {
    let [_, a, b, c] = number.to_be_bytes();
    PeerAddr(SocketAddr::from(([9, a, b, c], 50_000)))
}
