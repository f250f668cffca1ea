//! The operator's page in real Chromium: signing in, finding a project, what it shows live, rollbacks, and that hostile text stays text.

use reqwest::Method;
use serde_json::json;

use crate::harness::browser::Browser;
use crate::harness::http::Http;
use crate::harness::{Daemon, Options};

/// What would run, were it taken for markup.
const HOSTILE: &str = "<img src=x onerror=window.pwned=1>";

/// A page of an app that prints hostile text, and whose `h1` says `text`.
fn app(text: &str) -> String {
    format!("<!doctype html><title>app</title><h1>{text}</h1><script>console.error('{HOSTILE}')</script>")
}

/// A project with two builds; the ids of both, oldest first.
async fn two_builds(daemon: &Daemon, project: &str) -> Vec<String> {
    let mut builds = Vec::new();
    for text in ["first", "second"] {
        daemon.put(project, "index.html", app(text));
        let answer = daemon.sync_and_wait(project).await;
        builds.push(answer["build"]["build_id"].as_str().expect("id").to_owned());
    }
    builds
}

/// Opens the page and signs in.
fn sign_in(browser: &mut Browser, daemon: &Daemon) {
    browser.goto(&format!("http://{}/", daemon.http.address));
    browser.see("#sign-in h2", "Sign in");
    browser.type_into("#token", &daemon.http.token);
    browser.press("Enter");
    browser.until("document.querySelector('#home').checkVisibility()");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_served_with_a_strict_policy_and_a_validator() {
    let daemon = Options::default().cold_store().start().await;
    let get = async |path: &str, etag: &str| Http::send(daemon.http.request(Method::GET, path).header("if-none-match", etag)).await;
    for path in ["/", "/page/main.js", "/page/page.css", "/page/previewd-frame.js", "/page/demo.html"] {
        let answer = get(path, "").await;
        let policy = answer.header("content-security-policy");
        assert_eq!(answer.status, 200, "{path}");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let again = get(path, answer.header("etag")).await;
        assert_eq!((again.status, again.text()), (304, String::new()), "{path}");
        assert_eq!(get(path, "\"other\"").await.status, 200);
    }
    for path in ["/page/", "/page/missing.js", "/page/..%2fCargo.toml", "/page/page/main.js"] {
        assert_eq!(get(path, "").await.status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_signs_in_finds_a_project_and_rolls_it_back() {
    let daemon = Daemon::start().await;
    let builds = two_builds(&daemon, "shop-front").await;
    two_builds(&daemon, "other").await;
    let mut browser = Browser::start();
    let address = format!("http://{}/", daemon.http.address);
    browser.goto(&address);
    browser.type_into("#token", "a-token-that-is-none");
    browser.press("Enter");
    browser.see("#sign-in-problem", "not valid");
    sign_in(&mut browser, &daemon);
    assert!(browser.problems().to_string().contains("401"), "of the wrong token alone");
    browser.see("#projects li:nth-child(2) b", "shop-front");
    browser.see("#overall", "healthy");

    // By keys alone.
    browser.press("/");
    browser.type_into("#search", "shop");
    browser.until("document.querySelectorAll('#projects li').length === 1");
    browser.press("ArrowDown");
    assert_eq!(browser.eval("document.activeElement.hash"), "#/p/shop-front");
    browser.press("Enter");
    browser.see("#project h2", "shop-front");
    browser.see_in("preview", "h1", "second");
    let rows = format!("document.querySelector('#project tr.live')?.dataset.build === '{}'", builds[1]);
    browser.until(&rows);
    assert_eq!(browser.eval("document.querySelectorAll('#project tbody tr').length"), 2);

    browser.click(&format!("[data-key='Make live {}']", builds[0]), "Make live");
    browser.see_in("preview", "h1", "first");
    browser.until(&rows.replace(&builds[1], &builds[0]));
    assert_eq!(daemon.status("shop-front").await["live"]["build_id"], json!(builds[0]));

    // A reload of the tab keeps the token; Escape leads back.
    browser.reload();
    browser.see("#project h2", "shop-front");
    browser.press("Escape");
    browser.until("document.querySelector('#home').checkVisibility()");
    browser.click("#sign-out", "Sign out");
    browser.see("#sign-in h2", "Sign in");
    assert_eq!(browser.eval("sessionStorage.length"), 0);

    // The link that the daemon logs.
    browser.goto(&format!("{address}#token={}", daemon.http.token));
    browser.until("document.querySelector('#home').checkVisibility()");
    assert_eq!(browser.eval("location.hash"), "", "it is not left in the address");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_seen_as_it_runs_and_hostile_text_stays_text() {
    let daemon = Daemon::start().await;
    daemon.build_fixture("demo", "vanilla").await;
    let mut browser = Browser::start();
    sign_in(&mut browser, &daemon);
    browser.goto(&format!("http://{}/#/p/demo", daemon.http.address));
    browser.see_in("preview", "h1", "vanilla works");
    browser.until("document.querySelectorAll('.log > *').length > 0");
    let shown = browser.eval("document.querySelector('.log').previousSibling.innerText");

    daemon.put("demo", "main.js", format!("import './{HOSTILE}'"));
    let answer = daemon.sync_and_wait("demo").await;
    assert_eq!(answer["status"], "error", "{answer:#}");
    browser.see("#project .failure", HOSTILE);
    browser.see(".log", HOSTILE);
    browser.see(".diagnostics", HOSTILE);
    browser.see_in("preview", "h1", "vanilla works");
    assert_ne!(browser.eval("document.querySelector('.log').previousSibling.innerText"), shown, "the log is the new build's");
    browser.see(".title-row .badge", "error");

    daemon.put("demo", "index.html", app("third"));
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    browser.see_in("preview", "h1", "third");
    browser.see(".console", HOSTILE);
    browser.until("!document.querySelector('#project .failure')");
    assert_eq!(browser.eval("[window.pwned ?? null, document.querySelectorAll('#project img').length]"), json!([null, 0]));
    // The page itself had no trouble; the app's own console is not the page's.
    let problems = browser.problems().to_string();
    assert!(!problems.contains("Content Security Policy") && !problems.contains("thrown"), "{problems}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_by_path_cannot_reach_the_page_around_it() {
    let daemon = Daemon::start().await;
    let reach = "<!doctype html><h1>inner</h1><script>let got; try { got = top.sessionStorage.getItem('previewd-token') } catch (e) { got = e.name } parent.postMessage(`${origin} got ${got}`, '*')</script>";
    daemon.put("evil", "inner.html", reach);
    let outer = format!(
        "<!doctype html><h1>outer</h1><script>onmessage = ({{ data }}) => typeof data === 'string' && (document.querySelector('h1').textContent = data)</script><iframe src='http://{}/preview/evil/inner.html'></iframe>",
        daemon.http.address
    );
    daemon.put("evil", "index.html", outer);
    assert_eq!(daemon.sync_and_wait("evil").await["status"], "ready");
    let mut browser = Browser::start();
    sign_in(&mut browser, &daemon);
    browser.goto(&format!("http://{}/#/p/evil", daemon.http.address));
    assert_eq!(browser.see_in("preview", "h1", " got "), "null got SecurityError");
    let policy = async |dest| {
        let request = daemon.http.request(Method::GET, "/preview/evil/").header("sec-fetch-dest", dest);
        Http::send(request).await.header("content-security-policy").to_owned()
    };
    assert!(policy("iframe").await.contains("; sandbox allow-scripts") && !policy("document").await.contains("sandbox"));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_path_mode_the_token_is_kept_nowhere_and_frames_have_no_origin() {
    let daemon = Options::default().set("server.preview_domain", "").start().await;
    two_builds(&daemon, "demo").await;
    let mut browser = Browser::start();
    sign_in(&mut browser, &daemon);
    browser.goto(&format!("http://{}/#/p/demo", daemon.http.address));
    browser.see_in("preview", "h1", "second");
    assert_eq!(browser.eval_in("preview", "origin"), "null");
    browser.see(".console", HOSTILE);
    assert_eq!(browser.eval("sessionStorage.length + localStorage.length"), 0);
    browser.reload();
    browser.see("#sign-in h2", "Sign in");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_previews_and_hears_them_where_others_may_frame_them_too() {
    let daemon = Options::default().set("server.embed_origins", "https://chat.example").start().await;
    two_builds(&daemon, "demo").await;
    let mut browser = Browser::start();
    sign_in(&mut browser, &daemon);
    browser.goto(&format!("http://{}/#/p/demo", daemon.http.address));
    browser.see_in("preview", "h1", "second");
    browser.see(".console", HOSTILE);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_what_the_metrics_say() {
    let daemon = Options::default().cold_store().start().await;
    let mut browser = Browser::start();
    browser.goto(&format!("http://{}/", daemon.http.address));
    let text = r#"# HELP previewd_x x\npreviewd_x_bucket{le="0.1"} 2\npreviewd_x_bucket{le="1"} 4\npreviewd_x_bucket{le="+Inf"} 5\npreviewd_y{a="p \\"q\\"",b="1"} 2\npreviewd_y{a="r",b="1"} 3"#;
    let script = format!(
        "import('/page/figures.js').then(({{ parse, sum, shares, buckets, quantile }}) => {{
           const samples = parse(`{text}`);
           const of = (q) => quantile(buckets(samples, 'x'), q) ?? null;
           return [of(0.2), of(0.8), of(0.99), quantile([], 0.5) ?? null, sum(samples, 'y'), sum(samples, 'y', {{ a: 'r' }}), shares(samples, 'y', 'a', ['r'])[0].count];
         }})"
    );
    // Of five: the first is in the middle of up to 0.1 s, the fourth at 1 s, the last is beyond what is told apart.
    assert_eq!(browser.eval(&script), json!([0.05, 1, 1, null, 5, 3, 3]));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_used_by_everybody_in_both_schemes() {
    let daemon = Daemon::start().await;
    for project in ["shop-front", "dashboard", "portfolio", "todo-list"] {
        two_builds(&daemon, project).await;
    }
    daemon.build_fixture("demo", "vanilla").await;
    daemon.put("demo", "main.js", "const broken = ;\n");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "error");
    let mut browser = Browser::start();
    browser.goto(&format!("http://{}/", daemon.http.address));
    let check = |browser: &mut Browser, name: &str| {
        for scheme in ["light", "dark"] {
            browser.scheme(scheme);
            assert_eq!(browser.axe(), json!([]), "{name}, {scheme}");
        }
        browser.screenshots(&format!("page-{name}"));
    };
    check(&mut browser, "sign-in");
    sign_in(&mut browser, &daemon);
    browser.see("#projects li:nth-child(5) b", "todo-list");
    browser.until("document.querySelectorAll('#charts figure').length === 4 && document.querySelectorAll('#checks li').length > 5");
    check(&mut browser, "home");
    browser.goto(&format!("http://{}/#/p/demo", daemon.http.address));
    browser.see_in("preview", "h1", "vanilla works");
    browser.see(".diagnostics", "build compile");
    browser.until("document.querySelectorAll('.log > *').length > 0 && document.querySelectorAll('#project tbody tr').length === 2");
    check(&mut browser, "project");
}
