//! Secrets as files, as systemd hands them over: used like variables, told to nobody.

use serde_json::json;

use crate::harness::azurite::{Container, KEY};
use crate::harness::guard;

const TOKEN: &str = "a-token-of-our-own";

#[tokio::test]
async fn a_daemon_works_with_credentials_alone() {
    let container = Container::create().await;
    container.push_fixture("demo", "static-html").await;
    let dir = guard::temp_dir();
    let credentials = dir.path().join("credentials");
    std::fs::create_dir(&credentials).expect("mkdir");
    let write = |name: &str, value: &str| std::fs::write(credentials.join(name), format!("{value}\n")).expect("write");
    write("PREVIEWD__AUTH__TOKENS", TOKEN);
    for (name, value) in container.by_key() {
        write(&name, &value);
    }
    let options = container.options(Vec::new()).env("CREDENTIALS_DIRECTORY", credentials.display());
    let mut daemon = options.cold_store().start().await;
    assert!(!daemon.data().join("token").exists(), "none is made where there is one");
    assert_eq!(daemon.http.get("/projects").await.status, 401);
    TOKEN.clone_into(&mut daemon.http.token);
    assert_eq!(daemon.sync_and_wait("demo").await["status"], json!("ready"));
    // What a build or another user of the machine could see of the daemon.
    let environment = std::fs::read(format!("/proc/{}/environ", daemon.pid())).expect("environ");
    let told = daemon.log() + &String::from_utf8_lossy(&environment);
    for secret in [TOKEN, &KEY[..20]] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}
