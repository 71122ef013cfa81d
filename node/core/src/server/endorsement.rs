//! An endorsement: blobs that a member holds by now are certified again. Decides which certificates qualify, and who must confirm that it
//! holds a blob.
//!
//! A state machine without IO.

mod confirmation;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use vouch_core::certificate::Certificate;
use vouch_core::digest::Digest;
use vouch_core::message::{MAX_BLOB, Message, Stream};
use vouch_core::receipt::Receipt;

use super::stream_numbers::StreamNumbers;
use confirmation::Confirmation;

/// An input of an endorsement.
#[derive(Debug)]
pub enum EndorsementInput {
    /// The endorsement's turn has come.
    Begin,
    /// Completes [`EndorsementOutput::FindCertificate`]; `None` if no certificate is known.
    Found(Option<Box<Certificate>>),
    /// Completes [`EndorsementOutput::Offer`]: the members whose queues had room.
    Offered(BTreeSet<u16>),
    /// A member answered an offer.
    Answered {
        /// The server's number of the offer.
        stream: Stream,
        /// The member.
        member: u16,
        /// Its resume offset; `None` if it refused, because it lacks the blob and has no space, or because another put of the blob is in
        /// progress.
        offset: Option<u64>,
    },
    /// Time has passed.
    Tick,
}

impl EndorsementInput {
    /// A member's message on an offer's stream as an input. Whatever it is, it is the member's only answer.
    pub fn of_reply(stream: Stream, member: u16, message: &Message) -> Self {
        let offset = match message {
            Message::Ready { offset, .. } => Some(*offset),
            _ => None,
        };
        Self::Answered { stream, member, offset }
    }
}

/// An output of an endorsement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndorsementOutput {
    /// Find the best certificate of a blob.
    FindCertificate(Digest),
    /// Offer a blob to these members without sending its bytes, to have them read what they hold. Completed by
    /// [`EndorsementInput::Offered`].
    Offer {
        /// The server's number of the offer.
        stream: Stream,
        /// The blob.
        receipt: Receipt,
        /// The members.
        members: BTreeSet<u16>,
    },
    /// Cancel an offer at a member, which keeps what it has.
    Cancel {
        /// The server's number of the offer.
        stream: Stream,
        /// The member.
        member: u16,
    },
    /// An offer has ended: expect no more replies.
    Release(Stream),
    /// Have a receipt certified again.
    Submit {
        /// The server's number, as of a put.
        put: Stream,
        /// The receipt.
        receipt: Receipt,
        /// The members to ask for their votes.
        holders: BTreeSet<u16>,
    },
    /// All blobs were handled. The endorsement ends with the outcomes of what was submitted; if it fails, the earlier certificates stay as
    /// good as before.
    Over,
}

/// The state outside an endorsement that its decisions depend on.
#[derive(Debug, Clone)]
pub struct EndorsementContext {
    /// Monotonic.
    pub now: Duration,
    /// Seconds since 1970.
    pub unix_seconds: u64,
    /// The connected members.
    pub connected: BTreeSet<u16>,
    /// The committee's epoch.
    pub epoch: u64,
    /// The committee's quorum; `None` before there is a committee.
    pub quorum: Option<usize>,
}

/// One member's request to certify blobs again. They are handled one after the other.
#[derive(Debug)]
pub struct Endorsement {
    /// The member that asks. Without it, a new certificate would be useless.
    member: u16,
    /// The blobs that are still to be handled.
    digests: BTreeSet<[u8; 32]>,
    numbers: StreamNumbers,
    /// The exchange about the current blob.
    confirmation: Option<Confirmation>,
}

impl Endorsement {
    /// A request of this member. Repeated digests are ignored.
    pub fn new(member: u16, digests: Vec<Digest>, numbers: StreamNumbers) -> Self {
        let digests = digests.into_iter().map(|digest| digest.0).collect();
        Self { member, digests, numbers, confirmation: None }
    }

    /// When [`EndorsementInput::Tick`] is due if there is no other input; `None` if it is not needed.
    pub fn next_tick(&self) -> Option<Duration> {
        self.confirmation.as_ref().map(|confirmation| confirmation.next_tick(self.member))
    }

    /// Handles one input.
    pub fn handle(&mut self, input: EndorsementInput, context: &EndorsementContext) -> Vec<EndorsementOutput> {
        let mut out = Vec::new();
        match input {
            EndorsementInput::Begin => self.next_blob(&mut out),
            EndorsementInput::Found(certificate) => self.found(certificate.as_deref(), context, &mut out),
            EndorsementInput::Offered(reached) => {
                if let Some(confirmation) = &mut self.confirmation {
                    confirmation.offered(reached);
                }
            }
            EndorsementInput::Answered { stream, member, offset } => {
                if let Some(confirmation) = &mut self.confirmation
                    && confirmation.answered(stream, member, offset)
                {
                    out.push(EndorsementOutput::Cancel { stream, member });
                }
            }
            EndorsementInput::Tick => {}
        }
        self.finish_confirmation(context, &mut out);
        out
    }

    fn next_blob(&mut self, out: &mut Vec<EndorsementOutput>) {
        out.push(match self.digests.pop_first() {
            Some(digest) => EndorsementOutput::FindCertificate(Digest(digest)),
            None => EndorsementOutput::Over,
        });
    }

    fn found(
        &mut self,
        certificate: Option<&Certificate>,
        context: &EndorsementContext,
        out: &mut Vec<EndorsementOutput>,
    ) {
        let gains = |certificate: &&Certificate| {
            // A signer of another epoch was another member.
            let has_signed = certificate.epoch == context.epoch && certificate.signers.contains(self.member);
            !has_signed && !certificate.claim.receipt.is_expired(context.unix_seconds)
        };
        let Some((certificate, quorum)) = certificate.filter(gains).zip(context.quorum) else {
            return self.next_blob(out);
        };
        let receipt = certificate.claim.receipt;
        let most = receipt.most_assigned(context.connected.iter().copied());
        if most > MAX_BLOB as u64 {
            // A member that has not read a blob for a day reads it before it votes, which takes longer for a large blob than a vote may. So
            // the server first offers the blob: the members read it then, and that counts for their votes.
            let (stream, members) = (self.numbers.next(), context.connected.clone());
            self.confirmation = Some(Confirmation::new(stream, receipt, most, context.now));
            out.push(EndorsementOutput::Offer { stream, receipt, members });
        } else {
            // A small blob is read quickly, and a member that lacks it refuses.
            self.submit(receipt, context.connected.clone(), quorum, out);
        }
    }

    fn submit(&mut self, receipt: Receipt, holders: BTreeSet<u16>, quorum: usize, out: &mut Vec<EndorsementOutput>) {
        if holders.len() >= quorum && holders.contains(&self.member) {
            out.push(EndorsementOutput::Submit { put: self.numbers.next(), receipt, holders });
        }
        self.next_blob(out);
    }

    fn finish_confirmation(&mut self, context: &EndorsementContext, out: &mut Vec<EndorsementOutput>) {
        let quorum = context.quorum.unwrap_or(usize::MAX);
        let is_over = |confirmation: &mut Confirmation| confirmation.is_over(self.member, quorum, context.now);
        let Some(confirmation) = self.confirmation.take_if(is_over) else { return };
        let stream = confirmation.stream();
        let (receipt, silent, holders) = confirmation.into_parts();
        out.extend(silent.into_iter().map(|member| EndorsementOutput::Cancel { stream, member }));
        out.push(EndorsementOutput::Release(stream));
        self.submit(receipt, holders, quorum, out);
    }
}
