//! Where a get's bytes go.
//!
//! - A file gets its name once it is whole. Until then its verified bytes are in `<FILE>.part`, which stays when the get is cut
//!   off, and the next get goes on there.
//! - What is in a part is never trusted: it is hashed, and held against the proof of the bytes that follow.
//! - Standard output, pipes and devices get every byte as soon as it is verified.

use std::fs::File;
use std::io::{self, Write};

use vouch_core::tree::{GROUP, Suspended, TreeHasher};

use super::{Failure, GetArgs, output, target_to_write};
use crate::host::files::{self, FileError, FileId, PartFile, Target};

const MODE: u32 = 0o644;

/// An open destination.
pub(super) enum Destination {
    Stdout,
    Stream(File),
    Part(Part),
}

/// A part, and what of it is not known to be the blob's.
pub(super) struct Part {
    file: PartFile,
    /// Written or found so far.
    position: u64,
    /// The bytes from the beginning that must be the blob's, or the part is somebody else's file: as far as no proof tells.
    own: Vec<u8>,
    is_forced: bool,
    /// Whether all behind the position is let go.
    is_cut: bool,
    is_another: bool,
}

impl Destination {
    /// Opens what `-o` names. Refuses before any connection is made what would be overwritten.
    pub(super) fn open(args: &GetArgs) -> Result<Self, Failure> {
        let path = &args.output;
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        let target = target_to_write(path)?;
        let inputs = [Some(args.what.as_ref()), args.trust.known_clusters.as_deref()];
        let is_input = |id| inputs.into_iter().flatten().any(|input| FileId::at(input) == Some(id));
        let name = output::name(path);
        if FileId::at(path).is_some_and(is_input) {
            return Err(Failure::new(format_args!(
                "cannot write the file to {name}: the command reads that; name another with -o"
            )));
        }
        match target {
            Target::Stream(path) => files::open_stream(&path).map(Self::Stream).map_err(Failure::new),
            Target::Regular(_) if !args.force => {
                Err(Failure::new(format_args!("{name} exists; name another file with -o, or replace it with --force")))
            }
            target => Part::open(&target, args.force).map(Self::Part),
        }
    }

    /// What is there already, by its hashes: whole groups, at most `limit` bytes and not all of the part, since the proof comes with
    /// the bytes that follow. What is behind them is let go.
    pub(super) fn held(&mut self, limit: u64) -> Result<Suspended, Failure> {
        match self {
            Self::Stdout | Self::Stream(_) => Ok(Suspended::default()),
            Self::Part(part) => part.held(limit).map_err(Failure::new),
        }
    }

    /// The bytes of a part, whatever they are.
    pub(super) fn there(&self) -> Result<u64, Failure> {
        match self {
            Self::Stdout | Self::Stream(_) => Ok(0),
            Self::Part(part) => part.file.length().map_err(Failure::new),
        }
    }

    /// Reads the first bytes of a part.
    pub(super) fn read(&mut self, length: u64, each: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        match self {
            Self::Stdout | Self::Stream(_) => Ok(()),
            Self::Part(part) => part.file.read_from_start(length, each).map_err(Failure::new),
        }
    }

    /// The first bytes of a part are those that are wanted: the next ones go behind them, in place of what is there.
    pub(super) fn keep(&mut self, length: u64) {
        if let Self::Part(part) = self {
            part.position = length;
            part.own.clear();
        }
    }

    /// The whole file is there.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout => io::stdout().flush().map_err(|error| Failure::new(output::cannot_write(&error))),
            Self::Stream(mut file) => file.flush().map_err(Failure::new),
            Self::Part(part) => part.finish(),
        }
    }

    /// The get failed: says what stays.
    pub(super) fn left(self, failure: Failure) -> Failure {
        let Self::Part(part) = self else { return failure };
        let path = output::name(part.file.path());
        if part.is_another {
            return Failure { message: another(&path), ..failure };
        }
        match part.file.length() {
            // nobody misses an empty file; a failure to remove it changes nothing about the other one
            Ok(0) => {
                let _ = part.file.remove();
                failure
            }
            Ok(length) if part.is_cut => failure
                .with_note(format_args!("{} are in {path}; the same command goes on there.", output::bytes(length))),
            _ => failure,
        }
    }
}

fn another(path: &str) -> String {
    format!("{path} exists and holds something else; remove it, name another file with -o, or replace it with --force")
}

impl Part {
    fn open(target: &Target, is_forced: bool) -> Result<Self, Failure> {
        let file = PartFile::open(target, MODE).map_err(Failure::new)?;
        let file = file.ok_or_else(|| {
            let path = output::name(target.path());
            Failure::new(format_args!("{path}.part is in use by another process, which gets the same file"))
        })?;
        Ok(Self { file, position: 0, own: Vec::new(), is_forced, is_cut: false, is_another: false })
    }

    fn held(&mut self, limit: u64) -> Result<Suspended, FileError> {
        let there = self.file.length()?;
        // the last group is got again: its proof is what the others are held against
        let length = there.min(limit).saturating_sub(1) / GROUP as u64 * GROUP as u64;
        let mut hasher = TreeHasher::new();
        self.file.read_from_start(length, |bytes| hasher.update(bytes, &mut |_| {}))?;
        self.own.clear();
        if length == 0 && !self.is_forced {
            let own = &mut self.own;
            self.file.read_from_start(there.min(GROUP as u64), |bytes| own.extend_from_slice(bytes))?;
        }
        self.position = length;
        Ok(hasher.suspend(&mut |_| {}).unwrap_or_default())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(self.position).unwrap_or(usize::MAX);
        let own = self.own.get(start..).unwrap_or_default();
        let (known, new) = bytes.split_at(own.len().min(bytes.len()));
        if !own.starts_with(known) {
            self.is_another = true;
            return Err(io::Error::other(another(&output::name(self.file.path()))));
        }
        self.position += known.len() as u64;
        if new.is_empty() {
            return Ok(());
        }
        if !self.is_cut {
            // what follows is not known to be the blob's
            self.file.cut(self.position).map_err(io::Error::other)?;
            self.is_cut = true;
        }
        self.file.write_all(new).map_err(io::Error::other)?;
        self.position += new.len() as u64;
        Ok(())
    }

    /// The whole file is written: gives it its name.
    fn finish(mut self) -> Result<(), Failure> {
        let path = output::name(self.file.path());
        if self.position < self.own.len() as u64 {
            return Err(Failure::new(another(&path)));
        }
        if !self.is_cut {
            self.file.cut(self.position).map_err(Failure::new)?;
        }
        let whole = format!("The file is whole and verified, in {path}.");
        self.file.persist().map_err(|error| Failure::new(error).with_note(whole))
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout => {
                io::stdout().write_all(bytes).map_err(|error| io::Error::other(output::cannot_write(&error)))?
            }
            Self::Stream(file) => file.write_all(bytes)?,
            Self::Part(part) => part.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
