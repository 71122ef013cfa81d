//! File systems and owners: what a node's folders are on, and whose they are.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::files::{Action, FileError};

/// What a file system keeps, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// On a disk of this machine, as far as is known.
    Local,
    /// In memory: everything is lost at a restart of the machine.
    Memory(&'static str),
    /// On another machine: locks and syncs depend on it and on the network.
    Network(&'static str),
    /// In a layer of a container: everything is lost with the container.
    Layer(&'static str),
    /// In a process of this machine: locks and syncs depend on it.
    Process(&'static str),
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("a disk"),
            Self::Memory(name) => write!(f, "{name}, which is memory"),
            Self::Network(name) => write!(f, "{name}, which is on another machine"),
            Self::Layer(name) => write!(f, "{name}, a layer of a container"),
            Self::Process(name) => write!(f, "{name}, which a process provides"),
        }
    }
}

/// The kind of the magic number that statfs(2) gives.
const fn kind_of_magic(magic: u64) -> FileSystem {
    match magic {
        0x0102_1994 => FileSystem::Memory("tmpfs"),
        0x8584_58F6 => FileSystem::Memory("ramfs"),
        0x6969 => FileSystem::Network("NFS"),
        0xFF53_4D42 | 0xFE53_4D42 | 0x517B => FileSystem::Network("SMB"),
        0x00C3_6400 => FileSystem::Network("Ceph"),
        0x0102_1997 => FileSystem::Network("9P"),
        0x794C_7630 => FileSystem::Layer("overlayfs"),
        0x6573_5546 => FileSystem::Process("FUSE"),
        _ => FileSystem::Local,
    }
}

/// The kind of file system that a folder is on. Only Linux tells.
///
/// # Errors
/// See [`FileError`].
pub fn kind_of(folder: &Path) -> Result<FileSystem, FileError> {
    #[cfg(target_os = "linux")]
    {
        let stat = rustix::fs::statfs(folder).map_err(|error| FileError::new(folder, Action::Read, error.into()))?;
        // The number has 32 bits, and its type has another width and sign on other processors.
        #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "only the lower 32 bits count")]
        Ok(kind_of_magic(stat.f_type as u64 & 0xFFFF_FFFF))
    }
    #[cfg(not(target_os = "linux"))]
    {
        std::fs::metadata(folder).map_err(|error| FileError::new(folder, Action::Open, error))?;
        Ok(FileSystem::Local)
    }
}

/// The number of the user whose file or folder this is.
///
/// # Errors
/// See [`FileError`].
pub fn owner_of(path: &Path) -> Result<u32, FileError> {
    std::fs::metadata(path).map(|found| found.uid()).map_err(|error| FileError::new(path, Action::Open, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_known_by_their_numbers() {
        assert_eq!(kind_of_magic(0x6969), FileSystem::Network("NFS"));
        assert_eq!(kind_of_magic(0xEF53), FileSystem::Local, "ext4");
        #[cfg(target_os = "linux")]
        assert_eq!(kind_of("/dev/shm".as_ref()).unwrap(), FileSystem::Memory("tmpfs"));
        assert!(matches!(kind_of("/nothing here".as_ref()), Err(FileError::NotFound { .. })));
    }

    #[test]
    fn a_file_belongs_to_who_made_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(owner_of(file.path()).unwrap(), super::super::resources::user());
        assert!(owner_of("/nothing here".as_ref()).is_err());
    }
}
