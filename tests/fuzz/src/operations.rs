//! A server, its forwarding table and its surroundings, one operation after another as the input says.
//!
//! Responsible for what must hold after each of them: every port is free, used or at rest; sockets are those that were asked
//! for; nothing is relayed without a permission that a client was granted and that lives, nor to whom none may be reached; what is
//! answered was asked. At the end all is given back. Not responsible for what an operation should do beyond that: the protocol's own
//! tests compare that with a reference.

mod world;

use crate::bytes::Bytes;
use world::World;

/// The most operations of one input.
const MOST: usize = 48;

/// Runs the operations of an input.
pub fn run(input: &[u8]) {
    let mut input = Bytes(input);
    let mut world = World::new(input.u8());
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.check();
    }
    world.end();
}
