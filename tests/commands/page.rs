//! The page address that a server prints, and `--allow-origin`.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::nodes::Node;
use crate::program::vouch;

fn lines(log: &str, beginning: &str) -> Vec<String> {
    log.lines().filter(|line| line.starts_with(beginning)).map(str::to_owned).collect()
}

#[test]
fn server_prints_its_page_with_the_identity() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("letter"), "a letter\n").unwrap();
    let mut server = Node::start(folder, &["server", "0"]);
    let page = server.line_with("page http://");
    assert!(server.log().starts_with("listening on "), "programs read it first: {}", server.log());
    let address = lines(&server.log(), "listening on ")[0].replace("listening on ", "");
    assert_eq!(page, format!("page http://{address}/"));

    let _replica = Node::start(folder, &["replica", &address]);
    server.line_with("; 1 connected");
    let put = vouch(folder, &["put", "letter", "--server", &address, "--json"]);
    let identity = put.json()["cluster"].as_str().unwrap().to_owned();
    let page = server.line_with("#cluster=");
    assert_eq!(page, format!("page http://{address}/#cluster={identity}"));

    // a restarted server with a committee prints the identity at once
    server.kill();
    let mut again = Node::start(folder, &["server", "0.0.0.0:0", "--insecure"]);
    let page = again.line_with("page http://");
    let port = lines(&again.log(), "listening on 0.0.0.0:")[0].replace("listening on 0.0.0.0:", "");
    assert_eq!(page, format!("page http://127.0.0.1:{port}/#cluster={identity}"));
}

#[test]
fn allowed_origins_may_put() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["server", "0", "--allow-origin", "https://a.example", "--allow-origin", "http://B.example:8080"];
    let mut server = Node::start(folder.path(), &args);
    let address = server.line_with("listening on ").replace("listening on ", "");
    for (origin, status) in [("https://a.example", 204), ("http://b.example:8080", 204), ("https://c.example", 403)] {
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(
            stream,
            "OPTIONS /v1/blobs HTTP/1.1\r\nHost: {address}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{origin}: {answer}");
    }
}
