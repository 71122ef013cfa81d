//! A replica with real keys that keeps everything in memory and may lie.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use vouch_core::bls::VoteSecretKey;
use vouch_core::committee::{CommitteeRecord, MemberName};
use vouch_core::digest::Digest;
use vouch_core::founding::{FoundingMessage, accept_statement};
use vouch_core::link::{NodeSecretKey, Role};
use vouch_core::message::{ClusterMessage, Code, Holder, ListPage, ListPosition, Message, Read, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::statement::{Batch, Statement};

use crate::blobs::proof;
use crate::raw_link::RawLink;

/// A replica's keys and name.
#[derive(Debug)]
pub struct Identity {
    /// Key for links.
    pub node: NodeSecretKey,
    /// Key for statements.
    pub vote: VoteSecretKey,
    /// Name in the committee.
    pub name: MemberName,
}

impl Identity {
    /// Derives the identity from a seed.
    pub fn new(seed: u32, name: &str) -> Self {
        let mut bytes = [0x5A; 32];
        bytes[..4].copy_from_slice(&seed.to_le_bytes());
        Self {
            node: NodeSecretKey::from_bytes(&bytes),
            vote: VoteSecretKey::generate(&bytes).unwrap(),
            name: MemberName::new(name).unwrap(),
        }
    }

    /// An identity whose node key is so small that it is the first member of nearly any committee.
    pub fn first(name: &str) -> Self {
        let is_small = |seed: &u32| {
            let key = Self::new(*seed, name).node.node_key();
            key.0[0] == 0 && key.0[1] < 32
        };
        Self::new((0..).find(is_small).unwrap(), name)
    }

    /// The `Join` message.
    pub fn join(&self) -> Message {
        let possession = self.vote.prove_possession();
        Message::Join { vote_key: self.vote.vote_key(), possession, name: self.name }
    }
}

/// State of an honest member, from which it answers.
#[derive(Debug)]
pub struct Honest {
    identity: Arc<Identity>,
    committee: Option<CommitteeRecord>,
    incoming: HashMap<Stream, Vec<u8>>,
    blobs: HashMap<Digest, Vec<u8>>,
}

impl Honest {
    /// A vote for a batch.
    pub fn vote(&self, stream: Stream, issued_at: u64, receipts: &[Receipt]) -> Message {
        let batch = Batch::new(issued_at, receipts.to_vec()).unwrap();
        let statement = Statement::new(self.committee.as_ref().unwrap(), batch.body());
        Message::Vote { stream, signature: statement.sign(&self.identity.vote) }
    }

    fn learn(&mut self, cluster: ClusterMessage) {
        self.committee = Some(cluster.genesis);
    }

    fn answer(&mut self, message: Message) -> Vec<Message> {
        match message {
            // accepts every founding
            Message::Founding(founding) => {
                let FoundingMessage { genesis, possessions, acceptances } = *founding;
                let own = genesis.position(&self.identity.node.node_key());
                let is_complete = acceptances.len() == possessions.len();
                let answer = own.filter(|_| !is_complete).map(|member| Message::Acceptances {
                    founding: genesis.digest(),
                    acceptances: vec![(member, accept_statement(&genesis).sign(&self.identity.vote))],
                });
                if is_complete {
                    self.learn(ClusterMessage { genesis, possessions });
                }
                return answer.into_iter().collect();
            }
            Message::Put { stream, offer, .. } => {
                self.incoming.insert(stream, Vec::new());
                // it keeps no partial uploads
                return offer.map(|_| Message::Ready { stream, offset: 0 }).into_iter().collect();
            }
            Message::Chunk { stream, bytes, .. } => {
                self.incoming.entry(stream).or_default().extend_from_slice(&bytes);
            }
            Message::PutEnd { stream, .. } => {
                let bytes = self.incoming.remove(&stream).unwrap_or_default();
                self.blobs.insert(Digest::of(&bytes), bytes);
                return vec![Message::Stored { stream }];
            }
            Message::Blob { stream, bytes, .. } => {
                self.blobs.insert(Digest::of(&bytes), bytes.to_vec());
                return vec![Message::Stored { stream }];
            }
            Message::Propose { stream, issued_at, receipts } => return vec![self.vote(stream, issued_at, &receipts)],
            Message::Locate { stream, digest, .. } => {
                let member = self.committee.as_ref().unwrap().position(&self.identity.node.node_key());
                let holder = |bytes: &Vec<u8>| Holder { member: member.unwrap(), length: bytes.len() as u64 };
                return vec![Message::Located {
                    stream,
                    holders: self.blobs.get(&digest).map(holder).into_iter().collect(),
                }];
            }
            Message::Read(Read { stream, digest, offset, length, .. }) => {
                let Some(blob) = self.blobs.get(&digest) else {
                    return vec![Message::failed(stream, Code::NotHeld, "it was held by an earlier link")];
                };
                // an honest replica refuses what lies beyond the end
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let Some(bytes) = blob.get(from..from.saturating_add(length as usize)) else {
                    return vec![Message::failed(stream, Code::Malformed, "beyond the end")];
                };
                let parents = proof(blob, offset..offset + u64::from(length));
                return vec![Message::Chunk { stream, offset, parents, bytes: bytes.to_vec().into() }];
            }
            // it keeps no certificates
            Message::List { stream, .. } => {
                let end = ListPosition { list: 1, after: 0 };
                return vec![Message::Listed { stream, page: ListPage { end, more: false, certificates: Vec::new() } }];
            }
            Message::FindCertificate { stream, .. } => {
                return vec![Message::FoundCertificate { stream, certificate: None }];
            }
            _ => {}
        }
        Vec::new()
    }
}

/// A running fake replica; it disconnects when dropped.
#[derive(Debug)]
pub struct FakeReplica(JoinHandle<()>);

impl FakeReplica {
    /// Joins. `lie` gets each message of the server with the honest answers, and returns the answers to send.
    pub async fn join(
        address: &str,
        identity: Identity,
        lie: impl FnMut(&Honest, &Message, Vec<Message>) -> Vec<Message> + Send + 'static,
    ) -> Self {
        Self::join_delaying(address, identity, |_| Duration::ZERO, lie).await
    }

    /// The same, but lookups of blobs and certificates are answered `late` later, as on a busy machine.
    pub async fn join_late(
        address: &str,
        identity: Identity,
        late: Duration,
        lie: impl FnMut(&Honest, &Message, Vec<Message>) -> Vec<Message> + Send + 'static,
    ) -> Self {
        let delay = move |question: &Message| match question {
            Message::Locate { .. } | Message::FindCertificate { .. } => late,
            _ => Duration::ZERO,
        };
        Self::join_delaying(address, identity, delay, lie).await
    }

    /// The same, but each message is answered after the delay that `delay` returns for it.
    pub async fn join_delaying(
        address: &str,
        identity: Identity,
        delay: impl FnMut(&Message) -> Duration + Send + 'static,
        lie: impl FnMut(&Honest, &Message, Vec<Message>) -> Vec<Message> + Send + 'static,
    ) -> Self {
        let mut link = RawLink::open(address).await;
        let honest = Honest::greet(&mut link, identity.into()).await.unwrap();
        Self(tokio::spawn(honest.take_part(link, delay, lie)))
    }

    /// The same over a link that nothing was sent on, until it ends.
    pub async fn run_over<S: AsyncRead + AsyncWrite + Unpin>(
        mut link: RawLink<S>,
        identity: Arc<Identity>,
        delay: impl FnMut(&Message) -> Duration,
        lie: impl FnMut(&Honest, &Message, Vec<Message>) -> Vec<Message>,
    ) {
        if let Ok(honest) = Honest::greet(&mut link, identity).await {
            honest.take_part(link, delay, lie).await;
        }
    }
}

impl Honest {
    async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
        link: &mut RawLink<S>,
        identity: Arc<Identity>,
    ) -> Result<Self, String> {
        let welcome = link.try_hello(Role::Replica, None, identity.node.node_key()).await?;
        link.send(&Message::Auth(identity.node.sign(&welcome.transcript, Role::Replica))).await;
        link.send(&identity.join()).await;
        let mut honest = Self { identity, committee: None, incoming: HashMap::new(), blobs: HashMap::new() };
        if let Some(cluster) = welcome.cluster {
            honest.learn(cluster);
        }
        Ok(honest)
    }

    async fn take_part<S: AsyncRead + AsyncWrite + Unpin>(
        mut self,
        mut link: RawLink<S>,
        mut delay: impl FnMut(&Message) -> Duration,
        mut lie: impl FnMut(&Self, &Message, Vec<Message>) -> Vec<Message>,
    ) {
        // in the order of their times, and equal times in the order of arrival
        let mut answers_later: BTreeMap<(Instant, u64), Message> = BTreeMap::new();
        let mut number = 0;
        loop {
            let due = answers_later.first_key_value().map(|((at, _), _)| *at);
            let message = tokio::select! {
                biased;
                message = link.next() => message,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if let Some((_, answer)) = answers_later.pop_first() {
                        link.send(&answer).await;
                    }
                    continue;
                }
            };
            let Some(message) = message else { break };
            let answers = self.answer(message.clone());
            let late = delay(&message);
            for answer in lie(&self, &message, answers) {
                if late > Duration::ZERO {
                    number += 1;
                    answers_later.insert((Instant::now() + late, number), answer);
                } else {
                    link.send(&answer).await;
                }
            }
        }
    }
}

impl Drop for FakeReplica {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A lie that flips one bit of the byte at this offset of a blob.
pub fn flip(at: u64) -> impl FnMut(&Honest, &Message, Vec<Message>) -> Vec<Message> + Send + 'static {
    move |_, _, mut answers| {
        if let Some(Message::Chunk { offset, bytes, .. }) = answers.first_mut()
            && (*offset..*offset + bytes.len() as u64).contains(&at)
        {
            let mut other = bytes.to_vec();
            other[usize::try_from(at - *offset).unwrap()] ^= 1;
            *bytes = other.into();
        }
        answers
    }
}
