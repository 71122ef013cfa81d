//! Answers to servers that need the disk or the vote key: heads, proofs, blocks, and whether an op is in the log already.

use std::sync::Arc;

use tokio::sync::mpsc;
use vouch_core::bls::VoteSignature;
use vouch_core::bugs::{self, Bug};
use vouch_core::digest::ClusterId;
use vouch_core::log::{BlockDigest, Op, OpId};
use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::statement::{LogHead, Statement};
use vouch_node_core::replica::log_calls::{LogCall, OpCaller};

use super::{LogContext, busy};
use crate::log::block_store::{BlockStore, BlockStoreError, SealPart};
use crate::store::StoreError;

/// Maximum number of answers that are being made.
const AT_ONCE: usize = 64;

/// The result of looking something up.
pub(super) enum Answer {
    /// Send this.
    Reply(OpCaller, Message),
    /// The op was decided before, at this height.
    Decided(OpId, u64),
    /// The op is not in the log.
    New(Op),
}

/// Why there is no answer.
struct Refusal(Code, String);

impl From<BlockStoreError> for Refusal {
    fn from(error: BlockStoreError) -> Self {
        Self(Code::Storage, error.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self(error.code(), error.to_string())
    }
}

/// Makes answers, a bounded number at once.
pub(super) struct Answers {
    work: Arc<AnswerContext>,
    in_progress: usize,
    done: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
}

struct AnswerContext {
    context: Arc<LogContext>,
    cluster: ClusterId,
    blocks: Arc<BlockStore>,
    /// The last head that was signed: several servers ask for the same.
    last: tokio::sync::Mutex<Option<(LogHead, VoteSignature)>>,
}

impl Answers {
    pub(super) fn new(context: Arc<LogContext>, cluster: ClusterId, blocks: Arc<BlockStore>) -> Self {
        let (done, answers) = mpsc::channel(AT_ONCE);
        let work = Arc::new(AnswerContext { context, cluster, blocks, last: Default::default() });
        Self { work, in_progress: 0, done, answers }
    }

    pub(super) fn cluster(&self) -> ClusterId {
        self.work.cluster
    }

    /// Starts to answer.
    ///
    /// # Errors
    /// The refusal to send: too many answers are being made.
    pub(super) fn start(&mut self, caller: OpCaller, call: LogCall) -> Result<(), Failed> {
        if self.in_progress >= AT_ONCE {
            return Err(busy(caller.stream));
        }
        self.in_progress += 1;
        let (work, done) = (self.work.clone(), self.done.clone());
        self.work.context.storage.host.spawn(async move {
            let refuse = |Refusal(code, detail)| Answer::Reply(caller, Message::failed(caller.stream, code, detail));
            let answer = work.answer(caller, call).await.unwrap_or_else(refuse);
            // Has a place: there are as many as answers in progress.
            let _ = done.send(answer).await;
        });
        Ok(())
    }

    /// The next answer.
    pub(super) async fn next(&mut self) -> Answer {
        match self.answers.recv().await {
            Some(answer) => {
                self.in_progress -= 1;
                answer
            }
            // Never closed: this holds a sender.
            None => std::future::pending().await,
        }
    }
}

impl AnswerContext {
    async fn answer(&self, caller: OpCaller, call: LogCall) -> Result<Answer, Refusal> {
        let stream = caller.stream;
        let message = match call {
            LogCall::Head(height) => self.head(stream, height).await?,
            LogCall::Submit(op) => {
                let id = op.id(&self.cluster);
                let found = self.on_disk(move |blocks| Ok(blocks.find_op(id)?)).await?;
                return Ok(found.map_or(Answer::New(op), |(height, _)| Answer::Decided(id, height)));
            }
            LogCall::Proof { op, head } => {
                let found = self.on_disk(move |blocks| Ok(blocks.op_proof(op, head)?)).await?;
                let proof = found.ok_or_else(|| not_found(format!("op {op} is not in the log up to height {head}")))?;
                Message::OpProof { stream, proof: Box::new(proof) }
            }
            LogCall::Block { height, head } => {
                let found = self.on_disk(move |blocks| Ok(blocks.block_with_path(height, head)?)).await?;
                let missing = || not_found(format!("block {height} is not kept here, or is above height {head}"));
                let (block, path) = found.ok_or_else(missing)?;
                Message::LogBlock { stream, path, block: Box::new(block) }
            }
            LogCall::Seal { epoch, from } => {
                let found = self.on_disk(move |blocks| Ok(blocks.seal_part(epoch, from)?)).await?;
                let missing = || not_found(format!("the statements of the seal of epoch {epoch} are not here"));
                let SealPart { count, identities } = found.ok_or_else(missing)?;
                Message::SealPart { stream, count, identities }
            }
        };
        Ok(Answer::Reply(caller, message))
    }

    /// Signs the head of a height. Every signature of a head is of a block that was decided, and is durable here with the state after it.
    /// The journal has the statement before the signature leaves. A repeated signature needs no new check: it is about what happened.
    async fn head(&self, stream: Stream, height: u64) -> Result<Message, Refusal> {
        let mut last = self.last.lock().await;
        if let Some((head, signature)) = *last
            && head.height == height
        {
            return Ok(Message::LogHead { stream, head, signature });
        }
        let found = self.on_disk(move |blocks| {
            let epoch = blocks.headers(height, 1)?.first().map(|header| header.epoch);
            Ok(blocks.head(height)?.zip(epoch))
        });
        let missing = || not_found(format!("block {height} of the log is not decided here"));
        let (head, epoch) = found.await?.ok_or_else(missing)?;
        // The committee of the block's epoch signs its head.
        let chain = self.context.identity.chain();
        let committee = chain.as_ref().and_then(|chain| chain.of_epoch(epoch).cloned());
        let key = self.context.identity.vote_key(epoch);
        let Some((committee, key)) = committee.zip(key) else {
            let detail = format!("this replica has no vote key of epoch {epoch}, to which block {height} belongs");
            return Err(Refusal(Code::NotAdmitted, detail));
        };
        let head = match bugs::has(Bug::HeadOfAnotherBlock) {
            true => LogHead { block: BlockDigest::GENESIS, ..head },
            false => head,
        };
        let statement = Statement::new(committee.record(), head);
        let journalled = self.context.storage.store.enter_once(statement).await?;
        let signing = self.context.storage.host.spawn_blocking(move || journalled.sign(&key));
        let signature = signing.await.map_err(|error| Refusal(Code::Storage, error.to_string()))?;
        *last = Some((head, signature));
        Ok(Message::LogHead { stream, head, signature })
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&BlockStore) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let blocks = self.blocks.clone();
        let worked = self.context.storage.host.spawn_blocking(move || work(&blocks)).await;
        worked.map_err(|error| Refusal(Code::Storage, error.to_string()))?
    }
}

fn not_found(detail: String) -> Refusal {
    Refusal(Code::NotFound, detail)
}
