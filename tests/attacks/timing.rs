//! What an answer gives away about a secret, in its form here; in its time, `scripts/assure constant-work` measures it.
//!
//! Not responsible for the measurement (`benches/constant-work`), which a machine that is busy with tests cannot make.

use std::path::Path;

use taciturn_protocol::wire::{Method, attribute};

use crate::client::{Client, Over};
use crate::running::Setup;

/// the time of a proof is measured by `scripts/assure constant-work`, whose figure has a row of its own.
#[test]
fn the_measurement_of_time_has_a_command_and_a_row() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/assurance.md")).unwrap();
    let mut rows = page.lines().filter(|line| line.starts_with('|'));
    let row = rows.find(|row| row.contains("`scripts/assure constant-work`"));
    assert!(row.is_some_and(|row| row.contains("A-25")), "{row:?}");
}

/// an unknown user, a wrong password, an expired name and one that is no name at all get the same answer, byte for
/// byte, but for nonce and transaction.
#[test]
fn answers_do_not_tell_known_users_from_unknown_ones() {
    let relay = Setup::on_loopback(1).start();
    for over in Over::ALL {
        let mut told = Vec::new();
        let names: [&[u8]; 4] = [
            b"4102444799:alice",
            b"1:alice",
            b"no such user",
            b"99999999999999999999:x",
        ];
        for name in names {
            let link = Client::of(&relay, over, "anybody").link;
            let mut client = Client::known_as(link, name.to_vec(), "a guess".to_owned());
            client.challenge();
            let answer = client.request(Method::Allocate, |w| w.requested_transport(17));
            assert_eq!(answer.code(), 401);
            let attributes: Vec<_> = answer
                .attributes()
                .iter()
                .map(|(kind, value)| match kind {
                    attribute::NONCE => (kind, vec![0; value.len()]),
                    _ => (kind, value.to_vec()),
                })
                .collect();
            told.push((answer.bytes().len(), attributes));
        }
        assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    }
}
