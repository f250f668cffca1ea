//! A layered release shows what the plain one shows: both are loaded in Chromium and compared (`harness/compare.rs`).
//!
//! Every fixture that builds with Vite, and any folder of projects:
//! `PREVIEWD_SAME_DIR=/path cargo test --test it -- same_result::folders --ignored --nocapture`.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::builds;
use crate::harness::browser::Browser;
use crate::harness::compare::compare;
use crate::harness::shared::daemon;
use crate::harness::{BUILD_MS, Daemon, Options, files_below};

/// Projects that are built at the same time.
const AT_ONCE: usize = 3;
const BROWSERS: usize = 2;
/// Longest wait for a project's layer, which is made beside its builds.
const LAYER_DEADLINE: Duration = Duration::from_mins(1);
/// The same where it is not known yet whether this daemon makes layers.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);
/// Between two builds that wait for a layer.
const LAYER_PAUSE: Duration = Duration::from_millis(500);
/// A project that layers are made for, if they are made at all.
const PROBE: &str = "router";
/// In reasons for a plain build that pass by themselves.
const PASSING: &[&str] = &["being made", "not ready"];
/// Pages beside the first one.
const DEEPER: &[(&str, &str)] = &[("router", "about"), ("router", "items/42"), ("multi-page", "about/")];
/// Of a project from outside the repository: what is made from the rest of it, or too large to be a source.
const NO_SOURCES: &[&str] = &["node_modules", ".git", ".vite", ".turbo"];
const SOURCE_MAX_BYTES: u64 = 32 << 20;

/// Browsers that look at pages while the next projects are built.
struct Browsers(Vec<Arc<Mutex<Browser>>>);

impl Browsers {
    fn start() -> Self {
        Self((0..BROWSERS).map(|_| Arc::new(Mutex::new(Browser::start()))).collect())
    }

    /// Two addresses: how many elements the first page has, and what differs.
    async fn compare(&self, plain: String, other: String) -> (usize, Vec<String>) {
        let free = self.0.iter().find(|browser| browser.try_lock().is_ok()).unwrap_or(&self.0[0]).clone();
        let looked = tokio::task::spawn_blocking(move || compare(&mut free.lock().expect("browser"), &plain, &other));
        let (seen, found) = looked.await.expect("compared");
        (seen[0].elements(), found)
    }
}

/// How a project's releases compare.
#[derive(Debug)]
struct Verdict {
    project: String,
    /// The second release's mode, and why it is plain where it is.
    mode: String,
    reason: Option<String>,
    /// How many elements the first page has; a blank page proves little.
    elements: usize,
    differences: Vec<String>,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reason = self.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let result = if self.differences.is_empty() { "the same".to_owned() } else { format!("DIFFERENT\n{}", self.differences.join("\n")) };
        write!(f, "{}: {}{reason}, {} elements, {result}", self.project, self.mode, self.elements)
    }
}

/// A permalink in host mode.
fn permalink(daemon: &Daemon, project: &str, build: &Value) -> String {
    let port = daemon.http.address.rsplit(':').next().expect("port");
    format!("http://{}--{project}.localhost:{port}/", build["build_id"].as_str().expect("id").to_ascii_lowercase())
}

/// Builds again, though nothing changed, perhaps without what is remembered of the project: the record.
async fn build_again(daemon: &Daemon, project: &str, clean: bool) -> Value {
    let answer = daemon.http.post(&format!("/build/{project}"), &json!({ "clean": clean, "wait_ms": BUILD_MS })).await;
    assert!(answer.status < 300, "{project}: {}", answer.text());
    daemon.settled(project).await["last_build"].clone()
}

/// A plain build to compare with. The layer of a project's dependencies may be known from other projects, so that its first build is no plain one.
async fn plain_build(daemon: &Daemon, project: &str, first: Value) -> Value {
    let plain = if first["mode"] == "plain" { first } else { build_again(daemon, project, true).await };
    assert_eq!(plain["mode"], "plain", "{project}: a clean build is layered too, so there is nothing to compare with: {plain:#}");
    plain
}

/// Builds again, and until a layer serves the project or it is known why none does: the last plain build, and the last one.
async fn plain_and_last(daemon: &Daemon, project: &str, first: Value, wait: Duration) -> (Value, Value) {
    let (mut plain, deadline) = (plain_build(daemon, project, first).await, Instant::now() + wait);
    loop {
        let last = build_again(daemon, project, false).await;
        assert_eq!(last["outcome"], "succeeded", "{project}: {last:#}");
        let known = last["mode_reason"].as_str().is_some_and(|reason| !PASSING.iter().any(|passing| reason.contains(passing)));
        if last["mode"] != "plain" || known || Instant::now() >= deadline {
            return (plain, last);
        }
        // Only so many releases are retained.
        plain = last;
        tokio::time::sleep(LAYER_PAUSE).await;
    }
}

/// Builds what was pushed as `project` and compares its plain with its last release; an error where it does not build.
async fn verdict(daemon: &Daemon, browsers: &Browsers, project: &str, pages: &[&str], wait: Duration) -> Result<Verdict, String> {
    daemon.sync(project, json!({})).await;
    let status = daemon.settled(project).await;
    let first = status["last_build"].clone();
    if status["state"] != "ready" || first["mode"] == "static" {
        return Err(first["failure"]["message"].as_str().unwrap_or("it is not built with Vite").to_owned());
    }
    let (plain, last) = plain_and_last(daemon, project, first, wait).await;
    let (mut differences, mut elements) = (Vec::new(), 0);
    for page in pages {
        let [plain, last] = [&plain, &last].map(|build| permalink(daemon, project, build) + page);
        let (seen, found) = browsers.compare(plain, last).await;
        differences.extend(found.into_iter().map(|text| format!("/{page}: {text}")));
        elements += seen;
    }
    let text = |key: &str| last[key].as_str().map(str::to_owned);
    Ok(Verdict { project: project.to_owned(), mode: text("mode").unwrap_or_default(), reason: text("mode_reason"), elements, differences })
}

/// Compares a fixture, as a project of its own.
async fn verdict_on_fixture(daemon: &Daemon, browsers: &Browsers, fixture: &'static str, wait: Duration) -> Verdict {
    let project = format!("same-{fixture}");
    daemon.push_fixture(&project, fixture);
    let pages: Vec<_> = [""].into_iter().chain(DEEPER.iter().filter(|(of, _)| *of == fixture).map(|(_, page)| *page)).collect();
    verdict(daemon, browsers, &project, &pages, wait).await.unwrap_or_else(|why| panic!("{project}: {why}"))
}

/// Whether this daemon makes layers, found out with [`PROBE`]; how long to wait for one; and the verdict on it.
async fn probe(daemon: &Daemon, browsers: &Browsers) -> (bool, Duration, Verdict) {
    let probe = verdict_on_fixture(daemon, browsers, PROBE, PROBE_DEADLINE).await;
    let layers = probe.mode == "layered";
    (layers, if layers { LAYER_DEADLINE } else { Duration::ZERO }, probe)
}

#[tokio::test]
async fn fixtures() {
    let (daemon, browsers) = (daemon().await, Browsers::start());
    let (layers, wait, probe) = probe(daemon, &browsers).await;
    let others = builds::good().filter(|fixture| *fixture != PROBE).map(|fixture| verdict_on_fixture(daemon, &browsers, fixture, wait));
    let verdicts: Vec<_> = stream::iter(others).buffer_unordered(AT_ONCE).chain(stream::iter([probe])).collect().await;
    for verdict in &verdicts {
        println!("{verdict}");
        assert!(layers || (verdict.mode == "plain" && verdict.reason.is_none()), "this daemon does make layers: {verdict}");
        assert!(!layers || verdict.mode == "layered" || verdict.reason.is_some(), "plain, and nobody says why: {verdict}");
    }
    let different: Vec<_> = verdicts.iter().filter(|verdict| !verdict.differences.is_empty()).map(ToString::to_string).collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// One line for each project below `PREVIEWD_SAME_DIR`.
#[tokio::test]
#[ignore = "for projects outside the repository: PREVIEWD_SAME_DIR"]
async fn folders() {
    let dir = std::env::var_os("PREVIEWD_SAME_DIR").expect("PREVIEWD_SAME_DIR names a folder of projects");
    let mut names: Vec<_> = std::fs::read_dir(&dir).expect("list").map(|entry| entry.expect("entry").file_name()).collect();
    names.sort();
    let (daemon, browsers) = (Daemon::start().await, Browsers::start());
    let (_, wait, _) = probe(&daemon, &browsers).await;
    let of = async |(number, name): (usize, std::ffi::OsString)| {
        // A folder's name need not be one of a project.
        let project = format!("folder-{number}");
        push_folder(&daemon, &project, &Path::new(&dir).join(&name));
        let name = name.to_string_lossy().into_owned();
        match verdict(&daemon, &browsers, &project, &[""], wait).await {
            Ok(verdict) => {
                let verdict = Verdict { project: name, ..verdict };
                println!("{verdict}");
                !verdict.differences.is_empty()
            }
            Err(why) => {
                println!("{name}: not compared, {why}");
                false
            }
        }
    };
    let different: Vec<bool> = stream::iter(names.into_iter().enumerate()).map(of).buffer_unordered(AT_ONCE).collect().await;
    let different = different.into_iter().filter(|different| *different).count();
    assert_eq!(different, 0, "projects whose releases differ");
}

/// Copies a project's sources into the daemon's source.
fn push_folder(daemon: &Daemon, project: &str, dir: &Path) {
    let wanted = |path: &String| !path.split('/').any(|part| NO_SOURCES.contains(&part));
    for file in files_below(dir).into_iter().filter(wanted) {
        let from = dir.join(&file);
        if std::fs::metadata(&from).is_ok_and(|found| found.len() <= SOURCE_MAX_BYTES) {
            daemon.put(project, &file, std::fs::read(from).expect("read"));
        }
    }
}

const EDITED: &str = "edited";

/// The page of [`EDITED`] after one change of its sources, compared with the page before it.
async fn after(daemon: &Daemon, browsers: &Browsers, path: &str, from: &str, to: &str) -> Vec<String> {
    let before = daemon.settled(EDITED).await["last_build"].clone();
    daemon.edit(EDITED, path, from, to);
    let answer = daemon.sync_and_wait(EDITED).await;
    assert_eq!(answer["status"], "ready", "{answer:#}");
    let [before, after] = [&before, &answer["build"]].map(|build| permalink(daemon, EDITED, build));
    assert_ne!(before, after);
    browsers.compare(before, after).await.1
}

#[tokio::test]
async fn every_kind_of_difference_is_found_and_nothing_else() {
    let (daemon, browsers) = (Options::default().set("preview.keep_releases", 20).start().await, Browsers::start());
    assert_eq!(daemon.build_fixture(EDITED, "vanilla").await["status"], "ready");
    let script = "document.querySelector('#app')";
    let edit = async |path, from, to| after(&daemon, &browsers, path, from, to).await;

    // Another hash, another time, other chance: nothing of it is seen.
    assert_eq!(edit("main.js", script, "globalThis.unseen = 1;\ndocument.querySelector('#app')").await, [""; 0]);
    let chance = "document.body.title = Math.random() + new Date().getFullYear() + crypto.randomUUID();\nglobalThis.unseen = 1;";
    assert!(edit("main.js", "globalThis.unseen = 1;", chance).await[0].contains("title="), "the title is new");
    assert_eq!(edit("main.js", "unseen = 1", "unseen = 2").await, [""; 0]);

    let dom = edit("main.js", "works", "changes").await;
    assert!(dom.len() == 1 && dom[0].contains("- ") && dom[0].contains("vanilla works") && dom[0].contains("vanilla changes"), "{dom:?}");
    let attribute = edit("index.html", "<div id=\"app\">", "<div id=\"app\" data-is=\"new\">").await;
    assert!(attribute.len() == 1 && attribute[0].contains("+ ") && attribute[0].contains("data-is=\"new\""), "{attribute:?}");
    let style = edit("style.css", "rebeccapurple", "#963").await;
    assert!(style.iter().any(|text| text.contains("h1:1: color is \"rgb(102, 51, 153)\", then \"rgb(153, 102, 51)\"")), "{style:?}");

    let error = edit("main.js", "unseen = 2", "unseen = 3; console.error('it failed')").await;
    assert_eq!(error, ["only the second: console error: it failed"]);
    let fixed = edit("main.js", "console.error('it failed')", "console.log('it works')").await;
    assert_eq!(fixed, ["only the first: console error: it failed", "only the second says: log: it works"]);
    let thrown = edit("main.js", "unseen = 3", "unseen = 4; setTimeout(() => { throw new Error('too late') })").await;
    assert_eq!(thrown, ["only the second: thrown: too late"]);
    let request = edit("main.js", "unseen = 4", "unseen = 5; fetch('/gone.json').catch(() => 0)").await;
    assert!(request.iter().any(|text| text == "only the second: 404: http://{host}/gone.json"), "{request:?}");
    let step = edit("main.js", "<h1>", "<button data-step='1' onclick='this.title = 1'>step</button><h1>").await;
    assert!(step.iter().any(|text| text.contains("+ after step 1: 200 /")), "{step:?}");
    let stepped = edit("main.js", "this.title = 1", "this.title = this.dataset.step + 1").await;
    assert!(stepped.len() == 2 && stepped[1].contains("title=\"1\"") && stepped[1].contains("title=\"11\""), "{stepped:?}");
    // What is wrong on both sides is no difference.
    assert_eq!(edit("main.js", "unseen = 5", "unseen = 6").await, [""; 0]);
}
