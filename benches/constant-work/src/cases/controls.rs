//! Work that leaks on purpose. A meter that does not see it would see nothing elsewhere either.

use std::hint::black_box;

use taciturn_protocol::wire::Method;

use super::proofs::wrong_proofs;
use super::{Case, Inputs, Work};
use crate::relay::{Named, Proof, Relay, request, static_name};

pub(super) fn cases() -> anyhow::Result<Vec<Case>> {
    Ok(vec![after_the_server()?, alone()?])
}

/// Whether both are equal, found out as it must not be: byte by byte, until one differs.
fn careless(received: &[u8], right: &[u8]) -> bool {
    received
        .iter()
        .zip(right)
        .all(|(received, right)| black_box(received) == black_box(right))
}

/// The end of a right request, and requests whose ends differ from it in their first byte or in their last.
fn proofs(relay: &mut Relay) -> anyhow::Result<(Vec<u8>, Inputs)> {
    let (name, proof) = (static_name(0), Proof::Sha1);
    let nonce = relay.nonce()?;
    let key = relay.key(&name, proof)?;
    let named = (Named::Username(&name), &nonce[..]);
    let right = request(Method::Allocate, 0, named, (proof, key.as_bytes()))?;
    let right = right[right.len() - proof.len()..].to_vec();
    // The first of each pool is of the same transaction, so that its proof is this one but for a byte.
    let inputs = wrong_proofs(relay, Method::Allocate, &name, proof, &nonce)?;
    Ok((right, inputs.map(|pool| pool[..1].to_vec())))
}

/// The whole way of a request, and then a comparison that stops where the first byte differs: what is looked for elsewhere,
/// in the noise that it would be in.
fn after_the_server() -> anyhow::Result<Case> {
    let mut relay = Relay::new()?;
    let (right, inputs) = proofs(&mut relay)?;
    let work: Work = Box::new(move |input| {
        let refused = relay.refuses(input);
        refused & !careless(&input[input.len() - right.len()..], &right)
    });
    Ok(control("control-server", inputs, work))
}

/// That comparison alone.
fn alone() -> anyhow::Result<Case> {
    let (right, inputs) = proofs(&mut Relay::new()?)?;
    let work: Work = Box::new(move |input| !careless(&input[input.len() - right.len()..], &right));
    Ok(control("control-compare", inputs, work))
}

fn control(name: &'static str, inputs: Inputs, work: Work) -> Case {
    Case {
        name,
        classes: ["wrong in byte 1", "wrong in byte 20"],
        leaks: true,
        repeats: 1,
        inputs,
        work,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// the classes of a control differ from what is right in one byte each, so that a careless comparison takes
    /// nineteen steps more for the one than for the other.
    #[test]
    fn a_control_is_wrong_in_one_byte() -> anyhow::Result<()> {
        let (right, inputs) = proofs(&mut Relay::new()?)?;
        let places = inputs.map(|pool| {
            let end = &pool[0][pool[0].len() - right.len()..];
            let differing = end.iter().zip(&right).enumerate();
            let differing = differing.filter(|(_, (received, right))| received != right);
            differing.map(|(place, _)| place).collect::<Vec<_>>()
        });
        assert_eq!(places, [vec![0], vec![19]]);
        Ok(())
    }
}
