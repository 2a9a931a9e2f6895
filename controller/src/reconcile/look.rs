//! One look around: the provider's list and every relay's status, side by side.
//!
//! Responsible for asking all of them at once, each within its own time, so that one that hangs holds up nobody. Not
//! responsible for what is believed ([`Picture`]).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use taciturn_protocol::time::Now;
use tokio::task::JoinSet;

use crate::apply::Hands;
use crate::fleet::{InstanceId, Report};
use crate::observe::{Picture, RelayError};

type Whom = (InstanceId, SocketAddr);
type Heard = (InstanceId, Now, Result<Report, RelayError>);

/// Asks everybody, and tells the picture.
pub(super) async fn look(picture: &mut Picture, hands: &Hands) {
    let first = picture.to_ask();
    let (list, heard) = tokio::join!(hands.list(), ask(hands, first.clone()));
    picture.listing(hands.clock.now(), list);
    tell(picture, heard);
    let asked: BTreeSet<Whom> = first.into_iter().collect();
    let new = picture.to_ask();
    let new = new.into_iter().filter(|whom| !asked.contains(whom));
    let heard = ask(hands, new.collect()).await;
    tell(picture, heard);
    probe(picture, hands).await;
}

async fn ask(hands: &Hands, whom: Vec<Whom>) -> Vec<Heard> {
    let mut asked = JoinSet::new();
    for (id, admin) in whom {
        let hands = hands.clone();
        asked.spawn(async move {
            let answer = hands.status(&id, admin).await;
            (id, hands.clock.now(), answer)
        });
    }
    all(asked).await
}

fn tell(picture: &mut Picture, heard: Vec<Heard>) {
    for (id, at, answer) in heard {
        if let Err(error) = &answer {
            tracing::debug!(relay = %id, %error, "no status");
        }
        picture.status(at, &id, answer.map_err(|error| error.to_string()));
    }
}

/// Who said nothing new is asked where calls go, to tell an admin API that is down from a relay that is.
async fn probe(picture: &mut Picture, hands: &Hands) {
    let mut asked = JoinSet::new();
    for (id, admin) in picture.to_ask() {
        if picture.is_silent(&id) {
            let hands = hands.clone();
            asked.spawn(async move {
                let answers = hands.stun(&id, admin).await;
                (id, hands.clock.now(), answers)
            });
        }
    }
    for (id, at, answers) in all(asked).await {
        if let Some(answers) = answers {
            picture.stun(at, &id, answers);
        }
    }
}

async fn all<T: 'static>(mut asked: JoinSet<T>) -> Vec<T> {
    let mut answers = Vec::new();
    while let Some(joined) = asked.join_next().await {
        match joined {
            Ok(answer) => answers.push(answer),
            Err(error) => tracing::error!(%error, "a question ended without an answer"),
        }
    }
    answers
}
