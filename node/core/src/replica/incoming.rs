//! The puts that one link receives: what is taken, in which order it is written, and what the server hears.
//!
//! Each put has one worker for its disk work. A worker performs the tasks of its put in the order in which they are given and ends
//! each with one result; after its last task, or a failure, it is gone. A put holds a place until then, even when the server has
//! given it up: otherwise puts that are begun and cancelled would pile up work for the disk without limit.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use vouch_core::bugs::{self, Bug};
use vouch_core::digest::Digest;
use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::tree::Parent;

use super::Event;

#[cfg(test)]
mod tests;

/// Chunks of one put that wait for its worker. With one more, the link takes no further message.
const QUEUE: usize = 2;
/// Chunks that one task writes.
const CHUNKS_PER_TASK: usize = 2;

/// A put on this link. Unlike its stream number, it is never used again: a server may begin a put under the number of one whose
/// worker is still busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncomingId(u64);

/// A chunk of a put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingChunk {
    /// Where it begins in the blob.
    pub offset: u64,
    /// Its proof, if the blob was offered.
    pub parents: Vec<Parent>,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Disk work of one put.
#[derive(Debug, PartialEq, Eq)]
pub enum IncomingTask {
    /// Open what the bytes go to: an offered blob resumes where an earlier put of it ended. The first task of a worker.
    Open(Option<Receipt>),
    /// Write chunks.
    Write(Vec<IncomingChunk>),
    /// Compare the blob with its receipt, make it durable and enter it in the index. The last task.
    Finish(Receipt),
    /// Close a put that was given up, and keep or remove what it brought. The last task. Another put of the blob may take over from
    /// the moment that this task is given: it must not wait for the tasks before it.
    PutAway {
        /// Whether the received part of an offered blob is kept.
        keep: bool,
    },
    /// Store a blob that came in one message. The only task.
    Whole(Receipt, Bytes),
}

/// How a task ended.
#[derive(Debug, PartialEq, Eq)]
pub enum IncomingResult {
    /// To [`IncomingTask::Open`].
    Opened {
        /// From where bytes are needed.
        offset: u64,
        /// What differs, if the blob was held and is not what it should be: it is held no more.
        damage: Option<String>,
    },
    /// To [`IncomingTask::Write`].
    Written,
    /// To [`IncomingTask::Finish`] and [`IncomingTask::Whole`].
    Stored,
    /// To [`IncomingTask::PutAway`].
    PutAway,
    /// To any: it failed.
    Failed(Code, String),
}

impl IncomingResult {
    /// Whether the worker is gone with it.
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Opened { .. } | Self::Written)
    }
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum IncomingOutput {
    /// Give the put's worker a task.
    Task(IncomingId, IncomingTask),
    /// Send a reply.
    Send(Message),
    /// Tell the operator.
    Report(Event),
    /// A blob was found damaged, with what differs.
    Lost(Digest, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IncomingPhase {
    /// More chunks are expected.
    Receiving,
    /// The server sent everything.
    Finishing(Receipt),
    /// The server gave it up, or sent what does not follow.
    GivenUp,
}

#[derive(Debug)]
struct IncomingPut {
    id: IncomingId,
    stream: Stream,
    offer: Option<Receipt>,
    /// Where the next chunk must begin; an offered blob may begin anywhere.
    next: Option<u64>,
    queue: VecDeque<IncomingChunk>,
    /// The worker has a task; the next chunks wait for its result.
    is_busy: bool,
    phase: IncomingPhase,
}

impl IncomingPut {
    fn task(&self, task: IncomingTask) -> IncomingOutput {
        IncomingOutput::Task(self.id, task)
    }

    /// Has the next chunks written, if the worker is free.
    fn write_next(&mut self, out: &mut Vec<IncomingOutput>) {
        if !self.is_busy && !self.queue.is_empty() {
            self.is_busy = true;
            let count = self.queue.len().min(CHUNKS_PER_TASK);
            let chunks = self.queue.drain(..count).collect();
            out.push(self.task(IncomingTask::Write(chunks)));
        }
    }

    /// Gives the worker all that is left: nothing follows that would have to wait.
    fn write_all(&mut self, out: &mut Vec<IncomingOutput>) {
        if !self.queue.is_empty() {
            let chunks = self.queue.drain(..).collect();
            out.push(self.task(IncomingTask::Write(chunks)));
        }
    }
}

/// The puts that one link receives.
#[derive(Debug)]
pub struct IncomingPuts {
    /// The most at once.
    limit: usize,
    /// Those that a worker is at, whether or not the server expects anything of them.
    puts: BTreeMap<IncomingId, IncomingPut>,
    /// Those of which more chunks are expected.
    receiving: BTreeMap<Stream, IncomingId>,
    next_id: u64,
    /// The put that got the last chunk: no other queue can be too long, since nothing is taken while one is.
    last: Option<IncomingId>,
    out: Vec<IncomingOutput>,
}

impl IncomingPuts {
    /// At most `limit` puts at once.
    pub fn new(limit: usize) -> Self {
        let (puts, receiving) = (BTreeMap::new(), BTreeMap::new());
        Self { limit, puts, receiving, next_id: 0, last: None, out: Vec::new() }
    }

    /// Whether the link takes no further message, because a queue is full.
    pub fn is_full(&self) -> bool {
        self.last.and_then(|last| self.puts.get(&last)).is_some_and(|put| put.queue.len() > QUEUE)
    }

    /// What is to be done since this was called last.
    pub fn take_outputs(&mut self) -> Vec<IncomingOutput> {
        std::mem::take(&mut self.out)
    }

    /// The server begins a put.
    ///
    /// # Errors
    /// What it is told instead.
    pub fn begin(&mut self, stream: Stream, offer: Option<Receipt>) -> Result<(), Failed> {
        if self.receiving.contains_key(&stream) {
            return Err(Failed::new(stream, Code::Unexpected, "a put of this number is in progress"));
        }
        let id = self.add(stream, offer, IncomingPhase::Receiving, IncomingTask::Open(offer))?;
        self.receiving.insert(stream, id);
        Ok(())
    }

    /// The server sends a whole blob.
    ///
    /// # Errors
    /// What it is told instead.
    pub fn whole(&mut self, stream: Stream, receipt: Receipt, bytes: Bytes) -> Result<(), Failed> {
        let task = IncomingTask::Whole(receipt, bytes);
        self.add(stream, None, IncomingPhase::Finishing(receipt), task).map(drop)
    }

    fn add(
        &mut self,
        stream: Stream,
        offer: Option<Receipt>,
        phase: IncomingPhase,
        task: IncomingTask,
    ) -> Result<IncomingId, Failed> {
        if self.puts.len() >= self.limit {
            let detail = format!("expected at most {} puts at once", self.limit);
            return Err(Failed::new(stream, Code::Busy, detail));
        }
        self.next_id += 1;
        let id = IncomingId(self.next_id);
        let next = if offer.is_some() { None } else { Some(0) };
        let put = IncomingPut { id, stream, offer, next, queue: VecDeque::new(), is_busy: true, phase };
        self.out.push(put.task(task));
        self.puts.insert(id, put);
        Ok(id)
    }

    /// The server sends a chunk. Chunks of a put that failed or was cancelled are still on their way for a while: they are dropped.
    ///
    /// # Errors
    /// What it is told if the chunk does not follow the one before: the put is over.
    pub fn chunk(&mut self, stream: Stream, chunk: IncomingChunk) -> Result<(), Failed> {
        let id = self.receiving.get(&stream).copied();
        let Some(put) = id.and_then(|id| self.puts.get_mut(&id)) else { return Ok(()) };
        if let Some(next) = put.next.filter(|next| chunk.offset != *next) {
            let detail = format!("expected the bytes at {next}, got those at {}", chunk.offset);
            self.cancel(stream, true);
            return Err(Failed::new(stream, Code::Unexpected, detail));
        }
        put.next = Some(chunk.offset.saturating_add(chunk.bytes.len() as u64));
        put.queue.push_back(chunk);
        put.write_next(&mut self.out);
        self.last = id;
        Ok(())
    }

    /// The server sent everything, and names what it was.
    pub fn end(&mut self, stream: Stream, receipt: Receipt) {
        if let Some(put) = self.receiving.remove(&stream).and_then(|id| self.puts.get_mut(&id)) {
            put.phase = IncomingPhase::Finishing(receipt);
            put.write_all(&mut self.out);
            self.out.push(put.task(IncomingTask::Finish(receipt)));
        }
    }

    /// The server cancels a put. With `keep`, the received part of an offered blob stays for the next put of it; otherwise the bytes of
    /// this put are removed.
    pub fn cancel(&mut self, stream: Stream, keep: bool) {
        if let Some(put) = self.receiving.remove(&stream).and_then(|id| self.puts.get_mut(&id)) {
            put.phase = IncomingPhase::GivenUp;
            match keep {
                true => put.write_all(&mut self.out),
                false => put.queue.clear(),
            }
            self.out.push(put.task(IncomingTask::PutAway { keep }));
        }
    }

    /// The link has ended. Returns the last tasks, which keep the received part of each put.
    pub fn close(&mut self) -> Vec<(IncomingId, IncomingTask)> {
        let streams: Vec<Stream> = self.receiving.keys().copied().collect();
        for stream in streams {
            self.cancel(stream, true);
        }
        let tasks = self.take_outputs().into_iter().filter_map(|output| match output {
            IncomingOutput::Task(id, task) => Some((id, task)),
            IncomingOutput::Send(_) | IncomingOutput::Report(_) | IncomingOutput::Lost(..) => None,
        });
        tasks.collect()
    }

    /// A worker ended a task.
    pub fn done(&mut self, id: IncomingId, result: IncomingResult) {
        let Some(put) = self.puts.get_mut(&id) else { return };
        let (stream, phase) = (put.stream, put.phase);
        let is_last = result.is_last();
        match (result, phase) {
            (IncomingResult::Opened { offset, damage }, phase) => {
                if let (Some(offer), Some(what)) = (put.offer, damage) {
                    self.out.push(IncomingOutput::Lost(offer.digest, what));
                }
                if put.offer.is_some() && phase != IncomingPhase::GivenUp {
                    self.out.push(IncomingOutput::Send(Message::Ready { stream, offset }));
                }
                put.is_busy = false;
                put.write_next(&mut self.out);
            }
            (IncomingResult::Written, _) => {
                put.is_busy = false;
                put.write_next(&mut self.out);
            }
            (IncomingResult::Stored, IncomingPhase::Finishing(receipt)) => {
                self.out.push(IncomingOutput::Report(Event::Stored(receipt.digest, receipt.length)));
                self.out.push(IncomingOutput::Send(Message::Stored { stream }));
            }
            // the server has no use for an answer, and the next put of the blob took over, as it should
            (IncomingResult::Failed(Code::Busy, _), IncomingPhase::GivenUp) => {}
            (IncomingResult::Failed(code, detail), phase) => {
                self.out.push(IncomingOutput::Report(match code {
                    Code::NoSpace | Code::Storage => Event::Trouble(detail.clone()),
                    _ => Event::Refused(detail.clone()),
                }));
                if phase != IncomingPhase::GivenUp {
                    let failed = Failed::new(stream, code, detail);
                    self.out.push(IncomingOutput::Send(Message::Failed(failed)));
                }
            }
            // nothing is stored that the server did not end
            (IncomingResult::Stored | IncomingResult::PutAway, _) => {}
        }
        let is_place_lost = bugs::has(Bug::LostPlace) && phase == IncomingPhase::GivenUp;
        if is_last && !is_place_lost {
            self.puts.remove(&id);
        }
        if is_last && self.receiving.get(&stream) == Some(&id) {
            self.receiving.remove(&stream);
        }
    }
}
