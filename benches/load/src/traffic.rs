//! Drives payloads over flows, closed loop (a window in flight) or open loop (a fixed rate), and measures.
//!
//! Responsible for when to send, for reading everything that arrives, and for the measured interval. Not responsible for
//! set-up (see `flow`) or for the judgement of an arrival (see `ledger`).
//!
//! One thread, which never sleeps: a sleeping generator would make the server pay for waking it.

use crate::ballast::Ballast;
use crate::datagram::{BATCH, Burst, DATAGRAM_MAX, SCRATCH};
use crate::flow::End;
use crate::histogram::Histogram;
use crate::ledger::{Judgement, Ledger, Tally};
use crate::payload::Direction;
use crate::report::{Latency, ServerShare, TrafficReport};
use crate::server_use::{Server, Usage};
use anyhow::{Context, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

const EVENTS: usize = 256;
const HOUSEKEEPING: Duration = Duration::from_millis(5);
/// How often the load beside the server looks whether the core was idle.
const BALANCING: Duration = Duration::from_millis(24);
/// A flow that heard nothing for so long takes what is in flight for lost and begins a new window.
const STALLED_AFTER: Duration = Duration::from_millis(250);
const DRAIN_QUIET: Duration = Duration::from_millis(300);
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// The longest burst in an open loop: what fell due while the generator was busy.
const CATCH_UP: u64 = 64;

/// When to send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Keep up to `window` payloads in flight on each flow and direction, `burst` at a time.
    Closed {
        /// Payloads in flight, at most.
        window: u32,
        /// Payloads in one send.
        burst: u32,
    },
    /// A fixed rate over all flows and directions together.
    Open {
        /// Payloads each second.
        per_second: u64,
    },
}

/// Which ends send.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Directions {
    /// Client to peer (first party to second).
    C2p,
    /// Peer to client (second party to first).
    P2c,
    /// Both at once.
    Both,
}

impl Directions {
    const fn sends(self, direction: Direction) -> bool {
        match (self, direction) {
            (Self::Both, _)
            | (Self::C2p, Direction::Forward)
            | (Self::P2c, Direction::Backward) => true,
            (Self::C2p, Direction::Backward) | (Self::P2c, Direction::Forward) => false,
        }
    }
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// When to send.
    pub(crate) pace: Pace,
    /// Which ends send.
    pub(crate) directions: Directions,
    /// Bytes of each payload.
    pub(crate) payload_len: usize,
    /// How long to send after the warm-up.
    pub(crate) duration: Duration,
    /// Stop after so many payloads, if that comes first.
    pub(crate) packets: Option<u64>,
    /// How long to send before the measurement begins.
    pub(crate) warm_up: Duration,
    /// Bursts leave as trains, and trains are taken as they come: one system call and one pass through the kernel for each.
    pub(crate) trains: bool,
}

/// One direction of one flow. Lane `n` is sent by end `n` and received by end `n ^ 1`.
#[derive(Debug)]
struct Lane {
    ledger: Ledger,
    active: bool,
    queued: bool,
    in_flight: u32,
    /// One more than the highest sequence that arrived.
    newest: u64,
    progress: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Moment {
    at: Duration,
    delivered: u64,
    usage: Usage,
    idle: Duration,
    ballast_nanos: u64,
}

/// A run under way.
struct Run<'s> {
    plan: Plan,
    server: Option<&'s Server>,
    ballast: Option<&'s Ballast>,
    begun: Instant,
    ends: Vec<End>,
    lanes: Vec<Lane>,
    hungry: Vec<usize>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    burst: Burst,
    scratch: Vec<u8>,
    histogram: Histogram,
    sent: u64,
    delivered: u64,
    last_arrival: Duration,
    stalls: u64,
    /// Time in which there was nothing to send and nothing to read.
    idle: Duration,
    worked: bool,
}

/// Drives the flows as planned and gives their allocations back.
pub(crate) fn run(
    flows: Vec<[End; 2]>,
    plan: Plan,
    server: Option<&Server>,
    ballast: Option<&Ballast>,
) -> Result<TrafficReport> {
    let flow_count = flows.len();
    let mut run = Run::new(flows, plan, server, ballast)?;
    run.use_trains(plan.trains.then_some(plan.payload_len))?;
    let (start, stop) = run.drive()?;
    run.drain()?;
    let stop = if plan.packets.is_some() {
        run.moment(run.last_arrival)?
    } else {
        stop
    };
    run.use_trains(None)?;
    // The first failure ends it: a server that is gone must not be asked five hundred times.
    let deleted = run.ends.iter_mut().try_for_each(End::delete);
    if let Err(error) = deleted {
        eprintln!("allocations are left to expire: {error:#}");
    }
    Ok(run.report(flow_count, &start, &stop))
}

impl<'s> Run<'s> {
    fn new(
        flows: Vec<[End; 2]>,
        plan: Plan,
        server: Option<&'s Server>,
        ballast: Option<&'s Ballast>,
    ) -> Result<Self> {
        let mark = RandomState::new().hash_one(std::process::id());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let ends: Vec<End> = flows.into_iter().flatten().collect();
        let mut lanes = Vec::with_capacity(ends.len());
        for (index, end) in ends.iter().enumerate() {
            epoll::add(
                &epoll,
                end,
                epoll::EventData::new_u64(index as u64),
                epoll::EventFlags::IN,
            )?;
            let flow = u32::try_from(index / 2).context("too many flows")?;
            let direction = if index % 2 == 0 {
                Direction::Forward
            } else {
                Direction::Backward
            };
            lanes.push(Lane {
                ledger: Ledger::new(mark, flow, direction, plan.payload_len),
                active: plan.directions.sends(direction),
                queued: false,
                in_flight: 0,
                newest: 0,
                progress: Duration::ZERO,
            });
        }
        Ok(Self {
            plan,
            server,
            // At a fixed rate idle time is what is asked about.
            ballast: ballast.filter(|_| matches!(plan.pace, Pace::Closed { .. })),
            begun: Instant::now(),
            idle: Duration::ZERO,
            worked: false,
            ends,
            lanes,
            hungry: Vec::new(),
            epoll,
            events: Vec::with_capacity(EVENTS),
            burst: Burst::default(),
            scratch: vec![0; SCRATCH],
            histogram: Histogram::new(),
            sent: 0,
            delivered: 0,
            last_arrival: Duration::ZERO,
            stalls: 0,
        })
    }

    fn use_trains(&mut self, payload_len: Option<usize>) -> Result<()> {
        if self.plan.trains {
            for end in &mut self.ends {
                end.use_trains(payload_len)?;
            }
        }
        Ok(())
    }

    /// Sends for the planned time; returns the two moments between which it counts.
    fn drive(&mut self) -> Result<(Moment, Moment)> {
        let active: Vec<usize> = (0..self.lanes.len())
            .filter(|&lane| self.lanes[lane].active)
            .collect();
        if active.is_empty() {
            bail!("no flow to send on");
        }
        if let Pace::Closed { .. } = self.plan.pace {
            active.iter().for_each(|&lane| self.queue(lane));
        }
        let mut start = self.moment(Duration::ZERO)?;
        let mut warming = !self.plan.warm_up.is_zero();
        let mut scheduled = 0_u64;
        let mut housekeeping = HOUSEKEEPING;
        let mut balanced = start;
        let mut before = Duration::ZERO;
        loop {
            let now = self.begun.elapsed();
            if !std::mem::take(&mut self.worked) {
                self.idle += now.saturating_sub(before);
            }
            before = now;
            if warming && now >= self.plan.warm_up {
                warming = false;
                self.histogram.clear();
                start = self.moment(now)?;
            }
            let enough = self
                .plan
                .packets
                .is_some_and(|packets| self.sent >= packets);
            if enough || now >= self.plan.warm_up + self.plan.duration {
                return Ok((start, self.moment(now)?));
            }
            match self.plan.pace {
                Pace::Closed { window, burst } => self.feed(window, burst, now)?,
                Pace::Open { per_second } => {
                    self.send_due(&active, per_second, &mut scheduled, now)?
                }
            }
            self.receive()?;
            if now >= housekeeping {
                housekeeping = now + HOUSEKEEPING;
                self.revive_stalled(now);
                if let Some(ballast) = self.ballast
                    && now.saturating_sub(balanced.at) > BALANCING
                {
                    let moment = self.moment(now)?;
                    ballast.take_idle(
                        now.saturating_sub(balanced.at),
                        moment.usage.since(&balanced.usage),
                        moment.ballast_nanos - balanced.ballast_nanos,
                    );
                    balanced = moment;
                }
            }
        }
    }

    /// Closed loop: one burst for each lane that has room for it.
    fn feed(&mut self, window: u32, burst: u32, now: Duration) -> Result<()> {
        let mut hungry = std::mem::take(&mut self.hungry);
        for lane in hungry.drain(..) {
            self.lanes[lane].queued = false;
            let room = window.saturating_sub(self.lanes[lane].in_flight);
            let flushed = self.ends[lane]
                .flush()
                .context("cannot write to the server")?;
            if flushed && room >= burst {
                let taken = self.send(lane, u64::from(burst), now)?;
                self.lanes[lane].in_flight += u32::try_from(taken).unwrap_or(burst);
            }
            if !self.ends[lane].flush()?
                || window.saturating_sub(self.lanes[lane].in_flight) >= burst
            {
                self.queue(lane);
            }
        }
        // Keep the memory; what was queued meanwhile comes next.
        hungry.append(&mut self.hungry);
        self.hungry = hungry;
        Ok(())
    }

    /// Open loop: payload `n` falls due at `n / per_second`, on the lanes in turn.
    fn send_due(
        &mut self,
        active: &[usize],
        per_second: u64,
        scheduled: &mut u64,
        now: Duration,
    ) -> Result<()> {
        let due = u64::try_from(now.as_nanos() * u128::from(per_second) / 1_000_000_000)
            .unwrap_or(u64::MAX);
        let late = due.saturating_sub(*scheduled).min(CATCH_UP);
        for _ in 0..late {
            let turn = usize::try_from(*scheduled % active.len() as u64).unwrap_or(0);
            let lane = active[turn];
            self.ends[lane]
                .flush()
                .context("cannot write to the server")?;
            let stamp_at = self.begun.elapsed();
            self.send(lane, 1, stamp_at)?;
            *scheduled += 1;
        }
        Ok(())
    }

    fn send(&mut self, lane_index: usize, count: u64, now: Duration) -> Result<u64> {
        let (lane, end) = (&mut self.lanes[lane_index], &mut self.ends[lane_index]);
        let sent_nanos = nanos(now);
        self.burst.clear();
        for ahead in 0..count {
            end.write_frame(self.burst.next_frame(), lane.ledger.payload_len(), |out| {
                lane.ledger.write(out, ahead, sent_nanos);
            });
        }
        let taken = end.send(&self.burst).context("cannot send")? as u64;
        if lane.in_flight == 0 {
            lane.progress = now;
        }
        lane.ledger.record_sent(taken);
        self.sent += taken;
        self.worked |= taken > 0;
        Ok(taken)
    }

    fn receive(&mut self) -> Result<()> {
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
            Err(error) => return Err(error).context("cannot wait for arrivals"),
        }
        self.worked |= !self.events.is_empty();
        for at in 0..self.events.len() {
            let index = usize::try_from(self.events[at].data.u64()).unwrap_or(0);
            self.receive_at(index)?;
        }
        Ok(())
    }

    fn receive_at(&mut self, index: usize) -> Result<()> {
        let lane_index = index ^ 1;
        let lane = &mut self.lanes[lane_index];
        let now = self.begun.elapsed();
        let now_nanos = nanos(now);
        let mut arrived = 0_u32;
        // With a small window the socket is usually empty after what is in flight: no read that finds nothing.
        let limit = match self.plan.pace {
            Pace::Closed { .. } => usize::try_from(lane.in_flight)
                .unwrap_or(BATCH)
                .clamp(1, BATCH),
            Pace::Open { .. } => BATCH,
        };
        self.ends[index]
            .receive(limit, &mut self.scratch, |arrival| {
                arrived += 1;
                if let Judgement::Delivered {
                    sequence,
                    sent_nanos,
                } = lane.ledger.record(arrival)
                {
                    self.delivered += 1;
                    lane.newest = lane.newest.max(sequence + 1);
                    self.histogram.record(now_nanos.saturating_sub(sent_nanos));
                }
            })
            .with_context(|| format!("cannot receive on flow {}", index / 2))?;
        if arrived == 0 {
            return Ok(());
        }
        // What was sent before the newest arrival and did not come is lost, or so nearly always: it must not narrow the window.
        let sent_after_newest =
            u32::try_from(lane.ledger.tally().sent.saturating_sub(lane.newest)).unwrap_or(u32::MAX);
        lane.in_flight = lane
            .in_flight
            .saturating_sub(arrived)
            .min(sent_after_newest);
        lane.progress = now;
        self.last_arrival = now;
        if let Pace::Closed { window, burst } = self.plan.pace
            && window.saturating_sub(lane.in_flight) >= burst
        {
            self.queue(lane_index);
        }
        Ok(())
    }

    fn queue(&mut self, lane_index: usize) {
        let lane = &mut self.lanes[lane_index];
        if lane.active && !lane.queued {
            lane.queued = true;
            self.hungry.push(lane_index);
        }
    }

    fn revive_stalled(&mut self, now: Duration) {
        for index in 0..self.lanes.len() {
            let lane = &mut self.lanes[index];
            if lane.in_flight > 0 && now.saturating_sub(lane.progress) > STALLED_AFTER {
                lane.in_flight = 0;
                lane.progress = now;
                self.stalls += 1;
                self.queue(index);
            }
        }
    }

    /// Reads on until all has arrived or nothing more comes.
    fn drain(&mut self) -> Result<()> {
        let began = self.begun.elapsed();
        self.last_arrival = self.last_arrival.max(Duration::from_nanos(1));
        let mut quiet_since = began;
        let mut seen = self.delivered;
        loop {
            let mut flushed = true;
            for end in &mut self.ends {
                flushed &= end.flush().unwrap_or(true);
            }
            self.receive()?;
            let now = self.begun.elapsed();
            if self.delivered != seen {
                seen = self.delivered;
                quiet_since = now;
            }
            let over = now.saturating_sub(quiet_since) > DRAIN_QUIET
                || now.saturating_sub(began) > DRAIN_MAX;
            if over || (flushed && self.delivered >= self.sent) {
                return Ok(());
            }
        }
    }

    fn moment(&self, at: Duration) -> Result<Moment> {
        let usage = self
            .server
            .map(Server::usage)
            .transpose()?
            .unwrap_or_default();
        Ok(Moment {
            at,
            delivered: self.delivered,
            usage,
            idle: self.idle,
            ballast_nanos: self.ballast.map_or(0, Ballast::used_nanos),
        })
    }

    fn report(&self, flows: usize, start: &Moment, stop: &Moment) -> TrafficReport {
        let mut tally = Tally::default();
        for lane in &self.lanes {
            tally += *lane.ledger.tally();
        }
        let seconds = stop.at.saturating_sub(start.at).as_secs_f64();
        let measured = stop.delivered - start.delivered;
        let server = self.server.map(|server| {
            let used = stop.usage.since(&start.usage);
            let taken = (stop.ballast_nanos - start.ballast_nanos) as f64 / 1e9 / seconds.max(1e-9);
            ServerShare::new(&used, measured, seconds, taken, server.resident_kib().ok())
        });
        TrafficReport {
            flows,
            payload_bytes: self.plan.payload_len,
            lost: tally.lost(),
            tally,
            seconds,
            packets_per_second: if seconds > 0.0 {
                measured as f64 / seconds
            } else {
                0.0
            },
            generator_utilisation: if seconds > 0.0 {
                1.0 - stop.idle.saturating_sub(start.idle).as_secs_f64() / seconds
            } else {
                0.0
            },
            stalls: self.stalls,
            latency: Latency::of(&self.histogram),
            server,
        }
    }
}

fn nanos(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The longest frame: a Send indication with an IPv6 peer. Payloads longer than this leaves room for are refused.
pub(crate) const PAYLOAD_MAX: usize = DATAGRAM_MAX - 64;
