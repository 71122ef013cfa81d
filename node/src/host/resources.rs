//! Limits of the operating system for this process.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files and sockets to the maximum that this process may set, and returns it. `None`: no limit.
pub fn open_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        // some systems refuse to raise it
        Err(_) => current,
    }
}

/// Forbids core dumps of this process and of those that it starts: they would hold its secret keys.
///
/// # Errors
/// The system refuses.
pub fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(Into::into)
}

/// The number of the user as whom this process acts; 0 is the superuser.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}
