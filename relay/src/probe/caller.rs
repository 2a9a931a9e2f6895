//! One client with its allocation, from the first request to the last.
//!
//! Responsible for leaving nothing behind: whatever happens, the allocation is given back and the client's tasks end. Not
//! responsible for payloads (`flow`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use taciturn_protocol::address::Family;
use tokio::time::timeout;
use turn::client::{Client, ClientConfig};
use webrtc_util::Conn;

use super::connect::connect;
use super::failure::Failure;
use super::notes::Notes;
use super::{Login, Target};
use crate::clock::Clock;

/// How long a client may take to say good-bye.
const FAREWELL: Duration = Duration::from_millis(500);

/// A client and its allocation.
pub(super) struct Caller {
    client: Client,
    pub(super) relayed: Box<dyn Conn + Send + Sync>,
    pub(super) address: SocketAddr,
    pub(super) notes: Arc<Notes>,
}

impl Caller {
    pub(super) async fn allocate(
        target: &Target,
        login: &Login,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let mut family = Family::V4;
        let mut outcome = Self::attempt(target, login, family, patience).await;
        // Twice is enough for each reason.
        for _ in 0..2 {
            match &outcome {
                // The nonce ended between two requests; webrtc-rs's client gives up there.
                Err((_, notes)) if notes.is_stale_nonce() => {}
                // A relay of IPv6 alone.
                Err((_, notes)) if notes.is_wrong_family() && family == Family::V4 => {
                    family = Family::V6;
                }
                Ok(_) | Err(_) => break,
            }
            outcome = Self::attempt(target, login, family, patience).await;
        }
        outcome.map_err(|(failure, _)| failure)
    }

    async fn attempt(
        target: &Target,
        login: &Login,
        family: Family,
        patience: Duration,
    ) -> Result<Self, (Failure, Arc<Notes>)> {
        let notes = Arc::new(Notes::new(login.clone(), family));
        let failed = |failure| (failure, Arc::clone(&notes));
        let conn = connect(target, &notes, patience).await.map_err(failed)?;
        let server = target.route.first_hop().to_string();
        let client = Client::new(ClientConfig {
            stun_serv_addr: server.clone(),
            turn_serv_addr: server,
            username: login.username.clone(),
            password: login.password.as_str().to_owned(),
            // The client takes the one that the server asks for.
            realm: String::new(),
            software: String::new(),
            rto_in_ms: 0,
            conn,
            vnet: None,
        })
        .await
        .map_err(|error| failed(Failure::Local(error.to_string())))?;
        let relayed = async {
            client.listen().await.ok()?;
            tokio::select! {
                relayed = client.allocate() => relayed.ok(),
                () = notes.refused() => None,
            }
        };
        let relayed = timeout(patience, relayed).await.ok().flatten();
        let allocated = relayed.and_then(|relayed| Some((relayed.local_addr().ok()?, relayed)));
        let Some((address, relayed)) = allocated else {
            let failure = notes.failure(Clock::start().unix());
            notes.close();
            let _ = timeout(FAREWELL, client.close()).await;
            return Err((failure, notes));
        };
        let caller = Self {
            client,
            relayed: Box::new(relayed),
            address,
            notes,
        };
        if caller.notes.sealed() == Some(false) {
            let notes = Arc::clone(&caller.notes);
            caller.hang_up().await;
            return Err((Failure::Unproven, notes));
        }
        Ok(caller)
    }

    /// Why something did not work that was asked of this allocation.
    pub(super) fn failure(&self) -> Failure {
        self.notes.failure(Clock::start().unix())
    }

    /// Gives the allocation back. A relay that is gone has nothing to give back to.
    pub(super) async fn hang_up(self) {
        let farewell = async {
            let _ = self.relayed.close().await;
            self.notes.released().await;
        };
        let _ = timeout(FAREWELL, farewell).await;
        self.notes.close();
        let _ = timeout(FAREWELL, self.client.close()).await;
    }
}
