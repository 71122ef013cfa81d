//! The input of a put: a file or standard input, read in pieces on threads that may block.

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

/// An input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// The name in error messages.
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

    /// The identity of the file; `None` for a stream.
    pub fn id(&self) -> Option<FileId> {
        match self {
            Self::File(path) => FileId::at(path),
            Self::Stdin => FileId::of_stdin(),
        }
    }

    /// Opens it for reading from this offset. Standard input always starts where it is.
    ///
    /// # Errors
    /// See [`open`](Self::open).
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

    /// Opens it for reading. Returns its length if it has one.
    ///
    /// # Errors
    /// The file does not exist, is not readable, or is a folder.
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

/// Reads pieces of exactly `size` bytes; the last one is shorter. An empty source has none. An error, also one of opening, is the
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
            // sending fails if the receiver is gone
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
