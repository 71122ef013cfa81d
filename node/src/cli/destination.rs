//! The output of a get.
//!
//! - A file gets its name once it is complete. Until then, its verified bytes are in `<FILE>.part`, which stays if the get is
//!   interrupted; the next get resumes there.
//! - The bytes of a part file are never trusted: they are hashed, and checked by the proof of the bytes that follow.
//! - Standard output, pipes and devices receive each byte as soon as it is verified.

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
    Part(PartialOutput),
}

/// An open part file.
pub(super) struct PartialOutput {
    file: PartFile,
    /// Number of bytes found to be right or written.
    position: u64,
    /// First bytes of the found file, if it is too short for a proof. They must equal the blob's; otherwise the file is not this get's.
    unproven: Vec<u8>,
    is_forced: bool,
    /// Whether the bytes after `position` were cut off.
    is_cut: bool,
    /// Whether the file turned out to hold something else.
    is_foreign: bool,
}

impl Destination {
    /// Opens the path given with `-o`. Called before a connection is made, so that it refuses early to overwrite a file.
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
                "cannot write the file to {name}: this command reads it; name another file with -o"
            )));
        }
        match target {
            Target::Stream(path) => files::open_stream(&path).map(Self::Stream).map_err(Failure::new),
            Target::Regular(_) if !args.force => {
                Err(Failure::new(format_args!("{name} exists; name another file with -o, or replace it with --force")))
            }
            target => PartialOutput::open(&target, args.force).map(Self::Part),
        }
    }

    /// Hashes the part file to resume after it: whole groups, at most `limit` bytes. It never counts the last group, because the
    /// proof comes with the bytes that follow. Bytes after the counted ones are dropped later.
    pub(super) fn held(&mut self, limit: u64) -> Result<Suspended, Failure> {
        match self {
            Self::Stdout | Self::Stream(_) => Ok(Suspended::default()),
            Self::Part(part) => part.held(limit).map_err(Failure::new),
        }
    }

    /// The length of the part file in bytes, whatever they are.
    pub(super) fn found_length(&self) -> Result<u64, Failure> {
        match self {
            Self::Stdout | Self::Stream(_) => Ok(0),
            Self::Part(part) => part.file.length().map_err(Failure::new),
        }
    }

    /// Reads the first `length` bytes of the part file.
    pub(super) fn read(&mut self, length: u64, each: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        match self {
            Self::Stdout | Self::Stream(_) => Ok(()),
            Self::Part(part) => part.file.read_from_start(length, each).map_err(Failure::new),
        }
    }

    /// The first `length` bytes of the part file are right: the next bytes are written after them and replace the rest.
    pub(super) fn keep(&mut self, length: u64) {
        if let Self::Part(part) = self {
            part.position = length;
            part.unproven.clear();
        }
    }

    /// Ends a complete output.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout => io::stdout().flush().map_err(|error| Failure::new(output::cannot_write(&error))),
            Self::Stream(mut file) => file.flush().map_err(Failure::new),
            Self::Part(part) => part.finish(),
        }
    }

    /// Ends the output of a failed get. Adds to the failure what stays on the disk.
    pub(super) fn abandon(self, failure: Failure) -> Failure {
        let Self::Part(part) = self else { return failure };
        let path = output::name(part.file.path());
        if part.is_foreign {
            return Failure { message: foreign(&path), ..failure };
        }
        match part.file.length() {
            // an empty file is of no use; the first failure matters more than a failure to remove it
            Ok(0) => {
                let _ = part.file.remove();
                failure
            }
            Ok(length) if part.is_cut => failure.with_note(format_args!(
                "{} are in {path}; run the same command again to resume.",
                output::bytes(length)
            )),
            _ => failure,
        }
    }
}

fn foreign(path: &str) -> String {
    format!("{path} exists and holds something else; remove it, name another file with -o, or replace it with --force")
}

impl PartialOutput {
    fn open(target: &Target, is_forced: bool) -> Result<Self, Failure> {
        let file = PartFile::open(target, MODE).map_err(Failure::new)?;
        let file = file.ok_or_else(|| {
            let path = output::name(target.path());
            Failure::new(format_args!("{path}.part is in use by another process, which gets the same file"))
        })?;
        Ok(Self { file, position: 0, unproven: Vec::new(), is_forced, is_cut: false, is_foreign: false })
    }

    fn held(&mut self, limit: u64) -> Result<Suspended, FileError> {
        let found = self.file.length()?;
        // The last group is fetched again: its proof also verifies the groups before it.
        let length = found.min(limit).saturating_sub(1) / GROUP as u64 * GROUP as u64;
        let mut hasher = TreeHasher::new();
        self.file.read_from_start(length, |bytes| hasher.update(bytes, &mut |_| {}))?;
        self.unproven.clear();
        if length == 0 && !self.is_forced {
            let unproven = &mut self.unproven;
            self.file.read_from_start(found.min(GROUP as u64), |bytes| unproven.extend_from_slice(bytes))?;
        }
        self.position = length;
        Ok(hasher.suspend(&mut |_| {}).unwrap_or_default())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(self.position).unwrap_or(usize::MAX);
        let unproven = self.unproven.get(start..).unwrap_or_default();
        let (known, new) = bytes.split_at(unproven.len().min(bytes.len()));
        if !unproven.starts_with(known) {
            self.is_foreign = true;
            return Err(io::Error::other(foreign(&output::name(self.file.path()))));
        }
        self.position += known.len() as u64;
        if new.is_empty() {
            return Ok(());
        }
        if !self.is_cut {
            // nothing proves the bytes that follow
            self.file.cut(self.position).map_err(io::Error::other)?;
            self.is_cut = true;
        }
        self.file.write_all(new).map_err(io::Error::other)?;
        self.position += new.len() as u64;
        Ok(())
    }

    /// Gives the complete file its name.
    fn finish(mut self) -> Result<(), Failure> {
        let path = output::name(self.file.path());
        if self.position < self.unproven.len() as u64 {
            return Err(Failure::new(foreign(&path)));
        }
        if !self.is_cut {
            self.file.cut(self.position).map_err(Failure::new)?;
        }
        let note = format!("The complete, verified file is in {path}.");
        self.file.persist().map_err(|error| Failure::new(error).with_note(note))
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
