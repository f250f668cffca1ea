//! What an app prints and what fails in it reaches the page around it and the daemon, and no other origin.

use serde_json::{Value, json};

use crate::harness::browser::Browser;
use crate::harness::product::{Product, preview_url};
use crate::harness::sse::Stream;
use crate::harness::{Daemon, Options};

/// A chat: keeps what it is told, and shows the preview that its address names.
const CHAT: &str = "<h1>chat</h1><script>window.got = []; addEventListener('message', ({ data, origin }) => got.push({ ...data, from: origin }));\
    document.write(`<iframe name=preview src=\"${decodeURIComponent(location.hash.slice(1))}\"></iframe>`)</script>";

/// Values that a serialiser can trip over, and what is to be said of them.
const VALUES: &str = r"
const cycle = { name: 'c' }; cycle.self = cycle;
const thrower = { get x() { throw Error('getter') }, y: 1 };
class Walk { constructor() { this.steps = 3 } }
const element = document.createElement('x-y'); element.id = 'a';
console.log('plain', 1, -0, NaN, true, null, undefined, 12n, Symbol('s'));
console.info(cycle);
console.warn('careful %s of %o', 'you', { a: [1, { b: [2] }] });
console.debug(thrower, new Walk, new Map([['k', { v: 1 }]]), new Set([1, 'two']), [, 1], /x/g, new Date(0), () => 1);
console.log(element, new Uint8Array(5), document);
console.log(new Proxy({}, { ownKeys() { throw Error('trap') }, getPrototypeOf() { throw Error('trap') } }), 'after a proxy');
console.log('x'.repeat(1e6), Array(1e6).fill(1), Object.fromEntries(Array.from({ length: 1e5 }, (_, n) => [n, n])));
let deep = {}; for (let n = 0; n < 1e4; n++) deep = { deep };
console.log(deep, 'after a deep one');
console.log(window, parent, 'after windows');
console.error(new TypeError('of mine'), Object.create(null), Object.create({ constructor: { get name() { throw 1 } } }));
";

const TROUBLE: &str = "<script type=module>
new Image().src = '/none.png';
document.body.append(Object.assign(document.createElement('img'), { src: '/gone.png?secret=1' }));
fetch('/api/none?key=1').catch(() => {});
const request = new XMLHttpRequest(); request.open('PUT', '/api/other'); request.send();
Promise.reject(new RangeError('nobody waits'));
Promise.reject('a text');
setTimeout(() => { throw new SyntaxError('uncaught') });
</script>";

/// What the chat got of a kind.
fn got(browser: &mut Browser, kind: &str) -> Vec<Value> {
    let all = browser.eval(&format!("got.filter((message) => message.previewd === 1 && message.type === '{kind}')"));
    all.as_array().expect("a list").clone()
}

async fn publish(daemon: &Daemon, body: &str) {
    daemon.put("demo", "index.html", format!("<!doctype html><title>x</title><body><h1>app</h1>{body}"));
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
}

/// Calls of the browser block, and the chat is served by the same runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the browser's part")
}

#[tokio::test]
async fn any_value_is_told_to_the_page_around() {
    let daemon = Options::default().cold_store().start().await;
    publish(&daemon, &format!("<script>const native = console.log; {VALUES}</script>")).await;
    let (product, url) = (Product::serve(CHAT.to_owned(), "").await, preview_url(&daemon, "demo"));
    let from = url.trim_end_matches('/').to_owned();
    blocking(move || {
        let mut browser = Browser::start();
        browser.goto(&format!("{}/#{url}", product.at("chat")));
        browser.until("got.some((message) => message.type === 'render')");
        let said = got(&mut browser, "console");
        let texts: Vec<&str> = said.iter().map(|message| message["text"].as_str().expect("text")).collect();
        assert_eq!(texts[0], "plain 1 0 NaN true null undefined 12n Symbol(s)");
        assert_eq!(texts[1], r#"{name: "c", self: [cycle]}"#);
        assert_eq!(texts[2], "careful you of {a: [1, {b: [2]}]}");
        assert_eq!(
            texts[3],
            r#"{x: (…), y: 1} Walk {steps: 3} Map(1) {"k" => {v: 1}} Set(2) {1, "two"} [undefined, 1] /x/ 1970-01-01T00:00:00.000Z ƒ"#
        );
        assert_eq!(texts[4], r#"<x-y id="a"></x-y> [5 bytes] #document"#);
        assert_eq!(texts[5], "[inaccessible] after a proxy");
        assert!(texts[6].starts_with("xxx") && texts[6].chars().count() <= 4001, "{}", texts[6].len());
        assert!(texts[7].contains("{…}") && texts[7].ends_with("after a deep one"), "{}", texts[7]);
        assert!(texts[8].ends_with("after windows") || texts[8].ends_with('…'), "{}", texts[8]);
        assert!(texts[9].starts_with("TypeError: of mine\n    at http://demo.localhost"), "{}", texts[9]);
        assert_eq!(texts.len(), 10);
        let levels: Vec<&str> = said.iter().map(|message| message["level"].as_str().expect("level")).collect();
        assert_eq!(levels, ["log", "info", "warn", "debug", "log", "log", "log", "log", "log", "error"]);
        assert!(said.iter().all(|message| message["from"] == from && message["build"].is_string() && message["page"] == "/"), "{:#}", said[0]);
        assert_eq!(got(&mut browser, "ready").len(), 1);
        assert_eq!(got(&mut browser, "render")[0]["verdict"], "rendered");
    })
    .await;
}

#[tokio::test]
async fn what_goes_wrong_is_told_and_noted() {
    let daemon = Options::default().cold_store().start().await;
    publish(&daemon, TROUBLE).await;
    let events = daemon.http.request(reqwest::Method::GET, "/events/demo").bearer_auth(&daemon.http.token);
    let mut stream = Stream::open(events).await;
    let (product, url) = (Product::serve(CHAT.to_owned(), "").await, preview_url(&daemon, "demo"));
    blocking(move || {
        let mut browser = Browser::start();
        browser.goto(&format!("{}/#{url}", product.at("chat")));
        browser.until("got.filter((message) => ['error', 'resource', 'request'].includes(message.type)).length >= 6");
        let errors = got(&mut browser, "error");
        let of = |source: &str| {
            errors.iter().filter(|error| error["source"] == source).map(|error| error["text"].as_str().expect("text")).collect::<Vec<_>>()
        };
        assert_eq!(of("error"), ["SyntaxError: uncaught"]);
        assert_eq!(of("rejection"), ["RangeError: nobody waits", "a text"]);
        let uncaught = errors.iter().find(|error| error["source"] == "error").expect("told");
        assert!(uncaught["line"].as_u64() > Some(1) && uncaught["stack"].as_str().expect("stack").contains("uncaught"), "{uncaught}");
        let requests = got(&mut browser, "request");
        assert!(
            requests
                .iter()
                .any(|told| told["text"].as_str().is_some_and(|text| text.starts_with("GET http") && text.ends_with("/api/none?key=1: 404")))
        );
        assert!(requests.iter().any(|told| told["text"].as_str().is_some_and(|text| text.starts_with("PUT http")) && told["status"].is_number()));
        assert!(got(&mut browser, "resource")[0]["url"].as_str().expect("url").contains("/gone.png"));
    })
    .await;
    let mut sources = std::collections::BTreeMap::new();
    while sources.len() < 4 {
        let event = stream.next().await.expect("an event");
        if event.name == "console" {
            sources.entry(event.data["source"].as_str().expect("source").to_owned()).or_insert(event.data);
        }
    }
    assert_eq!(sources.keys().collect::<Vec<_>>(), ["error", "rejection", "request", "resource"]);
    assert!(!sources["resource"]["url"].as_str().expect("url").contains("secret"), "{:#}", sources["resource"]);
    assert_eq!(sources["error"]["file"], "", "a page's own script has the page's place: {:#}", sources["error"]);
}

#[tokio::test]
async fn a_flood_is_counted_and_the_app_goes_on() {
    let daemon = Options::default().cold_store().start().await;
    publish(&daemon, "<script>for (let n = 0; n < 5000; n++) console.error('again', { n }); document.querySelector('h1').innerText = 'done'; setTimeout(() => console.log('later'), 1100)</script>").await;
    let (product, url) = (Product::serve(CHAT.to_owned(), "").await, preview_url(&daemon, "demo"));
    blocking(move || {
        let mut browser = Browser::start();
        browser.goto(&format!("{}/#{url}", product.at("chat")));
        browser.see_in("preview", "h1", "done");
        browser.until("got.some((message) => message.text === 'later')");
        let (told, dropped) = (got(&mut browser, "console").len(), got(&mut browser, "dropped"));
        let dropped: u64 = dropped.iter().map(|message| message["count"].as_u64().expect("count")).sum();
        assert_eq!(told as u64 + dropped, 5001, "{told} and {dropped}");
        assert!(told <= 400, "{told}");
    })
    .await;
}

#[tokio::test]
async fn no_other_origin_is_told() {
    let listener = Product::serve(CHAT.to_owned(), "").await;
    let daemon = Options::default().cold_store().set("server.embed_origins", listener.at("chat")).start().await;
    publish(&daemon, "<script>console.log('secret')</script>").await;
    // A page that anybody may frame and that has the same client: what the browser's own check of frames would have hidden.
    let copied = daemon.preview("demo", "/").await.text().replace("/_previewd/", &format!("{}_previewd/", preview_url(&daemon, "demo")));
    assert!(copied.contains("data-build"));
    let copy = Product::serve(copied, "").await;
    blocking(move || {
        let mut browser = Browser::start();
        for (host, hears) in [("chat", true), ("evil", false), ("xchat", false)] {
            browser.goto(&format!("{}/#{}", listener.at(host), copy.at("copy")));
            browser.until_in("preview", "window[Symbol.for('previewd')]");
            // Messages arrive in the order in which they are sent, so one that is sent now comes after all of those.
            browser.eval_in("preview", "parent.postMessage({ mark: true }, '*')");
            browser.until("got.some((message) => message.mark)");
            assert_eq!(browser.eval("got.some((message) => message.previewd)"), json!(hears), "{host}");
        }
    })
    .await;
}

#[tokio::test]
async fn places_are_told_in_the_projects_own_files() {
    let daemon = Daemon::start().await;
    daemon.push_fixture("demo", "vanilla");
    daemon.put("demo", "lib/walk.js", "export const far = (way) => {\n  if (!way.steps) {\n    throw new RangeError('no steps');\n  }\n};\n");
    daemon.edit(
        "demo",
        "main.js",
        "import './style.css';",
        "import './style.css';\nimport { far } from './lib/walk.js';\nsetTimeout(() => far({}));",
    );
    assert_eq!(daemon.sync_and_wait("demo").await["status"], "ready");
    let request = daemon.http.request(reqwest::Method::GET, "/events/demo").bearer_auth(&daemon.http.token);
    let mut stream = Stream::open(request).await;
    let mut browser = Browser::start();
    browser.goto(&preview_url(&daemon, "demo"));
    let told = stream.until(|event| event.name == "console").await.pop().expect("told").data;
    assert_eq!((&told["source"], &told["file"], &told["line"]), (&json!("error"), &json!("lib/walk.js"), &json!(3)), "{told:#}");
    assert!(told["frame"].as_str().expect("a frame").contains("3 |      throw new RangeError('no steps');"), "{told:#}");
    assert!(told["stack"].as_str().expect("a stack").contains("lib/walk.js:3:"), "{told:#}");
    // The map itself is nobody's but ours.
    let page = daemon.preview("demo", "/").await.text();
    let script = page.split('"').find(|text| text.starts_with("/assets/") && text.ends_with(".js")).expect("a script").to_owned();
    let answer = daemon.preview("demo", &script).await;
    assert!(answer.status == 200 && !answer.text().contains("sourceMappingURL"), "{}", answer.text());
    assert_eq!(daemon.preview("demo", &format!("{script}.map")).await.status, 404);

    let open = crate::harness::Options::default().set("preview.source_maps", "true").start().await;
    open.build_fixture("demo", "vanilla").await;
    let page = open.preview("demo", "/").await.text();
    let script = page.split('"').find(|text| text.starts_with("/assets/") && text.ends_with(".js")).expect("a script").to_owned();
    assert!(open.preview("demo", &script).await.text().contains("sourceMappingURL"));
    assert_eq!(open.preview("demo", &format!("{script}.map")).await.json()["version"], 3);
}
