//! Integrity that is wrong at its first byte, or at its last.

use taciturn_protocol::wire::{Framed, Method};

use super::{Case, Inputs, Work};
use crate::relay::{KNOWN, Named, Proof, Relay, limited_name, request, static_name};

/// Inputs of each class.
const POOL: u32 = 256;
const FIRST_OR_LAST_SHA1: [&str; 2] = ["wrong in byte 1", "wrong in byte 20"];
const FIRST_OR_LAST_SHA256: [&str; 2] = ["wrong in byte 1", "wrong in byte 32"];

pub(super) fn cases() -> anyhow::Result<Vec<Case>> {
    Ok(vec![
        by_server("proof-sha1-static", Proof::Sha1, &static_name(0))?,
        by_server("proof-sha256-static", Proof::Sha256, &static_name(0))?,
        by_server("proof-sha1-limited", Proof::Sha1, &limited_name(KNOWN))?,
        by_server("proof-sha256-limited", Proof::Sha256, &limited_name(KNOWN))?,
        of_live_allocation()?,
        bare("compare-sha1", Proof::Sha1)?,
        bare("compare-sha256", Proof::Sha256)?,
    ])
}

const fn classes(proof: Proof) -> [&'static str; 2] {
    match proof {
        Proof::Sha1 => FIRST_OR_LAST_SHA1,
        Proof::Sha256 => FIRST_OR_LAST_SHA256,
    }
}

/// Requests of this user, right but for the first byte of the proof, or for the last.
pub(super) fn wrong_proofs(
    relay: &Relay,
    method: Method,
    name: &str,
    proof: Proof,
    nonce: &[u8],
) -> anyhow::Result<Inputs> {
    let key = relay.key(name, proof)?;
    let right = (0..POOL).map(|number| {
        let signed = (proof, key.as_bytes());
        request(method, number, (Named::Username(name), nonce), signed)
    });
    let right: Vec<Vec<u8>> = right.collect::<Result<_, _>>()?;
    let wrong_at = |from_end: usize| -> Vec<Vec<u8>> {
        let numbered = (1..=u8::MAX).cycle().zip(&right);
        let wrong = numbered.map(|(difference, right)| {
            let mut wrong = right.clone();
            let at = wrong.len() - from_end;
            wrong[at] ^= difference;
            wrong
        });
        wrong.collect()
    };
    Ok([wrong_at(proof.len()), wrong_at(1)])
}

/// From the bytes of a request to those of the 401, by the server.
fn by_server(name: &'static str, proof: Proof, user: &str) -> anyhow::Result<Case> {
    let mut relay = Relay::new()?;
    let nonce = relay.nonce()?;
    let inputs = wrong_proofs(&relay, Method::Allocate, user, proof, &nonce)?;
    Ok(Case {
        name,
        classes: classes(proof),
        leaks: false,
        repeats: 1,
        inputs,
        work: Box::new(move |input| relay.refuses(input)),
    })
}

/// The same of a client that has an allocation, whose own key is tried first.
fn of_live_allocation() -> anyhow::Result<Case> {
    let mut relay = Relay::new()?;
    let (name, proof) = (static_name(0), Proof::Sha1);
    let nonce = relay.nonce()?;
    let key = relay.key(&name, proof)?;
    let named = (Named::Username(&name), &nonce[..]);
    let right = request(Method::Allocate, POOL, named, (proof, key.as_bytes()))?;
    relay.allocate(&right)?;
    let inputs = wrong_proofs(&relay, Method::Refresh, &name, proof, &nonce)?;
    Ok(Case {
        name: "proof-sha1-live",
        classes: classes(proof),
        leaks: false,
        repeats: 1,
        inputs,
        work: Box::new(move |input| relay.refuses(input)),
    })
}

/// The comparison with the code that it follows, and nothing around them.
fn bare(name: &'static str, proof: Proof) -> anyhow::Result<Case> {
    let mut relay = Relay::new()?;
    let user = static_name(0);
    let nonce = relay.nonce()?;
    let inputs = wrong_proofs(&relay, Method::Allocate, &user, proof, &nonce)?;
    let key = relay.key(&user, proof)?;
    let work: Work = Box::new(move |input| {
        Framed::parse(input).is_ok_and(|framed| framed.verify(key.as_bytes()).is_none())
    });
    Ok(Case {
        name,
        classes: classes(proof),
        leaks: false,
        repeats: 1,
        inputs,
        work,
    })
}
