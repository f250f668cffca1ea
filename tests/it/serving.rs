//! What browsers get: types, validators, ranges, compressed copies, routes, permalinks, and the pages in a preview's place.

use std::io::Read;

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::http::{Answer, Http};
use crate::harness::shared::site;
use crate::harness::{Daemon, eventually, files_below};

const NAVIGATION: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

/// The same request in host mode and in path mode.
fn both_modes(daemon: &Daemon, method: &Method, project: &str, path: &str) -> [RequestBuilder; 2] {
    let port = daemon.http.address.rsplit(':').next().expect("port");
    let by_host = daemon.http.request(method.clone(), path).header("host", format!("{project}.localhost:{port}"));
    [by_host, daemon.http.request(method.clone(), &format!("/preview/{project}{path}"))]
}

#[tokio::test]
async fn types_and_caching() {
    let site = site("router").await;
    let built = files_below(&site.daemon.project("router").join("dist").canonicalize().expect("live"));
    let style = built.into_iter().find(|path| path.ends_with(".css")).expect("a stylesheet");
    let cases = [
        ("/".to_owned(), "text/html; charset=utf-8", "no-cache"),
        (site.asset(".js").await, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        (format!("/{style}"), "text/css; charset=utf-8", "public, max-age=31536000, immutable"),
    ];
    for (path, content_type, cache) in cases {
        let [by_host, by_path] = both_modes(site.daemon, &Method::GET, "router", &path);
        let answers = [Http::send(by_host).await, Http::send(by_path).await];
        for answer in &answers {
            let told = (answer.status, answer.header("content-type"), answer.header("cache-control"), answer.header("vary"));
            assert_eq!(told, (200, content_type, cache, "Accept-Encoding"), "{path}");
            assert_security(answer);
        }
        // Pages are rewritten in path mode, everything else is the same.
        assert_eq!(answers[0].body == answers[1].body, path != "/", "{path}");
        assert_eq!(answers[0].header("etag") == answers[1].header("etag"), path != "/", "{path}");
        for (request, answer) in both_modes(site.daemon, &Method::HEAD, "router", &path).into_iter().zip(&answers) {
            let head = Http::send(request).await;
            let told = (head.status, head.body.len(), head.header("content-length"), head.header("etag"));
            assert_eq!(told, (200, 0, answer.body.len().to_string().as_str(), answer.header("etag")), "{path}");
        }
        for (mode, answer) in answers.iter().enumerate() {
            let tag = answer.header("etag");
            for (candidates, status) in [(tag.to_owned(), 304), (format!("\"x\", W/{tag}"), 304), ("*".into(), 304), ("\"x\"".into(), 200)] {
                let request = both_modes(site.daemon, &Method::GET, "router", &path).into_iter().nth(mode).expect("two modes");
                let again = Http::send(request.header("if-none-match", &candidates)).await;
                let told = (again.status, again.body.is_empty(), again.header("etag"), again.header("cache-control"));
                assert_eq!(told, (status, status == 304, tag, cache), "{path} {candidates}");
            }
        }
    }
}

fn assert_security(answer: &Answer) {
    assert!(answer.header("content-security-policy").starts_with("frame-ancestors 'self' http://localhost:* "), "{:?}", answer.headers);
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("referrer-policy"), "strict-origin-when-cross-origin");
    assert!(!answer.header("x-request-id").is_empty());
}

#[tokio::test]
async fn ranges() {
    let site = site("router").await;
    let path = site.asset(".js").await;
    let whole = site.get(&path).await;
    let (bytes, tag, length) = (&whole.body, whole.header("etag"), whole.body.len());
    assert_eq!(whole.header("accept-ranges"), "bytes");
    for (range, if_range, part) in [
        ("bytes=0-9", None, 0..10),
        ("bytes=100-", None, 100..length),
        ("bytes=-7", None, length - 7..length),
        ("bytes=10-99999999", None, 10..length),
        ("bytes=0-9", Some(tag), 0..10),
    ] {
        // A range counts bytes of the file itself: compressed copies are not asked.
        let mut headers = vec![("range", range), ("accept-encoding", "br, gzip")];
        headers.extend(if_range.map(|tag| ("if-range", tag)));
        let answer = site.daemon.http.preview("router", &path, &headers).await;
        let told = (answer.status, answer.header("content-range"), answer.header("content-encoding"));
        assert_eq!(told, (206, format!("bytes {}-{}/{length}", part.start, part.end - 1).as_str(), ""), "{headers:?}");
        assert!(answer.body == bytes[part], "{headers:?}");
    }
    for (range, if_range) in [("bytes=0-9", Some("\"another\"")), ("lines=1-2", None), ("bytes=0-1,4-5", None)] {
        let mut headers = vec![("range", range)];
        headers.extend(if_range.map(|tag| ("if-range", tag)));
        let answer = site.daemon.http.preview("router", &path, &headers).await;
        assert_eq!((answer.status, answer.header("content-range"), answer.body == *bytes), (200, "", true), "{headers:?}");
    }
    let beyond = site.daemon.http.preview("router", &path, &[("range", "bytes=99999999-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, format!("bytes */{length}").as_str()));
}

#[tokio::test]
async fn compressed_copies_are_served_once_they_are_there() {
    let site = site("router").await;
    let path = site.asset(".js").await;
    let plain = site.get(&path).await;
    for (encoding, accept) in [("br", "gzip, deflate, br;q=0.9"), ("gzip", "gzip, br;q=0"), ("", "br;q=0, identity"), ("", "")] {
        let get = async || site.daemon.http.preview("router", &path, &[("accept-encoding", accept)]).await;
        let answer = eventually("a compressed copy", async || Some(get().await).filter(|answer| answer.header("content-encoding") == encoding)).await;
        let mut decoded = Vec::new();
        match encoding {
            "br" => drop(brotli::Decompressor::new(answer.body.as_slice(), 4096).read_to_end(&mut decoded).expect("brotli")),
            "gzip" => drop(flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_end(&mut decoded).expect("gzip")),
            _ => decoded.clone_from(&answer.body),
        }
        assert_eq!((decoded == plain.body, answer.header("content-type")), (true, plain.header("content-type")), "{accept}");
        assert!(encoding.is_empty() || answer.body.len() * 2 < plain.body.len(), "{accept}: {} bytes", answer.body.len());
        let by_path = site.daemon.http.request(Method::GET, &format!("/preview/router{path}")).header("accept-encoding", accept);
        assert_eq!(Http::send(by_path).await.body, answer.body, "{accept}");
    }
}

#[tokio::test]
async fn unknown_paths_are_routes_for_navigations_only() {
    let site = site("router").await;
    let index = site.get("/").await.text();
    for (path, navigation, script) in [
        ("/about", 200, 404),
        ("/items/42", 200, 404),
        ("/users/john.doe", 200, 404),
        ("/api/items", 200, 404),
        ("/logo.png", 404, 404),
        ("/assets/About-12345678.js", 404, 404),
        ("/.env", 404, 404),
        ("/.git/config", 404, 404),
    ] {
        let (asked, fetched) = (site.navigate(path).await, site.get(path).await);
        assert_eq!((asked.status, fetched.status), (navigation, script), "{path}");
        assert_eq!(asked.text() == index, navigation == 200, "{path}");
        assert!(!fetched.header("content-type").contains("html"), "{path}");
    }
}

/// A request as it is, without a client that tidies its path.
async fn raw(address: &str, target: &str, host: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connect");
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn nothing_outside_of_the_release_is_reached() {
    let site = site("router").await;
    let address = &site.daemon.http.address;
    let index = site.get("/").await.text();
    for path in [
        "../../build.log",
        "..%2f..%2fbuild.log",
        "%2e%2e/%2e%2e/.build-status",
        "assets/../../../.build-status",
        "%2e%2e%5c%2e%2e%5cbuild.log",
        "%00",
        "..%c0%af",
        "//etc/passwd",
        "%2fetc%2fpasswd",
        "@../../build.log",
    ] {
        for (target, host) in [(format!("/{path}"), format!("router.{address}")), (format!("/preview/router/{path}"), address.clone())] {
            let host = host.replace("127.0.0.1", "localhost");
            let answer = raw(address, &target, &host).await;
            let status: u16 = answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{target}: {answer}"));
            // Where it leads back into the release it is a route like any other.
            let route = status == 200 && answer.ends_with(&index);
            assert!(route || (400..500).contains(&status), "{target} at {host}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_preview_is_only_looked_at() {
    let site = site("router").await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        for request in both_modes(site.daemon, &method, "router", "/") {
            assert_eq!(Http::send(request).await.status, 405, "{method}");
        }
    }
}

#[tokio::test]
async fn an_address_without_its_slash_leads_to_it() {
    let site = site("router").await;
    let build = site.build["build_id"].as_str().expect("id");
    for (path, location) in [
        ("/preview/router".to_owned(), "/preview/router/".to_owned()),
        ("/preview/router?a=b".into(), "/preview/router/?a=b".into()),
        (format!("/preview/router/@{build}"), format!("/preview/router/@{build}/")),
    ] {
        let answer = site.daemon.http.get(&path).await;
        assert_eq!((answer.status, answer.header("location")), (308, location.as_str()), "{path}");
    }
}

#[tokio::test]
async fn a_permalink_is_for_ever_the_same() {
    let daemon = Daemon::start().await;
    let first = daemon.build_fixture("demo", "vanilla").await["build"]["build_id"].as_str().expect("id").to_owned();
    let page = daemon.preview("demo", "/").await.text();
    daemon.edit("demo", "index.html", "<title>vanilla</title>", "<title>second</title>");
    assert_eq!(daemon.sync_paths("demo", &["index.html"]).await["status"], "ready");
    assert!(daemon.preview("demo", "/").await.text().contains("second"));

    let by_host = daemon.preview(&format!("{}--demo", first.to_lowercase()), "/").await;
    assert_eq!((by_host.text(), by_host.header("cache-control")), (page.clone(), "public, max-age=31536000, immutable"));
    let by_path = daemon.http.get(&format!("/preview/demo/@{first}/")).await;
    let rooted = |page: String, folder: &str| page.replace(&format!("=\"/{folder}/"), &format!("=\"/preview/demo/@{first}/{folder}/"));
    assert_eq!(by_path.text(), rooted(rooted(page, "assets"), "_previewd"));
    let script = by_path.text().split('"').find(|text| text.ends_with(".js")).expect("a script").to_owned();
    assert_eq!(daemon.http.get(&script).await.status, 200);
    for unknown in ["01ARZ3NDEKTSV4RRFFQ69G5FAV", "nonsense"] {
        assert!([400, 404].contains(&daemon.http.get(&format!("/preview/demo/@{unknown}/")).await.status), "{unknown}");
        assert_eq!(daemon.preview(&format!("{}--demo", unknown.to_lowercase()), "/").await.status, 404, "{unknown}");
    }
}

#[tokio::test]
async fn where_there_is_no_release_a_page_says_why() {
    let daemon = Daemon::start().await;
    daemon.push_fixture("slow", "hanging-build");
    assert_eq!(daemon.sync("slow", json!({})).await.status, 202);
    daemon.push_fixture("bad", "throwing-config");
    daemon.edit("bad", "vite.config.js", "DATABASE_URL is required", "<script>alert(1)</script> & more");
    assert_eq!(daemon.sync_and_wait("bad").await["status"], "error");
    for (project, status, text, refresh) in [
        ("slow", 503, "Building the preview", true),
        ("bad", 503, "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more", true),
        ("unheard-of", 404, "No preview yet", true),
    ] {
        for answer in [daemon.http.preview(project, "/", &[NAVIGATION]).await, daemon.http.get(&format!("/preview/{project}/deep/link")).await] {
            assert_eq!((answer.status, answer.header("cache-control")), (status, "no-store"), "{project}");
            let page = answer.text();
            assert!(page.contains(text) && !page.contains("<script") && page.contains("http-equiv=refresh") == refresh, "{project}: {page}");
            assert_security(&answer);
        }
    }
    assert_eq!(daemon.http.preview("slow", "/", &[]).await.header("retry-after"), "1");
}

#[tokio::test]
async fn no_name_below_the_preview_domain_leads_to_the_api() {
    let site = site("router").await;
    let http = &site.daemon.http;
    let port = http.address.rsplit(':').next().expect("port");
    for host in ["a.b.localhost", "x--router.localhost", "router.localhost.", "nobody.localhost", ".localhost", "d\u{e9}mo.localhost"] {
        for path in ["/", "/status/router", "/health", "/metrics"] {
            let name = reqwest::header::HeaderValue::from_bytes(format!("{host}:{port}").as_bytes()).expect("header");
            let answer = Http::send(http.request(Method::GET, path).bearer_auth(&http.token).header("host", name)).await;
            assert_eq!(answer.status, 404, "{host}{path}: {}", answer.text());
        }
    }
    let bare = Http::send(http.request(Method::GET, "/health/live").header("host", format!("localhost:{port}"))).await;
    assert_eq!(bare.status, 200, "the domain itself is the API");
}

#[tokio::test]
async fn a_redirect_stays_on_its_host() {
    let daemon = crate::harness::Options::default().cold_store().start().await;
    daemon.push_fixture("demo", "static-html");
    daemon.put("demo", "docs/index.html", "docs");
    daemon.put("demo", "docs/more.html", "more");
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    for (path, location) in [("/docs", "/docs/"), ("//docs", "/docs/"), ("///docs?a=//b", "/docs/?a=//b")] {
        // As it is: a client of ours would tidy the address up.
        let mut stream = tokio::net::TcpStream::connect(&daemon.http.address).await.expect("connect");
        let request = format!("GET {path} HTTP/1.1\r\nHost: demo.localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        assert!(answer.starts_with("HTTP/1.1 308") && answer.contains(&format!("location: {location}\r\n")), "{path}: {answer}");
    }
}
