//! Deadlines of links, in virtual time.

use std::sync::Mutex;

use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as RawFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use vouch_core::message::{MAX_CHUNK, PayloadFrame};
use vouch_node_core::budgets::LimitReport;

use super::*;
use crate::budgets::{Party, Pool, Rules};

pub(super) fn allowance(host: &Host) -> Allowance {
    let rules = Rules {
        limit: 8 * Allowance::MESSAGE,
        limit_of_one: 8 * Allowance::MESSAGE,
        stale_after: Duration::MAX,
        cut_off: "cut off",
        refused: "refused",
    };
    let pool = || Pool::new(host.clone(), rules, Arc::new(Mutex::new(LimitReport::default())));
    Allowance {
        host: host.clone(),
        party: Party::new(std::net::IpAddr::from([127, 0, 0, 1]).into()),
        messages: pool(),
        connections: pool(),
        reads: pool(),
        rate: 0,
        window: Duration::MAX,
    }
}

type LinkHalves = (LinkReader, LinkWriter);

/// Both ends of one link: the one that dialled and the one that accepted.
async fn pair(host: &Host) -> (LinkHalves, LinkHalves) {
    let (one, other) = tokio::io::duplex(16 << 10);
    let one: Box<dyn Io> = Box::new(one);
    let dialled = WebSocketStream::from_raw_socket(one, Role::Client, Some(config(DIALLED_READ))).await;
    (split(host.clone(), dialled, None, None), accepted(Box::new(other), None, allowance(host)).await)
}

/// How long `work` took, to the second, and what it gave.
async fn timed<T>(host: &Host, work: impl Future<Output = T>) -> (u64, T) {
    let began = host.monotonic();
    let result = host.timeout(Duration::from_secs(3600), work).await.expect("it ends");
    ((host.monotonic() - began).as_secs(), result)
}

#[tokio::test(start_paused = true)]
async fn a_write_to_an_end_that_does_not_read_fails_at_the_write_deadline() {
    let host = Host::on_runtime_clock();
    let ((_reader, mut writer), _other) = pair(&host).await;
    let (waited, sent) = timed(&host, writer.send(vec![0; MAX_MESSAGE].into())).await;
    assert!(matches!(sent, Err(LinkError::Deadline { what: "read", .. })), "{sent:?}");
    assert_eq!(waited, WRITE_DEADLINE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn queued_messages_to_an_end_that_does_not_read_end_the_link() {
    let host = Host::on_runtime_clock();
    let ((_reader, mut writer), _other) = pair(&host).await;
    let (control, control_queue) = mpsc::channel::<Outgoing>(8);
    let (data, data_queue) = mpsc::channel::<Outgoing>(8);
    data.send(Bytes::from(vec![0; MAX_MESSAGE]).into()).await.unwrap();
    let (waited, written) = timed(&host, write_queues(&mut writer, control_queue, data_queue)).await;
    assert!(matches!(written, Err(LinkError::Deadline { what: "read", .. })), "{written:?}");
    assert_eq!(waited, WRITE_DEADLINE.as_secs());
    assert!(control.is_closed() && data.is_closed());
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_link_and_pings_keep_it_open() {
    let host = Host::on_runtime_clock();
    let ((mut reader, _writer), (mut other_reader, mut other_writer)) = pair(&host).await;
    let pings = async {
        for _ in 0..20 {
            host.sleep(Duration::from_secs(10)).await;
            other_writer.ping().await.unwrap();
        }
    };
    let (waited, (_, ended)) = timed(&host, async {
        tokio::select! {
            biased;
            ended = async { tokio::join!(pings, reader.next()) } => ended,
            // pongs are taken while the other end reads
            _ = other_reader.next() => panic!("a pong is no message"),
        }
    })
    .await;
    assert!(matches!(ended, Err(LinkError::Deadline { what: "send anything", .. })), "{ended:?}");
    assert_eq!(waited, 20 * 10 + IDLE_DEADLINE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_is_noticed_sooner_than_a_stranger() {
    let host = Host::on_runtime_clock();
    let (_one, (mut reader, _writer)) = pair(&host).await;
    reader.is_member();
    let (waited, ended) = timed(&host, reader.next()).await;
    assert!(matches!(ended, Err(LinkError::Deadline { .. })), "{ended:?}");
    assert_eq!(waited, MEMBER_IDLE_DEADLINE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn pings_do_not_extend_a_handshake() {
    let host = Host::on_runtime_clock();
    let ((_other_reader, mut other_writer), (mut reader, _writer)) = pair(&host).await;
    let handshake = Handshake::begin(&host);
    let pings = async {
        loop {
            host.sleep(Duration::from_secs(2)).await;
            other_writer.ping().await.unwrap();
        }
    };
    let (waited, ended) = timed(&host, async {
        tokio::select! {
            biased;
            ended = reader.expect("say hello", handshake) => ended,
            () = pings => unreachable!("it never ends"),
        }
    })
    .await;
    assert!(matches!(ended, Err(LinkError::Deadline { what: "say hello", .. })), "{ended:?}");
    assert_eq!(waited, HANDSHAKE_DEADLINE.as_secs());
}

/// A browser sends a large message in several frames. The socket library puts them together in memory of their own, so the server forwards
/// the message from there.
#[tokio::test(start_paused = true)]
async fn bytes_that_came_in_several_frames_are_forwarded_without_a_copy() {
    let host = Host::on_runtime_clock();
    let ((_reader, mut writer), (mut reader, _writer)) = pair(&host).await;
    reader.said_hello();
    let chunk = |stream| Message::Chunk {
        stream: Stream(stream),
        offset: 0,
        parents: Vec::new(),
        bytes: vec![5; MAX_CHUNK].into(),
    };
    let sent = chunk(9).encode();
    let (first, rest) = (sent.slice(..MAX_CHUNK / 4), sent.slice(MAX_CHUNK / 4..));
    let sending = async {
        let first = RawFrame::message(first, OpCode::Data(Data::Binary), false);
        writer.socket.feed(Frame::Frame(first)).await.unwrap();
        let rest = RawFrame::message(rest, OpCode::Data(Data::Continue), true);
        writer.socket.send(Frame::Frame(rest)).await.unwrap();
    };
    let ((), received) = tokio::join!(sending, reader.next());
    let received = received.unwrap();
    let at = received.as_ptr();
    assert_eq!(Message::decode(&received).unwrap(), chunk(9));
    let forwarded = PayloadFrame::new(received).unwrap().with_stream(Stream(1));
    assert_eq!(forwarded, chunk(1).encode());
    assert_eq!(forwarded.as_ptr(), at);
}
