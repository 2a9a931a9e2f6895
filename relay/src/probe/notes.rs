//! What comes back from a server, noted beside the client that reads it: the client keeps no error codes.
//!
//! Responsible for telling a challenge from a refusal, an answer of the relay from one of somebody else, and for the DSCP of
//! what comes back. Not responsible for answering.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use taciturn_protocol::address::Family;
use taciturn_protocol::credentials::{LongTermKey, PasswordAlgorithm, Realm, time_limited_expiry};
use taciturn_protocol::time::UnixTime;
use taciturn_protocol::wire::{Class, Framed, Method, TransactionId};
use tokio::sync::watch;

use super::Login;
use super::failure::Failure;
use super::family::asking_for_v6;

/// 401 (RFC 8489 §9.2.4).
const UNAUTHENTICATED: u16 = 401;

/// What is known of one connection.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// A STUN message has come.
    heard: bool,
    /// The request that was challenged.
    challenged: Option<TransactionId>,
    realm: Option<Realm>,
    /// The last error code that was no challenge.
    refusal: Option<u16>,
    /// Whether the allocation's success was sealed with the password; `None` before there is one.
    sealed: Option<bool>,
    /// A Refresh succeeded, which is only ever sent to end the allocation.
    released: bool,
    /// Why nothing more will come.
    end: Option<Failure>,
    closed: bool,
    /// Traffic classes of payloads: whether one was as sent, and the last that was not.
    same_class: bool,
    other_class: Option<u8>,
}

/// ChannelData, or an indication of this method.
fn is_payload(message: &[u8], method: Method) -> bool {
    message.first().is_some_and(|first| first & 0xC0 == 0x40)
        || Framed::parse(message).is_ok_and(|framed| framed.method() == method)
}

/// Notes that the connection writes and the caller reads.
#[derive(Debug)]
pub(super) struct Notes {
    noted: watch::Sender<Noted>,
    login: Login,
    holding: AtomicBool,
    /// The family that is asked for; the client asks for none, which is IPv4.
    family: Family,
}

impl Notes {
    pub(super) fn new(login: Login, family: Family) -> Self {
        Self {
            noted: watch::Sender::new(Noted::default()),
            login,
            holding: AtomicBool::new(false),
            family,
        }
    }

    /// Whether payloads are kept from leaving from now on, while requests go.
    pub(super) fn hold_payloads(&self, holding: bool) {
        self.holding.store(holding, Ordering::Release);
    }

    /// What is to leave in the place of the client's message; `None` for a payload that is not to leave now.
    pub(super) fn leaving<'m>(&self, message: &'m [u8]) -> Option<Cow<'m, [u8]>> {
        if self.holding.load(Ordering::Acquire) && is_payload(message, Method::Send) {
            return None;
        }
        if self.family == Family::V4 {
            return Some(message.into());
        }
        let key = self
            .noted
            .borrow()
            .realm
            .as_ref()
            .and_then(|realm| self.key(realm));
        Some(asking_for_v6(message, key.as_ref()).map_or_else(|| message.into(), Cow::Owned))
    }

    /// A STUN message or ChannelData has come. `class` is the traffic class, where it can be told, and `sent` the one that
    /// payloads leave with.
    pub(super) fn read(&self, bytes: &[u8], class: Option<(u8, u8)>) {
        if is_payload(bytes, Method::Data) {
            let Some((class, sent)) = class else { return };
            self.noted.send_if_modified(|noted| {
                // The two lowest bits are ECN, which routers may set.
                if class >> 2 == sent >> 2 {
                    noted.same_class = true;
                } else {
                    noted.other_class = Some(class >> 2);
                }
                false
            });
            return;
        }
        let Ok(framed) = Framed::parse(bytes) else {
            return;
        };
        match framed.class() {
            Class::Error => self.read_error(&framed),
            Class::Success => self.read_success(&framed),
            Class::Request | Class::Indication => {}
        }
    }

    fn read_error(&self, framed: &Framed<'_>) {
        let attributes = framed.unauthenticated();
        let code = attributes
            .error_code()
            .and_then(Result::ok)
            .map_or(0, |(code, _)| code);
        let realm = attributes
            .realm()
            .and_then(|realm| Realm::new(core::str::from_utf8(realm).ok()?).ok());
        let id = framed.transaction_id();
        self.noted.send_modify(|noted| {
            noted.heard = true;
            // Copies of the first challenge are no refusal: it may have been asked for twice.
            if code == UNAUTHENTICATED && noted.challenged.is_none_or(|first| first == id) {
                noted.challenged = Some(id);
                noted.realm = realm;
            } else {
                noted.refusal = Some(code);
            }
        });
    }

    fn read_success(&self, framed: &Framed<'_>) {
        self.noted.send_modify(|noted| {
            noted.heard = true;
            if framed.method() == Method::Allocate {
                let key = noted.realm.as_ref().and_then(|realm| self.key(realm));
                noted.sealed = key.map(|key| framed.verify(key.as_bytes()).is_some());
            }
            noted.released |= framed.method() == Method::Refresh;
        });
    }

    /// The key that an answer is sealed with; the client knows MD5 alone.
    fn key(&self, realm: &Realm) -> Option<LongTermKey> {
        let name = self.login.username.as_bytes();
        LongTermKey::derive(PasswordAlgorithm::Md5, name, realm, &self.login.password).ok()
    }

    /// Nothing more will come, and why. The first reason counts.
    pub(super) fn end(&self, why: Failure) {
        self.noted.send_modify(|noted| {
            noted.end.get_or_insert(why);
        });
    }

    /// An ICMP error about what was sent. It may be forged or pass by, so it counts only while nothing else was heard.
    pub(super) fn icmp(&self, why: Failure) {
        self.noted.send_modify(|noted| {
            if !noted.heard {
                noted.end.get_or_insert(why);
            }
        });
    }

    /// The connection is given up: its reader ends.
    pub(super) fn close(&self) {
        self.noted.send_modify(|noted| noted.closed = true);
    }

    pub(super) async fn closed(&self) {
        self.wait(|noted| noted.closed).await;
    }

    /// Until something says that the client waits in vain.
    pub(super) async fn refused(&self) {
        self.wait(|noted| noted.end.is_some() || noted.refusal.is_some())
            .await;
    }

    /// Until the allocation has ended.
    pub(super) async fn released(&self) {
        self.wait(|noted| noted.released || noted.end.is_some())
            .await;
    }

    async fn wait(&self, holds: impl FnMut(&Noted) -> bool) {
        // Both ends of the channel are this value's, so it cannot close while somebody waits.
        let _ = self.noted.subscribe().wait_for(holds).await;
    }

    /// Whether the relay has no addresses of the family that was asked for.
    pub(super) fn is_wrong_family(&self) -> bool {
        self.noted.borrow().refusal == Some(440)
    }

    /// Whether the relay asked again for a fresh nonce, which is worth another attempt.
    pub(super) fn is_stale_nonce(&self) -> bool {
        self.noted.borrow().refusal == Some(438)
    }

    /// Whether the allocation's success came from one who knows the password; `None` when that cannot be told.
    pub(super) fn sealed(&self) -> Option<bool> {
        self.noted.borrow().sealed
    }

    /// The DSCP of payloads that came back, when there were any.
    pub(super) fn dscp(&self) -> Option<Result<(), u8>> {
        let noted = self.noted.borrow();
        match noted.other_class {
            Some(other) => Some(Err(other)),
            None => noted.same_class.then_some(Ok(())),
        }
    }

    /// Why there is no answer, or not the one that was wanted.
    pub(super) fn failure(&self, now: UnixTime) -> Failure {
        let noted = self.noted.borrow();
        if let Some(end) = &noted.end {
            return end.clone();
        }
        match noted.refusal {
            None if noted.heard => Failure::Stopped,
            None => Failure::Silent,
            Some(300) => Failure::Elsewhere,
            Some(UNAUTHENTICATED) => {
                let expiry = time_limited_expiry(self.login.username.as_bytes());
                // A name of a few digits is a name; one that counts seconds since 1970 has nine of them at least.
                if expiry.is_some_and(|at| at.as_secs() > 100_000_000 && at <= now) {
                    Failure::Expired
                } else {
                    Failure::Credentials
                }
            }
            Some(403) => Failure::Forbidden,
            Some(486) => Failure::Quota,
            Some(508) => Failure::Full,
            Some(code) => Failure::Code(code),
        }
    }
}
