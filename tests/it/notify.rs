//! Outgoing webhooks: signed, at least once, across crashes, and never aimed at what is near us.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use previewd::auth::{Claims, Scope, mint, sign};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::harness::http::{Answer, Http};
use crate::harness::{Daemon, Options, eventually};

const SECRET: &str = "a-webhook-secret-of-ours";
const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// A webhook as it came.
#[derive(Debug, Clone)]
struct Hook {
    target: String,
    head: String,
    body: Value,
    raw: String,
}

impl Hook {
    fn header(&self, name: &str) -> &str {
        let named = |line: &&str| line.split_once(':').is_some_and(|(header, _)| header.eq_ignore_ascii_case(name));
        self.head.lines().find(named).and_then(|line| line.split_once(": ")).map(|(_, value)| value).unwrap_or_default()
    }
}

/// Somebody who takes webhooks.
struct Receiver {
    port: u16,
    hooks: Arc<Mutex<Vec<Hook>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Receiver {
    /// Answers with these, one after another, then with 204. An empty one: never.
    async fn start(answers: &[&str]) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("bind"), answers)
    }

    fn on(listener: TcpListener, answers: &[&str]) -> Self {
        let hooks: Arc<Mutex<Vec<Hook>>> = Arc::default();
        let answers: Arc<Mutex<VecDeque<String>>> = Arc::new(Mutex::new(answers.iter().map(|text| (*text).to_owned()).collect()));
        let (port, taken) = (listener.local_addr().expect("address").port(), hooks.clone());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, taken.clone(), answers.clone()));
            }
        });
        Self { port, hooks, _serving: AbortOnDropHandle::new(serving) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn hooks(&self) -> Vec<Hook> {
        self.hooks.lock().expect("lock").clone()
    }

    async fn at_least(&self, count: usize) -> Vec<Hook> {
        eventually(&format!("{count} webhooks"), async || Some(self.hooks()).filter(|hooks| hooks.len() >= count)).await
    }
}

async fn serve(mut stream: TcpStream, hooks: Arc<Mutex<Vec<Hook>>>, answers: Arc<Mutex<VecDeque<String>>>) {
    let mut read = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => read.extend_from_slice(&chunk[..n]),
            _ => return,
        }
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        if body.len() < length.and_then(|length| length.parse().ok()).unwrap_or(0) {
            continue;
        }
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let hook = Hook { target, head: head.to_owned(), body: serde_json::from_str(body).expect("JSON"), raw: body.to_owned() };
        let answer = answers.lock().expect("lock").pop_front().unwrap_or_else(|| OK.to_owned());
        hooks.lock().expect("lock").push(hook);
        if answer.is_empty() {
            return std::future::pending().await;
        }
        let _ = stream.write_all(answer.as_bytes()).await;
        read.clear();
    }
}

fn options(urls: &str) -> Options {
    let options = Options::default().cold_store().set("auth.webhook_secrets", SECRET);
    options.set("notify.urls", urls).set("notify.hosts", "127.0.0.1:1, chat.example").set("notify.private", true)
}

async fn put(daemon: &Daemon, path: &str, body: &Value) -> Answer {
    Http::send(daemon.http.request(Method::PUT, path).bearer_auth(&daemon.http.token).json(body)).await
}

async fn count(daemon: &Daemon, result: &str) -> u64 {
    let metrics = daemon.http.get("/metrics").await.text();
    let name = format!("previewd_notify_total{{result=\"{result}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).and_then(|value| value.parse().ok()).expect("the metric")
}

#[tokio::test]
async fn every_finished_build_is_told_signed() {
    let receiver = Receiver::start(&[]).await;
    let daemon = options(&receiver.url("/hook/a%20b?x=1&y=%26")).start().await;
    daemon.build_fixture("demo", "static-html").await;
    let status = daemon.status("demo").await;
    let first = receiver.at_least(1).await.remove(0);
    assert_eq!((&first.body, first.target.as_str()), (&status, "/hook/a%20b?x=1&y=%26"), "the status object");
    assert_eq!((first.header("x-previewd-event"), first.header("content-type")), ("build", "application/json"));
    let signature = first.header("x-previewd-signature").to_owned();
    let time: i64 = signature.strip_prefix("t=").and_then(|rest| rest.split(',').next()).and_then(|time| time.parse().ok()).expect("time");
    assert!((jiff::Timestamp::now().as_second() - time).abs() < 60);
    assert_eq!(signature, sign(SECRET, time, "POST", &first.target, first.raw.as_bytes()));

    daemon.remove("demo", "index.html");
    daemon.remove("demo", "about.html");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "error");
    let second = receiver.at_least(2).await.remove(1);
    assert_eq!((&second.body["state"], &second.body["last_build"]["outcome"]), (&json!("error"), &json!("failed")));
    assert_ne!(first.header("x-previewd-delivery"), second.header("x-previewd-delivery"));
    eventually("the count", async || (count(&daemon, "delivered").await == 2).then_some(())).await;
    assert!(daemon.http.get("/metrics").await.text().contains("previewd_notify_waiting 0"));
}

#[tokio::test]
async fn what_is_not_taken_is_sent_again_and_no_redirect_is_followed() {
    let elsewhere = Receiver::start(&[]).await;
    let away = format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", elsewhere.url("/"));
    let receiver = Receiver::start(&["HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", &away, "nonsense\r\n\r\n"]).await;
    let daemon = options(&receiver.url("/")).start().await;
    daemon.build_fixture("demo", "static-html").await;
    let hooks = receiver.at_least(4).await;
    assert!(hooks.iter().all(|hook| hook.header("x-previewd-delivery") == hooks[0].header("x-previewd-delivery") && hook.raw == hooks[0].raw));
    assert!(elsewhere.hooks().is_empty());
    eventually("the count", async || (count(&daemon, "delivered").await == 1).then_some(())).await;
    assert_eq!(count(&daemon, "retried").await, 3);
}

#[tokio::test]
async fn what_nobody_took_outlives_a_crash() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    drop(listener);
    let daemon = options(&format!("http://{address}/")).start().await;
    let built = daemon.build_fixture("demo", "static-html").await;
    eventually("a try", async || (count(&daemon, "retried").await > 0).then_some(())).await;
    let daemon = daemon.kill_and_restart();
    let receiver = Receiver::on(TcpListener::bind(address).await.expect("bind again"), &[]);
    let hook = receiver.at_least(1).await.remove(0);
    assert_eq!(hook.body["last_build"]["build_id"], built["build"]["build_id"]);
    drop(daemon);
}

#[tokio::test]
async fn one_that_hangs_or_never_ends_keeps_nobody_waiting() {
    let endless = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n{}", "x".repeat(100_000));
    let (hanging, endless, quick) = (Receiver::start(&["", "", ""]).await, Receiver::start(&[&endless, &endless]).await, Receiver::start(&[]).await);
    let urls = [hanging.url("/"), endless.url("/"), quick.url("/")].join(",");
    let daemon = options(&urls).start().await;
    let begun = Instant::now();
    for project in ["one", "two"] {
        daemon.build_fixture(project, "static-html").await;
    }
    quick.at_least(2).await;
    eventually("the count", async || (count(&daemon, "delivered").await == 4).then_some(())).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(hanging.hooks().len(), 2);
}

#[tokio::test]
async fn what_is_near_us_is_not_reached_unless_the_operator_says_so() {
    let receiver = Receiver::start(&[]).await;
    let by_name = format!("http://localhost:{}/", receiver.port);
    let daemon = options(&format!("{},{by_name}", receiver.url("/"))).set("notify.private", false).start().await;
    daemon.build_fixture("demo", "static-html").await;
    eventually("two tries", async || (count(&daemon, "retried").await >= 2).then_some(())).await;
    assert!(receiver.hooks().is_empty());
    assert!(daemon.log().contains("set notify.private"), "it is told why");
}

#[tokio::test]
async fn a_project_has_addresses_of_its_own_with_hosts_that_the_operator_named() {
    let receiver = Receiver::start(&[]).await;
    let hosts = format!("127.0.0.1:{}, chat.example", receiver.port);
    let daemon = options("").set("notify.hosts", hosts).start().await;
    let url = receiver.url("/mine");
    assert_eq!(daemon.http.get("/notify/demo").await.problem(), (404, "unknown_project".to_owned()));
    let set = put(&daemon, "/notify/demo", &json!({ "urls": [url, url] })).await;
    assert_eq!((set.status, set.json()), (200, json!({ "urls": [url, url] })));
    for project in ["other", "demo"] {
        daemon.build_fixture(project, "static-html").await;
    }
    assert_eq!(receiver.at_least(1).await[0].body["project_id"], "demo");
    assert_eq!(daemon.http.get("/notify/demo").await.json(), json!({ "urls": [url, url] }));

    for refused in ["http://127.0.0.1:1/", "https://evil.example/", "https://u:p@chat.example/", "chat.example", "http://169.254.169.254/"] {
        let answer = put(&daemon, "/notify/demo", &json!({ "urls": ["https://chat.example/fine", refused] })).await;
        assert_eq!(answer.problem(), (400, "invalid_body".to_owned()));
        assert!(answer.text().contains("urls[1]"), "{}", answer.text());
    }
    assert_eq!(put(&daemon, "/notify/demo", &json!({})).await.problem(), (400, "invalid_body".to_owned()));
    let exp = u64::try_from(jiff::Timestamp::now().as_second() + 60).expect("after 1970");
    let token = |scope| mint(SECRET, &Claims { sub: "demo".parse().expect("id"), scope, exp }).expect("mint");
    for (scope, status) in [(Scope::Read, 401), (Scope::Preview, 401), (Scope::Control, 200)] {
        let asked = Http::send(daemon.http.request(Method::GET, "/notify/demo").bearer_auth(token(scope))).await;
        assert_eq!(asked.status, status, "an address may hold a secret");
    }
    assert_eq!(daemon.http.delete("/notify/demo").await.status, 204);
    assert_eq!(daemon.http.get("/notify/demo").await.json(), json!({ "urls": [] }));
    daemon.http.post("/build/demo", &json!({ "wait_ms": 60_000 })).await;
    assert!(daemon.http.get("/metrics").await.text().contains("previewd_notify_waiting 0"), "nothing is written down for nobody");
    assert_eq!(receiver.hooks().len(), 1);
}
