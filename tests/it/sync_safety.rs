//! What a sync refuses, where it does not follow, and how it heals what a crash or a stranger left.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::harness::{Daemon, Options, eventually, files_below};

async fn with_site(options: Options) -> Daemon {
    let daemon = options.cold_store().start().await;
    let first = daemon.build_fixture("demo", "static-html").await;
    assert_eq!((&first["status"], &first["revision"]), (&json!("ready"), &json!(1)), "{first:#}");
    daemon
}

#[tokio::test]
async fn paths_that_could_lead_out_are_refused() {
    let daemon = with_site(Options::default()).await;
    let long = "a".repeat(2000);
    let bad = [
        "",
        "..",
        "../x",
        "a/../../x",
        "frontend/../x",
        "a/./b",
        "./a",
        "a//b",
        "a/",
        "/etc/passwd",
        "frontend//etc/passwd",
        "a\\b",
        "..\\x",
        "a\0b",
        "a\nb",
        "node_modules/x.js",
        "a/node_modules/x.js",
        &long,
    ];
    for path in bad {
        for file in [json!(path), json!({ "path": path }), json!({ "path": path, "deleted": true })] {
            let answer = daemon.sync("demo", json!({ "changed_files": ["index.html", file] })).await;
            assert_eq!(answer.problem(), (400, "invalid_path".to_owned()), "{path:?}");
        }
    }
    for path in ["..a", "...", "a..b/c", "%2e%2e/x", "C:/x", "~/x", " "] {
        let answer = daemon.sync("demo", json!({ "changed_files": [path] })).await;
        assert_eq!(answer.json()["status"], "no_changes", "{path:?} is only an odd name");
    }
}

#[tokio::test]
async fn symlinks_in_the_source_are_neither_followed_nor_an_error() {
    let daemon = Options::default().cold_store().start().await;
    daemon.push_fixture("demo", "static-html");
    let (secret, frontend) = (daemon.dir.path().join("secret"), daemon.data().join("source/demo/frontend"));
    fs::create_dir(&secret).expect("mkdir");
    fs::write(secret.join("key.txt"), "hunter2").expect("write");
    symlink(secret.join("key.txt"), frontend.join("file.txt")).expect("link");
    symlink(&secret, frontend.join("folder")).expect("link");
    symlink("nowhere", frontend.join("dangling")).expect("link");
    symlink(".", frontend.join("loop")).expect("link");

    let first = daemon.sync_and_wait("demo").await;
    assert_eq!((&first["status"], &first["changes"]), (&json!("ready"), &json!(["about.html", "index.html", "style.css"])), "{first:#}");
    assert_eq!(first["ignored"].as_array().map(Vec::len), Some(4), "{first:#}");
    let named = daemon.sync_paths("demo", &["file.txt", "folder/key.txt", "dangling", "loop/index.html"]).await;
    assert_eq!(named["status"], "no_changes", "{named:#}");
    assert_eq!(files_below(&daemon.project("demo").join("frontend")), ["about.html", "index.html", "style.css"]);

    // A file that turns into a link is gone.
    daemon.remove("demo", "about.html");
    symlink(secret.join("key.txt"), frontend.join("about.html")).expect("link");
    let turned = daemon.sync_paths("demo", &["about.html"]).await;
    assert_eq!(turned["deleted"], json!(["about.html"]));
}

#[tokio::test]
async fn a_source_that_vanishes_deletes_nothing() {
    let daemon = with_site(Options::default()).await;
    let (source, aside) = (daemon.data().join("source"), daemon.dir.path().join("unmounted"));
    fs::rename(&source, &aside).expect("rename");
    for _ in ["gone", "an empty mount point"] {
        for body in [json!({}), json!({ "changed_files": ["index.html"] }), json!({ "changed_files": [{ "path": "style.css", "deleted": true }] })] {
            assert_eq!(daemon.sync("demo", body.clone()).await.problem(), (503, "source_unavailable".to_owned()), "{body}");
        }
        assert_eq!(daemon.http.post("/build/demo", &json!({ "clean": true })).await.problem().0, 503);
        assert_eq!(files_below(&daemon.project("demo").join("frontend")), ["about.html", "index.html", "style.css"]);
        fs::create_dir_all(&source).expect("mkdir");
    }
    fs::remove_dir(&source).expect("remove");
    fs::rename(&aside, &source).expect("rename");
    // A busy machine may take a moment to look again.
    let back = eventually("the source is back", async || Some(daemon.sync_and_wait("demo").await).filter(|answer| answer["status"] != 503)).await;
    assert_eq!(back["status"], "no_changes");

    // The root is there and the project is not: it was deleted. One behind a link was never there.
    fs::rename(source.join("demo"), daemon.dir.path().join("elsewhere")).expect("rename");
    symlink(daemon.dir.path().join("elsewhere"), source.join("demo")).expect("link");
    let gone = daemon.sync("demo", json!({})).await.json();
    assert_eq!((&gone["status"], &gone["deleted"]), (&json!("building"), &json!(["about.html", "index.html", "style.css"])), "{gone:#}");
}

#[tokio::test]
async fn symlinks_among_the_synced_files_are_not_written_through() {
    let daemon = with_site(Options::default()).await;
    let outside = daemon.dir.path().join("outside");
    fs::create_dir(&outside).expect("mkdir");
    for name in ["a.txt", "gone.txt"] {
        fs::write(outside.join(name), "untouched").expect("write");
    }
    daemon.put("demo", "folder/a.txt", "ours");
    daemon.put("demo", "folder/gone.txt", "ours");
    daemon.sync_and_wait("demo").await;

    // As an attacker with a hand in the folder would: a folder, and a file, that lead elsewhere.
    fs::remove_dir_all(daemon.synced("demo", "folder")).expect("remove");
    symlink(&outside, daemon.synced("demo", "folder")).expect("link");
    fs::remove_file(daemon.synced("demo", "style.css")).expect("remove");
    symlink(outside.join("a.txt"), daemon.synced("demo", "style.css")).expect("link");
    daemon.put("demo", "folder/a.txt", "ours, edited");
    daemon.put("demo", "style.css", "/* edited */");
    daemon.remove("demo", "folder/gone.txt");
    let answer = daemon.sync_paths("demo", &["folder/a.txt", "folder/gone.txt", "style.css"]).await;
    assert_eq!(answer["status"], "ready", "{answer:#}");
    for name in ["a.txt", "gone.txt"] {
        assert_eq!(fs::read_to_string(outside.join(name)).expect("read"), "untouched");
    }
    assert_eq!(fs::read_to_string(daemon.synced("demo", "folder/a.txt")).expect("read"), "ours, edited");

    // The whole folder.
    fs::remove_dir_all(daemon.project("demo").join("frontend")).expect("remove");
    symlink(&outside, daemon.project("demo").join("frontend")).expect("link");
    daemon.put("demo", "a.txt", "ours");
    let answer = daemon.sync_paths("demo", &["a.txt"]).await;
    assert_eq!(answer["status"], "ready", "{answer:#}");
    assert_eq!(fs::read_to_string(outside.join("a.txt")).expect("read"), "untouched");
    assert!(daemon.preview("demo", "/").await.text().contains("static-html works"), "what was missing is there again");
}

/// A code, the files that lead to it with their sizes, and what the answer says: the key, and a detail.
type Case<'a> = (&'a str, &'a [(&'a str, usize)], &'a str, &'a str);

#[tokio::test]
async fn limits_are_told_by_the_name_of_their_key() {
    let options = Options::default().set("sync.max_files", 5).set("sync.max_file_mb", 1).set("sync.max_project_mb", 2);
    let daemon = with_site(options).await;
    let mb = 1024 * 1024;
    let cases: [Case<'_>; 3] = [
        ("file_too_large", &[("a.bin", mb + 1)], "sync.max_file_mb", "a.bin"),
        ("too_many_files", &[("a", 1), ("b", 1), ("c", 1)], "sync.max_files", "5"),
        ("project_too_large", &[("a.bin", mb), ("b.bin", mb)], "sync.max_project_mb", "2097152"),
    ];
    for (code, files, key, detail) in cases {
        for (name, size) in files {
            daemon.put("demo", name, vec![7; *size]);
        }
        let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
        for body in [json!({ "changed_files": names }), json!({})] {
            let answer = daemon.sync("demo", body).await;
            assert_eq!(answer.problem(), (422, code.to_owned()));
            let told = answer.json()["detail"].as_str().expect("detail").to_owned();
            assert!(told.contains(key) && told.contains(detail), "{told}");
        }
        assert_eq!(daemon.status("demo").await["revision"], 1, "nothing of it was taken over");
        assert_eq!(files_below(&daemon.project("demo").join("frontend")), ["about.html", "index.html", "style.css"]);
        assert!(!daemon.project("demo").join(".incoming").exists(), "and nothing is left of it");
        for name in names {
            daemon.remove("demo", name);
        }
    }
    // Exactly at the limit is within it.
    daemon.put("demo", "a.bin", vec![7; mb]);
    daemon.put("demo", "b", "b");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
}

#[tokio::test]
async fn files_become_folders_and_folders_files() {
    let daemon = with_site(Options::default()).await;
    daemon.put("demo", "thing", "a file");
    daemon.sync_and_wait("demo").await;
    daemon.remove("demo", "thing");
    daemon.put("demo", "thing/inner.txt", "a folder now");
    // Only the new file is named; that the old one is gone follows from it.
    let answer = daemon.sync_paths("demo", &["thing/inner.txt"]).await;
    assert_eq!((&answer["changes"], &answer["deleted"]), (&json!(["thing/inner.txt"]), &json!(["thing"])), "{answer:#}");
    daemon.remove("demo", "thing/inner.txt");
    fs::remove_dir(daemon.data().join("source/demo/frontend/thing")).expect("remove");
    daemon.put("demo", "thing", "a file again");
    let answer = daemon.sync_paths("demo", &["thing"]).await;
    assert_eq!((&answer["status"], &answer["changes"], &answer["deleted"]), (&json!("ready"), &json!(["thing"]), &json!(["thing/inner.txt"])));
    assert_eq!(daemon.preview("demo", "/thing").await.text(), "a file again");
}

#[tokio::test]
async fn a_damaged_manifest_and_an_interrupted_sync_heal() {
    let daemon = with_site(Options::default()).await;
    let (manifest, intent) = (daemon.project("demo").join(".file-hashes.json"), daemon.project("demo").join(".sync-intent"));
    // A file that is only just written has a tag of its own kind, which never matches; hashes and sizes are the same.
    let contents = || {
        daemon
            .manifest("demo")
            .as_object()
            .expect("object")
            .iter()
            .map(|(path, e)| format!("{path} {} {}", e["sha256"], e["size"]))
            .collect::<Vec<_>>()
    };
    let good = contents();
    let damages: [(&str, &dyn Fn()); 5] = [
        ("cut off", &|| fs::write(&manifest, "{\"index.html\": {\"sha").expect("write")),
        ("empty", &|| fs::write(&manifest, "").expect("write")),
        ("missing", &|| fs::remove_file(&manifest).expect("remove")),
        ("a path that leads out", &|| fs::write(&manifest, r#"{"../x":{"sha256":"00","etag":"1","size":1}}"#).expect("write")),
        ("an intent", &|| {
            fs::write(&intent, "").expect("write");
            fs::write(daemon.synced("demo", "index.html"), "half").expect("write");
            fs::write(daemon.synced("demo", "stray.html"), "not in the source").expect("write");
        }),
    ];
    for (what, damage) in damages {
        damage();
        let answer = daemon.sync_paths("demo", &["index.html"]).await;
        assert_eq!((&answer["status"], &answer["revision"]), (&json!("no_changes"), &json!(1)), "{what}: {answer:#}");
        assert_eq!((&answer["changes"], &answer["deleted"]), (&json!([]), &json!([])), "{what}");
        assert_eq!(contents(), good, "{what}");
        assert!(!intent.exists() && !daemon.synced("demo", "stray.html").exists());
        assert!(fs::read_to_string(daemon.synced("demo", "index.html")).expect("read").contains("static-html works"), "{what}");
    }
}
