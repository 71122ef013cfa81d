//! Links over a WebSocket: the one file that names the socket library, with every limit and deadline.

mod meter;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message as Frame};
use vouch_core::link::HelloError;
use vouch_core::message::{Code, Failed, MAX_MESSAGE, Message, MessageError, Stream};

use crate::budgets::Permit;
use crate::host::Host;
pub use crate::host::net::Io;
use crate::host::tasks::MissedTickBehavior;
pub use meter::Allowance;
use meter::{Meter, Metered};

/// The path of the WebSocket on a server.
pub const PATH: &str = "/v1/link";
/// The subprotocol that both ends name.
pub const SUBPROTOCOL: &str = "vouch.v1";

/// Connecting, or a hello, takes no longer.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// A link on which nothing arrives for so long is dead; pings see to it that something does.
const IDLE_DEADLINE: Duration = Duration::from_secs(45);
/// The same for a member: puts wait for members, and a process that is stopped must not hold them up for longer.
const MEMBER_IDLE_DEADLINE: Duration = Duration::from_secs(15);
const PING_EVERY: Duration = Duration::from_secs(5);
/// A frame that cannot be written for so long means that the other end does not read.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// Messages that are written at one time, in bytes.
const TOGETHER: usize = 32 << 10;
/// Bytes read at one time, which each link keeps room for as long as it is open: who dials has few links, who accepts them has
/// thousands that are idle.
const DIALLED_READ: usize = 32 << 10;
const ACCEPTED_READ: usize = 8 << 10;
/// How much and how long is read after a close, so that the reason arrives.
const DRAIN_BYTES: usize = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<Box<dyn Io>>;

/// Why a link ended.
#[derive(Debug, Error)]
pub enum LinkError {
    /// Nobody listens.
    #[error("cannot connect to {address}: {error}; is a server running there? start one with `vouch server`")]
    Connect {
        /// Where to.
        address: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Another service listens.
    #[error("{address} does not speak the Vouch link protocol: {reason}")]
    Handshake {
        /// Where to.
        address: String,
        /// What it answered.
        reason: String,
    },
    /// A deadline passed.
    #[error("the other end did not {what} within {} s", .after.as_secs())]
    Deadline {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        after: Duration,
    },
    /// The other end closed.
    #[error("the other end closed the link{}", reason(.0))]
    Closed(String),
    /// The connection broke or carried what is no WebSocket.
    #[error("the link broke: {0}")]
    Broken(String),
    /// A message came too slowly.
    #[error("expected the rest of a message sooner, got {0} bytes of it in {} s", .after.as_secs())]
    TooSlow {
        /// Bytes that came.
        got: u64,
        /// In this time.
        after: Duration,
    },
    /// A message was beyond the limit of the socket.
    #[error("the link broke: message too large: {0}")]
    TooLarge(String),
    /// A message was malformed.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The other end refused, with a reason.
    #[error(transparent)]
    Refused(#[from] Failed),
    /// This end refuses, most likely for the other end broke the protocol. The other end is to be told.
    #[error("{0}")]
    Violation(Failed),
}

impl LinkError {
    /// What the other end did that this end does not allow.
    pub fn unexpected(expected: &str, got: &Message) -> Self {
        Self::violation(Code::Unexpected, format!("expected {expected}, got {}", got.name()))
    }

    /// The same for any reason.
    pub fn violation(code: Code, detail: impl Into<String>) -> Self {
        Self::Violation(Failed::new(Stream::LINK, code, detail.into()))
    }

    /// What the other end is to be told, for it does not know: with the socket closed and no reason, its operator could only
    /// guess. `None` where the other end ended the link, or is gone.
    pub fn to_tell(&self) -> Option<Failed> {
        let code = match self {
            Self::Violation(failed) => return Some(failed.clone()),
            Self::TooLarge(_) | Self::Message(MessageError::TooLarge(_)) => Code::TooLarge,
            Self::Message(MessageError::Hello(HelloError::Version { .. })) => Code::Version,
            Self::Message(_) => Code::Malformed,
            Self::Deadline { .. } | Self::TooSlow { .. } => Code::TimedOut,
            Self::Connect { .. } | Self::Handshake { .. } | Self::Closed(_) | Self::Broken(_) | Self::Refused(_) => {
                return None;
            }
        };
        Some(Failed::new(Stream::LINK, code, self.to_string()))
    }
}

fn reason(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl From<WsError> for LinkError {
    fn from(error: WsError) -> Self {
        match error {
            WsError::ConnectionClosed | WsError::AlreadyClosed => Self::Closed(String::new()),
            error => Self::Broken(error.to_string()),
        }
    }
}

fn config(read_at_once: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(read_at_once)
        .write_buffer_size(64 << 10)
        // one message beyond the buffer, and room for pings and a close
        .max_write_buffer_size((64 << 10) + MAX_MESSAGE + (16 << 10))
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

/// Dials a server, `host:port`.
///
/// # Errors
/// Nobody there, another service, or no answer in time.
pub async fn dial(host: &Host, address: &str) -> Result<(LinkReader, LinkWriter), LinkError> {
    let late = |what| LinkError::Deadline { what, after: HANDSHAKE_DEADLINE };
    let stream = host
        .timeout(HANDSHAKE_DEADLINE, host.connect(address))
        .await
        .map_err(|_| late("accept the connection"))?
        .map_err(|error| LinkError::Connect { address: address.into(), error })?;
    let refused = |error: WsError| LinkError::Handshake { address: address.into(), reason: error.to_string() };
    let mut request = format!("ws://{address}{PATH}").into_client_request().map_err(refused)?;
    let subprotocol = tokio_tungstenite::tungstenite::http::HeaderValue::from_static(SUBPROTOCOL);
    request.headers_mut().insert("sec-websocket-protocol", subprotocol);
    let (socket, _) = host
        .timeout(
            HANDSHAKE_DEADLINE,
            tokio_tungstenite::client_async_with_config(request, stream, Some(config(DIALLED_READ))),
        )
        .await
        .map_err(|_| late("upgrade to a WebSocket"))?
        .map_err(refused)?;
    Ok(split(host.clone(), socket, None))
}

/// The answer to a WebSocket key in an HTTP upgrade (RFC 6455 section 4.2.2).
pub fn accept_key(key: &[u8]) -> String {
    derive_accept_key(key)
}

/// The server's end of an upgraded HTTP connection, of somebody who is a stranger so far.
pub async fn accepted(io: Box<dyn Io>, allowance: Allowance) -> (LinkReader, LinkWriter) {
    let host = allowance.host.clone();
    let meter = Meter::new(allowance);
    let io: Box<dyn Io> = Box::new(Metered { io, meter: meter.clone() });
    split(host, WebSocketStream::from_raw_socket(io, Role::Server, Some(config(ACCEPTED_READ))).await, Some(meter))
}

fn split(host: Host, socket: Socket, meter: Option<Arc<Meter>>) -> (LinkReader, LinkWriter) {
    let (sink, stream) = socket.split();
    let heard = host.monotonic();
    let reader = LinkReader {
        host: host.clone(),
        socket: stream,
        meter: meter.clone(),
        heard,
        idle: IDLE_DEADLINE,
        is_delivered: false,
    };
    (reader, LinkWriter { host, socket: sink, meter })
}

/// The receiving half: takes messages out of frames. A wait that is dropped and begun again goes on with the same deadlines.
pub struct LinkReader {
    host: Host,
    socket: SplitStream<Socket>,
    /// Of an accepted link.
    meter: Option<Arc<Meter>>,
    /// When the last frame came, of whatever kind.
    heard: Duration,
    /// How long the other end may be silent.
    idle: Duration,
    /// The last message was given out, and is dealt with when the next one is asked for.
    is_delivered: bool,
}

impl LinkReader {
    /// The next message's bytes.
    ///
    /// # Errors
    /// See [`LinkError`]; the link is then over.
    pub async fn next(&mut self) -> Result<Bytes, LinkError> {
        self.next_message(None, "send anything").await
    }

    /// The next message of a handshake, which ends by a deadline, whatever else comes meanwhile.
    ///
    /// # Errors
    /// See [`LinkError`]. A [`Failed`] for the whole link is an error here.
    pub async fn expect(&mut self, what: &'static str, handshake: Handshake) -> Result<Message, LinkError> {
        let bytes = self.next_message(Some(handshake), what).await?;
        match Message::decode(&bytes)? {
            Message::Failed(failed) if failed.stream == Stream::LINK => Err(failed.into()),
            message => Ok(message),
        }
    }

    /// The hello was good: from now on messages may be as long as any.
    pub fn said_hello(&self) {
        if let Some(meter) = &self.meter {
            meter.said_hello();
        }
    }

    /// The other end proved that it is a member: it is held to no budget.
    pub fn is_member(&mut self) {
        if let Some(meter) = &self.meter {
            meter.is_member();
            self.idle = MEMBER_IDLE_DEADLINE;
        }
    }

    /// The next message. Frames of any kind show that the other end is there; a handshake does not get longer by them.
    async fn next_message(&mut self, handshake: Option<Handshake>, what: &'static str) -> Result<Bytes, LinkError> {
        if std::mem::take(&mut self.is_delivered)
            && let Some(meter) = &self.meter
        {
            meter.finished();
        }
        loop {
            let (until, after) = match handshake {
                Some(Handshake { until }) => (until, HANDSHAKE_DEADLINE),
                None => (self.heard + self.idle, self.idle),
            };
            let due = self.meter.as_ref().and_then(|meter| meter.due());
            let wake = due.map_or(until, |due| due.min(until));
            let left = wake.saturating_sub(self.host.monotonic());
            let frame = self.host.timeout(left, self.socket.next()).await;
            let now = self.host.monotonic();
            if let Some(meter) = &self.meter {
                meter.keeps_pace(now)?;
            }
            let Ok(frame) = frame else {
                if now >= until {
                    return Err(LinkError::Deadline { what, after });
                }
                continue;
            };
            self.heard = now;
            match frame {
                None => return Err(LinkError::Closed(String::new())),
                Some(Ok(Frame::Binary(bytes))) => {
                    if let Some(meter) = &self.meter {
                        meter.received();
                    }
                    self.is_delivered = true;
                    return Ok(bytes);
                }
                Some(Ok(Frame::Ping(payload) | Frame::Pong(payload))) => {
                    if self.meter.as_ref().is_some_and(|meter| !meter.control_frame(payload.len(), now)) {
                        return Err(LinkError::Broken("expected a ping now and then, got a flood of them".into()));
                    }
                    if handshake.is_some() && now >= until {
                        return Err(LinkError::Deadline { what, after });
                    }
                }
                Some(Ok(Frame::Frame(_))) => {}
                Some(Ok(Frame::Text(_))) => {
                    return Err(LinkError::violation(Code::Malformed, "expected binary, got text"));
                }
                Some(Ok(Frame::Close(frame))) => {
                    let text = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    return Err(LinkError::Closed(text));
                }
                Some(Err(WsError::Capacity(error))) => return Err(LinkError::TooLarge(error.to_string())),
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }
}

/// The time that a handshake has, all its messages together.
#[derive(Debug, Clone, Copy)]
pub struct Handshake {
    until: Duration,
}

impl Handshake {
    /// It begins now.
    pub fn begin(host: &Host) -> Self {
        Self { until: host.monotonic() + HANDSHAKE_DEADLINE }
    }
}

/// The sending half.
pub struct LinkWriter {
    host: Host,
    socket: SplitSink<Socket, Frame>,
    /// Of an accepted link.
    meter: Option<Arc<Meter>>,
}

impl LinkWriter {
    fn set_sending(&self, is_sending: bool) {
        if let Some(meter) = &self.meter {
            meter.set_sending(is_sending);
        }
    }

    /// Sends one message's bytes.
    ///
    /// # Errors
    /// The link broke or the other end does not read.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), LinkError> {
        in_time(&self.host, self.socket.send(Frame::Binary(bytes))).await
    }

    /// Sends one message's bytes together with those of the next ones, at the latest with [`flush`](Self::flush).
    ///
    /// # Errors
    /// The link broke or the other end does not read.
    async fn feed(&mut self, bytes: Bytes) -> Result<(), LinkError> {
        in_time(&self.host, self.socket.feed(Frame::Binary(bytes))).await
    }

    async fn flush(&mut self) -> Result<(), LinkError> {
        in_time(&self.host, self.socket.flush()).await
    }

    async fn ping(&mut self) -> Result<(), LinkError> {
        in_time(&self.host, self.socket.send(Frame::Ping(Bytes::new()))).await
    }

    async fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), LinkError> {
        let frame = Frame::Close(Some(CloseFrame { code, reason: reason.into() }));
        in_time(&self.host, self.socket.send(frame)).await
    }
}

async fn in_time(host: &Host, write: impl Future<Output = Result<(), WsError>>) -> Result<(), LinkError> {
    let not_reading = |_| LinkError::Deadline { what: "read", after: WRITE_DEADLINE };
    host.timeout(WRITE_DEADLINE, write).await.map_err(not_reading)?.map_err(Into::into)
}

/// Closes both halves, and reads on for a moment: what was sent last, a reason, would be lost with bytes left unread.
///
/// Below the WebSocket, for what is still under way may be what broke it.
pub async fn drain(reader: LinkReader, LinkWriter { host, socket: writer, .. }: LinkWriter) {
    // halves of one socket: every caller has them from one place
    let Ok(socket) = reader.socket.reunite(writer) else { return };
    let mut io = socket.into_inner();
    if let Some(meter) = &reader.meter {
        // what is read from here on is kept nowhere
        meter.is_member();
    }
    let drained = async {
        let mut left = DRAIN_BYTES;
        let mut bytes = vec![0; 16 << 10];
        io.shutdown().await?;
        while left > 0 {
            match io.read(&mut bytes).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        std::io::Result::Ok(())
    };
    // out of time, or a connection that broke, is as good as done
    let _ = host.timeout(DRAIN_TIME, drained).await;
}

/// Ends a link with a reason that the other end can show: a [`Failed`], the close frame, and a bounded drain.
pub async fn refuse(reader: LinkReader, mut writer: LinkWriter, failed: Failed) {
    let code = match failed.code {
        Code::Malformed | Code::Unexpected => CloseCode::Protocol,
        Code::TooLarge => CloseCode::Size,
        _ => CloseCode::Policy,
    };
    // a close frame's reason is at most 123 bytes
    let reason: String = failed.to_string().chars().take(30).collect();
    let sent = writer.send(Message::Failed(failed).encode()).await;
    if sent.is_ok() && writer.close(code, &reason).await.is_ok() {
        drain(reader, writer).await;
    }
}

/// What waits to be sent, with the permit that bounds it.
pub struct Outgoing {
    /// One encoded message.
    pub bytes: Bytes,
    /// Given back once the bytes are written.
    pub permit: Option<Held>,
}

/// What is given back once a message is written: room in the queue of one link, or in the budget that all share.
pub enum Held {
    /// In a queue.
    Queue(OwnedSemaphorePermit),
    /// A read: among those of its link, and in the budget.
    Read(OwnedSemaphorePermit, Permit),
    /// Memory for a message, in the budget.
    Message(Permit),
}

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, permit: None }
    }
}

/// Bytes that hold a permit for as long as anybody has a part of them.
struct Holding {
    bytes: Bytes,
    _permit: Held,
}

impl Held {
    /// Bytes that hold this for as long as anybody has a part of them.
    pub fn by(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Holding { bytes, _permit: self })
    }
}

impl AsRef<[u8]> for Holding {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Writes a message and those that wait behind it, so many bytes at most; then gives their permits back.
async fn write_together(
    writer: &mut LinkWriter,
    first: Outgoing,
    control: &mut mpsc::Receiver<Outgoing>,
    data: &mut mpsc::Receiver<impl Into<Outgoing>>,
) -> Result<(), LinkError> {
    let mut permits = Vec::new();
    let mut written = 0;
    let mut next = Some(first);
    writer.set_sending(true);
    while let Some(Outgoing { bytes, permit }) = next {
        written += bytes.len();
        permits.extend(permit);
        writer.feed(bytes).await?;
        next = match written < TOGETHER {
            true => control.try_recv().ok().or_else(|| data.try_recv().ok().map(Into::into)),
            false => None,
        };
    }
    writer.flush().await?;
    writer.set_sending(false);
    Ok(())
}

/// Writes from two bounded queues until both are closed, then closes the link. Control overtakes data. What waits at one time
/// is written at one time: small messages share a system call.
///
/// # Errors
/// The link broke or the other end does not read.
pub async fn write_queues(
    writer: &mut LinkWriter,
    mut control: mpsc::Receiver<Outgoing>,
    mut data: mpsc::Receiver<impl Into<Outgoing>>,
) -> Result<(), LinkError> {
    let mut pings = writer.host.interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut control_open, mut data_open) = (true, true);
    while control_open || data_open {
        tokio::select! {
            biased;
            outgoing = control.recv(), if control_open => match outgoing {
                Some(first) => write_together(writer, first, &mut control, &mut data).await?,
                None => control_open = false,
            },
            outgoing = data.recv(), if data_open => match outgoing {
                Some(first) => write_together(writer, first.into(), &mut control, &mut data).await?,
                None => data_open = false,
            },
            _ = pings.tick() => writer.ping().await?,
        }
    }
    writer.close(CloseCode::Normal, "").await
}
