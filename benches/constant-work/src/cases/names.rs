//! Names that are somebody's, nobody's or revoked, each with a wrong proof.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use taciturn_protocol::wire::Method;

use super::Case;
use crate::relay::{KNOWN, Named, Proof, REALM, Relay, limited_name, request, static_name};

/// So many times as many unknown names are tried as there are known ones, until nearly each of those has a neighbour.
const STRANGERS: u32 = 20;

pub(super) fn cases() -> anyhow::Result<Vec<Case>> {
    let known = ["known user", "unknown user"];
    let known_names = neighbours(static_name, userhash);
    // A revocation is of the name without its end, and kept by its hash.
    let revoked_names = neighbours(limited_name, |name| {
        Sha256::digest(name.rsplit(':').next().unwrap_or_default()).into()
    });
    Ok(vec![
        by_name("user-sha1", known, Proof::Sha1, Form::Plain, &known_names)?,
        by_name(
            "user-sha256",
            known,
            Proof::Sha256,
            Form::Plain,
            &known_names,
        )?,
        by_name(
            "userhash-sha1",
            known,
            Proof::Sha1,
            Form::Hashed,
            &known_names,
        )?,
        by_name(
            "userhash-sha256",
            known,
            Proof::Sha256,
            Form::Hashed,
            &known_names,
        )?,
        by_name(
            "revoked-sha1",
            ["revoked", "not revoked"],
            Proof::Sha1,
            Form::Plain,
            &revoked_names,
        )?,
        by_name(
            "revoked-sha256",
            ["revoked", "not revoked"],
            Proof::Sha256,
            Form::Plain,
            &revoked_names,
        )?,
    ])
}

/// A name of each class.
type Pairs = Vec<[String; 2]>;

/// The hash that a name is known by.
fn userhash(name: &str) -> [u8; 32] {
    Sha256::digest(format!("{name}:{REALM}")).into()
}

/// Names below [`KNOWN`], which a table has, each with one from beyond whose hash is sorted right before its own: whatever a
/// search for the one reads, a search for the other reads too, so that what is left between them is whether it is found.
/// Without that, the names from beyond would lead to some entries often and to others never, and the caches would tell that.
fn neighbours(name: impl Fn(u32) -> String, hash: impl Fn(&str) -> [u8; 32]) -> Pairs {
    let known = (0..KNOWN).map(&name);
    let mut pairs: BTreeMap<[u8; 32], (String, Option<String>)> =
        known.map(|name| (hash(&name), (name, None))).collect();
    for unknown in (KNOWN..KNOWN * STRANGERS).map(&name) {
        let after = pairs.range_mut(hash(&unknown)..).next();
        if let Some((_, (_, neighbour))) = after {
            *neighbour = Some(unknown);
        }
    }
    let paired = pairs.into_values();
    paired
        .filter_map(|(known, unknown)| Some([known, unknown?]))
        .collect()
}

/// How a name is sent.
#[derive(Clone, Copy)]
enum Form {
    /// USERNAME.
    Plain,
    /// USERHASH.
    Hashed,
}

/// Many names of each class, so that no single name's place in a table decides.
fn by_name(
    name: &'static str,
    classes: [&'static str; 2],
    proof: Proof,
    form: Form,
    names: &[[String; 2]],
) -> anyhow::Result<Case> {
    let mut relay = Relay::new()?;
    let nonce = relay.nonce()?;
    // Nobody's key.
    let key = vec![0x5A; proof.algorithm().key_len()];
    let mut inputs = [Vec::new(), Vec::new()];
    for (number, pair) in (0..).zip(names) {
        for (class, user) in inputs.iter_mut().zip(pair) {
            let hash = userhash(user);
            let named = match form {
                Form::Plain => Named::Username(user),
                Form::Hashed => Named::Userhash(&hash),
            };
            class.push(request(
                Method::Allocate,
                number,
                (named, &nonce),
                (proof, &key),
            )?);
        }
    }
    Ok(Case {
        name,
        classes,
        leaks: false,
        repeats: 1,
        inputs,
        work: Box::new(move |input| relay.refuses(input)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_every_known_name_has_an_unknown_neighbour() {
        let pairs = neighbours(static_name, userhash);
        assert!(pairs.len() > 900, "{}", pairs.len());
        let mut known: Vec<[u8; 32]> = (0..KNOWN)
            .map(|number| userhash(&static_name(number)))
            .collect();
        known.sort_unstable();
        for [own, unknown] in &pairs {
            let place = known.partition_point(|hash| *hash < userhash(unknown));
            assert_eq!(known[place], userhash(own));
            assert_ne!(own, unknown);
        }
    }
}
