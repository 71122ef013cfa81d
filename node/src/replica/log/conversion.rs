//! Between the log's core and its disk: how decided blocks, results and what was found at the start are stored.

use vouch_core::codec::DecodeError;
use vouch_core::log::Block;
use vouch_node_core::log::interface::{DecidedBlock, StateInstall};
use vouch_node_core::log::messages::VoteCertificate;

use crate::log::block_store::{NewBlock, NewState};

/// A decided block as it is stored.
pub(super) fn stored(decided: DecidedBlock) -> NewBlock {
    let DecidedBlock { block, results, certificate } = decided;
    NewBlock::new(block, &results, certificate.encode())
}

/// A state in place of blocks, as it is stored.
pub(super) fn installed(install: StateInstall) -> NewState {
    let StateInstall { header, before, state } = install;
    NewState { header, before, state }
}

/// A stored block with the certificate that decided it.
///
/// # Errors
/// The stored certificate does not decode.
pub(super) fn decided(stored: NewBlock) -> Result<(Block, VoteCertificate), DecodeError> {
    Ok((stored.block, VoteCertificate::decode(&stored.certificate)?))
}
