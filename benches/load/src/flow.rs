//! A flow: two ends that exchange payloads through the relay, and how each end frames, sends and receives them.
//!
//! Responsible for setting up allocations, permissions and channels, and for saying whether what arrives came from where it
//! should. Not responsible for pacing or counting (see `traffic` and `ledger`).

use crate::client::{Client, Refused, next_transaction_id};
use crate::credentials::Source;
use crate::datagram::Datagrams;
use crate::ledger::Arrival;
use crate::link::{Burst, Link, TlsTrust, Transport};
use crate::stun::{self, Received, attribute, kind};
use anyhow::{Context, Result};
use rustix::net::SocketAddrAny;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

const PORT_TRIES: u32 = 8;

/// The server under load and how to reach it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where the server listens.
    pub(crate) server: SocketAddr,
    /// How clients reach it.
    pub(crate) transport: Transport,
    /// Needed with TLS.
    pub(crate) trust: Option<TlsTrust>,
    /// How clients prove themselves.
    pub(crate) source: Source,
    /// Where peers bind.
    pub(crate) peer_address: IpAddr,
}

impl Target {
    /// A client with its own connection, its own user name and an allocation, whose relayed address comes with it.
    pub(crate) fn allocated_client(&self, number: usize) -> Result<(Client, SocketAddr)> {
        let mut tries = 0;
        loop {
            let link = Link::connect(self.transport, self.server, self.trust.as_ref())?;
            let mut client = Client::new(link, self.source.credentials(number));
            match client.allocate() {
                Ok(relayed) => return Ok((client, relayed)),
                Err(error)
                    if tries < PORT_TRIES
                        && error
                            .downcast_ref()
                            .is_some_and(|refused: &Refused| refused.port_is_known()) =>
                {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// How payloads travel between client and server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Framing {
    /// ChannelData on a bound channel.
    Channel,
    /// Send and Data indications.
    Indication,
}

/// One end of a flow.
#[derive(Debug)]
pub(crate) enum End {
    /// A TURN client.
    Client {
        /// Its connection and allocation.
        client: Client,
        /// The channel bound to `peer`; `None` for indications.
        channel: Option<u16>,
        /// The other end, as the relay sees it.
        peer: SocketAddr,
    },
    /// An ordinary UDP socket on the far side of the relay.
    Peer {
        /// Not connected: a payload from a wrong address must be seen, not filtered.
        socket: Datagrams,
        /// The only address it may hear from.
        relayed: SocketAddr,
        /// The same, as the kernel wants it.
        relayed_raw: SocketAddrAny,
    },
}

/// Sets up one flow between a client and an ordinary peer. The client is first.
pub(crate) fn client_and_peer(
    target: &Target,
    number: usize,
    framing: Framing,
) -> Result<[End; 2]> {
    let socket = Datagrams::bind(SocketAddr::new(target.peer_address, 0))
        .context("cannot bind a peer socket")?;
    let peer = socket.local_addr()?;
    let (mut client, relayed) = target.allocated_client(number)?;
    let channel = reach(&mut client, peer, framing, number)?;
    Ok([
        End::Client {
            client,
            channel,
            peer,
        },
        End::Peer {
            socket,
            relayed,
            relayed_raw: relayed.into(),
        },
    ])
}

/// Sets up one flow between two clients of the same relay, each the other's peer.
pub(crate) fn client_and_client(
    target: &Target,
    number: usize,
    framing: Framing,
) -> Result<[End; 2]> {
    let (mut first, first_relayed) = target.allocated_client(2 * number)?;
    let (mut second, second_relayed) = target.allocated_client(2 * number + 1)?;
    let first_channel = reach(&mut first, second_relayed, framing, 2 * number)?;
    let second_channel = reach(&mut second, first_relayed, framing, 2 * number + 1)?;
    Ok([
        End::Client {
            client: first,
            channel: first_channel,
            peer: second_relayed,
        },
        End::Client {
            client: second,
            channel: second_channel,
            peer: first_relayed,
        },
    ])
}

fn reach(
    client: &mut Client,
    peer: SocketAddr,
    framing: Framing,
    number: usize,
) -> Result<Option<u16>> {
    match framing {
        Framing::Channel => {
            // Spread over 0x4000..=0x4FFF, so that a server that mixes up clients shows it as a wrong channel.
            let channel = 0x4000 + u16::try_from(number % 0x0FFF).expect("below 0x0FFF");
            client.bind_channel(channel, peer)?;
            Ok(Some(channel))
        }
        Framing::Indication => {
            client.create_permission(peer)?;
            Ok(None)
        }
    }
}

impl End {
    /// Appends one framed payload of `payload_len` bytes to `out`; `write_payload` appends exactly that many.
    pub(crate) fn write_frame(
        &self,
        out: &mut Vec<u8>,
        payload_len: usize,
        write_payload: impl FnOnce(&mut Vec<u8>),
    ) {
        let begin = out.len();
        match self {
            Self::Peer { .. } => write_payload(out),
            Self::Client {
                channel: Some(number),
                ..
            } => {
                out.extend_from_slice(&number.to_be_bytes());
                out.extend_from_slice(&length_field(payload_len).to_be_bytes());
                write_payload(out);
            }
            Self::Client {
                channel: None,
                peer,
                ..
            } => {
                let id = next_transaction_id();
                let (address, address_len) = stun::xor_address(*peer, id);
                let body_len = 4 + address_len + 4 + payload_len.next_multiple_of(4);
                stun::write_header(out, kind::SEND_INDICATION, id, length_field(body_len));
                stun::write_attribute_header(
                    out,
                    attribute::XOR_PEER_ADDRESS,
                    length_field(address_len),
                );
                out.extend_from_slice(&address[..address_len]);
                stun::write_attribute_header(out, attribute::DATA, length_field(payload_len));
                write_payload(out);
                out.resize(begin + stun::HEADER_LEN + body_len, 0);
            }
        }
    }

    /// From now on this end sends bursts as trains of payloads of this length, and takes trains (GSO and GRO); `None` ends it.
    pub(crate) fn use_trains(&mut self, payload_len: Option<usize>) -> Result<()> {
        let frame_len = payload_len.map(|len| {
            let mut frame = Vec::new();
            self.write_frame(&mut frame, len, |out| out.resize(out.len() + len, 0));
            frame.len()
        });
        match self {
            Self::Client { client, .. } => client.link_mut().use_trains(frame_len),
            Self::Peer { socket, .. } => socket
                .use_trains(frame_len)
                .context("the kernel knows no trains"),
        }
    }

    /// Sends the burst; returns how many messages were taken.
    pub(crate) fn send(&mut self, burst: &Burst) -> io::Result<usize> {
        match self {
            Self::Client { client, .. } => client.link_mut().send(burst),
            Self::Peer {
                socket,
                relayed_raw,
                ..
            } => socket.send(Some(relayed_raw), burst),
        }
    }

    /// Pushes out what waits. Returns whether everything has left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Client { client, .. } => client.link_mut().flush(),
            Self::Peer { .. } => Ok(true),
        }
    }

    /// Gives up to about `limit` arrivals to `on_arrival`.
    pub(crate) fn receive(
        &mut self,
        limit: usize,
        scratch: &mut [u8],
        mut on_arrival: impl FnMut(Arrival<'_>),
    ) -> io::Result<()> {
        match self {
            Self::Client {
                client,
                channel,
                peer,
            } => client.link_mut().receive(limit, scratch, |message| {
                if let Some(arrival) = unwrap(message, *channel, *peer) {
                    on_arrival(arrival);
                }
            }),
            Self::Peer {
                socket, relayed, ..
            } => socket.receive(limit, scratch, |bytes, from| {
                on_arrival(Arrival::Payload {
                    bytes,
                    source_matches: from == Some(*relayed),
                });
            }),
        }
    }

    /// Gives the allocation back, if this end holds one.
    pub(crate) fn delete(&mut self) -> Result<()> {
        match self {
            Self::Client { client, .. } => client.delete(),
            Self::Peer { .. } => Ok(()),
        }
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Client { client, .. } => client.link().as_fd(),
            Self::Peer { socket, .. } => socket.as_fd(),
        }
    }
}

fn length_field(len: usize) -> u16 {
    u16::try_from(len).expect("payloads are checked to fit a datagram when the options are read")
}

/// What a message from the server carries. `None` for late answers to set-up requests.
fn unwrap(message: &[u8], channel: Option<u16>, peer: SocketAddr) -> Option<Arrival<'_>> {
    if let Some((number, bytes)) = stun::parse_channel_data(message) {
        return Some(Arrival::Payload {
            bytes,
            source_matches: channel == Some(number),
        });
    }
    let Some(received) = Received::parse(message) else {
        return Some(Arrival::Garbage);
    };
    if received.kind() == kind::DATA_INDICATION
        && let Some(bytes) = received.attribute(attribute::DATA)
    {
        // RFC 8656 §12.7: once a channel is bound, peers are heard on it and nowhere else.
        let source_matches =
            channel.is_none() && received.xor_address(attribute::XOR_PEER_ADDRESS) == Some(peer);
        return Some(Arrival::Payload {
            bytes,
            source_matches,
        });
    }
    let is_answer = received.kind() & 0x0100 != 0;
    (!is_answer).then_some(Arrival::Garbage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::Message;

    const ID: stun::TransactionId = [9; 12];

    fn peer() -> SocketAddr {
        ([192, 0, 2, 7], 5000).into()
    }

    fn data_indication(from: SocketAddr) -> Vec<u8> {
        Message::new(kind::DATA_INDICATION, ID)
            .xor_address(attribute::XOR_PEER_ADDRESS, from)
            .attribute(attribute::DATA, b"payload")
            .into_bytes()
    }

    fn matches(arrival: Option<Arrival<'_>>) -> Option<bool> {
        match arrival? {
            Arrival::Payload { source_matches, .. } => Some(source_matches),
            Arrival::Garbage => None,
        }
    }

    #[test]
    fn only_the_bound_channel_is_the_right_source() {
        let message = b"\x40\x05\x00\x04abcd";
        assert_eq!(matches(unwrap(message, Some(0x4005), peer())), Some(true));
        assert_eq!(matches(unwrap(message, Some(0x4006), peer())), Some(false));
        assert_eq!(matches(unwrap(message, None, peer())), Some(false));
    }

    #[test]
    fn a_data_indication_must_name_the_peer() {
        let other: SocketAddr = ([192, 0, 2, 7], 5001).into();
        assert_eq!(
            matches(unwrap(&data_indication(peer()), None, peer())),
            Some(true)
        );
        assert_eq!(
            matches(unwrap(&data_indication(other), None, peer())),
            Some(false)
        );
        assert_eq!(
            matches(unwrap(&data_indication(peer()), Some(0x4000), peer())),
            Some(false)
        );
    }

    #[test]
    fn late_answers_are_skipped_and_the_rest_is_garbage() {
        let answer = Message::new(kind::success(kind::CHANNEL_BIND), ID).into_bytes();
        assert!(unwrap(&answer, None, peer()).is_none());
        assert!(matches!(
            unwrap(b"\xffnoise", None, peer()),
            Some(Arrival::Garbage)
        ));
    }
}
