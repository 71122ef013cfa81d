//! Links over a WebSocket. Only this module names the socket library; it sets every limit and deadline.

mod accepting;
mod byte_bounded_queue;
mod error;
mod meter;
mod queues;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message as Frame};
use vouch_core::message::{Code, Failed, MAX_MESSAGE, Message, Stream};
use vouch_core::session::progress;

use crate::host::Host;
pub use crate::host::net::Io;
use crate::tls::{self, Exporter, ServerStream};
pub use accepting::{MEMBER_PATH, accept_member};
pub(crate) use byte_bounded_queue::ByteBoundedQueue;
pub use error::LinkError;
pub use meter::Allowance;
use meter::{Meter, Metered};
pub use queues::{Held, Outgoing, write_queues};

/// The path of the WebSocket on a server.
pub const PATH: &str = "/v1/link";
/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "vouch.v1";

/// Deadline for connecting, and for a handshake.
pub const HANDSHAKE_DEADLINE: Duration = progress::CONNECT_DEADLINE;
/// A link is dead if nothing arrives for this long. Pings ensure that something arrives.
const IDLE_DEADLINE: Duration = Duration::from_secs(45);
/// The same for a member, shorter because puts wait for members: a stopped process must not delay them for longer.
const MEMBER_IDLE_DEADLINE: Duration = Duration::from_secs(15);
const PING_EVERY: Duration = Duration::from_secs(5);
/// If a frame cannot be written for this long, the other end does not read.
const WRITE_DEADLINE: Duration = progress::WRITE_DEADLINE;
/// Read buffer per connection; smaller for accepted links, which are many and idle.
const DIALLED_READ: usize = 32 << 10;
const ACCEPTED_READ: usize = 8 << 10;
/// How much, and how long, this end reads after a close, so that the reason arrives.
const DRAIN_BYTES: usize = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<Box<dyn Io>>;

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
        // one message more than the buffer, and space for pings and a close frame
        .max_write_buffer_size((64 << 10) + MAX_MESSAGE + (16 << 10))
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

/// Dials a server, `host:port` or `https://host`.
///
/// # Errors
/// Nobody listens, another service answers, or nobody answers in time.
pub async fn dial(host: &Host, address: &str) -> Result<(LinkReader, LinkWriter), LinkError> {
    open(host, address, PATH, tls::dial(host, address)).await
}

/// Dials a member, `host:port`. It is not authenticated yet.
///
/// # Errors
/// Nobody listens, another service answers, or nobody answers in time.
pub async fn dial_member(host: &Host, address: &str) -> Result<(LinkReader, LinkWriter), LinkError> {
    // Without TLS: every frame is signed, and the servers relay the same ones.
    let connecting =
        async { Ok(ServerStream { io: host.connect(address).await?, authority: address.to_owned(), exporter: None }) };
    open(host, address, MEMBER_PATH, connecting).await
}

async fn open(
    host: &Host,
    address: &str,
    path: &str,
    connecting: impl Future<Output = io::Result<ServerStream>>,
) -> Result<(LinkReader, LinkWriter), LinkError> {
    let late = |what| LinkError::Deadline { what, after: HANDSHAKE_DEADLINE };
    let ServerStream { io: stream, authority, exporter } = host
        .timeout(HANDSHAKE_DEADLINE, connecting)
        .await
        .map_err(|_| late("accept the connection"))?
        .map_err(|error| LinkError::Connect { address: address.into(), error })?;
    let refused = |error: WsError| {
        let is_refused = matches!(&error, WsError::Http(response) if response.status() == StatusCode::BAD_REQUEST);
        let next = if is_refused && !address.contains("://") { "; if it speaks TLS, use https://" } else { "" };
        LinkError::Handshake { address: address.into(), reason: format!("{error}{next}") }
    };
    // The scheme is not sent.
    let mut request = format!("ws://{authority}{path}").into_client_request().map_err(refused)?;
    let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
    request.headers_mut().insert("sec-websocket-protocol", subprotocol);
    let (socket, _) = host
        .timeout(
            HANDSHAKE_DEADLINE,
            tokio_tungstenite::client_async_with_config(request, stream, Some(config(DIALLED_READ))),
        )
        .await
        .map_err(|_| late("upgrade to a WebSocket"))?
        .map_err(refused)?;
    Ok(split(host.clone(), socket, exporter, None))
}

/// The answer to a WebSocket key in an HTTP upgrade (RFC 6455 section 4.2.2).
pub fn accept_key(key: &[u8]) -> String {
    derive_accept_key(key)
}

/// The server's end of an upgraded HTTP connection. The other end is not authenticated yet. `exporter`: of the TLS connection.
pub async fn accepted(io: Box<dyn Io>, exporter: Option<Exporter>, allowance: Allowance) -> (LinkReader, LinkWriter) {
    let host = allowance.host.clone();
    let meter = Meter::new(allowance);
    let io: Box<dyn Io> = Box::new(Metered { io, meter: meter.clone() });
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config(ACCEPTED_READ))).await;
    split(host, socket, exporter, Some(meter))
}

fn split(
    host: Host,
    socket: Socket,
    exporter: Option<Exporter>,
    meter: Option<Arc<Meter>>,
) -> (LinkReader, LinkWriter) {
    let (sink, stream) = socket.split();
    let heard = host.monotonic();
    let reader = LinkReader {
        host: host.clone(),
        socket: stream,
        exporter,
        meter: meter.clone(),
        heard,
        idle: IDLE_DEADLINE,
        is_delivered: false,
    };
    (reader, LinkWriter { host, socket: sink, meter })
}

/// The receiving half: takes messages out of frames. Dropping a wait and starting it again keeps the deadlines.
pub struct LinkReader {
    host: Host,
    socket: SplitStream<Socket>,
    exporter: Option<Exporter>,
    /// Set on an accepted link.
    meter: Option<Arc<Meter>>,
    /// When the last frame of any kind arrived.
    heard: Duration,
    /// Maximum silence of the other end.
    idle: Duration,
    /// The last message was returned; its caller has handled it when it asks for the next one.
    is_delivered: bool,
}

impl LinkReader {
    /// The next message's bytes.
    ///
    /// # Errors
    /// See [`LinkError`]. The link has then ended.
    pub async fn next(&mut self) -> Result<Bytes, LinkError> {
        self.next_message(None, "send anything").await
    }

    /// The next message of a handshake. Other frames do not extend the deadline.
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

    /// What a replica's link is bound to, if it goes over TLS.
    pub fn exporter(&self) -> Option<Exporter> {
        self.exporter
    }

    /// The hello was valid: from now on, messages may have the maximum size.
    pub fn said_hello(&self) {
        if let Some(meter) = &self.meter {
            meter.said_hello();
        }
    }

    /// The other end has proved that it is a member: budgets no longer apply to it.
    pub fn is_member(&mut self) {
        if let Some(meter) = &self.meter {
            meter.is_member();
        }
        self.idle = MEMBER_IDLE_DEADLINE;
    }

    /// The next message. Frames of any kind show that the other end is alive, but do not extend a handshake.
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
                        return Err(LinkError::Broken(
                            "expected at most one control frame a second, got a flood of them".into(),
                        ));
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

/// The deadline of a handshake, for all its messages together.
#[derive(Debug, Clone, Copy)]
pub struct Handshake {
    until: Duration,
}

impl Handshake {
    /// A handshake that begins now.
    pub fn begin(host: &Host) -> Self {
        Self { until: host.monotonic() + HANDSHAKE_DEADLINE }
    }
}

/// The sending half.
pub struct LinkWriter {
    host: Host,
    socket: SplitSink<Socket, Frame>,
    /// Set on an accepted link.
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
    /// The link broke, or the other end does not read.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), LinkError> {
        in_time(&self.host, self.socket.send(Frame::Binary(bytes))).await
    }

    /// Queues one message's bytes. They are sent with the next ones, at the latest by [`flush`](Self::flush).
    ///
    /// # Errors
    /// The link broke, or the other end does not read.
    async fn feed(&mut self, bytes: Bytes) -> Result<(), LinkError> {
        in_time(&self.host, self.socket.feed(Frame::Binary(bytes))).await
    }

    async fn flush(&mut self) -> Result<(), LinkError> {
        in_time(&self.host, self.socket.flush()).await
    }

    async fn ping(&mut self) -> Result<(), LinkError> {
        in_time(&self.host, self.socket.send(Frame::Ping(Bytes::new()))).await
    }

    /// Ends the link without an error.
    async fn close_normally(&mut self) -> Result<(), LinkError> {
        self.close(CloseCode::Normal, "").await
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

/// Closes both halves, and reads on for a moment: unread bytes would reset the connection, and the other end would lose the last
/// message, which is the reason.
///
/// This reads below the WebSocket, because the remaining bytes may be the ones that broke it.
pub async fn drain(reader: LinkReader, LinkWriter { host, socket: writer, .. }: LinkWriter) {
    // always succeeds: both halves are of one socket
    let Ok(socket) = reader.socket.reunite(writer) else { return };
    let mut io = socket.into_inner();
    if let Some(meter) = &reader.meter {
        // the bytes read from here on are dropped, so no budget applies
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
    // a timeout or a broken connection ends the drain, too
    let _ = host.timeout(DRAIN_TIME, drained).await;
}

/// Ends a link with a reason that the other end can show: a [`Failed`], the close frame, and a bounded drain.
pub async fn refuse(reader: LinkReader, mut writer: LinkWriter, failed: Failed) {
    let code = match failed.code {
        Code::Malformed | Code::Unexpected => CloseCode::Protocol,
        Code::TooLarge => CloseCode::Size,
        _ => CloseCode::Policy,
    };
    // the reason in a close frame has at most 123 bytes
    let reason: String = failed.to_string().chars().take(30).collect();
    let sent = writer.send(Message::Failed(failed).encode()).await;
    if sent.is_ok() && writer.close(code, &reason).await.is_ok() {
        drain(reader, writer).await;
    }
}
