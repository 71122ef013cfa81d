//! The operating system's limits for this process.

use super::finding::Finding;
use crate::cli::output;
use crate::host::resources;
use crate::server::{ServerConfig, wanted_open_files};

pub(super) fn open_files() -> Finding {
    judge(resources::open_files(), wanted_open_files(&ServerConfig::new(Default::default())))
}

fn judge(may_open: Option<u64>, wanted: u64) -> Finding {
    match may_open {
        None => Finding::ok("limits", "any number of open files and sockets"),
        Some(files) if files >= wanted => Finding::ok("limits", format_args!("{files} open files and sockets")),
        Some(files) => Finding::warning(
            "limits",
            format_args!("{files} open files and sockets: a server takes fewer connections than with {wanted}"),
            format_args!(
                "run: ulimit -Hn {wanted} in the shell that starts it, or set LimitNOFILE={wanted} in its unit ({})",
                output::count(wanted - files, "more file")
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    #[test]
    fn few_open_files_are_a_warning() {
        for (files, outcome) in [(None, Outcome::Ok), (Some(2000), Outcome::Ok), (Some(1999), Outcome::Warning)] {
            assert_eq!(judge(files, 2000).outcome, outcome);
        }
    }
}
