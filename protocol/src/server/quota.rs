//! How many allocations a user, and all users together, may hold.
//!
//! A relay's workers share one quota, so it is behind a trait: the pure count is here, and the relay shares it between
//! its workers. Not responsible for bandwidth.

use alloc::boxed::Box;
use core::fmt::Debug;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::credentials::UserName;

/// Why no further allocation is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaExceeded {
    /// The user holds as many as a user may (486, RFC 8656 §7.2).
    User,
    /// The relay holds as many as it may (508).
    Total,
}

/// A count of allocations by user. A place is held by an allocation from before its relayed socket is opened until it
/// is closed, and by a reserved port until it is claimed or lost.
pub trait Quota: Debug + Send {
    /// Takes a place for this user.
    fn reserve(&mut self, user: &UserName) -> Result<(), QuotaExceeded>;
    /// Gives a place back.
    fn release(&mut self, user: &UserName);
}

/// A quota counted in one place.
#[derive(Debug)]
pub struct LocalQuota {
    per_user: u32,
    total: u32,
    held: u32,
    by_user: HashMap<Box<[u8]>, u32, RandomState>,
}

impl LocalQuota {
    /// At most `per_user` allocations for one user and `total` for all. `seed` keys the table of user names.
    pub fn new(per_user: u32, total: u32, seed: [u64; 4]) -> Self {
        let hasher = RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        Self {
            per_user,
            total,
            held: 0,
            by_user: HashMap::with_hasher(hasher),
        }
    }

    /// Other limits, from the next place on. Places that are held beyond them stay held.
    pub const fn limit(&mut self, per_user: u32, total: u32) {
        self.per_user = per_user;
        self.total = total;
    }

    /// How many places are held.
    pub const fn held(&self) -> u32 {
        self.held
    }
}

impl Quota for LocalQuota {
    fn reserve(&mut self, user: &UserName) -> Result<(), QuotaExceeded> {
        if self.held >= self.total {
            return Err(QuotaExceeded::Total);
        }
        let key = user.subject();
        let count = self.by_user.get(key).copied().unwrap_or(0);
        if count >= self.per_user {
            return Err(QuotaExceeded::User);
        }
        self.by_user.insert(key.into(), count + 1);
        self.held += 1;
        Ok(())
    }

    fn release(&mut self, user: &UserName) {
        let key = user.subject();
        if let Some(count) = self.by_user.get_mut(key) {
            *count -= 1;
            self.held = self.held.saturating_sub(1);
            if *count == 0 {
                self.by_user.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserName {
        UserName::new(name.as_bytes())
    }

    /// T-22: the quota is a user's, whatever the expiry in the name; a place given back can be taken again.
    #[test]
    fn a_quota_counts_users_not_credentials() {
        let mut quota = LocalQuota::new(2, 3, [1, 2, 3, 4]);
        assert_eq!(quota.reserve(&user("1700000000:alice")), Ok(()));
        assert_eq!(quota.reserve(&user("1700009999:alice")), Ok(()));
        assert_eq!(
            quota.reserve(&user("1700009998:alice")),
            Err(QuotaExceeded::User)
        );
        assert_eq!(quota.reserve(&user("bob:x")), Ok(()));
        assert_eq!(quota.reserve(&user("carol")), Err(QuotaExceeded::Total));
        quota.release(&user("1700000000:alice"));
        assert_eq!(quota.reserve(&user("carol")), Ok(()));
        quota.release(&user("nobody"));
        assert_eq!(quota.held(), 3);
    }

    /// T-22: limits that fall below what is held take nothing away; they refuse until enough has been given back.
    #[test]
    fn smaller_limits_take_no_place_away() {
        let mut quota = LocalQuota::new(3, 10, [1, 2, 3, 4]);
        for name in ["alice", "alice", "alice", "bob"] {
            assert_eq!(quota.reserve(&user(name)), Ok(()));
        }
        quota.limit(2, 10);
        assert_eq!(quota.held(), 4);
        for held in [3, 2] {
            assert_eq!(
                quota.reserve(&user("alice")),
                Err(QuotaExceeded::User),
                "{held} held"
            );
            quota.release(&user("alice"));
        }
        assert_eq!(quota.reserve(&user("alice")), Ok(()));
        quota.limit(2, 2);
        assert_eq!(quota.reserve(&user("carol")), Err(QuotaExceeded::Total));
        quota.release(&user("alice"));
        quota.release(&user("bob"));
        assert_eq!(quota.reserve(&user("carol")), Ok(()));
        quota.limit(9, 9);
        assert_eq!(quota.reserve(&user("carol")), Ok(()));
        assert_eq!(quota.held(), 3);
    }
}
