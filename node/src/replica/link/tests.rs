use vouch_core::digest::Digest;
use vouch_core::message::{Code, Failed, Stream};
use vouch_core::receipt::{NEVER, Receipt};

use super::*;
use crate::host::Host;
use crate::replica::{Config, Data, Replica};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

#[tokio::test]
async fn what_a_server_fails_to_list_ends_no_put_of_the_same_number() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::new(Data::Folder(folder.path().join("replica")), Vec::new());
    let shared = Replica::open(Host::system(), config, Arc::new(|_| {})).unwrap().shared;
    let ((replies, mut queue), (pages, mut listed)) = (mpsc::channel(8), mpsc::channel(LIST_QUEUE));
    let puts = IncomingPuts::new(shared.clone(), replies.clone());
    let (chunks, inputs) = (mpsc::channel(1).0, mpsc::channel(1).0);
    let (address, listener, number) = (Arc::from("127.0.0.1:1"), 0, 1);
    let requests =
        Requests { shared: shared.clone(), server: NodeKey([9; 32]), number, chunks: chunks.clone(), inputs };
    let core = ReplicaLink::new(shared.keys.node.node_key());
    let mut link = LinkShell { core, shared, address, listener, puts, replies, chunks, pages, requests, number };

    let (stream, bytes) = (Stream(1), Bytes::from_static(b"the bytes of a put"));
    let receipt = Receipt { salt: [0; 16], digest: Digest::of(&bytes), length: bytes.len() as u64, expires_at: NEVER };
    let failed = Failed::new(stream, Code::Busy, "one list at a time");
    for message in [
        Message::Put { stream, offer: None, renew: false },
        Message::Failed(failed.clone()),
        Message::Chunk { stream, offset: 0, parents: Vec::new(), bytes },
        Message::PutEnd { stream, receipt },
    ] {
        link.handle(&message.encode()).await.unwrap();
    }
    let reply = Host::system().timeout(PATIENCE, queue.recv()).await.unwrap().unwrap();
    assert_eq!(Message::decode(&reply.bytes).unwrap(), Message::Stored { stream });
    assert!(matches!(listed.try_recv(), Ok((of, Err(told))) if of == stream && told == failed));
}
