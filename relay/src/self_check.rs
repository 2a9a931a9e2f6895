//! The relay as its own client: it allocates through its own listeners, one after the other, and relays a few bytes.
//!
//! Responsible for when and what is checked, and for telling what was found. Not responsible for being a client (`probe`)
//! nor for what follows from a failure (`readiness`).

mod check;
mod figures;
mod findings;
mod sources;

use taciturn_protocol::credentials::{KeyTextError, Realm, StaticKeys, StaticUser};
use zeroize::Zeroizing;

use crate::probe::Login;

pub(crate) use check::{Parts, SelfCheck};

pub use findings::{Advertised, Findings, Outcome, PathState, Picture};
pub use sources::{SelfCheckSource, SelfCheckSources};

/// A user whom nobody else knows: name and password are random at each start and never leave the process.
pub(crate) fn own_user(
    realm: &Realm,
    random: &[u8; 32],
) -> Result<(StaticUser, Login), KeyTextError> {
    let (name, password) = random.split_at(8);
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let login = Login {
        username: format!("self-check-{}", hex(name)),
        password: Zeroizing::new(hex(password)),
    };
    let keys = StaticKeys::derive(&login.username, realm, &login.password)?;
    Ok((StaticUser::new(&login.username, keys)?, login))
}
