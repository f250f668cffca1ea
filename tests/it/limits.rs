//! What one client may take of the HTTP side: bytes, connections, time. Each limit has its own answer.

use std::fs;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Daemon, Options, eventually};

/// Sends raw bytes, and reads until the daemon closes the connection.
async fn raw(daemon: &Daemon, bytes: &[u8]) -> String {
    let mut stream = connect(daemon).await;
    stream.write_all(bytes).await.expect("send");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answer");
    String::from_utf8(answer).expect("text")
}

async fn connect(daemon: &Daemon) -> TcpStream {
    TcpStream::connect(&*daemon.http.address).await.expect("connect")
}

/// Sends a request on a connection that stays open, and reads its answer's head.
async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("send");
    let mut answer = vec![0; 4096];
    let bytes = stream.read(&mut answer).await.expect("answer");
    String::from_utf8_lossy(&answer[..bytes]).into_owned()
}

async fn open_connections(daemon: &Daemon) -> i64 {
    let metrics = daemon.http.get("/metrics").await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("previewd_http_connections ")).expect("the gauge");
    line.parse().expect("a number")
}

#[tokio::test]
async fn headers_and_addresses_have_a_longest() {
    let daemon = Daemon::start().await;
    let get = |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").into_bytes();
    let header = |bytes: usize| format!("X-Large: {}\r\n", "a".repeat(bytes));
    let refused = raw(&daemon, &get("/health/live", &header(33 * 1024))).await;
    assert!(refused.starts_with("HTTP/1.1 431 ") && refused.contains("\"code\":\"headers_too_large\""), "{refused}");
    assert!(refused.contains("connection: close") && refused.contains("x-request-id"), "{refused}");
    let many = "X-Small: 1\r\n".repeat(1000);
    assert!(raw(&daemon, &get("/health/live", &many)).await.starts_with("HTTP/1.1 431 "));
    let long = raw(&daemon, &get(&format!("/health/live?{}", "a".repeat(9 * 1024)), "")).await;
    assert!(long.starts_with("HTTP/1.1 414 ") && long.contains("\"code\":\"address_too_long\""), "{long}");
    assert!(raw(&daemon, &get("/health/live", &header(30 * 1024))).await.starts_with("HTTP/1.1 200 "));
    assert!(raw(&daemon, b"nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_client_that_is_too_slow_is_told() {
    let daemon = Options::default().set("server.client_timeout_s", 1).start().await;
    let headers = raw(&daemon, b"GET /health/live HTTP/1.1\r\nHost: x\r\n").await;
    assert!(headers.starts_with("HTTP/1.1 408 "), "{headers}");
    let token = &daemon.http.token;
    let begun = format!(
        "POST /sync-project/demo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{{"
    );
    let body = raw(&daemon, begun.as_bytes()).await;
    assert!(body.starts_with("HTTP/1.1 408 ") && body.contains("\"code\":\"body_timeout\""), "{body}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_dropped() {
    let daemon = Options::default().set("server.client_timeout_s", 1).start().await;
    daemon.push_fixture("demo", "static-html");
    // More than the buffers of both ends hold.
    daemon.put("demo", "large.bin", vec![7; 48 << 20]);
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    let mut stream = connect(&daemon).await;
    stream.write_all(b"GET /preview/demo/large.bin HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("send");
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.expect("it begins");
    assert_eq!(&first, b"HTTP/1.1 200");
    let before = open_connections(&daemon).await;
    eventually("the drop", async || (open_connections(&daemon).await < before).then_some(())).await;
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).await.is_err() || rest.len() < 48 << 20, "it was cut");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so() {
    let daemon = Options::default().set("server.max_connections", 8).start().await;
    let mut open = Vec::new();
    let refused = loop {
        let mut stream = connect(&daemon).await;
        let answer = ask(&mut stream).await;
        if !answer.starts_with("HTTP/1.1 200 ") {
            break answer;
        }
        open.push(stream);
        assert!(open.len() <= 8, "there is no limit");
    };
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\"code\":\"too_many_connections\""), "{refused}");
    assert!(refused.contains("retry-after: ") && refused.contains("connection: close"), "{refused}");
    assert!(open.len() >= 6, "{} were let in", open.len());
    for stream in &mut open {
        assert!(ask(stream).await.starts_with("HTTP/1.1 200 "), "those that are in stay");
    }
    open.clear();
    eventually("room", async || ask(&mut connect(&daemon).await).await.starts_with("HTTP/1.1 200 ").then_some(())).await;
}

#[tokio::test]
async fn a_body_over_its_limit_is_refused_before_it_is_read_to_the_end() {
    let daemon = Options::default().set("server.max_body_kb", 64).start().await;
    let large = json!({ "changed_files": vec!["src/App.tsx"; 10_000] });
    assert_eq!(daemon.http.post("/sync-project/demo", &large).await.problem(), (413, "body_too_large".to_owned()));
    assert_eq!(daemon.http.get("/status/demo").await.status, 404, "nothing of it was taken over");
}

#[tokio::test]
async fn as_many_files_may_be_open_as_the_system_allows() {
    let daemon = Daemon::start().await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let numbers: Vec<_> = line.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert_eq!(numbers[0], numbers[1], "{line}");
}
