//! Who may put and read: tokens, what their holders sign, and the changes of the rules, which the log orders.
//!
//! A token is an ed25519 key. Its holder signs each offer, and replicas check the signature: the server learns nothing that it could use for
//! another put. What a token may do is decided by the log.

mod authorisation;
#[cfg(feature = "nodes")]
mod change;
#[cfg(feature = "nodes")]
mod op;
#[cfg(feature = "nodes")]
mod rules;
#[cfg(feature = "nodes")]
mod view;

pub use authorisation::{Action, Authorisation, AuthorisationError, ParseTokenError, TokenKey, TokenSecret};
#[cfg(feature = "nodes")]
pub use change::{AccessChange, AccessChangeFormatError, Decision, verify_access_operator};
#[cfg(feature = "nodes")]
pub use op::{AccessOp, AccessOpError};
#[cfg(feature = "nodes")]
pub use rules::{Grant, NO_LIMIT, Rules, Who};
#[cfg(feature = "nodes")]
pub use view::AccessView;
