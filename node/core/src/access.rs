//! Who may put and read, as the log has decided, and what a replica admits by that.

mod admission;
mod encoding;
mod state;
#[cfg(test)]
mod tests;

pub use admission::{Admission, Counted, Refusal, Usage};
pub use state::Access;
