//! A restart behind a listener that somebody else holds open: nobody is refused, no answer is cut off.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::harness::{Options, eventually};

/// Graceful restarts under load.
const RESTARTS: u64 = 3;
/// Clients of each kind.
const CLIENTS: usize = 4;
/// Answers that each kind of client has to have got before the next restart, so that every restart is under load.
const ANSWERS_BETWEEN: u64 = 50;
/// Longest wait for one answer: a stop and a start lie in between.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// What is asked for, in turn: host header and path. Each has to be answered 200.
const ASKED: [(&str, &str); 3] = [("127.0.0.1", "/health/live"), ("demo.localhost", "/"), ("127.0.0.1", "/preview/demo/")];

/// Counts of one kind of client.
#[derive(Default)]
struct Seen {
    answers: AtomicU64,
    connections: AtomicU64,
}

/// A connection as HTTP/1.1 has it, without any retry: a client library would hide what this test looks for.
struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { stream: BufReader::new(TcpStream::connect(address).await?) })
    }

    /// One request and its whole answer; `false` where the server says that it was the last on this connection.
    async fn ask(&mut self, port: u16, (host, path): (&str, &str)) -> io::Result<bool> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\naccept: text/html\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head).await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("no answer: {head:?}")));
            }
        }
        let head = head.to_ascii_lowercase();
        if !head.starts_with("http/1.1 200 ") {
            return Err(io::Error::other(format!("{host}{path}: {head}")));
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.ok_or_else(|| io::Error::other("no content-length"))?];
        self.stream.read_exact(&mut body).await?;
        Ok(!head.contains("\r\nconnection: close\r\n"))
    }
}

/// Asks without a pause until told to stop: on one connection as long as it is kept, or on a new one each time.
fn hammer(address: SocketAddr, keep: bool, stop: &Arc<AtomicBool>, seen: &Arc<Seen>) -> JoinHandle<io::Result<()>> {
    let (stop, seen) = (stop.clone(), seen.clone());
    tokio::spawn(async move {
        let mut kept = None;
        for asked in ASKED.iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let mut connection = if let Some(connection) = kept.take() {
                connection
            } else {
                seen.connections.fetch_add(1, Ordering::Relaxed);
                Connection::open(address).await?
            };
            let answer = tokio::time::timeout(ANSWER_MAX, connection.ask(address.port(), *asked)).await;
            let open = answer.map_err(|_| io::Error::other("no answer in time"))??;
            seen.answers.fetch_add(1, Ordering::Relaxed);
            kept = (keep && open).then_some(connection);
        }
        Ok(())
    })
}

fn listener() -> (Arc<TcpListener>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    (Arc::new(listener), address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_load_refuses_and_drops_nothing() {
    let (listener, address) = listener();
    let mut daemon = Options::default().listener(&listener).start().await;
    assert_eq!(daemon.http.address, address.to_string(), "it serves the listener that it was handed");
    daemon.build_fixture("demo", "static-html").await;
    let stop = Arc::new(AtomicBool::new(false));
    let (fresh, keeping) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
    let clients: Vec<_> = (0..CLIENTS).flat_map(|_| [hammer(address, false, &stop, &fresh), hammer(address, true, &stop, &keeping)]).collect();
    let under_load = async || {
        for seen in [&fresh, &keeping] {
            let enough = seen.answers.load(Ordering::Relaxed) + ANSWERS_BETWEEN;
            // A client that failed answers no more.
            eventually("answers", async || {
                (seen.answers.load(Ordering::Relaxed) >= enough || clients.iter().any(JoinHandle::is_finished)).then_some(())
            })
            .await;
        }
    };
    for _ in 0..RESTARTS {
        under_load().await;
        daemon = tokio::task::spawn_blocking(|| daemon.restart()).await.expect("restart");
    }
    under_load().await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("client").expect("every request is answered");
    }
    let (answers, connections) = (keeping.answers.load(Ordering::Relaxed), keeping.connections.load(Ordering::Relaxed));
    println!("{} answers on new connections, {answers} on {connections} kept ones, {RESTARTS} restarts", fresh.answers.load(Ordering::Relaxed));
    // Each restart ends each of them; while the daemon drains, a new one lasts for one answer.
    assert!(connections >= CLIENTS as u64 * (1 + RESTARTS) && answers > 2 * connections, "{connections} kept connections, {answers} answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_connects_while_nobody_runs_is_answered_after_the_start() {
    let (listener, address) = listener();
    let mut daemon = Options::default().listener(&listener).start().await;
    daemon.build_fixture("demo", "static-html").await;
    daemon.kill();
    let mut waiting = Vec::new();
    for asked in ASKED {
        let mut connection = Connection::open(address).await.expect("the kernel takes it");
        waiting.push(tokio::spawn(async move { connection.ask(address.port(), asked).await }));
    }
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()), "nobody is there to answer");
    let _daemon = tokio::task::spawn_blocking(|| daemon.kill_and_restart()).await.expect("restart");
    for waiting in waiting {
        assert!(waiting.await.expect("client").expect("answered"), "and the connection is kept");
    }
}

#[tokio::test]
async fn children_do_not_hold_the_listener() {
    let (listener, address) = listener();
    let daemon = Options::default().listener(&listener).start().await;
    daemon.push_fixture("demo", "hanging-build");
    daemon.sync("demo", serde_json::json!({})).await;
    daemon.until_vite_runs().await;
    let socket = std::fs::read_link(format!("/proc/{}/fd/3", daemon.pid())).expect("the daemon's own").into_os_string();
    assert!(socket.to_string_lossy().starts_with("socket:"), "{socket:?} of {address}");
    let data = daemon.data().to_string_lossy().into_owned();
    let mut looked_at = 0;
    for process in std::fs::read_dir("/proc").expect("proc").flatten().map(|entry| entry.path()) {
        let arguments = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let ours = String::from_utf8_lossy(&arguments).contains(&data) && !process.ends_with(daemon.pid().to_string());
        // One that has ended holds nothing.
        let Ok(descriptors) = std::fs::read_dir(process.join("fd")) else { continue };
        for descriptor in descriptors.flatten().filter(|_| ours) {
            let held = std::fs::read_link(descriptor.path()).unwrap_or_default();
            assert_ne!(held.as_os_str(), socket, "{} holds the listener: {}", process.display(), String::from_utf8_lossy(&arguments));
            looked_at += 1;
        }
    }
    assert!(looked_at > 0, "no child was looked at");
}

/// Starts the daemon with `descriptor` as its third, and returns exit code and what it says.
fn start_with(descriptor: impl Into<Stdio>, data: &Path) -> (Option<i32>, String) {
    // `timeout` forks, so the process id has to be set by what it runs.
    let script = r#"exec 3<&0 </dev/null; exec timeout 20 sh -c 'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" serve' "$0""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_previewd")]).stdin(descriptor).env("PREVIEWD__SERVER__DATA_DIR", data);
    let output = command.output().expect("run");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn an_inherited_listener_has_to_be_fit_to_be_served() {
    let dir = tempfile::tempdir().expect("temp dir");
    // The rule of `server.listen`: without a token of one's own, this machine only.
    let everywhere = TcpListener::bind("0.0.0.0:0").expect("bind");
    let address = everywhere.local_addr().expect("address").to_string();
    let (code, told) = start_with(std::os::fd::OwnedFd::from(everywhere), dir.path());
    assert!(code == Some(2) && told.contains(&address) && told.contains("auth.tokens"), "{code:?}: {told}");
    let (code, told) = start_with(std::fs::File::open(dir.path()).expect("open"), dir.path());
    assert!(code == Some(1) && told.contains("LISTEN_FDS") && told.contains("not a socket"), "{code:?}: {told}");
}
