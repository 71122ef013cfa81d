//! The puts that one link receives: bounds them, orders their disk work, and answers the server.
//!
//! Each put has one worker for its disk work. The worker performs the put's tasks in order and returns one result for each. It ends
//! after its last task or after a failure. The put keeps its place until then, even if the server has cancelled it: otherwise puts
//! that are begun and cancelled could queue disk work without limit.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use vouch_core::bugs::{self, Bug};
use vouch_core::digest::Digest;
use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::placement::Assignment;
use vouch_core::tree::Parent;

use super::Event;

#[cfg(test)]
mod tests;

/// Maximum number of chunks of one put that wait for its worker. Beyond it, the link is not read.
const QUEUE: usize = 2;
/// Maximum number of chunks that one task writes.
const CHUNKS_PER_TASK: usize = 2;

/// The number of a put on this link. Unlike a stream number, it is never reused: a server may begin a put with the stream number of one
/// whose worker is still busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncomingId(u64);

/// A chunk of a put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingChunk {
    /// The chunk's offset in the blob.
    pub offset: u64,
    /// The chunk's proof, if the blob was offered.
    pub parents: Vec<Parent>,
    /// The chunk's bytes.
    pub bytes: Bytes,
}

/// Disk work of one put.
#[derive(Debug, PartialEq, Eq)]
pub enum IncomingTask {
    /// Open the partial blob. An offered blob resumes where an earlier put of it ended. The first task of a worker.
    Open(Option<Assignment>),
    /// Write chunks.
    Write(Vec<IncomingChunk>),
    /// Compare the bytes with the assignment, make them durable, and add them to the index. The last task.
    Finish(Assignment),
    /// Close a cancelled put, and keep or remove its bytes. The last task. Another put of the blob may take over as soon as this task is
    /// given: it must not wait for the tasks before it.
    PutAway {
        /// Whether the received part of an offered blob is kept.
        keep: bool,
    },
    /// Store a blob that came in one message. The only task.
    Whole(Assignment, Bytes),
}

/// The result of a task.
#[derive(Debug, PartialEq, Eq)]
pub enum IncomingResult {
    /// To [`IncomingTask::Open`].
    Opened {
        /// The resume offset.
        offset: u64,
        /// The damage, if the blob was stored and found damaged. It is no longer stored.
        damage: Option<String>,
    },
    /// To [`IncomingTask::Write`].
    Written,
    /// To [`IncomingTask::Finish`] and [`IncomingTask::Whole`].
    Stored,
    /// To [`IncomingTask::PutAway`].
    PutAway,
    /// To any task: it failed.
    Failed(Code, String),
}

impl IncomingResult {
    /// Whether the worker has ended with this result.
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Opened { .. } | Self::Written)
    }
}

/// An output, to be performed in order.
#[derive(Debug)]
pub enum IncomingOutput {
    /// Give a task to the put's worker.
    Task(IncomingId, IncomingTask),
    /// Send a reply.
    Send(Message),
    /// Report to the operator.
    Report(Event),
    /// A stored blob was found damaged. Its digest, and the damage.
    Damaged(Digest, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IncomingPhase {
    /// More chunks are expected.
    Receiving,
    /// The server has sent all bytes.
    Finishing(Assignment),
    /// The server has cancelled the put, or sent a wrong chunk.
    GivenUp,
}

#[derive(Debug)]
struct IncomingPut {
    id: IncomingId,
    stream: Stream,
    offer: Option<Assignment>,
    /// The required offset of the next chunk; `None` before the first chunk of an offered blob, which may resume anywhere.
    next: Option<u64>,
    queue: VecDeque<IncomingChunk>,
    /// Whether the worker has a task. The next chunks wait for its result.
    is_busy: bool,
    phase: IncomingPhase,
}

impl IncomingPut {
    fn task(&self, task: IncomingTask) -> IncomingOutput {
        IncomingOutput::Task(self.id, task)
    }

    /// Gives the worker the next chunks, if it is free.
    fn write_next(&mut self, out: &mut Vec<IncomingOutput>) {
        if !self.is_busy && !self.queue.is_empty() {
            self.is_busy = true;
            let count = self.queue.len().min(CHUNKS_PER_TASK);
            let chunks = self.queue.drain(..count).collect();
            out.push(self.task(IncomingTask::Write(chunks)));
        }
    }

    /// Gives the worker all waiting chunks. The caller adds the last task.
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
    /// Maximum number of puts at once.
    limit: usize,
    /// Puts with a worker, including those that the server has cancelled.
    puts: BTreeMap<IncomingId, IncomingPut>,
    /// Puts of which more chunks are expected.
    receiving: BTreeMap<Stream, IncomingId>,
    next_id: u64,
    /// The put that received the last chunk. Only its queue can be full, because the link is not read while a queue is.
    last: Option<IncomingId>,
    out: Vec<IncomingOutput>,
}

impl IncomingPuts {
    /// Receives at most `limit` puts at once.
    pub fn new(limit: usize) -> Self {
        let (puts, receiving) = (BTreeMap::new(), BTreeMap::new());
        Self { limit, puts, receiving, next_id: 0, last: None, out: Vec::new() }
    }

    /// Whether a queue is full, so that the link must not be read.
    pub fn is_full(&self) -> bool {
        self.last.and_then(|last| self.puts.get(&last)).is_some_and(|put| put.queue.len() > QUEUE)
    }

    /// The outputs since the last call.
    pub fn take_outputs(&mut self) -> Vec<IncomingOutput> {
        std::mem::take(&mut self.out)
    }

    /// The server begins a put.
    ///
    /// # Errors
    /// The refusal to send.
    pub fn begin(&mut self, stream: Stream, offer: Option<Assignment>) -> Result<(), Failed> {
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
    /// The refusal to send.
    pub fn whole(&mut self, stream: Stream, assignment: Assignment, bytes: Bytes) -> Result<(), Failed> {
        let task = IncomingTask::Whole(assignment, bytes);
        self.add(stream, None, IncomingPhase::Finishing(assignment), task).map(drop)
    }

    fn add(
        &mut self,
        stream: Stream,
        offer: Option<Assignment>,
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

    /// The server sends a chunk. Chunks that still arrive for a failed or cancelled put are ignored.
    ///
    /// # Errors
    /// The refusal to send if the chunk does not follow the previous one. The put has then ended.
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

    /// The server has sent all bytes, which must be those of the assignment.
    pub fn end(&mut self, stream: Stream, assignment: Assignment) {
        if let Some(put) = self.receiving.remove(&stream).and_then(|id| self.puts.get_mut(&id)) {
            put.phase = IncomingPhase::Finishing(assignment);
            put.write_all(&mut self.out);
            self.out.push(put.task(IncomingTask::Finish(assignment)));
        }
    }

    /// The server cancels a put. With `keep`, the received part of an offered blob is kept for the next put of it; otherwise it is
    /// removed.
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

    /// The link has ended. Returns the last tasks of the workers, which keep the received part of each put.
    pub fn close(&mut self) -> Vec<(IncomingId, IncomingTask)> {
        let streams: Vec<Stream> = self.receiving.keys().copied().collect();
        for stream in streams {
            self.cancel(stream, true);
        }
        let tasks = self.take_outputs().into_iter().filter_map(|output| match output {
            IncomingOutput::Task(id, task) => Some((id, task)),
            IncomingOutput::Send(_) | IncomingOutput::Report(_) | IncomingOutput::Damaged(..) => None,
        });
        tasks.collect()
    }

    /// A worker has ended a task.
    pub fn done(&mut self, id: IncomingId, result: IncomingResult) {
        let Some(put) = self.puts.get_mut(&id) else { return };
        let (stream, phase) = (put.stream, put.phase);
        let is_last = result.is_last();
        match (result, phase) {
            (IncomingResult::Opened { offset, damage }, phase) => {
                if let (Some(offer), Some(what)) = (put.offer, damage) {
                    self.out.push(IncomingOutput::Damaged(offer.digest, what));
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
            (IncomingResult::Stored, IncomingPhase::Finishing(Assignment { digest, length, .. })) => {
                self.out.push(IncomingOutput::Report(Event::Stored(digest, length)));
                self.out.push(IncomingOutput::Send(Message::Stored { stream }));
            }
            // Expected: the next put of the blob has taken over, and the server waits for no answer.
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
            // Cannot happen: only a put that the server has ended is stored.
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
