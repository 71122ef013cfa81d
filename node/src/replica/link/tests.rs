use vouch_core::digest::Digest;
use vouch_core::message::{Code, Failed, Stream};
use vouch_core::receipt::{NEVER, Receipt};

use super::*;
use crate::host::Host;
use crate::replica::{Data, Replica, ReplicaConfig};

mod admission;
mod received_puts;

const PATIENCE: Duration = Duration::from_secs(30);

/// A replica's link, of which the test is the server.
struct TestLink {
    shell: LinkShell,
    replies: mpsc::Receiver<Outgoing>,
    inputs: mpsc::Receiver<Input<Journalled<Stored>>>,
    listed: mpsc::Receiver<Page>,
    context: Arc<LinkContext>,
    _folder: tempfile::TempDir,
}

impl TestLink {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = ReplicaConfig::new(Data::Folder(folder.path().join("replica")), Vec::new());
        let context = Replica::open_blocking(Host::system(), config, Arc::new(|_| {})).unwrap().link;
        let (shell, replies, inputs, listed) = shell(&context);
        Self { shell, replies, inputs, listed, context, _folder: folder }
    }

    /// Ends the link and begins another one.
    fn reconnect(&mut self) {
        (self.shell, self.replies, self.inputs, self.listed) = shell(&self.context);
    }

    /// Sends a message once the link is read.
    async fn send(&mut self, message: Message) {
        while self.shell.core.is_full() {
            self.take_input().await;
        }
        self.shell.handle(&message.encode()).await.unwrap();
    }

    async fn take_input(&mut self) {
        let input = Host::system().timeout(PATIENCE, self.inputs.recv()).await.unwrap().unwrap();
        self.shell.decide(input).await.unwrap();
    }

    async fn reply(&mut self) -> Message {
        while self.replies.is_empty() {
            self.take_input().await;
        }
        Message::decode(&self.replies.try_recv().unwrap().bytes).unwrap()
    }

    /// Waits until all workers of puts have ended.
    async fn settle(&mut self) {
        Host::system().timeout(PATIENCE, self.context.receiving.finished()).await.unwrap();
        while !self.inputs.is_empty() {
            self.take_input().await;
        }
    }
}

type ShellAndQueues =
    (LinkShell, mpsc::Receiver<Outgoing>, mpsc::Receiver<Input<Journalled<Stored>>>, mpsc::Receiver<Page>);

fn shell(context: &Arc<LinkContext>) -> ShellAndQueues {
    let ((replies, queue), (inputs, events), (pages, listed)) =
        (mpsc::channel(64), mpsc::channel(64), mpsc::channel(LIST_QUEUE));
    let chunks = mpsc::channel(1).0;
    let (address, subscription, number) = (Arc::from("127.0.0.1:1"), 0, 1);
    let context = context.clone();
    let puts = PutWorkers::new(context.storage.clone(), context.receiving.clone(), inputs.clone());
    let requests = Requests {
        identity: context.identity.clone(),
        storage: context.storage.clone(),
        admission: context.admission.clone(),
        server: NodeKey([9; 32]),
        number,
        epoch: 0,
        chunks: chunks.clone(),
        inputs,
    };
    let core = ReplicaLink::new(context.identity.node_key(), context.max_incoming);
    let running = FuturesUnordered::new();
    let log = Arc::new(context.log.link(replies.clone()));
    let peers = context.peers.relay(replies.clone());
    (
        LinkShell {
            core,
            context,
            address,
            epoch: 0,
            subscription,
            puts,
            replies,
            chunks,
            pages,
            requests,
            running,
            number,
            log,
            peers,
        },
        queue,
        events,
        listed,
    )
}

#[tokio::test]
async fn a_failed_list_request_does_not_end_a_put_with_the_same_stream_number() {
    let mut link = TestLink::open();
    let (stream, bytes) = (Stream(1), Bytes::from_static(b"the bytes of a put"));
    let receipt = Receipt { salt: [0; 16], digest: Digest::of(&bytes), length: bytes.len() as u64, expires_at: NEVER };
    let failed = Failed::new(stream, Code::Busy, "one list at a time");
    for message in [
        Message::Put { stream, offer: None, renew: false, authorisation: None },
        Message::Failed(failed.clone()),
        Message::Chunk { stream, offset: 0, parents: Vec::new(), bytes },
        Message::PutEnd { stream, receipt, authorisation: None },
    ] {
        link.send(message).await;
    }
    assert_eq!(link.reply().await, Message::Stored { stream });
    assert!(matches!(link.listed.try_recv(), Ok((of, Err(told))) if of == stream && told == failed));
}
