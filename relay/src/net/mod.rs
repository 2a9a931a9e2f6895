//! The kernel's sockets behind a safe face: batches of datagrams in, batches out, nothing copied between.
//!
//! Responsible for system calls on UDP sockets, for `epoll`, and for the buffers that the kernel reads and writes. The only
//! place in the project that may say `unsafe`. Not responsible for what the bytes mean, for which socket serves whom, for
//! TCP, or for any clock.
//!
//! # How a payload passes through
//!
//! ```text
//!   UdpSocket::receive                 ReceiveBatch (one a worker: 64 buffers of 64 KiB)
//!   one recvmmsg, GRO on  ------->   +--------------------------------------------------+
//!                                    | buffer 0   h aaaaaaaa h bbbbbbbb h cccc          |  a train: 3 datagrams
//!                                    | buffer 1   h dddddddd                            |  h: 4-byte ChannelData header
//!                                    +--------------------------------------------------+
//!                                        | Datagram { from, to, bytes }, one a segment
//!                                        v
//!                                    the caller decides: lane, destination, header, part of the bytes
//!                                        |
//!                                        v
//!   SendBatch   lane 7: [to P] -> [to P] -> [to P]       a Transmit is a header (copied, 0 to 48 bytes) and a
//!               lane 9: [to Q]                           Payload (offset + length + generation: no pointer, no copy)
//!                                        |
//!                                        v
//!   SendBatch::flush    lane 7: message { to P, UDP_SEGMENT 8, iovec: aaaaaaaa bbbbbbbb cccc }
//!   one sendmmsg a lane          lane 9: message { to Q, iovec: dddddddd }
//! ```
//!
//! Client to peer the header is left out by naming a part of the bytes; peer to client each datagram gets two iovecs, its
//! header and its payload. Nothing is ever written in front of a payload: in a train that place belongs to the
//! datagram before it.
//!
//! # Why no lifetimes
//!
//! A queue that borrowed the receive batch could not be kept from one round to the next without allocating anew. A
//! [`Payload`] is checked when it is flushed instead: bounds, and the generation of the batch, so that bytes which have been
//! received over can never be sent to somebody else. They are dropped and counted ([`SendFailure::Stale`]).

#![expect(
    unsafe_code,
    reason = "system calls take pointers; every other part of the project denies or forbids it"
)]

#[cfg(not(target_os = "linux"))]
compile_error!("the relay runs on Linux");

mod address;
#[cfg(test)]
pub(crate) mod allocations;
mod buffer;
mod card;
mod cmsg;
pub mod faults;
mod flush;
mod host;
mod inherited;
mod outcome;
mod poll;
mod steering;
mod sys;
#[cfg(test)]
mod tests;
mod transmit;
mod udp;

pub use self::{
    buffer::{Datagram, Datagrams, Payload, ReceiveBatch},
    card::{card_counter_names, card_counters},
    host::{FdLimit, Interface, interfaces, pin_to_core, primary_address, raise_fd_limit},
    inherited::{InheritedFd, inherited_fds},
    outcome::{SendFailure, SendOutcome},
    poll::{Epoll, Event, EventFd, Events, Interest},
    steering::{Steering, SteeringKey},
    transmit::{Destination, Lane, SendBatch},
    udp::{IcmpError, UdpOptions, UdpSocket},
};
