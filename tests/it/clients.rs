//! The clients in `clients/`, and everything in `docs/INTEGRATING.md` that can be run: types, faults, and a running daemon.
//!
//! The guide's fenced blocks are run as they stand, those of one language one after another in one script, so that a reader who
//! copies them gets what was tested.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::browser::{Browser, tools};
use crate::harness::{Daemon, Options};

const TOKEN: &str = "a-token-of-our-own";
const SECRET: &str = "a-webhook-secret-of-ours";

async fn start(options: Options) -> Daemon {
    let mut daemon =
        options.set("auth.tokens", TOKEN).set("auth.webhook_secrets", SECRET).set("notify.hosts", "chat.example").cold_store().start().await;
    TOKEN.clone_into(&mut daemon.http.token);
    daemon
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Runs a command to its end; it has to end well.
fn run(command: &mut Command) -> String {
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap_or_else(|e| panic!("{command:?}: {e} (scripts/test installs it)"));
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{told}", output.status);
    told
}

/// A command that knows where the daemon is.
fn with_daemon(program: impl AsRef<std::ffi::OsStr>, daemon: &Daemon) -> Command {
    let mut command = Command::new(program);
    command.env("PREVIEWD_URL", format!("http://{}", daemon.http.address)).env("PREVIEWD_TOKEN", TOKEN).env("PREVIEWD_SECRET", SECRET);
    command.env("PREVIEWD_SOURCE", daemon.data().join("source")).env("NO_PROXY", "*");
    command
}

fn python() -> PathBuf {
    tools().join("python/bin/python")
}

/// TypeScript, checked and compiled; Node 20 runs none as it is.
fn compile(project: &Path, out: &Path, more: &[&str]) {
    let mut tsc = Command::new(tools().join("node_modules/.bin/tsc"));
    run(tsc.arg("-p").arg(project).arg("--outDir").arg(out).arg("--typeRoots").arg(tools().join("node_modules/@types")).args(more));
}

#[test]
fn python_types_hold() {
    let mypy = ["-m", "mypy", "--strict", "--cache-dir"];
    let told = run(Command::new(python()).args(mypy).arg(tools().join("mypy-cache")).current_dir(root().join("clients/python")));
    assert!(told.contains("Success"), "{told}");
}

#[tokio::test]
async fn the_python_client_works() {
    let daemon = start(Options::default()).await;
    let discover = ["-m", "unittest", "discover", "-t", ".", "-s", "tests"];
    let told = run(with_daemon(python(), &daemon).args(discover).current_dir(root().join("clients/python")));
    let count = told.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse::<u32>().ok());
    assert!(count.is_some_and(|count| count >= 20), "{told}");
}

#[tokio::test]
async fn the_typescript_client_works() {
    let daemon = start(Options::default()).await;
    let out = tempfile::tempdir().expect("temp dir");
    compile(&root().join("clients/typescript/tests"), out.path(), &[]);
    std::fs::write(out.path().join("package.json"), r#"{"type": "module"}"#).expect("write");
    let files = ["pure", "faults", "daemon"].map(|name| out.path().join(format!("tests/{name}.test.js")));
    let told = run(with_daemon("node", &daemon).args(["--test", "--test-reporter=tap"]).args(files));
    let passed = told.lines().find_map(|line| line.strip_prefix("# pass ")?.parse::<u32>().ok());
    assert!(passed.is_some_and(|passed| passed >= 17) && told.contains("# fail 0") && told.contains("# skipped 0"), "{told}");
}

/// The guide's blocks of one language, one after another.
fn blocks(language: &str) -> String {
    let (mut text, mut inside) = (String::new(), false);
    for line in read("docs/INTEGRATING.md").lines() {
        match line.strip_prefix("```") {
            Some(kind) => inside = !inside && kind == language,
            None if inside => text += &(line.to_owned() + "\n"),
            None => {}
        }
    }
    assert!(!text.is_empty(), "no {language}");
    text
}

async fn for_the_guide() -> (Daemon, tempfile::TempDir) {
    (start(Options::default()).await, tempfile::tempdir().expect("temp dir"))
}

#[tokio::test]
async fn the_guides_shell_works() {
    let (daemon, dir) = for_the_guide().await;
    let told = run(with_daemon("bash", &daemon).args(["-euo", "pipefail", "-c", &blocks("sh")]).current_dir(dir.path()));
    for expected in [r#""status":"building""#, r#""state":"ready""#, "publish"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

#[tokio::test]
async fn the_guides_python_works() {
    let (daemon, dir) = for_the_guide().await;
    let script = dir.path().join("guide.py");
    std::fs::write(&script, blocks("python")).expect("write");
    run(with_daemon(python(), &daemon).arg(&script).env("PYTHONPATH", root().join("clients/python")));
    let mypy = ["-m", "mypy", "--strict", "--cache-dir"];
    let mut types = Command::new(python());
    types.args(mypy).arg(dir.path().join("cache")).arg(&script).env("MYPYPATH", root().join("clients/python")).current_dir(dir.path());
    run(&mut types);
}

#[tokio::test]
async fn the_guides_typescript_works() {
    let (daemon, dir) = for_the_guide().await;
    let package = dir.path().join("node_modules/@previewd/client");
    compile(&root().join("clients/typescript"), &package.join("dist"), &[]);
    std::fs::copy(root().join("clients/typescript/package.json"), package.join("package.json")).expect("copy");
    std::fs::write(dir.path().join("guide.ts"), blocks("ts")).expect("write");
    std::fs::write(dir.path().join("package.json"), r#"{"type": "module"}"#).expect("write");
    let settings = r#"{"compilerOptions": {"target": "es2022", "module": "nodenext", "strict": true, "types": ["node"]}, "include": ["guide.ts"]}"#;
    std::fs::write(dir.path().join("tsconfig.json"), settings).expect("write");
    compile(dir.path(), &dir.path().join("out"), &["--rootDir", dir.path().to_str().expect("utf-8")]);
    run(with_daemon("node", &daemon).arg(dir.path().join("out/guide.js")));
}

#[tokio::test]
async fn a_front_end_elsewhere_follows_with_a_token() {
    let daemon = start(Options::default()).await;
    let built = daemon.build_fixture("demo", "static-html").await;
    let mut browser = Browser::start();
    // A page of another origin than the API's: a preview is one.
    browser.goto(built["preview_url"].as_str().expect("url"));
    let exp = u64::try_from(jiff::Timestamp::now().as_second() + 60).expect("after 1970");
    let claims = |project: &str| previewd::auth::Claims { sub: project.parse().expect("id"), scope: previewd::auth::Scope::Read, exp };
    let follow = |browser: &mut Browser, token: String| {
        let call = format!("follow('http://{}', 'demo', '{token}', (line) => lines.push(line))", daemon.http.address);
        let script = format!(
            "(async () => {{ {}; const lines = []; const status = await {call}; return {{ status, lines }}; }})().catch((error) => error.message)",
            blocks("js")
        );
        browser.eval(&script)
    };
    let seen = follow(&mut browser, previewd::auth::mint(SECRET, &claims("demo")).expect("mint"));
    assert_eq!(seen["status"]["state"], "ready", "{seen:#}");
    assert!(seen["lines"].as_array().is_some_and(|lines| !lines.is_empty()), "{seen:#}");
    let refused = follow(&mut browser, previewd::auth::mint(SECRET, &claims("other")).expect("mint"));
    assert_eq!(refused, "refused: has the token run out?", "a token of another project");
    // A `control` token would open it, but nothing that needs a preflight goes out of a page.
    let fetch = format!("fetch('http://{}/build/demo', {{ method: 'POST', headers: {{ authorization: 'Bearer {TOKEN}' }} }})", daemon.http.address);
    assert_eq!(browser.eval(&format!("{fetch}.then((answer) => String(answer.status), () => 'blocked')")), "blocked");
    assert_eq!(daemon.status("demo").await["revision"], 1);
}

#[test]
fn the_guide_has_every_error_code_and_no_other() {
    let codes = codes();
    assert!(codes.len() > 20, "{codes:?}");
    let guide = read("docs/INTEGRATING.md");
    let rows = guide.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let (code, status) = (cells.next()?.strip_suffix('`')?, cells.next()?);
        status.parse::<u16>().is_ok().then(|| (code.to_owned(), status.to_owned()))
    });
    assert_eq!(rows.collect::<BTreeSet<_>>(), codes);
}

/// Every code with its status, from the API's description.
fn codes() -> BTreeSet<(String, String)> {
    let document: serde_json::Value = serde_json::from_str(previewd::http::document()).expect("json");
    let operations = document["paths"].as_object().expect("paths").values().filter_map(|path| path.as_object()).flat_map(|path| path.values());
    let answers = operations.filter_map(|operation| operation["responses"].as_object()).flatten();
    let mut codes = BTreeSet::new();
    for (status, answer) in answers {
        let parts = answer.pointer("/content/application~1problem+json/schema/allOf").and_then(|parts| parts.as_array());
        let named = parts.into_iter().flatten().filter_map(|part| part.pointer("/properties/code/enum")?.as_array()).flatten();
        codes.extend(named.filter_map(|code| Some((code.as_str()?.to_owned(), status.clone()))));
    }
    // What is no call's own: an address or a method that there is not.
    codes.extend([("not_found", "404"), ("method_not_allowed", "405")].map(|(code, status)| (code.to_owned(), status.to_owned())));
    let all = document["components"]["schemas"]["Code"]["enum"].as_array().expect("codes").len();
    assert_eq!(codes.len(), all, "each code has one status");
    codes
}
