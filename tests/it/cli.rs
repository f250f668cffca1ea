//! The client commands, as people and scripts use them: exit codes, what goes to which stream.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Daemon, Options, files_below, fixture_dir};

/// How a command ended.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs `previewd` beside a daemon, without blocking it.
async fn run(daemon: &Daemon, arguments: &[&str]) -> Ran {
    run_with(daemon, arguments, &[]).await
}

async fn run_with(daemon: &Daemon, arguments: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_previewd"));
    command.args(arguments).env("PREVIEWD__SERVER__DATA_DIR", daemon.data()).envs(env.iter().copied()).stdin(Stdio::null());
    let output = command.output().await.expect("run");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("utf-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A copy of a fixture to edit.
fn copy_of(fixture: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("temp dir");
    let app = dir.path().join("app");
    for file in files_below(&fixture_dir(fixture)) {
        write(&app, &file, &std::fs::read_to_string(fixture_dir(fixture).join(&file)).expect("read"));
    }
    (dir, app)
}

fn write(app: &Path, file: &str, text: &str) {
    let path = app.join(file);
    std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
    std::fs::write(path, text).expect("write");
}

async fn push(daemon: &Daemon, app: &Path) -> Ran {
    run(daemon, &["push", app.to_str().expect("utf-8"), "--project", "demo"]).await
}

#[tokio::test]
async fn push_shows_its_way_and_prints_the_address() {
    let daemon = Daemon::start().await;
    let (_dir, app) = copy_of("vanilla");
    write(&app, "node_modules/junk/index.js", "never");
    write(&app, ".gitignore", "dist\n.env\n");
    write(&app, "dist/old.js", "never");
    write(&app, ".env", "VITE_A=1");
    let first = push(&daemon, &app).await;
    let url = daemon.status("demo").await["preview_url"].as_str().expect("url").to_owned();
    assert_eq!((first.code, first.out.trim()), (Some(0), &*url), "{first:?}");
    assert!(first.err.contains("copied 7 files") && first.err.contains("accepted as revision 1") && first.err.contains("live after"), "{first:?}");
    assert!(!first.err.contains('\u{1b}'), "plain lines, not a terminal: {:?}", first.err);
    let mut expected = files_below(&fixture_dir("vanilla"));
    expected.extend([".env".to_owned(), ".gitignore".to_owned()]);
    expected.sort();
    assert_eq!(files_below(&daemon.project("demo").join("frontend")), expected);

    let again = push(&daemon, &app).await;
    assert_eq!((again.code, again.out.trim()), (Some(0), &*url));
    assert!(again.err.contains("copied 0 files (0 bytes), deleted 0") && again.err.contains("nothing changed"), "{again:?}");

    std::fs::remove_file(app.join("style.css")).expect("remove");
    write(&app, "main.js", "document.body.append('pushed again');");
    let edit = push(&daemon, &app).await;
    assert_eq!(edit.code, Some(0), "{edit:?}");
    assert!(edit.err.contains("copied 1 files") && edit.err.contains("deleted 1") && edit.err.contains("revision 2"), "{edit:?}");
    assert!(!daemon.synced("demo", "style.css").exists());
}

#[tokio::test]
async fn push_of_what_does_not_build_fails_with_the_failure() {
    let daemon = Daemon::start().await;
    let (_dir, app) = copy_of("syntax-error");
    let failed = push(&daemon, &app).await;
    assert_eq!((failed.code, failed.out.as_str()), (Some(1), ""), "{failed:?}");
    assert!(failed.err.contains("the build failed: compile: src/App.tsx:"), "{failed:?}");

    let nowhere = run(&daemon, &["push", "/no/such/folder", "--project", "demo"]).await;
    assert!(nowhere.code == Some(1) && nowhere.err.contains("/no/such/folder is not a folder"), "{nowhere:?}");
    let empty = tempfile::tempdir().expect("temp dir");
    let empty = run(&daemon, &["push", empty.path().to_str().expect("utf-8"), "--project", "demo"]).await;
    assert!(empty.code == Some(1) && empty.err.contains("has no files"), "an empty folder deletes nothing: {empty:?}");
    assert_eq!(daemon.status("demo").await["revision"], 1);
}

#[tokio::test]
async fn status_and_logs_say_what_the_api_says() {
    let daemon = Daemon::start().await;
    daemon.build_fixture("demo", "static-html").await;
    let status = run(&daemon, &["status", "demo"]).await;
    assert_eq!(status.code, Some(0), "{status:?}");
    assert_eq!(serde_json::from_str::<Value>(&status.out).expect("json"), daemon.status("demo").await);
    let log = daemon.build_log("demo").await;
    assert!(log.contains("served as they are"));
    for arguments in [&["logs", "demo"][..], &["logs", "demo", "-f"], &["logs", "demo", "--follow"]] {
        let logs = run(&daemon, arguments).await;
        assert_eq!((logs.code, &logs.out), (Some(0), &log), "{arguments:?}: {logs:?}");
    }
    let unknown = run(&daemon, &["status", "unknown"]).await;
    assert!(unknown.code == Some(1) && unknown.err.contains("unknown_project"), "{unknown:?}");

    // As a client on another machine: only the address and the token are known.
    let (url, elsewhere) = (format!("http://{}/", daemon.http.address), tempfile::tempdir().expect("temp dir"));
    let elsewhere = elsewhere.path().to_str().expect("utf-8");
    let env = [("PREVIEWD__SERVER__DATA_DIR", elsewhere), ("PREVIEWD_URL", &*url), ("PREVIEWD_TOKEN", &*daemon.http.token)];
    assert_eq!(run_with(&daemon, &["status", "demo"], &env).await.code, Some(0));
    let wrong = run_with(&daemon, &["status", "demo"], &[env[0], env[1], ("PREVIEWD_TOKEN", "wrong")]).await;
    assert!(wrong.code == Some(1) && wrong.err.contains("unauthorized"), "{wrong:?}");
    let lost = run_with(&daemon, &["status", "demo"], &[env[0], env[2]]).await;
    assert!(lost.code == Some(1) && lost.err.contains("no daemon runs on"), "{lost:?}");
}

#[tokio::test]
async fn logs_follow_a_build_to_its_end() {
    let daemon = Daemon::start().await;
    daemon.push_fixture("demo", "hanging-build");
    daemon.sync("demo", json!({})).await;
    daemon.until_vite_runs().await;
    let follow = async { run(&daemon, &["logs", "demo", "-f"]).await };
    let end = async {
        // The command has asked: only now may the build end.
        crate::harness::eventually("the follower", async || {
            let asked = daemon.metric(r#"previewd_http_requests_total{method="GET",route="/logs/{id}",status="200"}"#).await;
            (asked > 0.5).then_some(())
        })
        .await;
        daemon.put("demo", "vite.config.js", "export default {};");
        daemon.sync_paths("demo", &["vite.config.js"]).await
    };
    let (followed, fixed) = tokio::join!(follow, end);
    assert_eq!(fixed["status"], "ready");
    assert_eq!(followed.code, Some(0));
    assert!(followed.out.contains("of revision 1") && followed.out.contains("newer revision"), "{followed:?}");
}

#[test]
fn what_is_said_wrong_ends_with_2() {
    let cases: [(&[&str], &str); 11] = [
        (&[], "Usage"),
        (&["fly"], "fly"),
        (&["push"], "--project"),
        (&["push", "."], "--project"),
        (&["push", ".", "--project", "../x"], "a project id is"),
        (&["status"], "PROJECT"),
        (&["logs", "demo", "--build", "x"], "--build"),
        (&["token", "--project", "demo"], "--scope"),
        (&["token", "--project", "demo", "--scope", "all"], "--scope"),
        (&["token", "--project", "demo", "--scope", "read", "--ttl", "soon"], "--ttl"),
        (&["token", "--project", "demo", "--scope", "read"], "auth.webhook_secrets"),
    ];
    let dir = tempfile::tempdir().expect("temp dir");
    let previewd = |arguments: &[&str], secret: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_previewd"));
        command.args(arguments).env("PREVIEWD__SERVER__DATA_DIR", dir.path()).env("PREVIEWD__AUTH__WEBHOOK_SECRETS", secret);
        command.stdin(Stdio::null()).output().expect("run")
    };
    for (arguments, told) in cases {
        let output = previewd(arguments, "");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(told), "{arguments:?}: {text}");
    }
    for ttl in ["0s", "31d", "-1h"] {
        let output = previewd(&["token", "--project", "demo", "--scope", "read", &format!("--ttl={ttl}")], "a-webhook-secret-of-ours");
        assert_eq!(output.status.code(), Some(2), "{ttl}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let good = previewd(&["token", "--project", "demo", "--scope", "read"], "a-webhook-secret-of-ours");
    assert_eq!((good.status.code(), String::from_utf8_lossy(&good.stdout).trim().split('.').count()), (Some(0), 3));
    assert_eq!(previewd(&["--version"], "").status.code(), Some(0));
}

#[tokio::test]
async fn push_reaches_a_daemon_that_others_keep_busy() {
    let daemon = Options::default().cold_store().start().await;
    let (_dir, app) = copy_of("static-html");
    let (one, two) = tokio::join!(push(&daemon, &app), push(&daemon, &app));
    assert_eq!((one.code, two.code), (Some(0), Some(0)), "{one:?} {two:?}");
}
