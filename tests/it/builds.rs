//! Every good fixture builds, and its page proves what the fixture is about.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::shared::{Site, site};
use crate::harness::{files_below, fixture_dir};
use crate::{faults, features};

/// A fixture, where its versions have to come from (`lockfile`), and what has to be in its bundle.
struct Good(&'static str, &'static str, &'static [&'static str]);

const GOOD: &[Good] = &[
    Good("api-html", "fresh", &["api-html works"]),
    Good("app-in-client", "fresh", &["app-in-client works"]),
    Good("build-script-traps", "fresh", &["build-script-traps works"]),
    Good("bun-lock", "bun.lock", &["bun-lock works", "2.1.1"]),
    Good("committed-dist", "fresh", &["committed-dist works"]),
    Good("console-flood", "fresh", &["console-flood works"]),
    Good("demo", "pnpm-lock.yaml", &["Six walks between", "max-w-xl"]),
    Good("env-example", "fresh", &["greeting-from-dot-env"]),
    Good("generator", "fresh", &["generator works", "made-by-codegen"]),
    Good("hard-coded-base", "fresh", &["hard-coded-base works"]),
    Good("missing-env", "fresh", &["VITE_SUPABASE_URL is required"]),
    Good("monorepo-catalog", "pnpm-lock.yaml", &["monorepo-catalog works"]),
    Good("multi-page", "fresh", &["multi-page works"]),
    Good("no-script-index", "fresh", &["no-script-index"]),
    Good("npm-lock", "package-lock.json", &["npm-lock works", "2.1.1"]),
    Good("odd-names", "fresh", &["größe-日本.js", "[id].js", "100%.js", "c++.js", ".dotted.js", "with space.js", "color:teal"]),
    Good("old-lockfile", "pnpm-lock.yaml", &["old-lockfile works", "2.1.1"]),
    Good("package-manager-pin", "pnpm-lock.yaml", &["package-manager-pin works"]),
    Good("public-files", "fresh", &["public-files works"]),
    Good("rolldown-devtools", "fresh", &["rolldown-devtools works"]),
    Good("router", "pnpm-lock.yaml", &["router works"]),
    Good("several-lockfiles", "pnpm-lock.yaml", &["several-lockfiles works", "2.1.2"]),
    Good("shadow-dom", "fresh", &["shadow-dom works"]),
    Good("stale-lockfile", "pnpm-lock.yaml", &["stale-lockfile works", "2.1.3"]),
    Good("svelte", "fresh", &["svelte works", "h1.svelte-"]),
    Good("terser-missing", "fresh", &["terser-missing works"]),
    Good("undeclared-import", "fresh", &["undeclared-import works", "minute"]),
    Good("unloaded-main", "fresh", &["<title>unloaded-main</title>"]),
    Good("vanilla", "fresh", &["vanilla works", "#639"]),
    Good("vite4", "fresh", &["vite4 works"]),
    Good("vite5-react-tailwind3", "pnpm-lock.yaml", &["vite5-react-tailwind3 works", ".text-brand{", ".p-8{"]),
    Good("vite6", "fresh", &["vite6 works"]),
    Good("vite7", "fresh", &["vite7 works"]),
    Good("vue", "fresh", &["vue works", "h1[data-v-"]),
    Good("workers-wasm", "fresh", &["workers-wasm ", "raw text"]),
    Good("writes-sources", "fresh", &["writes-sources works", "every-route"]),
    Good("yarn-berry-lock", "yarn.lock", &["yarn-berry-lock works", "2.1.1"]),
    Good("yarn-lock", "yarn.lock", &["yarn-lock works", "2.1.1"]),
];

/// The fixtures that build with Vite.
pub(crate) fn good() -> impl Iterator<Item = &'static str> {
    GOOD.iter().map(|Good(name, ..)| *name).chain(features::fixtures())
}

/// Without a table row, because they have tests of their own below.
const SPECIAL: &[&str] = &["inherited-descriptors", "install-script-traps", "static-html"];

#[tokio::test]
async fn good_fixtures_build_and_their_bundles_prove_it() {
    join_all(GOOD.iter().map(async |Good(fixture, lockfile, needles)| {
        let site = site(fixture).await;
        assert_eq!(
            (&site.build["outcome"], &site.build["mode"] == "static", &site.build["lockfile"]),
            (&json!("succeeded"), false, &json!(lockfile)),
            "{fixture}: {:#}",
            site.build
        );
        let bundle = site.bundle("/").await;
        for needle in *needles {
            assert!(bundle.contains(needle), "{fixture}: {needle:?} is not in\n{bundle:.2000}");
        }
    }))
    .await;
}

#[test]
fn every_fixture_is_tested() {
    let there: BTreeSet<String> =
        std::fs::read_dir(fixture_dir("")).expect("list").map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8")).collect();
    let tested = good().chain(SPECIAL.iter().copied()).chain(faults::fixtures());
    assert_eq!(tested.map(str::to_owned).collect::<BTreeSet<_>>(), there);
}

#[tokio::test]
async fn what_may_stay_blank_is_warned_of() {
    let cases = [
        ("env-example", Some("variables that the example env file names are not set, so the app may not start: VITE_API_URL")),
        ("missing-env", Some("VITE_SUPABASE_URL")),
        ("hard-coded-base", Some("base \"/my-repo/\"")),
        ("no-script-index", Some("index.html loads no script")),
        ("terser-missing", Some("build.minify is 'terser', which the project does not depend on")),
        ("unloaded-main", Some("needs <script type=\"module\" src=\"/index.tsx\"></script>")),
        ("vanilla", None),
        ("router", None),
    ];
    join_all(cases.map(async |(fixture, expected)| {
        let site = site(fixture).await;
        let warnings = site.warnings();
        match expected {
            Some(text) => assert!(warnings.len() == 1 && warnings[0].contains(text), "{fixture}: {warnings:?}"),
            None => assert!(warnings.is_empty(), "{fixture}: {warnings:?}"),
        }
    }))
    .await;
    let env = site("env-example").await.bundle("/").await;
    assert!(!env.contains("must-not-be-in-the-bundle") && !env.contains("api.example.com"), "{env}");
    let minified = site("terser-missing").await.bundle("/").await;
    assert!(!minified.contains("answerThatIsMinified"), "{minified}");
    let based = site("hard-coded-base").await;
    assert!(!based.bundle("/").await.contains("my-repo"));
    assert_eq!(based.get("/mark.svg").await.status, 200);
}

#[tokio::test]
async fn a_committed_build_is_neither_served_nor_in_the_way() {
    let site = site("committed-dist").await;
    assert!(!site.bundle("/").await.contains("stale"));
    for path in ["/docs/index.html", "/docs/", "/dist/index.html"] {
        assert_eq!(site.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_build_script_is_not_run() {
    let site = site("build-script-traps").await;
    let project = files_below(&site.daemon.project(&site.name));
    // Where it was built, if its worker still waits there.
    let work = files_below(&site.daemon.data().join("workers"));
    assert!(![&project, &work].iter().any(|files| files.iter().any(|path| path.ends_with("build-script-ran"))), "{project:?} {work:?}");
    assert!(project.iter().any(|path| path == "frontend/build-script-removes-this/kept.txt"), "{project:?}");
}

#[tokio::test]
async fn generators_run_by_name_and_cannot_touch_the_synced_files() {
    let site = site("generator").await;
    let log = site.daemon.build_log(&site.name).await;
    assert!(log.contains("running the script codegen, as package.json asks") && log.contains("generated"), "{log}");
    let project = site.daemon.project(&site.name);
    let files = files_below(&project);
    assert!(!files.iter().any(|path| path.ends_with("never-ran") || path.ends_with("generated.js")), "{files:?}");
    let of = |path: &str| std::fs::read_to_string(project.join(path)).expect("read");
    assert!(!of("frontend/main.js").contains("touched by codegen"));
}

#[tokio::test]
async fn a_build_that_writes_into_its_sources_gets_copies_of_them() {
    let site = site("writes-sources").await;
    let log = site.daemon.build_log(&site.name).await;
    assert!(log.contains("the build writes into its sources (.routes/tmp): it begins anew"), "{log}");
    assert_untouched(&site);

    // Known from here on: no second beginning.
    site.daemon.edit(&site.name, "main.js", "<p>", "<p class=again>");
    let answer = site.daemon.sync_and_wait(&site.name).await;
    assert_eq!(answer["status"], "ready", "{answer:#}");
    let (log, bundle) = (site.daemon.build_log(&site.name).await, site.bundle("/").await);
    assert!(!log.contains("begins anew") && bundle.contains("class=again") && bundle.contains("every-route"), "{log}{bundle}");
    assert_untouched(&site);
}

#[tokio::test]
async fn a_deletion_forgets_that_builds_write_into_their_sources() {
    let daemon = crate::harness::shared::daemon().await;
    for _ in ["first", "after the deletion"] {
        assert_eq!(daemon.build_fixture("writer", "writes-sources").await["status"], "ready");
        assert!(daemon.build_log("writer").await.contains("it begins anew"));
        assert_eq!(daemon.http.delete("/projects/writer").await.status, 204);
    }
}

fn assert_untouched(site: &Site) {
    let project = site.daemon.project(&site.name);
    let of = |path: &str| std::fs::read_to_string(project.join(path)).expect("read");
    assert!(!of("frontend/main.js").contains("touched by the build"));
    assert!(of("frontend/src/routes.js").contains("only-old-routes"));
}

#[tokio::test]
async fn install_hooks_are_named_and_not_run() {
    let daemon = crate::harness::shared::daemon().await;
    let name = "install-script-traps";
    daemon.push_fixture(name, name);
    // Another set than every other fixture's, so that it is really installed.
    daemon.edit(name, "package.json", "\"devDependencies\": {", "\"dependencies\": { \"ms\": \"2.0.0\" },\n  \"devDependencies\": {");
    let answer = daemon.sync_and_wait(name).await;
    assert_eq!((&answer["status"], &answer["build"]["layer"]), (&json!("ready"), &json!("miss")), "{answer:#}");
    let log = daemon.build_log(name).await;
    let hooks = ["preinstall", "postinstall", "prepare"].map(|hook| format!("{hook} of package.json")).join(", ");
    assert!(log.contains(&format!("never run: {hooks}, .pnpmfile.cjs")), "{log}");
    let marker = files_below(&daemon.data().join("projects")).into_iter().chain(files_below(&daemon.data().join("layers")));
    assert_eq!(marker.filter(|path| path.ends_with("install-script-ran")).collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test]
async fn descriptors_that_the_daemon_inherited_end_with_it() {
    let host = crate::harness::guard::temp_dir();
    std::fs::create_dir(host.path().join("of-the-host")).expect("mkdir");
    let daemon = crate::harness::Options::default().inherit(host.path().join("of-the-host")).start().await;
    std::fs::write(host.path().join("of-the-host/secret-of-the-host"), "").expect("write");
    let held = std::fs::read_link(format!("/proc/{}/fd/9", daemon.pid())).expect("the daemon has it");
    assert!(held.ends_with("of-the-host"));
    let answer = daemon.build_fixture("demo", "inherited-descriptors").await;
    assert_eq!(answer["status"], "ready", "{answer:#}");
    let log = daemon.build_log("demo").await;
    assert!(log.contains("looked at ") && log.contains("descriptor pipe:"), "{log}");
    assert!(!log.contains("of-the-host") && !log.contains("reached "), "{log}");
}

#[tokio::test]
async fn odd_names_come_back_as_themselves() {
    let site = site("odd-names").await;
    let public = fixture_dir("odd-names").join("public");
    for name in files_below(&public) {
        let expected = std::fs::read_to_string(public.join(&name)).expect("read");
        let path: String = name.bytes().map(|b| if b == b'/' { "/".into() } else { format!("%{b:02X}") }).collect();
        let hidden = name.starts_with(".hidden");
        for answer in [site.get(&format!("/{path}")).await, site.get_by_path(&format!("/{path}")).await] {
            assert_eq!(answer.status, if hidden { 404 } else { 200 }, "{name}");
            assert!(hidden || answer.text() == expected, "{name}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn pages_of_their_own_have_no_fallback() {
    let vite = site("multi-page").await;
    assert_eq!(vite.build["mode"], "plain");
    assert_pages(&vite, "/about/", "multi-page about").await;
    assert_eq!(vite.navigate("/about?x=1").await.header("location"), "/about/?x=1");
    let plain = site("static-html").await;
    assert_eq!((&plain.build["mode"], &plain.build["lockfile"], &plain.build["layer"]), (&json!("static"), &Value::Null, &json!("none")));
    assert_pages(&plain, "/about.html", "static-html about").await;
    // As GitHub Pages and most static hosts do.
    assert_eq!(plain.navigate("/about").await.text(), plain.navigate("/about.html").await.text());
}

async fn assert_pages(site: &Site, page: &str, contains: &str) {
    let found = site.bundle(page).await;
    assert!(found.contains(contains), "{page}: {found}");
    for missing in ["/no/such/page", "/contact", "/contact.html"] {
        let answer = site.navigate(missing).await;
        assert!(answer.status == 404 && answer.text().contains("404: not found"), "{missing}: {}", answer.text());
    }
}

#[tokio::test]
async fn public_files_are_at_the_root() {
    let site = site("public-files").await;
    let cases = [
        ("logo.png", "image/png"),
        ("favicon.svg", "image/svg+xml; charset=utf-8"),
        ("robots.txt", "text/plain; charset=utf-8"),
        ("app.webmanifest", "application/manifest+json; charset=utf-8"),
        ("sw.js", "text/javascript; charset=utf-8"),
    ];
    for (file, content_type) in cases {
        let answer = site.get(&format!("/{file}")).await;
        assert_eq!(answer.body, std::fs::read(fixture_dir("public-files").join("public").join(file)).expect("read"), "{file}");
        // A service worker that is kept would outlive its project.
        assert_eq!((answer.header("content-type"), answer.header("cache-control")), (content_type, "no-cache"), "{file}");
    }
}

#[tokio::test]
async fn every_kind_of_asset_is_a_file() {
    let site = site("workers-wasm").await;
    let built = files_below(&site.daemon.project(&site.name).join("dist").canonicalize().expect("live"));
    let cases = [
        ("assets/add-", ".wasm", "application/wasm"),
        ("assets/double.worker-", ".js", "text/javascript; charset=utf-8"),
        ("assets/triple-", ".js", "text/javascript; charset=utf-8"),
        ("assets/note-", ".txt", "text/plain; charset=utf-8"),
        ("assets/a-", ".js", "text/javascript; charset=utf-8"),
    ];
    for (start, end, content_type) in cases {
        let file = built.iter().find(|path| path.starts_with(start) && path.ends_with(end)).unwrap_or_else(|| panic!("{start}…{end}: {built:?}"));
        assert_eq!(site.get(&format!("/{file}")).await.header("content-type"), content_type, "{file}");
    }
}
