//! The `vouch` command.

use std::process::ExitCode;

/// Returns freed memory to the system within seconds, even while the process is idle, by a thread of its own. With the C
/// library's allocator, a server keeps most of the memory that one flood of connections made it allocate.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    vouch::cli::main()
}
