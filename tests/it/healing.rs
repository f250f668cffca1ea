//! What heals by itself: repeated webhooks, lost releases, lost leases.

use serde_json::json;

use crate::harness::{Daemon, eventually};

#[tokio::test]
async fn a_repeated_webhook_may_wait_too() {
    let daemon = Daemon::start().await;
    daemon.push_fixture("demo", "vanilla");
    assert_eq!(daemon.sync("demo", json!({})).await.status, 202);
    let again = daemon.sync_and_wait("demo").await;
    assert_eq!((&again["status"], &again["revision"]), (&json!("ready"), &json!(1)), "{again:#}");
    assert_eq!(again["build"]["outcome"], "succeeded");
}

#[tokio::test]
async fn a_release_that_was_lost_is_built_again_by_the_next_sync() {
    let daemon = Daemon::start().await;
    let first = daemon.build_fixture("demo", "static-html").await;
    let build = first["build"]["build_id"].as_str().expect("id").to_owned();
    std::fs::remove_dir_all(daemon.project("demo").join("releases").join(build)).expect("remove");
    let again = daemon.sync_and_wait("demo").await;
    assert_eq!((&again["status"], &again["revision"]), (&json!("ready"), &json!(2)), "{again:#}");
    assert_eq!(daemon.preview("demo", "/").await.status, 200);
}

#[tokio::test]
async fn a_build_that_lost_its_lease_publishes_nothing() {
    let daemon = Daemon::start().await;
    daemon.push_fixture("demo", "hanging-build");
    assert_eq!(daemon.sync("demo", json!({})).await.status, 202);
    let first = daemon.status_until("demo", |status| status["running"].is_object()).await["running"]["build_id"].clone();
    // Its first renewal is behind it, and would undo what follows.
    eventually("the build", async || daemon.http.get("/metrics").await.text().contains("previewd_builds_running 1").then_some(())).await;
    // What a jump of the clock or a standstill of the machine does. The wake-up comes from another project's sync.
    let state = rusqlite::Connection::open(daemon.data().join("state.db")).expect("state");
    state.execute("UPDATE projects SET lease_until = 0", []).expect("lease");
    assert_eq!(daemon.build_fixture("other", "static-html").await["status"], "ready");
    let second = daemon.status_until("demo", |status| status["running"].is_object() && status["running"]["build_id"] != first).await;
    assert_ne!(second["running"]["build_id"], first);
    let running = daemon.http.get("/metrics").await.text();
    assert!(running.contains("previewd_builds_running 1"), "the first one was stopped: {running}");
    assert!(second["live"].is_null());
}
