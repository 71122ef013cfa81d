//! A wall clock offset for a child process, adjustable while it runs (`LD_PRELOAD`). Needs Linux and a C compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/support/wrong_clock.c");

/// The wall clock of one process.
#[derive(Debug)]
pub struct WrongClock {
    library: PathBuf,
    file: PathBuf,
}

impl WrongClock {
    /// A clock without offset. Its files are in `folder`.
    ///
    /// # Panics
    /// If there is no C compiler.
    pub fn new(folder: &Path, name: &str) -> Self {
        let library = folder.join(format!("{name}.so"));
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(SOURCE).status();
        assert!(compiled.expect("a C compiler").success());
        let clock = Self { library, file: folder.join(format!("{name}.seconds")) };
        clock.set(0);
        clock
    }

    /// Sets the offset in seconds.
    pub fn set(&self, seconds: i64) {
        // rename: the process never reads a partial file
        let new = self.file.with_extension("new");
        fs::write(&new, seconds.to_string()).unwrap();
        fs::rename(new, &self.file).unwrap();
    }

    /// Environment variables for the process.
    pub fn environment(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", self.library.to_str().unwrap()), ("WRONG_CLOCK", self.file.to_str().unwrap())]
    }
}
