//! What the parties of a TURN relay agree on, as pure code: no sockets, no clocks, no threads, no logging.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod address;
pub mod credentials;
pub mod forward;
pub mod server;
pub mod status;
pub mod time;
pub mod uri;
pub mod wire;
