//! What AWS network cards (ENA) say about traffic beyond the instance's allowances.
//!
//! Responsible for finding those cards and adding them up. Not responsible for asking the driver (`net`), nor for what
//! growth means (`meter`). On a host without such a card there is nothing, rather than zeroes.

use crate::net;

use super::ALLOWANCES;

/// Cards may come and go; they are looked for again after this many readings.
const LOOK_AGAIN: u32 = 60;

/// The cards that count exceeded allowances.
#[derive(Debug, Default)]
pub(crate) struct Cards {
    known: Vec<Card>,
    readings: u32,
}

/// One card: its interface, and where each allowance stands among its counters.
#[derive(Debug)]
struct Card {
    interface: String,
    positions: [Option<usize>; ALLOWANCES.len()],
}

impl Cards {
    /// What all cards have counted; `None` without one, or when one of them does not answer: half a sum would look like a
    /// counter that fell.
    pub(crate) fn read(&mut self) -> Option<[u64; ALLOWANCES.len()]> {
        if self.readings == 0 {
            self.known = find();
        }
        self.readings = (self.readings + 1) % LOOK_AGAIN;
        if self.known.is_empty() {
            return None;
        }
        let mut sums = [0_u64; ALLOWANCES.len()];
        for card in &self.known {
            let Ok(values) = net::card_counters(&card.interface) else {
                self.readings = 0;
                return None;
            };
            card.add(&values, &mut sums);
        }
        Some(sums)
    }
}

impl Card {
    /// The card of `interface`; `None` when it counts no allowance.
    fn with_names(interface: String, names: &[String]) -> Option<Self> {
        let positions = ALLOWANCES.map(|allowance| {
            names
                .iter()
                .position(|name| name.strip_suffix("_allowance_exceeded") == Some(allowance))
        });
        positions.iter().any(Option::is_some).then_some(Self {
            interface,
            positions,
        })
    }

    fn add(&self, values: &[u64], sums: &mut [u64; ALLOWANCES.len()]) {
        for (sum, position) in sums.iter_mut().zip(self.positions) {
            let value = position.and_then(|position| values.get(position));
            *sum = sum.saturating_add(value.copied().unwrap_or(0));
        }
    }
}

fn find() -> Vec<Card> {
    let mut names: Vec<String> = net::interfaces()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| !interface.loopback)
        .map(|interface| interface.name)
        .collect();
    // An interface is listed once for each of its addresses.
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| {
            let counters = net::card_counter_names(&name).ok()?;
            Card::with_names(name, &counters)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_ena_card_is_known_by_its_counters_wherever_they_stand() {
        let listed = names(&[
            "tx_timeout",
            "bw_in_allowance_exceeded",
            "bw_out_allowance_exceeded",
            "pps_allowance_exceeded",
            "conntrack_allowance_exceeded",
            "linklocal_allowance_exceeded",
            "conntrack_allowance_available",
            "queue_0_tx_cnt",
        ]);
        let card = Card::with_names("ens5".to_owned(), &listed).expect("it is one");
        let mut sums = [100, 0, 0, 0, 0];
        card.add(&[9, 1, 2, 3, 4, 5, 6, 7], &mut sums);
        assert_eq!(sums, [101, 2, 3, 4, 5]);
    }

    #[test]
    fn an_older_driver_counts_fewer_allowances_and_another_card_none() {
        let listed = names(&["pps_allowance_exceeded", "bw_in_allowance_exceeded"]);
        let card = Card::with_names("ens5".to_owned(), &listed).expect("it is one");
        let mut sums = [0; ALLOWANCES.len()];
        card.add(&[7, 8], &mut sums);
        assert_eq!(sums, [8, 0, 7, 0, 0]);
        let mut short = [0; ALLOWANCES.len()];
        card.add(&[7], &mut short);
        assert_eq!(short, [0, 0, 7, 0, 0], "an answer may be shorter");
        let virtio = names(&["rx_queue_0_packets", "allowance_exceeded"]);
        assert!(Card::with_names("eth0".to_owned(), &virtio).is_none());
    }

    #[test]
    fn a_host_without_such_a_card_has_no_figures() {
        let mut cards = Cards::default();
        if find().is_empty() {
            assert_eq!(cards.read(), None);
            assert_eq!(cards.read(), None);
        } else {
            assert!(cards.read().is_some());
        }
    }
}
