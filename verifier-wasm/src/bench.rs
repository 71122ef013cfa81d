//! For `make bench`: the bare work with blst that verifying needs, in the same module as the verifier.

mod chain;
mod sample;

pub use chain::BareChain;
pub use sample::Sample;

/// Of statements.
const DST: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";
