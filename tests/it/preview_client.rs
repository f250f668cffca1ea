//! The preview client in real Chromium: pages come up to date by themselves, keep what a person did, and say why a build failed.

use serde_json::json;

use crate::harness::browser::Browser;
use crate::harness::nginx::Setup;
use crate::harness::product::{Product, preview_url};
use crate::harness::{Daemon, Options};

const PAGE: &str = r#"<!doctype html><html><head><link rel="stylesheet" href="/style.css"><title>x</title></head>
<body><h1>one</h1><input id="name"><input id="agree" type="checkbox"><input id="secret" type="password"><textarea></textarea>
<div id="box" style="height:50px;overflow:auto"><p style="height:900px">inner</p></div><p style="height:3000px">long</p></body></html>"#;

/// Whether an expression is still that of a page that was marked.
const STAYED: &str = "window.stayed === true";

async fn site(options: Options) -> Daemon {
    let daemon = options.cold_store().start().await;
    daemon.put("demo", "index.html", PAGE);
    daemon.put("demo", "style.css", "h1 { color: rgb(1, 2, 3) }");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    daemon
}

/// Opens the preview and waits until it is connected.
async fn open(browser: &mut Browser, daemon: &Daemon, url: &str) {
    assert_eq!(browser.goto(url), 200);
    connected(daemon, 1.0).await;
}

/// Until so many streams are open.
async fn connected(daemon: &Daemon, streams: f64) {
    crate::harness::eventually("open streams", async || {
        let metrics = daemon.http.get("/metrics").await.text();
        let line = metrics.lines().find(|line| line.starts_with("previewd_event_streams "))?;
        (line.rsplit(' ').next()?.parse::<f64>().ok()? >= streams).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_edit_is_seen_and_what_a_person_did_is_kept() {
    let daemon = site(Options::default()).await;
    let mut browser = Browser::start();
    open(&mut browser, &daemon, &preview_url(&daemon, "demo")).await;
    browser.type_into("#name", "Ada");
    browser.type_into("#secret", "hunter2");
    browser.type_into("textarea", "a note");
    browser.click("#agree", "");
    browser.eval("scrollTo(0, 700); document.querySelector('#box').scrollTop = 300; window.stayed = true");
    browser.until("scrollY === 700");
    daemon.edit("demo", "index.html", "<h1>one</h1>", "<h1>two</h1>");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    browser.see("h1", "two");
    assert_eq!(browser.eval(STAYED), false, "it was loaded anew");
    browser.until("scrollY === 700 && document.querySelector('#box').scrollTop === 300 && document.querySelector('textarea').value");
    let kept = browser.eval("[document.querySelector('#name').value, document.querySelector('textarea').value, document.querySelector('#agree').checked, document.querySelector('#secret').value]");
    assert_eq!(kept, json!(["Ada", "a note", true, ""]));
    // Once more: what was put there counts as typed.
    daemon.edit("demo", "index.html", "<h1>two</h1>", "<h1>three</h1>");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    browser.see("h1", "three");
    browser.until("document.querySelector('#name').value === 'Ada'");
    assert_eq!(browser.problems(), json!([]));
    assert_eq!(browser.eval("document.documentElement.children.length"), 2, "nothing else is shown");
}

#[tokio::test]
async fn styles_alone_change_without_a_reload() {
    let daemon = site(Options::default()).await;
    let mut browser = Browser::start();
    open(&mut browser, &daemon, &preview_url(&daemon, "demo")).await;
    let color = |browser: &mut Browser, color: &str| browser.until(&format!("getComputedStyle(document.querySelector('h1')).color === '{color}'"));
    color(&mut browser, "rgb(1, 2, 3)");
    browser.eval("window.stayed = true; document.querySelector('#name').value = 'by script'");
    for (from, to) in [("1, 2, 3", "4, 5, 6"), ("4, 5, 6", "7, 8, 9")] {
        daemon.edit("demo", "style.css", from, to);
        let build = daemon.sync_and_wait("demo").await;
        color(&mut browser, &format!("rgb({to})"));
        assert_eq!(browser.eval("[window.stayed, document.querySelector('#name').value]"), json!([true, "by script"]));
        assert_eq!(browser.until("document.querySelectorAll('link').length"), 1, "the old one is gone");
        // The page is one of the new build now, and is looked at as such.
        let id = build["build"]["build_id"].clone();
        daemon.status_until("demo", |status| status["render"]["build_id"] == id && status["render"]["verdict"] == "rendered").await;
    }
    // With both, the page is loaded anew.
    daemon.edit("demo", "style.css", "7, 8, 9", "10, 11, 12");
    daemon.edit("demo", "index.html", "<h1>one</h1>", "<h1>two</h1>");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    browser.see("h1", "two");
    color(&mut browser, "rgb(10, 11, 12)");
    assert_eq!(browser.eval(STAYED), false);
    assert_eq!(browser.problems(), json!([]));
}

#[tokio::test]
async fn hashed_styles_of_vite_are_swapped_too() {
    let daemon = Daemon::start().await;
    daemon.build_fixture("demo", "vanilla").await;
    let mut browser = Browser::start();
    open(&mut browser, &daemon, &preview_url(&daemon, "demo")).await;
    browser.see("h1", "vanilla works");
    browser.eval("window.stayed = true");
    daemon.edit("demo", "style.css", "rebeccapurple", "rgb(9, 8, 7)");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    browser.until("getComputedStyle(document.querySelector('h1')).color === 'rgb(9, 8, 7)'");
    assert_eq!(browser.eval(STAYED), true);
    assert_eq!(browser.problems(), json!([]));
}

#[tokio::test]
async fn a_failed_build_is_shown_over_the_last_good_one() {
    let daemon = Daemon::start().await;
    daemon.build_fixture("demo", "vanilla").await;
    let (mut browser, url) = (Browser::start(), preview_url(&daemon, "demo"));
    open(&mut browser, &daemon, &url).await;
    browser.see("h1", "vanilla works");
    browser.eval("window.stayed = true");
    let broken = "import './style.css';\n\nconst answer = (;\ndocument.body.append(answer);\n";
    daemon.put("demo", "main.js", broken);
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "error");
    let said = browser.see("previewd-overlay section", "main.js:3");
    assert!(said.contains("Build failed") && said.contains("const answer = (;"), "{said}");
    browser.screenshot("overlay-light", 1000, 700);
    browser.screenshot("overlay-phone", 390, 700);
    browser.scheme("dark");
    browser.screenshot("overlay-dark", 1000, 700);
    assert_eq!(browser.eval("[window.stayed, document.body.innerText.includes('vanilla works')]"), json!([true, true]));
    // Dismissed it stays away; the next failure is news; so is the same one to who comes anew.
    browser.click("previewd-overlay button", "Dismiss");
    browser.gone("previewd-overlay");
    daemon.put("demo", "main.js", broken.replace("answer", "question"));
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "error");
    browser.see("previewd-overlay pre", "question");
    browser.reload();
    browser.see("previewd-overlay pre", "question");
    browser.eval("window.stayed = true");
    // As it was before: the same output, and still nothing is left of the failure.
    daemon.put("demo", "main.js", std::fs::read(crate::harness::fixture_dir("vanilla").join("main.js")).expect("read"));
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    browser.gone("previewd-overlay");
    assert_eq!(browser.problems(), json!([]));
}

#[tokio::test]
async fn an_open_preview_outlives_the_daemon() {
    let daemon = site(Options::default()).await;
    let (mut browser, url) = (Browser::start(), preview_url(&daemon, "demo"));
    open(&mut browser, &daemon, &url).await;
    let port: u16 = daemon.http.address.rsplit(':').next().expect("port").parse().expect("a number");
    let (_, dir) = daemon.stop();
    // The same address again, as behind systemd's socket.
    let again = Options::default().cold_store().set("server.listen", format!("127.0.0.1:{port}")).start_in(dir).await;
    again.edit("demo", "index.html", "<h1>one</h1>", "<h1>two</h1>");
    assert_eq!(again.sync_and_wait("demo").await["status"], "ready");
    browser.see("h1", "two");
}

#[tokio::test]
async fn many_frames_of_one_preview_share_a_connection() {
    const FRAMES: usize = 50;
    let daemon = site(Options::default()).await;
    let url = preview_url(&daemon, "demo");
    let frames = (0..FRAMES).map(|n| format!("<iframe name=f{n} src={url}></iframe>")).collect::<Vec<_>>().concat();
    let product = Product::serve(format!("<h1>chat</h1>{frames}"), "").await;
    let address = product.at("chat");
    tokio::task::spawn_blocking(move || {
        let mut browser = Browser::start();
        browser.goto(&address);
        (0..FRAMES).for_each(|n| drop(browser.see_in(&format!("f{n}"), "h1", "one")));
        let runtime = tokio::runtime::Handle::current();
        runtime.block_on(connected(&daemon, 1.0));
        daemon.edit("demo", "index.html", "<h1>one</h1>", "<h1>two</h1>");
        assert_eq!(runtime.block_on(daemon.sync_and_wait("demo"))["status"], "ready");
        // A browser opens six connections to an origin: with one for each, nothing would be left to load the pages by.
        (0..FRAMES).for_each(|n| drop(browser.see_in(&format!("f{n}"), "h1", "two")));
    })
    .await
    .expect("the browser's part");
}

#[tokio::test]
async fn it_works_wherever_a_preview_is_seen() {
    let daemon = site(Options::default().set("auth.webhook_secrets", "a-webhook-secret-of-ours")).await;
    let nginx = Setup::default().start(&daemon);
    let port = nginx.http.address.rsplit(':').next().expect("port").to_owned();
    let live = [
        format!("http://{}/preview/demo/", daemon.http.address),
        format!("http://demo.localhost:{port}/"),
        format!("http://{}/preview/demo/", nginx.http.address),
    ];
    let status = daemon.status("demo").await;
    let build = status["live"]["build_id"].as_str().expect("live").to_owned();
    let kept = [format!("http://{}--demo.localhost:{port}/", build.to_lowercase()), format!("http://{}/preview/demo/@{build}/", daemon.http.address)];
    let mut retained: Vec<Browser> = kept.iter().map(|_| Browser::start()).collect();
    for (browser, url) in retained.iter_mut().zip(&kept) {
        assert_eq!(browser.goto(url), 200, "{url}");
        browser.until("window[Symbol.for('previewd')]");
        browser.eval("window.stayed = true");
    }
    let (mut before, mut browser) = ("one".to_owned(), Browser::start());
    for (n, url) in live.iter().enumerate() {
        open(&mut browser, &daemon, url).await;
        let after = format!("edit {n}");
        daemon.edit("demo", "index.html", &format!("<h1>{before}</h1>"), &format!("<h1>{after}</h1>"));
        assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
        browser.see("h1", &after);
        before = after;
        assert_eq!(browser.problems(), json!([]), "{url}");
    }
    for (browser, url) in retained.iter_mut().zip(&kept) {
        assert_eq!(browser.eval("[window.stayed, document.querySelector('h1').innerText]"), json!([true, "one"]), "{url}");
        assert_eq!(browser.problems(), json!([]), "{url}");
    }
}

#[tokio::test]
async fn a_policy_of_the_page_and_a_frame_without_an_origin_do_not_keep_it_away() {
    let daemon = site(Options::default()).await;
    let strict = PAGE.replace("<title>", "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'\"><title>");
    daemon.put("demo", "index.html", strict);
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    let url = preview_url(&daemon, "demo");
    let product = Product::serve(format!("<iframe name=opaque sandbox=allow-scripts src={url}></iframe>"), "").await;
    let address = product.at("chat");
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Handle::current();
        let mut browser = Browser::start();
        browser.goto(&url);
        let mut framed = Browser::start();
        framed.goto(&address);
        framed.see_in("opaque", "h1", "one");
        runtime.block_on(connected(&daemon, 2.0));
        daemon.edit("demo", "index.html", "<h1>one</h1>", "<h1>two</h1>");
        assert_eq!(runtime.block_on(daemon.sync_and_wait("demo"))["status"], "ready");
        browser.see("h1", "two");
        framed.see_in("opaque", "h1", "two");
        let status = runtime.block_on(daemon.status_until("demo", |status| status["render"]["verdict"] == "rendered"));
        assert_eq!(status["live"]["build_id"], status["render"]["build_id"], "{status:#}");
        // The overlay too, with its style.
        daemon.remove("demo", "index.html");
        daemon.put("demo", "vite.config.js", "throw new Error('no config')");
        assert_eq!(runtime.block_on(daemon.sync_and_wait("demo"))["status"], "error");
        browser.see("previewd-overlay section", "Build failed");
        let shown = "getComputedStyle(document.querySelector('previewd-overlay')).position";
        assert_eq!(browser.eval(shown), "fixed");
    })
    .await
    .expect("the browser's part");
}

#[tokio::test]
async fn a_page_that_is_missing_comes_when_a_release_has_it() {
    let daemon = site(Options::default()).await;
    let mut browser = Browser::start();
    assert_eq!(browser.goto(&format!("{}more.html", preview_url(&daemon, "demo"))), 404);
    connected(&daemon, 1.0).await;
    daemon.put("demo", "more.html", "<h1>more</h1>");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    browser.see("h1", "more");
}

#[tokio::test]
async fn without_inject_pages_are_as_they_were_built() {
    let daemon = site(Options::default().set("preview.inject", "false")).await;
    assert_eq!(daemon.preview("demo", "/").await.text(), PAGE);
    let missing = daemon.http.preview("demo", "/none.html", &[("accept", "text/html")]).await;
    assert!(missing.status == 404 && !missing.text().contains("<script"), "{}", missing.text());
}

#[tokio::test]
async fn configured_scripts_come_with_the_projects_id() {
    let daemon = site(Options::default().set("preview.inject", "false").set("preview.scripts", "https://sdk.example/a.js?x=1&y=2,/own.js")).await;
    let page = daemon.preview("demo", "/").await.text();
    let tags = r#"<head><script data-previewd src="https://sdk.example/a.js?x=1&amp;y=2" data-project="demo"></script><script data-previewd src="/own.js" data-project="demo"></script><link"#;
    assert!(page.contains(tags), "{page}");
}

#[tokio::test]
async fn the_client_is_kept_for_ever_by_its_version() {
    let daemon = site(Options::default()).await;
    let page = daemon.preview("demo", "/").await.text();
    let address = page.split('"').find(|text| text.starts_with("/_previewd/client.js?v=")).expect("the client's tag").to_owned();
    assert!(page.find("<script data-previewd").expect("tag") < page.find("<link").expect("link"));
    let ask = async |path: &str, headers: &[(&str, &str)]| daemon.http.preview("demo", path, headers).await;
    let whole = ask(&address, &[]).await;
    assert_eq!(
        (whole.status, whole.header("cache-control"), whole.header("content-type")),
        (200, "public, max-age=31536000, immutable", "text/javascript; charset=utf-8")
    );
    let brotli = ask(&address, &[("accept-encoding", "br")]).await;
    assert_eq!((brotli.status, brotli.header("content-encoding"), brotli.header("vary")), (200, "br", "Accept-Encoding"));
    assert!(brotli.body.len() <= 6_000, "{} bytes", brotli.body.len());
    for other in ["/_previewd/client.js", "/_previewd/client.js?v=1", "/_previewd/overlay.js"] {
        assert_eq!((ask(other, &[]).await.status, ask(other, &[]).await.header("cache-control")), (200, "no-cache"), "{other}");
    }
    assert_eq!(ask("/_previewd/client.js", &[("if-none-match", whole.header("etag"))]).await.status, 304);
    assert_eq!(ask("/_previewd/none.js", &[]).await.status, 404);
}
