//! What stays of a project: nothing after its deletion, and so many releases before.

use serde_json::json;

use crate::harness::{Daemon, Options, eventually};

/// Deleted at once, each at another moment of its build.
const PROJECTS: u64 = 60;

async fn assert_gone(daemon: &Daemon, project: &str) {
    assert!(!daemon.project(project).exists(), "{project} is still on disk");
    for call in ["status", "logs", "builds"] {
        let answer = daemon.http.get(&format!("/{call}/{project}")).await;
        assert_eq!(answer.problem(), (404, "unknown_project".to_owned()));
    }
    assert_eq!(daemon.preview(project, "/").await.status, 404);
}

#[tokio::test]
async fn a_deleted_project_leaves_nothing() {
    let daemon = Options::default().cold_store().start().await;
    daemon.build_fixture("demo", "static-html").await;
    assert_eq!(daemon.http.delete("/projects/demo").await.status, 204);
    assert_gone(&daemon, "demo").await;
    assert_eq!(daemon.http.delete("/projects/demo").await.problem(), (404, "unknown_project".to_owned()));
    assert!(daemon.data().join("source/demo/frontend/index.html").exists(), "the source is never touched");
    let again = daemon.sync_paths("demo", &["index.html"]).await;
    assert_eq!((&again["status"], &again["revision"]), (&json!("ready"), &json!(1)), "seen for the first time again");
}

#[tokio::test]
async fn a_deletion_stops_a_running_build() {
    let daemon = Options::default().without_warm_workers().start().await;
    daemon.push_fixture("demo", "hanging-build");
    daemon.sync("demo", json!({})).await;
    daemon.until_vite_runs().await;
    assert_eq!(daemon.http.delete("/projects/demo").await.status, 204);
    assert!(daemon.workers().is_empty(), "{:?}", daemon.workers());
    assert_gone(&daemon, "demo").await;
}

#[tokio::test]
async fn a_deletion_wins_at_every_moment_of_a_build() {
    let daemon = Options::default().cold_store().start().await;
    let rounds = (0..PROJECTS).map(async |round| {
        let project = format!("demo-{round}");
        daemon.push_fixture(&project, "static-html");
        for n in 0..20 {
            daemon.put(&project, &format!("{n}.js"), format!("console.log({n});\n").repeat(2000));
        }
        // The build is about to begin, waits for the lock that the deletion holds, publishes, or compresses.
        assert_eq!(daemon.sync(&project, json!({ "wait_ms": round % 4 * round })).await.json()["revision"], 1);
        let deleted = daemon.http.delete(&format!("/projects/{project}")).await;
        assert_eq!(deleted.status, 204, "{}", deleted.text());
    });
    futures::future::join_all(rounds).await;
    // Whatever ran is over when nothing runs and a later build is done.
    daemon.build_fixture("last", "static-html").await;
    eventually("the end of all builds", async || (daemon.metric("previewd_builds_running").await < 0.1).then_some(())).await;
    for round in 0..PROJECTS {
        assert_gone(&daemon, &format!("demo-{round}")).await;
    }
}

#[tokio::test]
async fn as_many_releases_are_kept_as_configured() {
    let daemon = Options::default().set("preview.keep_releases", 2).cold_store().start().await;
    daemon.build_fixture("demo", "static-html").await;
    for n in 2..=4 {
        daemon.put("demo", "index.html", format!("<h1>release {n}"));
        assert_eq!(daemon.sync_paths("demo", &["index.html"]).await["status"], "ready");
    }
    let kept = eventually("two releases", async || Some(daemon.releases("demo")).filter(|kept| kept.len() == 2)).await;
    let builds = daemon.builds("demo").await;
    let newest: Vec<_> = builds.iter().take(2).rev().map(|build| build["build_id"].as_str().expect("id").to_owned()).collect();
    assert_eq!(kept, newest);
    assert_eq!(daemon.dist("demo"), newest[1]);
    let retained: Vec<_> = builds.iter().map(|build| build["retained"].as_bool().expect("retained")).collect();
    assert_eq!(retained, [true, true, false, false]);
    for (build, there) in [(&builds[0], true), (&builds[1], true), (&builds[2], false)] {
        let id = build["build_id"].as_str().expect("id");
        let answer = daemon.http.get(&format!("/preview/demo/@{id}/")).await;
        assert_eq!(answer.status == 200, there, "{id}");
        assert_eq!(build["url"].is_string(), there);
    }
    // A failed build takes nobody's place.
    daemon.remove("demo", "index.html");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "error");
    assert_eq!(daemon.releases("demo"), newest);
}
