//! Facts about this host, and what a process asks of it: interfaces, a core, descriptors.
//!
//! Responsible for reading and requesting. Not responsible for deciding what an address is used for.

use std::{
    ffi::CStr,
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    ptr,
};

use taciturn_protocol::address::Family;

use super::address;

/// One address of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The interface's name.
    pub name: String,
    /// The address.
    pub addr: IpAddr,
    /// Which bits of it name the network.
    pub netmask: Option<IpAddr>,
    /// The address that reaches every host of the network; IPv4 only.
    pub broadcast: Option<IpAddr>,
    /// Whether the interface is up.
    pub up: bool,
    /// Whether it leads nowhere but to this host.
    pub loopback: bool,
}

/// Every address of every interface, in the system's order.
///
/// # Errors
///
/// When the system cannot list them.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let list = List::read()?;
    let mut found = Vec::new();
    let mut cursor = list.head.cast_const();
    // SAFETY: `cursor` is null or an entry of the list, which is freed only when `list` goes, at the end of this function.
    while let Some(entry) = unsafe { cursor.as_ref() } {
        cursor = entry.ifa_next.cast_const();
        let Some(addr) = ip_at(entry.ifa_addr) else {
            continue;
        };
        // SAFETY: the system terminates the name of every entry, and it lives as long as the entry.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) };
        let flag = |flag: i32| entry.ifa_flags & flag.cast_unsigned() != 0;
        found.push(Interface {
            name: name.to_string_lossy().into_owned(),
            addr,
            netmask: ip_at(entry.ifa_netmask),
            // The same field holds the far end's address on a point-to-point link.
            broadcast: if flag(libc::IFF_BROADCAST) {
                ip_at(entry.ifa_ifu)
            } else {
                None
            },
            up: flag(libc::IFF_UP),
            loopback: flag(libc::IFF_LOOPBACK),
        });
    }
    Ok(found)
}

/// The address that this host would use to reach the internet; `None` without a route. Sends nothing.
pub fn primary_address(family: Family) -> Option<IpAddr> {
    // Connecting a UDP socket only makes the kernel choose a route and a source. The targets are documentation addresses
    // (RFC 5737, RFC 3849), for which a host has no route of their own.
    let (local, target): (IpAddr, IpAddr) = match family {
        Family::V4 => (
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(203, 0, 113, 1).into(),
        ),
        Family::V6 => (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1).into(),
        ),
    };
    let socket = UdpSocket::bind(SocketAddr::new(local, 0)).ok()?;
    socket.connect(SocketAddr::new(target, 9)).ok()?;
    let addr = socket.local_addr().ok()?.ip();
    (!addr.is_unspecified()).then_some(addr)
}

/// Keeps the calling thread on one core.
///
/// # Errors
///
/// When this process may not run on that core, or there is no such core.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such core"));
    }
    // SAFETY: a `cpu_set_t` is an array of integers, for which all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `core` is below the number of bits in the set, checked above.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the pointer leads to `set` and the size is its own; 0 names the calling thread.
    let outcome =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How many descriptors a process may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdLimit {
    /// Before it was raised.
    pub before: u64,
    /// From now on.
    pub now: u64,
}

/// Raises the limit of open descriptors to the most that this process may set by itself: each allocation needs one.
///
/// # Errors
///
/// When the system does not tell the limit or refuses the new one.
pub fn raise_fd_limit() -> io::Result<FdLimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer leads to `limit`, which the kernel fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let before = limit.rlim_cur;
    if before < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the pointer leads to `limit`, which the kernel only reads.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(FdLimit {
        before,
        now: limit.rlim_cur,
    })
}

/// A list of the C library's, freed when it goes.
struct List {
    head: *mut libc::ifaddrs,
}

impl List {
    fn read() -> io::Result<Self> {
        let mut head = ptr::null_mut();
        // SAFETY: the pointer leads to `head`, which is set on success.
        let outcome = unsafe { libc::getifaddrs(&raw mut head) };
        if outcome == 0 {
            Ok(Self { head })
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: `head` came from `getifaddrs` and is freed once, here.
        unsafe { libc::freeifaddrs(self.head) };
    }
}

/// The IP address in a `sockaddr` of an interface list; `None` for a null pointer or another family.
fn ip_at(raw: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: called only with pointers of a list that `List` keeps alive: null, or a structure that begins with the family.
    let family = unsafe { raw.as_ref() }?.sa_family;
    let len = match i32::from(family) {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    // SAFETY: not null, and the system gives an address of this family in a structure of this length.
    let bytes = unsafe { std::slice::from_raw_parts(raw.cast::<u8>(), len) };
    address::parse(bytes).map(|addr| addr.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_listed_with_its_mask() {
        let interfaces = interfaces().expect("every system lists its interfaces");
        let loopback = interfaces
            .iter()
            .find(|interface| interface.addr == IpAddr::V4(Ipv4Addr::LOCALHOST));
        let loopback = loopback.expect("this machine has a loopback interface");
        assert_eq!(
            loopback.netmask,
            Some(IpAddr::V4(Ipv4Addr::new(255, 0, 0, 0)))
        );
        assert!(loopback.loopback && loopback.up && loopback.broadcast.is_none());
    }

    #[test]
    fn a_thread_stays_on_its_core_and_an_absent_core_is_an_error() {
        std::thread::spawn(|| pin_to_core(0).expect("core 0 exists"))
            .join()
            .expect("the thread ends well");
        assert!(pin_to_core(usize::MAX).is_err());
        assert!(pin_to_core(1023).is_err());
    }

    #[test]
    fn the_descriptor_limit_is_raised_to_its_most() {
        let raised = raise_fd_limit().expect("raising to the hard limit needs no privilege");
        assert!(raised.now >= raised.before);
        let again = raise_fd_limit().expect("as above");
        assert_eq!(
            again,
            FdLimit {
                before: raised.now,
                now: raised.now
            }
        );
    }

    #[test]
    fn the_primary_address_has_the_family_asked_for() {
        assert!(primary_address(Family::V4).is_none_or(|addr| addr.is_ipv4()));
        assert!(primary_address(Family::V6).is_none_or(|addr| addr.is_ipv6()));
    }
}
