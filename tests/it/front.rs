//! What nginx in front adds and must not undo: files without previewd, publications seen at once, private previews, layers,
//! limits, events, TLS, and what its user may read.

use std::os::unix::fs::PermissionsExt;

use previewd::preview::headers::content_type;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::http::Http;
use crate::harness::nginx::{Setup, has_brotli, source};
use crate::harness::raw::raw;
use crate::harness::{Daemon, Options, eventually, files_below};
use crate::nginx::{HASHED, SITE, label, push_site, same};

#[tokio::test]
async fn files_come_from_disk() {
    let mut daemon = Options::default().cold_store().start().await;
    for project in [SITE, HASHED] {
        push_site(&daemon, project);
        assert_eq!(daemon.sync_and_wait(project).await["status"], "ready");
    }
    let copies = [SITE, HASHED].map(|project| daemon.project(project).join("dist/assets/app-Bx12Yz_9.js.gz"));
    eventually("compressed copies", async || copies.iter().all(|copy| copy.exists()).then_some(())).await;
    let nginx = Setup::default().start(&daemon);
    daemon.kill();
    let best = if has_brotli() { "br" } else { "gzip" };
    for name in [SITE.to_owned(), label(HASHED)] {
        for path in ["/", "/?a=b", "/docs/", "/about.html", "/types/a.png", "/empty.txt", "/assets/app-Bx12Yz_9.js"] {
            let answer = nginx.http.preview(&name, path, &[]).await;
            assert_eq!(answer.status, 200, "{name}{path}");
            let again = nginx.http.preview(&name, path, &[("if-none-match", answer.header("etag"))]).await;
            assert_eq!(again.status, 304, "{name}{path}");
        }
        let script = nginx.http.preview(&name, "/assets/app-Bx12Yz_9.js", &[("accept-encoding", "gzip, deflate, br, zstd")]).await;
        assert_eq!((script.status, script.header("content-encoding")), (200, best), "{name}");
        for path in ["/missing", "/a%20b.txt", "/.hidden.txt", "/docs"] {
            assert_eq!(nginx.http.preview(&name, path, &[]).await.status, 502, "{name}{path} is for previewd to answer");
        }
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
                assert_eq!(nginx.http.preview(&label(project), path, &[]).await.app_text(), expected, "{project}{path}");
                assert_eq!(daemon.preview(&label(project), path).await.app_text(), expected, "{project}{path}");
            }
        }
        daemon.remove(project, "script.js");
        assert_eq!(daemon.sync_paths(project, &["script.js"]).await["status"], "ready");
        assert_eq!(nginx.http.preview(&label(project), "/script.js", &[]).await.status, 404);
        let first = &daemon.http.get(&format!("/builds/{project}")).await.json()["builds"][3]["build_id"].clone();
        assert_eq!(daemon.http.post(&format!("/rollback/{project}"), &json!({ "build_id": first })).await.status, 200);
        let rolled_back = nginx.http.preview(&label(project), "/", &[]).await.app_text();
        assert_eq!(rolled_back, "<p>edit 17</p>");
        assert_eq!(daemon.preview(&label(project), "/").await.app_text(), rolled_back);
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
    // Without the switch they would be open to an nginx that may read everything, as this one may where tests run as root. One
    // that runs as another user is kept out by the folders' modes, whatever its site file says.
    let mode = |name: &str| std::fs::metadata(daemon.data().join(name)).expect("stat").permissions().mode() & 0o777;
    assert_eq!(["projects", "labels"].map(mode), [0o700; 2]);
    let open = Setup::default().start(&daemon);
    assert_eq!(open.http.preview(SITE, "/", &[]).await.status, 200);
}

#[tokio::test]
async fn an_embedder_policy_is_sent_by_both() {
    let daemon = Options::default().set("preview.embedder_policy", "credentialless").cold_store().start().await;
    push_site(&daemon, SITE);
    assert_eq!(daemon.sync_and_wait(SITE).await["status"], "ready");
    let nginx = Setup::default().embedder_policy("credentialless").start(&daemon);
    for path in ["/", "/large.js", "/missing"] {
        let answer = same(&nginx, &daemon, "GET", SITE, path, &[]).await;
        assert_eq!(answer.header("cross-origin-embedder-policy"), "credentialless", "{path}");
    }
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
        layer.to_owned(),
        format!("../layers/{layer}/layer.json"),
        "x/react.js".to_owned(),
    ] {
        let answer = raw(&nginx.http.address, "GET", &format!("/_previewd/layers/{path}"), &host, &[]).await;
        assert_eq!(answer.status, "404", "{path}");
    }
    // They hold nothing of a project, so they are the same where previews are private; the daemon itself gives them then.
    let private = Setup::default().private().start(&daemon);
    let answer = raw(&private.http.address, "GET", &format!("/_previewd/layers/{layer}/react.js"), &host, &[]).await;
    assert_eq!((answer.status.as_str(), answer.header("cache-control")), ("200", "public, max-age=31536000, immutable"));
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
    let alone = Http::send(request.header("content-type", "application/json").body(too_large)).await;
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
    let follow = nginx.http.request(reqwest::Method::GET, "/logs/slow?follow=true").bearer_auth(&daemon.http.token);
    let mut response = follow.send().await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
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

/// What nginx's user, in the daemon's group, can reach below the data directory: releases, and the way there.
#[tokio::test]
async fn only_releases_are_open_to_others() {
    let daemon = Daemon::start().await;
    daemon.build_fixture("Vite_App", "router").await;
    let dist = daemon.project("Vite_App").join("dist").canonicalize().expect("live");
    eventually("compressed copies", async || files_below(&dist).iter().any(|file| file.ends_with(".gz")).then_some(())).await;
    let data = daemon.data();
    let (mut folders, mut reached, mut closed) = (vec![data.clone()], Vec::new(), Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("list").map(|entry| entry.expect("entry")) {
            let (path, metadata) = (entry.path(), entry.metadata().expect("stat"));
            // These were made by the tests.
            if metadata.is_symlink() || [data.join("source"), data.join("shared-store")].contains(&path) {
                continue;
            }
            let name = path.strip_prefix(&data).expect("below").to_str().expect("utf-8").to_owned();
            match metadata.permissions().mode() & 0o777 {
                mode if mode % 0o100 == 0 => closed.push(name),
                mode => {
                    let passage = ["projects", "layers", "labels", "projects/Vite_App", "projects/Vite_App/releases"].contains(&name.as_str());
                    let expected = [0o644, 0o755][usize::from(metadata.is_dir())];
                    assert_eq!(mode, if passage { 0o711 } else { expected }, "{name}: {mode:o}");
                    assert!(passage || path.starts_with(&dist), "{name} can be reached");
                    folders.extend(metadata.is_dir().then_some(path));
                    reached.push(name);
                }
            }
        }
    }
    for name in ["state.db", "token", "projects/Vite_App/frontend", "workers", "projects/Vite_App/.build-status"] {
        assert!(closed.iter().any(|closed| closed == name), "{name} is not among {closed:?}");
    }
    assert!(reached.iter().any(|name| name.ends_with(".js.br")), "{reached:?}");
}
