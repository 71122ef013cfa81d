//! Programs whose server speaks another version of links: both versions are named, and what to do. `bad_clients` has the same of servers.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use support::fake_server::choose_subprotocol;
use support::processes::{program, run};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message as Frame;
use vouch_core::link::LINK_VERSION;
use vouch_core::message::{Code, Failed, Message, Stream};

const NEXT: u16 = LINK_VERSION + 1;
const TIMEOUT: Duration = Duration::from_secs(30);

/// How a server of the next version answers a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It refuses the link, as every server does.
    Refuses,
    /// It ignores the version, and says hello.
    Greets,
}

/// A server of the next version. Returns its address, and what programs send it after their hello.
async fn server(answer: Answer) -> (String, mpsc::Receiver<Message>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, sent) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let Ok(mut link) = tokio_tungstenite::accept_hdr_async(stream, choose_subprotocol).await else {
                    return;
                };
                let bytes = match answer {
                    Answer::Refuses => {
                        let detail = format!(
                            "link protocol version: expected {NEXT}, got {LINK_VERSION}; run the same release of Vouch at both ends"
                        );
                        Message::Failed(Failed::new(Stream::LINK, Code::Version, detail)).encode()
                    }
                    // Its layout is unknown.
                    Answer::Greets => [&[0x01][..], &NEXT.to_le_bytes(), &[9, 9, 9]].concat().into(),
                };
                let mut is_first = true;
                while let Some(Ok(frame)) = link.next().await {
                    if !matches!(frame, Frame::Binary(_)) {
                        continue;
                    }
                    if !std::mem::take(&mut is_first) {
                        let message = Message::decode(&frame.into_data()).unwrap();
                        sender.send(message).await.unwrap();
                    } else if link.send(Frame::Binary(bytes.clone())).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, sent)
}

fn assert_names_both_versions(text: &str, answer: Answer) {
    let (expected, got) = if answer == Answer::Refuses { (NEXT, LINK_VERSION) } else { (LINK_VERSION, NEXT) };
    let versions = format!("version: expected {expected}, got {got}; run the same release of Vouch at both ends");
    assert!(text.contains(&versions), "{text}");
    assert!(!text.contains("malformed"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_which_version_its_server_has() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letter"), "letter").unwrap();
    for answer in [Answer::Refuses, Answer::Greets] {
        let (address, _sent) = server(answer).await;
        let put = run(folder.path(), &["put", "letter", "--server", &address]).await;
        // At once: it does not try again.
        assert_eq!(put.status.code(), Some(1));
        assert_names_both_versions(&String::from_utf8(put.stderr).unwrap(), answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_says_which_version_its_server_has_and_tells_it() {
    for answer in [Answer::Refuses, Answer::Greets] {
        let folder = tempfile::tempdir().unwrap();
        let (address, mut sent) = server(answer).await;
        let mut command = tokio::process::Command::new(program());
        command.args(["replica", &address, "--data", "replica"]).current_dir(folder.path()).env("HOME", folder.path());
        let mut replica = command.stderr(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(replica.stderr.take().unwrap()).lines();
        let line = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it goes on");
                if line.contains("version") {
                    return line;
                }
            }
        };
        let line = tokio::time::timeout(TIMEOUT, line).await.expect("it says so");
        assert_names_both_versions(&line, answer);
        assert!(line.contains("trying again every minute"), "{line}");
        if answer == Answer::Greets {
            let told = tokio::time::timeout(TIMEOUT, sent.recv()).await.expect("it tells the server").unwrap();
            let Message::Failed(failed) = told else { panic!("{told:?}") };
            assert_eq!(failed.code, Code::Version);
            assert_names_both_versions(&failed.detail, answer);
        }
    }
}
