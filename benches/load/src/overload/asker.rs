//! Clients that ask the relay for something again and again, and how long it takes to answer.
//!
//! Responsible for one transaction at a time with the retransmissions of RFC 8489 §6.2.1: what is measured is what a client
//! waits for, lost requests included. Not responsible for load.

use crate::client::{Client, allocate_request, delete_request, next_transaction_id};
use crate::histogram::Histogram;
use crate::link::{Burst, DATAGRAM_MAX, Link};
use crate::stun::{Message, Received, TransactionId, attribute, kind};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// RTO: doubled with each retransmission.
const RETRANSMIT_AFTER: Duration = Duration::from_millis(500);
/// A transaction is given up after this; RFC 8489 waits for 39.5 s.
const GIVE_UP_AFTER: Duration = Duration::from_secs(8);
const LIFETIME: [u8; 4] = 600_u32.to_be_bytes();

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Question {
    /// A longer life for an allocation that exists.
    Refresh,
    /// A new allocation, which is given back at once when it is granted.
    Allocate,
}

/// How a question was answered.
#[derive(Debug)]
pub(crate) struct Answers {
    times: Histogram,
    first_try: u64,
    codes: BTreeMap<u16, u64>,
    given_up: u64,
}

impl Answers {
    /// Nothing asked yet.
    pub(crate) fn new() -> Self {
        Self {
            times: Histogram::new(),
            first_try: 0,
            codes: BTreeMap::new(),
            given_up: 0,
        }
    }

    /// Answers, and transactions that were given up.
    pub(crate) fn asked(&self) -> u64 {
        self.codes.values().sum::<u64>() + self.given_up
    }

    /// A quantile of the time from the first transmission to the answer, in milliseconds.
    pub(crate) fn quantile_ms(&self, per_mille: u64) -> Option<f64> {
        self.times
            .quantile_micros(per_mille)
            .map(|micros| micros / 1000.0)
    }

    /// The share that needed no retransmission.
    pub(crate) fn first_try_share(&self) -> f64 {
        self.first_try as f64 / self.asked().max(1) as f64
    }

    /// Answers by error code, 0 for success.
    pub(crate) const fn codes(&self) -> &BTreeMap<u16, u64> {
        &self.codes
    }

    /// Transactions that were never answered.
    pub(crate) const fn given_up(&self) -> u64 {
        self.given_up
    }
}

/// One client with one question at a time.
#[derive(Debug)]
pub(crate) struct Asker {
    client: Client,
    question: Question,
    pause: Duration,
    next: Instant,
    asked: Option<Asked>,
    /// The answer to an Allocate was a success: the next thing to say is that it is given back.
    to_delete: bool,
    burst: Burst,
}

#[derive(Debug)]
struct Asked {
    id: TransactionId,
    first: Instant,
    last: Instant,
    tries: u32,
    counts: bool,
}

impl Asker {
    /// Asks with a client that has allocated, and keeps the allocation for Refresh alone.
    pub(crate) fn new(mut client: Client, question: Question, pause: Duration) -> Result<Self> {
        if question == Question::Allocate {
            client.delete()?;
        }
        Ok(Self {
            client,
            question,
            pause,
            next: Instant::now(),
            asked: None,
            to_delete: false,
            burst: Burst::default(),
        })
    }

    /// Asks, asks again, or takes the answer, whatever is due.
    pub(crate) fn turn(&mut self, answers: &mut Answers) -> Result<()> {
        self.listen(answers)?;
        let now = Instant::now();
        match &mut self.asked {
            Some(asked) if now > asked.first + GIVE_UP_AFTER => {
                if asked.counts {
                    answers.given_up += 1;
                }
                self.asked = None;
            }
            Some(asked) => {
                let wait = RETRANSMIT_AFTER * (1 << (asked.tries - 1).min(5));
                let datagrams = matches!(self.client.link(), Link::Datagram(_));
                if datagrams && now > asked.last + wait {
                    asked.tries += 1;
                    asked.last = now;
                    self.client.link_mut().send(&self.burst)?;
                }
            }
            None if now >= self.next => self.ask(now)?,
            None => {}
        }
        Ok(())
    }

    fn ask(&mut self, now: Instant) -> Result<()> {
        let id = next_transaction_id();
        let request = match self.question {
            _ if self.to_delete => delete_request(id),
            Question::Refresh => {
                Message::new(kind::REFRESH, id).attribute(attribute::LIFETIME, &LIFETIME)
            }
            Question::Allocate => allocate_request(id),
        };
        let bytes = self.client.sign(request)?;
        self.burst.clear();
        self.burst.next_frame().extend_from_slice(&bytes);
        self.client
            .link_mut()
            .send(&self.burst)
            .context("cannot ask")?;
        self.asked = Some(Asked {
            id,
            first: now,
            last: now,
            tries: 1,
            counts: !self.to_delete,
        });
        self.next = now + self.pause;
        Ok(())
    }

    fn listen(&mut self, answers: &mut Answers) -> Result<()> {
        let Some(asked) = &self.asked else {
            return Ok(());
        };
        let id = asked.id;
        let mut code = None;
        self.client
            .link_mut()
            .receive(4, &mut [0; DATAGRAM_MAX], |message| {
                if let Some(received) = Received::parse(message)
                    && received.id() == id
                {
                    code = Some(received.error_code().unwrap_or(0));
                }
            })
            .context("cannot hear the answer")?;
        let Some(code) = code else {
            return Ok(());
        };
        if asked.counts {
            let took = u64::try_from(asked.first.elapsed().as_nanos()).unwrap_or(u64::MAX);
            answers.times.record(took);
            answers.first_try += u64::from(asked.tries == 1);
            *answers.codes.entry(code).or_default() += 1;
        }
        let granted = asked.counts && self.question == Question::Allocate && code == 0;
        self.to_delete = granted || (self.to_delete && code != 0);
        self.asked = None;
        Ok(())
    }
}
