//! Previews in frames: who may show them, what they can do there, and that they cannot reach each other.

use serde_json::json;

use crate::harness::Options;
use crate::harness::browser::Browser;
use crate::harness::product::{Product, preview_url};
use crate::harness::shared::site;

/// Calls of the browser block, and this page is served by the same runtime.
async fn in_browser<T: Send + 'static>(work: impl FnOnce(&mut Browser) -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(|| work(&mut Browser::start())).await.expect("the browser's part")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_frames_previews_that_cannot_reach_each_other() {
    let (one, other) = (site("vanilla").await, site("router").await);
    let (one, other) = (preview_url(one.daemon, &one.name), preview_url(other.daemon, &other.name));
    let html = format!("<h1>chat</h1><iframe name=one src={one}></iframe><iframe name=other src={other}></iframe>");
    let product = Product::serve(html, "").await;
    let problems = in_browser(move |browser| {
        browser.goto(&product.at("chat"));
        browser.see_in("one", "h1", "vanilla works");
        browser.see_in("other", "h1", "router works");
        browser.screenshot("framed", 900, 500);
        browser.eval_in("one", "localStorage.setItem('secret', 'of one')");
        assert_eq!(browser.eval_in("one", "localStorage.getItem('secret')"), "of one", "storage works in a frame");
        assert_eq!(browser.eval_in("other", "localStorage.getItem('secret')"), json!(null));
        let reach = "(() => { try { return parent.frames.one.localStorage.getItem('secret') } catch (e) { return e.name } })()";
        assert_eq!(browser.eval_in("other", reach), "SecurityError");
        assert_eq!(browser.eval_in("other", &reach.replace("localStorage.getItem('secret')", "document.body.innerText")), "SecurityError");
        let api = "fetch('/status/vanilla', { headers: { accept: 'application/json' } }).then((answer) => answer.status)";
        assert_eq!(browser.eval_in("other", api), 404, "a preview's origin has no API");
        browser.problems()
    })
    .await;
    assert!(!problems.to_string().contains("Refused to frame"), "{problems}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_origins_of_the_configuration_may_frame() {
    // The page is told the preview's port, for neither knows the other's beforehand.
    let html = "<script>document.write(`<iframe name=preview src=http://demo.localhost:${location.hash.slice(1)}/></iframe>`)</script>";
    let product = Product::serve(html.to_owned(), "").await;
    let daemon = Options::default().set("server.embed_origins", product.at("chat")).start().await;
    daemon.build_fixture("demo", "vanilla").await;
    let answer = daemon.preview("demo", "/").await;
    assert_eq!(answer.header("content-security-policy"), format!("frame-ancestors 'self' {} http://{}", product.at("chat"), daemon.http.address));
    assert!(answer.header("x-frame-options").is_empty());
    let port = daemon.http.address.rsplit(':').next().expect("port").to_owned();
    let problems = in_browser(move |browser| {
        browser.goto(&format!("{}/#{port}", product.at("chat")));
        browser.see_in("preview", "h1", "vanilla works");
        assert_eq!(browser.problems(), json!([]));
        browser.goto(&format!("{}/#{port}", product.at("evil")));
        assert_eq!(browser.eval_in("preview", "location.protocol"), "chrome-error:");
        browser.problems().to_string()
    })
    .await;
    assert!(problems.contains("frame-ancestors"), "{problems}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandboxed_frame_without_an_origin_loads_its_modules() {
    let site = site("vanilla").await;
    let url = preview_url(site.daemon, &site.name);
    let product = Product::serve(format!("<iframe name=preview sandbox=allow-scripts src={url}></iframe>"), "").await;
    in_browser(move |browser| {
        browser.goto(&product.at("chat"));
        browser.see_in("preview", "h1", "vanilla works");
        assert_eq!(browser.eval_in("preview", "origin"), "null");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_under_an_embedder_policy_can_show_previews() {
    const ISOLATED: &str = "Cross-Origin-Embedder-Policy: require-corp\r\nCross-Origin-Opener-Policy: same-origin\r\n";
    let plain = site("vanilla").await;
    let daemon = Options::default().set("preview.embedder_policy", "credentialless").start().await;
    daemon.build_fixture("demo", "vanilla").await;
    assert_eq!(daemon.preview("demo", "/").await.header("cross-origin-embedder-policy"), "credentialless");
    assert_eq!(plain.get("/").await.header("cross-origin-embedder-policy"), "");
    let (with_policy, plain) = (preview_url(&daemon, "demo"), preview_url(plain.daemon, &plain.name));
    let html = format!(
        "<iframe name=attribute credentialless src={plain}></iframe><iframe name=policy src={with_policy}></iframe><iframe name=neither src={plain}></iframe>"
    );
    let product = Product::serve(html, ISOLATED).await;
    in_browser(move |browser| {
        browser.goto(&product.at("chat"));
        assert_eq!(browser.eval("crossOriginIsolated"), true);
        browser.see_in("attribute", "h1", "vanilla works");
        browser.see_in("policy", "h1", "vanilla works");
        assert_eq!(browser.eval_in("neither", "location.protocol"), "chrome-error:", "the policy is what lets it in");
    })
    .await;
}
