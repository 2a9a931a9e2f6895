//! From which addresses the relay's own self-check comes, as listeners and workers see them.
//!
//! A request that has proved its name tells by itself whose it is. What comes before that, a Binding, the first Allocate
//! and its 401, a connection, is told from a user's by its source alone. Not responsible for the self-check.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// The self-check uses a few sockets at once; more than this are not entered, and are counted as a user's.
const MOST: usize = 32;

/// The sources in use. Copies share them. Looked at for each control message and connection, never for data.
#[derive(Clone, Debug, Default)]
pub struct SelfCheckSources(Arc<ArcSwap<Vec<SocketAddr>>>);

impl SelfCheckSources {
    /// Takes a source up until the returned entry is dropped. `source` is the address that listeners see: that of the
    /// client's socket, or what a network between has made of it.
    pub fn enter(&self, source: SocketAddr) -> SelfCheckSource {
        self.0.rcu(|sources| {
            let mut sources = Vec::clone(sources);
            if sources.len() < MOST {
                sources.push(source);
            }
            sources
        });
        SelfCheckSource {
            sources: self.clone(),
            source,
        }
    }

    /// Whether the self-check uses this source now.
    pub fn contains(&self, source: &SocketAddr) -> bool {
        self.0.load().contains(source)
    }
}

/// One source that the self-check uses. Dropping it gives the address back to users.
#[derive(Debug)]
#[must_use]
pub struct SelfCheckSource {
    sources: SelfCheckSources,
    source: SocketAddr,
}

impl Drop for SelfCheckSource {
    fn drop(&mut self) {
        self.sources.0.rcu(|sources| {
            let mut sources = Vec::clone(sources);
            if let Some(at) = sources.iter().position(|each| *each == self.source) {
                sources.swap_remove(at);
            }
            sources
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_known_as_long_as_its_entry_lives() {
        let sources = SelfCheckSources::default();
        let seen_by_worker = sources.clone();
        let source = SocketAddr::from(([127, 0, 0, 1], 4000));
        let first = sources.enter(source);
        let second = sources.enter(source);
        assert!(seen_by_worker.contains(&source));
        drop(first);
        assert!(seen_by_worker.contains(&source), "entered twice");
        drop(second);
        assert!(!seen_by_worker.contains(&source));
    }

    #[test]
    fn there_is_a_bound_on_sources() {
        let sources = SelfCheckSources::default();
        let entered: Vec<_> = (1..=100_u16)
            .map(|port| sources.enter(SocketAddr::from(([127, 0, 0, 1], port))))
            .collect();
        assert_eq!(sources.0.load().len(), MOST);
        drop(entered);
        assert!(sources.0.load().is_empty());
    }
}
