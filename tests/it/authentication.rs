//! Who may call what: tokens, signatures, short-lived tokens, and what needs none.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use sha2::Sha256;

use crate::harness::http::{Answer, Http};
use crate::harness::{Daemon, Options};

const TOKEN: &str = "a-token-of-our-own";
const SECRET: &str = "a-webhook-secret-of-ours";
const OLD_SECRET: &str = "an-older-secret-of-ours";

async fn with_site(options: Options) -> Daemon {
    let daemon = options.cold_store().start().await;
    assert_eq!(daemon.build_fixture("demo", "static-html").await["status"], "ready");
    daemon
}

#[tokio::test]
async fn everything_but_what_is_public_needs_a_token() {
    let daemon = with_site(Options::default()).await;
    let token_file = daemon.data().join("token");
    assert_eq!(std::fs::metadata(&token_file).expect("token").permissions().mode() & 0o777, 0o600);
    assert!(daemon.log().contains(&format!("#token={}", daemon.http.token)), "the link to the operator's page");
    let guarded = [
        (Method::POST, "/sync-project/demo"),
        (Method::POST, "/build/demo"),
        (Method::GET, "/status/demo"),
        (Method::GET, "/status/unknown"),
        (Method::GET, "/logs/demo"),
        (Method::GET, "/logs/demo?follow=true"),
        (Method::GET, "/builds/demo"),
        (Method::GET, "/projects"),
        (Method::DELETE, "/projects/demo"),
    ];
    let (half, token) = (&daemon.http.token[..daemon.http.token.len() - 1], &daemon.http.token);
    for (method, path) in &guarded {
        let request = || daemon.http.request(method.clone(), path);
        let refused = [
            request(),
            request().bearer_auth(""),
            request().bearer_auth(half),
            request().bearer_auth(format!("{token}x")),
            request().header("authorization", token.as_str()),
            request().basic_auth("user", Some(token)),
            request().header("cookie", format!("token={token}")),
            request().header("x-previewd-signature", "t=1,v1=00"),
        ];
        for request in refused {
            let answer = Http::send(request).await;
            assert_eq!(answer.problem(), (401, "unauthorized".to_owned()), "{method} {path}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
    for path in ["/health", "/health/live", "/health/ready", "/metrics", "/", "/preview/demo/", "/preview/demo/style.css"] {
        assert_eq!(Http::send(daemon.http.request(Method::GET, path)).await.status, 200, "{path}");
    }
    assert_eq!(daemon.preview("demo", "/").await.status, 200);
    assert_eq!(daemon.status("demo").await["revision"], 1, "nothing was done");
    // A page elsewhere gets no leave to call.
    let preflight = daemon.http.request(Method::OPTIONS, "/sync-project/demo").header("origin", "http://evil.example");
    let preflight = Http::send(preflight.header("access-control-request-method", "POST")).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (405, ""));
}

#[tokio::test]
async fn several_tokens_are_valid_at_once() {
    let daemon = with_site_and_tokens().await;
    for token in [TOKEN, "another-token-of-ours"] {
        assert_eq!(get(&daemon, "/status/demo", token).await.status, 200);
        let in_address = Http::send(daemon.http.request(Method::GET, &format!("/status/demo?token={token}"))).await;
        assert_eq!(in_address.status, 401, "addresses end up in logs: only project tokens are taken from them");
    }
    assert!(!daemon.data().join("token").exists() && !daemon.log().contains(TOKEN), "none is made, none is logged");
}

async fn with_site_and_tokens() -> Daemon {
    let tokens = format!("{TOKEN},another-token-of-ours");
    let options = Options::default().set("auth.tokens", tokens).set("auth.webhook_secrets", format!("{SECRET},{OLD_SECRET}"));
    let mut daemon = options.cold_store().start().await;
    TOKEN.clone_into(&mut daemon.http.token);
    assert_eq!(daemon.build_fixture("demo", "static-html").await["status"], "ready");
    daemon
}

async fn get(daemon: &Daemon, path: &str, token: &str) -> Answer {
    Http::send(daemon.http.request(Method::GET, path).bearer_auth(token)).await
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// `X-Previewd-Signature`, computed from the contract's words alone.
fn sign(secret: &str, time: u64, path: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("key");
    mac.update(format!("{time}.POST.{path}.{body}").as_bytes());
    format!("t={time},v1={}", HEXLOWER.encode(&mac.finalize().into_bytes()))
}

const PATH: &str = "/sync-project/demo";
const BODY: &str = r#"{"changed_files":["index.html"]}"#;

#[tokio::test]
async fn webhooks_may_be_signed() {
    let daemon = with_site_and_tokens().await;
    let send = |path: &'static str, signature: String, body: &'static str| {
        let request = daemon.http.request(Method::POST, path).header("x-previewd-signature", signature);
        Http::send(request.header(CONTENT_TYPE, "application/json").body(body))
    };
    assert_eq!(send(PATH, sign(SECRET, now(), PATH, BODY), BODY).await.status, 200);
    assert_eq!(send(PATH, sign(OLD_SECRET, now(), PATH, BODY), BODY).await.status, 200, "while it rotates");
    assert_eq!(send(PATH, sign(SECRET, now() - 290, PATH, BODY), BODY).await.status, 200);
    assert_eq!(send("/sync-project/demo?a=b", sign(SECRET, now(), "/sync-project/demo?a=b", ""), "").await.status, 200);
    assert_eq!(send("/build/demo", sign(SECRET, now(), "/build/demo", "{}"), "{}").await.status, 202);
    let refused = [
        (PATH, sign("a-secret-that-nobody-has", now(), PATH, BODY), BODY, "foreign"),
        (PATH, sign(SECRET, now(), PATH, BODY), r#"{"changed_files":["other.html"]}"#, "altered body"),
        ("/sync-project/other", sign(SECRET, now(), PATH, BODY), BODY, "other project"),
        ("/build/demo", sign(SECRET, now(), PATH, BODY), BODY, "other call"),
        ("/sync-project/demo?a=b", sign(SECRET, now(), PATH, BODY), BODY, "altered query"),
        (PATH, sign(SECRET, now() - 310, PATH, BODY), BODY, "old"),
        (PATH, sign(SECRET, now() + 310, PATH, BODY), BODY, "from the future"),
        (PATH, String::new(), BODY, "empty"),
    ];
    for (path, signature, body, why) in refused {
        assert_eq!(send(path, signature, body).await.problem(), (401, "unauthorized".to_owned()), "{why}");
    }
    let status = daemon.http.request(Method::GET, "/status/demo").header("x-previewd-signature", sign(SECRET, now(), "/status/demo", ""));
    assert_eq!(Http::send(status).await.status, 401, "only what changes something is signed");
}

/// A token as the command line makes it.
fn mint(daemon: &Daemon, project: &str, scope: &str, ttl: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_previewd"));
    command.args(["token", "--project", project, "--scope", scope, "--ttl", ttl]);
    command.env("PREVIEWD__AUTH__WEBHOOK_SECRETS", SECRET).env("PREVIEWD__SERVER__DATA_DIR", daemon.data());
    let output = command.output().expect("run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[tokio::test]
async fn short_lived_tokens_open_one_project() {
    let daemon = with_site_and_tokens().await;
    let read = mint(&daemon, "demo", "read", "1h");
    for path in ["/status/demo", "/logs/demo", "/builds/demo"] {
        assert_eq!(get(&daemon, path, &read).await.status, 200, "{path}");
        assert_eq!(Http::send(daemon.http.request(Method::GET, &format!("{path}?token={read}"))).await.status, 200, "{path}");
    }
    for path in ["/status/other", "/projects"] {
        assert_eq!(get(&daemon, path, &read).await.problem().1, "unauthorized", "{path}");
    }
    let sync = |token: String| Http::send(daemon.http.request(Method::POST, "/sync-project/demo").bearer_auth(token));
    assert_eq!(sync(read.clone()).await.problem().1, "unauthorized");
    assert_eq!(sync(mint(&daemon, "demo", "control", "1h")).await.status, 200);
    assert_eq!(sync(mint(&daemon, "other", "control", "1h")).await.status, 401);
    assert_eq!(get(&daemon, "/status/demo", &mint(&daemon, "demo", "control", "1h")).await.status, 200, "who controls may look");
    assert_eq!(get(&daemon, "/status/demo", &mint(&daemon, "demo", "preview", "1h")).await.status, 401);
    assert_eq!(get(&daemon, "/status/demo", &format!("{}x", &read[..read.len() - 1])).await.status, 401, "altered");
    let claims = previewd::auth::Claims { sub: "demo".parse().expect("id"), scope: previewd::auth::Scope::Read, exp: now() - 1 };
    let expired = previewd::auth::mint(SECRET, &claims).expect("mint");
    assert_eq!(get(&daemon, "/status/demo", &expired).await.status, 401, "expired");
    let logged = daemon.log();
    assert!(!logged.contains(&read) && !logged.contains(SECRET), "{logged}");
}
