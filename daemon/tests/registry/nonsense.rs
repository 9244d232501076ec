//! Servers that are no etcd: whatever they say, the client fails with a reason and does not hang.

use std::net::Ipv4Addr;

use tapestry::registry::etcd::{BODY_MAX, Client, Error, LINE_MAX};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A client of a server that answers everything with these octets.
async fn client_of(answer: Vec<u8>) -> Client {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                // The client may have hung up.
                let _read = stream.read(&mut request).await;
                let _written = stream.write_all(&answer).await;
            });
        }
    });
    Client::new(vec![url.parse().unwrap()], None)
}

fn http(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[tokio::test]
async fn nonsense_is_an_error_with_a_reason() {
    let refused = br#"{"error":"etcdserver: no","message":"etcdserver: no","code":9}"#;
    let long = http("200 OK", &vec![b' '; 1 << 20]);
    for (answer, words) in [
        (Vec::new(), "cannot be reached: "),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "cannot be reached: "),
        (http("200 OK", b"<html>"), "makes no sense: "),
        (http("200 OK", br#"{"kvs":[{"key":"%%%"}]}"#), "makes no sense: "),
        (http("404 Not Found", b"404 page not found"), "refuses: status 404"),
        (http("400 Bad Request", refused), "refuses: etcdserver: no (status 400"),
        (http("503 Service Unavailable", b""), "status 503"),
        (http("200 OK", b"")[..20].to_vec(), "cannot be reached: "),
        (long, "makes no sense: "),
    ] {
        let said = client_of(answer.clone()).await.get("x").await.unwrap_err().to_string();
        assert!(
            said.starts_with("etcd") && said.contains(words),
            "{}: {said}",
            String::from_utf8_lossy(&answer[..answer.len().min(80)])
        );
    }
}

#[tokio::test]
async fn answers_without_end_are_cut() {
    let endless = |len: usize| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n");
        [head.into_bytes(), vec![b' '; len]].concat()
    };
    let error = client_of(endless(BODY_MAX + 1)).await.get("x").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error}");
    let mut watch = client_of(endless(LINE_MAX + (1 << 20))).await.watch("x", 1).await.unwrap();
    let error = watch.next().await.unwrap_err();
    assert!(matches!(error, Error::Nonsense(_)), "{error}");
}

#[tokio::test]
async fn nobody_there_is_an_error_with_the_address() {
    let client = Client::new(vec!["http://127.0.0.1:1".parse().unwrap()], None);
    let said = client.get("x").await.unwrap_err().to_string();
    assert!(said.contains("127.0.0.1:1: "), "{said}");
}
