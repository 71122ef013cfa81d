//! Randomness from the operating system.

/// Fresh random bytes.
///
/// # Panics
/// When the operating system has no randomness to give: nothing safe can be done without.
pub fn array<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "keys and nonces cannot be made without it")]
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
