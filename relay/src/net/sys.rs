//! System calls on sockets, each behind a function that checks what can be checked.
//!
//! Responsible for pointers, lengths and errno. Not responsible for what is received or sent, nor for retrying.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use super::{
    address::RawAddr,
    buffer::{Free, Slot},
    cmsg::{self, ExtendedError, SEND_CAPACITY},
};

/// `struct mmsghdr` that may move between threads.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Header(libc::mmsghdr);

// SAFETY: the pointers inside are never read by this program; every system call is preceded by writing all of them anew.
unsafe impl Send for Header {}
// SAFETY: as above; a shared `Header` offers no access to its pointers.
unsafe impl Sync for Header {}

/// `struct iovec` that may move between threads.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Vector(libc::iovec);

// SAFETY: the pointer inside is never read by this program; every system call is preceded by writing it anew.
unsafe impl Send for Vector {}
// SAFETY: as above; a shared `Vector` offers no access to its pointer.
unsafe impl Sync for Vector {}

impl Vector {
    const NOWHERE: Self = Self(libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    });

    /// Bytes for the kernel to read.
    pub(super) const fn reading(bytes: &[u8]) -> Self {
        Self(libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        })
    }

    const fn writing(bytes: &mut [u8]) -> Self {
        Self(libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        })
    }
}

/// Never wait for room, never be killed by a closed pipe.
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Control messages of one transmit.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Control {
    pub(super) bytes: [u8; SEND_CAPACITY],
    pub(super) len: usize,
}

impl Header {
    const EMPTY: Self = Self::new(ptr::null_mut(), 0, &[], ptr::null_mut(), 0);

    const fn new(
        name: *mut u8,
        name_len: usize,
        vectors: &[Vector],
        control: *mut u8,
        control_len: usize,
    ) -> Self {
        // SAFETY: `mmsghdr` is integers and pointers, for which all zeroes is a value; some C libraries add private padding
        // fields, so that it cannot be written as a literal.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_name = name.cast();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most the 28 bytes of a sockaddr_in6"
        )]
        {
            header.msg_hdr.msg_namelen = name_len as libc::socklen_t;
        }
        header.msg_hdr.msg_iov = vectors.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_iovlen = vectors.len() as _;
        header.msg_hdr.msg_control = if control_len == 0 {
            ptr::null_mut()
        } else {
            control.cast()
        };
        header.msg_hdr.msg_controllen = control_len as _;
        Self(header)
    }

    /// A message to send.
    pub(super) const fn outgoing(to: &RawAddr, vectors: &[Vector], control: &Control) -> Self {
        Self::new(
            to.as_ptr().cast_mut(),
            to.len(),
            vectors,
            control.bytes.as_ptr().cast_mut(),
            control.len,
        )
    }
}

/// Headers and vectors for one `recvmmsg`, kept so that it allocates nothing.
pub(super) struct ReceiveScratch {
    headers: Vec<Header>,
    vectors: Vec<Vector>,
}

impl std::fmt::Debug for ReceiveScratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveScratch")
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

impl ReceiveScratch {
    pub(super) fn new(buffers: usize) -> Self {
        Self {
            headers: vec![Header::EMPTY; buffers],
            vectors: vec![Vector::NOWHERE; buffers],
        }
    }
}

/// Receives at most one datagram (or train) into each free buffer; returns how many were filled.
pub(super) fn receive_many(fd: BorrowedFd<'_>, free: Free<'_>) -> io::Result<usize> {
    let count = free.slots.len().min(free.scratch.headers.len());
    let buffers = free
        .memory
        .chunks_exact_mut(free.stride)
        .zip(free.slots.iter_mut());
    let scratch = free
        .scratch
        .headers
        .iter_mut()
        .zip(free.scratch.vectors.iter_mut());
    for ((chunk, slot), (header, vector)) in buffers.zip(scratch) {
        *vector = Vector::writing(&mut chunk[..free.capacity]);
        *header = Header::new(
            slot.name.as_mut_ptr(),
            RawAddr::CAPACITY,
            std::slice::from_ref(vector),
            slot.control.as_mut_ptr(),
            slot.control.len(),
        );
    }
    let headers = &mut free.scratch.headers[..count];
    if let ([header], [slot, ..]) = (&mut *headers, &mut *free.slots) {
        // SAFETY: `header` was written above, and its pointers lead to memory that `free` borrows mutably until this function
        // returns: the vector to its chunk, name and control to their slot, with their true sizes.
        let received = unsafe {
            libc::recvmsg(
                fd.as_raw_fd(),
                &raw mut header.0.msg_hdr,
                libc::MSG_DONTWAIT,
            )
        };
        header.0.msg_len =
            libc::c_uint::try_from(received).map_err(|_| io::Error::last_os_error())?;
        slot.take_over(header);
        return Ok(1);
    }
    // The count is at most the batch's number of buffers, far below the kernel's limit of 1024.
    let vlen = libc::c_uint::try_from(count).unwrap_or(libc::c_uint::MAX);
    // SAFETY: `headers` holds `vlen` headers, all written above, whose pointers lead to memory that `free` borrows mutably
    // until this function returns: each vector to its own chunk (at most `capacity` <= `stride` bytes of it), each name and
    // control to its own slot with its true size. Null is allowed for the timeout.
    let received = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            vlen,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for (header, slot) in headers.iter().zip(free.slots).take(received) {
        slot.take_over(header);
    }
    Ok(received)
}

impl Slot {
    /// What the kernel has written into the header that led here.
    fn take_over(&mut self, Header(header): &Header) {
        self.len = header.msg_len as usize;
        // An integer of another width in other C libraries, hence the cast to whatever is needed.
        self.control_len = header.msg_hdr.msg_controllen as _;
        self.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        self.uncertain = header.msg_hdr.msg_flags & libc::MSG_CTRUNC != 0;
    }
}

/// Sends messages in order until one fails; returns how many were sent, or the error of the first.
///
/// # Safety
///
/// Every header must have been made by [`Header::outgoing`] from an address, vectors and control messages that are still
/// borrowed or owned, unmoved, by the caller; and the vectors from slices for which the same holds.
pub(super) unsafe fn send_many(fd: BorrowedFd<'_>, headers: &mut [Header]) -> io::Result<usize> {
    if let [header] = headers {
        // SAFETY: the caller vouches for the header.
        return unsafe { send_alone(fd, header) };
    }
    let vlen = libc::c_uint::try_from(headers.len()).unwrap_or(libc::c_uint::MAX);
    // SAFETY: `headers` holds `vlen` headers, and the kernel writes only their `msg_len`; the caller vouches for what their
    // pointers lead to, all of which the kernel only reads.
    let sent = unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            vlen,
            SEND_FLAGS as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// [`send_many`] for a single message, by the call that costs the kernel least: where a flow seldom has two packets at a
/// time, the difference is a twentieth of all that a packet costs.
///
/// # Safety
///
/// As of [`send_many`].
unsafe fn send_alone(fd: BorrowedFd<'_>, header: &Header) -> io::Result<usize> {
    let message = &header.0.msg_hdr;
    let sent = if message.msg_iovlen == 1 && message.msg_controllen == 0 {
        // SAFETY: the header has one vector, and the caller vouches for it.
        let vector = unsafe { *message.msg_iov };
        // SAFETY: the caller vouches for what the vector and the name lead to; the kernel only reads both.
        unsafe {
            libc::sendto(
                fd.as_raw_fd(),
                vector.iov_base,
                vector.iov_len,
                SEND_FLAGS,
                message.msg_name.cast(),
                message.msg_namelen,
            )
        }
    } else {
        // SAFETY: the caller vouches for what the header's pointers lead to, all of which the kernel only reads.
        unsafe { libc::sendmsg(fd.as_raw_fd(), message, SEND_FLAGS) }
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(1)
}

/// Sends one message.
pub(super) fn send_one(
    fd: BorrowedFd<'_>,
    to: &RawAddr,
    parts: &[&[u8]],
    control: &Control,
) -> io::Result<()> {
    let mut vectors = [Vector::NOWHERE; 4];
    if parts.len() > vectors.len() {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    for (vector, part) in vectors.iter_mut().zip(parts) {
        *vector = Vector::reading(part);
    }
    let mut header = Header::outgoing(to, &vectors[..parts.len()], control);
    // SAFETY: the header was made just above from `to`, `vectors` and `control`, and the vectors from `parts`; all of them live
    // until this function returns, and none is moved.
    unsafe { send_many(fd, std::slice::from_mut(&mut header)) }.map(|_| ())
}

/// Takes one entry off the error queue: the destination of the datagram that met the error, and the error.
pub(super) fn receive_error(fd: BorrowedFd<'_>) -> io::Result<(RawAddr, Option<ExtendedError>)> {
    #[repr(C, align(8))]
    struct ErrorControl([u8; cmsg::ERROR_CAPACITY]);
    let mut control = ErrorControl([0; cmsg::ERROR_CAPACITY]);
    let mut name = RawAddr::unspecified();
    let mut header = Header::new(
        name.as_mut_ptr(),
        RawAddr::CAPACITY,
        &[],
        control.0.as_mut_ptr(),
        cmsg::ERROR_CAPACITY,
    );
    // SAFETY: the header's pointers lead to `name` and `control`, which live until this function returns, with their true
    // sizes; it has no vectors, so the datagram's own bytes are written nowhere.
    let received = unsafe {
        libc::recvmsg(
            fd.as_raw_fd(),
            &raw mut header.0.msg_hdr,
            libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
        )
    };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    let control_len: usize = header.0.msg_hdr.msg_controllen as _;
    Ok((
        name,
        cmsg::parse_error(control.0.get(..control_len).unwrap_or_default()),
    ))
}

/// Sets a socket option that takes an int.
pub(super) fn set_int(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    const LEN: libc::socklen_t = 4;
    const _: () = assert!(
        size_of::<i32>() == LEN as usize,
        "an int of the kernel's is an i32"
    );
    // SAFETY: the pointer leads to `value`, a parameter of this function, which is `LEN` bytes long.
    let outcome =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), LEN) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets a socket option that takes bytes.
#[cfg(test)]
pub(super) fn set_bytes(fd: &impl AsRawFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).unwrap_or(0);
    // SAFETY: the pointer leads to `value`, which is `len` bytes long (or longer), and the kernel only reads it.
    let outcome =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), len) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// One instruction of a classic BPF program.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(super) struct Instruction(libc::sock_filter);

impl Instruction {
    /// Operation, constant, and how many instructions a condition passes over when it holds and when it does not.
    pub(super) const fn new(code: u16, k: u32, holds: u8, fails: u8) -> Self {
        Self(libc::sock_filter {
            code,
            jt: holds,
            jf: fails,
            k,
        })
    }
}

/// Makes a program choose among the sockets that share this one's port (`SO_ATTACH_REUSEPORT_CBPF`). The kernel copies it,
/// and refuses one that could loop or leave its memory.
pub(super) fn attach_group_program(
    fd: BorrowedFd<'_>,
    instructions: &[Instruction],
) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len())
            .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?,
        filter: instructions.as_ptr().cast_mut().cast(),
    };
    let len = libc::socklen_t::try_from(size_of_val(&program)).unwrap_or(0);
    // SAFETY: the pointer leads to `program`, which is `len` bytes long, and the one inside to `program.len` instructions that
    // are borrowed until this function returns and have the layout of `sock_filter`; the kernel only reads both.
    let outcome = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            len,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Reads a socket option made of 32-bit words; words that the kernel does not write stay 0.
pub(super) fn words<const N: usize>(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
) -> io::Result<[u32; N]> {
    let mut words = [0_u32; N];
    let mut len = libc::socklen_t::try_from(size_of_val(&words)).unwrap_or(0);
    // SAFETY: the kernel writes at most `len` bytes to `words`, and `len` is its size (or 0).
    let outcome = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            words.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if outcome == 0 {
        Ok(words)
    } else {
        Err(io::Error::last_os_error())
    }
}
