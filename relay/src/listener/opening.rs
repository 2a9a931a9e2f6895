//! One connection from its first byte to the point where a worker can take it over.
//!
//! Responsible for the order: first bytes, TLS handshake, first bytes inside, then TURN, health or nothing. Not
//! responsible for caps and for accepting (`front`).
//!
//! ```text
//!  first bytes --TURN----------------------------------------> Established (tcp)
//!      |  '-----TLS--> handshake --> first bytes --TURN------> Established (tls)
//!      |                   |             '-------HTTP--------> health answer, closed
//!      '-other             '-fails: alert, closed
//!         closed without a word
//! ```

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{AlertDescription, Error, ServerConfig, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::counters::{FrontCounters, Group, HandshakeFailure, Refusal, TlsVersion};
use super::first_bytes::{FirstBytes, classify};
use super::tls::{ALPN_HTTP, TlsSettings};
use super::{FrontLimits, ListenTransport, health};

/// Bytes taken from the socket at a time while a connection is being opened.
const CHUNK: usize = 4096;

/// Bytes that a client may need for its handshake after the ClientHello; it has no certificate to send.
const HANDSHAKE_MAX: usize = 64 * 1024;

/// Where the version ends in a ClientHello: record header, handshake header, version (RFC 5246 §7.4.1.2).
const HELLO_VERSION_END: usize = 11;

/// A record with the fatal alert `protocol_version`.
const PROTOCOL_VERSION_ALERT: [u8; 7] = [21, 3, 1, 0, 2, 2, 70];

/// How long, and for how many bytes, a client that was sent a last word is listened to. Closing with unread bytes
/// would reset the connection, and the reset can overtake the word.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_MAX: usize = 64 * 1024;

/// What a connection turned out to be.
#[derive(Debug)]
pub(super) enum Opened {
    /// TURN over TCP, with the bytes read so far.
    Turn { stream: TcpStream, early: Vec<u8> },
    /// TURN over TLS, with the plaintext read so far.
    TurnOverTls {
        stream: TcpStream,
        tls: Box<ServerConnection>,
        early: Vec<u8>,
    },
    /// A health request, answered.
    Health,
}

/// What every opening needs to know.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    pub(super) transport: ListenTransport,
    pub(super) limits: &'a FrontLimits,
    pub(super) tls: Option<&'a TlsSettings>,
    pub(super) counters: &'a FrontCounters,
}

impl Terms<'_> {
    /// Opens a connection. What is returned is closed already when it is not TURN.
    pub(super) async fn open(&self, mut stream: TcpStream) -> Result<Opened, Refusal> {
        let handshake_by = Instant::now() + self.limits.handshake;
        let first = timeout_at(handshake_by, self.read_first_bytes(&stream));
        let (kind, bytes) = first.await.map_err(|_| Refusal::Deadline)??;
        let settings = match (kind, self.tls) {
            (FirstBytes::Turn, _) => {
                return Ok(Opened::Turn {
                    stream,
                    early: bytes,
                });
            }
            (_, Some(settings)) => settings,
            (_, None) => return Err(Refusal::WrongProtocol),
        };
        let config = settings.current();
        let handshake = timeout_at(handshake_by, self.shake_hands(&mut stream, &bytes, config));
        let mut tls = match handshake.await {
            Err(_) => return Err(Refusal::Deadline),
            Ok(Ok(tls)) => tls,
            Ok(Err(Failed::Closed)) => return Err(Refusal::ClosedEarly),
            Ok(Err(Failed::Because(failure, last_word))) => {
                self.counters.count_handshake_failure(failure);
                say_last(&mut stream, &last_word).await;
                return Err(Refusal::Handshake);
            }
        };
        let (version, group) = (tls.protocol_version(), tls.negotiated_key_exchange_group());
        let group = Group::negotiated(group.map(|group| group.name()));
        self.counters
            .count_handshake(TlsVersion::negotiated(version), group);
        let first = timeout(
            self.limits.first_message,
            self.read_first_plaintext(&stream, &mut tls),
        );
        let (kind, early) = first.await.map_err(|_| Refusal::Deadline)??;
        if kind == FirstBytes::Http {
            self.answer_health(&mut stream, &mut tls, &early).await?;
            return Ok(Opened::Health);
        }
        Ok(Opened::TurnOverTls { stream, tls, early })
    }

    /// The first bytes, and which of the protocols served here they are: TURN or TLS.
    async fn read_first_bytes(&self, stream: &TcpStream) -> Result<(FirstBytes, Vec<u8>), Refusal> {
        let mut bytes = Vec::new();
        loop {
            read_more(stream, &mut bytes).await?;
            match (classify(&bytes), self.transport) {
                (FirstBytes::Undecided, _) => {}
                (FirstBytes::Turn, ListenTransport::Tcp | ListenTransport::Auto)
                | (FirstBytes::Tls, ListenTransport::Tls | ListenTransport::Auto) => {
                    return Ok((classify(&bytes), bytes));
                }
                // HTTP in the clear is not answered either: health is for those who come over TLS.
                (
                    FirstBytes::Turn | FirstBytes::Tls | FirstBytes::Http | FirstBytes::Foreign,
                    _,
                ) => {
                    return Err(Refusal::WrongProtocol);
                }
            }
        }
    }

    async fn shake_hands(
        &self,
        stream: &mut TcpStream,
        first: &[u8],
        config: Arc<ServerConfig>,
    ) -> Result<Box<ServerConnection>, Failed> {
        let (accepted, rest) = self.read_hello(stream, first).await?;
        let connection = accepted
            .into_connection(config)
            .map_err(|(error, alert)| Failed::with_alert(&error, alert))?;
        let mut tls = Box::new(connection);
        let mut chunk = rest;
        let mut taken = 0;
        loop {
            feed(&mut tls, &chunk)?;
            send(stream, &mut tls).await.map_err(|_| Failed::Closed)?;
            if !tls.is_handshaking() {
                return Ok(tls);
            }
            chunk.clear();
            read_more(stream, &mut chunk)
                .await
                .map_err(|_| Failed::Closed)?;
            taken += chunk.len();
            if taken > HANDSHAKE_MAX {
                return Err(Failed::Because(HandshakeFailure::Protocol, Vec::new()));
            }
        }
    }

    /// Reads until the ClientHello is complete, and returns what was read behind it.
    async fn read_hello(
        &self,
        stream: &TcpStream,
        first: &[u8],
    ) -> Result<(Accepted, Vec<u8>), Failed> {
        let mut acceptor = Acceptor::default();
        let mut chunk = first.to_vec();
        let mut beginning = first[..first.len().min(HELLO_VERSION_END)].to_vec();
        let mut taken = 0;
        loop {
            let mut input = chunk.as_slice();
            while !input.is_empty() {
                taken += acceptor
                    .read_tls(&mut input)
                    .map_err(|_| Failed::Because(HandshakeFailure::Protocol, Vec::new()))?;
                if taken > self.limits.client_hello_bytes {
                    return Err(Failed::Because(HandshakeFailure::HelloTooLong, Vec::new()));
                }
                match acceptor.accept() {
                    Ok(Some(accepted)) => return Ok((accepted, input.to_vec())),
                    Ok(None) => {}
                    Err((Error::PeerIncompatible(_), _)) if begins_old_hello(&beginning) => {
                        let last_word = PROTOCOL_VERSION_ALERT.to_vec();
                        return Err(Failed::Because(HandshakeFailure::Version, last_word));
                    }
                    Err((error, alert)) => return Err(Failed::with_alert(&error, alert)),
                }
            }
            chunk.clear();
            read_more(stream, &mut chunk)
                .await
                .map_err(|_| Failed::Closed)?;
            let missing = HELLO_VERSION_END.saturating_sub(beginning.len());
            beginning.extend(chunk.iter().take(missing));
        }
    }

    /// The first bytes inside TLS, and which of the protocols agreed upon they are: TURN or HTTP.
    async fn read_first_plaintext(
        &self,
        stream: &TcpStream,
        tls: &mut ServerConnection,
    ) -> Result<(FirstBytes, Vec<u8>), Refusal> {
        let mut early = Vec::new();
        loop {
            let ended = take_plaintext(tls, &mut early);
            let allowed = match tls.alpn_protocol() {
                // Clients without ALPN are told apart by what they say.
                None => [FirstBytes::Turn, FirstBytes::Http].as_slice(),
                Some(ALPN_HTTP) => &[FirstBytes::Http],
                Some(_) => &[FirstBytes::Turn],
            };
            match classify(&early) {
                FirstBytes::Undecided if ended => return Err(Refusal::ClosedEarly),
                FirstBytes::Undecided => {}
                kind if allowed.contains(&kind) => return Ok((kind, early)),
                FirstBytes::Turn | FirstBytes::Tls | FirstBytes::Http | FirstBytes::Foreign => {
                    return Err(Refusal::WrongProtocol);
                }
            }
            read_records(stream, tls).await?;
        }
    }

    async fn answer_health(
        &self,
        stream: &mut TcpStream,
        tls: &mut ServerConnection,
        early: &[u8],
    ) -> Result<(), Refusal> {
        let exchange = async {
            let mut request = early.to_vec();
            let answer = loop {
                if let Some(answer) = health::answer(&request) {
                    break answer;
                }
                if request.len() > health::REQUEST_MAX {
                    return Err(Refusal::WrongProtocol);
                }
                read_records(stream, tls).await?;
                if take_plaintext(tls, &mut request) {
                    return Err(Refusal::ClosedEarly);
                }
            };
            io::Write::write_all(&mut tls.writer(), answer).map_err(|_| Refusal::ClosedEarly)?;
            tls.send_close_notify();
            send(stream, tls).await.map_err(|_| Refusal::ClosedEarly)
        };
        timeout(self.limits.first_message, exchange)
            .await
            .map_err(|_| Refusal::Deadline)??;
        self.counters.count_health_answer();
        say_last(stream, &[]).await;
        Ok(())
    }
}

/// Why there was no handshake.
#[derive(Debug)]
enum Failed {
    /// The client went away.
    Closed,
    /// The handshake failed; the bytes are the alert that says so.
    Because(HandshakeFailure, Vec<u8>),
}

impl Failed {
    fn with_alert(error: &Error, mut alert: AcceptedAlert) -> Self {
        let mut last_word = Vec::new();
        // Writing to memory does not fail.
        let _ = alert.write_all(&mut last_word);
        Self::Because(failure(error, &last_word), last_word)
    }
}

/// Whether a ClientHello is from before TLS 1.2. A real one has no signature algorithms, and rustls then complains about
/// those before it looks at the version, with an alert that would send its operator looking in the wrong place.
fn begins_old_hello(beginning: &[u8]) -> bool {
    matches!(beginning, [0x16, 3, _, _, _, 1, _, _, _, 3, 0..=2])
}

/// The kind of a failure, by the alert that was sent for it where there is one.
fn failure(error: &Error, alert: &[u8]) -> HandshakeFailure {
    if matches!(error, Error::AlertReceived(_)) {
        return HandshakeFailure::Alert;
    }
    // In TLS 1.3 this alert is encrypted.
    if *error == Error::NoApplicationProtocol {
        return HandshakeFailure::Alpn;
    }
    // A record in the clear: type 21, version, length, level, description.
    let [21, _, _, _, _, _, description, ..] = alert else {
        return HandshakeFailure::Protocol;
    };
    let description = AlertDescription::from(*description);
    if description == AlertDescription::ProtocolVersion {
        HandshakeFailure::Version
    } else if description == AlertDescription::NoApplicationProtocol {
        HandshakeFailure::Alpn
    } else if [
        AlertDescription::HandshakeFailure,
        AlertDescription::InsufficientSecurity,
    ]
    .contains(&description)
    {
        HandshakeFailure::Parameters
    } else {
        HandshakeFailure::Protocol
    }
}

/// Reads once, at most [`CHUNK`] bytes, behind what is there.
///
/// While nothing comes there is no buffer: thousands may wait here who say next to nothing (A-18).
async fn read_more(stream: &TcpStream, bytes: &mut Vec<u8>) -> Result<(), Refusal> {
    loop {
        stream.readable().await.map_err(|_| Refusal::ClosedEarly)?;
        match read_now(stream, bytes) {
            Ok(0) => return Err(Refusal::ClosedEarly),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Refusal::ClosedEarly),
        }
    }
}

/// Takes what is there, at most [`CHUNK`] bytes. Not `async`, so that its buffer is on the stack alone.
fn read_now(stream: &TcpStream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; CHUNK];
    let count = stream.try_read(&mut chunk)?;
    bytes.extend_from_slice(&chunk[..count]);
    Ok(count)
}

/// Gives records to TLS. Plaintext of up to one chunk stays inside it.
fn feed(tls: &mut ServerConnection, mut records: &[u8]) -> Result<(), Failed> {
    while !records.is_empty() {
        let protocol = |_| Failed::Because(HandshakeFailure::Protocol, Vec::new());
        let taken = tls.read_tls(&mut records).map_err(protocol)?;
        if let Err(error) = tls.process_new_packets() {
            let mut last_word = Vec::new();
            let _ = tls.write_tls(&mut last_word);
            return Err(Failed::Because(failure(&error, &last_word), last_word));
        }
        if taken == 0 {
            break;
        }
    }
    Ok(())
}

async fn read_records(stream: &TcpStream, tls: &mut ServerConnection) -> Result<(), Refusal> {
    let mut chunk = Vec::new();
    read_more(stream, &mut chunk).await?;
    feed(tls, &chunk).map_err(|_| Refusal::ClosedEarly)
}

/// Takes what is decrypted; true when the client has ended the stream.
fn take_plaintext(tls: &mut ServerConnection, into: &mut Vec<u8>) -> bool {
    let mut piece = [0; 1024];
    loop {
        match io::Read::read(&mut tls.reader(), &mut piece) {
            Ok(0) => return true,
            Ok(count) => into.extend_from_slice(&piece[..count]),
            // Nothing more for now.
            Err(_) => return false,
        }
    }
}

async fn send(stream: &mut TcpStream, tls: &mut ServerConnection) -> io::Result<()> {
    let mut records = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut records)?;
    }
    stream.write_all(&records).await
}

/// Sends a last word and ends the connection so that the client can read it.
async fn say_last(stream: &mut TcpStream, last_word: &[u8]) {
    let farewell = async {
        stream.write_all(last_word).await?;
        stream.shutdown().await?;
        let mut ignored = [0; 1024];
        let mut left = LINGER_MAX;
        while left > 0 {
            match stream.read(&mut ignored).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        io::Result::Ok(())
    };
    // Best effort: the client may be gone, or deaf.
    let _ = timeout(LINGER, farewell).await;
}
