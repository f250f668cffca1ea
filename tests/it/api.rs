//! The contract of the API: answers, errors, authentication.

use serde_json::json;

use crate::harness::Daemon;

#[tokio::test]
async fn first_build_no_change_one_edit() {
    let daemon = Daemon::start().await;
    let first = daemon.build_fixture("demo", "vanilla").await;
    assert_eq!((&first["status"], &first["revision"]), (&json!("ready"), &json!(1)), "{first:#}");
    assert_eq!(daemon.preview("demo", "/").await.status, 200);

    let again = daemon.sync("demo", json!({})).await;
    assert_eq!((again.status, &again.json()["status"]), (200, &json!("no_changes")));

    daemon.edit("demo", "main.js", "works", "really works");
    let edit = daemon.sync_paths("demo", &["main.js"]).await;
    assert_eq!((&edit["status"], &edit["revision"], &edit["changes"]), (&json!("ready"), &json!(2), &json!(["main.js"])), "{edit:#}");
}
