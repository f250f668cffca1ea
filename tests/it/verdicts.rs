//! Did it render? Apps that are broken in ways that a build does not notice, and apps that only look broken, in real Chromium.

use serde_json::{Value, json};

use crate::harness::browser::Browser;
use crate::harness::product::preview_url;
use crate::harness::{Daemon, Options, eventually};

/// A page around a script.
fn page(head: &str, body: &str) -> String {
    format!("<!doctype html><html><head><title>x</title>{head}</head><body>{body}</body></html>")
}

/// Publishes a page and what belongs to it, opens it, and waits for a verdict on it other than `not`.
async fn verdict(daemon: &Daemon, browser: &mut Browser, name: &str, files: &[(&str, &str)], html: &str) -> Value {
    daemon.put(name, "index.html", html);
    for (path, text) in files {
        daemon.put(name, path, text);
    }
    let built = daemon.sync_and_wait(name).await;
    assert_eq!(built["status"], "ready", "{name}: {built:#}");
    browser.visit(&preview_url(daemon, name));
    let status = daemon.status_until(name, |status| !["", "unknown"].contains(&status["render"]["verdict"].as_str().unwrap_or_default())).await;
    assert_eq!(status["render"]["build_id"], status["live"]["build_id"]);
    status["render"].clone()
}

/// A name, a page, what belongs to it, the verdict, and what its detail has.
type Case = (&'static str, String, &'static [(&'static str, &'static str)], &'static str, &'static str);

const ROOT: &str = "<div id=root></div>";

#[tokio::test]
async fn six_broken_apps() {
    let daemon = Options::default().cold_store().start().await;
    let mut browser = Browser::start();
    let script = |text: &str| format!("{ROOT}<script type=module>{text}</script>");
    let cases: [Case; 6] = [
        ("blank", page("", &script("document.querySelector('#root').className = 'min-h-screen'")), &[], "empty", "nothing"),
        ("throws", page("", &script("document.querySelector('#root').append(import.meta.env.VITE_KEY.length)")), &[], "script_error", "TypeError"),
        ("chunk", page("", &script("await import('/assets/gone-12345678.js')")), &[], "asset_missing", "gone-12345678.js"),
        ("base", page("<script type=module src=/my-app/main.js></script>", "<div id=root>Loading…</div>"), &[], "asset_missing", "/my-app/main.js"),
        ("redirect", page("", "<script>location.replace('/?' + Math.random())</script>"), &[], "script_error", "without end"),
        (
            "policy",
            page("<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\"><script src=/main.js></script>", ROOT),
            &[("main.js", "document.querySelector('#root').append('works')")],
            "script_error",
            "Content-Security-Policy",
        ),
    ];
    for (name, html, files, expected, detail) in cases {
        // A page that goes on and on would keep the next one away.
        let mut own = (name == "redirect").then(Browser::start);
        let found = verdict(&daemon, own.as_mut().unwrap_or(&mut browser), name, files, &html).await;
        assert_eq!(found["verdict"], expected, "{name}: {found:#}");
        assert!(found["detail"].as_str().unwrap_or_default().contains(detail), "{name}: {found:#}");
    }
    let metrics = daemon.http.get("/metrics").await.text();
    for (verdict, count) in [("empty", 1), ("script_error", 3), ("asset_missing", 2)] {
        let line = format!("previewd_renders_total{{verdict=\"{verdict}\"}} {count}");
        assert!(metrics.contains(&line), "{line}");
    }
}

#[tokio::test]
async fn apps_that_only_look_broken() {
    let daemon = Options::default().cold_store().start().await;
    let mut browser = Browser::start();
    let flood = "for (let n = 0; n < 1000; n++) console.error('broken image', n); const img = new Image; img.src = '/none.png'; document.body.append(img, 'here')";
    let component = |mode: &str| {
        format!(
            "<x-app></x-app><script type=module>customElements.define('x-app', class extends HTMLElement {{ connectedCallback() {{ this.attachShadow({{ mode: '{mode}' }}).innerHTML = '<p>in a shadow</p>' }} }}); throw Error('later')</script>"
        )
    };
    let draw = "<canvas width=300 height=200></canvas><script type=module>const c = document.querySelector('canvas').getContext('2d'); c.fillRect(0, 0, 50, 50); requestAnimationFrame(function f() { requestAnimationFrame(f) })</script>";
    let cases = [
        ("late", format!("{ROOT}<script type=module>setTimeout(() => document.querySelector('#root').append('at last'), 1500)</script>")),
        ("flood", format!("{ROOT}<script type=module>{flood}</script>")),
        ("open", component("open")),
        ("closed", component("closed").replace("<p>", "<style>:host { display: block; height: 40px }</style><p>")),
        ("canvas", draw.to_owned()),
        ("svg", "<svg width=50 height=50><circle r=20 /></svg>".to_owned()),
        ("drawn", "<style>b { display: block; width: 99px; height: 99px; background: teal }</style><b></b>".to_owned()),
        ("throws", format!("{ROOT}<script type=module>document.querySelector('#root').append('I am here'); throw Error('afterwards')</script>")),
        ("static", format!("<h1>A page</h1><p>{}</p><script src=/analytics.js></script>", "of plain text ".repeat(20))),
    ];
    for (name, body) in cases {
        let found = verdict(&daemon, &mut browser, name, &[], &page("", &body)).await;
        assert_eq!(found["verdict"], "rendered", "{name}: {found:#}");
    }
}

#[tokio::test]
async fn what_falls_over_after_it_rendered_is_noticed() {
    let daemon = Options::default().cold_store().start().await;
    let mut browser = Browser::start();
    // As React does when an effect throws: what was there is taken away.
    let body = format!(
        "{ROOT}<script type=module>const root = document.querySelector('#root'); root.append('hello'); setTimeout(() => {{ root.remove(); throw Error('fell over') }}, 600)</script>"
    );
    daemon.put("falls", "index.html", page("", &body));
    assert_eq!(daemon.sync_and_wait("falls").await["status"], "ready");
    browser.goto(&preview_url(&daemon, "falls"));
    let status = daemon.status_until("falls", |status| status["render"]["verdict"] == "script_error").await;
    assert!(status["render"]["detail"].as_str().expect("why").contains("fell over"), "{status:#}");
}

#[tokio::test]
async fn a_report_is_a_claim_within_limits() {
    let daemon = Options::default().cold_store().start().await;
    daemon.put("demo", "index.html", page("", "hello"));
    let built = daemon.sync_and_wait("demo").await;
    let build = built["build"]["build_id"].as_str().expect("a build").to_owned();
    let port = daemon.http.address.rsplit(':').next().expect("port").to_owned();
    let send = async |label: &str, body: String| {
        let request = daemon.http.request(reqwest::Method::POST, "/_previewd/report").header("host", format!("{label}.localhost:{port}"));
        crate::harness::http::Http::send(request.header("content-type", "text/plain").body(body)).await
    };
    let claim = |build: &str| json!({ "build": build, "render": { "verdict": "empty" } }).to_string();
    assert_eq!(send("demo", claim(&build)).await.status, 204);
    assert_eq!(daemon.status("demo").await["render"]["verdict"], "empty");
    assert_eq!(send("demo", claim("00000000000000000000000001")).await.problem(), (404, "unknown_build".to_owned()));
    assert_eq!(send("demo", "{}".into()).await.problem(), (400, "invalid_body".to_owned()));
    assert_eq!(send("demo", " ".repeat(64 * 1024 + 1)).await.problem(), (413, "body_too_large".to_owned()));
    assert_eq!(daemon.preview("demo", "/_previewd/report").await.problem().0, 405);
    let by_path = |body: String| daemon.http.request(reqwest::Method::POST, "/preview/demo/_previewd/report").body(body);
    assert_eq!(crate::harness::http::Http::send(by_path(claim(&build))).await.status, 204);
    // Another project's build is none of this one's.
    daemon.put("other", "index.html", page("", "hello"));
    daemon.sync_and_wait("other").await;
    assert_eq!(send("other", claim(&build)).await.problem(), (404, "unknown_build".to_owned()));
    let refused = eventually("an end of it", async || {
        let answer = send("demo", claim(&build)).await;
        (answer.status != 204).then_some(answer)
    })
    .await;
    assert_eq!(refused.problem(), (429, "too_many_reports".to_owned()));
    assert_eq!(send("other", "{}".into()).await.status, 400, "others are heard");
}

#[tokio::test]
async fn a_private_preview_takes_reports_from_its_visitors_alone() {
    let options = Options::default().cold_store().set("preview.private", "true").set("auth.webhook_secrets", "a-webhook-secret-of-ours");
    let daemon = options.start().await;
    daemon.put("demo", "index.html", page("", "hello"));
    let built = daemon.sync_and_wait("demo").await;
    let body = json!({ "build": built["build"]["build_id"], "render": { "verdict": "rendered" } }).to_string();
    let port = daemon.http.address.rsplit(':').next().expect("port").to_owned();
    let request =
        || daemon.http.request(reqwest::Method::POST, "/_previewd/report").header("host", format!("demo.localhost:{port}")).body(body.clone());
    assert_eq!(crate::harness::http::Http::send(request()).await.problem().0, 401);
    assert_eq!(daemon.preview("demo", "/_previewd/client.js").await.problem().0, 401);
    assert_eq!(crate::harness::http::Http::send(request().bearer_auth(&daemon.http.token)).await.status, 204);
    assert_eq!(daemon.status("demo").await["render"]["verdict"], "rendered");
    // A visitor's browser has the cookie of the preview.
    let exp = u64::try_from(jiff::Timestamp::now().as_second() + 600).expect("after 1970");
    let claims = previewd::auth::Claims { sub: "demo".parse().expect("id"), scope: previewd::auth::Scope::Preview, exp };
    let token = previewd::auth::mint("a-webhook-secret-of-ours", &claims).expect("mint");
    daemon.put("demo", "index.html", page("", "<h1>secret</h1>"));
    daemon.sync_and_wait("demo").await;
    let mut browser = Browser::start();
    browser.goto(&format!("{}?token={token}", preview_url(&daemon, "demo")));
    browser.see("h1", "secret");
    let status = daemon.status_until("demo", |status| status["render"]["verdict"] == "rendered").await;
    assert_eq!(status["render"]["build_id"], status["live"]["build_id"]);
    daemon.put("demo", "index.html", page("", "<h1>another secret</h1>"));
    daemon.sync_and_wait("demo").await;
    browser.see("h1", "another secret");
    assert_eq!(browser.problems(), json!([]));
}
