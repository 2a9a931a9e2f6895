//! `taciturn-load`: load for any TURN server (RFC 8656) and a side-by-side comparison of two.
//!
//! Every payload is marked, numbered and checksummed; what arrives is verified for content, flow, source and repetition before
//! it counts. The generator shares no code with the relay, so that a mistake in one is not repeated in the other.
//!
//! Not responsible for judging which server is better: it prints figures and how they were made.

#![forbid(unsafe_code)]

mod allocations;
mod ballast;
mod cli;
mod client;
mod compare;
mod credentials;
mod datagram;
mod flow;
mod histogram;
mod ledger;
mod link;
mod mint;
mod neighbours;
mod overload;
mod payload;
mod report;
mod server_use;
mod stun;
mod traffic;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(cli::Outcome::Sound) => ExitCode::SUCCESS,
        Ok(cli::Outcome::Unsound) => ExitCode::from(1),
        Err(error) => {
            eprintln!("taciturn-load: {error:#}");
            ExitCode::from(2)
        }
    }
}
