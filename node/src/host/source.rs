//! Bytes of a file or of standard input, in pieces, read on threads that may block.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Host;
use super::files::FileId;

/// Pieces read ahead.
const QUEUE: usize = 4;

/// Where bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// As errors name it.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

impl Source {
    /// `-` is standard input, anything else a path.
    pub fn parse(name: &OsStr) -> Self {
        if name == "-" { Self::Stdin } else { Self::File(name.into()) }
    }

    /// Which file it is, where that is more than a stream.
    pub fn id(&self) -> Option<FileId> {
        match self {
            Self::File(path) => FileId::at(path),
            Self::Stdin => FileId::of_stdin(),
        }
    }

    /// Opens it for reading from this offset on; standard input has no other than 0.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::File(path) if offset > 0 => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(offset))?;
                Ok(Box::new(file))
            }
            Self::File(_) | Self::Stdin => Ok(self.open()?.0),
        }
    }

    /// Opens it for reading, and tells its length where there is one.
    ///
    /// # Errors
    /// Absent, not permitted, or a folder.
    pub fn open(&self) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
        match self {
            Self::Stdin => Ok((Box::new(io::stdin()), None)),
            Self::File(path) => {
                let file = File::open(path)?;
                let metadata = file.metadata()?;
                if metadata.is_dir() {
                    return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder"));
                }
                let length = metadata.is_file().then_some(metadata.len());
                Ok((Box::new(file), length))
            }
        }
    }
}

/// Pieces of exactly `size` bytes, the last one shorter; nothing for an empty source. An error, also that of opening it, is the
/// last item.
pub fn pieces<R: Read + Send + 'static>(
    host: &Host,
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
    size: usize,
) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let reading = host.clone();
    host.spawn(async move {
        let mut next = reading.spawn_blocking(move || open().and_then(|reader| read_piece(reader, size)));
        loop {
            let (reader, piece) = match next.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked))) {
                Ok(read) => read,
                Err(error) => return drop(sender.send(Err(error)).await),
            };
            let is_last = piece.len() < size;
            // nobody waits any more when sending fails
            if piece.is_empty() || sender.send(Ok(piece)).await.is_err() || is_last {
                return;
            }
            next = reading.spawn_blocking(move || read_piece(reader, size));
        }
    });
    receiver
}

fn read_piece<R: Read>(mut reader: R, size: usize) -> io::Result<(R, Bytes)> {
    let mut piece = Vec::with_capacity(size);
    reader.by_ref().take(size as u64).read_to_end(&mut piece)?;
    Ok((reader, piece.into()))
}
