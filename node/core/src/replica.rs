//! What a replica decides.

pub mod clock_doubt;
pub mod lacking;
pub mod pace;
pub mod proposals;
pub mod voting;
