//! A replica's control socket: a socket in its data folder, for its operator's commands.
//!
//! A command sends one request as a line of JSON. Each reply is a line; the last one says that it is the last. Only the owner can reach
//! the folder and the socket, so there is no further authentication.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

use super::Event;
use super::scrub::Scrubbed;
use super::status::{ApprovedChange, MembershipStatus, OperatorContext, Status};
use crate::host::Host;
use crate::host::net::{Io, Listener};
use crate::store::Usage;

/// The socket's name in the data folder.
const NAME: &str = "control.sock";
/// Maximum length of a request in bytes.
const MAX_REQUEST: u64 = 64 << 10;
/// Maximum length of a reply in bytes. The largest names every member of a committee of 1000 several times.
const MAX_REPLY: u64 = 1 << 20;
/// Time limit for a request to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time limit for the replica's next reply: a command must not hang on a stopped process.
const REPLY_DEADLINE: Duration = Duration::from_secs(10);
/// Interval at which the last reply is repeated during long work, so that the command does not give up.
const REPEAT_EVERY: Duration = Duration::from_secs(2);
/// Capacity of the queue of replies to a command that reads slowly.
const QUEUE: usize = 4;

/// An operator's request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// The replica's status.
    Status,
    /// What the store holds.
    Usage,
    /// Read every blob now, with progress reports.
    Scrub,
    /// The committee and its changes.
    Membership,
    /// Approve the proposed change with this identity, base58 or hex.
    Approve(String),
    /// Approve this change of the rules of access, in base64url.
    ApproveAccess(String),
}

/// The replica's reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The answer to [`Request::Status`]; the last reply.
    Status(Box<Status>),
    /// The answer to [`Request::Usage`]; the last reply.
    Usage(Usage),
    /// Progress of [`Request::Scrub`]; more replies follow.
    Scrubbing(Scrubbed),
    /// Every blob was read; the last reply.
    Scrubbed(Scrubbed),
    /// The answer to [`Request::Membership`]; the last reply.
    Membership(Box<MembershipStatus>),
    /// The answer to [`Request::Approve`]; the last reply.
    Approved(Box<ApprovedChange>),
    /// The answer to [`Request::ApproveAccess`]: the name of the member; the last reply.
    AccessApproved(String),
    /// The request failed; the last reply.
    Failed(String),
}

/// Why a running replica cannot be asked.
#[derive(Debug, Error)]
pub enum ControlError {
    /// No replica runs on the folder.
    #[error("no replica runs on {0}")]
    NotRunning(PathBuf),
    /// The socket's path exceeds the system's limit.
    #[error("{0}: the path of a socket is too long for the system; give the replica a folder with a shorter path")]
    PathTooLong(PathBuf),
    /// The socket failed.
    #[error("{path}: {error}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The replica runs and does not answer.
    #[error(
        "the replica on {folder} did not answer within {} s; it may be stopped, or wait for its disk",
        REPLY_DEADLINE.as_secs()
    )]
    Silent {
        /// The replica's folder.
        folder: PathBuf,
    },
    /// The reply cannot be understood; the versions may differ.
    #[error("the replica on {folder} gave no reply that this program understands: {error}; is it of the same version?")]
    Malformed {
        /// The replica's folder.
        folder: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// The replica refused, with its reason.
    #[error("{0}")]
    Failed(String),
}

/// A socket that is removed with its replica.
#[derive(Debug)]
pub(super) struct ControlSocket {
    host: Host,
    listener: Box<dyn Listener>,
    path: PathBuf,
}

impl ControlSocket {
    /// Listens in a folder that this process has locked. Replaces the socket of an earlier process.
    pub(super) fn open(host: &Host, folder: &Path) -> Result<Self, ControlError> {
        let path = folder.join(NAME);
        let listener = host.listen_unix(&path).map_err(|error| failed(&path, error))?;
        Ok(Self { host: host.clone(), listener, path })
    }

    /// Answers requests. Never completes.
    pub(super) async fn serve(self, context: Arc<OperatorContext>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => drop(context.storage.host.spawn(answer(context.clone(), stream))),
                Err(error) => {
                    // most likely out of descriptors; some will be released
                    context.reports.report(Event::Trouble(format!("{}: {error}", self.path.display())));
                    context.storage.host.sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.host.forget_unix(&self.path);
    }
}

fn failed(path: &Path, error: io::Error) -> ControlError {
    match error.kind() {
        io::ErrorKind::InvalidInput => ControlError::PathTooLong(path.to_owned()),
        _ => ControlError::Io { path: path.to_owned(), error },
    }
}

async fn answer(context: Arc<OperatorContext>, stream: Box<dyn Io>) {
    let host = context.storage.host.clone();
    let (reader, mut writer) = tokio::io::split(stream);
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(MAX_REQUEST));
    let read = context.storage.host.timeout(PATIENCE, reader.read_until(b'\n', &mut line)).await;
    let request = match read {
        Ok(Ok(_)) => serde_json::from_slice::<Request>(&line).map_err(|error| error.to_string()),
        Ok(Err(_)) | Err(_) => return,
    };
    let (replies, mut queue) = mpsc::channel(QUEUE);
    let work = async move {
        match request {
            Ok(request) => perform(&context, request, &replies).await,
            Err(error) => send_reply(&replies, Reply::Failed(format!("this is no request: {error}"))).await,
        }
    };
    let write = async {
        let mut line = Vec::new();
        loop {
            match host.timeout(REPEAT_EVERY, queue.recv()).await {
                Ok(Some(reply)) => {
                    let Ok(encoded) = serde_json::to_vec(&reply) else { return };
                    line = encoded;
                    line.push(b'\n');
                }
                Ok(None) => return,
                // the last progress again; nothing before there is any
                Err(_) => {}
            }
            // the caller is gone: nothing more is done for it
            if writer.write_all(&line).await.is_err() {
                return;
            }
        }
    };
    // the writer ends after the last reply
    tokio::join!(work, write);
}

async fn send_reply(replies: &mpsc::Sender<Reply>, reply: Reply) {
    // the caller may be gone
    let _ = replies.send(reply).await;
}

async fn perform(context: &Arc<OperatorContext>, request: Request, replies: &mpsc::Sender<Reply>) {
    let reply = match request {
        Request::Status => reading(context, |context| Ok(Reply::Status(Box::new(context.status())))).await,
        Request::Usage => {
            reading(context, |context| {
                context.storage.store.usage().map(Reply::Usage).map_err(|error| error.to_string())
            })
            .await
        }
        Request::Membership => {
            reading(context, |context| context.membership().map(Box::new).map(Reply::Membership)).await
        }
        Request::Approve(change) => {
            reading(context, move |context| context.approve(&change).map(Box::new).map(Reply::Approved)).await
        }
        Request::ApproveAccess(change) => context.clone().approve_access(&change).await.map(Reply::AccessApproved),
        Request::Scrub => {
            send_reply(replies, Reply::Scrubbing(Scrubbed::default())).await;
            scrub(context, replies).await.map(Reply::Scrubbed)
        }
    };
    send_reply(replies, reply.unwrap_or_else(Reply::Failed)).await;
}

/// Reads every blob, and passes on how far that is.
async fn scrub(context: &Arc<OperatorContext>, replies: &mpsc::Sender<Reply>) -> Result<Scrubbed, String> {
    let (told, mut progress) = mpsc::channel(1);
    let passing_on = async {
        while let Some(so_far) = progress.recv().await {
            send_reply(replies, Reply::Scrubbing(so_far)).await;
        }
    };
    tokio::join!(context.scrubber.pass_now(told), passing_on).0
}

/// Reads the index on a thread that may wait for the disk.
async fn reading(
    context: &Arc<OperatorContext>,
    read: impl FnOnce(&OperatorContext) -> Result<Reply, String> + Send + 'static,
) -> Result<Reply, String> {
    let reader = context.clone();
    context.storage.host.spawn_blocking(move || read(&reader)).await.map_err(|error| error.to_string())?
}

/// Asks the replica that runs on a folder; `progress` takes the replies before the last.
///
/// # Errors
/// See [`ControlError`].
pub async fn ask(
    host: &Host,
    folder: &Path,
    request: Request,
    mut progress: impl FnMut(Reply),
) -> Result<Reply, ControlError> {
    let path = folder.join(NAME);
    let silent = |_| ControlError::Silent { folder: folder.to_owned() };
    let connected = host.timeout(REPLY_DEADLINE, host.connect_unix(&path)).await.map_err(silent)?;
    let stream = connected.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning(folder.to_owned()),
        _ => failed(&path, error),
    })?;
    let broken = |error| ControlError::Io { path: path.clone(), error };
    let malformed = |error: String| ControlError::Malformed { folder: folder.to_owned(), error };
    let (reader, mut writer) = tokio::io::split(stream);
    let mut line = serde_json::to_vec(&request).map_err(|error| malformed(error.to_string()))?;
    line.push(b'\n');
    writer.write_all(&line).await.map_err(broken)?;
    let mut reader = BufReader::new(reader);
    loop {
        line.clear();
        let mut bounded = (&mut reader).take(MAX_REPLY);
        let reading = host.timeout(REPLY_DEADLINE, bounded.read_until(b'\n', &mut line)).await;
        let read = reading.map_err(silent)?.map_err(broken)?;
        if read == 0 {
            return Err(malformed("it ended before the last reply".into()));
        }
        match serde_json::from_slice(&line).map_err(|error| malformed(error.to_string()))? {
            Reply::Failed(why) => return Err(ControlError::Failed(why)),
            reply @ Reply::Scrubbing(_) => progress(reply),
            reply => return Ok(reply),
        }
    }
}
