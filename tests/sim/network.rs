//! A network in memory, whose connections are delayed, stall in one direction or both, and break.
//!
//! A connection keeps its bytes in order, as TCP does, so a lost packet shows only as a delay. When a node loses power, the bytes in
//! flight are lost, and the other end is not notified.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use vouch::host::net::{Io, Listener, Network};

use crate::random::Random;
use crate::trace::Trace;

/// A node's number in the network.
pub type Node = usize;

/// Maximum number of bytes in flight in one direction of a connection. Beyond it, the sender waits.
const WINDOW: usize = 256 << 10;
/// Interval between checks whether a partition has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// All connections. Clones share them.
#[derive(Debug, Clone)]
pub struct SimulatedNetwork(Arc<Mutex<NetworkState>>);

#[derive(Debug)]
struct NetworkState {
    random: Random,
    trace: Trace,
    listeners: BTreeMap<String, (Node, mpsc::UnboundedSender<(SimulatedSocket, SocketAddr)>)>,
    /// The partitions: pairs of sender and receiver between which nothing is delivered.
    cuts: BTreeSet<(Node, Node)>,
    /// Maximum delay of bytes to or from a node, in milliseconds.
    slowness: BTreeMap<Node, u64>,
    /// A factor for all delays, relative to one machine.
    distance: u64,
    connections: Vec<Connection>,
    next_port: u16,
}

/// The dialling and the dialled node, and the two directions of their connection.
type Connection = (Node, Node, Arc<Mutex<Pipe>>, Arc<Mutex<Pipe>>);

/// One direction of a connection.
#[derive(Debug, Default)]
struct Pipe {
    under_way: VecDeque<(Instant, Bytes)>,
    size: usize,
    /// The sender has closed this direction.
    is_closed: bool,
    is_broken: bool,
    /// An end has lost power: the other one is not notified.
    is_lost: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimulatedNetwork {
    pub fn new(random: Random, distance: u64, trace: Trace) -> Self {
        let state = NetworkState {
            random,
            trace,
            listeners: BTreeMap::new(),
            cuts: BTreeSet::new(),
            slowness: BTreeMap::new(),
            distance,
            connections: Vec::new(),
            next_port: 40_000,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// The network as one node sees it.
    pub fn of(&self, node: Node) -> Sockets {
        Sockets { network: self.clone(), node }
    }

    /// Begins a partition in one direction. The other direction is not affected.
    pub fn cut(&self, from: Node, to: Node) {
        lock(&self.0).cuts.insert((from, to));
    }

    pub fn mend(&self) {
        let mut state = lock(&self.0);
        state.cuts.clear();
        state.slowness.clear();
    }

    /// Sets the maximum delay of a node's bytes, in milliseconds.
    pub fn slow(&self, node: Node, milliseconds: u64) {
        lock(&self.0).slowness.insert(node, milliseconds);
    }

    /// Breaks every connection between two nodes, at both ends.
    pub fn reset(&self, one: Node, other: Node) {
        for (from, to, there, back) in &lock(&self.0).connections {
            if (*from, *to) == (one, other) || (*from, *to) == (other, one) {
                for pipe in [there, back] {
                    let mut pipe = lock(pipe);
                    pipe.is_broken = true;
                    pipe.wake();
                }
            }
        }
    }

    /// A node has ended. Its bytes in flight may still arrive, unless it has lost power: then they are lost, and no peer is notified.
    pub fn gone(&self, node: Node, loses_power: bool) {
        let mut state = lock(&self.0);
        state.listeners.retain(|_, (owner, _)| *owner != node);
        state.connections.retain(|(from, to, there, back)| {
            let is_its = *from == node || *to == node;
            if is_its {
                let (outgoing, incoming) = if *from == node { (there, back) } else { (back, there) };
                if loses_power {
                    lock(outgoing).under_way.clear();
                    lock(outgoing).is_lost = true;
                    lock(incoming).is_lost = true;
                } else {
                    let mut outgoing = lock(outgoing);
                    outgoing.is_closed = true;
                    outgoing.wake();
                    let mut incoming = lock(incoming);
                    incoming.is_broken = true;
                    incoming.wake();
                }
            }
            !is_its
        });
    }

    fn delay(&self, from: Node, to: Node) -> Duration {
        let mut state = lock(&self.0);
        let most = [from, to].iter().filter_map(|node| state.slowness.get(node)).max().copied().unwrap_or(0);
        let usual = state.distance * state.random.within(200..2_000);
        // A lost packet is sent again a little later.
        let lost = if state.random.one_in(200) { 200_000 } else { 0 };
        let slow = if most > 0 { state.random.within(0..most * 1000) } else { 0 };
        Duration::from_micros(usual + lost + slow)
    }

    fn is_cut(&self, from: Node, to: Node) -> bool {
        lock(&self.0).cuts.contains(&(from, to))
    }
}

/// The sockets of one node.
#[derive(Debug)]
pub struct Sockets {
    network: SimulatedNetwork,
    node: Node,
}

impl Sockets {
    fn listen_at(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let (sender, queue) = mpsc::unbounded_channel();
        let mut state = lock(&self.network.0);
        if state.listeners.get(address).is_some_and(|(_, sender)| !sender.is_closed()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.listeners.insert(address.to_owned(), (self.node, sender));
        Ok(Box::new(Waiting { address: address.parse().ok(), queue: tokio::sync::Mutex::new(queue) }))
    }

    async fn connect_to(&self, address: &str) -> io::Result<Box<dyn Io>> {
        let there = lock(&self.network.0).listeners.get(address).map(|(node, _)| *node);
        let there = there.ok_or(io::ErrorKind::ConnectionRefused)?;
        sleep(self.network.delay(self.node, there) + self.network.delay(there, self.node)).await;
        while self.network.is_cut(self.node, there) || self.network.is_cut(there, self.node) {
            sleep(LOOK_EVERY).await;
        }
        let mut state = lock(&self.network.0);
        let (_, listener) = state.listeners.get(address).ok_or(io::ErrorKind::ConnectionRefused)?;
        let listener = listener.clone();
        let (out, back) = (Arc::<Mutex<Pipe>>::default(), Arc::<Mutex<Pipe>>::default());
        let end = |from, to, reads: &Arc<Mutex<Pipe>>, writes: &Arc<Mutex<Pipe>>| SimulatedSocket {
            network: self.network.clone(),
            from,
            to,
            reads: reads.clone(),
            writes: writes.clone(),
            timer: None,
        };
        let port = state.next_port;
        state.next_port = port.checked_add(1).unwrap_or(40_000);
        state.connections.push((self.node, there, out.clone(), back.clone()));
        let address = SocketAddr::from(([127, 0, 0, u8::try_from(self.node + 1).unwrap_or(255)], port));
        listener
            .send((end(there, self.node, &out, &back), address))
            .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(Box::new(end(self.node, there, &back, &out)))
    }
}

impl Network for Sockets {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { self.listen_at(address) })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(self.connect_to(address))
    }

    fn listen_unix(&self, path: &Path) -> io::Result<Box<dyn Listener>> {
        // One for each node.
        self.listen_at(&format!("{} {}", self.node, path.display()))
    }

    fn connect_unix<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<Box<dyn Io>>> {
        Box::pin(async move { self.connect_to(&format!("{} {}", self.node, path.display())).await })
    }

    fn forget_unix(&self, path: &Path) {
        lock(&self.network.0).listeners.remove(&format!("{} {}", self.node, path.display()));
    }
}

#[derive(Debug)]
struct Waiting {
    address: Option<SocketAddr>,
    queue: tokio::sync::Mutex<mpsc::UnboundedReceiver<(SimulatedSocket, SocketAddr)>>,
}

impl Listener for Waiting {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Io>, SocketAddr)>> {
        Box::pin(async move {
            let accepted = self.queue.lock().await.recv().await;
            let (socket, from) = accepted.ok_or(io::ErrorKind::ConnectionAborted)?;
            let socket: Box<dyn Io> = Box::new(socket);
            Ok((socket, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }
}

/// One end of a connection.
#[derive(Debug)]
struct SimulatedSocket {
    network: SimulatedNetwork,
    from: Node,
    to: Node,
    reads: Arc<Mutex<Pipe>>,
    writes: Arc<Mutex<Pipe>>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl SimulatedSocket {
    /// Ready once this time has come. Otherwise wakes the task at this time.
    fn wait_until(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        let mut timer = Box::pin(sleep_until(until));
        let waited = timer.as_mut().poll(context);
        self.timer = Some(timer);
        waited
    }
}

impl AsyncRead for SimulatedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let is_cut = self.network.is_cut(self.to, self.from);
            let reads = self.reads.clone();
            let mut pipe = lock(&reads);
            if pipe.is_broken {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let (now, is_closed) = (Instant::now(), pipe.is_closed);
            let until = match pipe.under_way.front_mut() {
                Some((at, bytes)) if *at <= now && !is_cut => {
                    let taken = bytes.split_to(bytes.len().min(buffer.remaining()));
                    let is_empty = !bytes.has_remaining();
                    buffer.put_slice(&taken);
                    pipe.size -= taken.len();
                    if is_empty {
                        pipe.under_way.pop_front();
                    }
                    if let Some(writer) = pipe.writer.take() {
                        writer.wake();
                    }
                    let trace = lock(&self.network.0).trace.clone();
                    trace.note(format_args!("{} <- {}: {}", self.from, self.to, taken.len()));
                    return Poll::Ready(Ok(()));
                }
                Some(_) if is_cut => now + LOOK_EVERY,
                Some((at, _)) => *at,
                None if is_closed && !is_cut => return Poll::Ready(Ok(())),
                None if is_closed => now + LOOK_EVERY,
                None => {
                    pipe.reader = Some(context.waker().clone());
                    return Poll::Pending;
                }
            };
            pipe.reader = Some(context.waker().clone());
            drop(pipe);
            if self.wait_until(until, context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for SimulatedSocket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let delay = self.network.delay(self.from, self.to);
        let mut pipe = lock(&self.writes);
        if pipe.is_broken || pipe.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = WINDOW - pipe.size.min(WINDOW);
        if room == 0 {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let taken = bytes.len().min(room);
        // Bytes never overtake earlier ones.
        let last = pipe.under_way.back().map(|(at, _)| *at);
        let at = last.into_iter().chain([Instant::now() + delay]).max().unwrap_or_else(Instant::now);
        pipe.under_way.push_back((at, Bytes::copy_from_slice(&bytes[..taken])));
        pipe.size += taken;
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = lock(&self.writes);
        pipe.is_closed = true;
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimulatedSocket {
    fn drop(&mut self) {
        let mut writes = lock(&self.writes);
        if writes.is_lost {
            return;
        }
        writes.is_closed = true;
        writes.wake();
        drop(writes);
        let mut reads = lock(&self.reads);
        // A peer that still writes gets an error.
        reads.is_broken = true;
        reads.wake();
    }
}
