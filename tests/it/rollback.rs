//! Rollbacks: every retained build can be live again at once.

use serde_json::{Value, json};

use crate::harness::{Daemon, Options, eventually};

/// Three revisions of a page, each built; their builds' ids, oldest first.
async fn three_builds(daemon: &Daemon) -> Vec<String> {
    daemon.push_fixture("demo", "static-html");
    let mut builds = Vec::new();
    for text in ["one", "two", "three"] {
        daemon.put("demo", "index.html", format!("<p>{text}</p>"));
        let answer = daemon.sync_and_wait("demo").await;
        builds.push(answer["build"]["build_id"].as_str().expect("id").to_owned());
    }
    builds
}

async fn roll_back(daemon: &Daemon, build: &str) -> Value {
    let answer = daemon.http.post("/rollback/demo", &json!({ "build_id": build })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_rollback_is_live_at_once_and_the_next_sync_builds_the_newest_again() {
    let daemon = Daemon::start().await;
    let builds = three_builds(&daemon).await;
    let status = roll_back(&daemon, &builds[0]).await;
    let shown = (&status["live"]["build_id"], &status["live"]["revision"], &status["revision"], &status["state"]);
    assert_eq!(shown, (&json!(builds[0]), &json!(1), &json!(3), &json!("ready")), "{status:#}");
    assert_eq!(daemon.preview("demo", "/").await.app_text(), "<p>one</p>");
    assert_eq!(daemon.dist("demo"), builds[0]);
    assert_eq!(daemon.status("demo").await, status);
    let file = std::fs::read(daemon.project("demo").join(".build-status")).expect("status file");
    assert_eq!(serde_json::from_slice::<Value>(&file).expect("json"), status);

    let again = daemon.sync_and_wait("demo").await;
    assert_eq!((&again["status"], &again["revision"]), (&json!("ready"), &json!(4)), "{again:#}");
    assert_eq!(daemon.preview("demo", "/").await.app_text(), "<p>three</p>");
    assert_eq!(daemon.sync("demo", json!({})).await.json()["status"], "no_changes", "only once");
}

#[tokio::test]
async fn a_rollback_to_what_is_live_changes_nothing() {
    let daemon = Daemon::start().await;
    let builds = three_builds(&daemon).await;
    let before = daemon.status("demo").await;
    assert_eq!(roll_back(&daemon, &builds[2]).await, before);
    assert_eq!(daemon.sync("demo", json!({})).await.json()["status"], "no_changes");
}

#[tokio::test]
async fn a_rollback_outlives_a_crash_even_before_dist_follows() {
    let mut daemon = Daemon::start().await;
    let builds = three_builds(&daemon).await;
    roll_back(&daemon, &builds[1]).await;
    daemon.kill();
    let dist = daemon.project("demo").join("dist");
    std::fs::remove_file(&dist).expect("remove");
    std::os::unix::fs::symlink(format!("releases/{}", builds[2]), &dist).expect("symlink");
    let daemon = daemon.kill_and_restart();
    assert_eq!(daemon.dist("demo"), builds[1]);
    assert_eq!(daemon.preview("demo", "/").await.app_text(), "<p>two</p>");
}

#[tokio::test]
async fn what_is_rolled_back_to_is_kept_however_old() {
    let daemon = Options::default().set("preview.keep_releases", 2).start().await;
    let builds = three_builds(&daemon).await;
    eventually("retention", async || (daemon.releases("demo").len() == 2).then_some(())).await;
    let gone = daemon.http.post("/rollback/demo", &json!({ "build_id": builds[0] })).await;
    assert_eq!(gone.problem(), (404, "unknown_build".to_owned()));
    roll_back(&daemon, &builds[1]).await;
    // A build that fails leaves the rolled-back release live, through as many retentions as there are.
    daemon.remove("demo", "index.html");
    for _ in 0..3 {
        let failed = daemon.http.post("/build/demo", &json!({ "wait_ms": 60_000 })).await.json();
        assert_eq!(failed["status"], "error", "{failed:#}");
        assert_eq!(failed["build"]["outcome"], "failed");
    }
    assert_eq!(daemon.preview("demo", "/").await.app_text(), "<p>two</p>");
    assert!(daemon.releases("demo").contains(&builds[1]));
}

#[tokio::test]
async fn rollbacks_and_builds_at_once_end_with_the_state_and_dist_agreeing() {
    let daemon = Options::default().set("preview.keep_releases", 50).start().await;
    let builds = three_builds(&daemon).await;
    for round in 0..20 {
        daemon.put("demo", "index.html", format!("<p>round {round}</p>"));
        assert_eq!(daemon.sync("demo", json!({})).await.status, 202);
        // From the claim to the end of the build, rollbacks without a pause.
        while daemon.status("demo").await["state"] != "ready" {
            tokio::join!(roll_back(&daemon, &builds[0]), roll_back(&daemon, &builds[1]), roll_back(&daemon, &builds[2]));
        }
        let live = daemon.status("demo").await["live"]["build_id"].clone();
        assert_eq!(live, json!(daemon.dist("demo")));
    }
}

#[tokio::test]
async fn a_dist_that_cannot_follow_is_told_and_the_state_is_shown_all_the_same() {
    let daemon = Daemon::start().await;
    let builds = three_builds(&daemon).await;
    let dist = daemon.project("demo").join("dist");
    std::fs::remove_file(&dist).expect("remove");
    std::fs::create_dir(&dist).expect("mkdir");
    std::fs::write(dist.join("in-the-way"), "").expect("write");
    let answer = daemon.http.post("/rollback/demo", &json!({ "build_id": builds[0] })).await;
    assert_eq!(answer.problem(), (507, "disk".to_owned()));
    let file = std::fs::read(daemon.project("demo").join(".build-status")).expect("status file");
    let told: Value = serde_json::from_slice(&file).expect("json");
    assert_eq!((&told["live"]["build_id"], told == daemon.status("demo").await), (&json!(builds[0]), true));
    assert_eq!(daemon.preview("demo", "/").await.app_text(), "<p>one</p>");
}

#[tokio::test]
async fn what_cannot_be_rolled_back_to_is_told() {
    let daemon = Daemon::start().await;
    let builds = three_builds(&daemon).await;
    daemon.build_fixture("other", "static-html").await;
    let of_other = daemon.dist("other");
    let cases = [
        ("/rollback/demo", json!({}), (400, "invalid_body")),
        ("/rollback/demo", json!({ "build_id": 7 }), (400, "invalid_body")),
        ("/rollback/demo", json!({ "build_id": "../x" }), (400, "invalid_build_id")),
        ("/rollback/demo", json!({ "build_id": of_other }), (404, "unknown_build")),
        ("/rollback/nobody", json!({ "build_id": builds[0] }), (404, "unknown_project")),
        ("/rollback/..%2fdemo", json!({ "build_id": builds[0] }), (400, "invalid_project_id")),
    ];
    for (path, body, (status, code)) in cases {
        assert_eq!(daemon.http.post(path, &body).await.problem(), (status, code.to_owned()), "{path} {body}");
    }
    std::fs::remove_dir_all(daemon.project("demo").join("releases").join(&builds[0])).expect("remove");
    let lost = daemon.http.post("/rollback/demo", &json!({ "build_id": builds[0] })).await;
    assert_eq!(lost.problem(), (404, "unknown_build".to_owned()));
    assert_eq!(daemon.preview("demo", "/").await.app_text(), "<p>three</p>");
}
