//! What a network card's driver counts by itself, under names of its own: the figures of `ethtool --statistics`.
//!
//! Responsible for asking, within a bounded piece of memory. Not responsible for what any of the names means.

use std::{
    ffi::CStr,
    io, mem,
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd,
    ptr::{self, NonNull},
};

/// Commands of `linux/ethtool.h`.
const GET_STRINGS: u32 = 0x1b;
const GET_STATISTICS: u32 = 0x1d;
const GET_SET_SIZE: u32 = 0x37;
/// The set of names that belongs to the statistics.
const STATISTICS: u32 = 1;
/// A name is padded with zeroes to this many bytes.
const NAME_BYTES: usize = 32;
/// Room for the names of the most talkative card: 16 thousand of them.
const ROOM_BYTES: usize = 512 * 1024;

/// The names of what the card of `interface` counts, in the order of [`card_counters`]; none when it counts nothing.
///
/// # Errors
///
/// When there is no such interface, or its driver cannot be asked.
pub fn card_counter_names(interface: &str) -> io::Result<Vec<String>> {
    let mut room = Room::new()?;
    // struct ethtool_sset_info: command, reserved, a mask of sets (64 bits), then the size of each set.
    room.write(0, GET_SET_SIZE);
    room.write(8, 1 << STATISTICS);
    ask(interface, &room)?;
    let count = room.read_u32(16);
    if count == 0 {
        return Ok(Vec::new());
    }
    // struct ethtool_gstrings: command, set, count, then the names.
    let mut room = Room::new()?;
    room.write(0, GET_STRINGS);
    room.write(4, STATISTICS);
    room.write(8, count);
    ask(interface, &room)?;
    let count = room.read_u32(8) as usize;
    let names = room.bytes().get(12..).unwrap_or_default();
    Ok(names
        .chunks_exact(NAME_BYTES)
        .take(count)
        .map(name)
        .collect())
}

/// What the card of `interface` has counted since its driver started, in the order of [`card_counter_names`].
///
/// # Errors
///
/// As there.
pub fn card_counters(interface: &str) -> io::Result<Vec<u64>> {
    // struct ethtool_stats: command, count, then the values.
    let mut room = Room::new()?;
    room.write(0, GET_STATISTICS);
    ask(interface, &room)?;
    let count = room.read_u32(4) as usize;
    let values = room.bytes().get(8..).unwrap_or_default();
    let values = values.as_chunks::<8>().0.iter().take(count);
    Ok(values.map(|value| u64::from_ne_bytes(*value)).collect())
}

/// The text before the first zero.
fn name(padded: &[u8]) -> String {
    let text = CStr::from_bytes_until_nul(padded).map_or(padded, CStr::to_bytes);
    String::from_utf8_lossy(text).into_owned()
}

/// Carries out the command in `room`, into which the driver writes its answer.
fn ask(interface: &str, room: &Room) -> io::Result<()> {
    // Any socket will do, as the request names the interface.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    // SAFETY: an `ifreq` is bytes and a union of integers and pointers, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    let longest = request.ifr_name.len() - 1;
    if interface.len() > longest || interface.contains('\0') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no name of an interface",
        ));
    }
    for (slot, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_data = room.start.as_ptr().cast();
    // SAFETY: the kernel reads `request`, which lives here, and reads and writes where it points to: the start of a room
    // that is mapped for reading and writing and that nobody else knows. How much it writes is up to the driver, whose
    // number of statistics may have grown since it was asked; at the end of the room it meets a page that may not be
    // written, gives up there and returns an error.
    let outcome =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Memory for a command and its answer, zeroed, with a page behind it that cannot be written.
struct Room {
    start: NonNull<u8>,
    mapped: usize,
}

impl Room {
    fn new() -> io::Result<Self> {
        let guard = rustix::param::page_size();
        let mapped = ROOM_BYTES + guard;
        // SAFETY: asks for new memory at an address that the kernel picks; nothing that exists is replaced.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let room = Self { start, mapped };
        // SAFETY: within the mapping, which is `ROOM_BYTES` and one page long.
        let end = unsafe { start.as_ptr().add(ROOM_BYTES) };
        // SAFETY: `end` is the start of the mapping's last page, as `ROOM_BYTES` is a multiple of every page size up to
        // 512 KiB; nothing refers to it.
        let outcome = unsafe { libc::mprotect(end.cast(), guard, libc::PROT_NONE) };
        if outcome == 0 {
            Ok(room)
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is at least this long, readable and initialised with zeroes or by the kernel, and lives as
        // long as `self`; only `write`, which borrows `self` mutably, and the kernel during `ask` change it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), ROOM_BYTES) }
    }

    fn write(&mut self, offset: usize, value: u32) {
        // SAFETY: as in `bytes`, and writable; the borrow of `self` is exclusive.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), ROOM_BYTES) };
        if let Some(field) = bytes.get_mut(offset..offset + 4) {
            field.copy_from_slice(&value.to_ne_bytes());
        }
    }

    fn read_u32(&self, offset: usize) -> u32 {
        let field = self.bytes().get(offset..).and_then(<[u8]>::first_chunk);
        field.copied().map_or(0, u32::from_ne_bytes)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this length and is given back once, here.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.mapped) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::interfaces;

    #[test]
    fn every_card_has_as_many_names_as_values() {
        for interface in interfaces().expect("every system lists its interfaces") {
            // Loopback and others have no driver that counts, and say so by an error or by counting nothing.
            let Ok(names) = card_counter_names(&interface.name) else {
                continue;
            };
            if names.is_empty() {
                continue;
            }
            let values = card_counters(&interface.name).expect("it has just told the names");
            assert_eq!(names.len(), values.len(), "{}", interface.name);
            assert!(
                names
                    .iter()
                    .all(|name| !name.is_empty() && name.len() <= NAME_BYTES)
            );
        }
    }

    #[test]
    fn loopback_counts_nothing() {
        assert!(card_counter_names("lo").is_ok_and(|names| names.is_empty()));
    }

    #[test]
    fn what_is_no_interface_is_an_error() {
        for wrong in ["", "no-such-card0", "a-name-of-more-than-15-bytes", "l\0o"] {
            assert!(card_counter_names(wrong).is_err(), "{wrong:?}");
            assert!(card_counters(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_name_ends_at_its_first_zero() {
        let mut padded = [0; NAME_BYTES];
        padded[..3].copy_from_slice(b"pps");
        assert_eq!(name(&padded), "pps");
        assert_eq!(name(&[b'x'; NAME_BYTES]), "x".repeat(NAME_BYTES));
    }

    #[test]
    fn a_room_holds_what_is_written_and_nothing_beyond_it() {
        let mut room = Room::new().expect("half a megabyte");
        room.write(ROOM_BYTES - 4, 7);
        assert_eq!(room.read_u32(ROOM_BYTES - 4), 7);
        room.write(ROOM_BYTES - 3, 9);
        assert_eq!(room.read_u32(ROOM_BYTES - 4), 7, "no part of a field");
        assert_eq!(room.read_u32(ROOM_BYTES), 0);
    }
}
