//! Waiting for many sockets at once, and being woken by another thread.
//!
//! Responsible for `epoll` and `eventfd`. Not responsible for what is read or written when a socket is ready.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

/// What is waited for on a socket. Errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Errors and hang-ups alone.
    None,
    /// Something to read.
    Read,
    /// Room to write.
    Write,
    /// Either.
    ReadWrite,
}

impl Interest {
    const fn mask(self) -> i32 {
        match self {
            Self::None => 0,
            Self::Read => libc::EPOLLIN | libc::EPOLLRDHUP,
            Self::Write => libc::EPOLLOUT,
            Self::ReadWrite => libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLOUT,
        }
    }
}

/// A set of sockets to wait for. Level-triggered: what is not read is reported again.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// An empty set.
    ///
    /// # Errors
    ///
    /// When the system is out of descriptors or memory.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        Ok(Self { fd: own(fd)? })
    }

    /// Starts waiting for a socket, whose events carry `token`. The socket leaves the set when it is closed.
    ///
    /// # Errors
    ///
    /// When it is in the set already, or the limit of watches is reached.
    pub fn add(&self, socket: &impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket.as_fd(), token, interest)
    }

    /// Changes what is waited for, and the token.
    ///
    /// # Errors
    ///
    /// When the socket is not in the set.
    pub fn modify(&self, socket: &impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket.as_fd(), token, interest)
    }

    /// Stops waiting for a socket.
    ///
    /// # Errors
    ///
    /// When the socket is not in the set.
    pub fn delete(&self, socket: &impl AsFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, socket.as_fd(), 0, Interest::None)
    }

    /// Waits until a socket is ready or `timeout` has passed (`None`: for ever; rounded up to a millisecond), and replaces the
    /// contents of `events`. An interrupted wait ends without events.
    ///
    /// # Errors
    ///
    /// None that a correct program meets.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map_or(-1, |timeout| {
            // Rounded up: waking before the deadline would only mean waiting again.
            i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        events.ready = 0;
        let room = i32::try_from(events.list.len()).unwrap_or(i32::MAX);
        // SAFETY: `list` holds at least `room` events, and the kernel writes at most that many.
        let ready = unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), events.list.as_mut_ptr(), room, timeout)
        };
        match usize::try_from(ready) {
            Ok(ready) => events.ready = ready,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn control(
        &self,
        operation: i32,
        socket: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest.mask().cast_unsigned(),
            u64: token,
        };
        // SAFETY: the pointer leads to `event`, which lives until the call returns; the kernel only reads it.
        let outcome = unsafe {
            libc::epoll_ctl(
                self.fd.as_raw_fd(),
                operation,
                socket.as_raw_fd(),
                &raw mut event,
            )
        };
        if outcome == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// What one wait reported.
pub struct Events {
    list: Vec<libc::epoll_event>,
    ready: usize,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Events {
    /// Room for this many events (at least one) in a wait; the others are reported by the next.
    pub fn with_capacity(events: usize) -> Self {
        Self {
            list: vec![libc::epoll_event { events: 0, u64: 0 }; events.max(1)],
            ready: 0,
        }
    }

    /// The sockets that are ready.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.list.iter().take(self.ready).map(|event| {
            let mask = event.events.cast_signed();
            Event {
                token: event.u64,
                readable: mask & libc::EPOLLIN != 0,
                writable: mask & libc::EPOLLOUT != 0,
                error: mask & libc::EPOLLERR != 0,
                hangup: mask & (libc::EPOLLHUP | libc::EPOLLRDHUP) != 0,
            }
        })
    }

    /// Whether the last wait reported nothing.
    pub const fn is_empty(&self) -> bool {
        self.ready == 0
    }

    /// Whether more sockets may be ready than there was room for.
    pub fn is_full(&self) -> bool {
        self.ready == self.list.len()
    }
}

/// One ready socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What the socket was added with.
    pub token: u64,
    /// There is something to read.
    pub readable: bool,
    /// There is room to write.
    pub writable: bool,
    /// A pending error, or an entry in the error queue.
    pub error: bool,
    /// The other side has closed its direction, or both.
    pub hangup: bool,
}

/// Wakes a thread that waits in [`Epoll::wait`]. Share it by `Arc`.
#[derive(Debug)]
pub struct EventFd {
    file: File,
}

impl EventFd {
    /// One that has not been woken.
    ///
    /// # Errors
    ///
    /// When the system is out of descriptors or memory.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        Ok(Self {
            file: File::from(own(fd)?),
        })
    }

    /// Makes it readable. Waking it twice before it is cleared is as good as once.
    pub fn wake(&self) {
        // Fails only when it has been woken 2^64 - 2 times already, and then it is readable.
        let _ = (&self.file).write(&1_u64.to_ne_bytes());
    }

    /// Makes it unreadable until it is woken again. Clear it first, then look at what it announces.
    pub fn clear(&self) {
        // Fails only when it has not been woken.
        let _ = (&self.file).read(&mut [0; 8]);
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn own(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: called only with what the kernel just returned as a new descriptor, which nobody else has seen.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
