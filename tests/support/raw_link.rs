//! The dialling end of a link that can send arbitrary messages and frames.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use vouch::link::{PATH, SUBPROTOCOL};
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::founding::FoundingMessage;
use vouch_core::link::{Hello, NodeKey, Role, Transcript};
use vouch_core::message::{ClusterMessage, Failed, Message, Stream};

/// Timeout of one receive.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long a link without any frame is taken for alive; servers ping every 5 s.
const SILENCE: Duration = Duration::from_secs(45);

/// One end of a WebSocket.
#[derive(Debug)]
pub struct RawLink<S = TcpStream> {
    socket: WebSocketStream<S>,
}

/// The server's part of the handshake.
#[derive(Debug)]
pub struct Welcome {
    /// Its hello.
    pub server: Hello,
    /// The transcript that `Auth` signs.
    pub transcript: Transcript,
    /// Its committee, if it has one.
    pub cluster: Option<ClusterMessage>,
}

impl RawLink {
    /// Opens a WebSocket as a node does.
    pub async fn open(address: &str) -> Self {
        Self::open_with(address, &[("sec-websocket-protocol", SUBPROTOCOL)]).await.unwrap().0
    }

    /// Opens a WebSocket with these headers beside the necessary ones.
    ///
    /// # Errors
    /// The server did not switch protocols.
    pub async fn open_with(
        address: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Self, Response<Option<Vec<u8>>>), WsError> {
        Self::open_over(TcpStream::connect(address).await?, address, headers).await
    }

    /// Opens a link as an anonymous client that pins nothing.
    pub async fn client(address: &str) -> Self {
        let mut link = Self::open(address).await;
        link.hello(Role::Client, None, NodeKey::ANONYMOUS).await;
        link
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawLink<S> {
    /// Opens a WebSocket over a connection that is there already.
    ///
    /// # Errors
    /// The server did not switch protocols.
    pub async fn open_over(
        stream: S,
        address: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Self, Response<Option<Vec<u8>>>), WsError> {
        let mut request = format!("ws://{address}{PATH}").into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await?;
        Ok((Self { socket }, response))
    }

    /// Says hello and takes the server's answer, whose proof is checked.
    ///
    /// # Panics
    /// When the server answers something else.
    pub async fn hello(&mut self, role: Role, cluster: Option<ClusterId>, key: NodeKey) -> Welcome {
        self.try_hello(role, cluster, key).await.unwrap_or_else(|got| panic!("{got}"))
    }

    /// The same, where the link may end meanwhile.
    ///
    /// # Errors
    /// What was expected of the server, and what came.
    pub async fn try_hello(&mut self, role: Role, cluster: Option<ClusterId>, key: NodeKey) -> Result<Welcome, String> {
        let own = Hello::new(role, cluster, key, [7; 32]);
        self.send(&Message::Hello(own)).await;
        let server = match self.receive().await {
            Ok(Message::Hello(server)) => server,
            other => return Err(format!("expected Hello, got {other:?}")),
        };
        let transcript = Transcript::new(&own, &server, None);
        match self.receive().await {
            Ok(Message::Auth(signature)) => transcript.verify(&server.node_key, Role::Server, &signature).unwrap(),
            other => return Err(format!("expected Auth, got {other:?}")),
        }
        let mut shown = None;
        if server.cluster.is_some() {
            match self.receive().await {
                Ok(Message::Cluster(cluster)) => shown = Some(cluster),
                Ok(Message::Founding(founding)) => {
                    let FoundingMessage { genesis, possessions, .. } = *founding;
                    shown = Some(ClusterMessage { genesis, possessions });
                }
                other => return Err(format!("expected Cluster, got {other:?}")),
            }
        }
        Ok(Welcome { server, transcript, cluster: shown })
    }

    /// Sends a message; errors show on the next receive.
    pub async fn send(&mut self, message: &Message) {
        self.send_bytes(message.encode()).await;
    }

    /// Asks where a blob's holders are and takes the answer: servers pass on reads only of blobs that a lookup on the
    /// same link found, and only to the members that it named.
    ///
    /// # Errors
    /// The server's failure, or how the link ended.
    pub async fn locate(&mut self, digest: Digest) -> Result<(), String> {
        let stream = Stream(u32::MAX);
        self.send(&Message::Locate { stream, digest, authorisation: None }).await;
        loop {
            match self.receive().await {
                Ok(Message::Located { .. }) => return Ok(()),
                Ok(Message::Failed(failed)) => return Err(failed.to_string()),
                Ok(_) => {}
                Err(frame) => return Err(format!("the link ended: {frame:?}")),
            }
        }
    }

    /// Sends any bytes as one binary message.
    pub async fn send_bytes(&mut self, bytes: Bytes) {
        let _ = self.socket.send(Frame::Binary(bytes)).await;
    }

    /// Sends any frame.
    ///
    /// # Errors
    /// The link ended.
    pub async fn send_frame(&mut self, frame: Frame) -> Result<(), WsError> {
        self.socket.send(frame).await
    }

    /// The next frame of any kind; pings are answered while this waits.
    pub async fn next_frame(&mut self) -> Option<Result<Frame, WsError>> {
        self.socket.next().await
    }

    /// Sends a text message.
    pub async fn send_text(&mut self, text: &str) {
        let _ = self.socket.send(Frame::Text(text.into())).await;
    }

    /// The next message, or how the link ended.
    ///
    /// # Errors
    /// The close frame if there was one.
    pub async fn receive(&mut self) -> Result<Message, Option<CloseFrame>> {
        loop {
            match tokio::time::timeout(TIMEOUT, self.socket.next()).await.expect("the server says something") {
                Some(Ok(Frame::Binary(bytes))) => return Ok(Message::decode(&bytes).unwrap()),
                Some(Ok(Frame::Close(frame))) => return Err(frame),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The next message; `None` at the link's end, or if nothing, not even a ping, came for a while: the other end has lost power.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            match tokio::time::timeout(SILENCE, self.socket.next()).await.ok()?? {
                Ok(Frame::Binary(bytes)) => return Some(Message::decode(&bytes).unwrap()),
                Ok(Frame::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Waits for the next `Failed`, skipping other messages.
    ///
    /// # Panics
    /// If the link ends without one.
    pub async fn failed(&mut self) -> Failed {
        loop {
            match self.receive().await {
                Ok(Message::Failed(failed)) => return failed,
                Ok(_) => {}
                Err(frame) => panic!("the link ended without a Failed: {frame:?}"),
            }
        }
    }

    /// Asserts that the whole link fails and that the server then sends a close frame; returns the failure.
    pub async fn refused(&mut self) -> Failed {
        let failed = self.failed().await;
        assert_eq!(failed.stream, Stream::LINK, "{failed:?}");
        match self.receive().await {
            Err(Some(_)) => failed,
            other => panic!("expected a close frame after {failed:?}, got {other:?}"),
        }
    }
}
