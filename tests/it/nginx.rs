//! nginx in front answers what previewd alone answers: the same requests to both, byte for byte, header for header.

use previewd::domain::ProjectId;

use crate::harness::nginx::{Nginx, Setup, has_brotli};
use crate::harness::raw::{Raw, raw};
use crate::harness::shared::{self, site};
use crate::harness::{Daemon, eventually, files_below};

/// Targets that nginx refuses before it looks at any configuration. previewd has no file of such a name.
const MALFORMED: &[&str] = &[
    "/..",
    "/../index.html",
    "/../../build.log",
    "/../frontend/index.html",
    "/%2e%2e/%2e%2e/.build-status",
    "/..%2f..%2fbuild.log",
    "/index.html%00",
    "/%zz",
    "/%",
    "/100%.txt",
];

const NAVIGATION: &str = "accept: text/html,application/xhtml+xml,*/*;q=0.8";
const BROWSER: &str = "accept-encoding: gzip, deflate, br, zstd";

/// A project that nginx knows under its own name; one that it finds by its label's link.
pub(crate) const SITE: &str = "front-site";
pub(crate) const HASHED: &str = "Front_Site";
/// The id of a project that reads like a label; nobody's label.
const LABEL_LIKE: &str = "p-abcdefghijklmnopqrst";

pub(crate) fn label(project: &str) -> String {
    project.parse::<ProjectId>().expect("id").label()
}

/// Asks both; they have to agree. The answer.
pub(crate) async fn same(nginx: &Nginx, daemon: &Daemon, method: &str, name: &str, target: &str, headers: &[&str]) -> Raw {
    let host = format!("{name}.localhost:1234");
    let alone = raw(&daemon.http.address, method, target, &host, headers).await;
    let behind = raw(&nginx.http.address, method, target, &host, headers).await;
    if MALFORMED.contains(&target) && behind.status == "400" {
        assert!(alone.status != "200", "{method} {target} of {name}: {alone:?}");
        return behind;
    }
    if !has_brotli() && headers.iter().any(|line| line.starts_with("accept-encoding:") && line.contains("br")) {
        assert_eq!(behind.status, alone.status, "{method} {target} of {name} with {headers:?}");
        return behind;
    }
    assert_eq!(behind.relevant(), alone.relevant(), "{method} {target} of {name} with {headers:?}");
    assert!(behind.body == alone.body, "{method} {target} of {name} with {headers:?}: {} and {} bytes", behind.body.len(), alone.body.len());
    // What is no request at all has no id either.
    for answer in [&behind, &alone].into_iter().filter(|answer| answer.status != "400") {
        assert_eq!(answer.values("x-request-id").len(), 1, "{target}: {answer:?}");
    }
    behind
}

/// Text that compresses.
fn text(bytes: usize) -> String {
    "some text that is worth compressing\n".repeat(bytes / 36 + 1)[..bytes].to_owned()
}

/// nginx before the shared daemon, which has published the sites and made their compressed copies.
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
pub(crate) fn push_site(daemon: &Daemon, project: &str) {
    daemon.push_fixture(project, "static-html");
    daemon.put(project, "index.html", format!("<!doctype html><title>{project}</title><p>{}</p>", text(2000)));
    daemon.put(project, "about.html", "<p>about</p>");
    daemon.put(project, "docs/index.html", "<p>docs</p>");
    daemon.put(project, "v1.html/index.html", "<p>a folder with an ending</p>");
    daemon.put(project, "assets/index.html", "<p>assets</p>");
    daemon.put(project, "large.js", text(300_000));
    daemon.put(project, "assets/app-Bx12Yz_9.js", text(20_000));
    for name in list(EXTENSIONS).map(|extension| format!("types/a.{extension}")) {
        daemon.put(project, &name, "x");
    }
    for name in list(NAMES) {
        daemon.put(project, name, name);
    }
    daemon.put(project, "empty.txt", "");
}

/// Endings that projects have.
const EXTENSIONS: &str = "html|htm|css|js|mjs|cjs|json|map|txt|xml|svg|wasm|webmanifest|md|csv|png|jpg|jpeg|gif|webp|avif|ico|bmp|woff|woff2|ttf|otf|eot|mp3|m4a|\
flac|mp4|mov|webm|ogg|ogv|wav|pdf|zip|gz|br|JS|PNG|Html|ts|tsx|jsonld|geojson|glb|gltf|vtt|yaml|toml|php|bin|unheard-of";

/// Names that are odd, or whose caching is.
const NAMES: &str = "a b.txt|grüße.txt|日本.html|100%.txt|%41.txt|a#b.txt|q?.txt|a+b.txt|a@b,c=d!e~f.txt|[id].txt|quote's.txt|no-ending|two.dots.min.js|\
-dash.txt|.hidden.txt|.well-known/thing.txt|_previewd.txt|_previewdx/a.txt|assets/icon-download.svg|assets/logo-D3adBeef.svg|\
assets/logo-12345678.tar.png|assets/deep/er/x-ABCDEFGH.css|assets/BxY12_ab.js|assets/-BxY12_ab.js|assets/a-BxY12_ab|\
assets/a.b-BxY12_ab.js|assets/a-b-c--1234567.js|assets/a-1234567-.js|x/assets/a-12345678.css|notassets/a-12345678.css|\
index-BxY12_ab.js";

/// Addresses, plain and odd.
const PATHS: &str = "/|/?a=b|/index.html?x=/../y|/about|/about/|/about.html/|/docs|/docs/|/docs?x=1|/docs/?x=1|/v1.html|/v1.html?x=1|/v1.html/|/assets|/assets/|//|\
///docs|//docs/|/docs//index.html|/docs/./index.html|/docs/../index.html|/./index.html|/../index.html|/..|/docs/..|/.|/index.html/|\
/index.html/x|/index.html.br|/index.html.gz|/large.js.br|/items/42|/users/john.doe|/api/items|/missing.js|/missing.png|/missing.html|\
/missing|/.env|/.git/config|/.hidden.txt|/docs/.hidden|/.well-known/thing.txt|/.well-known/|/%2e%2e/%2e%2e/.build-status|\
/..%2f..%2fbuild.log|/%2e%2e%5c%2e%2e%5cbuild.log|/../../build.log|/%2fetc%2fpasswd|//etc/passwd|/docs%2findex.html|/%69ndex.html|\
/index%2Ehtml|/index.html%00|/index.html%0a|/%zz|/%|/%c0%af|/a%20b.txt|/a+b.txt|/A%20B.TXT|/INDEX.HTML|/@index.html|/~|/-/|/a;b|\
/index.html;x|/a:b.txt|/_previewd|/_previewd/|/_previewd/x.js|/_previewd/client.js|\
/_previewd/layers/0123456789abcdef0123456789abcdef/x.js|/_previewd.txt|/_previewdx/a.txt|/%5Fpreviewd/x.js|\
/labels/none/dist/index.html|/projects|/metrics|/health|/status/front-site|/token";

/// What may stand in `Accept-Encoding`.
const ACCEPTED: &str = "br|gzip|identity|br, gzip|gzip, br|gzip;q=0, br|br;q=0, gzip|br;q=0.5,gzip;q=1.0|gzip;q=0.000|br;q=0,gzip;q=0|*|*;q=0|\
identity;q=1, *;q=0|x-gzip|GZIP|Br|gzip ; q=0|gzip; q=0|gzip;q=0;x=1|gzip;Q=0|gzipx|xbr|deflate|zstd||,,|br,|gzip;q=2|gzip;q=0.0001|\
gzip\tbr|compress, gzip";

/// The parts of a list; written so, it stays short.
fn list(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split('|')
}

fn encoded(path: &str) -> String {
    path.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[tokio::test]
async fn files_are_answered_alike() {
    let (nginx, daemon) = front().await;
    let files: Vec<String> = files_below(&daemon.project(SITE).join("dist").canonicalize().expect("live"));
    assert!(files.len() > list(EXTENSIONS).count() + list(NAMES).count() - 5, "{files:?}");
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
    for name in list(NAMES).filter(|name| !name.contains([' ', '#', '?'])) {
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
        for accept in list(ACCEPTED) {
            same(&nginx, daemon, "GET", SITE, path, &[&format!("accept-encoding: {accept}")]).await;
        }
        same(&nginx, daemon, "GET", SITE, path, &[BROWSER, "via: 1.1 cache.example"]).await;
        same(&nginx, daemon, "GET", SITE, path, &["accept-encoding: br", "accept-encoding: gzip"]).await;
    }
    for (accept, encoding) in
        [(BROWSER, if has_brotli() { "br" } else { "gzip" }), ("accept-encoding: gzip", "gzip"), ("accept-encoding: identity", "")]
    {
        let answer = same(&nginx, daemon, "GET", SITE, "/assets/app-Bx12Yz_9.js", &[accept]).await;
        assert_eq!((answer.status.as_str(), answer.header("content-encoding"), answer.header("vary")), ("200", encoding, "Accept-Encoding"));
    }
}

#[tokio::test]
async fn paths_and_methods_are_answered_alike() {
    let (nginx, daemon) = front().await;
    let _ = site("router").await;
    let hosts = [SITE.to_owned(), label(HASHED), "router".to_owned()];
    let mut from_disk = 0;
    for name in &hosts {
        for path in list(PATHS) {
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
    let _ = site("router").await;
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
    ] {
        for path in ["/", "/types/a.css", "/missing", "/.build-status", "/../frontend/index.html"] {
            for headers in [&[][..], &[NAVIGATION]] {
                let answer = same(&nginx, daemon, "GET", &name, path, headers).await;
                shown += usize::from(answer.status == "200");
                missing += usize::from(answer.status == "404");
            }
        }
    }
    assert!(shown >= 20 && missing > 60, "{shown} shown, {missing} missing");
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
