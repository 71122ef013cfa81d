//! What a server and a replica tell the service manager that started them (sd_notify).

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use support::processes::{Node, Processes, run};
use support::{http, until};

/// The socket of a service manager.
struct Manager {
    socket: UnixDatagram,
    told: Vec<String>,
}

impl Manager {
    /// Starts a node anew under this manager, whose watchdog has a period of half a second.
    fn start(folder: &Path, node: &mut Node, start: impl FnOnce(&mut Node)) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        node.set_environment("NOTIFY_SOCKET", path.to_str().unwrap());
        node.set_environment("WATCHDOG_USEC", "500000");
        start(node);
        Self { socket, told: Vec::new() }
    }

    /// What the node has said so far, line by line.
    fn told(&mut self) -> &mut Vec<String> {
        let mut datagram = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut datagram) {
            let text = std::str::from_utf8(&datagram[..length]).unwrap();
            self.told.extend(text.lines().map(str::to_owned));
        }
        &mut self.told
    }

    fn count(&mut self, line: &str) -> usize {
        self.told().iter().filter(|told| *told == line).count()
    }

    async fn until_told(&mut self, line: &str) {
        until(&format!("{line} is told"), || self.count(line) > 0).await;
    }

    /// The watchdog hears nothing while the process stands still, and hears it again after.
    async fn watches(&mut self, node: &Node) {
        until("it is alive", || self.count("WATCHDOG=1") > 2).await;
        node.stop();
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.told().clear();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(self.count("WATCHDOG=1"), 0, "{:?}", self.told);
        node.resume();
        self.until_told("WATCHDOG=1").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_tells_its_service_manager_how_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Processes::start_server_with(&[]).await;
    cluster.server.kill();
    let mut manager = Manager::start(folder.path(), &mut cluster.server, Node::start);
    manager.until_told("READY=1").await;
    let log = cluster.server.log();
    let address = log.lines().filter_map(|line| line.strip_prefix("listening on ")).next_back().unwrap().to_owned();
    assert_eq!(http::get(&address, "/healthz").await.text(), "ok\n");
    manager.until_told("STATUS=waiting for replicas to found a committee").await;
    cluster.add_replica_through(&address, 0, &[], &[]);
    cluster.until_connected().await;
    assert_eq!(http::put(&address, b"founds the committee").await.status, 201);
    manager.until_told("STATUS=1 of 1 members connected, 0 puts in progress").await;
    manager.watches(&cluster.server).await;
    // It has no files to read again, and must not end.
    cluster.server.hang_up();
    manager.told().clear();
    manager.until_told("WATCHDOG=1").await;
    assert_eq!(manager.count("STOPPING=1"), 0);
    assert_eq!(cluster.server.terminate(), Some(0));
    assert_eq!((manager.count("STOPPING=1"), manager.count("READY=1")), (1, 0), "{:?}", manager.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_tells_its_service_manager_how_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Processes::start(1).await;
    cluster.replicas[0].kill();
    let mut manager = Manager::start(folder.path(), &mut cluster.replicas[0], Node::start);
    manager.until_told("READY=1").await;
    manager.until_told("STATUS=connected to 1 of 1 servers, 0 puts in progress").await;
    manager.watches(&cluster.replicas[0]).await;
    cluster.replicas[0].hang_up();
    manager.told().clear();
    manager.until_told("WATCHDOG=1").await;
    assert_eq!(cluster.replicas[0].terminate(), Some(0));
    assert_eq!((manager.count("STOPPING=1"), manager.count("READY=1")), (1, 0), "{:?}", manager.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_a_server_is_an_exit_code() {
    let mut cluster = Processes::start_server_with(&[]).await;
    let address = cluster.address().to_owned();
    let root = cluster.root().to_owned();
    let health = async |arguments: &[&str]| {
        let output = run(&root, &[&["health", &address], arguments].concat()).await;
        (output.status.code(), [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat())
    };
    assert_eq!(health(&[]).await, (Some(0), "ok\n".to_owned()));
    let (code, text) = health(&["--ready"]).await;
    assert!(code == Some(1) && text.contains("refused"), "{text}");
    cluster.add_replica(0);
    cluster.until_connected().await;
    assert_eq!(http::put(&address, b"founds the committee").await.status, 201);
    assert_eq!(health(&["--ready"]).await.0, Some(0));
    cluster.server.kill();
    let (code, text) = health(&[]).await;
    assert!(code == Some(1) && text.contains("cannot connect"), "{text}");
}
