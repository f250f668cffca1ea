//! Private previews: a token in the address becomes a cookie of that one origin; nothing opens without.

use reqwest::Method;

use crate::harness::raw::raw;
use crate::harness::{Daemon, Options};

const TOKEN: &str = "a-token-of-our-own";
const SECRET: &str = "a-webhook-secret-of-ours";

async fn private() -> Daemon {
    let options = Options::default().set("preview.private", true).set("auth.tokens", TOKEN).set("auth.webhook_secrets", SECRET);
    let mut daemon = options.cold_store().start().await;
    TOKEN.clone_into(&mut daemon.http.token);
    for project in ["demo", "other"] {
        assert_eq!(daemon.build_fixture(project, "static-html").await["status"], "ready");
    }
    daemon
}

fn token(project: &str, scope: previewd::auth::Scope, ttl_s: i64) -> String {
    let exp = u64::try_from(jiff::Timestamp::now().as_second() + ttl_s).expect("after 1970");
    previewd::auth::mint(SECRET, &previewd::auth::Claims { sub: project.parse().expect("id"), scope, exp }).expect("mint")
}

#[tokio::test]
async fn a_token_in_the_address_becomes_a_cookie() {
    let daemon = private().await;
    assert_eq!(daemon.preview("demo", "/").await.problem(), (401, "unauthorized".to_owned()));
    let token = token("demo", previewd::auth::Scope::Preview, 60);
    let first = daemon.preview("demo", &format!("/about.html?x=1&token={token}")).await;
    assert_eq!((first.status, first.header("location")), (303, "/about.html?x=1"));
    let cookie = first.header("set-cookie");
    for part in ["Path=/", "HttpOnly", "Secure", "SameSite=None", "Partitioned"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "of this one origin: {cookie}");
    let cookie = cookie.split(';').next().expect("cookie");
    let page = daemon.http.preview("demo", "/about.html", &[("cookie", cookie)]).await;
    assert_eq!(page.status, 200);
    let style = daemon.http.preview("demo", "/style.css", &[("cookie", &format!("a=b; {cookie}"))]).await;
    assert_eq!(style.status, 200);
    assert_eq!(daemon.http.preview("other", "/", &[("cookie", cookie)]).await.status, 401, "another project's cookie");
}

#[tokio::test]
async fn the_way_on_leads_to_no_other_host_and_an_apps_own_token_is_its_own() {
    let daemon = private().await;
    let token = token("demo", previewd::auth::Scope::Preview, 60);
    let host = format!("demo.{}", daemon.http.address.replace("127.0.0.1", "localhost"));
    for path in ["//evil.example/", "/\\evil.example/", "/\\/evil.example/"] {
        let answer = raw(&daemon.http.address, "GET", &format!("{path}?token={token}"), &host, &[]).await;
        assert_eq!((answer.status.as_str(), answer.header("location")), ("303", "/evil.example/"), "{path}");
    }
    let bent = raw(&daemon.http.address, "GET", &format!("/a?x=1&%74oken={token}&y=%26"), &host, &[]).await;
    assert_eq!((bent.status.as_str(), bent.header("location")), ("303", "/a?x=1&y=%26"), "it does not go round");
    let cookie = format!("previewd_preview={token}");
    assert_eq!(daemon.http.preview("demo", "/?token=of-the-app", &[("cookie", &cookie)]).await.status, 200);
    assert_eq!(daemon.http.preview("demo", "/?token=of-the-app", &[]).await.status, 401);
}

#[tokio::test]
async fn other_credentials_do_not_open_it() {
    use previewd::auth::Scope;
    let daemon = private().await;
    for refused in
        [token("demo", Scope::Read, 60), token("other", Scope::Preview, 60), token("demo", Scope::Preview, -1), TOKEN.to_owned(), String::new()]
    {
        assert_eq!(daemon.preview("demo", &format!("/?token={refused}")).await.status, 401, "{refused}");
        assert_eq!(daemon.http.preview("demo", "/", &[("cookie", &format!("previewd_preview={refused}"))]).await.status, 401, "{refused}");
    }
    assert_eq!(daemon.http.preview("demo", "/", &[("authorization", &format!("Bearer {TOKEN}"))]).await.status, 200, "an operator's");
}

#[tokio::test]
async fn path_mode_takes_the_token_each_time_and_sets_no_cookie() {
    let daemon = private().await;
    let token = token("demo", previewd::auth::Scope::Preview, 60);
    let answer = crate::harness::http::Http::send(daemon.http.request(Method::GET, &format!("/preview/demo/?token={token}"))).await;
    assert_eq!((answer.status, answer.header("set-cookie")), (200, ""));
    let without = crate::harness::http::Http::send(daemon.http.request(Method::GET, "/preview/demo/")).await;
    assert_eq!(without.status, 401);
}
