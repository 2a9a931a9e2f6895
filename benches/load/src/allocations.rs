//! Many allocations, some of them in progress at any time: the full 401 exchange, then the deletion.
//!
//! Responsible for the rate and the cost of one allocation. UDP clients only; no traffic follows.

use crate::client::{Proof, Refused, allocate_request, delete_request, next_transaction_id};
use crate::credentials::Credentials;
use crate::flow::Target;
use crate::link::DATAGRAM_MAX;
use crate::report::{AllocationCost, AllocationsReport, per};
use crate::server_use::{Server, Usage};
use crate::stun::{Received, TransactionId, attribute, kind};
use anyhow::{Context, Result};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use std::collections::{BTreeMap, HashSet};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

const RETRANSMIT_AFTER: Duration = Duration::from_millis(500);
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);
const EVENTS: usize = 256;
const PORT_TRIES: u32 = 8;

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Allocations in all. Each needs a socket here and, with most servers, one there.
    pub(crate) count: usize,
    /// Exchanges in progress at once.
    pub(crate) in_flight: usize,
    /// The whole run ends after this, whatever has been reached.
    pub(crate) time_limit: Duration,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Goal {
    Allocated,
    Deleted,
}

#[derive(Debug)]
struct Caller {
    socket: UdpSocket,
    credentials: Credentials,
    proof: Option<Proof>,
    relayed: Option<SocketAddr>,
    request: Vec<u8>,
    id: TransactionId,
    begun: Instant,
    sent: Instant,
    port_tries: u32,
}

struct Run<'a> {
    target: &'a Target,
    plan: Plan,
    deadline: Instant,
    callers: Vec<Caller>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    open: Vec<usize>,
    retransmitted: u64,
    refusals: BTreeMap<u16, u64>,
}

/// Allocates, measures, deletes.
pub(crate) fn run(
    target: &Target,
    plan: Plan,
    server: Option<&Server>,
) -> Result<AllocationsReport> {
    let usage = || {
        server
            .map(Server::usage)
            .transpose()
            .map(Option::unwrap_or_default)
    };
    let footprint = || -> Result<(u64, u64)> {
        server.map_or(Ok((0, 0)), |server| {
            Ok((server.resident_kib()?, server.descriptors()?))
        })
    };
    let mut run = Run {
        target,
        plan,
        deadline: Instant::now() + plan.time_limit,
        callers: Vec::with_capacity(plan.count),
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        events: Vec::with_capacity(EVENTS),
        open: Vec::new(),
        retransmitted: 0,
        refusals: BTreeMap::new(),
    };
    let (memory_before, descriptors_before) = footprint()?;
    let (begun, used_before) = (Instant::now(), usage()?);
    run.reach(Goal::Allocated)?;
    let (seconds, used) = (begun.elapsed().as_secs_f64(), usage()?.since(&used_before));
    let (memory_after, descriptors_after) = footprint()?;
    let relayed: Vec<SocketAddr> = run
        .callers
        .iter()
        .filter_map(|caller| caller.relayed)
        .collect();

    let (deletion_begun, used_before) = (Instant::now(), usage()?);
    let deleted = run.reach(Goal::Deleted)?;
    let (deletion_seconds, deletion_used) = (
        deletion_begun.elapsed().as_secs_f64(),
        usage()?.since(&used_before),
    );

    let granted = relayed.len();
    let grown = |after: u64, before: u64| per(after as f64 - before as f64, granted as u64);
    let micros = |used: &Usage, count: usize| per(used.run_nanos as f64 / 1000.0, count as u64);
    Ok(AllocationsReport {
        requested: plan.count,
        granted,
        failed: plan.count - granted,
        shared_relayed_addresses: granted - relayed.iter().collect::<HashSet<_>>().len(),
        retransmitted: run.retransmitted,
        refusals: run.refusals,
        seconds,
        allocations_per_second: granted as f64 / seconds,
        deletions_per_second: deleted as f64 / deletion_seconds,
        server: server.map(|_| AllocationCost {
            cpu_us_per_allocation: micros(&used, granted),
            cpu_us_per_deletion: micros(&deletion_used, deleted),
            resident_kib_per_allocation: grown(memory_after, memory_before),
            descriptors_per_allocation: grown(descriptors_after, descriptors_before),
        }),
    })
}

impl Run<'_> {
    /// Brings every caller to the goal, `in_flight` at a time. Returns how many got there.
    fn reach(&mut self, goal: Goal) -> Result<usize> {
        let (mut next, mut reached) = (0, 0);
        let mut swept = Instant::now();
        loop {
            while next < self.plan.count && self.open.len() < self.plan.in_flight {
                self.begin(next, goal)?;
                next += 1;
            }
            let now = Instant::now();
            if (next == self.plan.count && self.open.is_empty()) || now >= self.deadline {
                self.open.clear();
                return Ok(reached);
            }
            self.events.clear();
            match epoll::wait(
                &self.epoll,
                spare_capacity(&mut self.events),
                Some(&Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                }),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for answers"),
            }
            for at in 0..self.events.len() {
                let index = usize::try_from(self.events[at].data.u64()).unwrap_or(0);
                if self.hear(index, goal)? {
                    reached += 1;
                }
            }
            if now.duration_since(swept) > RETRANSMIT_AFTER / 5 {
                swept = now;
                self.retransmit(now)?;
            }
        }
    }

    fn begin(&mut self, index: usize, goal: Goal) -> Result<()> {
        let now = Instant::now();
        if goal == Goal::Allocated {
            let any: SocketAddr = if self.target.server.is_ipv4() {
                ([0, 0, 0, 0], 0).into()
            } else {
                ([0_u16; 8], 0).into()
            };
            let socket = UdpSocket::bind(any).context("cannot bind a client socket")?;
            socket.set_nonblocking(true)?;
            socket.connect(self.target.server)?;
            epoll::add(
                &self.epoll,
                &socket,
                epoll::EventData::new_u64(index as u64),
                epoll::EventFlags::IN,
            )?;
            self.callers.push(Caller {
                socket,
                credentials: self.target.source.credentials(index),
                proof: None,
                relayed: None,
                request: Vec::new(),
                id: [0; 12],
                begun: now,
                sent: now,
                port_tries: 0,
            });
        }
        let caller = &mut self.callers[index];
        if goal == Goal::Deleted && caller.relayed.is_none() {
            return Ok(());
        }
        caller.begun = now;
        self.open.push(index);
        caller.ask(goal)
    }

    fn connect(&self, index: usize) -> Result<UdpSocket> {
        let any: SocketAddr = if self.target.server.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            ([0_u16; 8], 0).into()
        };
        let socket = UdpSocket::bind(any).context("cannot bind a client socket")?;
        socket.set_nonblocking(true)?;
        socket.connect(self.target.server)?;
        epoll::add(
            &self.epoll,
            &socket,
            epoll::EventData::new_u64(index as u64),
            epoll::EventFlags::IN,
        )?;
        Ok(socket)
    }

    /// Reads what came for one caller. Returns whether it is there now.
    fn hear(&mut self, index: usize, goal: Goal) -> Result<bool> {
        let caller = &mut self.callers[index];
        let mut scratch = [0; DATAGRAM_MAX];
        let len = match caller.socket.recv(&mut scratch) {
            Ok(len) => len,
            Err(error) => {
                return crate::link::passing(error)
                    .map(|_| false)
                    .context("cannot receive");
            }
        };
        let Some(answer) =
            Received::parse(&scratch[..len]).filter(|answer| answer.id() == caller.id)
        else {
            return Ok(false);
        };
        match caller.judge(&answer, goal) {
            Step::Again => caller.ask(goal).map(|()| false),
            Step::Late => Ok(false),
            Step::Refused(code)
                if goal == Goal::Allocated
                    && code.port_is_known()
                    && caller.port_tries < PORT_TRIES =>
            {
                let socket = self.connect(index)?;
                let caller = &mut self.callers[index];
                (caller.socket, caller.proof) = (socket, None);
                caller.port_tries += 1;
                caller.ask(goal).map(|()| false)
            }
            step @ (Step::Reached | Step::Refused(_)) => {
                caller.id = [0; 12];
                self.open.retain(|open| *open != index);
                if let Step::Refused(Refused(code)) = step {
                    *self.refusals.entry(code).or_default() += 1;
                }
                Ok(step == Step::Reached)
            }
        }
    }

    fn retransmit(&mut self, now: Instant) -> Result<()> {
        self.open
            .retain(|&index| now.duration_since(self.callers[index].begun) < GIVE_UP_AFTER);
        for &index in &self.open {
            let caller = &mut self.callers[index];
            if now.duration_since(caller.sent) >= RETRANSMIT_AFTER {
                self.retransmitted += 1;
                caller.send()?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Reached,
    /// With the code, or 0 where an answer lacks what it must hold.
    Refused(Refused),
    Again,
    Late,
}

impl Caller {
    fn ask(&mut self, goal: Goal) -> Result<()> {
        self.id = next_transaction_id();
        let request = match goal {
            Goal::Allocated => allocate_request(self.id),
            Goal::Deleted => delete_request(self.id),
        };
        self.request = match &self.proof {
            Some(proof) => proof.sign(request),
            None => request.into_bytes(),
        };
        self.send()
    }

    fn send(&mut self) -> Result<()> {
        self.sent = Instant::now();
        match self.socket.send(&self.request) {
            Ok(_) => Ok(()),
            Err(error) => crate::link::passing(error).map(drop).context("cannot send"),
        }
    }

    fn judge(&mut self, answer: &Received<'_>, goal: Goal) -> Step {
        let method = match goal {
            Goal::Allocated => kind::ALLOCATE,
            Goal::Deleted => kind::REFRESH,
        };
        if answer.kind() == kind::success(method) {
            if !self
                .proof
                .as_ref()
                .is_some_and(|proof| proof.accepts(answer))
            {
                return Step::Refused(Refused(0));
            }
            if goal == Goal::Allocated {
                self.relayed = answer.xor_address(attribute::XOR_RELAYED_ADDRESS);
            }
            return if self.relayed.is_some() {
                Step::Reached
            } else {
                Step::Refused(Refused(0))
            };
        }
        if answer.kind() != kind::error(method) {
            return Step::Late;
        }
        let code = answer.error_code().unwrap_or(0);
        if !(code == 401 && self.proof.is_none() || code == 438) {
            return Step::Refused(Refused(code));
        }
        self.proof = Proof::from_challenge(answer, &self.credentials);
        if self.proof.is_some() {
            Step::Again
        } else {
            Step::Refused(Refused(0))
        }
    }
}
