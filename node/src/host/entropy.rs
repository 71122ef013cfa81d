//! Randomness.

use std::fmt::Debug;

use super::Host;

/// A source of random bytes.
pub trait Entropy: Debug + Send + Sync {
    /// Fills a buffer with fresh random bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's randomness.
#[derive(Debug)]
pub(super) struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// The operating system has no random bytes. Keys and nonces cannot be made without them.
    fn fill(&self, bytes: &mut [u8]) {
        #[expect(clippy::expect_used, reason = "keys and nonces cannot be made without it")]
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

impl Host {
    /// Fresh random bytes.
    ///
    /// # Panics
    /// The operating system has no random bytes. Keys and nonces cannot be made without them.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.entropy.fill(&mut bytes);
        bytes
    }
}
