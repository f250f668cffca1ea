//! What browsers get: types, validators, ranges, compressed copies, routes, permalinks, and the pages in a preview's place.

use std::io::Read;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::http::{Answer, Http};
use crate::harness::shared::{daemon, site};
use crate::harness::{Daemon, eventually};

const NAVIGATION: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

#[tokio::test]
async fn types_and_caching() {
    let site = site("router").await;
    let (script, page) = (site.asset(".js").await, "/".to_owned());
    let about = site.daemon.project("router").join("dist").canonicalize().expect("live");
    let style = crate::harness::files_below(&about).into_iter().find(|path| path.ends_with(".css")).expect("a stylesheet");
    let cases = [
        (page, "text/html; charset=utf-8", "no-cache"),
        (script, "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        (format!("/{style}"), "text/css; charset=utf-8", "public, max-age=31536000, immutable"),
    ];
    for (path, content_type, cache) in cases {
        let answer = site.get(&path).await;
        let by_path = site.get_by_path(&path).await;
        for answer in [&answer, &by_path] {
            let told = (answer.status, answer.header("content-type"), answer.header("cache-control"), answer.header("vary"));
            assert_eq!(told, (200, content_type, cache, "Accept-Encoding"), "{path}");
            assert_security(answer);
        }
        // Pages are rewritten in path mode, everything else is the same.
        assert_eq!(answer.body == by_path.body, path != "/", "{path}");
        let head = site.daemon.http.request(Method::HEAD, &format!("/preview/router{path}"));
        let head = Http::send(head).await;
        assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, by_path.body.len().to_string().as_str()), "{path}");
        for answer in [answer, by_path] {
            assert_not_modified(&path, &answer).await;
        }
    }
}

fn assert_security(answer: &Answer) {
    assert!(answer.header("content-security-policy").starts_with("frame-ancestors 'self' http://localhost:* "), "{:?}", answer.headers);
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("referrer-policy"), "strict-origin-when-cross-origin");
    assert!(!answer.header("x-request-id").is_empty());
}

async fn assert_not_modified(path: &str, answer: &Answer) {
    let daemon = daemon().await;
    let tag = answer.header("etag");
    for (candidates, status) in [(tag.to_owned(), 304), (format!("\"x\", W/{tag}"), 304), ("*".into(), 304), ("\"x\"".into(), 200)] {
        let by_host = daemon.http.preview("router", path, &[("if-none-match", &candidates)]).await;
        let by_path = daemon.http.request(Method::GET, &format!("/preview/router{path}")).header("if-none-match", &candidates);
        let by_path = Http::send(by_path).await;
        // The two modes' pages differ, and so do their tags: one of them has to match.
        let statuses = [by_host.status, by_path.status];
        assert!(statuses.contains(&status), "{path} {candidates}: {statuses:?}");
        assert!(path == "/" || statuses == [status; 2], "{path} {candidates}: {statuses:?}");
        let other = if by_host.status == 304 { &by_host } else { &by_path };
        assert!(status == 200 || (other.body.is_empty() && other.header("etag").contains('-')), "{path}");
    }
}

#[tokio::test]
async fn ranges() {
    let site = site("router").await;
    let path = site.asset(".js").await;
    let whole = site.get(&path).await;
    let (bytes, tag, length) = (&whole.body, whole.header("etag"), whole.body.len());
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let cases: [(&str, Option<&str>, u16, &[u8]); 9] = [
        ("bytes=0-9", None, 206, &bytes[..10]),
        ("bytes=100-", None, 206, &bytes[100..]),
        ("bytes=-7", None, 206, &bytes[length - 7..]),
        ("bytes=10-99999999", None, 206, &bytes[10..]),
        ("bytes=0-9", Some(tag), 206, &bytes[..10]),
        ("bytes=0-9", Some("\"another\""), 200, bytes),
        ("bytes=99999999-", None, 416, &[]),
        ("lines=1-2", None, 200, bytes),
        ("bytes=0-1,4-5", None, 200, bytes),
    ];
    for (range, if_range, status, body) in cases {
        // A range counts bytes of the file itself: compressed copies are not asked.
        let mut headers = vec![("range", range), ("accept-encoding", "br, gzip")];
        headers.extend(if_range.map(|tag| ("if-range", tag)));
        if status == 200 {
            headers.retain(|(name, _)| *name != "accept-encoding");
        }
        let answer = site.daemon.http.preview("router", &path, &headers).await;
        assert_eq!((answer.status, answer.body.as_slice() == body, answer.header("content-encoding")), (status, true, ""), "{headers:?}");
        match status {
            206 => {
                let start = length - bytes.len() + bytes.windows(body.len()).position(|part| part == body).expect("a part");
                let told = answer.header("content-range");
                assert!(told.starts_with("bytes ") && told.ends_with(&format!("/{length}")), "{told}");
                assert!(body.len() < 100 || told == format!("bytes {start}-{}/{length}", length - 1), "{told}");
            }
            416 => assert_eq!(answer.header("content-range"), format!("bytes */{length}")),
            _ => assert_eq!(answer.header("content-range"), ""),
        }
    }
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
    let port = site.daemon.http.address.rsplit(':').next().expect("port");
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        let by_path = site.daemon.http.request(method.clone(), "/preview/router/");
        let by_host = site.daemon.http.request(method.clone(), "/").header("host", format!("router.localhost:{port}"));
        for request in [by_path, by_host] {
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
    assert_eq!(by_path.text(), page.replace("=\"/assets/", &format!("=\"/preview/demo/@{first}/assets/")));
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
