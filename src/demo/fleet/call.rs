//! One synthetic call: an allocation on a relay, a peer, and numbered payloads that go both ways until it hangs up.
//!
//! ```text
//!   client --number--> relay --number--> peer
//!   client <-answer--- relay <-answer--- peer      the answer is the number with every bit turned
//! ```
//!
//! Responsible for the little of TURN over UDP that this takes. Not responsible for when calls begin (`schedule`), nor for
//! what counts as cut (`tally`).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use taciturn_protocol::credentials::{LongTermKey, PasswordAlgorithm, Realm};
use taciturn_protocol::wire::channel_data::{self, HEADER_LEN};
use taciturn_protocol::wire::{Class, Framed, Method, TransactionId, Writer};
use tokio::net::UdpSocket;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use zeroize::Zeroizing;

use super::tally::{Ending, Pulse};

/// From one payload to the next.
const PACE: Duration = Duration::from_millis(50);
/// The length of a payload: that of 20 ms of speech.
const PAYLOAD: u16 = 160;
/// The same as it goes over the channel.
const MESSAGE: usize = HEADER_LEN + PAYLOAD as usize;
/// The channel that the peer is bound to.
const CHANNEL: u16 = 0x4001;
/// The number of UDP in REQUESTED-TRANSPORT.
const UDP: u8 = 17;
/// A request is sent again when no answer has come in this time, so often in all.
const RESEND: Duration = Duration::from_millis(700);
const TRIES: u32 = 4;
/// The longest message either side sends here.
const LONGEST: usize = 1500;

/// What a signalling server gives to one party.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: Zeroizing<String>,
}

/// What the relay asks to be signed with.
struct Seal {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: LongTermKey,
}

struct Client {
    socket: UdpSocket,
    login: Login,
    seal: Option<Seal>,
}

/// A call that is established.
pub(crate) struct Call {
    client: Client,
    peer: UdpSocket,
    relayed: SocketAddr,
}

impl Call {
    /// Allocates at the relay whose listener is `server`, for a peer on this machine.
    pub(crate) async fn open(server: SocketAddr, login: Login) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        socket.connect(server).await?;
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let other = peer.local_addr()?;
        let seal = None;
        let mut client = Client {
            socket,
            login,
            seal,
        };
        let answer = client
            .asked(Method::Allocate, |writer| writer.requested_transport(UDP))
            .await?;
        let relayed = Framed::parse(&answer)
            .ok()
            .and_then(|framed| {
                framed
                    .unauthenticated()
                    .xor_relayed_addresses()
                    .next()?
                    .ok()
            })
            .context("the relay named no relayed address")?;
        client
            .asked(Method::ChannelBind, |writer| {
                writer.channel_number(CHANNEL);
                writer.xor_peer_address(other);
            })
            .await?;
        Ok(Self {
            client,
            peer,
            relayed,
        })
    }

    /// Holds the call for as long as it lasts.
    pub(crate) async fn talk(mut self, lasts: Duration) -> Ending {
        let mut pulse = Pulse::default();
        let mut beat = interval(PACE);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let over = sleep(lasts);
        tokio::pin!(over);
        let (mut near, mut far) = ([0; LONGEST], [0; LONGEST]);
        loop {
            tokio::select! {
                () = &mut over => return self.hang_up().await,
                _ = beat.tick() => {
                    let message = numbered(pulse.send());
                    // What cannot be sent stays unanswered.
                    let _ = self.client.socket.send(&message).await;
                    if pulse.is_silent() {
                        return Ending::Silent;
                    }
                }
                received = self.client.socket.recv(&mut near) => {
                    let message = received.ok().and_then(|length| near.get(..length));
                    if let Some(number) = message.and_then(answer) {
                        pulse.answered(number);
                    }
                }
                received = self.peer.recv_from(&mut far) => {
                    if let Ok((length, from)) = received
                        && from == self.relayed
                        && let Some(payload) = far.get_mut(..length)
                    {
                        payload.iter_mut().take(8).for_each(|byte| *byte = !*byte);
                        let _ = self.peer.send_to(payload, from).await;
                    }
                }
            }
        }
    }

    async fn hang_up(&mut self) -> Ending {
        let released = self
            .client
            .asked(Method::Refresh, |writer| writer.lifetime(0));
        match released.await {
            Ok(_) => Ending::HungUp,
            Err(_) => Ending::Lost,
        }
    }
}

impl Client {
    /// One request and the message that answers it with success. What the relay asks to be signed with is learnt on the way.
    async fn asked(
        &mut self,
        method: Method,
        attributes: impl Fn(&mut Writer<'_>),
    ) -> anyhow::Result<Vec<u8>> {
        // Once without being known, once known, and once more with a newer nonce.
        for _ in 0..3 {
            let answer = self.exchanged(method, &attributes).await?;
            let framed = Framed::parse(&answer).map_err(|error| anyhow!("{error:?}"))?;
            if framed.class() == Class::Success {
                return Ok(answer);
            }
            let told = framed.unauthenticated();
            let (code, _) = told
                .error_code()
                .and_then(Result::ok)
                .context("the relay refused without a code")?;
            let is_stale = code == 438;
            let is_first = code == 401 && self.seal.is_none();
            if !is_stale && !is_first {
                bail!("the relay answered {code}");
            }
            let (realm, nonce) = told
                .realm()
                .zip(told.nonce())
                .context("the relay did not say what to sign with")?;
            self.seal = Some(self.login.seal(realm, nonce)?);
        }
        bail!("the relay asked for a newer nonce again and again")
    }

    async fn exchanged(
        &self,
        method: Method,
        attributes: impl Fn(&mut Writer<'_>),
    ) -> anyhow::Result<Vec<u8>> {
        let mut id = TransactionId([0; 12]);
        getrandom::fill(&mut id.0).map_err(|error| anyhow!("no random bytes: {error}"))?;
        let mut request = vec![0; LONGEST];
        let mut writer = Writer::new(&mut request, Class::Request, method, id);
        attributes(&mut writer);
        if let Some(seal) = &self.seal {
            writer.username(self.login.username.as_bytes());
            writer.realm(&seal.realm);
            writer.nonce(&seal.nonce);
            writer.message_integrity(seal.key.as_bytes());
        }
        let length = writer
            .finish()
            .map_err(|_| anyhow!("the request is too long"))?;
        request.truncate(length);
        for _ in 0..TRIES {
            // An error is that of an earlier datagram, which met nobody.
            let _ = self.socket.send(&request).await;
            if let Ok(answer) = timeout(RESEND, self.answer_to(id)).await {
                return Ok(answer);
            }
        }
        bail!("the relay did not answer")
    }

    async fn answer_to(&self, id: TransactionId) -> Vec<u8> {
        let mut buffer = [0; LONGEST];
        loop {
            let message = match self.socket.recv(&mut buffer).await {
                Ok(length) => buffer.get(..length).unwrap_or_default(),
                Err(_) => continue,
            };
            let is_answer = Framed::parse(message).is_ok_and(|framed| {
                framed.transaction_id() == id
                    && matches!(framed.class(), Class::Success | Class::Error)
            });
            if is_answer {
                return message.to_vec();
            }
        }
    }
}

impl Login {
    fn seal(&self, realm: &[u8], nonce: &[u8]) -> anyhow::Result<Seal> {
        let text = core::str::from_utf8(realm).context("the relay's realm is no text")?;
        let prepared = Realm::new(text).map_err(|error| anyhow!("{error}"))?;
        let key = LongTermKey::derive(
            PasswordAlgorithm::Md5,
            self.username.as_bytes(),
            &prepared,
            &self.password,
        )
        .map_err(|error| anyhow!("the password: {error}"))?;
        Ok(Seal {
            realm: realm.to_vec(),
            nonce: nonce.to_vec(),
            key,
        })
    }
}

/// A payload with its number, as it goes over the channel.
fn numbered(number: u64) -> [u8; MESSAGE] {
    let mut message = [0x5a; MESSAGE];
    if let Some((header, payload)) = message.split_first_chunk_mut::<HEADER_LEN>() {
        channel_data::write_header(header, CHANNEL, PAYLOAD);
        if let Some(head) = payload.first_chunk_mut::<8>() {
            *head = number.to_be_bytes();
        }
    }
    message
}

/// The number that the peer has answered, if this is its answer.
fn answer(message: &[u8]) -> Option<u64> {
    let received = channel_data::parse(message).ok()?;
    let turned = received.payload.first_chunk::<8>()?;
    let is_whole = received.number == CHANNEL && message.len() == MESSAGE;
    is_whole.then_some(!u64::from_be_bytes(*turned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_of_the_peer_counts() {
        let mut message = numbered(77);
        assert_ne!(
            answer(&message),
            Some(77),
            "a payload that nobody has turned"
        );
        message[HEADER_LEN..HEADER_LEN + 8]
            .iter_mut()
            .for_each(|byte| *byte = !*byte);
        assert_eq!(answer(&message), Some(77));
        assert_eq!(answer(&message[..HEADER_LEN + 100]), None, "cut short");
        message[1] = 0x02;
        assert_eq!(answer(&message), None, "another channel");
    }
}
