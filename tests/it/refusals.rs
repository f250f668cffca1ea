//! What is refused: every kind of credential bent in every way, on every kind of call.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::harness::http::{Answer, Http};
use crate::harness::{Daemon, Options};

const TOKEN: &str = "a-token-of-our-own";
const SECRET: &str = "a-webhook-secret-of-ours";
const NEXT_TOKEN: &str = "the-next-token-of-ours";
const NEXT_SECRET: &str = "the-next-secret-of-ours";
/// Characters of a credential that is too long to be looked at, and of headers that are too long to be taken in.
const LONG: usize = 5 * 1024;
const TOO_LONG: usize = 256 * 1024;

fn options() -> Options {
    Options::default().set("auth.tokens", TOKEN).set("auth.webhook_secrets", SECRET).cold_store()
}

async fn start(options: Options) -> Daemon {
    let mut daemon = options.start().await;
    TOKEN.clone_into(&mut daemon.http.token);
    assert_eq!(daemon.build_fixture("demo", "static-html").await["status"], "ready");
    daemon
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn hmac(secret: &str, text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("key");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn signature(secret: &str, path: &str, body: &str) -> String {
    let time = now();
    format!("t={time},v1={}", HEXLOWER.encode(&hmac(secret, &format!("{time}.POST.{path}.{body}"))))
}

/// A JWT, put together by hand.
fn jwt(secret: &str, header: &Value, claims: &Value) -> String {
    let signed = [header, claims].map(|part| BASE64URL_NOPAD.encode(part.to_string().as_bytes())).join(".");
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&hmac(secret, &signed)))
}

fn token(project: &str, scope: &str) -> String {
    jwt(SECRET, &json!({"alg": "HS256", "typ": "JWT"}), &json!({"sub": project, "scope": scope, "exp": now() + 60}))
}

async fn call(daemon: &Daemon, method: &str, path: &str, credential: &str) -> Answer {
    let request = daemon.http.request(Method::from_bytes(method.as_bytes()).expect("method"), path);
    Http::send(if credential.is_empty() { request } else { request.bearer_auth(credential) }).await
}

const READ: &[&str] = &["/status/demo", "/builds/demo", "/logs/demo", "/logs/demo?follow=true"];
const CONTROL: &[(&str, &str)] = &[("POST", "/sync-project/demo"), ("POST", "/build/demo"), ("POST", "/rollback/demo"), ("DELETE", "/projects/demo")];

#[tokio::test]
async fn each_scope_opens_its_calls_and_no_others() {
    let daemon = start(options().set("preview.private", true)).await;
    // Last, because it deletes: what the calls do is another test's concern.
    for (scope, read, preview, control) in [("preview", 401, 200, 401), ("read", 200, 401, 401), ("control", 200, 401, 200)] {
        let (ours, theirs) = (token("demo", scope), token("other", scope));
        for path in READ {
            assert_eq!(call(&daemon, "GET", path, &ours).await.status, read, "{scope} {path}");
            assert_eq!(call(&daemon, "GET", path, &theirs).await.status, 401, "{scope} of another project, {path}");
            let separator = if path.contains('?') { '&' } else { '?' };
            let address = |token| format!("{path}{separator}token={token}");
            assert_eq!(call(&daemon, "GET", &address(&ours), "").await.status, read, "{scope} {path} in the address");
            assert_eq!(call(&daemon, "GET", &address(&theirs), "").await.status, 401, "{scope} of another project, {path} in the address");
        }
        assert_eq!(call(&daemon, "GET", "/projects", &ours).await.status, 401, "{scope}: no token of one project lists all");
        assert_eq!(call(&daemon, "GET", "/preview/demo/", &ours).await.status, preview, "{scope}");
        assert_eq!(call(&daemon, "GET", "/preview/demo/", &theirs).await.status, 401, "{scope} of another project");
        for (method, path) in CONTROL {
            assert_eq!(call(&daemon, method, path, &theirs).await.status, 401, "{scope} of another project, {method} {path}");
            let status = call(&daemon, method, path, &ours).await.status;
            // A rollback without a body is let in, and told what it lacks.
            let let_in = status < 300 || (status == 400 && path.starts_with("/rollback"));
            assert!(if control == 401 { status == 401 } else { let_in }, "{scope} {method} {path}: {status}");
        }
    }
}

#[tokio::test]
async fn bent_tokens_open_nothing() {
    let daemon = start(options()).await;
    let (header, claims) = (json!({"alg": "HS256", "typ": "JWT"}), json!({"sub": "demo", "scope": "control", "exp": now() + 60}));
    let with = |key: &str, value: Value| {
        let mut claims = claims.clone();
        claims[key] = value;
        jwt(SECRET, &header, &claims)
    };
    let good = jwt(SECRET, &header, &claims);
    let unsigned = good.rsplit_once('.').expect("parts").0;
    let bent = [
        ("alg none", jwt(SECRET, &json!({"alg": "none"}), &claims)),
        ("alg none, unsigned", format!("{}.", jwt(SECRET, &json!({"alg": "none"}), &claims).rsplit_once('.').expect("parts").0)),
        ("RS256", jwt(SECRET, &json!({"alg": "RS256"}), &claims)),
        ("HS512", jwt(SECRET, &json!({"alg": "HS512"}), &claims)),
        ("no algorithm", jwt(SECRET, &json!({"typ": "JWT"}), &claims)),
        ("crit", jwt(SECRET, &json!({"alg": "HS256", "crit": ["x"], "x": 1}), &claims)),
        ("foreign secret", jwt("a-secret-that-nobody-has", &header, &claims)),
        ("signed with the bearer token", jwt(TOKEN, &header, &claims)),
        ("empty secret", jwt("", &header, &claims)),
        ("no signature", format!("{unsigned}.")),
        ("no exp", jwt(SECRET, &header, &json!({"sub": "demo", "scope": "control"}))),
        ("expired", with("exp", json!(now() - 1))),
        ("exp is now", with("exp", json!(now()))),
        ("exp as text", with("exp", json!((now() + 60).to_string()))),
        ("exp beyond all time", with("exp", json!(1e300))),
        ("not yet valid", with("nbf", json!(now() + 600))),
        ("no such scope", with("scope", json!("admin"))),
        ("a list of scopes", with("scope", json!(["control"]))),
        ("for another service", with("aud", json!("elsewhere"))),
        ("too long", with("jti", json!("x".repeat(LONG)))),
    ];
    for (why, token) in &bent {
        for answer in [
            call(&daemon, "GET", "/status/demo", token).await,
            call(&daemon, "GET", &format!("/status/demo?token={token}"), "").await,
            call(&daemon, "POST", "/build/demo", token).await,
        ] {
            assert_eq!(answer.problem(), (401, "unauthorized".to_owned()), "{why}");
        }
    }
    assert_eq!(call(&daemon, "GET", "/status/demo", &good).await.status, 200, "unbent");
    assert_eq!(daemon.status("demo").await["revision"], 1, "nothing was built");
}

#[tokio::test]
async fn a_build_takes_a_signature_once_and_a_sync_does_nothing_twice() {
    let daemon = start(options()).await;
    let send = async |path: &'static str, signature: &str| {
        let request = daemon.http.request(Method::POST, path).header("x-previewd-signature", signature);
        Http::send(request.header(CONTENT_TYPE, "application/json").body("{}")).await
    };
    let sync = signature(SECRET, "/sync-project/demo", "{}");
    for _ in 0..3 {
        let answer = send("/sync-project/demo", &sync).await;
        assert_eq!((answer.status, &answer.json()["status"], &answer.json()["revision"]), (200, &json!("no_changes"), &json!(1)));
    }
    let build = signature(SECRET, "/build/demo", "{}");
    assert_eq!(send("/build/demo", &build).await.json()["revision"], 2);
    let replayed = send("/build/demo", &build).await;
    assert_eq!(replayed.problem(), (401, "unauthorized".to_owned()));
    assert!(replayed.text().contains("sign every request anew"), "{}", replayed.text());
    assert_eq!(daemon.status("demo").await["revision"], 2, "no third build");
}

#[tokio::test]
async fn after_a_rotation_the_old_ones_are_refused() {
    let (old_token, old_signature) = (token("demo", "read"), signature(SECRET, "/sync-project/demo", ""));
    let both = options().set("auth.tokens", format!("{TOKEN},{NEXT_TOKEN}")).set("auth.webhook_secrets", format!("{NEXT_SECRET},{SECRET}"));
    let daemon = start(both).await;
    let new_token = jwt(NEXT_SECRET, &json!({"alg": "HS256"}), &json!({"sub": "demo", "scope": "read", "exp": now() + 60}));
    let new_signature = signature(NEXT_SECRET, "/sync-project/demo", "");
    let statuses = async |daemon: &Daemon| {
        let sync = |signature: &str| Http::send(daemon.http.request(Method::POST, "/sync-project/demo").header("x-previewd-signature", signature));
        let old =
            [call(daemon, "GET", "/status/demo", TOKEN).await, call(daemon, "GET", "/status/demo", &old_token).await, sync(&old_signature).await];
        let new = [
            call(daemon, "GET", "/status/demo", NEXT_TOKEN).await,
            call(daemon, "GET", "/status/demo", &new_token).await,
            sync(&new_signature).await,
        ];
        (old.map(|answer| answer.status), new.map(|answer| answer.status))
    };
    assert_eq!(statuses(&daemon).await, ([200; 3], [200; 3]), "while they rotate");
    let (_, dir) = daemon.stop();
    let daemon = options().set("auth.tokens", NEXT_TOKEN).set("auth.webhook_secrets", NEXT_SECRET).start_in(dir).await;
    assert_eq!(statuses(&daemon).await, ([401; 3], [200; 3]), "after a restart without them");
}

#[tokio::test]
async fn headers_of_any_size_get_a_clear_answer() {
    let daemon = start(options()).await;
    for header in ["authorization", "x-previewd-signature", "cookie"] {
        let send = |value: String| Http::send(daemon.http.request(Method::POST, "/sync-project/demo").header(header, value));
        assert_eq!(send(format!("Bearer {}", "x".repeat(LONG))).await.problem(), (401, "unauthorized".to_owned()), "{header}");
        assert_eq!(send(format!("t={},v1={}", now(), "0".repeat(LONG))).await.problem().0, 401, "{header}");
        let status = send("x".repeat(TOO_LONG)).await.status;
        assert!([400, 413, 431].contains(&status), "{header}: {status}");
    }
    assert_eq!(daemon.status("demo").await["revision"], 1);
}

#[tokio::test]
async fn a_page_elsewhere_can_read_with_a_token_and_drive_nothing() {
    let daemon = start(options()).await;
    let read = token("demo", "read");
    for path in READ {
        let separator = if path.contains('?') { '&' } else { '?' };
        let request = daemon.http.request(Method::GET, &format!("{path}{separator}token={read}")).header("origin", "https://chat.example");
        let answer = Http::send(request).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"), "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
    // A token that ran out can be told from a daemon that is away.
    let refused = call(&daemon, "GET", "/status/demo", "").await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, "*"));
    for (method, path) in CONTROL {
        let request = daemon.http.request(Method::OPTIONS, path).header("origin", "https://chat.example");
        let preflight =
            Http::send(request.header("access-control-request-method", *method).header("access-control-request-headers", "content-type")).await;
        assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (405, ""), "{path}");
        assert_eq!(call(&daemon, method, path, "").await.header("access-control-allow-origin"), "", "{path}");
    }
    // What a browser sends anywhere without asking first.
    for path in ["/sync-project/demo", "/build/demo", "/rollback/demo"] {
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
            let request = daemon.http.request(Method::POST, path).bearer_auth(TOKEN).header(CONTENT_TYPE, kind).body("{}");
            assert_eq!(Http::send(request).await.problem(), (415, "unsupported_media_type".to_owned()), "{path} {kind}");
        }
    }
    assert_eq!(daemon.status("demo").await["revision"], 1);
}

#[tokio::test]
async fn cookies_never_open_the_api() {
    let daemon = start(options().set("preview.private", true)).await;
    for credential in [token("demo", "preview"), token("demo", "read"), token("demo", "control"), TOKEN.to_owned()] {
        for name in ["previewd_preview", "token", "authorization"] {
            let cookie = format!("{name}={credential}");
            let calls =
                READ.iter().map(|path| ("GET", *path)).chain(CONTROL.iter().copied()).chain([("GET", "/projects"), ("GET", "/preview/demo/")]);
            for (method, path) in calls {
                let request = daemon.http.request(Method::from_bytes(method.as_bytes()).expect("method"), path).header("cookie", &cookie);
                assert_eq!(Http::send(request).await.status, 401, "{name} {method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn no_credential_is_ever_logged() {
    let daemon = start(options().set("log.level", "trace").set("preview.private", true)).await;
    let (read, control, preview) = (token("demo", "read"), token("demo", "control"), token("demo", "preview"));
    let signed = signature(SECRET, "/sync-project/demo", "{}");
    for path in [format!("/status/demo?token={read}"), format!("/logs/demo?follow=true&token={read}"), format!("/status/none?token={read}")] {
        call(&daemon, "GET", &path, "").await;
    }
    call(&daemon, "GET", &format!("/preview/demo/?token={preview}"), "").await;
    daemon.preview("demo", &format!("/?token={preview}")).await;
    daemon.http.preview("demo", "/", &[("cookie", &format!("previewd_preview={preview}"))]).await;
    call(&daemon, "GET", "/status/demo?limit=x&token=a-guess-that-is-wrong", "").await;
    call(&daemon, "POST", "/sync-project/demo", &control).await;
    call(&daemon, "GET", "/status/demo", TOKEN).await;
    let request = daemon.http.request(Method::POST, "/sync-project/demo").header("x-previewd-signature", &signed);
    assert_eq!(Http::send(request.header(CONTENT_TYPE, "application/json").body("{}")).await.status, 200);
    let mac = signed.rsplit('=').next().expect("mac");
    // The last of them is answered, so its line and all before it are there.
    let log = crate::harness::eventually("the log of the last call", async || {
        Some(daemon.log()).filter(|log| log.matches("/sync-project/demo").count() >= 3)
    })
    .await;
    for secret in [TOKEN, SECRET, "a-guess-that-is-wrong", mac, &read, &control, &preview] {
        let tail = &secret[secret.len().saturating_sub(20)..];
        assert!(!log.contains(tail), "{secret} is in the log:\n{}", log.lines().filter(|line| line.contains(tail)).collect::<Vec<_>>().join("\n"));
    }
    // So that a change of how lines are written cannot make this test look for nothing.
    assert!(log.contains("/status/none") && log.contains("/preview/demo/"), "{log}");
}

#[test]
fn without_a_token_of_its_own_it_serves_this_machine_only() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[2001:db8::1]:0"] {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut command = Command::new(env!("CARGO_BIN_EXE_previewd"));
        // A webhook secret is none: the calls without a project would hang on the token that was made.
        command.arg("serve").env("PREVIEWD__SERVER__LISTEN", listen).env("PREVIEWD__SERVER__DATA_DIR", dir.path());
        let output = command.env("PREVIEWD__AUTH__WEBHOOK_SECRETS", SECRET).output().expect("run");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && told.contains("server.listen") && told.contains("auth.tokens"), "{listen}: {told}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0, "{listen}: nothing was begun");
    }
}
