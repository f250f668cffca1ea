//! Every faulty fixture fails with exactly its failure, within its limits, and nothing of it goes on.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Daemon, Options, eventually};

/// A fixture; how its build ends; its failure's kind, place, and a part of its message.
struct Fault(&'static str, &'static str, &'static str, Option<(&'static str, Option<u64>)>, &'static str);

const FAULTS: &[Fault] = &[
    Fault("bad-package-json", "failed", "config", Some(("package.json", Some(5))), "package.json: not valid JSON: expected value (line 5, column 1)"),
    Fault("broken-config", "failed", "config", Some(("vite.config.js", Some(5))), "Expected `,` or `}`"),
    Fault("css-error", "failed", "compile", Some(("style.css", Some(5))), "Unexpected }"),
    Fault("css-error-in-minify", "failed", "compile", None, "[lightningcss minify] Unexpected end of input"),
    Fault("deep-output", "failed", "output", None, "nested deeper than"),
    Fault("endless-output", "failed", "output", None, "build.log_kb"),
    Fault("exiting-config", "failed", "config", None, "The Vite config or a plugin in it called process.exit(0)"),
    Fault("fifo-output", "failed", "compile", None, "Operation not permitted"),
    Fault("generator-fails", "failed", "config", None, "the script \"codegen\" of package.json ended with exit code 3"),
    Fault("git-spec", "failed", "install", Some(("package.json", None)), "x@git+https://git.example.invalid/nothing.git is refused"),
    Fault("hardlink-output", "failed", "output", None, "the output has a hard link"),
    Fault("huge-output", "failed", "output", None, "more than 8 MB, the limit build.output_mb"),
    Fault("many-files-output", "failed", "output", None, "more than 500 files and folders, the limit build.output_files"),
    Fault("many-folders-output", "failed", "output", None, "more than 500 files and folders, the limit build.output_files"),
    Fault("memory-bomb", "out_of_memory", "memory", None, "more than 512 MB, the limit build.memory_mb"),
    Fault("missing-export", "failed", "compile", Some(("main.js", Some(1))), "\"gone\" is not exported by \"lib.js\""),
    Fault("missing-file", "failed", "resolve", Some(("main.js", Some(1))), "Could not resolve \"./src/gone.js\" imported by main.js"),
    Fault("missing-package", "failed", "resolve", Some(("main.js", Some(1))), "Could not resolve \"@previewd-fixture/left-out\" imported by main.js"),
    Fault("missing-plugin", "failed", "resolve", Some(("vite.config.js", Some(1))), "Could not resolve \"@previewd-fixture/vite-plugin-left-out\""),
    Fault("no-index-html", "failed", "config", None, "The entry index.html is missing"),
    Fault("not-vite", "failed", "config", None, "nothing to preview here"),
    Fault("refused-spec", "failed", "install", Some(("package.json", None)), "x@file:../../etc is refused"),
    Fault("server-framework", "failed", "config", None, "This is a TanStack Start project, whose pages are rendered by a server"),
    Fault("symlink-output", "failed", "output", None, "not a regular file: "),
    Fault("syntax-error", "failed", "compile", Some(("src/App.tsx", Some(6))), "Expected corresponding JSX closing tag for 'p'"),
    Fault("throwing-config", "failed", "config", Some(("vite.config.js", Some(1))), "DATABASE_URL is required"),
    Fault("unknown-package", "failed", "install", None, "Failed to resolve @previewd-fixture-does-not-exist/nothing@1.0.0"),
    Fault("vite2", "failed", "config", None, "This project uses Vite 2.9.18; previews are built by Vite 3 or newer."),
];

const TIMED_OUT: &[Fault] = &[
    Fault("endless-build", "timed_out", "timeout", None, "longer than 5 s, the limit build.timeout_s"),
    Fault("hanging-build", "timed_out", "timeout", None, "longer than 5 s, the limit build.timeout_s"),
];

/// The fixtures that this file is about.
pub(crate) fn fixtures() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().chain(TIMED_OUT).map(|Fault(name, ..)| *name).chain(["background-process"])
}

fn small_limits() -> Options {
    Options::default()
        .set("build.output_mb", 8)
        .set("build.output_files", 500)
        .set("build.log_kb", 64)
        .set("build.memory_mb", 512)
        .without_warm_workers()
}

async fn assert_fault(daemon: &Daemon, Fault(fixture, outcome, kind, place, message): &Fault) {
    let answer = daemon.build_fixture(fixture, fixture).await;
    let (build, failure) = (&answer["build"], &answer["build"]["failure"]);
    assert_eq!((&answer["status"], &build["outcome"], &failure["kind"]), (&json!("error"), &json!(outcome), &json!(kind)), "{fixture}: {answer:#}");
    assert!(failure["message"].as_str().is_some_and(|text| text.contains(message)), "{fixture}: {answer:#}");
    assert_eq!((&failure["file"], &failure["line"]), (&json!(place.map(|p| p.0)), &json!(place.and_then(|p| p.1))), "{fixture}: {answer:#}");
    if place.is_some_and(|(file, line)| line.is_some() && file != "package.json") {
        let frame = failure["frame"].as_str().unwrap_or_default();
        assert!(frame.lines().any(|line| line.starts_with("> ")), "{fixture}: {answer:#}");
    }
    // It is no message that the caller alone gets.
    let status = daemon.status(fixture).await;
    assert_eq!((&status["state"], &status["live"], &status["last_build"]["failure"]), (&json!("error"), &Value::Null, failure), "{fixture}");
    let log = daemon.build_log(fixture).await;
    let full = log.contains("the log is full");
    assert!(full || log.contains(&format!("{kind}: ")), "{fixture}: {log}");
    assert!(log.len() < 80 * 1024, "{fixture}: a log of {} bytes", log.len());
    assert!(!daemon.project(fixture).join("dist").exists());
}

/// Command lines of processes whose arguments contain `text`.
fn processes_with(text: &str) -> Vec<String> {
    let pids = std::fs::read_dir("/proc").expect("proc").filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let lines = pids.filter(|pid| pid.bytes().all(|b| b.is_ascii_digit())).filter_map(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(text)).collect()
}

fn assert_nothing_runs(daemon: &Daemon) {
    // Workers, pnpm and bubblewrap all have paths below it in their arguments; the daemon has it in its environment.
    assert_eq!(processes_with(daemon.data().to_str().expect("utf-8")), [""; 0]);
}

#[tokio::test]
async fn faults_are_told_apart() {
    let daemon = small_limits().start().await;
    join_all(FAULTS.iter().map(|fault| assert_fault(&daemon, fault))).await;
    assert_nothing_runs(&daemon);
    // What failed left nothing behind but its log and its sources.
    for fixture in ["deep-output", "huge-output", "many-folders-output", "symlink-output"] {
        let releases = std::fs::read_dir(daemon.project(fixture).join("releases")).expect("list");
        let names: Vec<String> = releases.map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8")).collect();
        assert!(names.iter().all(|name| name.ends_with(".log")), "{names:?}");
    }
    assert_eq!(daemon.build_fixture("static-html", "static-html").await["status"], "ready", "others go on");
}

#[tokio::test]
async fn builds_without_an_end_are_ended() {
    let daemon = Options::default().set("build.timeout_s", 5).without_warm_workers().start().await;
    join_all(TIMED_OUT.iter().map(|fault| assert_fault(&daemon, fault))).await;
    assert_nothing_runs(&daemon);
}

#[tokio::test]
async fn without_the_sandbox_limits_hold_as_well() {
    let daemon = small_limits().set("build.timeout_s", 5).set("build.sandbox", "off").start().await;
    let few = ["syntax-error", "memory-bomb", "symlink-output", "endless-output"];
    let faults = FAULTS.iter().filter(|Fault(name, ..)| few.contains(name)).chain(&TIMED_OUT[..1]);
    join_all(faults.map(|fault| assert_fault(&daemon, fault))).await;
    assert_eq!(daemon.status("syntax-error").await["sandbox"], "off");
    assert_background_process_is_gone(&daemon).await;
    assert_nothing_runs(&daemon);
}

#[tokio::test]
async fn without_the_sandbox_each_build_has_a_cache_of_its_own() {
    let daemon = Options::default().set("build.sandbox", "off").start().await;
    daemon.push_fixture("demo", "vanilla");
    let config = "import fs from 'node:fs';
        export default { plugins: [{ name: 'cache', configResolved({ cacheDir }) {
            fs.mkdirSync(cacheDir, { recursive: true });
            fs.writeFileSync(`${cacheDir}/kept`, '');
            console.log(`cache ${cacheDir}`);
        } }] };\n";
    daemon.put("demo", "vite.config.js", config);
    let answer = daemon.sync_and_wait("demo").await;
    assert_eq!(answer["status"], "ready", "{answer:#}");
    let log = daemon.build_log("demo").await;
    let cache = log.lines().find_map(|line| line.split_once("cache /")).expect("a cache").1;
    assert!(std::path::Path::new("/").join(cache).starts_with(daemon.data().join("workers")), "{log}");
    eventually("the cache is gone", async || (!std::path::Path::new("/").join(cache).exists()).then_some(())).await;
    assert!(daemon.halves("demo").is_empty());
}

#[tokio::test]
async fn nothing_of_a_build_goes_on_after_it() {
    let daemon = Options::default().without_warm_workers().start().await;
    assert_background_process_is_gone(&daemon).await;
    assert_nothing_runs(&daemon);
}

async fn assert_background_process_is_gone(daemon: &Daemon) {
    let project = "background-process";
    // A number that no other test's process has; and the log tells that it was started at all.
    let marker = format!("{}", 1_000_000 + daemon.pid());
    daemon.push_fixture(project, project);
    daemon.edit(project, "vite.config.js", "['317']", &format!("['{marker}']"));
    daemon.edit(project, "vite.config.js", ".unref()", ".once('spawn', () => console.log('left behind'))");
    let answer = daemon.sync_and_wait(project).await;
    assert_eq!(processes_with(&format!("sleep {marker}")), [""; 0]);
    assert_eq!(answer["status"], "ready", "{answer:#}");
    assert!(daemon.build_log(project).await.contains("left behind"));
}

#[tokio::test]
async fn a_broken_build_keeps_the_last_good_one_up_and_a_fix_recovers() {
    let daemon = Daemon::start().await;
    let first = daemon.build_fixture("demo", "vanilla").await;
    assert_eq!(first["status"], "ready", "{first:#}");
    let page = daemon.preview("demo", "/").await.text();

    daemon.edit("demo", "main.js", "document", "document.(");
    let broken = daemon.sync_paths("demo", &["main.js"]).await;
    assert_eq!((&broken["status"], &broken["build"]["failure"]["line"]), (&json!("error"), &json!(4)), "{broken:#}");
    let status = daemon.status("demo").await;
    assert_eq!((&status["state"], &status["live"]["revision"], &status["revision"]), (&json!("error"), &json!(1), &json!(2)));
    assert_eq!(daemon.preview("demo", "/").await.text(), page);

    daemon.edit("demo", "main.js", "document.(", "document");
    daemon.edit("demo", "main.js", "vanilla works", "vanilla works again");
    let fixed = daemon.sync_paths("demo", &["main.js"]).await;
    assert_eq!((&fixed["status"], &fixed["build"]["failure"]), (&json!("ready"), &Value::Null), "{fixed:#}");
    assert_eq!(daemon.status("demo").await["state"], "ready");
    assert_ne!(daemon.preview("demo", "/").await.text(), page);
}
