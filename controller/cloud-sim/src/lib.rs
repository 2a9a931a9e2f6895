//! Stand-ins for the cloud's APIs in tests, on loopback: an Auto Scaling group that speaks the query protocol
//! ([`Group`]), and a bucket with conditional writes ([`Bucket`]).
//!
//! Responsible for behaving as the service is documented to behave where the controller's safety depends on it: bounds, zones,
//! boot times, hooks, tokens, lists in pages, and everything that goes wrong on the way ([`Fault`]). Not responsible for
//! being complete, and no part of the product.
//!
//! Time stands still unless [`Server::advance`] moves it, or the server was started with a pace.
#![forbid(unsafe_code)]

mod answers;
mod bucket;
mod group;
mod http;
mod life;
mod query;
mod server;

pub use bucket::Bucket;
pub use group::{Change, Group, Hook, Machine, Mixed, State, Zone};
pub use http::{Fault, Recorded, Trouble};
pub use server::{Cloud, Pace, Server};
