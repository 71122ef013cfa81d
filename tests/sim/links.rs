//! A client's link to a server that sends and does not read.

use std::time::Duration;

use futures_util::SinkExt;
use support::fake_server::choose_subprotocol;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;
use vouch::client::{ClientError, PutLink};
use vouch::host::Host;
use vouch_core::link::{Hello, NodeSecretKey, Role, Transcript};
use vouch_core::message::Message;
use vouch_core::receipt::NEVER;

use crate::lying_server::{receive_bytes, send};
use crate::network::SimulatedNetwork;
use crate::node::{self, Machine};
use crate::random::Random;
use crate::servers::address;
use crate::trace::Trace;

/// Longer than each deadline of a client.
const LIMIT: Duration = Duration::from_secs(600);

/// Proves its key to one client, and from then on only sends pings.
async fn serve_without_reading(host: Host) -> Option<()> {
    let listener = host.listen(&address(0)).await.ok()?;
    let (stream, _) = listener.accept().await.ok()?;
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose_subprotocol).await.ok()?;
    let Message::Hello(hello) = Message::decode(&receive_bytes(&mut socket).await?).ok()? else { return None };
    let key = NodeSecretKey::from_bytes(&[3; 32]);
    let own = Hello::new(Role::Server, None, key.node_key(), host.random());
    let auth = key.sign(&Transcript::new(&hello, &own, None), Role::Server);
    send(&mut socket, &Message::Hello(own)).await?;
    send(&mut socket, &Message::Auth(auth)).await?;
    loop {
        host.sleep(Duration::from_secs(5)).await;
        socket.send(Frame::Ping(Default::default())).await.ok()?;
    }
}

#[tokio::test(start_paused = true)]
async fn every_put_ends_on_a_link_that_takes_nothing() {
    node::begin();
    let network = SimulatedNetwork::new(Random::new(1, 0), 1, Trace::new(false, false));
    let [mut server, mut client] = [0, 1].map(Machine::new);
    let serving = server.start(1, &network);
    serving.spawn(serve_without_reading(serving.clone()));
    let client = client.start(1, &network);
    client.sleep(Duration::from_secs(1)).await;
    let link = PutLink::open(&client, &address(0), None).await.unwrap();
    // sent with their offers, and more than the connection takes
    let puts = (0..10).map(|number| link.put_bytes(vec![number; 60_000].into(), NEVER, false));
    for put in timeout(LIMIT, futures_util::future::join_all(puts)).await.expect("every put ends") {
        put.unwrap_err();
    }
    let later = timeout(LIMIT, link.put_bytes(vec![10].into(), NEVER, false)).await.expect("a later put ends");
    assert!(matches!(later, Err(ClientError::Ended(_))), "{later:?}");
    assert!(link.is_closed(), "a retry takes another link");
}
