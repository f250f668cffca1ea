//! What is wrong with one build, as a model is told it. What browsers report is in `src/queue/diagnostics.rs`.

use previewd::auth::{Claims, Scope, mint};
use reqwest::Method;
use reqwest::header::ACCEPT;
use serde_json::json;

use crate::harness::http::Http;
use crate::harness::{Daemon, Options};

const SECRET: &str = "a-webhook-secret-of-ours";

#[tokio::test]
async fn a_build_that_fails_says_where() {
    let daemon = Options::default().set("auth.webhook_secrets", SECRET).start().await;
    let good = daemon.build_fixture("demo", "vanilla").await["build"]["build_id"].clone();
    daemon.put("demo", "main.js", "document.body.append(");
    let bad = daemon.sync_and_wait("demo").await["build"].clone();
    let found = daemon.http.get("/diagnostics/demo").await;
    let json = found.json();
    assert_eq!((&json["build_id"], &json["revision"], &json["outcome"]), (&bad["build_id"], &json!(2), &json!("failed")), "{json:#}");
    let (entry, failure) = (&json["entries"][0], &bad["failure"]);
    assert_eq!((&entry["code"], &entry["file"], &entry["message"]), (&json!("build_compile"), &json!("main.js"), &failure["message"]));
    assert_eq!((&entry["line"], &entry["frame"], &json["render"]["verdict"]), (&failure["line"], &failure["frame"], &json!("unknown")));

    let exp = u64::try_from(jiff::Timestamp::now().as_second() + 60).expect("after 1970");
    let token = mint(SECRET, &Claims { sub: "demo".parse().expect("id"), scope: Scope::Read, exp }).expect("mint");
    let ask = |query: &str| daemon.http.request(Method::GET, &format!("/diagnostics/demo?token={token}{query}"));
    let text = Http::send(ask("&max_chars=1000").header(ACCEPT, "text/plain")).await;
    assert_eq!((text.header("content-type"), text.header("access-control-allow-origin")), ("text/plain; charset=utf-8", "*"));
    assert!(text.text().starts_with("Build ") && text.text().contains("[build_compile] main.js:"), "{}", text.text());
    assert!(text.text().chars().count() <= 1000);
    let earlier = Http::send(ask(&format!("&build={}", good.as_str().expect("id")))).await;
    assert_eq!((&earlier.json()["outcome"], &earlier.json()["entries"]), (&json!("succeeded"), &json!([])));
}

#[tokio::test]
async fn what_cannot_be_told_is_an_error() {
    let daemon = Options::default().cold_store().start().await;
    daemon.build_fixture("demo", "static-html").await;
    daemon.sync("empty", json!({})).await;
    for (path, problem) in [
        ("/diagnostics/nobody", (404, "unknown_project")),
        ("/diagnostics/empty", (404, "unknown_build")),
        ("/diagnostics/demo?build=01J00000000000000000000000", (404, "unknown_build")),
        ("/diagnostics/demo?build=nonsense", (400, "invalid_build_id")),
        ("/diagnostics/demo?max_chars=999", (400, "invalid_query")),
        ("/diagnostics/demo?max_chars=100001", (400, "invalid_query")),
    ] {
        assert_eq!(daemon.http.get(path).await.problem(), (problem.0, problem.1.to_owned()), "{path}");
    }
    assert_eq!(unauthorized(&daemon).await, 401);
}

async fn unauthorized(daemon: &Daemon) -> u16 {
    Http::send(daemon.http.request(Method::GET, "/diagnostics/demo")).await.status
}
