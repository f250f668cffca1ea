//! Dependency layers and warm workers: when a build takes its packages from a layer, which worker makes it, and what happens where one of
//! the two is gone. That both change nothing of what visitors see is `same_result`'s.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::http::Http;
use crate::harness::{BUILD_MS, Daemon, Options, eventually};

/// The fixture that these tests build, with react and a router.
const SITE: &str = "router";
/// Builds until a layer has been made in the background, at most.
const BUILDS_MAX: usize = 100;

/// Builds `project` anew until its packages come from a layer.
async fn until_layered(daemon: &Daemon, project: &str) -> Value {
    for _ in 0..BUILDS_MAX {
        let answer = daemon.http.post(&format!("/build/{project}"), &json!({ "wait_ms": BUILD_MS })).await.json();
        assert_eq!(answer["status"], "ready", "{answer:#}");
        if answer["build"]["mode"] == "layered" {
            return answer["build"].clone();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{project} never gets its packages from a layer: {:#}", daemon.status(project).await);
}

async fn rebuilt(daemon: &Daemon, project: &str) -> Value {
    let answer = daemon.http.post(&format!("/build/{project}"), &json!({ "wait_ms": BUILD_MS })).await.json();
    assert_eq!(answer["status"], "ready", "{answer:#}");
    answer["build"].clone()
}

/// The processes that are workers of `daemon`: Node itself, not bubblewrap, which has the same words in its arguments.
fn workers(daemon: &Daemon) -> Vec<u32> {
    let script = daemon.data().join("runtime/worker.mjs");
    let is_worker = |pid: u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"node")) && words.any(|word| word == script.as_os_str().as_encoded_bytes())
    };
    let pids = std::fs::read_dir("/proc").expect("proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_worker(*pid)).collect()
}

/// States of their processes, as the kernel tells them.
fn worker_states(daemon: &Daemon) -> Vec<char> {
    let state = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.rsplit_once(") ")?.1.chars().next();
    workers(daemon).into_iter().filter_map(state).collect()
}

#[tokio::test]
async fn packages_come_from_a_layer_once_it_is_made_and_then_for_every_project_of_the_set() {
    let daemon = Daemon::start().await;
    let first = daemon.build_fixture("demo", SITE).await["build"].clone();
    assert_eq!((&first["mode"], &first["worker"]), (&json!("plain"), &json!("cold")), "{first:#}");
    assert_eq!(first["mode_reason"], "the layer is not ready yet");
    let layered = until_layered(&daemon, "demo").await;
    assert!(layered.get("mode_reason").is_none());

    let page = daemon.preview("demo", "/").await.text();
    let module = page
        .split("href=\"")
        .filter_map(|rest| rest.split('"').next())
        .find(|href| href.contains("/_previewd/layers/") && href.contains("react-dom"));
    let module = module.unwrap_or_else(|| panic!("no module of a layer: {page}"));
    assert!(module.contains(layered["edition"].as_str().expect("an edition")), "{module}");
    let served = daemon.preview("demo", module).await;
    assert_eq!((served.status, served.header("cache-control")), (200, "public, max-age=31536000, immutable"));
    let elsewhere = daemon.http.get(module).await;
    assert_eq!((elsewhere.status, elsewhere.text()), (200, served.text()), "the same under the API's host, for path mode");
    eventually("a compressed copy", async || {
        let request = daemon.http.request(reqwest::Method::GET, module).header("accept-encoding", "br");
        (Http::send(request).await.header("content-encoding") == "br").then_some(())
    })
    .await;

    let other = daemon.build_fixture("other", SITE).await["build"].clone();
    assert_eq!((&other["mode"], &other["edition"], &other["layer"]), (&json!("layered"), &layered["edition"], &json!("hit")), "{other:#}");
    let clean = daemon.http.post("/build/other", &json!({ "clean": true, "wait_ms": BUILD_MS })).await.json();
    assert_eq!((&clean["build"]["mode"], &clean["build"]["worker"]), (&json!("plain"), &json!("cold")), "{clean:#}");
}

#[tokio::test]
async fn a_worker_stays_with_its_project_stands_still_and_may_die() {
    let daemon = Daemon::start().await;
    daemon.build_fixture("demo", SITE).await;
    until_layered(&daemon, "demo").await;
    assert_eq!(rebuilt(&daemon, "demo").await["worker"], "warm");
    eventually("all workers stand still", async || {
        let states = worker_states(&daemon);
        (!states.is_empty() && states.iter().all(|state| *state == 'T')).then_some(())
    })
    .await;

    for pid in workers(&daemon) {
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    }
    let after = rebuilt(&daemon, "demo").await;
    assert_eq!(after["outcome"], "succeeded", "a dead worker costs time and nothing else: {after:#}");
    assert_eq!(rebuilt(&daemon, "demo").await["worker"], "warm");
}

#[tokio::test]
async fn what_a_configuration_was_made_from_is_read_anew_when_it_changes() {
    let daemon = Daemon::start().await;
    daemon.push_fixture("demo", SITE);
    daemon.put("demo", "title.txt", "first");
    let config = "import fs from 'node:fs';
        const title = fs.readFileSync('title.txt', 'utf8');
        export default { define: { __TITLE__: JSON.stringify(title + ' of one') } };\n";
    daemon.put("demo", "vite.config.js", config);
    daemon.put("demo", "src/shown.js", "document.title = __TITLE__;");
    daemon.put("demo", "index.html", "<div id=\"root\"></div><script type=\"module\" src=\"/src/shown.js\"></script>");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    let shown = async |text: &str| {
        let page = daemon.preview("demo", "/").await.text();
        let script = page.split("src=\"").filter_map(|rest| rest.split('"').next()).find(|src| src.ends_with(".js")).expect("a script").to_owned();
        let script = daemon.preview("demo", &script).await.text();
        assert!(script.contains(text), "{text}: {script}");
    };
    shown("first of one").await;
    for (path, from, to, text) in [("title.txt", "first", "second", "second of one"), ("vite.config.js", "of one", "of two", "second of two")] {
        daemon.edit("demo", path, from, to);
        assert_eq!(daemon.sync_paths("demo", &[path]).await["status"], "ready");
        shown(text).await;
    }
}

#[tokio::test]
async fn workers_go_when_others_need_their_memory() {
    let daemon = Options::default().set("pool.memory_mb", 100).set("pool.per_layer", 0).start().await;
    for project in ["one", "two", "three", "four"] {
        daemon.build_fixture(project, "vanilla").await;
    }
    eventually("only so many are kept", async || {
        let metrics = daemon.http.get("/metrics").await.text();
        let bound = metrics.lines().find_map(|line| line.strip_prefix("previewd_workers{state=\"bound\"} ")?.parse::<u32>().ok())?;
        println!("{bound} of 4 are kept");
        ((1..4).contains(&bound) && worker_states(&daemon).len() == bound as usize).then_some(())
    })
    .await;
    for project in ["one", "two", "three", "four"] {
        assert_eq!(rebuilt(&daemon, project).await["outcome"], "succeeded");
    }
}

#[tokio::test]
async fn a_stream_of_edits_is_published_while_it_goes_on() {
    let daemon = Daemon::start().await;
    daemon.build_fixture("demo", "vanilla").await;
    rebuilt(&daemon, "demo").await;
    let before = daemon.builds("demo").await.len();
    for n in 0..20 {
        daemon.put("demo", "public/n.txt", n.to_string());
        daemon.sync("demo", json!({ "files": ["public/n.txt"] })).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    daemon.settled("demo").await;
    assert_eq!(daemon.preview("demo", "/n.txt").await.text(), "19", "the newest is live");
    let builds = daemon.builds("demo").await;
    let published = builds.len() - before - builds.iter().filter(|build| build["outcome"] == "superseded").count();
    assert!(published >= 4, "{published} of 20 edits in two seconds were published");
}
