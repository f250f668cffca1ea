//! The API's description: valid, public, the same in both places, and true: schemathesis calls everything in it with right
//! and wrong data, and compares each answer with what is described.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::harness::azurite::tools_dir;
use crate::harness::http::Http;
use crate::harness::{Options, guard};

/// Longest run of schemathesis; it takes some ten seconds where nothing else runs.
const RUN_DEADLINE: Duration = Duration::from_mins(4);
/// Ends with an error where its argument is no valid OpenAPI document.
const VALIDATE: &str = "import sys, schemathesis; schemathesis.openapi.from_path(sys.argv[1]).validate()";

/// Runs a program of the tests' Python, in `dir`.
async fn python(program: &str, arguments: &[&str], env: &[(&str, &str)], dir: &Path) -> Output {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools");
    let program = tools_dir().join("python/bin").join(program);
    assert!(program.exists(), "{} is missing: scripts/test installs it", program.display());
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).envs(env.iter().copied()).env("PYTHONPATH", tools).env("PYTHONDONTWRITEBYTECODE", "1");
    command.current_dir(dir).stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(RUN_DEADLINE, command.output()).await.expect("it ends in time").expect("it runs")
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What `previewd openapi` prints.
fn printed() -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_previewd")).arg("openapi").output().expect("run");
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).expect("utf-8")
}

#[tokio::test]
async fn the_description_is_public_the_same_in_both_places_and_valid() {
    let daemon = Options::default().cold_store().start().await;
    let served = Http::send(daemon.http.request(Method::GET, "/openapi.json")).await;
    assert_eq!((served.status, served.header("content-type")), (200, "application/json"));
    assert_eq!(served.text(), printed());
    assert!(served.json()["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")));

    let dir = guard::temp_dir();
    let valid = async |name: &str, document: &str| {
        std::fs::write(dir.path().join(name), document).expect("write");
        python("python3", &["-c", VALIDATE, name], &[], dir.path()).await
    };
    let ours = valid("openapi.json", &served.text()).await;
    assert!(ours.status.success(), "{}", text(&ours));
    let mut broken = served.json();
    broken["paths"]["/health"]["get"]["responses"]["200"].as_object_mut().expect("response").remove("description");
    assert!(!valid("broken.json", &broken.to_string()).await.status.success(), "a response without its description is refused");
}

/// The routes that were never answered with success, by the daemon's own count.
fn never_successful(document: &Value, metrics: &str) -> Vec<String> {
    let counted = |method: &str, path: &str| {
        let pattern = if path == "/preview/{id}/{path}" { "/preview/{id}/{path:.*}" } else { path };
        let labels = format!("method=\"{}\",route=\"{pattern}\",status=", method.to_uppercase());
        metrics.lines().any(|line| line.split_once(&labels).is_some_and(|(_, status)| status.starts_with("\"2") || status.starts_with("\"308")))
    };
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| item.as_object().expect("item").keys().map(move |method| (method, path)));
    operations.filter(|(method, path)| !counted(method, path)).map(|(method, path)| format!("{method} {path}")).collect()
}

#[tokio::test]
async fn every_answer_is_as_described() {
    let options = Options::default().cold_store().set("preview.keep_releases", 1000).set("auth.webhook_secrets", "a-webhook-secret-of-ours");
    let daemon = options.set("notify.hosts", "chat.example").start().await;
    let demo = daemon.build_fixture("demo", "static-html").await;
    daemon.build_fixture("other", "static-html").await;
    let build = demo["build"]["build_id"].as_str().expect("build id");
    let modules = daemon.data().join("layers/00000000000000000000000000000001/public");
    std::fs::create_dir_all(&modules).expect("mkdir");
    std::fs::write(modules.join("react.js"), "export default 1;").expect("write");
    // From a file: the address of the description itself would be left out.
    let dir = guard::temp_dir();
    std::fs::write(dir.path().join("openapi.json"), printed()).expect("write");
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/schemathesis.toml");
    let url = format!("http://{}", daemon.http.address);
    let arguments = ["--config-file", config.to_str().expect("utf-8"), "run", "openapi.json", "--url", &url, "--no-color"];
    let env = [("PREVIEWD_TOKEN", daemon.http.token.as_str()), ("PREVIEWD_BUILD", build)];
    let ran = python("schemathesis", &arguments, &env, dir.path()).await;
    assert!(ran.status.success(), "{}", text(&ran));

    let metrics = daemon.http.get("/metrics").await.text();
    let document = serde_json::from_str(&printed()).expect("JSON");
    // What is always refused shows nothing of what its success looks like.
    assert_eq!(never_successful(&document, &metrics), Vec::<String>::new(), "{}", text(&ran));
    assert!(!daemon.log().contains("panicked"), "a panic would be an answer that never came");
}
