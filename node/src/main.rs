//! The `vouch` command.

use std::process::ExitCode;

/// Gives freed memory back to the system within seconds, also while the process is idle, by a thread of its own. With the C
/// library's allocator a server keeps most of what one flood of connections made it allocate, for as long as it runs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    vouch::cli::main()
}
