//! The circuit breaker towards the source: it opens, fails fast, probes, and closes again; metrics and health say so.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::azurite::{Container, LATER};
use crate::harness::faults::{Act, Fake, blob, trouble};
use crate::harness::http::Answer;
use crate::harness::{Daemon, Options, eventually, files_below};

/// Calls in a row that open it.
const OPENS_AFTER: usize = 5;
/// Longer than a call that goes nowhere waits for a probe, and much shorter than one that goes to the source and is tried again.
const FAST: Duration = Duration::from_millis(900);

fn on(fake: &Fake) -> Options {
    let container = Container { name: "apps".to_owned(), endpoint: fake.endpoint.clone() };
    let options = container.options(container.by_sas(&container.sas("rl", LATER)));
    options.set("source.request_timeout_s", 1).set("source.attempts", 2).cold_store()
}

/// A daemon on a store that is well, with one project synced from it.
async fn with_store() -> (Fake, Daemon) {
    let fake = Fake::listing(vec![blob("<h1>1", "<h1>1")]).await;
    let daemon = on(&fake).start().await;
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    (fake, daemon)
}

async fn circuit(daemon: &Daemon) -> i64 {
    let text = daemon.http.get("/metrics").await.text();
    let value = text.lines().find_map(|line| line.strip_prefix("previewd_source_circuit_state ")).expect("the metric");
    value.parse().expect("a number")
}

async fn source_check(daemon: &Daemon) -> (u16, Value) {
    let health = daemon.http.get("/health").await;
    (health.status, health.json()["checks"]["source"].clone())
}

/// A sync that is refused because the source is not there; the seconds that it tells to wait.
fn refused(answer: &Answer) -> u64 {
    assert_eq!(answer.problem(), (503, "source_unavailable".to_owned()), "{}", answer.text());
    answer.header("retry-after").parse().expect("seconds")
}

fn is_resting(answer: &Answer) -> bool {
    answer.json()["detail"].as_str().expect("detail").contains("asked again in")
}

/// Syncs that each go to the source and fail there, until it is open.
async fn open(daemon: &Daemon) {
    for n in 0..OPENS_AFTER {
        assert_eq!(circuit(daemon).await, 0, "after {n} failures");
        let answer = daemon.sync("demo", json!({})).await;
        refused(&answer);
        assert!(!is_resting(&answer), "{}", answer.text());
    }
    assert_ne!(circuit(daemon).await, 0);
}

#[tokio::test]
async fn a_store_that_is_gone_is_left_alone_probed_and_taken_up_again() {
    let (fake, daemon) = with_store().await;
    let (status, check) = source_check(&daemon).await;
    assert_eq!((status, &check["circuit"], &check["ok"]), (200, &json!("closed"), &json!(true)), "{check}");
    let closed_since = check["since"].as_str().expect("a time").to_owned();

    fake.outage(Some(trouble("503 Busy", "ServerBusy")));
    open(&daemon).await;
    // Pauses grow: after a few probes there is time to look without one.
    let before = eventually("a pause of more than two seconds", async || {
        let answer = daemon.sync("demo", json!({})).await;
        (refused(&answer) > 2).then(|| fake.arrived())
    })
    .await;
    let (begun, status) = (Instant::now(), circuit(&daemon).await);
    let answers = join_all((0..20).map(|n| {
        let daemon = &daemon;
        async move { (daemon.sync(&format!("p{n}"), json!({})).await, daemon.http.post("/build/demo", &json!({})).await) }
    }))
    .await;
    assert!(begun.elapsed() < FAST, "40 calls took {:?}", begun.elapsed());
    assert_eq!((fake.arrived(), status), (before, 2), "nothing reaches a source that is left alone");
    for (sync, build) in &answers {
        for answer in [sync, build] {
            assert!(is_resting(answer), "{}", answer.text());
            let told = refused(answer);
            let detail = answer.json()["detail"].as_str().expect("detail").to_owned();
            assert!((1..=30).contains(&told) && detail.contains(&format!("asked again in {told} s")), "{told}: {detail}");
            assert!(!detail.contains("hunter2"), "{detail}");
        }
    }
    // Health asks nothing either, and says so.
    let (status, check) = source_check(&daemon).await;
    assert_eq!((status, &check["circuit"], &check["ok"]), (503, &json!("open"), &json!(false)), "{check}");
    let open_since = check["since"].as_str().expect("a time").to_owned();
    assert!(open_since > closed_since && check["detail"].as_str().is_some_and(|text| text.contains("503")), "{check}");
    assert_eq!(fake.arrived(), before);
    assert_eq!(daemon.preview("demo", "/").await.status, 200, "the preview stays up");

    // One probe, of one request, at the end of the pause; nobody called meanwhile.
    eventually("a probe", async || (fake.arrived() > before).then_some(())).await;
    fake.outage(None);
    eventually("closed", async || (circuit(&daemon).await == 0).then_some(())).await;
    let (status, check) = source_check(&daemon).await;
    assert_eq!((status, &check["circuit"], &check["detail"]), (200, &json!("closed"), &json!("reachable")), "{check}");
    assert!(check["since"].as_str().is_some_and(|since| *since > *open_since), "{check}");
    assert_eq!(daemon.sync("demo", json!({})).await.json()["status"], "no_changes");
}

#[tokio::test]
async fn a_probe_is_one_request_and_calls_do_not_add_to_it() {
    let (fake, daemon) = with_store().await;
    fake.outage(Some(trouble("500 Oops", "InternalError")));
    open(&daemon).await;
    // Whoever it lets in now hangs: the circuit stays half-open for as long as the probe is under way.
    fake.outage(Some(Act::Hang));
    let before = fake.arrived();
    eventually("half-open", async || (circuit(&daemon).await == 1).then_some(())).await;
    let begun = Instant::now();
    let answers = join_all((0..10).map(|_| daemon.sync("demo", json!({})))).await;
    assert!(answers.iter().all(|answer| refused(answer) >= 1 && is_resting(answer)) && begun.elapsed() < FAST, "{:?}", begun.elapsed());
    assert!(fake.arrived() <= before + 1, "{} requests", fake.arrived() - before);
    let (status, check) = source_check(&daemon).await;
    assert_eq!(status, 503, "{check}");
}

#[tokio::test]
async fn a_slow_store_opens_it_too_and_slow_answers_do_not() {
    let (fake, daemon) = with_store().await;
    fake.outage(Some(Act::Hang));
    let begun = Instant::now();
    let answers = join_all((0..OPENS_AFTER).map(|n| {
        let daemon = &daemon;
        async move { daemon.sync(&format!("p{n}"), json!({})).await }
    }))
    .await;
    assert!(answers.iter().all(|answer| !is_resting(answer)) && begun.elapsed() > Duration::from_secs(2), "each went the whole way");
    assert_ne!(circuit(&daemon).await, 0);
    let (begun, answer) = (Instant::now(), daemon.sync("demo", json!({})).await);
    assert!(is_resting(&answer) && begun.elapsed() < FAST, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_the_store_refuses_of_one_project_never_opens_it() {
    let (fake, daemon) = with_store().await;
    for (status, code, expected) in
        [("403 Forbidden", "AuthorizationPermissionMismatch", "source_denied"), ("404 Not Found", "ContainerNotFound", "source_misconfigured")]
    {
        fake.outage(Some(trouble(status, code)));
        for _ in 0..2 * OPENS_AFTER {
            assert_eq!(daemon.sync("demo", json!({})).await.problem(), (502, expected.to_owned()));
        }
    }
    fake.outage(Some(trouble("404 Not Found", "BlobNotFound")));
    for _ in 0..2 * OPENS_AFTER {
        assert_eq!(daemon.sync("demo", json!({ "changed_files": ["no.such"] })).await.json()["status"], "no_changes");
    }
    // Failures, but never enough of them in a row.
    for _ in 0..3 {
        fake.outage(Some(trouble("503 Busy", "ServerBusy")));
        for _ in 1..OPENS_AFTER {
            refused(&daemon.sync("demo", json!({})).await);
        }
        fake.outage(None);
        assert_eq!(daemon.sync("demo", json!({})).await.json()["status"], "no_changes");
    }
    assert_eq!(circuit(&daemon).await, 0);
}

#[tokio::test]
async fn a_directory_that_is_mounted_again_is_noticed_at_once() {
    let daemon = Options::default().cold_store().start().await;
    daemon.build_fixture("demo", "static-html").await;
    let (source, aside) = (daemon.data().join("source"), daemon.dir.path().join("unmounted"));
    for _ in 0..3 {
        std::fs::rename(&source, &aside).expect("rename");
        open(&daemon).await;
        for _ in 0..5 {
            let begun = Instant::now();
            assert_eq!(refused(&daemon.sync("demo", json!({})).await), 1);
            assert!(begun.elapsed() < FAST, "{:?}", begun.elapsed());
        }
        assert_eq!(source_check(&daemon).await.0, 503);
        assert_eq!(files_below(&daemon.project("demo").join("frontend")), ["about.html", "index.html", "style.css"]);
        std::fs::rename(&aside, &source).expect("rename");
        // No second try, no pause: the next call is the one that must go through.
        assert_eq!(daemon.sync("demo", json!({})).await.json()["status"], "no_changes");
        assert_eq!((circuit(&daemon).await, source_check(&daemon).await.0), (0, 200));
    }
}
