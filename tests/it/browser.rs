//! What a person sees: apps in real Chromium, in host mode and in path mode.

use serde_json::json;

use crate::harness::Daemon;
use crate::harness::browser::Browser;
use crate::harness::shared::{Site, site};

/// The preview's own origin.
fn origin(site: &Site) -> String {
    let port = site.daemon.http.address.rsplit(':').next().expect("port");
    format!("http://{}.localhost:{port}", site.name)
}

#[tokio::test]
async fn a_router_app_at_its_own_origin() {
    let site = site("router").await;
    let (mut browser, origin) = (Browser::start(), origin(&site));
    for (path, heading) in [
        ("/", "router works"),
        ("/about", "router about, from a lazy chunk"),
        ("/items/42", "router item 42"),
        ("/nowhere", "router found no page at /nowhere"),
    ] {
        assert_eq!(browser.goto(&format!("{origin}{path}")), 200, "{path}");
        assert_eq!(browser.see("h1", "router"), heading, "{path}");
    }
    // The chunk and its style are loaded when the link is followed, and the page stays.
    browser.goto(&format!("{origin}/"));
    browser.eval("window.stayed = true");
    browser.click("a", "About");
    browser.see("h1", "router about, from a lazy chunk");
    let seen = browser.eval("[location.pathname, window.stayed, getComputedStyle(document.querySelector('h1')).color]");
    assert_eq!(seen, json!(["/about", true, "rgb(0, 100, 0)"]));
    browser.click("a", "Item 42");
    browser.see("h1", "router item 42");
    browser.reload();
    assert_eq!(browser.see("h1", "router"), "router item 42");
    browser.screenshot("router", 800, 600);
    assert_eq!(browser.problems(), json!([]));
}

#[tokio::test]
async fn apps_in_path_mode() {
    let mut browser = Browser::start();
    // A router without a basename shows its own page for an address that it does not know; everything of it is loaded.
    let router = site("router").await;
    let base = format!("http://{}/preview", router.daemon.http.address);
    assert_eq!(browser.goto(&format!("{base}/router/")), 200);
    assert_eq!(browser.see("h1", "router"), "router found no page at /preview/router/");
    browser.click("a", "About");
    browser.see("h1", "router about, from a lazy chunk");
    assert_eq!(browser.eval("getComputedStyle(document.querySelector('h1')).color"), "rgb(0, 100, 0)");
    // Deep links keep the page's assets.
    assert_eq!(browser.goto(&format!("{base}/router/items/42")), 200);
    assert_eq!(browser.see("h1", "router"), "router found no page at /preview/router/items/42");
    for (fixture, heading) in [("vanilla", "vanilla works"), ("odd-names", "odd-names lost .hidden.txt"), ("workers-wasm", "workers-wasm works")] {
        site(fixture).await;
        assert_eq!(browser.goto(&format!("{base}/{fixture}/")), 200);
        assert_eq!(browser.see("h1", fixture), heading);
        if fixture == "odd-names" {
            let problems = browser.problems().to_string();
            assert!(problems.contains(".hidden.txt") && !problems.contains("thrown"), "{problems}");
        }
    }
    assert_eq!(browser.eval("performance.getEntriesByType('resource').every(({ name }) => name.includes('/preview/'))"), true);
    assert_eq!(browser.problems(), json!([]));
}

#[tokio::test]
async fn assets_and_frameworks_at_their_own_origin() {
    let mut browser = Browser::start();
    for (fixture, heading) in [
        ("workers-wasm", "workers-wasm works"),
        ("monorepo-catalog", "monorepo-catalog works"),
        ("vue", "vue works"),
        ("svelte", "svelte works"),
        ("vite5-react-tailwind3", "vite5-react-tailwind3 works"),
        ("undeclared-import", "undeclared-import works"),
        ("shadow-dom", "shadow-dom works"),
        ("hard-coded-base", "hard-coded-base works"),
    ] {
        let site = site(fixture).await;
        assert_eq!(browser.goto(&origin(&site)), 200, "{fixture}");
        assert_eq!(browser.see("h1", fixture), heading);
        assert_eq!(browser.problems(), json!([]), "{fixture}");
    }
    assert_eq!(browser.eval("[...document.images].every((image) => image.complete && image.naturalWidth > 0)"), true);
}

#[tokio::test]
async fn the_demo_app_and_an_edit_of_it() {
    let daemon = Daemon::start().await;
    let port = daemon.http.address.rsplit(':').next().expect("port").to_owned();
    let (mut browser, url) = (Browser::start(), format!("http://demo.localhost:{port}/"));
    assert_eq!(browser.goto(&url), 404);
    browser.see("h1", "No preview yet");
    browser.problems();

    // From the page that waits to the app, without anybody's help.
    daemon.push_fixture("demo", "demo");
    assert_eq!(daemon.sync("demo", json!({})).await.status, 202);
    browser.see("h1", "Six walks between the tarn and the sea");
    let waited = browser.problems().to_string();
    assert!(!waited.contains("thrown"), "{waited}");
    browser.screenshot("demo-wide", 1280, 800);
    browser.screenshot("demo-narrow", 390, 844);
    assert_eq!(browser.eval("document.documentElement.scrollWidth <= innerWidth"), true, "it fits a telephone");

    daemon.edit("demo", "src/pages/HomePage.tsx", "Six walks between the tarn and the sea", "Seven walks, edited");
    let edited = daemon.sync_paths("demo", &["src/pages/HomePage.tsx"]).await;
    assert_eq!(edited["status"], "ready", "{edited:#}");
    // The page reloads by itself.
    browser.see("h1", "Seven walks, edited");
    assert_eq!(browser.problems(), json!([]));
}

#[tokio::test]
async fn the_waiting_page_is_seen_while_the_first_build_runs() {
    let daemon = Daemon::start().await;
    let port = daemon.http.address.rsplit(':').next().expect("port").to_owned();
    let mut browser = Browser::start();
    daemon.push_fixture("slow", "hanging-build");
    assert_eq!(daemon.sync("slow", json!({})).await.status, 202);
    assert_eq!(browser.goto(&format!("http://slow.localhost:{port}/")), 503);
    browser.see("h1", "Building the preview");
    browser.screenshot("waiting", 800, 600);
    // The next revision supersedes the build that hangs.
    daemon.edit("slow", "vite.config.js", "return new Promise", "return; new Promise");
    daemon.sync("slow", json!({})).await;
    browser.see("h1", "hanging-build works");
    daemon.push_fixture("bad", "syntax-error");
    assert_eq!(daemon.sync_and_wait("bad").await["status"], "error");
    assert_eq!(browser.goto(&format!("http://bad.localhost:{port}/")), 503);
    browser.see("body", "src/App.tsx, line 6");
    browser.screenshot("failed", 800, 600);
}
