//! What an op about members or access did, as text for people. Programs read the state.

use std::fmt::{Display, Write};

use vouch_core::limits::MAX_EFFECT;
use vouch_core::log::Effect;

/// The effect of an op: what it did, or why it did nothing.
pub(crate) fn effect_of(result: Result<String, String>) -> Effect {
    let mut text = match result {
        Ok(done) => done,
        Err(why) => format!("refused: {why}"),
    };
    while text.len() > MAX_EFFECT {
        text.pop();
    }
    // Cannot fail: the text is short enough.
    Effect::new(text.into_bytes()).unwrap_or_default()
}

/// An error as the reason of a refusal.
pub(crate) fn refused(error: impl Display) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(text, "{error}");
    text
}
