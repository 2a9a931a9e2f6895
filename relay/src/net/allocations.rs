//! Counts heap allocations of the calling thread, for tests of what must not allocate.
//!
//! Responsible for the counting allocator of this crate's unit tests. Not compiled into anything else.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Runs `work` and returns how often it allocated or reallocated on this thread.
pub(crate) fn count(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting touches a thread-local without a destructor, which never
// allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promises are passed on, and `memory` came from the same allocator.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on, and `memory` came from the same allocator.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::count;
    use crate::net::{Destination, Lane, ReceiveBatch, SendBatch, UdpOptions, UdpSocket};

    #[test]
    fn the_counter_counts() {
        assert_eq!(
            count(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(10)))),
            1
        );
        assert_eq!(count(|| {}), 0);
    }

    /// One round of a relay's work: 64 framed datagrams in, unframed by four sockets, framed again by one.
    fn round(sockets: &[UdpSocket], batch: &mut ReceiveBatch, send: &mut SendBatch) -> u64 {
        let [client, listener, peer, relays @ ..] = sockets else {
            return 0;
        };
        let to_listener = Destination::new(listener.local_addr());
        for number in 0..64_u8 {
            send.push_copy(
                Lane(0),
                &to_listener,
                &[&[0x40, number / 16, 0, 100], &[number; 100]],
            );
        }
        send.flush(batch, |_| Some(client));
        let filled = listener
            .receive(batch, usize::MAX)
            .expect("loopback receives");
        for datagram in batch.datagrams(filled) {
            let to = Destination {
                traffic_class: 0xB8,
                ..Destination::new(peer.local_addr())
            };
            let part = datagram
                .part(4..datagram.bytes.len())
                .expect("longer than its header");
            send.push(Lane(u32::from(datagram.bytes[1])), &to, &[], part, 0);
        }
        let out = send.flush(batch, |lane| relays.get(lane.0 as usize));
        batch.clear();
        let filled = peer.receive(batch, usize::MAX).expect("loopback receives");
        for datagram in batch.datagrams(filled) {
            let to = Destination {
                source: Some(listener.local_addr().ip()),
                ..Destination::new(client.local_addr())
            };
            send.push(Lane(77), &to, &[0; 36], datagram.payload(), 3);
        }
        let back = send.flush(batch, |_| Some(listener));
        batch.clear();
        client
            .receive(batch, usize::MAX)
            .expect("loopback receives");
        batch.clear();
        assert_eq!(out.failures().count() + back.failures().count(), 0);
        out.datagrams.min(back.datagrams)
    }

    #[test]
    fn forwarding_allocates_nothing_once_warm() {
        let options = [UdpOptions::listener(), UdpOptions::relayed()];
        let sockets: Vec<UdpSocket> = (0..7)
            .map(|number| {
                let options = &options[usize::from(number != 1)];
                UdpSocket::bind("127.0.0.1:0".parse().expect("an address"), options)
                    .expect("loopback binds")
            })
            .collect();
        let (mut batch, mut send) = (ReceiveBatch::new(), SendBatch::new());
        for _ in 0..3 {
            assert_eq!(round(&sockets, &mut batch, &mut send), 64);
        }
        let mut relayed = 0;
        let allocations = count(|| {
            for _ in 0..100 {
                relayed += round(&sockets, &mut batch, &mut send);
            }
        });
        assert_eq!((relayed, allocations), (6400, 0));
    }
}
