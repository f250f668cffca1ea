//! The token path: a managed identity, against Azurite over TLS, which checks all of a token but its signature.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use azure_core::base64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::azurite::{Azurite, Container};
use crate::harness::faults::{Act, answer};

/// A store over TLS, with a certificate of its own.
fn azurite_with_tokens(dir: &Path) -> Azurite {
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .args([&key, Path::new("-out"), &cert])
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl").success());
    let path = |path: &Path| path.to_str().expect("utf-8").to_owned();
    Azurite::spawn("https", &["--oauth", "basic", "--cert", &path(&cert), "--key", &path(&key)])
}

/// Speaks App Service's managed identity protocol.
async fn identity_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let encode = |json: &str| base64::encode_url_safe(json).trim_end_matches('=').to_owned();
    let claims = serde_json::json!({
        "aud": "https://storage.azure.com", "iss": "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
        "iat": now, "nbf": now - 60, "exp": now + 3600,
    });
    let token = format!("{}.{}.c2ln", encode("{\"alg\":\"RS256\",\"typ\":\"JWT\"}"), encode(&claims.to_string()));
    let body = serde_json::json!({
        "access_token": token, "expires_on": (now + 3600).to_string(), "resource": "https://storage.azure.com",
        "token_type": "Bearer", "client_id": "x",
    });
    let Act::Answer(text) = answer("200 OK", &[("content-type", "application/json")], &body.to_string()) else { unreachable!() };
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    format!("http://{address}/token")
}

#[tokio::test]
async fn a_managed_identity_gets_a_token_and_is_let_in() {
    let dir = tempfile::tempdir().expect("temp dir");
    let azurite = azurite_with_tokens(dir.path());
    let identity = identity_server().await;
    let container = Container { name: "apps".to_owned(), endpoint: azurite.endpoint() };
    for (identity, expected) in [(&*identity, (502, "source_misconfigured")), ("http://127.0.0.1:9/token", (503, "source_unavailable"))] {
        let env = [
            ("AZURE_STORAGE_BLOB_ENDPOINT", container.endpoint.as_str()),
            ("SSL_CERT_FILE", dir.path().join("cert.pem").to_str().expect("utf-8")),
            ("IDENTITY_ENDPOINT", identity),
            ("IDENTITY_HEADER", "hunter2-identity"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let daemon = container.options(env.to_vec()).set("source.attempts", 1).cold_store().start().await;
        let answer = daemon.sync("demo", serde_json::json!({})).await;
        // There is no container yet: that the store says so means that the token was taken.
        assert_eq!(answer.problem(), (expected.0, expected.1.to_owned()), "{}", answer.text());
        if expected.0 == 502 {
            assert!(answer.text().contains("ContainerNotFound"), "{}", answer.text());
        }
        for secret in ["hunter2", "eyJ", "c2ln"] {
            assert!(!(daemon.log() + &answer.text()).contains(secret), "{secret} in {}", daemon.log());
        }
    }
}
