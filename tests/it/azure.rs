//! The daemon on Azure Blob Storage: real syncs from Azurite, and what callers are told when the store is in trouble.

use serde_json::json;

use crate::harness::azurite::{Container, KEY, LATER};
use crate::harness::faults::{Act, Fake, Proxy, blob, trouble};
use crate::harness::http::Answer;
use crate::harness::{BUILD_MS, Daemon, Options, fixture_dir};

/// More than one page of a listing (5,000).
const MANY: usize = 6_000;

/// The daemon said and logged nothing that lets anybody in.
fn assert_no_secrets(daemon: &Daemon, answers: &[&Answer]) {
    let answers: String = answers.iter().map(|answer| answer.text()).collect();
    let told = (daemon.log() + &answers).replace("sig=[redacted]", "");
    for secret in ["sig=", "SharedKey devstore", "AccountKey", &KEY[..20], "hunter2"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

#[tokio::test]
async fn thousands_of_blobs_are_reconciled_at_first_sight() {
    let container = Container::create().await;
    let page = |n: usize| (format!("pages/{n}.html"), format!("<p>page {n}").into_bytes());
    container.put_all("demo", (1..MANY).map(page).chain([("index.html".to_owned(), b"<h1>many".to_vec())])).await;
    let daemon = container.options(container.by_key()).cold_store().start().await;

    let answer = daemon.sync("demo", json!({ "changed_files": ["index.html"], "wait_ms": BUILD_MS })).await.json();
    assert_eq!(answer["changes"].as_array().map(Vec::len), Some(MANY), "although one was named");
    let status = daemon.settled("demo").await;
    assert_eq!((&status["state"], &status["live"]["revision"]), (&json!("ready"), &json!(1)), "{status:#}");
    assert_eq!(daemon.preview("demo", "/pages/5999.html").await.app_text(), "<p>page 5999");
    assert_eq!(daemon.manifest("demo").as_object().map(serde_json::Map::len), Some(MANY));

    let again = daemon.sync("demo", json!({})).await.json();
    assert_eq!((&again["status"], &again["changes"]), (&json!("no_changes"), &json!([])));
}

#[tokio::test]
async fn edits_and_deletions_arrive_and_what_is_unchanged_costs_no_body() {
    let container = Container::create().await;
    container.push_fixture("demo", "static-html").await;
    container.put("demo", "big.bin", vec![7; 1 << 20]).await;
    container.put("demo", "empty.txt", "").await;
    let proxy = Proxy::start(0, 0).await;
    let daemon = container.through(&proxy.endpoint).options(container.through(&proxy.endpoint).by_key()).cold_store().start().await;
    let first = daemon.sync_and_wait("demo").await;
    assert_eq!((&first["status"], &first["revision"]), (&json!("ready"), &json!(1)), "{first:#}");
    assert_eq!(daemon.preview("demo", "/empty.txt").await.body, b"");
    assert!(proxy.answered() > 1 << 20);

    let before = proxy.answered();
    let unchanged = daemon.sync("demo", json!({ "changed_files": ["big.bin", "empty.txt", "index.html"] })).await.json();
    assert_eq!(unchanged["status"], "no_changes");
    assert!(proxy.answered() - before < 10_000, "three 304s took {} bytes", proxy.answered() - before);
    assert!((daemon.metric(r#"previewd_source_requests_total{op="get",result="unchanged"}"#).await - 3.0).abs() < 0.1);

    container.put("demo", "index.html", "<h1>second").await;
    container.remove("demo", "about.html").await;
    let edit = daemon.sync_paths("demo", &["index.html", "about.html", "big.bin"]).await;
    assert_eq!((&edit["changes"], &edit["deleted"]), (&json!(["index.html"]), &json!(["about.html"])), "{edit:#}");
    assert_eq!(daemon.preview("demo", "/").await.app_text(), "<h1>second");
    assert_eq!(daemon.preview("demo", "/about.html").await.status, 404);

    // The same content again has a new ETag and is no change.
    container.put("demo", "index.html", "<h1>second").await;
    container.remove("demo", "big.bin").await;
    container.put("demo", "big.bin", vec![7; 1 << 20]).await;
    assert_eq!(daemon.sync("demo", json!({})).await.json()["status"], "no_changes");
    assert_no_secrets(&daemon, &[]);
}

#[tokio::test]
async fn a_sas_of_a_container_is_enough() {
    let container = Container::create().await;
    let names = ["index.html", "a b.txt", "ünï/日本.css", "100%.md", "a#b+c?d.ts", ".env", ".a/.b", "%2e%2e", "empty"];
    container.put_all("demo", names.iter().map(|name| ((*name).to_owned(), name.replace("empty", "").into_bytes()))).await;
    let daemon = container.options(container.by_sas(&container.sas("rl", LATER))).cold_store().start().await;
    let answer = daemon.sync_and_wait("demo").await;
    assert_eq!(answer["status"], "ready", "{answer:#}");
    for name in names {
        assert_eq!(std::fs::read_to_string(daemon.synced("demo", name)).expect(name), name.replace("empty", ""));
    }
    assert_eq!(daemon.sync("demo", json!({ "changed_files": names })).await.json()["status"], "no_changes");
    let health = daemon.http.get("/health").await.json();
    assert_eq!(health["checks"]["source"]["ok"], true, "{health:#}");
    assert_no_secrets(&daemon, &[]);
}

#[tokio::test]
async fn wrong_keys_and_missing_containers_are_told_apart() {
    let container = Container::create().await;
    container.push_fixture("demo", "static-html").await;
    let daemon = container.options(container.by_this_key(&format!("hunter2{}", &KEY[7..]))).cold_store().start().await;
    let denied = daemon.sync("demo", json!({})).await;
    assert_eq!(denied.problem(), (502, "source_denied".to_owned()));
    let health = daemon.http.get("/health").await;
    assert_eq!((health.status, &health.json()["checks"]["source"]["ok"]), (503, &json!(false)));
    assert_no_secrets(&daemon, &[&denied, &health]);

    let nowhere = Container { name: "nowhere".to_owned(), ..container };
    let daemon = nowhere.options(nowhere.by_key()).cold_store().start().await;
    let missing = daemon.sync("demo", json!({})).await;
    assert_eq!(missing.problem(), (502, "source_misconfigured".to_owned()));
    let named = daemon.sync("demo", json!({ "changed_files": ["index.html"] })).await;
    assert_eq!(named.problem().1, "source_misconfigured", "never a deletion");
    assert_no_secrets(&daemon, &[&missing, &named]);
}

#[tokio::test]
async fn a_broken_connection_is_not_noticed_by_who_waits() {
    let container = Container::create().await;
    container.put("demo", "index.html", "<h1>whole").await;
    container.put("demo", "big.bin", vec![7; 3 << 20]).await;
    // Each of the first connections breaks in the middle of the big file, or later.
    let proxy = Proxy::start(2, 1 << 20).await;
    let through = container.through(&proxy.endpoint);
    let daemon = through.options(through.by_key()).cold_store().start().await;
    let answer = daemon.sync_and_wait("demo").await;
    assert_eq!(answer["status"], "ready", "{answer:#}");
    assert_eq!(std::fs::metadata(daemon.synced("demo", "big.bin")).expect("file").len(), 3 << 20);
    assert!(proxy.connections() >= 2);
}

#[tokio::test]
async fn lasting_trouble_is_told_and_changes_nothing() {
    let container = Container::create().await;
    let cases = [
        (trouble("500 Internal Server Error", "InternalError"), 503, "source_unavailable"),
        (Act::Hang, 503, "source_unavailable"),
        (blob("hellO", "hello"), 502, "source_corrupt"),
        (trouble("403 Forbidden", "AuthorizationFailure"), 502, "source_denied"),
    ];
    for (act, status, code) in cases {
        let fake = Fake::listing(vec![act]).await;
        let through = container.through(&fake.endpoint);
        let options = through.options(through.by_sas(&container.sas("rl", LATER))).set("source.request_timeout_s", 1).set("source.attempts", 2);
        let daemon = options.cold_store().start().await;
        let answer = daemon.sync("demo", json!({})).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{}", answer.text());
        assert_eq!(!answer.header("retry-after").is_empty(), status == 503, "{:?}", answer.headers);
        assert_eq!(daemon.http.get("/status/demo").await.status, 404, "{code}: nothing was accepted");
        assert!(!daemon.synced("demo", "index.html").exists() && daemon.halves("demo").is_empty(), "{code}: {:?}", daemon.halves("demo"));
        assert_no_secrets(&daemon, &[&answer]);
    }
}

#[tokio::test]
async fn a_refused_connection_is_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let container = Container::create().await.through(&format!("http://{free}/devstoreaccount1"));
    let daemon = container.options(container.by_key()).cold_store().start().await;
    let answer = daemon.sync("demo", json!({})).await;
    assert_eq!(answer.problem(), (503, "source_unavailable".to_owned()));
    assert!(!answer.header("retry-after").is_empty());
    assert_no_secrets(&daemon, &[&answer]);
}

#[tokio::test]
async fn a_whole_container_as_the_source_is_healthy_and_push_makes_it() {
    let any = Container::create().await;
    let url = format!("azure://made-by-push-{:08x}", rand::random::<u32>());
    let env = any.by_key();
    let options = env.iter().fold(Options::default().set("source.url", &url), |options, (name, value)| options.env(name, value));
    let daemon = options.cold_store().start().await;
    let pushed = std::process::Command::new(env!("CARGO_BIN_EXE_previewd"))
        .args(["push", fixture_dir("static-html").to_str().expect("utf-8"), "--project", "demo"])
        .env("PREVIEWD__SOURCE__URL", &url)
        .env("PREVIEWD__SERVER__DATA_DIR", daemon.data())
        .envs(env)
        .output()
        .expect("push");
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    assert_eq!(daemon.http.get("/health").await.json()["checks"]["source"]["ok"], true);
}
