//! Descriptors that the program which started this one left open for it (socket activation, `LISTEN_FDS`).
//!
//! Responsible for owning each of them once. Not responsible for what they are, nor for which listener gets which
//! (`run::inherited`).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// One such descriptor.
#[derive(Debug)]
pub struct InheritedFd {
    /// The descriptor; programs that this one starts do not get it.
    pub fd: OwnedFd,
    /// What it is called in an error: the name that the supervisor gives it (`LISTEN_FDNAMES`), and its number.
    pub name: String,
}

/// The descriptors that the environment says are this process's (`LISTEN_PID`), in their order. Another call gets none.
///
/// To be called early: it believes the environment, and a descriptor that the supervisor did not leave open may be one that
/// this program has opened since.
///
/// # Errors
/// When what the environment says is no number, or names descriptors that are not open.
pub fn inherited_fds() -> io::Result<Vec<InheritedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    // Not the variant that also clears the environment: that is undefined behaviour as soon as there are threads. Nothing
    // is lost, as the process id in it keeps the programs that this one starts from believing it.
    let named = sd_notify::listen_fds_with_names()?;
    let own = |(number, name)| InheritedFd {
        // SAFETY: the descriptor is open, as `listen_fds_with_names` has just set a flag on it; the supervisor has left it
        // to this process, in which only this function, and that once, takes what the environment names.
        fd: unsafe { OwnedFd::from_raw_fd(number) },
        name: format!("{name} (descriptor {number})"),
    };
    Ok(named.map(own).collect())
}
