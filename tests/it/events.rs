//! Event streams: what a project's followers and a preview's own pages hear, and what it costs.

use std::time::{Duration, Instant};

use previewd::auth::{Claims, Scope, mint};
use reqwest::header::HOST;
use reqwest::{Method, RequestBuilder};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::http::Http;
use crate::harness::sse::{Event, Stream};
use crate::harness::{Daemon, Options, eventually};

const SECRET: &str = "a-webhook-secret-of-ours";
/// Streams of the measurement.
const LISTENERS: usize = 1000;

fn token(project: &str, scope: Scope, ttl_s: i64) -> String {
    let exp = u64::try_from(jiff::Timestamp::now().as_second() + ttl_s).expect("after 1970");
    mint(SECRET, &Claims { sub: project.parse().expect("id"), scope, exp }).expect("mint")
}

fn events_of(daemon: &Daemon, query: &str) -> RequestBuilder {
    daemon.http.request(Method::GET, &format!("/events/demo{query}")).bearer_auth(&daemon.http.token)
}

/// What the preview's own pages ask for, in host mode.
fn own_events(daemon: &Daemon, label: &str) -> RequestBuilder {
    let port = daemon.http.address.rsplit(':').next().expect("port");
    daemon.http.request(Method::GET, "/_previewd/events").header(HOST, format!("{label}.localhost:{port}"))
}

fn is_ready(revision: u64) -> impl Fn(&Event) -> bool {
    move |event| event.name == "status" && event.data["state"] == "ready" && event.data["revision"] == revision
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

async fn daemon() -> Daemon {
    let daemon = Options::default().cold_store().set("auth.webhook_secrets", SECRET).start().await;
    assert_eq!(daemon.build_fixture("demo", "static-html").await["status"], "ready");
    daemon
}

#[tokio::test]
async fn a_build_is_told_from_its_start_to_its_end() {
    let daemon = daemon().await;
    let mut stream = Stream::open(events_of(&daemon, "")).await;
    let first = stream.next().await.expect("an event");
    assert_eq!((first.name.as_str(), &first.data), ("status", &daemon.status("demo").await), "how it stands comes first");
    let before = first.data["live"]["build_id"].clone();

    daemon.put("demo", "style.css", "h1 { color: teal }");
    let answer = daemon.sync_and_wait("demo").await;
    let events = stream.until(is_ready(2)).await;
    let at = |name: &str| events.iter().position(|event| event.name == name).unwrap_or_else(|| panic!("{name}: {:?}", names(&events)));
    assert!(events[0].name == "status" && at("log") < at("published"), "{:?}", names(&events));
    let published = &events[at("published")].data;
    let build = &answer["build"]["build_id"];
    assert_eq!((&published["build_id"], &published["previous_build_id"]), (build, &before));
    assert_eq!((&published["styles_only"], &published["reason"]), (&json!(true), &json!("build")));
    assert_eq!(published["styles"], json!([{ "from": "style.css", "to": "style.css" }]));
    let lines: Vec<String> = events.iter().filter(|event| event.name == "log").map(|event| event.data["message"].to_string()).collect();
    let log = daemon.build_log("demo").await;
    assert_eq!(lines.len(), log.lines().count(), "{lines:?}\n{log}");
    let numbers: Vec<u64> = events.iter().map(|event| event.id.split_once('-').expect("life").1.parse().expect("number")).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");

    let rolled = daemon.http.post("/rollback/demo", &json!({ "build_id": before })).await;
    assert_eq!(rolled.status, 200);
    let told = stream.until(|event| event.name == "status").await;
    assert_eq!((names(&told), &told[0].data["reason"]), (vec!["published", "status"], &json!("rollback")));
}

#[tokio::test]
async fn a_stream_resumes_and_after_a_restart_begins_with_how_things_stand() {
    let daemon = daemon().await;
    let mut stream = Stream::open(events_of(&daemon, "")).await;
    let last = stream.next().await.expect("status").id;
    drop(stream);
    daemon.put("demo", "index.html", "<p>two</p>");
    daemon.sync_and_wait("demo").await;
    let missed = Stream::open(events_of(&daemon, "").header("last-event-id", &last)).await.until(is_ready(2)).await;
    assert!(names(&missed).contains(&"published") && names(&missed).contains(&"log"), "{:?}", names(&missed));
    let again = Stream::open(events_of(&daemon, &format!("?last_event_id={last}"))).await.until(is_ready(2)).await;
    assert_eq!(names(&again), names(&missed), "the id in the address");
    let newest = missed.last().expect("an event").id.clone();
    let mut nothing = Stream::open(events_of(&daemon, &format!("?for_s=0&last_event_id={newest}"))).await;
    assert!(nothing.next().await.is_none(), "nothing came since");

    let daemon = daemon.restart();
    for id in [newest.as_str(), "nonsense", ""] {
        let mut stream = Stream::open(events_of(&daemon, "?for_s=0").header("last-event-id", id)).await;
        let first = stream.next().await.expect("an event");
        assert_eq!((first.name.as_str(), &first.data["revision"]), ("status", &json!(2)), "{id:?}");
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn streams_are_for_who_may_read_and_end_with_the_daemon_or_the_project() {
    let daemon = daemon().await;
    let ask = |query: String| Http::send(daemon.http.request(Method::GET, &format!("/events/demo?for_s=0{query}")));
    assert_eq!(ask(String::new()).await.problem(), (401, "unauthorized".to_owned()));
    for refused in [token("other", Scope::Read, 60), token("demo", Scope::Preview, 60), token("demo", Scope::Read, -1)] {
        assert_eq!(ask(format!("&token={refused}")).await.status, 401);
    }
    let opened = ask(format!("&token={}", token("demo", Scope::Read, 60))).await;
    assert_eq!((opened.status, opened.header("access-control-allow-origin"), opened.header("x-accel-buffering")), (200, "*", "no"));
    assert!(opened.text().starts_with("retry: "), "{}", opened.text());
    assert_eq!(daemon.http.get("/events/nobody").await.problem(), (404, "unknown_project".to_owned()));
    assert_eq!(daemon.http.get("/events/demo?for_s=3601").await.problem(), (400, "invalid_query".to_owned()));
    let head = Http::send(events_of(&daemon, "").build().map(|request| daemon.http.request(Method::HEAD, request.url().path())).expect("request"));
    assert_eq!(head.await.status, 401);
    let head = Http::send(daemon.http.request(Method::HEAD, "/events/demo").bearer_auth(&daemon.http.token)).await;
    assert_eq!((head.status, head.body.len()), (200, 0), "without a stream that goes on");

    let mut stream = Stream::open(events_of(&daemon, "")).await;
    let gone = async || (daemon.http.get("/metrics").await.text().contains("previewd_event_streams 1")).then_some(());
    eventually("the count of streams", gone).await;
    assert_eq!(daemon.http.delete("/projects/demo").await.status, 204);
    while stream.next().await.is_some() {}

    daemon.build_fixture("demo", "static-html").await;
    let mut stream = Stream::open(events_of(&daemon, "")).await;
    stream.next().await.expect("status");
    let stopping = Instant::now();
    let stopped = tokio::task::spawn_blocking(move || daemon.stop());
    assert!(stream.next().await.is_none());
    assert_eq!(stopped.await.expect("stopped").0, Some(0));
    assert!(stopping.elapsed() < Duration::from_secs(4), "a stop does not wait for streams: {:?}", stopping.elapsed());
}

#[tokio::test]
async fn a_token_that_runs_out_ends_its_stream() {
    let daemon = daemon().await;
    let request = daemon.http.request(Method::GET, &format!("/events/demo?token={}", token("demo", Scope::Read, 3)));
    let mut stream = Stream::open(request).await;
    stream.next().await.expect("status");
    assert!(stream.next().await.is_none(), "within a heart-beat");
}

#[tokio::test]
async fn a_preview_hears_of_releases_and_failures_on_its_own_origin() {
    let daemon = Daemon::start().await;
    daemon.build_fixture("demo", "vanilla").await;
    let path_mode = daemon.http.request(Method::GET, "/preview/demo/_previewd/events");
    for request in [own_events(&daemon, "demo"), path_mode] {
        let revision = daemon.status("demo").await["revision"].as_u64().expect("revision");
        let mut stream = Stream::open(request).await;
        assert!(stream.response.headers().contains_key("content-security-policy"));
        let first = [stream.next().await.expect("live"), stream.next().await.expect("the last build")];
        assert_eq!((names(&first), &first[0].data["reason"]), (vec!["published", "fixed"], &json!("current")));

        let main = if revision == 1 { "document.body.append('one'" } else { "document.body.append('two'" };
        daemon.put("demo", "main.js", main);
        assert_eq!(daemon.sync_and_wait("demo").await["status"], "error");
        let failed = stream.next().await.expect("an event");
        assert_eq!(failed.name, "failed");
        let told = &failed.data;
        assert_eq!((&told["kind"], &told["file"], &told["revision"]), (&json!("compile"), &json!("main.js"), &json!(revision + 1)), "{told:#}");
        assert!(told["line"].is_u64() && told["message"].is_string() && told["frame"].is_string(), "{told:#}");
        let late = Stream::open(own_events(&daemon, "demo")).await.until(|event| event.name == "failed").await;
        assert_eq!(late.last().map(|event| &event.data), Some(told), "who comes later hears of it too");

        daemon.put("demo", "main.js", format!("{main})"));
        assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
        let fixed = stream.until(|event| event.name == "fixed").await;
        assert_eq!((names(&fixed), &fixed[0].data["styles_only"]), (vec!["published", "fixed"], &json!(false)));
    }
    let build = daemon.status("demo").await["live"]["build_id"].as_str().expect("live").to_lowercase();
    let permalink = daemon.http.preview(&format!("{build}--demo"), "/_previewd/events", &[]).await;
    assert_eq!(permalink.status, 404, "it never changes");
    assert_eq!(daemon.preview("nobody", "/_previewd/events").await.status, 404);
}

#[tokio::test]
async fn a_private_previews_events_are_as_private() {
    let daemon = Options::default().cold_store().set("preview.private", true).set("auth.webhook_secrets", SECRET).start().await;
    daemon.build_fixture("demo", "static-html").await;
    assert_eq!(daemon.preview("demo", "/_previewd/events").await.problem(), (401, "unauthorized".to_owned()));
    let by_path = |query: &str| daemon.http.request(Method::GET, &format!("/preview/demo/_previewd/events{query}"));
    assert_eq!(Http::send(by_path("")).await.status, 401);
    let token = token("demo", Scope::Preview, 60);
    for request in [own_events(&daemon, "demo").header("cookie", format!("previewd_preview={token}")), by_path(&format!("?token={token}"))] {
        assert_eq!(Stream::open(request).await.next().await.expect("an event").name, "published");
    }
}

/// A stream as a socket, read only so far as asked.
async fn socket(daemon: &Daemon, receive_bytes: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("socket");
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes).expect("buffer");
    }
    let mut stream = socket.connect(daemon.http.address.parse().expect("address")).await.expect("connect");
    let request = format!("GET /events/demo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n", daemon.http.token);
    stream.write_all(request.as_bytes()).await.expect("write");
    stream
}

/// Reads until `wanted` has come; what came with it is given back.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let (mut text, mut chunk) = (String::new(), vec![0; 4096]);
    while !text.contains(wanted) {
        let read = stream.read(&mut chunk).await.expect("read");
        assert!(read > 0, "the stream ended: {text}");
        text.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    text
}

#[tokio::test]
async fn who_does_not_read_is_dropped_and_holds_nobody_up() {
    let daemon = Options::default().set("build.log_kb", 8192).start().await;
    daemon.build_fixture("demo", "vanilla").await;
    let (mut slow, mut quick) = (socket(&daemon, Some(32 * 1024)).await, Stream::open(events_of(&daemon, "")).await);
    read_until(&mut slow, "event: status").await;
    let config = "for (let n = 0; n < 8000; n++) console.log(`line ${n} ${'x'.repeat(600)}`);\nexport default {};\n";
    daemon.put("demo", "vite.config.js", config);
    let reading = tokio::spawn(async move {
        let mut lines = 0;
        while let Some(event) = quick.next().await {
            lines += usize::from(event.name == "log");
            if is_ready(2)(&event) {
                return lines;
            }
        }
        panic!("a reader that keeps up was dropped after {lines} lines");
    });
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    let lines = reading.await.expect("it kept up");
    assert!(lines >= 8_000, "{lines}");
    // It reads again: what the kernel holds for it, and then the end of a whole answer.
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.map(drop).expect("a clean end");
    let text = String::from_utf8_lossy(&rest);
    assert!(text.ends_with("\r\n0\r\n\r\n") || text.ends_with("0\r\n\r\n"), "{:?}", &text[text.len().saturating_sub(200)..]);
    assert!(text.matches("event: log").count() < 8_000);
}

fn resident_kb(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

#[tokio::test]
async fn a_thousand_listeners_are_cheap() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("descriptors");
    let daemon = daemon().await;
    let builds = [daemon.status("demo").await["live"]["build_id"].clone(), {
        daemon.put("demo", "index.html", "<p>two</p>");
        daemon.sync_and_wait("demo").await["build"]["build_id"].clone()
    }];
    let before = resident_kb(&daemon);
    let mut streams = Vec::with_capacity(LISTENERS);
    for _ in 0..LISTENERS {
        let mut stream = socket(&daemon, None).await;
        read_until(&mut stream, "event: status").await;
        streams.push(stream);
    }
    let each_bytes = resident_kb(&daemon).saturating_sub(before) * 1024 / LISTENERS as u64;
    let mut slowest = Duration::ZERO;
    for round in 0..4 {
        let begun = Instant::now();
        let readers = streams.drain(..).map(|mut stream| {
            tokio::spawn(async move {
                let text = read_until(&mut stream, "event: published").await;
                let time = begun.elapsed();
                // What comes behind it belongs to this round.
                if !text.contains("event: status") {
                    read_until(&mut stream, "event: status").await;
                }
                (stream, time)
            })
        });
        let readers: Vec<_> = readers.collect();
        let rolled: Value = daemon.http.post("/rollback/demo", &json!({ "build_id": builds[round % 2] })).await.json();
        assert_eq!(rolled["live"]["build_id"], builds[round % 2]);
        let answered = begun.elapsed();
        let mut times = Vec::new();
        for reader in readers {
            let (stream, time) = reader.await.expect("an event");
            streams.push(stream);
            times.push(time);
        }
        times.sort();
        println!(
            "{LISTENERS} listeners: {each_bytes} bytes each; round {round}: answered {answered:.1?}, half told {:.1?}, all {:.1?}",
            times[LISTENERS / 2],
            times[LISTENERS - 1]
        );
        slowest = slowest.max(times[LISTENERS - 1]);
    }
    assert!(each_bytes < 40_000, "{each_bytes} bytes for each");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}
