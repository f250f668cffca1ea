//! Kills and stops at bad moments: an accepted revision becomes live all the same, and no half of anything stays.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;
use tokio::net::TcpListener;

use crate::harness::azurite::{Container, LATER};
use crate::harness::faults::{Act, Fake, blob};
use crate::harness::probe::{processes_with, slow_config};
use crate::harness::{BUILD_MS, Daemon, Options, eventually};

/// Exactly one release, whole and live; nothing else.
async fn assert_one_live(daemon: &Daemon, project: &str, revision: u64) {
    let status = daemon.settled(project).await;
    assert_eq!((&status["state"], &status["live"]["revision"]), (&json!("ready"), &json!(revision)), "{status:#}");
    let live = status["live"]["build_id"].as_str().expect("id").to_owned();
    assert_eq!(daemon.dist(project), live);
    assert!(daemon.releases(project).contains(&live));
    // The status file and compressed copies are written aside after the build's end.
    eventually("no half of anything", async || daemon.halves(project).is_empty().then_some(())).await;
    assert_eq!(daemon.preview(project, "/").await.status, 200);
    let layers = fs::read_dir(daemon.data().join("layers")).expect("layers").map(|entry| entry.expect("entry").file_name());
    assert!(layers.into_iter().all(|name| !name.to_string_lossy().starts_with(".tmp-")), "a half layer");
}

#[tokio::test]
async fn killed_during_a_build() {
    let mut daemon = Daemon::start().await;
    daemon.push_fixture("demo", "vanilla");
    daemon.put("demo", "vite.config.js", slow_config(1000));
    let accepted = daemon.sync("demo", json!({})).await;
    assert_eq!(accepted.status, 202);
    daemon.until_vite_runs().await;
    daemon.kill();
    let data = daemon.data().to_string_lossy().into_owned();
    eventually("the end of the build's processes", async || processes_with(&data, 0).is_empty().then_some(())).await;
    let daemon = daemon.kill_and_restart();
    assert_one_live(&daemon, "demo", 1).await;
    let builds = daemon.builds("demo").await;
    assert_eq!((builds.len(), &builds[0]["outcome"], &builds[1]["outcome"]), (2, &json!("succeeded"), &json!("cancelled")));
    assert_eq!(daemon.releases("demo").len(), 1);
}

#[tokio::test]
async fn leftovers_that_cannot_be_removed_do_not_keep_the_daemon_from_starting() {
    let mut daemon = Daemon::start().await;
    daemon.push_fixture("demo", "vanilla");
    daemon.put("demo", "vite.config.js", slow_config(5000));
    assert_eq!(daemon.sync("demo", json!({})).await.status, 202);
    daemon.until_vite_runs().await;
    daemon.kill();
    let releases = daemon.project("demo").join("releases");
    fs::rename(&releases, daemon.dir.path().join("moved")).expect("rename");
    fs::write(&releases, "").expect("write");
    let daemon = daemon.kill_and_restart();
    assert!(daemon.log().contains("what an interrupted build left could not be removed"));
    assert_eq!(daemon.build_fixture("other", "static-html").await["status"], "ready");
}

#[tokio::test]
async fn killed_during_an_install() {
    let registry = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}/", registry.local_addr().expect("address"));
    let mut daemon = Options::default().set("build.registry", url).start().await;
    daemon.push_fixture("demo", "vanilla");
    assert_eq!(daemon.sync("demo", json!({})).await.status, 202);
    // pnpm asks, and never hears.
    let _silent = registry.accept().await.expect("a request");
    daemon.kill();
    let daemon = Options::default().start_in(daemon.dir.clone()).await;
    assert_one_live(&daemon, "demo", 1).await;
}

#[tokio::test]
async fn killed_while_files_are_fetched() {
    let fake = Fake::listing(vec![Act::Hang, blob("hello", "hello")]).await;
    let container = Container { name: "apps".to_owned(), endpoint: fake.endpoint.clone() };
    let mut daemon = container.options(container.by_sas(&container.sas("rl", LATER))).cold_store().start().await;
    let (http, asked) = (daemon.http.clone(), tokio::sync::oneshot::channel());
    let call = tokio::spawn(async move {
        let request = http.request(reqwest::Method::POST, "/sync-project/demo").bearer_auth(&http.token).send();
        let _ = asked.0.send(());
        request.await.is_err()
    });
    asked.1.await.expect("sent");
    eventually("a fetch", async || (fake.seen() == 1).then_some(())).await;
    daemon.kill();
    assert!(call.await.expect("call"), "nothing was promised");
    let daemon = daemon.kill_and_restart();
    assert_eq!(daemon.http.get("/status/demo").await.status, 404);
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    assert_one_live(&daemon, "demo", 1).await;
    assert_eq!(daemon.preview("demo", "/").await.app_text(), "hello");
}

#[tokio::test]
async fn killed_while_files_are_moved_in() {
    let mut daemon = Options::default().cold_store().start().await;
    daemon.build_fixture("demo", "static-html").await;
    let many = |round: &str| {
        for n in 0..2000 {
            daemon.put("demo", &format!("pages/{n}.html"), format!("page {n} {round}"));
        }
    };
    many("first");
    let _ = daemon.sync("demo", json!({ "wait_ms": BUILD_MS })).await;
    many("second");
    let (http, project) = (daemon.http.clone(), daemon.project("demo"));
    let call = tokio::spawn(async move { http.request(reqwest::Method::POST, "/sync-project/demo").bearer_auth(&http.token).send().await.is_ok() });
    // Any moment from the first file on its way to the last one in its place will do; this is mostly the renames.
    let first = project.join("frontend/pages/0.html");
    eventually("the first file in its place", async || fs::read_to_string(&first).is_ok_and(|text| text.contains("second")).then_some(())).await;
    daemon.kill();
    let answered = call.await.expect("call");
    let daemon = daemon.kill_and_restart();
    if answered {
        // It was quicker than the kill: then it was accepted for good.
        assert_one_live(&daemon, "demo", 3).await;
    }
    let healed = daemon.sync("demo", json!({ "changed_files": ["pages/1.html"], "wait_ms": BUILD_MS })).await.json();
    assert_eq!(healed["revision"], 3, "{healed:#}");
    assert_one_live(&daemon, "demo", 3).await;
    for n in 0..2000 {
        let text = fs::read_to_string(daemon.synced("demo", &format!("pages/{n}.html"))).expect("synced");
        assert_eq!(text, format!("page {n} second"));
    }
    assert!(!daemon.project("demo").join(".sync-intent").exists() && !daemon.project("demo").join(".incoming").exists());
}

#[tokio::test]
async fn a_release_that_was_published_but_not_written_down_is_taken_back() {
    let mut daemon = Options::default().cold_store().start().await;
    daemon.build_fixture("demo", "static-html").await;
    let live = daemon.dist("demo");
    daemon.kill();
    let lost = format!("{}{}", &live[..live.len() - 1], if live.ends_with('0') { '1' } else { '0' });
    let project = daemon.project("demo");
    fs::create_dir(project.join("releases").join(&lost)).expect("mkdir");
    fs::remove_file(project.join("dist")).expect("remove");
    std::os::unix::fs::symlink(format!("releases/{lost}"), project.join("dist")).expect("symlink");
    let daemon = daemon.kill_and_restart();
    assert_eq!(daemon.dist("demo"), live);
    daemon.put("demo", "new.html", "new");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    eventually("its removal", async || (!daemon.releases("demo").contains(&lost)).then_some(())).await;
    assert!(daemon.releases("demo").contains(&live));
    assert_one_live(&daemon, "demo", 2).await;
}

#[tokio::test]
async fn a_restart_keeps_token_projects_and_previews() {
    let daemon = Options::default().cold_store().start().await;
    daemon.build_fixture("demo", "static-html").await;
    let (token, status) = (daemon.http.token.clone(), daemon.status("demo").await);
    assert!(token.len() >= 32);
    let daemon = daemon.kill_and_restart();
    assert_eq!(daemon.http.token, token);
    let now = daemon.status("demo").await;
    assert_eq!((&now["revision"], &now["live"]["build_id"]), (&status["revision"], &status["live"]["build_id"]));
    assert_eq!(daemon.preview("demo", "/").await.status, 200);
    assert_eq!(daemon.sync("demo", json!({})).await.json()["status"], "no_changes");
    let (code, _) = daemon.stop();
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn a_stop_refuses_new_work_and_requeues_what_takes_too_long() {
    let options = Options::default().set("server.shutdown_grace_s", 1);
    let daemon = options.clone().start().await;
    daemon.build_fixture("other", "static-html").await;
    daemon.push_fixture("demo", "vanilla");
    daemon.put("demo", "vite.config.js", slow_config(5000));
    assert_eq!(daemon.sync("demo", json!({})).await.status, 202);
    daemon.until_vite_runs().await;
    daemon.terminate();
    let refused = eventually("the refusal", async || Some(daemon.sync("other", json!({})).await).filter(|answer| answer.status != 200)).await;
    assert_eq!(refused.problem(), (503, "draining".to_owned()));
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(daemon.http.get("/health/ready").await.status, 503);
    assert_eq!(daemon.http.get("/health/live").await.status, 200);
    assert_eq!(daemon.preview("other", "/").await.status, 200, "previews go on");
    let data = daemon.data().to_string_lossy().into_owned();
    let (code, dir) = daemon.stop();
    assert_eq!(code, Some(0));
    assert_eq!(processes_with(&data, 0), Vec::<String>::new());
    assert!(!dir.path().join("data/listen").exists(), "nobody listens");

    let daemon = options.start_in(dir).await;
    assert_one_live(&daemon, "demo", 1).await;
    let builds = daemon.builds("demo").await;
    assert_eq!((builds.len(), &builds[1]["outcome"]), (2, &json!("cancelled")));
}

#[tokio::test]
async fn a_second_daemon_on_the_same_directory_is_refused() {
    let daemon = Options::default().cold_store().start().await;
    let mut second = Command::new(env!("CARGO_BIN_EXE_previewd"));
    second.arg("serve").env("PREVIEWD__SERVER__LISTEN", "127.0.0.1:0").env("PREVIEWD__SERVER__DATA_DIR", daemon.data());
    let output = second.stdin(Stdio::null()).output().expect("run");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("another previewd uses the data directory"), "{told}");
    assert_eq!(daemon.http.get("/health/live").await.status, 200);
}
