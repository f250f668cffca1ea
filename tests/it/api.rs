//! The contract of the API: answers, errors, status, history, lists, health and metrics.

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::harness::http::Http;
use crate::harness::{BUILD_MS, Daemon, Options};

#[tokio::test]
async fn first_build_no_change_one_edit() {
    let daemon = Daemon::start().await;
    let first = daemon.build_fixture("demo", "vanilla").await;
    assert_eq!((&first["status"], &first["revision"]), (&json!("ready"), &json!(1)), "{first:#}");
    assert_eq!(daemon.preview("demo", "/").await.status, 200);

    let again = daemon.sync("demo", json!({})).await;
    assert_eq!((again.status, &again.json()["status"]), (200, &json!("no_changes")));

    daemon.edit("demo", "main.js", "works", "really works");
    let edit = daemon.sync_paths("demo", &["main.js"]).await;
    assert_eq!((&edit["status"], &edit["revision"], &edit["changes"]), (&json!("ready"), &json!(2), &json!(["main.js"])), "{edit:#}");
}

#[tokio::test]
async fn errors_are_problems_with_a_stable_code() {
    let daemon = Options::default().cold_store().start().await;
    daemon.build_fixture("demo", "static-html").await;
    let long = format!("/status/{}", "a".repeat(65));
    let unknown_build = "01J00000000000000000000000";
    let gets = [
        ("/status/-x", 400, "invalid_project_id"),
        ("/status/a%2Fb", 400, "invalid_project_id"),
        ("/status/a%ffb", 400, "invalid_project_id"),
        (&*long, 400, "invalid_project_id"),
        ("/status/unknown", 404, "unknown_project"),
        ("/builds/unknown", 404, "unknown_project"),
        ("/logs/unknown", 404, "unknown_project"),
        ("/logs/demo?build=nonsense", 400, "invalid_build_id"),
        (&*format!("/logs/demo?build={unknown_build}"), 404, "unknown_build"),
        ("/logs/demo?follow=perhaps", 400, "invalid_query"),
        ("/builds/demo?limit=0", 400, "invalid_query"),
        ("/builds/demo?limit=501", 400, "invalid_query"),
        ("/builds/demo?limit=x", 400, "invalid_query"),
        ("/builds/demo?cursor=x", 400, "invalid_build_id"),
        ("/projects?state=sad", 400, "invalid_query"),
        ("/projects?cursor=-", 400, "invalid_project_id"),
        (&*format!("/projects?q={}", "x".repeat(65)), 400, "invalid_query"),
        ("/nowhere", 404, "not_found"),
    ];
    for (path, status, code) in gets {
        let answer = daemon.http.get(path).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{path}");
        let body = answer.json();
        for field in ["type", "title", "detail"] {
            assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{path}: {body}");
        }
        assert!(!answer.header("x-request-id").is_empty());
    }
    let posts = [
        (json!({ "changed_files": "a.ts" }), "invalid_body"),
        (json!({ "changed_files": [1] }), "invalid_body"),
        (json!({ "changed_files": [{ "type": "frontend" }] }), "invalid_body"),
        (json!({ "changed_files": ["../x"] }), "invalid_path"),
        (json!({ "priority": "now" }), "invalid_body"),
        (json!({ "wait_ms": 60_001 }), "invalid_body"),
        (json!({ "wait_ms": -1 }), "invalid_body"),
        (json!("text"), "invalid_body"),
        (json!([]), "invalid_body"),
    ];
    for (body, code) in posts {
        let answer = daemon.sync("demo", body.clone()).await;
        assert_eq!(answer.problem(), (400, code.to_owned()), "{body}");
    }
    let wrong = daemon.sync("demo", json!({ "changed_files": [], "wait_ms": "soon" })).await.json();
    assert!(wrong["detail"].as_str().is_some_and(|detail| detail.contains("wait_ms")), "{wrong}");
    assert_eq!(daemon.status("demo").await["revision"], 1);
}

#[tokio::test]
async fn another_method_is_told_which_one_is_taken() {
    let daemon = Options::default().cold_store().start().await;
    let cases = [
        (Method::GET, "/sync-project/demo", "POST"),
        (Method::PUT, "/build/demo", "POST"),
        (Method::POST, "/status/demo", "GET, HEAD"),
        (Method::GET, "/projects/demo", "DELETE"),
        (Method::POST, "/", "GET, HEAD"),
        (Method::POST, "/preview/demo/", "GET, HEAD"),
    ];
    for (method, path, allow) in cases {
        let answer = Http::send(daemon.http.request(method.clone(), path).bearer_auth(&daemon.http.token)).await;
        assert_eq!((answer.problem(), answer.header("allow")), ((405, "method_not_allowed".to_owned()), allow), "{method} {path}");
    }
}

#[tokio::test]
async fn a_label_cannot_be_taken_by_name_and_faults_of_ours_tell_nothing() {
    let daemon = Options::default().cold_store().start().await;
    // The label of `Demo`.
    for project in ["p-riwmazz3drbigfp6qtab", "Demo"] {
        let answer = daemon.build_fixture(project, "static-html").await;
        assert_eq!(answer["status"], "ready", "{answer:#}");
        let label = answer["preview_url"].as_str().and_then(|url| url.strip_prefix("http://")?.split('.').next()).expect("label").to_owned();
        assert_eq!(daemon.preview(&label, "/").await.status, 200, "{label}");
        assert_eq!(label == "p-riwmazz3drbigfp6qtab", project == "Demo");
    }
    let state = rusqlite::Connection::open(daemon.data().join("state.db")).expect("open");
    state.execute("DELETE FROM projects WHERE id = 'Demo'", []).expect("delete");
    state.execute("INSERT INTO projects (id, label, created_at) VALUES ('squatter', 'p-riwmazz3drbigfp6qtab', 0)", []).expect("insert");
    let taken = daemon.sync("Demo", json!({})).await;
    assert_eq!(taken.problem(), (409, "label_taken".to_owned()));
    assert!(!taken.text().contains("UNIQUE") && !taken.text().contains("state.db"), "{}", taken.text());

    state.execute_batch("DROP TABLE builds; DROP TABLE projects").expect("drop");
    for answer in [daemon.sync("new", json!({})).await, daemon.http.get("/status/new").await] {
        assert_eq!(answer.problem(), (503, "state_unavailable".to_owned()));
        assert_eq!(answer.json()["detail"], "the state cannot be read or written right now");
    }
    assert!(daemon.log().contains("no such table"), "the log says why");
}

#[tokio::test]
async fn a_disk_that_refuses_tells_nothing_of_it() {
    let daemon = Options::default().cold_store().start().await;
    daemon.push_fixture("demo", "static-html");
    std::fs::write(daemon.project("demo"), "in the way").expect("write");
    let answer = daemon.sync("demo", json!({})).await;
    assert_eq!(answer.problem(), (507, "disk".to_owned()));
    assert_eq!(answer.json()["detail"], "the disk here cannot be read or written right now");
}

#[tokio::test]
async fn bodies_are_json_and_of_limited_size() {
    let daemon = Options::default().set("server.max_body_kb", 8).cold_store().start().await;
    daemon.push_fixture("demo", "static-html");
    let post = |kind: &'static str, body: String| {
        let request = daemon.http.request(Method::POST, "/sync-project/demo").bearer_auth(&daemon.http.token);
        Http::send(if kind.is_empty() { request } else { request.header(CONTENT_TYPE, kind) }.body(body))
    };
    for kind in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", "", "application/jsonp"] {
        assert_eq!(post(kind, "{}".to_owned()).await.problem(), (415, "unsupported_media_type".to_owned()), "{kind}");
    }
    assert_eq!(post("application/json", "{".to_owned()).await.problem(), (400, "invalid_body".to_owned()));
    assert_eq!(post("application/json", " ".repeat(9 * 1024)).await.problem(), (413, "body_too_large".to_owned()));
    assert_eq!(post("application/json", format!("\"{}\"", "x".repeat(200 * 1024))).await.problem(), (413, "body_too_large".to_owned()));
    // Without a body there is nothing to be of a wrong type.
    assert_eq!(post("", String::new()).await.status, 202);
    assert_eq!(post("Application/JSON; charset=utf-8", "{}".to_owned()).await.status, 200);
}

#[tokio::test]
async fn a_request_keeps_its_id_where_that_is_sane() {
    let daemon = Options::default().cold_store().start().await;
    let with = |id: &'static str| Http::send(daemon.http.request(Method::GET, "/health/live").header("x-request-id", id));
    assert_eq!(with("chat-42.a_B").await.header("x-request-id"), "chat-42.a_B");
    let long: &'static str = "x".repeat(129).leak();
    for odd in ["", "with space", "a\"b", long] {
        let made = with(odd).await.header("x-request-id").to_owned();
        assert!(made != odd && made.len() == 32, "{odd:?} became {made:?}");
    }
    let two = [daemon.http.get("/health/live").await, daemon.http.get("/preview/demo/").await];
    assert_ne!(two[0].header("x-request-id"), two[1].header("x-request-id"));
}

#[tokio::test]
async fn the_status_is_as_the_contract_says_and_so_is_its_file() {
    let daemon = Daemon::start().await;
    let answer = daemon.build_fixture("demo", "vanilla").await;
    for link in ["preview_url", "status_url", "logs_url"] {
        assert!(answer[link].as_str().is_some_and(|url| url.starts_with("http://")), "{answer:#}");
    }
    let status = daemon.status("demo").await;
    let paths = [
        "/live/build_id",
        "/live/published_at",
        "/live/url",
        "/last_build/build_id",
        "/last_build/lockfile",
        "/last_build/started_at",
        "/last_build/finished_at",
        "/preview_url",
    ];
    for path in paths {
        assert!(status.pointer(path).is_some_and(Value::is_string), "{path} in {status:#}");
    }
    for phase in ["sync", "queued", "install", "build", "publish", "total"] {
        assert!(status["last_build"]["timings_ms"][phase].is_u64(), "{phase} in {status:#}");
    }
    let expected = [
        ("/project_id", json!("demo")),
        ("/state", json!("ready")),
        ("/revision", json!(1)),
        ("/live/revision", json!(1)),
        ("/last_build/outcome", json!("succeeded")),
        ("/last_build/mode", json!("plain")),
        ("/last_build/worker", json!("cold")),
        ("/last_build/layer", json!("miss")),
        ("/render/verdict", json!("unknown")),
    ];
    for (path, value) in expected {
        assert_eq!(status.pointer(path), Some(&value), "{path} in {status:#}");
    }
    assert_eq!(daemon.status_file("demo"), status);

    daemon.put("demo", "main.js", "import './nowhere.js';");
    let failed = daemon.sync_paths("demo", &["main.js"]).await;
    assert_eq!(failed["status"], "error");
    let status = daemon.status("demo").await;
    assert_eq!((&status["state"], &status["revision"], &status["live"]["revision"]), (&json!("error"), &json!(2), &json!(1)));
    assert_eq!((&status["last_build"]["outcome"], &status["last_build"]["failure"]["kind"]), (&json!("failed"), &json!("resolve")), "{status:#}");
    assert!(status["last_build"]["failure"]["message"].as_str().is_some_and(|m| m.contains("nowhere.js")), "{status:#}");
    assert_eq!(daemon.status_file("demo"), status);
}

#[tokio::test]
async fn builds_and_projects_come_in_pages() {
    let daemon = Options::default().cold_store().start().await;
    for project in ["Upper", "alpha", "beta", "betamax"] {
        daemon.build_fixture(project, "static-html").await;
    }
    for _ in 0..4 {
        daemon.http.post("/build/alpha", &json!({ "wait_ms": BUILD_MS })).await;
    }
    let (mut revisions, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = daemon.http.get(&format!("/builds/alpha?limit=2{cursor}")).await.json();
        revisions.extend(page["builds"].as_array().expect("builds").iter().map(|build| build["revision"].as_u64()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(revisions, [5, 4, 3, 2, 1].map(Some), "newest first");

    daemon.remove("beta", "index.html");
    daemon.sync_and_wait("beta").await;
    daemon.sync("empty", json!({})).await;
    let names = async |query: &str| {
        let page = daemon.http.get(&format!("/projects{query}")).await.json();
        let names = page["projects"].as_array().expect("projects").iter().map(|row| row["project_id"].as_str().expect("id").to_owned());
        (names.collect::<Vec<_>>(), page["next_cursor"].as_str().map(str::to_owned))
    };
    assert_eq!(names("").await.0, ["Upper", "alpha", "beta", "betamax", "empty"]);
    let (first, next) = names("?limit=2").await;
    assert_eq!((first.len(), next.as_deref()), (2, Some("alpha")));
    assert_eq!(names("?limit=3&cursor=alpha").await.0, ["beta", "betamax", "empty"]);
    assert_eq!(names("?q=beta").await.0, ["beta", "betamax"]);
    assert_eq!(names("?state=error").await.0, ["beta"]);
    assert_eq!(names("?state=empty").await.0, ["empty"]);
    assert_eq!(names("?state=ready&q=bet").await.0, ["betamax"]);
    let row = &daemon.http.get("/projects?q=alpha").await.json()["projects"][0];
    assert_eq!((&row["state"], &row["revision"], &row["live_revision"]), (&json!("ready"), &json!(5), &json!(5)));
}
