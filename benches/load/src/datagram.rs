//! UDP sockets of clients and peers: many datagrams a system call, one by one on the wire or, where a row asks for it, in trains.
//!
//! Responsible for batches in both directions and for cutting trains apart. Not responsible for what a datagram means, and,
//! like the whole generator, without any code of the relay's: a mistake there must not be repeated here.

use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, recvmsg, setsockopt,
    sockopt,
};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Largest datagram that we send or expect.
pub(crate) const DATAGRAM_MAX: usize = 2048;
/// Datagrams in one system call, at most.
pub(crate) const BATCH: usize = 64;
/// From one buffer of a batch to the next: an odd number of cache lines, so that their first lines do not evict one another.
const STRIDE: usize = DATAGRAM_MAX + 64;
/// What a receive call needs to fill whole batches; also room for a train of the greatest length.
pub(crate) const SCRATCH: usize = BATCH * STRIDE;
/// Datagrams in one train: what every kernel that knows trains takes.
const TRAIN_MAX: usize = 64;
const TRAIN_BYTES: usize = 65_000;
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;

/// Messages composed for one send, one behind the other in memory that is used again.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Burst {
    /// Forgets the messages, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.starts.clear();
    }

    /// Begins one more message: what is appended from here on is its content.
    pub(crate) fn next_frame(&mut self) -> &mut Vec<u8> {
        self.starts.push(self.bytes.len());
        &mut self.bytes
    }

    /// Messages in it.
    pub(crate) const fn len(&self) -> usize {
        self.starts.len()
    }

    /// The messages, in order.
    pub(crate) fn frames(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.starts.len()).map(|at| {
            let end = self.starts.get(at + 1).copied();
            &self.bytes[self.starts[at]..end.unwrap_or(self.bytes.len())]
        })
    }
}

/// A non-blocking UDP socket.
#[derive(Debug)]
pub(crate) struct Datagrams {
    socket: UdpSocket,
    /// Length of each datagram of the trains that leave; `None`: no trains, in either direction.
    train: Option<usize>,
}

thread_local! {
    /// Headers of a batch, used again by every socket of the thread.
    static HEADERS: RefCell<MultiHeaders<SockaddrStorage>> =
        RefCell::new(MultiHeaders::preallocate(BATCH, None));
}

impl Datagrams {
    /// Binds a socket whose receive buffer takes a whole window.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        // The kernel cuts this to net.core.rmem_max; a smaller buffer only shows as loss.
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        Ok(Self {
            socket,
            train: None,
        })
    }

    /// Sends to and hears from this address alone.
    pub(crate) fn connect(&self, to: SocketAddr) -> io::Result<()> {
        self.socket.connect(to)
    }

    /// Where it is bound.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// From now on bursts leave as trains of datagrams of this length, and trains are taken as they come (GSO and GRO).
    /// `None` ends both.
    pub(crate) fn use_trains(&mut self, datagram_len: Option<usize>) -> io::Result<()> {
        let segment = i32::try_from(datagram_len.unwrap_or(0)).unwrap_or(0);
        setsockopt(&self.socket, sockopt::UdpGsoSegment, &segment)?;
        setsockopt(
            &self.socket,
            sockopt::UdpGroSegment,
            &datagram_len.is_some(),
        )?;
        self.train = datagram_len;
        Ok(())
    }

    /// Sends the messages, to `to` or to where the socket is connected. Returns how many left: fewer than asked for when the
    /// socket is full or refuses.
    pub(crate) fn send(&self, to: Option<&SocketAddrAny>, burst: &Burst) -> io::Result<usize> {
        match self.train {
            Some(datagram_len) => self.send_trains(to, burst, datagram_len),
            None => self.send_singly(to, burst),
        }
    }

    fn send_singly(&self, to: Option<&SocketAddrAny>, burst: &Burst) -> io::Result<usize> {
        let slices: Vec<[IoSlice<'_>; 1]> =
            burst.frames().map(|frame| [IoSlice::new(frame)]).collect();
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = slices
            .iter()
            .map(|_| SendAncillaryBuffer::default())
            .collect();
        let mut messages: Vec<MMsgHdr<'_>> = slices
            .iter()
            .zip(&mut controls)
            .map(|(slice, control)| match to {
                Some(to) => MMsgHdr::new_with_addr(to, slice, control),
                None => MMsgHdr::new(slice, control),
            })
            .collect();
        match sendmmsg(&self.socket, &mut messages, SendFlags::DONTWAIT) {
            Ok(sent) => Ok(sent),
            Err(error) => passing(error.into()),
        }
    }

    fn send_trains(
        &self,
        to: Option<&SocketAddrAny>,
        burst: &Burst,
        datagram_len: usize,
    ) -> io::Result<usize> {
        let longest = (TRAIN_BYTES / datagram_len.max(1)).clamp(1, TRAIN_MAX) * datagram_len;
        let mut sent = 0;
        for train in burst.bytes.chunks(longest) {
            let outcome = match to {
                Some(to) => rustix::net::sendto(&self.socket, train, SendFlags::DONTWAIT, to),
                None => rustix::net::send(&self.socket, train, SendFlags::DONTWAIT),
            };
            if let Err(error) = outcome {
                passing(error.into())?;
                break;
            }
            sent += train.len().div_ceil(datagram_len);
        }
        Ok(sent)
    }

    /// Gives up to about `limit` received datagrams, with who sent them, to `on_datagram`; returns as soon as nothing more is
    /// waiting. `scratch` holds them meanwhile: [`SCRATCH`] bytes for whole batches, at least [`DATAGRAM_MAX`].
    pub(crate) fn receive(
        &self,
        limit: usize,
        scratch: &mut [u8],
        on_datagram: impl FnMut(&[u8], Option<SocketAddr>),
    ) -> io::Result<()> {
        let outcome = match self.train {
            Some(_) => self.receive_trains(limit, scratch, on_datagram),
            None if scratch.len() < 2 * STRIDE => self.receive_singly(limit, scratch, on_datagram),
            None => self.receive_batch(limit, scratch, on_datagram),
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(error) => passing(error).map(drop),
        }
    }

    fn receive_singly(
        &self,
        limit: usize,
        scratch: &mut [u8],
        mut on_datagram: impl FnMut(&[u8], Option<SocketAddr>),
    ) -> io::Result<()> {
        for _ in 0..limit {
            let (len, from) = self.socket.recv_from(scratch)?;
            on_datagram(&scratch[..len], Some(from));
        }
        Ok(())
    }

    fn receive_batch(
        &self,
        limit: usize,
        scratch: &mut [u8],
        mut on_datagram: impl FnMut(&[u8], Option<SocketAddr>),
    ) -> io::Result<()> {
        HEADERS.with_borrow_mut(|headers| {
            let mut rooms = scratch.chunks_exact_mut(STRIDE);
            let mut buffers: [[IoSliceMut<'_>; 1]; BATCH] =
                std::array::from_fn(|_| [IoSliceMut::new(rooms.next().unwrap_or_default())]);
            let batch = limit.clamp(1, BATCH).min(scratch_rooms(&buffers));
            let received = recvmmsg(
                self.socket.as_raw_fd(),
                headers,
                &mut buffers[..batch],
                MsgFlags::MSG_DONTWAIT,
                None,
            )?;
            for message in received {
                on_datagram(
                    message.iovs().next().unwrap_or_default(),
                    message.address.as_ref().and_then(socket_addr),
                );
            }
            Ok(())
        })
    }

    fn receive_trains(
        &self,
        limit: usize,
        scratch: &mut [u8],
        mut on_datagram: impl FnMut(&[u8], Option<SocketAddr>),
    ) -> io::Result<()> {
        let mut control = cmsg_space!(i32);
        let mut count = 0;
        while count < limit {
            let mut buffers = [IoSliceMut::new(scratch)];
            let message = recvmsg::<SockaddrStorage>(
                self.socket.as_raw_fd(),
                &mut buffers,
                Some(&mut control),
                MsgFlags::MSG_DONTWAIT,
            )?;
            let segment = message.cmsgs()?.find_map(|control| {
                if let ControlMessageOwned::UdpGroSegments(len) = control {
                    usize::try_from(len).ok()
                } else {
                    None
                }
            });
            let from = message.address.as_ref().and_then(socket_addr);
            let len = message.bytes;
            for datagram in cut_train(&scratch[..len], segment) {
                on_datagram(datagram, from);
                count += 1;
            }
        }
        Ok(())
    }
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Errors that a flood lives with: a full or empty socket, and the echo of an earlier datagram that nobody took.
pub(crate) fn passing(error: io::Error) -> io::Result<usize> {
    let passes = matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionRefused
    ) || error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error());
    if passes { Ok(0) } else { Err(error) }
}

/// How many of the buffers have memory.
fn scratch_rooms(buffers: &[[IoSliceMut<'_>; 1]]) -> usize {
    buffers.partition_point(|[buffer]| !buffer.is_empty())
}

fn socket_addr(storage: &SockaddrStorage) -> Option<SocketAddr> {
    match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
        (Some(four), _) => Some(SocketAddr::new(four.ip().into(), four.port())),
        (None, Some(six)) => Some(SocketAddr::new(six.ip().into(), six.port())),
        (None, None) => None,
    }
}

/// The datagrams of a buffer that the kernel says it joined from pieces of `segment` bytes, the last of which may be shorter.
/// What was not joined is one datagram, however long.
fn cut_train(bytes: &[u8], segment: Option<usize>) -> impl Iterator<Item = &[u8]> {
    let segment = segment.unwrap_or(0);
    let (whole, pieces) = if segment == 0 {
        (Some(bytes), &[][..])
    } else {
        (None, bytes)
    };
    whole.into_iter().chain(pieces.chunks(segment.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_train_is_cut_where_it_was_joined() {
        let cut = |bytes, segment| -> Vec<Vec<u8>> {
            cut_train(bytes, segment).map(<[u8]>::to_vec).collect()
        };
        assert_eq!(
            cut(b"aaaabbbbcc", Some(4)),
            [b"aaaa".to_vec(), b"bbbb".to_vec(), b"cc".to_vec()]
        );
        assert_eq!(
            cut(b"aaaabbbb", Some(4)),
            [b"aaaa".to_vec(), b"bbbb".to_vec()]
        );
        assert_eq!(cut(b"aa", Some(4)), [b"aa".to_vec()]);
        assert_eq!(cut(b"aaaabbbb", None), [b"aaaabbbb".to_vec()]);
        assert_eq!(cut(b"", None), [b"".to_vec()]);
    }

    #[test]
    fn frames_of_a_burst_are_what_was_appended_to_each() {
        let mut burst = Burst::default();
        burst.next_frame().extend_from_slice(b"one");
        burst.next_frame();
        burst.next_frame().extend_from_slice(b"three");
        let frames: Vec<&[u8]> = burst.frames().collect();
        assert_eq!(frames, [&b"one"[..], b"", b"three"]);
        burst.clear();
        assert_eq!((burst.len(), burst.frames().count()), (0, 0));
    }

    fn pair() -> (Datagrams, Datagrams) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (from, to) = (
            Datagrams::bind(any).expect("loopback"),
            Datagrams::bind(any).expect("loopback"),
        );
        from.connect(to.local_addr().expect("bound"))
            .expect("loopback");
        (from, to)
    }

    fn hear(socket: &Datagrams, count: usize, from: &Datagrams) -> Vec<Vec<u8>> {
        let mut heard = Vec::new();
        let mut scratch = vec![0; SCRATCH];
        let from = from.local_addr().ok();
        let deadline = Instant::now() + Duration::from_secs(20);
        while heard.len() < count && Instant::now() < deadline {
            socket
                .receive(BATCH, &mut scratch, |bytes, sender| {
                    assert_eq!(sender, from);
                    heard.push(bytes.to_vec());
                })
                .expect("a bound socket can be read");
        }
        heard
    }

    #[test]
    fn batches_arrive_whole_and_in_order_again_and_again() {
        let (from, to) = pair();
        for round in 0..3_u8 {
            let mut burst = Burst::default();
            for at in 0..40 {
                burst
                    .next_frame()
                    .extend_from_slice(&vec![at + round; 100 + usize::from(at)]);
            }
            assert_eq!(from.send(None, &burst).expect("room"), 40);
            let sent: Vec<Vec<u8>> = burst.frames().map(<[u8]>::to_vec).collect();
            assert_eq!(hear(&to, 40, &from), sent);
        }
    }

    #[test]
    fn trains_arrive_as_the_datagrams_that_were_joined() {
        let (mut from, mut to) = pair();
        from.use_trains(Some(300)).expect("known since Linux 4.18");
        to.use_trains(Some(300)).expect("known since Linux 5.0");
        let mut burst = Burst::default();
        for at in 0..100_u8 {
            burst.next_frame().extend_from_slice(&[at; 300]);
        }
        assert_eq!(from.send(None, &burst).expect("room"), 100);
        let sent: Vec<Vec<u8>> = burst.frames().map(<[u8]>::to_vec).collect();
        assert_eq!(hear(&to, 100, &from), sent);
    }
}
