//! What the machine gives the relay before anything is built on it: its place, addresses, ports, sockets and inboxes.
//!
//! Responsible for having all of it or none: whatever is missing ends the start here, and what was opened is closed again.
//! Not responsible for opening sockets (`bind`), nor for what is built (`build`).

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use taciturn_protocol::server::OwnAddresses;

use crate::config::Config;
use crate::counters::Counters;
use crate::listener::Listener;
use crate::metadata::{MetadataClient, MetadataRequests};
use crate::own_addresses::OwnSockets;
use crate::relayed::{self, RelayedAddresses};
use crate::worker::{Inbox, ListenerSockets, Outbox};

use super::bind::{self, AdminSocket, Granted, Sockets};
use super::inherited::Inherited;
use super::instance::{self, Place};
use super::{BoundListener, StartError, resources};

/// All of it. For each worker there is one of `slices`, `udp`, `counters`, `inboxes` and `outboxes`.
#[derive(Debug)]
pub(super) struct Ground {
    /// The zone, where known.
    pub(super) zone_id: Option<String>,
    /// Relayed addresses as they are seen from outside.
    pub(super) addresses: RelayedAddresses,
    /// Whom to ask what is to become of the instance.
    pub(super) metadata: Option<MetadataClient>,
    /// How asking went so far.
    pub(super) requests: Arc<MetadataRequests>,
    pub(super) slices: Vec<RangeInclusive<u16>>,
    pub(super) udp: Vec<Vec<ListenerSockets>>,
    pub(super) tcp: Vec<Listener>,
    pub(super) listeners: Vec<BoundListener>,
    pub(super) admin: AdminSocket,
    /// The relay's own sockets, from which its own addresses follow.
    pub(super) sockets: OwnSockets,
    /// Its own addresses as of now.
    pub(super) own: OwnAddresses,
    pub(super) counters: Vec<Arc<Counters>>,
    pub(super) inboxes: Vec<Inbox>,
    pub(super) outboxes: Vec<Outbox>,
}

impl Ground {
    /// Finds the place, and then binds every socket of every worker.
    pub(super) fn prepare(config: &Config, inherited: Inherited) -> Result<Self, StartError> {
        let workers = worker_count(config);
        let requests = Arc::new(MetadataRequests::default());
        let Place {
            zone_id,
            addresses,
            metadata,
        } = instance::find(
            config,
            RelayedAddresses::resolve(&config.relayed.addresses)?,
            &requests,
        )?;
        let slices = relayed::slices(&config.relayed.ports, workers)?;
        let Sockets {
            udp,
            tcp,
            listeners,
            admin,
        } = bind::all(config, workers, inherited)?;
        resources::check(config, &addresses, Granted::of(&udp));
        let bound = listeners.iter().map(|listener| listener.address);
        let bound: Vec<SocketAddr> = bound.chain(admin.tcp_address()).collect();
        let sockets = OwnSockets {
            relayed: addresses.clone(),
            sockets: bound,
        };
        let own = sockets
            .collect()
            .map_err(StartError::system("the interfaces cannot be read"))?;
        let (inboxes, outboxes) = inboxes(workers)?;
        Ok(Self {
            zone_id,
            addresses,
            metadata,
            requests,
            slices,
            udp,
            tcp,
            listeners,
            admin,
            sockets,
            own,
            counters: (0..workers).map(|_| Arc::default()).collect(),
            inboxes,
            outboxes,
        })
    }
}

fn inboxes(workers: usize) -> Result<(Vec<Inbox>, Vec<Outbox>), StartError> {
    let pairs = (0..workers)
        .map(|_| Inbox::new())
        .collect::<io::Result<Vec<_>>>();
    Ok(pairs
        .map_err(StartError::system("an event descriptor cannot be made"))?
        .into_iter()
        .unzip())
}

/// One worker per core, unless the configuration says otherwise. A worker's number is a byte, 255 stands for nobody.
pub(super) fn worker_count(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    config
        .workers
        .map_or_else(cores, std::num::NonZeroUsize::get)
        .clamp(1, 255)
}
