//! Installs that hang, are stopped, or lie damaged: no project pays for it, and nothing of pnpm stays.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::harness::probe::processes_with;
use crate::harness::{Daemon, Options, eventually};

/// A registry that takes every request and answers none.
struct Silent {
    url: String,
    asked: Arc<Mutex<String>>,
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let silent = Self { url: format!("http://{}/", listener.local_addr().expect("address")), asked: Arc::default() };
        let asked = silent.asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let asked = asked.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                        asked.lock().expect("asked").push_str(&String::from_utf8_lossy(&buffer[..n]));
                    }
                });
            }
        });
        silent
    }

    fn options(&self) -> Options {
        Options::default().set("build.registry", &self.url).cold_store()
    }

    fn was_asked_for(&self, package: &str) -> bool {
        self.asked.lock().expect("asked").contains(&format!("GET /{package} "))
    }

    async fn until_asked_for(&self, package: &str) {
        eventually(package, async || self.was_asked_for(package).then_some(())).await;
    }

    fn pnpm(&self) -> Vec<String> {
        processes_with(&self.url, 0)
    }
}

/// A project that needs `package` and Vite.
fn push(daemon: &Daemon, project: &str, package: &str) {
    daemon.push_fixture(project, "vanilla");
    daemon.edit(project, "package.json", "\"devDependencies\": {", &format!("\"devDependencies\": {{ \"{package}\": \"1.0.0\","));
}

#[tokio::test]
async fn pnpm_dies_with_the_daemon() {
    for sandbox in ["required", "off"] {
        let registry = Silent::start().await;
        let mut daemon = registry.options().set("build.sandbox", sandbox).start().await;
        push(&daemon, "demo", "wanted");
        assert_eq!(daemon.sync("demo", json!({})).await.status, 202);
        registry.until_asked_for("wanted").await;
        assert!(!registry.pnpm().is_empty());
        daemon.kill();
        eventually("the end of pnpm", async || registry.pnpm().is_empty().then_some(())).await;
        let daemon = registry.options().set("build.sandbox", sandbox).start_in(daemon.dir.clone()).await;
        let halves = fs::read_dir(daemon.data().join("layers")).expect("layers").count();
        assert!(halves <= 1, "only the one of the install that runs");
    }
}

#[tokio::test]
async fn a_stop_ends_an_install() {
    let registry = Silent::start().await;
    let daemon = registry.options().set("server.shutdown_grace_s", 1).start().await;
    push(&daemon, "demo", "wanted");
    assert_eq!(daemon.sync("demo", json!({})).await.status, 202);
    registry.until_asked_for("wanted").await;
    let begun = Instant::now();
    let (code, dir) = daemon.stop();
    assert_eq!((code, registry.pnpm()), (Some(0), Vec::new()));
    assert!(begun.elapsed().as_secs() < 12, "{:?}", begun.elapsed());
    assert_eq!(fs::read_dir(dir.path().join("data/layers")).expect("layers").count(), 0, "nothing half");
}

#[tokio::test]
async fn an_outage_is_tried_again_and_then_told() {
    let registry = Silent::start().await;
    let daemon = registry.options().set("build.install_timeout_s", 2).set("queue.max_attempts", 2).start().await;
    push(&daemon, "demo", "wanted");
    let answer = daemon.sync_and_wait("demo").await;
    let failure = &answer["build"]["failure"];
    assert_eq!((&answer["status"], &failure["kind"]), (&json!("error"), &json!("install")), "{answer:#}");
    let message = failure["message"].as_str().expect("message");
    assert!(message.contains("the registry did not answer") && message.contains("longer than 2 s, the limit build.install_timeout_s"), "{message}");
    let builds = daemon.builds("demo").await;
    assert_eq!(builds.len(), 2, "tried again");
    for build in &builds {
        let install = build["timings_ms"]["install"].as_u64().expect("a time");
        // The limit, and a try without the registry.
        assert!((2000..8000).contains(&install), "{build:#}");
    }
    assert_eq!(fs::read_dir(daemon.data().join("layers")).expect("layers").count(), 0, "nothing half");
}

#[tokio::test]
async fn an_install_that_waits_is_dropped_with_its_build() {
    let registry = Silent::start().await;
    let options = registry.options().set("build.install_timeout_s", 3).set("queue.max_attempts", 1).set("build.concurrency", 3);
    let daemon = options.start().await;
    push(&daemon, "first", "first");
    assert_eq!(daemon.sync("first", json!({})).await.status, 202);
    registry.until_asked_for("first").await;
    push(&daemon, "second", "second");
    assert_eq!(daemon.sync("second", json!({})).await.status, 202);
    daemon.status_until("second", |status| status["state"] == "building").await;
    eventually("its log", async || daemon.build_log("second").await.contains("build ").then_some(())).await;
    assert!(daemon.http.delete("/projects/second").await.status < 300);
    push(&daemon, "third", "third");
    assert_eq!(daemon.sync("third", json!({})).await.status, 202);
    registry.until_asked_for("third").await;
    assert!(!registry.was_asked_for("second"));
}

#[tokio::test]
async fn a_damaged_layer_is_installed_anew() {
    let daemon = Daemon::start().await;
    assert_eq!(daemon.build_fixture("demo", "vanilla").await["build"]["layer"], "miss");
    let layer = || fs::read_dir(daemon.data().join("layers")).expect("layers").next().expect("one").expect("entry").path();

    fs::write(layer().join("layer.json"), "").expect("write");
    daemon.edit("demo", "main.js", "vanilla works", "vanilla works again");
    let answer = daemon.sync_and_wait("demo").await;
    assert_eq!((&answer["status"], &answer["build"]["layer"]), (&json!("ready"), &json!("miss")), "{answer:#}");

    let store = daemon.data().join("shared-store");
    fs::rename(&store, daemon.dir.path().join("moved")).expect("rename");
    fs::create_dir(&store).expect("mkdir");
    daemon.edit("demo", "main.js", "works again", "works for good");
    let answer = daemon.sync_and_wait("demo").await;
    assert_eq!((&answer["status"], &answer["build"]["layer"]), (&json!("ready"), &json!("miss")), "{answer:#}");

    daemon.edit("demo", "main.js", "works for good", "works");
    assert_eq!(daemon.sync_and_wait("demo").await["build"]["layer"], "hit");
}
