//! The later committees of a cluster in messages.

use super::encoding::Writer;
use super::layout::EPOCHS;
use super::{MAX_MESSAGE, Message, MessageError};
use crate::certificate::Certificate;
use crate::chain::EpochLink;
use crate::codec::{Reader, in_range};
use crate::committee::{CommitteeRecord, MAX_COMMITTEE};
use crate::limits::{Limits, MAX_EPOCHS};
use crate::statement::StatementId;

/// Size of a message's fields before the first epoch: tag, more, count.
const HEADER: usize = 1 + 1 + 2;

/// Later epochs of a cluster, in order and without a gap. Nothing is verified: see
/// [`CommitteeChain::extended`](crate::chain::CommitteeChain::extended).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochsMessage {
    /// Whether another message with the epochs after these follows.
    pub more: bool,
    /// At least one.
    pub links: Vec<EpochLink>,
}

impl Message {
    /// The messages with these epochs, as few as their size allows. Without epochs, there is no message.
    pub fn epochs(links: impl IntoIterator<Item = EpochLink>) -> Vec<Self> {
        let mut messages: Vec<EpochsMessage> = Vec::new();
        let mut size = MAX_MESSAGE;
        for link in links {
            let added = write_link(Writer::new(EPOCHS, 0), &link).size();
            match messages.last_mut().filter(|last| size + added <= MAX_MESSAGE && last.links.len() < MAX_EPOCHS) {
                Some(last) => last.links.push(link),
                None => {
                    messages.iter_mut().for_each(|message| message.more = true);
                    messages.push(EpochsMessage { more: false, links: vec![link] });
                    size = HEADER;
                }
            }
            size += added;
        }
        messages.into_iter().map(Self::Epochs).collect()
    }
}

pub(super) fn write_epochs(EpochsMessage { more, links }: &EpochsMessage) -> Writer {
    let writer = Writer::new(EPOCHS, 1024 * links.len()).u8((*more).into()).count(links.len());
    links.iter().fold(writer, write_link)
}

fn write_link(writer: Writer, EpochLink { handoff, committee, seal }: &EpochLink) -> Writer {
    let (committee, handoff) = (committee.encode(), handoff.encode());
    let size = u32::try_from(committee.len()).unwrap_or(u32::MAX);
    let writer = writer.u32(size).bytes(&committee).count(handoff.len()).bytes(&handoff).u8(seal.is_some().into());
    seal.iter().fold(writer, |writer, seal| writer.bytes(&seal.0))
}

pub(super) fn read_epochs(reader: &mut Reader<'_>) -> Result<EpochsMessage, MessageError> {
    let more = reader.flag("more")?;
    let count = reader.u16("number of epochs")?;
    in_range("number of epochs", count.into(), 1, MAX_EPOCHS as u64)?;
    let mut links: Vec<EpochLink> = Vec::new();
    for _ in 0..count {
        let link = read_link(reader)?;
        if let Some(last) = links.last() {
            let next = last.committee.epoch() + 1;
            in_range("epoch, one above the last", link.committee.epoch(), next, next)?;
        }
        links.push(link);
    }
    Ok(EpochsMessage { more, links })
}

fn read_link(reader: &mut Reader<'_>) -> Result<EpochLink, MessageError> {
    let size = reader.u32("length of the committee")?;
    in_range("length of the committee", size.into(), 1, MAX_COMMITTEE as u64)?;
    // Cannot fail: the line above bounds the size.
    let size = usize::try_from(size).unwrap_or(MAX_COMMITTEE);
    let committee = CommitteeRecord::decode_later(reader.take("committee", size)?, &Limits::default())?;
    let size = reader.u16("length of the handoff")?;
    let handoff = Certificate::decode(reader.take("handoff", size.into())?, &Limits::default())?;
    let has_seal = reader.flag("has a seal")?;
    let seal = has_seal.then(|| reader.array("seal").map(StatementId)).transpose()?;
    Ok(EpochLink { handoff, committee, seal })
}
