//! A cluster of tasks in this process: quick to start, with limits and deadlines that the test sets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vouch::client::ClientError;
use vouch::host::Host;
use vouch::replica::{self, Data, Replica, ReplicaConfig};
use vouch::server::{self, Server};
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::session::Certified;

use crate::blobs::{Got, get_bytes, put_bytes};
use crate::until;

/// All events that a node reported.
#[derive(Debug, Clone)]
pub struct Events<E>(Arc<Mutex<Vec<E>>>);

impl<E: Clone + Send + 'static> Events<E> {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Vec::new())))
    }

    fn reporter(&self) -> Arc<dyn Fn(E) + Send + Sync> {
        let events = self.0.clone();
        Arc::new(move |event| events.lock().unwrap().push(event))
    }

    /// The events so far.
    pub fn all(&self) -> Vec<E> {
        self.0.lock().unwrap().clone()
    }
}

/// A node running as a task.
#[derive(Debug)]
pub struct Running<E> {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), String>>,
    events: Events<E>,
}

impl<E> Running<E> {
    async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap().unwrap();
    }
}

/// One server and its replicas.
#[derive(Debug)]
pub struct InProcess {
    root: TempDir,
    config: server::ServerConfig,
    address: String,
    server: Option<Running<server::Event>>,
    replicas: BTreeMap<usize, Running<replica::Event>>,
    change_replica: fn(&mut ReplicaConfig),
}

impl InProcess {
    /// Starts a server with short deadlines and `n` replicas, and waits until all joined.
    pub async fn start(n: usize) -> Self {
        Self::start_with(n, |_| {}).await
    }

    /// The same, with changes to the server's configuration.
    pub async fn start_with(n: usize, change: impl FnOnce(&mut server::ServerConfig)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut config = server::ServerConfig::new(root.path().join("server"));
        config.quorum_wait = Duration::from_millis(300);
        change(&mut config);
        let (address, replicas) = ("127.0.0.1:0".into(), BTreeMap::new());
        let mut cluster = Self { root, config, address, server: None, replicas, change_replica: |_| {} };
        cluster.start_server().await;
        for number in 0..n {
            cluster.start_replica(number).await;
        }
        cluster
    }

    /// Changes the server's configuration, from its next start.
    pub fn configure(&mut self, change: impl FnOnce(&mut server::ServerConfig)) {
        change(&mut self.config);
    }

    /// Changes the configuration of replicas, from their next start.
    pub fn configure_replicas(&mut self, change: fn(&mut ReplicaConfig)) {
        self.change_replica = change;
    }

    /// The server's data folder.
    pub fn server_folder(&self) -> &Path {
        &self.config.data
    }

    /// `host:port` of the server.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Reaches the server at another address from now on, where something passes on what is sent. The server must not be restarted after that.
    pub fn reach_at(&mut self, address: String) {
        self.address = address;
    }

    /// The folder that holds all data folders.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// A replica's data folder.
    pub fn folder(&self, number: usize) -> PathBuf {
        self.root.path().join(format!("replica-{number}"))
    }

    /// Starts the server; a restart uses the same port.
    pub async fn start_server(&mut self) {
        let events = Events::new();
        let (config, reporter) = (self.config.clone(), events.reporter());
        // tasks of a stopped server may hold its folder for another moment
        let server = retry(async || Server::open(Host::system(), config.clone(), reporter.clone())).await;
        let listener = Host::system().listen(&self.address).await.unwrap();
        self.address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            server.run(listener, shutdown).await.map_err(|error| error.to_string())
        });
        self.server = Some(Running { stop, task, events });
    }

    /// Stops the server.
    pub async fn stop_server(&mut self) {
        self.server.take().expect("the server runs").stop().await;
    }

    /// Starts a replica of this cluster's server and waits until it joined.
    pub async fn start_replica(&mut self, number: usize) {
        let running = self.spawn_replica(number).await;
        self.replicas.insert(number, running);
        let name = format!("replica-{number}");
        until(&format!("{name} joins"), || self.connected().contains(&name)).await;
    }

    /// Starts a replica without waiting.
    pub async fn spawn_replica(&self, number: usize) -> Running<replica::Event> {
        self.spawn_replica_at(number, vec![self.address.clone()]).await
    }

    /// Starts a replica of these servers without waiting.
    pub async fn spawn_replica_at(&self, number: usize, servers: Vec<String>) -> Running<replica::Event> {
        self.spawn_configured(ReplicaConfig::new(Data::Folder(self.folder(number)), servers)).await
    }

    /// Starts a replica that wants to join the cluster.
    pub async fn start_joiner(&mut self, number: usize) {
        let config = ReplicaConfig::new(Data::Folder(self.folder(number)), vec![self.address.clone()]);
        let running = self.spawn_configured(ReplicaConfig { joins: true, ..config }).await;
        self.replicas.insert(number, running);
    }

    async fn spawn_configured(&self, config: ReplicaConfig) -> Running<replica::Event> {
        let events = Events::new();
        let mut config = ReplicaConfig { takes_joiners: true, ..config };
        (self.change_replica)(&mut config);
        let reporter = events.reporter();
        let replica = retry(|| Replica::open(Host::system(), config.clone(), reporter.clone())).await;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            replica.run(shutdown).await;
            Ok(())
        });
        Running { stop, task, events }
    }

    /// Stops a replica and waits until the server noticed it.
    pub async fn stop_replica(&mut self, number: usize) {
        self.replicas.remove(&number).expect("the replica runs").stop().await;
        let name = format!("replica-{number}");
        if self.server.is_some() {
            until(&format!("{name} leaves"), || !self.connected().contains(&name)).await;
        }
    }

    /// Events of the server since it started.
    pub fn server_events(&self) -> Vec<server::Event> {
        self.server.as_ref().expect("the server runs").events.all()
    }

    /// Events of a replica since it started.
    pub fn replica_events(&self, number: usize) -> Vec<replica::Event> {
        self.replicas[&number].events.all()
    }

    /// Names of the connected replicas, sorted.
    pub fn connected(&self) -> Vec<String> {
        let mut links: BTreeMap<String, i32> = BTreeMap::new();
        for event in self.server_events() {
            match event {
                server::Event::Joined(name, ..) => *links.entry(name).or_default() += 1,
                server::Event::Left(name, _) => *links.entry(name).or_default() -= 1,
                _ => {}
            }
        }
        links.into_iter().filter(|(_, count)| *count > 0).map(|(name, _)| name).collect()
    }

    /// Waits until a replica reported an event that `is_it` matches.
    pub async fn until_replica(&self, number: usize, what: &str, is_it: impl Fn(&replica::Event) -> bool) {
        until(&format!("replica-{number}: {what}"), || self.replica_events(number).iter().any(&is_it)).await;
    }

    /// Puts bytes without pinning an identity.
    ///
    /// # Errors
    /// The put's error.
    pub async fn put(&self, bytes: &[u8]) -> Result<Certified, ClientError> {
        put_bytes(&self.address, None, bytes).await
    }

    /// Gets a blob.
    ///
    /// # Errors
    /// The get's error.
    pub async fn get(&self, trusted: ClusterId, digest: Digest) -> Result<Got, ClientError> {
        get_bytes(&self.address, Some(trusted), digest).await
    }
}

impl Running<replica::Event> {
    /// Its events so far.
    pub fn events(&self) -> Vec<replica::Event> {
        self.events.all()
    }
}

async fn retry<T, E: std::fmt::Display>(mut open: impl AsyncFnMut() -> Result<T, E>) -> T {
    for _ in 0..500 {
        if let Ok(opened) = open().await {
            return opened;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    open().await.unwrap_or_else(|error| panic!("{error}"))
}
