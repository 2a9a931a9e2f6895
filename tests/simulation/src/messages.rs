//! Requests into bytes, and what a relay sends out of them.
//!
//! Responsible for credentials too, as an issuer makes them. Not responsible for when anything is sent (`client`).

use std::net::SocketAddr;

use taciturn_protocol::credentials::{
    Hashes, HmacHash, LongTermKey, PasswordAlgorithm, Realm, SharedSecret, password_for,
};
use taciturn_protocol::wire::{
    Class, FirstByte, Framed, Method, TransactionId, Writer, channel_data,
};
use taciturn_protocol::{address::ChannelRange, wire::channel_data::HEADER_LEN};

use crate::ask::{Ask, Families, Name, Port, Request};

pub(crate) const REALM: &str = "turn.example.org";

/// The longest message that anybody here writes.
const LONGEST: usize = 1500;

pub(crate) fn realm() -> Realm {
    Realm::new(REALM).expect("a sound realm")
}

fn secret_bytes(number: u8) -> [u8; 40] {
    [number.wrapping_add(100); 40]
}

/// The id of a shared secret.
pub(crate) fn key_id(number: u8) -> String {
    format!("k{number}")
}

/// A shared secret as a relay keeps it.
pub(crate) fn shared_secret(number: u8) -> SharedSecret {
    SharedSecret::new(&key_id(number), &secret_bytes(number), Hashes::SHA256)
        .expect("forty bytes are enough")
}

/// The user's part of a time-limited name.
pub(crate) fn subject(user: u8) -> String {
    format!("user{user}")
}

/// A name and what proves it.
#[derive(Clone, Debug)]
pub(crate) struct Credential {
    pub(crate) name: Name,
    pub(crate) secret: u8,
    username: String,
    key: LongTermKey,
}

impl Credential {
    /// What an issuer makes of this secret.
    pub(crate) fn issue(secret: u8, name: Name, algorithm: PasswordAlgorithm) -> Self {
        let username = format!("{}:{}", name.expires, subject(name.user));
        let password = password_for(&secret_bytes(secret), HmacHash::Sha256, username.as_bytes());
        let key = LongTermKey::derive(algorithm, username.as_bytes(), &realm(), &password)
            .expect("a password of base64");
        Self {
            name,
            secret,
            username,
            key,
        }
    }

    /// Whether an answer is signed by somebody who knows the key.
    pub(crate) fn signed(&self, answer: &[u8]) -> bool {
        Framed::parse(answer).is_ok_and(|framed| framed.verify(self.key.as_bytes()).is_some())
    }
}

/// The bytes of a request, signed by `credential` where it has a proof.
pub(crate) fn write(request: &Request, credential: &Credential) -> Vec<u8> {
    let method = match request.ask {
        Ask::Binding => Method::Binding,
        Ask::Allocate { .. } | Ask::Claim(_) => Method::Allocate,
        Ask::Refresh { .. } => Method::Refresh,
        Ask::Permit(_) => Method::CreatePermission,
        Ask::Bind(..) => Method::ChannelBind,
    };
    let id = TransactionId(request.transaction);
    message(Class::Request, method, id, |w| {
        write_ask(&request.ask, w);
        let Some(proof) = &request.proof else { return };
        w.username(credential.username.as_bytes());
        w.realm(REALM.as_bytes());
        w.nonce(&proof.nonce);
        let key = if proof.is_right {
            credential.key.as_bytes()
        } else {
            b"somebody else's"
        };
        match credential.key.algorithm() {
            PasswordAlgorithm::Md5 => w.message_integrity(key),
            chosen @ PasswordAlgorithm::Sha256 => {
                w.password_algorithms(&[2, 1]);
                w.password_algorithm(chosen.number());
                w.message_integrity_sha256(key);
            }
        }
    })
}

fn write_ask(ask: &Ask, w: &mut Writer<'_>) {
    match ask {
        Ask::Binding => {}
        Ask::Claim(token) => {
            w.requested_transport(17);
            w.reservation_token(*token);
        }
        Ask::Allocate {
            lifetime,
            port,
            families,
        } => {
            w.requested_transport(17);
            if let Some(lifetime) = lifetime {
                w.lifetime(*lifetime);
            }
            match port {
                Port::Any => {}
                Port::Even => w.even_port(false),
                Port::Pair => w.even_port(true),
            }
            match families {
                Families::V4 => {}
                Families::V6 => w.requested_family(2),
                Families::Both => w.additional_family(2),
            }
        }
        Ask::Refresh { lifetime, only_v4 } => {
            if let Some(lifetime) = lifetime {
                w.lifetime(*lifetime);
            }
            if let Some(is_v4) = only_v4 {
                w.requested_family(if *is_v4 { 1 } else { 2 });
            }
        }
        Ask::Permit(peers) => peers.iter().for_each(|&peer| w.xor_peer_address(peer)),
        Ask::Bind(number, peer) => {
            w.channel_number(*number);
            w.xor_peer_address(*peer);
        }
    }
}

/// A Send indication.
pub(crate) fn send_indication(id: [u8; 12], peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
    message(Class::Indication, Method::Send, TransactionId(id), |w| {
        w.xor_peer_address(peer);
        w.data(payload);
    })
}

/// ChannelData.
pub(crate) fn channel_message(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; HEADER_LEN];
    let length = u16::try_from(payload.len()).expect("payloads are short");
    channel_data::write_header(&mut header, number, length);
    [&header, payload].concat()
}

/// A message of these attributes.
pub(crate) fn message(
    class: Class,
    method: Method,
    id: TransactionId,
    attributes: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    let mut bytes = vec![0; LONGEST];
    let mut writer = Writer::new(&mut bytes, class, method, id);
    attributes(&mut writer);
    let length = writer.finish().expect("messages are short");
    bytes.truncate(length);
    bytes
}

/// What came from a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Answer(Answer),
    Channel { number: u16, payload: Vec<u8> },
    Indication { peer: SocketAddr, payload: Vec<u8> },
    Unreadable,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) transaction: [u8; 12],
    /// The error code; `None` for a success.
    pub(crate) code: Option<u16>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) relayed: Vec<SocketAddr>,
    pub(crate) mapped: Option<SocketAddr>,
    pub(crate) lifetime: Option<u32>,
    pub(crate) token: Option<[u8; 8]>,
}

/// Reads what a relay sent.
pub(crate) fn read(bytes: &[u8]) -> Heard {
    let first = bytes.first().copied().unwrap_or(0xFF);
    match FirstByte::classify(first, ChannelRange::Rfc8656) {
        FirstByte::ChannelData => {
            channel_data::parse(bytes).map_or(Heard::Unreadable, |data| Heard::Channel {
                number: data.number,
                payload: data.payload.to_vec(),
            })
        }
        FirstByte::Stun => read_stun(bytes).unwrap_or(Heard::Unreadable),
        FirstByte::Dtls | FirstByte::Other => Heard::Unreadable,
    }
}

fn read_stun(bytes: &[u8]) -> Option<Heard> {
    let framed = Framed::parse(bytes).ok()?;
    let attributes = framed.unauthenticated();
    match framed.class() {
        Class::Request => None,
        Class::Indication => Some(Heard::Indication {
            peer: attributes.xor_peer_address()?.ok()?,
            payload: attributes.data()?.to_vec(),
        }),
        Class::Success | Class::Error => {
            let code = attributes
                .error_code()
                .map(|code| code.map(|(code, _)| code));
            let code = code.transpose().ok()?;
            if (framed.class() == Class::Error) != code.is_some() {
                return None;
            }
            let relayed: Result<Vec<_>, _> = attributes.xor_relayed_addresses().collect();
            Some(Heard::Answer(Answer {
                transaction: framed.transaction_id().0,
                code,
                nonce: attributes.nonce().map(<[u8]>::to_vec),
                relayed: relayed.ok()?,
                mapped: attributes.xor_mapped_address().transpose().ok()?,
                lifetime: attributes.lifetime().transpose().ok()?,
                token: attributes.reservation_token().transpose().ok()?,
            }))
        }
    }
}
