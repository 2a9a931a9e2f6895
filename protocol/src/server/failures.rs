//! How long whoever guesses a password has to wait: after a few failures, longer each time, in silence.
//!
//! What is counted is a name together with the source that it came from, so that nobody can lock a user out from another
//! address. A table of fixed size: 8,192 cells of 24 bytes in sets of four; a hash with a key of its own picks the set and
//! tells cells apart. Being made to wait is being dropped unverified: no task, timer or memory is held for it, and a
//! retransmission that comes later is judged. Not responsible for how many answers a source gets in all (`budget`), nor for
//! who is exempt.

use alloc::boxed::Box;
use alloc::vec;
use core::net::IpAddr;
use core::time::Duration;

use ahash::RandomState;

use super::budget::prefix;
use crate::time::Instant;
use crate::wire::Name;

const SETS: usize = 2048;
const WAYS: usize = 4;

/// Failures that cost nothing but an answer: a name mistyped, a secret rotated, a request sent again.
const FREE: u32 = 5;

/// The wait after the first failure beyond those; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// How often the wait is doubled at the most: up to 256 s.
const DOUBLINGS: u32 = 8;

/// How long after its last wait a guesser is new again.
const MEMORY: Duration = Duration::from_secs(600);

/// A name, the source that says it, and whether the source has shown that it is where it says.
///
/// Whoever can only send from a forged address must not make that address wait. It has no nonce that was minted for it, so
/// that what is held against it is held against requests without such a nonce alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess<'m> {
    pub(super) source: IpAddr,
    pub(super) name: Name<'m>,
    pub(super) proven_source: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    mark: u64,
    failures: u32,
    waits_until: Instant,
}

impl Cell {
    fn is_forgotten(&self, now: Instant) -> bool {
        self.failures == 0 || now >= self.waits_until + MEMORY
    }
}

/// Who has failed lately, and how often.
#[derive(Debug)]
pub(super) struct FailureBudget {
    hasher: RandomState,
    cells: Box<[[Cell; WAYS]]>,
    /// From here on nobody waits, unless somebody fails again: all that an honest request looks at in quiet times.
    quiet_from: Instant,
}

impl FailureBudget {
    pub(super) fn new(seed: [u64; 4]) -> Self {
        Self {
            hasher: RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]),
            cells: vec![[Cell::default(); WAYS]; SETS].into_boxed_slice(),
            quiet_from: Instant::ZERO,
        }
    }

    /// Whether nobody has to wait.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        now >= self.quiet_from
    }

    /// Whether anybody's failures are remembered.
    pub(super) fn has_any(&self, now: Instant) -> bool {
        self.quiet_from > Instant::ZERO && now < self.quiet_from + MEMORY
    }

    /// Whether this guess comes too early to be looked at.
    pub(super) fn must_wait(&self, guess: &Guess<'_>, now: Instant) -> bool {
        let (set, mark) = self.place(guess);
        self.cells[set]
            .iter()
            .any(|cell| cell.failures > 0 && cell.mark == mark && now < cell.waits_until)
    }

    /// Takes the news that this guess was wrong.
    pub(super) fn failed(&mut self, guess: &Guess<'_>, now: Instant) {
        let (set, mark) = self.place(guess);
        let cells = &mut self.cells[set];
        let known = cells
            .iter()
            .position(|cell| cell.mark == mark && !cell.is_forgotten(now));
        // Who has failed most stays, whether it waits just now or not: a flood of names pushes out names of its own first.
        let way = known.unwrap_or_else(|| {
            (0..WAYS)
                .min_by_key(|way| {
                    let cell = &cells[*way];
                    (!cell.is_forgotten(now), cell.failures, cell.waits_until)
                })
                .unwrap_or(0)
        });
        let failures = known.map_or(0, |way| cells[way].failures).saturating_add(1);
        let waits_until = now + wait_after(failures);
        cells[way] = Cell {
            mark,
            failures,
            waits_until,
        };
        self.quiet_from = self.quiet_from.max(waits_until);
    }

    /// Takes the news that this name was proven from this source: what had failed there before is forgotten, so that one
    /// machine with an old password does not keep out the others behind the same address for good.
    pub(super) fn succeeded(&mut self, guess: &Guess<'_>) {
        let (set, mark) = self.place(guess);
        for cell in &mut self.cells[set] {
            if cell.mark == mark {
                *cell = Cell::default();
            }
        }
    }

    /// Lets everybody begin anew.
    pub(super) fn forget(&mut self) {
        if self.quiet_from > Instant::ZERO {
            self.cells.fill([Cell::default(); WAYS]);
            self.quiet_from = Instant::ZERO;
        }
    }

    /// The set of a guess, and what tells it from others there. Who forges addresses has one half of the table, so that it
    /// pushes out nobody who has shown where it is.
    fn place(&self, guess: &Guess<'_>) -> (usize, u64) {
        let (is_hash, name) = match guess.name {
            Name::Username(name) => (false, name),
            Name::Userhash(hash) => (true, hash),
        };
        let hash = self
            .hasher
            .hash_one((prefix(guess.source), guess.proven_source, is_hash, name));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only the low bits choose a set"
        )]
        let set = hash as usize % (SETS / 2);
        (set + usize::from(guess.proven_source) * (SETS / 2), hash)
    }
}

fn wait_after(failures: u32) -> Duration {
    match failures.checked_sub(FREE + 1) {
        None => Duration::ZERO,
        Some(further) => FIRST_WAIT * (1 << further.min(DOUBLINGS)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use core::net::Ipv4Addr;

    const START: Instant = Instant::from_nanos(5_000_000_000);

    fn guess(source: u32, name: &str) -> Guess<'_> {
        Guess {
            source: IpAddr::V4(Ipv4Addr::from_bits(source)),
            name: Name::Username(name.as_bytes()),
            proven_source: true,
        }
    }

    /// How many guesses are looked at when one is made every tenth of a second.
    fn looked_at(budget: &mut FailureBudget, guess: &Guess<'_>, tenths: u32) -> usize {
        (0..tenths)
            .map(|tenth| START + Duration::from_millis(100) * tenth)
            .filter(|now| {
                let judged = budget.is_quiet(*now) || !budget.must_wait(guess, *now);
                if judged {
                    budget.failed(guess, *now);
                }
                judged
            })
            .count()
    }

    /// a thousand guesses at one name from one source: five at once, then waits that double, 256 s at the longest.
    #[test]
    fn guesses_come_to_be_looked_at_ever_more_seldom() {
        let mut budget = FailureBudget::new([1, 2, 3, 4]);
        let alice = guess(7, "alice");
        // 5 and the one that has to wait; then after 1 + 2 + 4 + ... + 256 s one each; then one every 256 s.
        assert_eq!(looked_at(&mut budget, &alice, 10), 6);
        let mut budget = FailureBudget::new([1, 2, 3, 4]);
        assert_eq!(looked_at(&mut budget, &alice, 5_120), 6 + 9);
        let mut budget = FailureBudget::new([1, 2, 3, 4]);
        let day = looked_at(&mut budget, &alice, 864_000);
        assert!((335..360).contains(&day), "{day}");
    }

    /// the same name from another source, another name from the same one, and one without proof of its source wait
    /// for nothing that was not theirs.
    #[test]
    fn nobody_waits_for_anothers_failures() {
        let mut budget = FailureBudget::new([1, 2, 3, 4]);
        let alice = guess(7, "alice");
        for _ in 0..20 {
            budget.failed(&alice, START);
        }
        assert!(!budget.is_quiet(START));
        assert!(budget.must_wait(&alice, START));
        for other in [
            guess(8, "alice"),
            guess(7, "bob"),
            Guess {
                proven_source: false,
                ..alice
            },
            Guess {
                name: Name::Userhash(b"alice"),
                ..alice
            },
        ] {
            assert!(!budget.must_wait(&other, START), "{other:?}");
        }
    }

    /// after ten quiet minutes a guesser is new again.
    #[test]
    fn failures_are_forgotten() {
        let mut budget = FailureBudget::new([1, 2, 3, 4]);
        let alice = guess(7, "alice");
        for _ in 0..7 {
            budget.failed(&alice, START);
        }
        let later = START + Duration::from_secs(2) + MEMORY;
        assert!(budget.is_quiet(later));
        budget.failed(&alice, later);
        assert!(!budget.must_wait(&alice, later));
    }

    /// a million names from a million sources take no more memory, and do not free those that wait.
    #[test]
    fn a_flood_of_names_frees_nobody_that_waits() {
        let mut budget = FailureBudget::new([1, 2, 3, 4]);
        let cells = budget.cells.len();
        let alice = guess(7, "alice");
        for _ in 0..20 {
            budget.failed(&alice, START);
        }
        for source in 0..200_000 {
            budget.failed(&guess(source, &format!("user{}", source % 999)), START);
        }
        assert!(budget.must_wait(&alice, START));
        assert_eq!(budget.cells.len(), cells);
        assert_eq!(
            size_of_val(&*budget.cells),
            192 * 1024,
            "the memory that is documented"
        );
    }

    /// nor do they free those who have failed often and whose wait is over, from the same source or from forged ones.
    #[test]
    fn a_flood_of_names_lets_nobody_begin_anew() {
        let mut budget = FailureBudget::new([1, 2, 3, 4]);
        let alice = guess(7, "alice");
        for _ in 0..FREE {
            budget.failed(&alice, START);
        }
        for number in 0..30_000 {
            let name = format!("user{number}");
            budget.failed(&guess(7, &name), START);
            let forged = Guess {
                proven_source: false,
                ..guess(number, "alice")
            };
            for _ in 0..3 {
                budget.failed(&forged, START);
            }
        }
        budget.failed(&alice, START);
        assert!(budget.must_wait(&alice, START), "it is the sixth");
    }

    /// whoever sends from forged addresses, and fails more often than a guesser has, pushes out nobody who has shown
    /// where it is: the guesser's next failures are counted on.
    #[test]
    fn forged_sources_push_out_forged_sources_alone() {
        let mut budget = FailureBudget::new([1, 2, 3, 4]);
        let alice = guess(7, "alice");
        for _ in 0..3 {
            budget.failed(&alice, START);
        }
        for number in 0..30_000 {
            let forged = Guess {
                proven_source: false,
                ..guess(number, "alice")
            };
            for _ in 0..FREE {
                budget.failed(&forged, START);
            }
        }
        for _ in 0..3 {
            budget.failed(&alice, START);
        }
        assert!(budget.must_wait(&alice, START), "it is the sixth");
    }

    /// whoever proves a name lifts what stood against it at this source, and nothing else.
    #[test]
    fn a_name_that_is_proven_begins_anew() {
        let mut budget = FailureBudget::new([1, 2, 3, 4]);
        let (alice, bob) = (guess(7, "alice"), guess(7, "bob"));
        for _ in 0..7 {
            budget.failed(&alice, START);
            budget.failed(&bob, START);
        }
        let later = START + Duration::from_secs(3);
        assert!(budget.is_quiet(later), "both waits are over");
        assert!(budget.has_any(later));
        budget.succeeded(&alice);
        budget.failed(&alice, later);
        assert!(!budget.must_wait(&alice, later));
        budget.failed(&bob, later);
        assert!(budget.must_wait(&bob, later));
    }

    /// a thousand users by a thousand passwords from one source: after an hour of it, a few guesses at each.
    #[test]
    fn a_thousand_users_are_remembered_at_once() {
        let mut budget = FailureBudget::new([1, 2, 3, 4]);
        let names: [_; 1000] = core::array::from_fn(|number| format!("user{number}"));
        let mut judged = 0;
        for round in 0..1000_u32 {
            let now = START + Duration::from_millis(3600) * round;
            for name in &names {
                let guess = guess(7, name);
                if !budget.must_wait(&guess, now) {
                    judged += 1;
                    budget.failed(&guess, now);
                }
            }
        }
        assert!(
            (14_000..40_000).contains(&judged),
            "{judged} of a million guesses"
        );
    }
}
