//! The queue: superseding, coalescing, order, room, and waiting for a verdict.

use serde_json::{Value, json};

use crate::harness::probe::slow_config;
use crate::harness::{BUILD_MS, Daemon, Options};

/// A daemon that makes one build at a time.
fn one_at_a_time() -> Options {
    Options::default().set("build.concurrency", 1)
}

/// Starts a build that never ends by itself, and waits until Vite runs.
async fn occupy(daemon: &Daemon, project: &str) {
    daemon.push_fixture(project, "hanging-build");
    assert_eq!(daemon.sync(project, json!({})).await.status, 202);
    daemon.until_vite_runs().await;
}

fn outcomes(builds: &[Value]) -> Vec<&str> {
    builds.iter().map(|build| build["outcome"].as_str().unwrap_or("running")).collect()
}

#[tokio::test]
async fn a_newer_revision_ends_a_hanging_build() {
    let daemon = Options::default().without_warm_workers().start().await;
    occupy(&daemon, "demo").await;
    assert_eq!(daemon.status("demo").await["state"], "building");
    let hanging = daemon.workers();
    daemon.put("demo", "vite.config.js", "export default {};");
    let fixed = daemon.sync_paths("demo", &["vite.config.js"]).await;
    assert_eq!((&fixed["status"], &fixed["revision"]), (&json!("ready"), &json!(2)), "{fixed:#}");
    assert_eq!(outcomes(&daemon.builds("demo").await), ["succeeded", "superseded"]);
    assert!(daemon.workers().is_empty(), "before: {hanging:#?}\nnow: {:#?}", daemon.workers());
    assert_eq!(daemon.status("demo").await["live"]["revision"], 2);
    assert_eq!(daemon.releases("demo").len(), 1);
    assert_eq!(daemon.preview("demo", "/").await.status, 200);
}

#[tokio::test]
async fn a_burst_is_one_build_of_the_newest() {
    let daemon = one_at_a_time().start().await;
    daemon.build_fixture("demo", "vanilla").await;
    occupy(&daemon, "other").await;
    for n in 0..50 {
        daemon.put("demo", "main.js", format!("import './style.css'; document.body.append('edit {n};');"));
        assert_eq!(daemon.sync("demo", json!({ "changed_files": ["main.js"] })).await.status, 202);
    }
    assert_eq!(daemon.status("demo").await["state"], "queued");
    assert_eq!(daemon.http.delete("/projects/other").await.status, 204, "the one place is free again");
    let status = daemon.settled("demo").await;
    assert_eq!((&status["state"], &status["live"]["revision"]), (&json!("ready"), &json!(51)), "{status:#}");
    assert_eq!(outcomes(&daemon.builds("demo").await), ["succeeded", "succeeded"], "one before the burst, one of its newest");
    let html = daemon.preview("demo", "/").await.text();
    let script = html.split('"').find(|part| part.ends_with(".js")).expect("a script");
    assert!(daemon.preview("demo", &format!("/{}", script.trim_start_matches(['.', '/']))).await.text().contains("edit 49;"));
}

#[tokio::test]
async fn who_follows_a_project_that_waits_gets_the_build_that_comes() {
    let daemon = one_at_a_time().start().await;
    let before = daemon.build_fixture("demo", "vanilla").await["build"]["build_id"].clone();
    occupy(&daemon, "other").await;
    daemon.put("demo", "main.js", "document.body.append('edited');");
    assert_eq!(daemon.sync("demo", json!({})).await.status, 202);
    assert_eq!(daemon.status("demo").await["state"], "queued");
    let followed = daemon.http.get("/logs/demo?follow=true");
    let freed = async {
        assert!(daemon.http.get("/logs/demo").await.header("x-previewd-build") == before, "without `follow`, what there is");
        daemon.http.delete("/projects/other").await
    };
    let (followed, freed) = tokio::join!(followed, freed);
    assert_eq!(freed.status, 204);
    let build = daemon.settled("demo").await["last_build"]["build_id"].clone();
    assert_ne!(build, before);
    assert_eq!(followed.header("x-previewd-build"), build);
    assert!(followed.text().contains("event: end"), "{}", followed.text());
}

#[tokio::test]
async fn a_stream_of_edits_still_publishes() {
    let daemon = Options::default().set("queue.max_superseded", 2).start().await;
    daemon.push_fixture("demo", "vanilla");
    daemon.put("demo", "vite.config.js", slow_config(500));
    let mut newest = 1;
    daemon.sync("demo", json!({})).await;
    // As soon as a build of the newest runs, there is a newer one; so only one that is left alone can finish.
    let live = loop {
        let at = |status: &Value| status["running"]["revision"] == newest || status["live"].is_object();
        let status = daemon.status_until("demo", at).await;
        if status["live"].is_object() {
            break status;
        }
        assert!(newest < 30, "starved: {status:#}");
        daemon.put("demo", "main.js", format!("document.body.append('{newest}');"));
        newest = daemon.sync("demo", json!({ "changed_files": ["main.js"] })).await.json()["revision"].as_u64().expect("revision");
    };
    assert_eq!(live["live"]["revision"], 3, "{live:#}");
    let builds = daemon.builds("demo").await;
    assert_eq!(outcomes(&builds[builds.len() - 3..]), ["succeeded", "superseded", "superseded"]);
}

#[tokio::test]
async fn a_full_queue_refuses_what_is_new() {
    let daemon = one_at_a_time().set("queue.max_pending", 1).start().await;
    occupy(&daemon, "busy").await;
    for project in ["waits", "late"] {
        daemon.push_fixture(project, "static-html");
    }
    assert_eq!(daemon.sync("waits", json!({})).await.status, 202);
    assert_eq!(daemon.status("waits").await["state"], "queued");
    for path in ["/sync-project/late", "/build/late"] {
        let refused = daemon.http.post(path, &json!({})).await;
        assert_eq!(refused.problem(), (429, "queue_full".to_owned()));
        assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|s| s > 0));
    }
    assert!(!daemon.project("late").exists(), "refused before anything was fetched");
    // One that waits already takes no more room.
    daemon.put("waits", "more.html", "x");
    assert_eq!(daemon.sync("waits", json!({})).await.status, 202);
    let health = daemon.http.get("/health").await;
    assert_eq!((health.status, &health.json()["checks"]["queue"]["ok"]), (503, &json!(false)));

    assert_eq!(daemon.http.delete("/projects/busy").await.status, 204);
    assert_eq!(daemon.settled("waits").await["state"], "ready");
    assert_eq!(daemon.sync_and_wait("late").await["status"], "ready");
}

#[tokio::test]
async fn interactive_goes_before_background_unless_that_waited_long_enough() {
    for (patience_s, first) in [(30, "front"), (0, "back")] {
        let daemon = one_at_a_time().set("queue.background_wait_s", patience_s).start().await;
        occupy(&daemon, "busy").await;
        for (project, priority) in [("back", "background"), ("front", "interactive")] {
            daemon.push_fixture(project, "static-html");
            assert_eq!(daemon.sync(project, json!({ "priority": priority })).await.status, 202);
        }
        assert!((daemon.metric(r#"previewd_queue_depth{priority="background"}"#).await - 1.0).abs() < 0.1);
        assert_eq!(daemon.http.delete("/projects/busy").await.status, 204);
        // Build ids sort by when a build began.
        let mut begun = Vec::new();
        for project in ["back", "front"] {
            begun.push((daemon.settled(project).await["last_build"]["build_id"].to_string(), project));
        }
        assert_eq!(begun.iter().min().expect("two").1, first, "after {patience_s} s: {begun:?}");
    }
}

#[tokio::test]
async fn waiting_ends_with_a_verdict_or_when_its_time_is_over() {
    let daemon = Daemon::start().await;
    let ready = daemon.build_fixture("demo", "static-html").await;
    assert_eq!((&ready["status"], &ready["build"]["outcome"], &ready["build"]["mode"]), (&json!("ready"), &json!("succeeded"), &json!("static")));

    daemon.remove("demo", "index.html");
    let failed = daemon.sync("demo", json!({ "wait_ms": BUILD_MS })).await;
    assert_eq!(failed.status, 200, "a failed build is an answer");
    let failed = failed.json();
    assert_eq!((&failed["status"], &failed["build"]["outcome"]), (&json!("error"), &json!("failed")), "{failed:#}");
    assert_eq!(failed["build"]["failure"]["kind"], "config");
    let status = daemon.status("demo").await;
    assert_eq!((&status["state"], &status["live"]["revision"]), (&json!("error"), &json!(1)), "the last good one stays live");

    daemon.push_fixture("slow", "hanging-build");
    let over = daemon.sync("slow", json!({ "wait_ms": 50 })).await;
    assert_eq!((over.status, &over.json()["status"], over.json().get("build")), (202, &json!("building"), None));
}

#[tokio::test]
async fn a_build_on_demand_needs_no_change() {
    let daemon = Daemon::start().await;
    daemon.build_fixture("demo", "static-html").await;
    let again = daemon.http.post("/build/demo", &json!({ "wait_ms": BUILD_MS })).await.json();
    assert_eq!((&again["status"], &again["revision"], &again["changes"]), (&json!("ready"), &json!(2), &json!([])), "{again:#}");

    // Whatever was cached is forgotten.
    std::fs::write(daemon.synced("demo", "index.html"), "damaged").expect("write");
    let clean = daemon.http.post("/build/demo", &json!({ "clean": true, "wait_ms": BUILD_MS })).await.json();
    assert_eq!((&clean["status"], &clean["revision"]), (&json!("ready"), &json!(3)));
    assert!(daemon.preview("demo", "/").await.text().contains("static-html works"));

    let unknown = daemon.http.post("/build/nothing-there", &json!({})).await;
    assert_eq!(unknown.problem(), (404, "unknown_project".to_owned()));
    daemon.push_fixture("new", "static-html");
    let new = daemon.http.post("/build/new", &json!({ "wait_ms": BUILD_MS })).await.json();
    assert_eq!((&new["status"], &new["revision"]), (&json!("ready"), &json!(1)), "the source has it");
}
