//! Connections break where a test asks for it.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_apiserver::{ApiServer, Break, Resource, Verb};

/// What comes of a watch that breaks, without the head of the answer.
async fn broken_watch(how: Break) -> String {
    let server = ApiServer::start();
    server.apply(json!({"kind": "Node", "metadata": {"name": "node-a"}}));
    let address = server.url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).await.expect("it listens");
    let target = "/api/v1/nodes?watch=1&sendInitialEvents=true";
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("initial-events-end") {
        assert_ne!(stream.read_buf(&mut answer).await.expect("it answers"), 0);
    }
    let is_watch = |of: &weir_apiserver::Request| of.verb == Verb::Watch;
    assert!(server.requests().iter().all(|of| is_watch(of) && of.resource == Resource::Nodes));
    server.break_watches(how);
    // An end or a reset, as it comes.
    stream.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8(answer).expect("text");
    answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

/// How many bytes the last chunk of an answer says that it has, and how many it has.
fn last_chunk(mut chunks: &str) -> (usize, usize) {
    loop {
        let (length, rest) = chunks.split_once("\r\n").expect("a length");
        let length = usize::from_str_radix(length, 16).expect("a length");
        if rest.len() <= length + "\r\n".len() {
            return (length, rest.trim_end_matches("\r\n").len());
        }
        chunks = &rest[length + "\r\n".len()..];
    }
}

#[tokio::test]
async fn a_connection_breaks_between_chunks_or_within_one() {
    let (said, had) = last_chunk(&broken_watch(Break::Half).await);
    assert_eq!(said, had);
    let (said, had) = last_chunk(&broken_watch(Break::HalfChunk).await);
    assert!(0 < had && had < said, "{had} of {said}");
    let (said, had) = last_chunk(&broken_watch(Break::End).await);
    assert_eq!((said, had), (0, 0), "the chunk that ends an answer");
}
