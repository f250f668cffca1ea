//! What operators rely on: health, metrics, logs, and what a bad configuration is told.

use std::ffi::OsStr;
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::ACCEPT;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::http::Http;
use crate::harness::{Daemon, Options};

#[tokio::test]
async fn health_tells_every_check() {
    let daemon = Options::default().cold_store().start().await;
    let health = Http::send(daemon.http.request(Method::GET, "/health")).await;
    let body = health.json();
    assert_eq!((health.status, &body["status"]), (200, &json!("ok")), "{body:#}");
    for check in ["source", "store", "disk", "sandbox", "queue", "pnpm", "node"] {
        assert_eq!(body["checks"][check]["ok"], true, "{check}: {body:#}");
        assert!(body["checks"][check]["detail"].is_string());
    }
    for path in ["/health/live", "/health/ready", "/health", "/metrics", "/"] {
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(Http::send(daemon.http.request(method.clone(), path)).await.status, 200, "{method} {path}");
        }
    }
    let daemon = Options::default().set("build.node", "no-such-node").cold_store().start().await;
    let health = daemon.http.get("/health").await;
    assert_eq!((health.status, &health.json()["checks"]["node"]["ok"]), (503, &json!(false)), "{}", health.text());
}

#[tokio::test]
async fn metrics_have_the_names_of_the_contract() {
    let daemon = Daemon::start().await;
    daemon.build_fixture("demo", "vanilla").await;
    let text = daemon.http.get("/metrics").await.text();
    let names = [
        r#"previewd_http_requests_total{method="POST",route="/sync-project/{id}",status="200"} 1"#,
        r#"previewd_http_request_seconds_count{route="/sync-project/{id}"} 1"#,
        "previewd_sync_seconds_count 1",
        r#"previewd_sync_files_total{result="fetched"} 5"#,
        r#"previewd_sync_files_total{result="unchanged"}"#,
        r#"previewd_sync_files_total{result="deleted"}"#,
        r#"previewd_sync_files_total{result="ignored"}"#,
        "previewd_sync_bytes_total",
        r#"previewd_queue_depth{priority="interactive"} 0"#,
        r#"previewd_queue_depth{priority="background"} 0"#,
        "previewd_queue_wait_seconds_count 1",
        r#"previewd_builds_total{mode="plain",outcome="succeeded"} 1"#,
        r#"previewd_build_seconds_count{phase="build"} 1"#,
        r#"previewd_build_seconds_count{phase="install"} 1"#,
        r#"previewd_build_seconds_count{phase="publish"} 1"#,
        r#"previewd_build_seconds_count{phase="total"} 1"#,
        "previewd_builds_running 0",
        r#"previewd_layer_total{result="miss"} 1"#,
        "previewd_edit_to_live_seconds_count 1",
        r#"previewd_source_requests_total{op="list",result="ok"} 1"#,
        r#"previewd_source_requests_total{op="get",result="ok"} 5"#,
        r#"previewd_disk_bytes{kind="free"}"#,
        "previewd_projects 1",
    ];
    for name in names {
        assert!(text.contains(name), "{name} in\n{text}");
    }
    // What callers make up makes no new series; a preview's origin counts apart from the API, whatever the path.
    for path in ["/made-up-1", "/made-up-2"] {
        daemon.http.get(path).await;
        daemon.preview("demo", path).await;
    }
    daemon.preview("demo", "/status/demo").await;
    let text = daemon.http.get("/metrics").await.text();
    assert!(!text.contains("made-up") && !text.contains(r#"route="/status/{id}""#), "{text}");
    for (route, count) in [("unmatched", 2), ("preview", 3)] {
        let name = format!(r#"previewd_http_requests_total{{method="GET",route="{route}",status="404"}} {count}"#);
        assert!(text.contains(&name), "{name} in\n{text}");
    }
}

#[tokio::test]
async fn logs_come_as_text_as_json_lines_and_live() {
    let daemon = Daemon::start().await;
    daemon.push_fixture("demo", "hanging-build");
    daemon.sync("demo", json!({})).await;
    daemon.until_vite_runs().await;
    let http = daemon.http.clone();
    // Begun while the build runs, ended by its end.
    let following = tokio::spawn(async move { http.get("/logs/demo?follow=true").await });
    let first = daemon.status("demo").await["running"]["build_id"].as_str().expect("id").to_owned();
    daemon.put("demo", "vite.config.js", "export default {};");
    assert_eq!(daemon.sync_paths("demo", &["vite.config.js"]).await["status"], "ready");
    let followed = following.await.expect("follow");
    assert_eq!((followed.header("content-type"), followed.header("x-previewd-build")), ("text/event-stream", &*first));
    let text = followed.text();
    assert!(text.contains("event: log\ndata: {") && text.ends_with("event: end\ndata: {}\n\n"), "{text}");

    let newest = daemon.http.get("/logs/demo").await;
    assert!(newest.header("content-type").starts_with("text/plain"));
    assert!(newest.text().contains("of revision 2") && newest.text().contains("modules bundled"), "{}", newest.text());
    assert_eq!(std::fs::read_to_string(daemon.project("demo").join("build.log")).expect("read"), newest.text());
    let older = daemon.http.get(&format!("/logs/demo?build={first}")).await.text();
    assert!(older.contains("of revision 1") && older.contains("newer revision"), "{older}");

    let json_lines =
        Http::send(daemon.http.request(Method::GET, "/logs/demo").bearer_auth(&daemon.http.token).header(ACCEPT, "application/x-ndjson")).await;
    let lines: Vec<Value> = json_lines.text().lines().map(|line| serde_json::from_str(line).expect("json")).collect();
    assert_eq!(lines.len(), newest.text().lines().count());
    assert!(lines.iter().all(|line| line["time"].is_string() && line["level"].is_string() && line["message"].is_string()));

    let ended = daemon.http.get(&format!("/logs/demo?follow=true&build={first}")).await.text();
    assert_eq!(ended, text, "followed live or afterwards, it is the same");
    daemon.sync("empty", json!({})).await;
    assert_eq!(daemon.http.get("/logs/empty").await.problem(), (404, "unknown_build".to_owned()));
}

fn previewd(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut command = Command::new(env!("CARGO_BIN_EXE_previewd"));
    command.args(arguments).current_dir(dir.path()).env("PREVIEWD__SERVER__DATA_DIR", dir.path()).envs(env.iter().copied());
    command.stdin(Stdio::null()).output().expect("run")
}

#[test]
fn a_bad_configuration_is_refused_by_the_name_of_its_key() {
    let fine = previewd(&["check-config"], &[]);
    assert_eq!((fine.status.code(), String::from_utf8_lossy(&fine.stdout).trim()), (Some(0), "the configuration is valid"));
    let cases = [
        ("PREVIEWD__BUILD__TIMEOUT_S", "soon", "build.timeout_s"),
        ("PREVIEWD__BUILD__TIMEOUT_S", "0", "build.timeout_s"),
        ("PREVIEWD__BUILD__SANDBOX", "maybe", "build.sandbox"),
        ("PREVIEWD__BUILD__NO_SUCH_KEY", "1", "build.no_such_key"),
        ("PREVIEWD__NOSUCH__KEY", "1", "nosuch.key"),
        ("PREVIEWD__SOURCE__URL", "s3://bucket", "source.url"),
        ("PREVIEWD__AUTH__TOKENS", "short", "auth.tokens"),
        ("PREVIEWD__SERVER__LISTEN", "localhost", "server.listen"),
        ("PREVIEWD__SERVER__LISTEN", "0.0.0.0:0", "auth.tokens"),
    ];
    for (name, value, key) in cases {
        for command in ["check-config", "serve"] {
            let output = previewd(&[command], &[(name, value)]);
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command} with {name}={value}: {told}");
            assert!(told.contains(key), "{command} with {name}={value}: {told}");
        }
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let file = dir.path().join("previewd.toml");
    std::fs::write(&file, "[server]\nlissten = \"127.0.0.1:0\"\n").expect("write");
    let output = previewd(&["check-config", "--config", file.to_str().expect("utf-8")], &[]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("server.lissten") && told.contains("did you mean `server.listen`"), "{told}");
    for (name, code, told) in [("PREVIEWD__AUTH__TOKENS", 2, "PREVIEWD__AUTH__TOKENS is not UTF-8"), ("OF_ANOTHER_PROGRAM", 0, "")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_previewd"));
        let output = command.arg("check-config").env(name, OsStr::from_bytes(b"hidden-\xff-hidden")).output().expect("run");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && text.contains(told) && !text.contains("hidden"), "{name}: {text}");
    }
    let allowed = previewd(&["check-config"], &[("PREVIEWD__SERVER__LISTEN", "0.0.0.0:0"), ("PREVIEWD__AUTH__TOKENS", "a-token-of-our-own")]);
    assert_eq!(allowed.status.code(), Some(0));
}

#[tokio::test]
async fn a_burst_of_connections_waits_to_be_accepted() {
    let daemon = Options::default().cold_store().start().await;
    let address = daemon.http.address.parse().expect("address");
    let pid = Pid::from_raw(daemon.pid().cast_signed()).expect("pid");
    // Stopped, it accepts none: what connects now waits in the kernel. With std's own backlog (128) most would not.
    kill_process(pid, Signal::STOP).expect("stop");
    let mut waiting = Vec::new();
    while waiting.len() < 500
        && let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(900))
    {
        waiting.push(stream);
    }
    kill_process(pid, Signal::CONT).expect("go on");
    assert_eq!(waiting.len(), 500);
}
