//! The Azure source in trouble: what passes is tried again unseen, what lasts is told after as many tries as make sense.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use previewd::domain::{ProjectId, SourcePath};
use previewd::source::{Fetched, Source, SourceError};

use crate::harness::azurite::{Container, LATER};
use crate::harness::faults::{Act, Fake, Proxy, answer, blob, trouble};

/// The shortest limit of one request that can be configured.
const QUICK: (&str, &str) = ("PREVIEWD__SOURCE__REQUEST_TIMEOUT_S", "1");

fn demo() -> ProjectId {
    "demo".parse().expect("id")
}

async fn get(source: &Source, max_bytes: u64) -> Result<Vec<u8>, SourceError> {
    let dir = tempfile::tempdir().expect("temp dir");
    let into = dir.path().join("file");
    let name = SourcePath::parse("a.ts").expect("path");
    match source.fetch(&demo(), &name, None, &into, max_bytes).await {
        Ok(Fetched::File(_)) => Ok(std::fs::read(into).expect("read")),
        other => {
            assert!(!into.exists(), "{other:?}");
            Err(other.expect_err("a file or an error"))
        }
    }
}

/// A source on a fake store.
async fn fake(acts: Vec<Act>, overrides: &[(&str, &str)]) -> (Fake, Source) {
    let fake = Fake::start(acts).await;
    let container = Container { name: "apps".to_owned(), endpoint: fake.endpoint.clone() };
    let source = container.source(&container.by_sas(&container.sas("rl", LATER)), overrides);
    (fake, source)
}

fn kind(error: &SourceError) -> &'static str {
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    match error {
        SourceError::Unavailable(_) => "unavailable",
        SourceError::Denied(_) => "denied",
        SourceError::Misconfigured(_) => "misconfigured",
        SourceError::Corrupt { .. } => "corrupt",
        _ => "other",
    }
}

#[tokio::test]
async fn passing_trouble_passes_unseen() {
    let fine = blob("hello", "hello");
    let part = answer("206 Partial Content", &[("etag", "\"0x1\""), ("content-range", "bytes 0-3/10")], "hell");
    let cases = [
        vec![trouble("500 Internal Server Error", "InternalError"), trouble("503 Busy", "ServerBusy"), fine.clone()],
        vec![answer("429 Too Many Requests", &[("retry-after", "1")], ""), fine.clone()],
        vec![Act::Answer(String::new()), fine.clone()],
        vec![blob("hellO", "hello"), fine.clone()],
        vec![Act::Answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\netag: \"1\"\r\n\r\nhel".to_owned()), fine.clone()],
        vec![answer("200 OK", &[], "no etag"), fine.clone()],
        // A part is never taken for the whole.
        vec![part.clone(), part, fine.clone()],
        vec![Act::Hang, fine],
    ];
    let runs = cases.into_iter().enumerate().map(|(case, acts)| async move {
        let expected = acts.len();
        let (fake, source) = fake(acts, &[QUICK]).await;
        assert_eq!(get(&source, 1 << 20).await.expect("fetch"), b"hello", "case {case}");
        assert_eq!(fake.seen(), expected, "case {case}");
    });
    futures::future::join_all(runs).await;
}

#[tokio::test]
async fn lasting_trouble_is_told_after_as_many_attempts_as_make_sense() {
    let body_hangs = "HTTP/1.1 206 OK\r\ncontent-length: 5\r\netag: \"1\"\r\ncontent-range: bytes 0-4/5\r\n\r\nhel";
    let cases = [
        (trouble("500 Internal Server Error", "InternalError"), 4, "unavailable"),
        (trouble("503 Busy", "ServerBusy"), 4, "unavailable"),
        (Act::Hang, 4, "unavailable"),
        (Act::Answer(body_hangs.to_owned()), 4, "unavailable"),
        (blob("hellO", "hello"), 4, "corrupt"),
        (trouble("403 Forbidden", "AuthorizationPermissionMismatch"), 1, "denied"),
        (trouble("401 Unauthorized", "NoAuthenticationInformation"), 1, "denied"),
        (trouble("404 Not Found", "ContainerNotFound"), 1, "misconfigured"),
        // A proxy's own page, or a wrong account: by no means a deletion.
        (answer("404 Not Found", &[], "<html>not here</html>"), 1, "misconfigured"),
        (answer("302 Found", &[("location", "http://example.invalid/login")], ""), 1, "misconfigured"),
    ];
    let runs = cases.into_iter().enumerate().map(|(case, (act, attempts, expected))| async move {
        let (fake, source) = fake(vec![act], &[QUICK]).await;
        let error = get(&source, 1 << 20).await.expect_err("trouble");
        assert_eq!((kind(&error), fake.seen()), (expected, attempts), "case {case}: {error:?}");
    });
    futures::future::join_all(runs).await;

    let (fake, source) = fake(vec![trouble("500 Oops", "InternalError")], &[QUICK]).await;
    assert_eq!(kind(&source.list(&demo(), 1).await.expect_err("list")), "unavailable");
    assert_eq!(fake.seen(), 4);
    assert_eq!(kind(&source.probe().await.expect_err("probe")), "unavailable");
    assert_eq!(fake.seen(), 5, "a probe asks once");
}

#[tokio::test]
async fn no_more_requests_than_allowed_are_under_way() {
    let limits = [QUICK, ("PREVIEWD__SYNC__CONCURRENCY", "3"), ("PREVIEWD__SOURCE__ATTEMPTS", "1")];
    let (fake, source) = fake(vec![Act::Hang], &limits).await;
    let start = Instant::now();
    let answers = futures::future::join_all((0..6).map(|_| get(&source, 1))).await;
    assert!(answers.iter().all(Result::is_err) && fake.seen() == 6);
    assert!(start.elapsed() >= Duration::from_secs(2), "two rounds of three: {:?}", start.elapsed());
}

#[tokio::test]
async fn a_body_longer_than_it_said_is_cut_at_the_limit() {
    let endless = format!("HTTP/1.1 200 OK\r\netag: \"1\"\r\nconnection: close\r\n\r\n{}", "x".repeat(100_000));
    let (_fake, source) = fake(vec![Act::Answer(endless)], &[]).await;
    let error = get(&source, 5000).await.expect_err("too large");
    assert!(matches!(error, SourceError::TooLarge { limit: 5000, .. }), "{error:?}");
}

#[tokio::test]
async fn a_refused_connection_is_told_quickly() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let container = Container { name: "apps".to_owned(), endpoint: format!("http://{free}/devstoreaccount1") };
    let source = container.source(&container.by_key(), &[]);
    let start = Instant::now();
    let error = get(&source, 1).await.expect_err("refused");
    assert!(matches!(&error, SourceError::Unavailable(text) if text.contains("refused")), "{error:?}");
    // Far below any time limit, and far above what a busy machine makes of it.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_fetched_again_as_a_whole() {
    let container = Container::create().await;
    let content = vec![7; 3 << 20];
    container.put("demo", "a.ts", content.clone()).await;
    for (broken, connections) in [(2, 3), (usize::MAX, 4)] {
        let proxy = Proxy::start(broken, 1 << 20).await;
        let through = container.through(&proxy.endpoint);
        let got = get(&through.source(&through.by_key(), &[]), 64 << 20).await;
        match &got {
            Ok(got) => assert!(*got == content && broken == 2),
            Err(error) => assert!(kind(error) == "unavailable" && broken > 2, "{error:?}"),
        }
        assert_eq!(proxy.connections(), connections);
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let container = Container::create().await;
    container.put("demo", "a.ts", "x").await;
    let proxy = Proxy::start(0, 0).await;
    let through = container.through(&proxy.endpoint);
    let source = through.source(&through.by_key(), &[]);
    let gets = stream::iter(0..200).map(|_| get(&source, 10)).buffer_unordered(4);
    gets.for_each(|got| async move { assert_eq!(got.expect("get"), b"x") }).await;
    // A few more than 4: a connection is back in the pool a moment after its answer is read.
    assert!(proxy.connections() <= 50, "{} connections for 200 requests, 4 at once", proxy.connections());
}
