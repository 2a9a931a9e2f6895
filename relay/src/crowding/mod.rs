//! Flows that crowd others out: found while a queue overflows, set apart, and taken back.
//!
//! All media that clients send to one worker over UDP wait in one queue of the kernel's, which drops in the order of
//! arrival. So one client that sends several times what the worker can carry would take its neighbours' calls down with its
//! own. It gets a queue of its own kind instead, from which only so much is read as the others leave.
//!
//! ```text
//!  queue overflows -- Watch (each worker) --> Crowders --> List (each address) --> net::Steering
//!                       |                                    |
//!                     Sketch: who sends most               who is set apart, and until when
//! ```
//!
//! Responsible for the decision: who, and for how long. Pure code. Not responsible for sockets and the kernel's program
//! (`net::steering`), nor for how much is read of which queue (`worker`).

mod list;
mod sketch;
mod watch;

pub(crate) use list::{Change, List};
pub(crate) use sketch::Sketch;
pub(crate) use watch::Watch;
