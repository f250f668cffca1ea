//! What a sync takes over: edits, deletions, reconciles, and how syncs of one project line up.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{BUILD_MS, Daemon, Options};

/// A daemon with a static project, built once.
async fn with_site() -> Daemon {
    let daemon = Options::default().cold_store().start().await;
    let first = daemon.build_fixture("demo", "static-html").await;
    assert_eq!((&first["status"], &first["revision"]), (&json!("ready"), &json!(1)), "{first:#}");
    daemon
}

/// What an answer says was done.
fn done(answer: &Value) -> (&Value, &Value, &Value) {
    (&answer["status"], &answer["changes"], &answer["deleted"])
}

#[tokio::test]
async fn an_edit_a_deletion_and_a_rename_are_taken_over_by_name() {
    let daemon = with_site().await;
    daemon.edit("demo", "index.html", "works", "is edited");
    let edit = daemon.sync_paths("demo", &["index.html"]).await;
    assert_eq!(done(&edit), (&json!("ready"), &json!(["index.html"]), &json!([])), "{edit:#}");
    assert!(daemon.preview("demo", "/").await.text().contains("is edited"));

    daemon.put("demo", "contact.html", "<p>moved");
    daemon.remove("demo", "about.html");
    let rename = daemon.sync_paths("demo", &["about.html", "contact.html"]).await;
    assert_eq!(done(&rename), (&json!("ready"), &json!(["contact.html"]), &json!(["about.html"])));
    assert!(!daemon.synced("demo", "about.html").exists());
    assert_eq!(daemon.preview("demo", "/about.html").await.status, 404);

    let nothing = daemon.sync_paths("demo", &["about.html", "index.html", "never-was.html"]).await;
    assert_eq!((done(&nothing), &nothing["revision"]), ((&json!("no_changes"), &json!([]), &json!([])), &json!(3)));
}

#[tokio::test]
async fn a_project_may_have_a_folder_named_like_the_sources() {
    let daemon = with_site().await;
    for (path, text) in [("frontend/page.html", "<p>first"), ("page.html", "<p>at the top")] {
        daemon.put("demo", path, text);
    }
    let both = daemon.sync_paths("demo", &["frontend/page.html"]).await;
    assert_eq!(done(&both), (&json!("ready"), &json!(["frontend/page.html", "page.html"]), &json!([])), "{both:#}");
    daemon.put("demo", "frontend/page.html", "<p>second");
    let own = daemon.sync_paths("demo", &["frontend/page.html"]).await;
    assert_eq!(done(&own), (&json!("ready"), &json!(["frontend/page.html"]), &json!([])), "{own:#}");
    assert!(daemon.preview("demo", "/frontend/page.html").await.text().contains("second"));
    daemon.remove("demo", "frontend/page.html");
    let gone = daemon.sync_paths("demo", &["frontend/page.html"]).await;
    assert_eq!(done(&gone), (&json!("ready"), &json!([]), &json!(["frontend/page.html"])), "{gone:#}");
}

#[tokio::test]
async fn a_reconcile_finds_what_no_webhook_named() {
    let daemon = with_site().await;
    daemon.put("demo", "new/deep/file.html", "<p>new");
    daemon.edit("demo", "style.css", "", "/* edited */ ");
    daemon.remove("demo", "about.html");
    let named = daemon.sync_paths("demo", &["index.html"]).await;
    assert_eq!(named["status"], "no_changes", "only what is named is looked at");
    for body in [json!({ "wait_ms": BUILD_MS }), json!({ "changed_files": [] }), json!({ "changed_files": null })] {
        let answer = daemon.sync("demo", body.clone()).await.json();
        let expected = if body["wait_ms"].is_null() {
            (json!("no_changes"), json!([]), json!([]))
        } else {
            (json!("ready"), json!(["new/deep/file.html", "style.css"]), json!(["about.html"]))
        };
        assert_eq!(done(&answer), (&expected.0, &expected.1, &expected.2), "{body}");
    }
    daemon.remove("demo", "new/deep/file.html");
    let emptied = daemon.sync_and_wait("demo").await;
    assert_eq!(emptied["deleted"], json!(["new/deep/file.html"]));
    assert!(!daemon.synced("demo", "new").exists(), "empty folders go too");
    daemon.put("demo", "unnamed.html", "<p>found");
    let empty_list = daemon.sync("demo", json!({ "changed_files": [] })).await.json();
    assert_eq!(empty_list["changes"], json!(["unnamed.html"]), "no file named is everything");
}

#[tokio::test]
async fn a_project_seen_for_the_first_time_is_reconciled_whatever_is_named() {
    let daemon = Options::default().cold_store().start().await;
    daemon.push_fixture("demo", "static-html");
    let first = daemon.sync_paths("demo", &["style.css"]).await;
    assert_eq!(done(&first), (&json!("ready"), &json!(["about.html", "index.html", "style.css"]), &json!([])), "{first:#}");
    let empty = daemon.sync("nothing-there", json!({ "changed_files": ["a.ts"] })).await.json();
    assert_eq!((&empty["status"], &empty["revision"]), (&json!("no_changes"), &json!(0)));
    assert_eq!(daemon.status("nothing-there").await["state"], "empty");
}

#[tokio::test]
async fn every_form_of_a_changed_file_is_understood() {
    let daemon = with_site().await;
    daemon.edit("demo", "index.html", "works", "edited");
    daemon.edit("demo", "about.html", "<", "<!-- edited --><");
    daemon.edit("demo", "style.css", "", "/* edited */ ");
    let files = json!([
        "frontend/index.html",
        { "path": "frontend/style.css", "type": "frontend" },
        // The source still has it: not a deletion.
        { "path": "about.html", "deleted": true },
        { "path": "api/main.py", "type": "backend" },
        { "path": "../../outside", "type": "backend" },
        { "path": "gone.html", "deleted": true },
    ]);
    let answer = daemon.sync("demo", json!({ "changed_files": files, "wait_ms": BUILD_MS })).await.json();
    assert_eq!(done(&answer), (&json!("ready"), &json!(["about.html", "index.html", "style.css"]), &json!([])), "{answer:#}");
    assert_eq!(answer["ignored"], json!(["api/main.py", "../../outside"]));
    assert!((daemon.metric(r#"previewd_sync_files_total{result="ignored"}"#).await - 2.0).abs() < 0.1);

    daemon.put("demo", "unnamed.html", "x");
    let backend_only = daemon.sync("demo", json!({ "changed_files": [{ "path": "api/main.py", "type": "backend" }] })).await.json();
    assert_eq!(done(&backend_only), (&json!("no_changes"), &json!([]), &json!([])), "nothing of ours was named");
}

#[tokio::test]
async fn the_same_content_with_a_new_etag_is_no_change() {
    let daemon = with_site().await;
    let before = daemon.manifest("demo");
    let text = std::fs::read(daemon.synced("demo", "index.html")).expect("read");
    daemon.put("demo", "index.html", text);
    let answer = daemon.sync_paths("demo", &["index.html"]).await;
    assert_eq!((done(&answer), &answer["revision"]), ((&json!("no_changes"), &json!([]), &json!([])), &json!(1)));
    let after = daemon.manifest("demo");
    assert_eq!(before["index.html"]["sha256"], after["index.html"]["sha256"]);
    assert_ne!(before["index.html"]["etag"], after["index.html"]["etag"], "the new ETag is remembered");
}

#[tokio::test]
async fn sources_are_written_out_before_the_manifest_vouches_for_them() {
    let daemon = Options::default().set("log.level", "warn,previewd::sync=debug,previewd::server=info").cold_store().start().await;
    let written_out = |changes: usize, singly: bool| {
        let line = format!("sources written out changes={changes} singly={singly} ");
        daemon.log().matches(&line).count()
    };
    daemon.build_fixture("demo", "static-html").await;
    assert_eq!(written_out(3, true), 1, "{}", daemon.log());
    daemon.edit("demo", "index.html", "works", "still works");
    daemon.remove("demo", "about.html");
    daemon.sync_paths("demo", &["index.html", "about.html"]).await;
    assert_eq!(written_out(2, true), 1, "{}", daemon.log());
    for n in 0..100 {
        daemon.put("demo", &format!("many/{n}.txt"), n.to_string());
    }
    daemon.sync_and_wait("demo").await;
    assert_eq!(written_out(100, false), 1, "{}", daemon.log());
}

#[tokio::test]
async fn the_manifest_is_as_the_contract_says() {
    let daemon = with_site().await;
    let manifest = daemon.manifest("demo");
    let paths: Vec<_> = manifest.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(paths, ["about.html", "index.html", "style.css"]);
    for path in paths {
        let (entry, content) = (&manifest[&path], std::fs::read(daemon.synced("demo", &path)).expect("read"));
        assert_eq!(entry["sha256"], previewd::domain::ContentHash::of(&content).to_string(), "{path}");
        assert_eq!(entry["size"], content.len());
        assert!(entry["etag"].as_str().is_some_and(|etag| !etag.is_empty()));
        assert_eq!(entry.as_object().map(serde_json::Map::len), Some(3));
    }
}

#[tokio::test]
async fn two_syncs_of_one_project_at_once_line_up() {
    let daemon = with_site().await;
    for round in 0..5 {
        daemon.put("demo", "a.txt", format!("a {round}"));
        daemon.put("demo", "b.txt", format!("b {round}"));
        let body = |path: &str| json!({ "changed_files": [path] });
        let (a, b) = tokio::join!(daemon.sync("demo", body("a.txt")), daemon.sync("demo", body("b.txt")));
        let (a, b) = (a.json(), b.json());
        let revisions = BTreeSet::from([a["revision"].as_u64(), b["revision"].as_u64()]);
        assert_eq!(revisions, BTreeSet::from([Some(2 + 2 * round), Some(3 + 2 * round)]), "{a:#} {b:#}");
        assert_eq!((&a["changes"], &b["changes"]), (&json!(["a.txt"]), &json!(["b.txt"])));
    }
    let bodies = (0..8).map(|_| daemon.sync("demo", json!({})));
    daemon.put("demo", "c.txt", "c");
    let answers: Vec<_> = futures::future::join_all(bodies).await.into_iter().map(|answer| answer.json()).collect();
    assert_eq!(answers.iter().filter(|answer| answer["status"] == "building").count(), 1, "one of them took it over");
    assert!(answers.iter().all(|answer| answer["revision"] == 12), "{answers:?}");
    assert_eq!(daemon.settled("demo").await["live"]["revision"], 12);
}

#[tokio::test]
async fn two_projects_at_once_do_not_wait_for_each_other() {
    let daemon = Options::default().cold_store().start().await;
    daemon.push_fixture("one", "static-html");
    daemon.push_fixture("two", "static-html");
    daemon.edit("two", "index.html", "works", "is two");
    let (one, two) = tokio::join!(daemon.sync_and_wait("one"), daemon.sync_and_wait("two"));
    assert_eq!((&one["status"], &two["status"]), (&json!("ready"), &json!("ready")));
    assert!(daemon.preview("one", "/").await.text().contains("works"));
    assert!(daemon.preview("two", "/").await.text().contains("is two"));
}
