//! A wall clock that is off, and may be set while a process runs. Linux, with the C compiler that the program's build needs anyway.

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
    /// A clock that is right until it is set. It lives in this folder.
    ///
    /// # Panics
    /// When there is no C compiler.
    pub fn new(folder: &Path, name: &str) -> Self {
        let library = folder.join(format!("{name}.so"));
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(SOURCE).status();
        assert!(compiled.expect("a C compiler").success());
        let clock = Self { library, file: folder.join(format!("{name}.seconds")) };
        clock.set(0);
        clock
    }

    /// Sets it off by so many seconds.
    pub fn set(&self, seconds: i64) {
        // whole at every moment
        let new = self.file.with_extension("new");
        fs::write(&new, seconds.to_string()).unwrap();
        fs::rename(new, &self.file).unwrap();
    }

    /// What its process is started with.
    pub fn environment(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", self.library.to_str().unwrap()), ("WRONG_CLOCK", self.file.to_str().unwrap())]
    }
}
