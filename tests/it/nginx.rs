//! nginx in front answers what previewd alone answers: the same requests to both, byte for byte, header for header.
//!
//! Requests are written by hand, for a client of ours would tidy their paths up.

use previewd::domain::ProjectId;
use previewd::preview::headers::content_type;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::nginx::{Nginx, Setup, source};
use crate::harness::shared::{self, site};
use crate::harness::{Daemon, Options, eventually, files_below};

/// What has to be equal, each with all its values. Not compared: `Date`, `Server`, `Connection`, and the request's id, of which
/// it is enough that there is one.
const COMPARED: &[&str] = &[
    "content-type",
    "content-length",
    "content-encoding",
    "content-range",
    "content-disposition",
    "transfer-encoding",
    "accept-ranges",
    "etag",
    "last-modified",
    "expires",
    "cache-control",
    "vary",
    "location",
    "allow",
    "retry-after",
    "www-authenticate",
    "set-cookie",
    "content-security-policy",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "cross-origin-resource-policy",
    "cross-origin-opener-policy",
    "cross-origin-embedder-policy",
    "access-control-allow-origin",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "strict-transport-security",
    "x-accel-buffering",
];

const NAVIGATION: &str = "accept: text/html,application/xhtml+xml,*/*;q=0.8";
const BROWSER: &str = "accept-encoding: gzip, deflate, br, zstd";

/// A project that nginx knows under its own name; one that it finds by its label's link.
const SITE: &str = "front-site";
const HASHED: &str = "Front_Site";
/// The id of a project that reads like a label; nobody's label.
const LABEL_LIKE: &str = "p-abcdefghijklmnopqrst";

/// An answer as it came over the wire.
#[derive(Debug, Default)]
struct Raw {
    status: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Raw {
    fn values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value.as_str()).collect()
    }

    fn header(&self, name: &str) -> &str {
        self.values(name).first().copied().unwrap_or_default()
    }

    /// What is compared.
    fn relevant(&self) -> (&str, Vec<(&str, Vec<&str>)>) {
        let headers = COMPARED.iter().map(|name| (*name, self.values(name))).filter(|(_, values)| !values.is_empty());
        (&self.status, headers.collect())
    }
}

/// Sends a request as it is; `Host` and the end of the connection are added.
async fn raw(address: &str, method: &str, target: &str, host: &str, headers: &[&str]) -> Raw {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connect");
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("read");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("{method} {target}: no answer"));
    let head = String::from_utf8(answer[..end].to_vec()).expect("utf-8");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status").to_owned();
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Raw { status, headers: headers.collect(), body: answer[end + 4..].to_vec() }
}

fn label(project: &str) -> String {
    project.parse::<ProjectId>().expect("id").label()
}

/// Asks both; they have to agree. The answer.
async fn same(nginx: &Nginx, daemon: &Daemon, method: &str, name: &str, target: &str, headers: &[&str]) -> Raw {
    let host = format!("{name}.localhost:1234");
    let alone = raw(&daemon.http.address, method, target, &host, headers).await;
    let behind = raw(&nginx.http.address, method, target, &host, headers).await;
    assert_eq!(behind.relevant(), alone.relevant(), "{method} {target} of {name} with {headers:?}");
    assert!(behind.body == alone.body, "{method} {target} of {name} with {headers:?}: {} and {} bytes", behind.body.len(), alone.body.len());
    for answer in [&behind, &alone] {
        assert_eq!(answer.values("x-request-id").len(), 1, "{target}: {answer:?}");
    }
    behind
}

/// Text that compresses.
fn text(bytes: usize) -> String {
    "some text that is worth compressing\n".repeat(bytes / 36 + 1)[..bytes].to_owned()
}

/// Whether nginx answers from disk can be seen by its own name only: previewd's answers come through with nginx's, too.
async fn front() -> (Nginx, &'static Daemon) {
    let daemon = shared::daemon().await;
    for project in [SITE, HASHED, LABEL_LIKE] {
        push_site(daemon, project);
        let answer = daemon.sync_and_wait(project).await;
        assert!(["ready", "no_changes"].contains(&answer["status"].as_str().expect("status")), "{answer:#}");
    }
    let dist = daemon.project(SITE).join("dist");
    for file in ["index.html", "large.js", "assets/app-Bx12Yz_9.js"] {
        let copies = [".br", ".gz"].map(|suffix| dist.join(format!("{file}{suffix}")));
        eventually("compressed copies", async || copies.iter().all(|copy| copy.exists()).then_some(())).await;
    }
    (Setup::default().start(daemon), daemon)
}

/// Every kind of file that a release may hold.
fn push_site(daemon: &Daemon, project: &str) {
    daemon.push_fixture(project, "static-html");
    daemon.put(project, "index.html", format!("<!doctype html><title>{project}</title><p>{}</p>", text(2000)));
    daemon.put(project, "about.html", "<p>about</p>");
    daemon.put(project, "docs/index.html", "<p>docs</p>");
    daemon.put(project, "v1.html/index.html", "<p>a folder with an ending</p>");
    daemon.put(project, "assets/index.html", "<p>assets</p>");
    daemon.put(project, "large.js", text(300_000));
    daemon.put(project, "assets/app-Bx12Yz_9.js", text(20_000));
    for name in EXTENSIONS.iter().map(|extension| format!("types/a.{extension}")) {
        daemon.put(project, &name, "x");
    }
    for name in NAMES {
        daemon.put(project, name, name);
    }
    daemon.put(project, "empty.txt", "");
}

/// Endings that projects have.
const EXTENSIONS: &[&str] = &[
    "html",
    "htm",
    "css",
    "js",
    "mjs",
    "cjs",
    "json",
    "map",
    "txt",
    "xml",
    "svg",
    "wasm",
    "webmanifest",
    "md",
    "csv",
    "png",
    "jpg",
    "jpeg",
    "gif",
    "webp",
    "avif",
    "ico",
    "bmp",
    "woff",
    "woff2",
    "ttf",
    "otf",
    "eot",
    "mp3",
    "m4a",
    "flac",
    "mp4",
    "mov",
    "webm",
    "ogg",
    "ogv",
    "wav",
    "pdf",
    "zip",
    "gz",
    "br",
    "JS",
    "PNG",
    "Html",
    "ts",
    "tsx",
    "jsonld",
    "geojson",
    "glb",
    "gltf",
    "vtt",
    "yaml",
    "toml",
    "php",
    "bin",
    "unheard-of",
];

/// Names that are odd, or whose caching is.
const NAMES: &[&str] = &[
    "a b.txt",
    "grüße.txt",
    "日本.html",
    "100%.txt",
    "%41.txt",
    "a#b.txt",
    "q?.txt",
    "a+b.txt",
    "a@b,c=d!e~f.txt",
    "[id].txt",
    "quote's.txt",
    "no-ending",
    "two.dots.min.js",
    "-dash.txt",
    ".hidden.txt",
    ".well-known/thing.txt",
    "_previewd.txt",
    "_previewdx/a.txt",
    "assets/icon-download.svg",
    "assets/logo-D3adBeef.svg",
    "assets/logo-12345678.tar.png",
    "assets/deep/er/x-ABCDEFGH.css",
    "assets/BxY12_ab.js",
    "assets/-BxY12_ab.js",
    "assets/a-BxY12_ab",
    "assets/a.b-BxY12_ab.js",
    "assets/a-b-c--1234567.js",
    "assets/a-1234567-.js",
    "x/assets/a-12345678.css",
    "notassets/a-12345678.css",
    "index-BxY12_ab.js",
];

fn encoded(path: &str) -> String {
    path.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[tokio::test]
async fn files_are_answered_alike() {
    let (nginx, daemon) = front().await;
    let files: Vec<String> = files_below(&daemon.project(SITE).join("dist").canonicalize().expect("live"));
    assert!(files.len() > EXTENSIONS.len() + NAMES.len() - 5, "{files:?}");
    let (mut immutable, mut found) = (0, 0);
    for path in files.iter().map(|file| format!("/{}", encoded(file))) {
        let answer = same(&nginx, daemon, "GET", SITE, &path, &[]).await;
        immutable += usize::from(answer.header("cache-control").contains("immutable"));
        found += usize::from(answer.status == "200");
        let tag = format!("if-none-match: {}", answer.header("etag"));
        let again = same(&nginx, daemon, "GET", SITE, &path, &[&tag]).await;
        assert_eq!(again.status == "304", answer.status == "200", "{path}");
        same(&nginx, daemon, "HEAD", SITE, &path, &[]).await;
    }
    assert!(immutable >= 6 && found > 80, "{immutable} of {found}");
    // The same names, as a careless client writes them.
    for name in NAMES.iter().filter(|name| !name.contains([' ', '#', '?'])) {
        same(&nginx, daemon, "GET", SITE, &format!("/{name}"), &[]).await;
    }
}

#[tokio::test]
async fn conditions_parts_and_encodings_are_answered_alike() {
    let (nginx, daemon) = front().await;
    for path in ["/", "/large.js", "/assets/app-Bx12Yz_9.js", "/empty.txt", "/types/a.png", "/nowhere.txt"] {
        let tag = same(&nginx, daemon, "GET", SITE, path, &[]).await.header("etag").to_owned();
        let compressed = same(&nginx, daemon, "GET", SITE, path, &[BROWSER]).await.header("etag").to_owned();
        let of = |name: &str, value: &str| format!("{name}: {}", value.replace("TAG", &tag).replace("COPY", &compressed));
        let conditions = ["TAG", "W/TAG", "\"x\", TAG", "*", "\"x\"", "COPY", "", "nonsense"].map(|value| of("if-none-match", value));
        let since = ["Sun, 09 Sep 2001 01:46:40 GMT", "Fri, 01 Jan 2100 00:00:00 GMT", "nonsense"];
        let dates = since.iter().flat_map(|date| ["if-modified-since", "if-unmodified-since"].map(|name| of(name, date)));
        let matching = ["TAG", "\"x\"", "*"].map(|value| of("if-match", value));
        for condition in conditions.into_iter().chain(dates).chain(matching) {
            for method in ["GET", "HEAD"] {
                same(&nginx, daemon, method, SITE, path, &[&condition]).await;
                same(&nginx, daemon, method, SITE, path, &[&condition, BROWSER]).await;
            }
        }
        let ranges =
            ["0-0", "0-9", "5-", "-7", "-0", "0-99999999", "99999999-", "9-5", "0-1,4-5", "0-1, 99999999-", "", "x-y", "0-18446744073709551616"];
        let ranges = ranges.iter().map(|range| format!("range: bytes={range}")).chain(["range: lines=1-2".into(), "range: bytes 0-1".into()]);
        for range in ranges {
            same(&nginx, daemon, "GET", SITE, path, &[&range]).await;
            same(&nginx, daemon, "HEAD", SITE, path, &[&range]).await;
            for value in ["TAG", "COPY", "\"x\"", "W/TAG", "Sun, 09 Sep 2001 01:46:40 GMT"] {
                same(&nginx, daemon, "GET", SITE, path, &[&range, BROWSER, &of("if-range", value)]).await;
            }
        }
        for accept in [
            "br",
            "gzip",
            "identity",
            "br, gzip",
            "gzip, br",
            "gzip;q=0, br",
            "br;q=0, gzip",
            "br;q=0.5,gzip;q=1.0",
            "gzip;q=0.000",
            "br;q=0,gzip;q=0",
            "*",
            "*;q=0",
            "identity;q=1, *;q=0",
            "x-gzip",
            "GZIP",
            "Br",
            "gzip ; q=0",
            "gzip; q=0",
            "gzip;q=0;x=1",
            "gzip;Q=0",
            "gzipx",
            "xbr",
            "deflate",
            "zstd",
            "",
            ",,",
            "br,",
            "gzip;q=2",
            "gzip;q=0.0001",
            "gzip\tbr",
            "compress, gzip",
        ] {
            same(&nginx, daemon, "GET", SITE, path, &[&format!("accept-encoding: {accept}")]).await;
        }
        same(&nginx, daemon, "GET", SITE, path, &[BROWSER, "via: 1.1 cache.example"]).await;
        same(&nginx, daemon, "GET", SITE, path, &["accept-encoding: br", "accept-encoding: gzip"]).await;
    }
    for (accept, encoding) in [(BROWSER, "br"), ("accept-encoding: gzip", "gzip"), ("accept-encoding: identity", "")] {
        let answer = same(&nginx, daemon, "GET", SITE, "/assets/app-Bx12Yz_9.js", &[accept]).await;
        assert_eq!((answer.status.as_str(), answer.header("content-encoding"), answer.header("vary")), ("200", encoding, "Accept-Encoding"));
    }
}

#[tokio::test]
async fn paths_and_methods_are_answered_alike() {
    let (nginx, daemon) = front().await;
    let _ = site("router").await;
    let paths = [
        "/",
        "/?a=b",
        "/index.html?x=/../y",
        "/about",
        "/about/",
        "/about.html/",
        "/docs",
        "/docs/",
        "/docs?x=1",
        "/docs/?x=1",
        "/v1.html",
        "/v1.html/",
        "/assets",
        "/assets/",
        "//",
        "///docs",
        "//docs/",
        "/docs//index.html",
        "/docs/./index.html",
        "/docs/../index.html",
        "/./index.html",
        "/../index.html",
        "/..",
        "/docs/..",
        "/.",
        "/index.html/",
        "/index.html/x",
        "/index.html.br",
        "/index.html.gz",
        "/large.js.br",
        "/items/42",
        "/users/john.doe",
        "/api/items",
        "/missing.js",
        "/missing.png",
        "/missing.html",
        "/missing",
        "/.env",
        "/.git/config",
        "/.hidden.txt",
        "/docs/.hidden",
        "/.well-known/thing.txt",
        "/.well-known/",
        "/%2e%2e/%2e%2e/.build-status",
        "/..%2f..%2fbuild.log",
        "/%2e%2e%5c%2e%2e%5cbuild.log",
        "/../../build.log",
        "/%2fetc%2fpasswd",
        "//etc/passwd",
        "/docs%2findex.html",
        "/%69ndex.html",
        "/index%2Ehtml",
        "/index.html%00",
        "/index.html%0a",
        "/%zz",
        "/%",
        "/%c0%af",
        "/a%20b.txt",
        "/a+b.txt",
        "/A%20B.TXT",
        "/INDEX.HTML",
        "/@index.html",
        "/~",
        "/-/",
        "/a;b",
        "/index.html;x",
        "/a:b.txt",
        "/_previewd",
        "/_previewd/",
        "/_previewd/x.js",
        "/_previewd/client.js",
        "/_previewd/layers/0123456789abcdef0123456789abcdef/x.js",
        "/_previewd.txt",
        "/_previewdx/a.txt",
        "/%5Fpreviewd/x.js",
        "/labels/none/dist/index.html",
        "/projects",
        "/metrics",
        "/health",
        "/status/front-site",
        "/token",
    ];
    let hosts = [SITE.to_owned(), label(HASHED), "router".to_owned()];
    let mut from_disk = 0;
    for name in &hosts {
        for path in paths {
            for headers in [&[][..], &[NAVIGATION, BROWSER]] {
                let answer = same(&nginx, daemon, "GET", name, path, headers).await;
                from_disk += usize::from(answer.status == "200");
            }
        }
        for method in ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            for path in ["/", "/large.js", "/missing", "/docs"] {
                same(&nginx, daemon, method, name, path, &["content-length: 0"]).await;
            }
        }
    }
    assert!(from_disk > 60, "{from_disk}");
}

#[tokio::test]
async fn hosts_are_answered_alike() {
    let (nginx, daemon) = front().await;
    daemon.push_fixture("front-failed", "throwing-config");
    assert_eq!(daemon.sync_and_wait("front-failed").await["status"], "error");
    let build = daemon.status(SITE).await["live"]["build_id"].as_str().expect("id").to_lowercase();
    let (hashed, mixed) = (label(HASHED), label(LABEL_LIKE));
    let long = "a".repeat(64);
    std::fs::create_dir_all(daemon.project(&long).join("dist")).expect("mkdir");
    std::fs::write(daemon.project(&long).join("dist/index.html"), "no host's label is this long").expect("write");
    let (mut shown, mut missing) = (0, 0);
    for name in [
        SITE.to_owned(),
        hashed.clone(),
        mixed,
        LABEL_LIKE.to_owned(),
        HASHED.to_owned(),
        SITE.to_uppercase(),
        "router".into(),
        "unheard-of".into(),
        "front-failed".into(),
        long,
        format!("{build}--{SITE}"),
        format!("{build}--{hashed}"),
        format!("{build}--unheard-of"),
        format!("01arz3ndektsv4rrffq69g5fav--{SITE}"),
        format!("x--{SITE}"),
        format!("{SITE}.x"),
        format!("x.{SITE}"),
        format!("-{SITE}"),
        format!("{SITE}-"),
        "none".into(),
        "..".into(),
    ] {
        for path in ["/", "/types/a.css", "/missing", "/.build-status", "/../frontend/index.html"] {
            for headers in [&[][..], &[NAVIGATION]] {
                let answer = same(&nginx, daemon, "GET", &name, path, headers).await;
                shown += usize::from(answer.status == "200");
                missing += usize::from(answer.status == "404");
            }
        }
    }
    assert!(shown > 20 && missing > 60, "{shown} shown, {missing} missing");
    let alike = [same(&nginx, daemon, "GET", SITE, "/", &[]).await.body, same(&nginx, daemon, "GET", &hashed, "/", &[]).await.body];
    assert!(String::from_utf8_lossy(&alike[0]).contains(SITE) && String::from_utf8_lossy(&alike[1]).contains(HASHED));
    // Its link, not previewd, leads nginx there.
    assert!(daemon.data().join("labels").join(&hashed).join("dist/index.html").exists());
    for host in [format!("{SITE}.localhost.:1"), format!("{SITE}.localhost:x"), format!("{SITE}.LOCALHOST")] {
        let alone = raw(&daemon.http.address, "GET", "/", &host, &[]).await;
        let behind = raw(&nginx.http.address, "GET", "/", &host, &[]).await;
        // What nginx itself takes for no host at all, it refuses.
        assert!(behind.status == "400" || behind.relevant() == alone.relevant(), "{host}: {behind:?} {alone:?}");
    }
}

#[tokio::test]
async fn a_publication_is_seen_by_the_next_request() {
    let daemon = Options::default().cold_store().start().await;
    let nginx = Setup::default().start(&daemon);
    for project in ["demo", "De_Mo"] {
        push_site(&daemon, project);
        assert_eq!(daemon.sync_and_wait(project).await["status"], "ready");
        for n in 0..20 {
            daemon.put(project, "index.html", format!("<p>edit {n}</p>"));
            daemon.put(project, "script.js", format!("edit({n})"));
            // Its name looks as if it had a hash in it.
            daemon.put(project, "assets/photo-20240101.txt", format!("photo {n}"));
            assert_eq!(daemon.sync_paths(project, &["index.html", "script.js", "assets/photo-20240101.txt"]).await["status"], "ready");
            for (path, expected) in
                [("/", format!("<p>edit {n}</p>")), ("/script.js", format!("edit({n})")), ("/assets/photo-20240101.txt", format!("photo {n}"))]
            {
                assert_eq!(nginx.http.preview(&label(project), path, &[]).await.text(), expected, "{project}{path}");
                assert_eq!(daemon.preview(&label(project), path).await.text(), expected, "{project}{path}");
            }
        }
        daemon.remove(project, "script.js");
        assert_eq!(daemon.sync_paths(project, &["script.js"]).await["status"], "ready");
        assert_eq!(nginx.http.preview(&label(project), "/script.js", &[]).await.status, 404);
        let first = &daemon.http.get(&format!("/builds/{project}")).await.json()["builds"][3]["build_id"].clone();
        assert_eq!(daemon.http.post(&format!("/rollback/{project}"), &json!({ "build_id": first })).await.status, 200);
        let rolled_back = nginx.http.preview(&label(project), "/", &[]).await.text();
        assert_eq!(rolled_back, "<p>edit 17</p>");
        assert_eq!(daemon.preview(&label(project), "/").await.text(), rolled_back);
        assert_eq!(daemon.http.delete(&format!("/projects/{project}")).await.status, 204);
        for path in ["/", "/about.html"] {
            same(&nginx, &daemon, "GET", &label(project), path, &[]).await;
            assert_eq!(nginx.http.preview(&label(project), path, &[]).await.status, 404);
        }
        assert!(!daemon.data().join("labels").join(label(project)).is_symlink());
    }
}

#[tokio::test]
async fn a_label_link_that_was_lost_is_there_again_after_a_start() {
    let daemon = Options::default().cold_store().start().await;
    push_site(&daemon, HASHED);
    assert_eq!(daemon.sync_and_wait(HASHED).await["status"], "ready");
    let link = daemon.data().join("labels").join(label(HASHED));
    std::fs::remove_file(&link).expect("a link");
    let daemon = daemon.kill_and_restart();
    assert!(link.join("dist/index.html").exists());
    drop(daemon);
}

#[tokio::test]
async fn private_previews_are_decided_by_previewd() {
    const SECRET: &str = "a-webhook-secret-of-ours";
    let options = Options::default().set("preview.private", true).set("auth.tokens", "a-token-of-our-own").set("auth.webhook_secrets", SECRET);
    let mut daemon = options.cold_store().start().await;
    "a-token-of-our-own".clone_into(&mut daemon.http.token);
    push_site(&daemon, SITE);
    assert_eq!(daemon.sync_and_wait(SITE).await["status"], "ready");
    let exp = u64::try_from(jiff::Timestamp::now().as_second() + 60).expect("after 1970");
    let claims = previewd::auth::Claims { sub: SITE.parse().expect("id"), scope: previewd::auth::Scope::Preview, exp };
    let cookie = format!("cookie: previewd_preview={}", previewd::auth::mint(SECRET, &claims).expect("mint"));
    let nginx = Setup::default().private().start(&daemon);
    for path in ["/", "/about.html", "/assets/app-Bx12Yz_9.js", "/missing"] {
        assert_eq!(same(&nginx, &daemon, "GET", SITE, path, &[]).await.status, "401", "{path}");
        assert_ne!(same(&nginx, &daemon, "GET", SITE, path, &[&cookie]).await.status, "401", "{path}");
    }
    // Without the switch they would be open: it is what keeps them closed.
    let open = Setup::default().start(&daemon);
    assert_eq!(open.http.preview(SITE, "/", &[]).await.status, 200);
}

#[tokio::test]
async fn layers_are_served_from_their_public_folder_only() {
    let daemon = Options::default().cold_store().start().await;
    push_site(&daemon, SITE);
    assert_eq!(daemon.sync_and_wait(SITE).await["status"], "ready");
    let layer = "0123456789abcdef0123456789abcdef";
    let dir = daemon.data().join("layers").join(layer);
    for (file, content) in
        [("public/react.js", "react"), ("public/deep/x.mjs", "x"), ("node_modules/react/index.js", "secret"), ("layer.json", "secret")]
    {
        std::fs::create_dir_all(dir.join(file).parent().expect("parent")).expect("mkdir");
        std::fs::write(dir.join(file), content).expect("write");
    }
    let nginx = Setup::default().start(&daemon);
    let host = format!("{SITE}.localhost:1");
    for (path, content) in [("react.js", "react"), ("deep/x.mjs", "x"), ("react.js?x=1", "react")] {
        let answer = raw(&nginx.http.address, "GET", &format!("/_previewd/layers/{layer}/{path}"), &host, &[]).await;
        assert_eq!((answer.status.as_str(), answer.body.as_slice()), ("200", content.as_bytes()), "{path}");
        let told = ["cache-control", "content-type", "access-control-allow-origin"].map(|name| answer.header(name));
        assert_eq!(told, ["public, max-age=31536000, immutable", "text/javascript; charset=utf-8", "*"], "{path}");
    }
    for path in [
        format!("{layer}/../node_modules/react/index.js"),
        format!("{layer}/%2e%2e/node_modules/react/index.js"),
        format!("{layer}/..%2fnode_modules/react/index.js"),
        format!("{layer}/node_modules/react/index.js"),
        format!("{layer}/../layer.json"),
        format!("{layer}//react.js"),
        format!("{layer}/"),
        format!("{layer}"),
        format!("../layers/{layer}/layer.json"),
        "x/react.js".to_owned(),
    ] {
        let answer = raw(&nginx.http.address, "GET", &format!("/_previewd/layers/{path}"), &host, &[]).await;
        assert_eq!(answer.status, "404", "{path}");
    }
    // Nothing of this is there where previews are private.
    let private = Setup::default().private().start(&daemon);
    let answer = raw(&private.http.address, "GET", &format!("/_previewd/layers/{layer}/react.js"), &host, &[]).await;
    assert_eq!(answer.status, "404");
}

#[tokio::test]
async fn the_api_is_passed_on_and_metrics_are_not_for_everybody() {
    let daemon = Options::default().cold_store().start().await;
    push_site(&daemon, SITE);
    let nginx = Setup::default().start(&daemon);
    let synced = nginx.http.post(&format!("/sync-project/{SITE}"), &json!({ "wait_ms": 60_000 })).await;
    assert_eq!((synced.status, &synced.json()["status"]), (200, &json!("ready")));
    for path in [format!("/status/{SITE}"), format!("/preview/{SITE}/"), format!("/preview/{SITE}"), "/health".into(), "/nowhere".into()] {
        let [behind, alone] = [nginx.http.get(&path).await, daemon.http.get(&path).await];
        assert_eq!((behind.status, behind.header("content-type")), (alone.status, alone.header("content-type")), "{path}");
    }
    for path in ["/metrics", "/"] {
        assert_eq!(nginx.http.get(path).await.status, 200, "{path} from this machine");
    }
    let closed = Setup::default().replace("previewd-allow.conf", "deny all;").start(&daemon);
    for target in ["/metrics", "/", "//metrics", "/%6Detrics", "/x/../metrics", "/./metrics", "/metrics?x", "//", "/?x=1"] {
        let answer = raw(&closed.http.address, "GET", target, "127.0.0.1", &[]).await;
        assert_eq!(answer.status, "403", "{target}");
    }
    assert_eq!(closed.http.get("/health/live").await.status, 200);
    assert_eq!(closed.http.preview(SITE, "/", &[]).await.status, 200);
    // A preview's name in the request line, the API's in the Host header, which is what previewd goes by.
    for host in ["127.0.0.1", "localhost", "x.localhos", "[::1]"] {
        for path in ["/metrics", "/", "/status/x"] {
            let target = format!("http://{SITE}.localhost{path}");
            let answer = raw(&closed.http.address, "GET", &target, host, &[]).await;
            assert_eq!(answer.status, "421", "{target} with {host}: {}", String::from_utf8_lossy(&answer.body));
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_in_previewds_words() {
    let daemon = Options::default().cold_store().start().await;
    let nginx = Setup::default().start(&daemon);
    let too_large = vec![b' '; 4096 * 1024 + 1];
    let request = daemon.http.request(reqwest::Method::POST, "/sync-project/demo").bearer_auth(&daemon.http.token);
    let alone = crate::harness::http::Http::send(request.header("content-type", "application/json").body(too_large)).await;
    assert_eq!(alone.problem(), (413, "body_too_large".to_owned()));
    for (host, path) in [("127.0.0.1", "/sync-project/demo"), ("demo.localhost", "/")] {
        let behind = raw(&nginx.http.address, "POST", path, host, &["content-length: 4194305", "content-type: application/json"]).await;
        assert_eq!((behind.status.as_str(), behind.header("content-type")), ("413", alone.header("content-type")), "{host}");
        assert_eq!(String::from_utf8_lossy(&behind.body), alone.text(), "{host}");
    }
    let fits = format!("content-length: {}", 4096 * 1024);
    let body = " ".repeat(4096 * 1024);
    let token = format!("authorization: Bearer {}", daemon.http.token);
    let mut stream = tokio::net::TcpStream::connect(&nginx.http.address).await.expect("connect");
    let head = format!("POST /sync-project/demo HTTP/1.1\r\nHost: 127.0.0.1\r\n{fits}\r\n{token}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("write");
    stream.write_all(body.as_bytes()).await.expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn events_come_through_one_by_one() {
    let daemon = Daemon::start().await;
    let nginx = Setup::default().start(&daemon);
    daemon.push_fixture("slow", "hanging-build");
    assert_eq!(daemon.sync("slow", json!({})).await.status, 202);
    daemon.status_until("slow", |status| status["state"] == "building").await;
    let mut response =
        nginx.http.request(reqwest::Method::GET, "/logs/slow?follow=true").bearer_auth(&daemon.http.token).send().await.expect("an answer");
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"text/event-stream".parse().expect("header")));
    let mut seen = String::new();
    while !seen.contains("event: log") {
        let chunk = response.chunk().await.expect("a chunk").expect("more to come");
        seen += &String::from_utf8_lossy(&chunk);
    }
    // The build hangs: nothing but an event by itself could have come.
    assert!(!seen.contains("event: end"), "{seen}");
    assert_eq!(daemon.status("slow").await["state"], "building");
    assert_eq!(nginx.http.delete("/projects/slow").await.status, 204);
    while let Some(chunk) = response.chunk().await.expect("a chunk") {
        seen += &String::from_utf8_lossy(&chunk);
    }
    assert!(seen.contains("event: end"), "{seen}");
}

#[tokio::test]
async fn tls_is_a_snippet() {
    let daemon = Options::default().cold_store().start().await;
    push_site(&daemon, SITE);
    assert_eq!(daemon.sync_and_wait(SITE).await["status"], "ready");
    let [key, certificate] = ["key.pem", "cert.pem"].map(|name| daemon.dir.path().join(name).to_str().expect("utf-8").to_owned());
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=previews"])
        .args(["-addext", "subjectAltName=DNS:*.localhost", "-keyout", &key, "-out", &certificate])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let text = std::fs::read_to_string(source().join("snippets/previewd-tls.conf")).expect("read");
    // The lines that the snippet offers, with another port and certificate.
    let offered: String = text
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.ends_with(';') && !line.contains("[::]"))
        .collect::<Vec<_>>()
        .join("\n");
    let tls = offered.replace("listen 443", "listen 127.0.0.1:@PORT@").replace("/etc/letsencrypt/live/apps.example.org/fullchain.pem", &certificate);
    let tls = tls.replace("/etc/letsencrypt/live/apps.example.org/privkey.pem", &key);
    assert!(tls.contains("listen 127.0.0.1") && tls.contains(&key) && tls.contains(&certificate), "{tls}");
    let nginx = Setup::default().replace("previewd-tls.conf", tls).start(&daemon);
    let name = format!("{SITE}.localhost");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], nginx.other_port));
    let client = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true).resolve(&name, address).build().expect("client");
    for (path, status) in [("/", 200), ("/docs", 200), ("/missing", 404)] {
        let answer = client.get(format!("https://{name}:{}{path}", nginx.other_port)).send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{path}");
        assert!(answer.headers().contains_key("content-security-policy"));
    }
}

#[test]
fn types_are_previewds() {
    let types = std::fs::read_to_string(source().join("snippets/previewd-types.conf")).expect("read");
    let lines = types.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(';'));
    let mut listed = Vec::new();
    for line in lines {
        let (kind, extensions) = line.rsplit_once("  ").expect("a type and its endings");
        for extension in extensions.split(' ') {
            assert_eq!(content_type(&format!("a.{extension}")), kind.trim().trim_matches('"'), "{extension}");
            listed.push(extension.to_owned());
        }
    }
    let conf = std::fs::read_to_string(source().join("previewd.conf")).expect("read");
    let served =
        conf.split("(?<previewd_file>").nth(1).and_then(|rest| rest.split(r"\.(?:").nth(1)?.split(')').next()).expect("the endings of files");
    let mut served: Vec<_> = served.split('|').map(str::to_owned).collect();
    served.sort_unstable();
    listed.sort_unstable();
    assert_eq!(served, listed, "what is served from disk has its type");
}

/// What nginx's user, in the daemon's group, can open below the data directory: releases, and the way there.
#[tokio::test]
async fn only_releases_are_open_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let daemon = Daemon::start().await;
    daemon.build_fixture("Vanilla_App", "vanilla").await;
    let dist = daemon.project("Vanilla_App").join("dist").canonicalize().expect("live");
    eventually("compressed copies", async || files_below(&dist).iter().any(|file| file.ends_with(".gz")).then_some(())).await;
    let data = daemon.data();
    let walk = ignore::WalkBuilder::new(&data).standard_filters(false).max_depth(Some(6)).build().map(|entry| entry.expect("entry"));
    // The tests themselves make the source, and fill the store.
    let ours = walk.filter(|entry| !["source", "shared-store"].iter().any(|name| entry.path().starts_with(data.join(name))) && entry.path() != data);
    let (mut open, mut closed) = (0, 0);
    for entry in ours.filter(|entry| !entry.path_is_symlink()) {
        let (path, mode) = (entry.path(), entry.metadata().expect("stat").permissions().mode() & 0o777);
        let relative = path.strip_prefix(&data).expect("below").to_str().expect("utf-8");
        let folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        let expected = match (path.starts_with(&dist), folder) {
            (true, true) => 0o755,
            (true, false) => 0o644,
            _ if ["projects", "layers", "labels", "projects/Vanilla_App", "projects/Vanilla_App/releases"].contains(&relative) => 0o711,
            _ => {
                assert_eq!(mode & 0o077, 0, "{relative} is open to others: {mode:o}");
                closed += 1;
                continue;
            }
        };
        assert_eq!(mode, expected, "{relative}: {mode:o}");
        open += 1;
    }
    assert!(open > 8 && closed > 20, "{open} open, {closed} closed");
}
