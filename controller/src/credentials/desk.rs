//! Where callers come to: each at its own rate, from the latest offer, with the newest secret that is good.
//!
//! Responsible for what changes between answers: settings, the offer, rates, counts and the random numbers. No lock is held
//! for longer than a choice takes. Not responsible for HTTP, nor for who a caller is (`api`, `taciturn_plane`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use taciturn_protocol::credentials::{Credentials, MintError, mint, prepare_opaque_string};
use taciturn_protocol::time::{Now, UnixTime};

use super::bucket::Bucket;
use super::choose::{Hint, choose};
use super::offer::{Candidate, Offer, Warmth};
use super::settings::{Limit, MintingSecret, Settings};
use super::snapshot::Payload;
use super::tally::{Reason, Tally};
use super::{LAST_OFFER, Subject};
use crate::reconcile::Published;

/// Who and what may not be minted for.
pub trait Revoked: Send + Sync + fmt::Debug {
    /// Whether a user is revoked. The name is prepared (OpaqueString) and without an expiry.
    fn user(&self, user: &str, now: UnixTime) -> bool;

    /// Whether the secret with this id is.
    fn key(&self, id: &str, now: UnixTime) -> bool;
}

/// Nobody and nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRevocations;

impl Revoked for NoRevocations {
    fn user(&self, _: &str, _: UnixTime) -> bool {
        false
    }

    fn key(&self, _: &str, _: UnixTime) -> bool {
        false
    }
}

/// What a caller asks for; what it leaves out is as configured.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Whom the credentials are for, so that the relays can count what one person uses; `None`: a name that nobody else has.
    pub user: Option<String>,
    /// How long they are to be good.
    pub ttl: Option<Duration>,
    /// How many relays.
    pub relays: Option<usize>,
    /// Where the clients are.
    pub hint: Hint,
}

/// Why a caller gets nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// There is no `[credentials]`.
    NotConfigured,
    /// It asked too often; there will be an answer after this time.
    Rate(Duration),
    /// It asks for what there is not; in words.
    Wrong(String),
    /// The user is revoked.
    RevokedUser,
    /// All secrets are revoked.
    NoSecret,
    /// The fleet has not been seen yet, or not for too long; in words.
    NoFleet(String),
    /// No relay may be named now.
    NoRelay,
}

/// Credentials, and the relays that they are for.
#[derive(Debug)]
pub struct Answer {
    /// Name, password and expiry.
    pub credentials: Credentials,
    /// How long they are good.
    pub ttl: Duration,
    /// The relays, the nearest first; never empty.
    pub relays: Vec<Arc<Candidate>>,
}

impl Answer {
    /// `{"iceServers": [{"urls", "username", "credential"}], "ttl", "expires"}`: what browsers take, one entry for each relay.
    pub fn ice_servers(&self) -> String {
        let (username, password) = (self.username(), &self.credentials.password);
        let mut text = String::with_capacity(512);
        text.push_str("{\"iceServers\":[");
        for (index, relay) in self.relays.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str("{\"urls\":");
            text.push_str(&relay.urls_json);
            text.push_str(",\"username\":");
            text.push_str(&username);
            text.push_str(",\"credential\":\"");
            text.push_str(password);
            text.push_str("\"}");
        }
        text.push_str(&format!(
            "],\"ttl\":{},\"expires\":{}}}",
            self.ttl.as_secs(),
            self.credentials.expires.as_secs()
        ));
        text
    }

    /// `{"username", "password", "ttl", "uris"}`: draft-uberti-behave-turn-rest-00.
    pub fn turn(&self) -> String {
        let uris: Vec<&String> = self.relays.iter().flat_map(|relay| &relay.urls).collect();
        format!(
            "{{\"username\":{},\"password\":\"{}\",\"ttl\":{},\"uris\":{}}}",
            self.username(),
            self.credentials.password,
            self.ttl.as_secs(),
            serde_json::json!(uris)
        )
    }

    fn username(&self) -> String {
        serde_json::json!(self.credentials.username).to_string()
    }
}

/// One who asks, as long as it is configured.
#[derive(Debug, Default)]
pub(super) struct Line {
    bucket: Bucket,
    pub(super) minted: std::sync::atomic::AtomicU64,
}

/// Settings with the line of each subject.
#[derive(Debug)]
pub(super) struct Terms {
    settings: Settings,
    pub(super) lines: BTreeMap<Arc<str>, Arc<Line>>,
}

/// An offer with its snapshots.
#[derive(Debug)]
struct Ready {
    offer: Arc<Offer>,
    /// One by each secret, by its id, in the secrets' order; empty where nothing is offered.
    snapshots: Vec<(String, Arc<str>)>,
}

#[derive(Debug, Default)]
struct Seen {
    latest: Option<Arc<Published>>,
    warmth: Warmth,
}

/// Mints for callers.
pub struct Desk {
    pub(super) terms: ArcSwapOption<Terms>,
    ready: ArcSwapOption<Ready>,
    seen: Mutex<Seen>,
    revoked: ArcSwap<Box<dyn Revoked>>,
    random: Mutex<ChaCha20Rng>,
    pub(super) tally: Tally,
}

impl Desk {
    /// A desk that has seen no fleet. `seed`: of the operating system. Without settings it refuses everybody.
    pub fn new(settings: Option<Settings>, seed: [u8; 32]) -> Self {
        let desk = Self {
            terms: ArcSwapOption::empty(),
            ready: ArcSwapOption::empty(),
            seen: Mutex::default(),
            revoked: ArcSwap::from_pointee(Box::new(NoRevocations)),
            random: Mutex::new(ChaCha20Rng::from_seed(seed)),
            tally: Tally::default(),
        };
        desk.configure(settings);
        desk
    }

    /// Other settings from the next answer on. Who asked often before has not been forgotten by that.
    pub fn configure(&self, settings: Option<Settings>) {
        let before = self.terms.load_full();
        let terms = settings.map(|settings| {
            let known = |name: &Arc<str>| {
                let before = before.as_ref()?;
                before.lines.get(name).cloned()
            };
            let subjects = settings.subjects.keys().cloned();
            // Operators, and whoever asks on this host where there is no token, have lines too.
            let names = subjects.chain(["operator", "local", "self-test"].map(Arc::from));
            let lines = names
                .map(|name| {
                    let line = known(&name).unwrap_or_default();
                    (name, line)
                })
                .collect();
            Arc::new(Terms { settings, lines })
        });
        self.terms.store(terms);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.prepare(&seen);
    }

    /// Whether it is to mint and has nothing to mint with: the local provider makes its secret with the first relay.
    pub fn lacks_secret(&self) -> bool {
        let terms = self.terms.load();
        terms
            .as_ref()
            .is_some_and(|terms| terms.settings.secrets.is_empty())
    }

    /// Who judges from now on what is revoked.
    pub fn obey(&self, revoked: Box<dyn Revoked>) {
        self.revoked.store(Arc::new(revoked));
    }

    /// A round has come to its end: its offer counts from the next answer on.
    pub fn see(&self, latest: Arc<Published>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.counters.rounds == 0 {
            return;
        }
        seen.warmth.note(&latest);
        seen.latest = Some(latest);
        self.prepare(&seen);
    }

    fn prepare(&self, seen: &Seen) {
        let terms = self.terms.load();
        let ready = terms
            .as_ref()
            .zip(seen.latest.as_ref())
            .map(|(terms, latest)| {
                let settings = &terms.settings;
                let offer = Offer::of(latest, &settings.host, &seen.warmth);
                let payload = Payload::of(&offer, settings.ttl.as_secs());
                let sign = |key: &MintingSecret| {
                    let id = key.secret.id();
                    let text = key.snapshot_key.sign(id, &payload);
                    (id.to_owned(), Arc::from(text))
                };
                let signed = settings
                    .secrets
                    .iter()
                    .filter(|_| !payload.relays.is_empty());
                Arc::new(Ready {
                    snapshots: signed.map(sign).collect(),
                    offer: Arc::new(offer),
                })
            });
        self.ready.store(ready);
    }

    /// The offer that callers are answered from at present.
    pub fn offer(&self) -> Option<Arc<Offer>> {
        self.ready
            .load()
            .as_ref()
            .map(|ready| Arc::clone(&ready.offer))
    }

    /// Answers given and questions refused since the start, whoever asked.
    pub fn totals(&self) -> (u64, u64) {
        let terms = self.terms.load();
        let lines = terms.iter().flat_map(|terms| terms.lines.values());
        let minted = lines.map(|line| line.minted.load(std::sync::atomic::Ordering::Relaxed));
        (minted.sum(), self.tally.total())
    }

    /// Whether the token may stand in a query.
    pub fn takes_query_key(&self) -> bool {
        let terms = self.terms.load();
        terms.as_ref().is_some_and(|terms| terms.settings.query_key)
    }

    /// Counts one question of this subject, before anything is done about it.
    ///
    /// # Errors
    /// It asks too often, or nothing is configured.
    pub fn admit(&self, subject: &str, now: Now) -> Result<(), Refused> {
        let admitted = self.admitted(subject, now);
        self.tally.note(admitted.as_ref().err());
        admitted
    }

    fn admitted(&self, subject: &str, now: Now) -> Result<(), Refused> {
        let terms = self.terms.load();
        let terms = terms.as_ref().ok_or(Refused::NotConfigured)?;
        let limit = terms
            .settings
            .subjects
            .get(subject)
            .map_or_else(Limit::default, |subject| subject.limit);
        let Some(line) = terms.lines.get(subject) else {
            // It was taken out of the configuration while it asked.
            return Err(Refused::Rate(Duration::from_secs(1)));
        };
        line.bucket.take(now.instant, limit).map_err(Refused::Rate)
    }

    /// A question could not be read: for the count.
    pub fn unreadable(&self) {
        self.tally.count(Reason::Request);
    }

    /// Mints for a subject that was admitted.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn mint(&self, subject: &str, wanted: &Wanted, now: Now) -> Result<Answer, Refused> {
        let answer = self.minted(subject, wanted, now);
        self.tally.note(answer.as_ref().err());
        answer
    }

    fn minted(&self, subject: &str, wanted: &Wanted, now: Now) -> Result<Answer, Refused> {
        let terms = self.terms.load();
        let terms = terms.as_ref().ok_or(Refused::NotConfigured)?;
        let settings = &terms.settings;
        let ttl = ttl(settings, settings.subjects.get(subject), wanted.ttl)?;
        let relays = wanted.relays.unwrap_or(settings.relays);
        if !(1..=4).contains(&relays) {
            return Err(Refused::Wrong("relays is not 1 to 4".to_owned()));
        }
        let user = match &wanted.user {
            None => self.anonymous(),
            Some(user) => prepare_opaque_string(user)
                .map_err(|error| Refused::Wrong(format!("user: {error}")))?
                .into_owned(),
        };
        let revoked = self.revoked.load();
        if revoked.user(&user, now.unix) {
            return Err(Refused::RevokedUser);
        }
        let secret = settings
            .secrets
            .iter()
            .find(|secret| !revoked.key(secret.secret.id(), now.unix))
            .ok_or(Refused::NoSecret)?;
        let ready = self.ready.load();
        let offer = usable(ready.as_ref(), now)?;
        let credentials = mint(&secret.secret, secret.hash, &user, ttl, now.unix).map_err(wrong)?;
        let chosen: Vec<Arc<Candidate>> = {
            let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            choose(offer, relays, &wanted.hint, &mut *random)
                .into_iter()
                .cloned()
                .collect()
        };
        for candidate in &chosen {
            candidate.give();
        }
        if let Some(line) = terms.lines.get(subject) {
            line.minted
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(Answer {
            credentials,
            ttl,
            relays: chosen,
        })
    }

    /// The fleet, signed by the newest secret that is good.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn snapshot(&self, now: Now) -> Result<Arc<str>, Refused> {
        let snapshot = self.signed(now);
        self.tally.note(snapshot.as_ref().err());
        snapshot
    }

    fn signed(&self, now: Now) -> Result<Arc<str>, Refused> {
        if self.terms.load().is_none() {
            return Err(Refused::NotConfigured);
        }
        let ready = self.ready.load();
        usable(ready.as_ref(), now)?;
        let revoked = self.revoked.load();
        let snapshots = ready.iter().flat_map(|ready| &ready.snapshots);
        snapshots
            .filter(|(id, _)| !revoked.key(id, now.unix))
            .map(|(_, text)| Arc::clone(text))
            .next()
            .ok_or(Refused::NoSecret)
    }

    /// A name that nobody else has.
    fn anonymous(&self) -> String {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{:016x}{:016x}", random.next_u64(), random.next_u64())
    }
}

fn usable(ready: Option<&Arc<Ready>>, now: Now) -> Result<&Offer, Refused> {
    let Some(ready) = ready else {
        return Err(Refused::NoFleet(
            "the fleet has not been seen yet".to_owned(),
        ));
    };
    let age = now.instant.saturating_since(ready.offer.seen.instant);
    if age > LAST_OFFER {
        return Err(Refused::NoFleet(format!(
            "the fleet was last seen {} s ago",
            age.as_secs()
        )));
    }
    if ready.offer.candidates().is_empty() {
        return Err(Refused::NoRelay);
    }
    Ok(&ready.offer)
}

fn ttl(
    settings: &Settings,
    subject: Option<&Subject>,
    wanted: Option<Duration>,
) -> Result<Duration, Refused> {
    let own = subject.and_then(|subject| subject.max_ttl);
    let most = own.map_or(settings.max_ttl, |own| own.min(settings.max_ttl));
    let ttl = wanted.unwrap_or_else(|| settings.ttl.min(most));
    if ttl.is_zero() || ttl > most {
        return Err(Refused::Wrong(format!(
            "ttl is not 1 to {} seconds",
            most.as_secs()
        )));
    }
    Ok(ttl)
}

fn wrong(error: MintError) -> Refused {
    match error {
        MintError::TooLong | MintError::User(_) => Refused::Wrong(format!("user: {error}")),
        MintError::Lifetime => Refused::Wrong(format!("ttl: {error}")),
        MintError::Hash => Refused::NoSecret,
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}
