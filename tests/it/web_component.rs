//! `<previewd-frame>` in real Chromium, on another origin than the daemon's: its states, its events, and what it shows of failures.

use std::net::TcpListener;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::browser::Browser;
use crate::harness::product::Product;
use crate::harness::{Daemon, Options};

const SECRET: &str = "a-webhook-secret-of-32-characters";
const COMPONENT: &str = include_str!("../../clients/web/previewd-frame.js");

/// A page of a product around the element, which keeps what it is told in `told`.
fn product_page(attributes: &str) -> String {
    format!(
        "<!doctype html><style>previewd-frame {{ height: 30rem }}</style><script>
         const told = [];
         for (const name of ['status', 'published', 'failed', 'console', 'render']) addEventListener(`previewd-${{name}}`, (event) => told.push({{ name, ...event.detail }}));
         </script><script type=module>{COMPONENT}</script><previewd-frame {attributes}></previewd-frame>"
    )
}

/// A token of the project, as the command line makes it.
fn token(project: &str) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_previewd"))
        .args(["token", "--project", project, "--scope", "read", "--ttl", "1h"])
        .env("PREVIEWD__AUTH__WEBHOOK_SECRETS", SECRET)
        .output()
        .expect("run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("utf-8").trim().to_owned()
}

async fn daemon() -> Daemon {
    Options::default().set("auth.webhook_secrets", SECRET).start().await
}

/// Waits until the element says so, and what its bar and failure show.
fn until_state(browser: &mut Browser, state: &str) -> Value {
    browser.until(&format!("document.querySelector('previewd-frame').state === '{state}'"));
    browser.eval(
        "(({ shadowRoot: root }) => [root.querySelector('.text').textContent, root.querySelector('.failure').checkVisibility()])(document.querySelector('previewd-frame'))",
    )
}

/// What is in the preview: the element's frame is in its shadow root, where Playwright's selectors look too.
const FRAME: &str = "document.querySelector('previewd-frame').shadowRoot.querySelector('iframe')";

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_through_its_states_and_tells_the_page_around() {
    let daemon = daemon().await;
    let attributes = format!("base-url=http://{} project=demo token={} console", daemon.http.address, token("demo"));
    let product = Product::serve(product_page(&attributes), "").await;
    let mut browser = Browser::start();
    browser.goto(&product.at("chat"));
    assert_eq!(until_state(&mut browser, "empty"), json!(["Nothing was built yet", false]));
    daemon.build_fixture("demo", "vanilla").await;
    assert_eq!(until_state(&mut browser, "ready"), json!(["Live: revision 1", false]));
    browser.until("told.some(({ name, verdict, by }) => name === 'render' && verdict === 'rendered' && by === 'visitor')");

    daemon.put("demo", "main.js", "const broken = ;\n");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "error");
    assert_eq!(until_state(&mut browser, "error"), json!(["The newest build failed", true]));
    let failed = browser.until("told.find(({ name }) => name === 'failed')");
    assert_eq!((&failed["file"], &failed["line"], &failed["kind"]), (&json!("main.js"), &json!(1), &json!("compile")), "{failed:#}");
    let failure = browser.eval("document.querySelector('previewd-frame').shadowRoot.querySelector('.failure').textContent");
    assert!(failure.as_str().is_some_and(|text| text.contains("main.js:1") && text.contains("const broken")), "{failure}");
    browser.see("previewd-frame iframe", "");
    browser.screenshots("component-error");

    daemon.put("demo", "main.js", "document.body.innerHTML = '<h1>put right</h1>'; console.error('<b>of the app</b>')\n");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    assert_eq!(until_state(&mut browser, "ready"), json!(["Live: revision 3", false]));
    let published = browser.until("told.find(({ name, revision }) => name === 'published' && revision === 3)");
    assert_eq!(published["reason"], "build");
    let said = browser.until("told.find(({ name, from, level }) => name === 'console' && from === 'preview' && level === 'error')");
    assert_eq!(said["text"], "<b>of the app</b>");
    browser.see("previewd-frame .list > .error", "<b>of the app</b>");
    let states = browser.eval("[...new Set(told.filter(({ name }) => name === 'status').map(({ state }) => state))]");
    assert!(states.to_string().contains("building"), "{states}");
    assert_eq!(browser.eval("told.filter(({ name }) => name === 'failed').length"), 1, "once for each build");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_asks_for_a_new_token_and_keeps_the_last_good_preview() {
    let mut daemon = daemon().await;
    daemon.build_fixture("demo", "vanilla").await;
    let attributes = format!("base-url=http://{} project=demo token=wrong", daemon.http.address);
    let product = Product::serve(product_page(&attributes), "").await;
    let mut browser = Browser::start();
    browser.goto(&product.at("chat"));
    until_state(&mut browser, "refused");
    assert_eq!(browser.eval(&format!("{FRAME} === null")), true, "nothing is shown");
    browser.eval(&format!("void (document.querySelector('previewd-frame').tokenProvider = async () => '{}')", token("demo")));
    until_state(&mut browser, "ready");
    browser.until(&format!("{FRAME} !== null"));
    browser.eval(&format!("void ({FRAME}.mark = 1)"));
    daemon.kill();
    until_state(&mut browser, "unreachable");
    assert_eq!(browser.eval(&format!("{FRAME}.mark")), 1, "the last good preview stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_after_a_restart() {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("bind"));
    let daemon = Options::default().set("auth.webhook_secrets", SECRET).listener(&listener).start().await;
    daemon.build_fixture("demo", "vanilla").await;
    let attributes = format!("base-url=http://{} project=demo token={}", daemon.http.address, token("demo"));
    let product = Product::serve(product_page(&attributes), "").await;
    let mut browser = Browser::start();
    browser.goto(&product.at("chat"));
    until_state(&mut browser, "ready");
    browser.until("told.some(({ name }) => name === 'render')");
    browser.eval(&format!("void ({FRAME}.mark = 1)"));
    let daemon = daemon.kill_and_restart();
    daemon.edit("demo", "main.js", "vanilla works", "after the restart");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    browser.until("document.querySelector('previewd-frame').status.live.revision === 2");
    assert_eq!(browser.eval(&format!("{FRAME}.mark")), 1, "the preview follows by itself: its frame is the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_the_fallback_is_shown() {
    let fallback = Product::serve("<h1>come back soon</h1>".to_owned(), "").await;
    // A port that nobody listens on any more.
    let port = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port();
    let attributes = format!("base-url=http://127.0.0.1:{port} project=demo token=x fallback-url={}", fallback.at("status"));
    let product = Product::serve(product_page(&attributes), "").await;
    let mut browser = Browser::start();
    browser.goto(&product.at("chat"));
    until_state(&mut browser, "unreachable");
    assert_eq!(browser.eval(&format!("{FRAME}.src")), format!("{}/", fallback.at("status")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_it_beside_a_chat() {
    let daemon = daemon().await;
    daemon.build_fixture("demo", "vanilla").await;
    let mut browser = Browser::start();
    browser.goto(&format!("http://{}/page/demo.html#project=demo&token={}", daemon.http.address, token("demo")));
    until_state(&mut browser, "ready");
    for scheme in ["light", "dark"] {
        browser.scheme(scheme);
        assert_eq!(browser.axe(), json!([]), "{scheme}");
    }
    daemon.put("demo", "main.js", "const broken = ;\n");
    daemon.sync_and_wait("demo").await;
    browser.see("li.bad", "Revision 2 does not build");
    browser.screenshots("demo");
    daemon.push_fixture("demo", "vanilla");
    daemon.sync_and_wait("demo").await;
    browser.see("li.good", "Revision 3 is live");
    assert_eq!(browser.problems(), json!([]));
}
