//! What a project's builds are given besides its sources: variables, and where the app is.

use previewd::auth::{Claims, Scope, mint};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::http::{Answer, Http};
use crate::harness::{Daemon, Options, files_below};

const SECRET: &str = "a-webhook-secret-of-ours";
const HIDDEN: &str = "a-value-that-is-nobodys-business";

async fn put(daemon: &Daemon, body: &Value) -> Answer {
    Http::send(daemon.http.request(Method::PUT, "/env/demo").bearer_auth(&daemon.http.token).json(body)).await
}

/// All that the live release has in its scripts.
fn built(daemon: &Daemon) -> String {
    let dist = daemon.project("demo").join("dist").canonicalize().expect("dist");
    let scripts = files_below(&dist).into_iter().filter(|file| file.ends_with(".js"));
    scripts.map(|file| std::fs::read_to_string(dist.join(file)).expect("read")).collect()
}

async fn ready(daemon: &Daemon, revision: u64) {
    let status = daemon.status_until("demo", |status| ["ready", "error"].contains(&status["state"].as_str().unwrap_or_default())).await;
    assert_eq!((&status["state"], &status["revision"]), (&json!("ready"), &json!(revision)), "{status:#}");
}

#[tokio::test]
async fn variables_win_over_the_projects_own_and_never_come_out() {
    let daemon = Options::default().set("build.env_names", "SITE_TITLE").start().await;
    let early = put(&daemon, &json!({ "vars": { "VITE_WHO": HIDDEN, "SITE_TITLE": "from-outside" } })).await;
    let answered = json!({ "status": "no_changes", "revision": 0, "names": ["SITE_TITLE", "VITE_WHO"], "root": null });
    assert_eq!((early.status, early.json()), (200, answered), "before there are any sources");

    daemon.push_fixture("demo", "vanilla");
    daemon.put("demo", ".env", "VITE_WHO=of-the-project\nVITE_OTHER=its-own\n");
    daemon.put("demo", "main.js", "document.title = __TITLE__; document.body.append(import.meta.env.VITE_WHO, import.meta.env.VITE_OTHER);");
    daemon.put("demo", "vite.config.js", "export default { define: { __TITLE__: JSON.stringify(process.env.SITE_TITLE ?? 'none') } };");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    let script = built(&daemon);
    assert!(script.contains(HIDDEN) && script.contains("its-own") && script.contains("from-outside"), "{script}");
    assert!(!script.contains("of-the-project"));

    let same = put(&daemon, &json!({ "vars": { "SITE_TITLE": "from-outside", "VITE_WHO": HIDDEN } })).await;
    assert_eq!((same.status, &same.json()["status"]), (200, &json!("no_changes")));
    let changed = put(&daemon, &json!({ "vars": { "VITE_WHO": format!("{HIDDEN}-2") } })).await;
    assert_eq!((changed.status, &changed.json()["revision"]), (202, &json!(2)), "{}", changed.text());
    ready(&daemon, 2).await;
    let script = built(&daemon);
    assert!(script.contains(&format!("{HIDDEN}-2")) && script.contains("none"), "what was set before is gone: {script}");

    let taken_back = daemon.http.delete("/env/demo").await;
    assert_eq!((taken_back.status, &taken_back.json()["names"]), (202, &json!([])));
    ready(&daemon, 3).await;
    assert!(built(&daemon).contains("of-the-project") && !built(&daemon).contains(HIDDEN));
    assert_eq!(daemon.http.delete("/env/demo").await.status, 200);

    put(&daemon, &json!({ "vars": { "VITE_WHO": HIDDEN } })).await;
    ready(&daemon, 4).await;
    let daemon = daemon.kill_and_restart();
    let shown = daemon.http.get("/env/demo").await;
    assert_eq!(shown.json(), json!({ "names": ["VITE_WHO"], "root": null }));
    let told = [early, same, changed, taken_back, shown, daemon.http.get("/status/demo").await, daemon.http.get("/logs/demo").await];
    let told = told.iter().map(Answer::text).chain([daemon.log()]).collect::<String>();
    assert!(!told.contains(HIDDEN), "{told}");
}

#[tokio::test]
async fn the_app_is_where_it_is_said_to_be() {
    let daemon = Options::default().cold_store().start().await;
    for app in ["one", "two"] {
        daemon.put("demo", &format!("apps/{app}/index.html"), format!("<p>{app}</p>"));
    }
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    assert_eq!(daemon.preview("demo", "/").await.app_text(), "<p>one</p>", "the first, where nobody says");
    assert_eq!(put(&daemon, &json!({ "root": "apps/two" })).await.json()["root"], "apps/two");
    ready(&daemon, 2).await;
    assert_eq!(daemon.preview("demo", "/").await.app_text(), "<p>two</p>");
    put(&daemon, &json!({ "root": "apps/three" })).await;
    let status = daemon.settled("demo").await;
    let failure = &status["last_build"]["failure"];
    assert_eq!((&status["state"], &failure["kind"]), (&json!("error"), &json!("config")), "{status:#}");
    assert!(failure["message"].as_str().is_some_and(|text| text.contains("apps/three")), "{failure:#}");
    assert_eq!(daemon.preview("demo", "/").await.app_text(), "<p>two</p>", "the last good one stays");
}

#[tokio::test]
async fn what_may_not_be_set_and_by_whom() {
    let daemon = Options::default().cold_store().set("auth.webhook_secrets", SECRET).start().await;
    for (body, told) in [
        (json!({ "vars": { "NODE_OPTIONS": HIDDEN } }), "NODE_OPTIONS"),
        (json!({ "vars": { "API_KEY": HIDDEN } }), "build.env_names"),
        (json!({ "vars": { "VITE_A": [HIDDEN] } }), "at vars.VITE_A"),
        (json!({ "vars": HIDDEN }), "at vars"),
        (json!({ "root": "../other" }), "at root"),
    ] {
        let answer = put(&daemon, &body).await;
        assert_eq!(answer.problem(), (400, "invalid_body".to_owned()));
        assert!(answer.text().contains(told) && !answer.text().contains(HIDDEN), "{}", answer.text());
    }
    assert_eq!(daemon.http.get("/env/demo").await.problem(), (404, "unknown_project".to_owned()));
    assert_eq!(daemon.http.delete("/env/demo").await.problem(), (404, "unknown_project".to_owned()));
    let form = daemon.http.request(Method::PUT, "/env/demo").bearer_auth(&daemon.http.token).header("content-type", "text/plain").body("{}");
    assert_eq!(Http::send(form).await.status, 415, "what a page could send anywhere");
    let exp = u64::try_from(jiff::Timestamp::now().as_second() + 60).expect("after 1970");
    let token = mint(SECRET, &Claims { sub: "demo".parse().expect("id"), scope: Scope::Read, exp }).expect("mint");
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        assert_eq!(Http::send(daemon.http.request(method, "/env/demo").bearer_auth(&token)).await.status, 401);
    }
    let wrong = Http::send(daemon.http.request(Method::POST, "/env/demo").bearer_auth(&daemon.http.token)).await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, "DELETE, GET, HEAD, PUT"));
}
