//! What projects use of Vite, its plugins and packages works at run time: each fixture is built, seen and used in Chromium.
//!
//! A page says to the console nothing at all: packages that are loaded twice, or built for development, often say so there.

use futures::future::join_all;
use serde_json::json;

use crate::harness::browser::Browser;
use crate::harness::shared::site;

/// What is done with a page, and what it has to show.
enum Do {
    /// An element shows this text, then or soon.
    See(&'static str, &'static str),
    /// An element shows all of these texts.
    All(&'static str, &'static [&'static str]),
    /// An element's computed style.
    Style(&'static str, &'static str, &'static str),
    /// The value of an expression, as text.
    Is(&'static str, &'static str),
    /// A click on the element with this `data-step`.
    Step(u8),
}
use Do::{All, Is, See, Step, Style};

/// A fixture, and what is done with its page.
struct Feature(&'static str, &'static [Do]);

/// What the fixtures of CommonJS packages have in common.
const COMMONJS: &[&str] =
    &["classnames: a b true", "dayjs: 1970-01-01", "lodash: 1+2 3", "lodash/debounce: function", "prop-types: function function true"];

const FEATURES: &[Feature] = &[
    Feature(
        "commonjs-project",
        &[
            All("ul", COMMONJS),
            See("ul", "react: function true 19"),
            See("ul", "react-fast-marquee: default export"),
            Step(1),
            See("button", "counted 1"),
        ],
    ),
    Feature(
        "lit",
        &[
            See("h1", "lit works"),
            See("lit-note", "one copy: true"),
            See("ul", "item b"),
            Step(1),
            See("button", "counted 1"),
            Is("getComputedStyle(document.querySelector('lit-counter').shadowRoot.querySelector('button')).color", "rgb(200, 0, 0)"),
        ],
    ),
    Feature(
        "names-taken-over",
        &[See("ul", "ms from the import map"), See("ul", "a name that only the map has"), See("ul", "dayjs of ours"), See("ul", "true")],
    ),
    Feature(
        "package-css",
        &[
            See(".swiper-slide-active", "first slide"),
            Style(".swiper", "overflow", "hidden"),
            Style(".swiper-wrapper", "display", "flex"),
            Style(".swiper-pagination", "position", "absolute"),
            Style(".react-datepicker-wrapper", "display", "block"),
            Style(".react-datepicker__input-container", "display", "inline-block"),
            Style(".w-split", "display", "flex"),
            Is("document.querySelector('input').value", "2026-01-05"),
            Step(1),
            Is("document.querySelector('input').value", "2026-02-06"),
        ],
    ),
    Feature("plugin-legacy", &[See("h1", "plugin-legacy works"), See("p", "2026"), Style("h1", "color", "rgb(0, 100, 0)")]),
    Feature("import-order", &[See("p", "asked-for on, other off")]),
    Feature(
        "package-files",
        &[All("ul", &["#ms: true", "#own: true", "json: 2.1.3", "raw: true", "inline: true", "url: true", "new URL: true", "glob: Januar"])],
    ),
    Feature("pages-with-packages", &[See("p", "1s in 2026"), Step(1), See("h1", "pages-with-packages about"), See("p", "1m in 2026")]),
    Feature("plugins-and-packages", &[All("ul", &["ms of the plugin", "made-up of the plugin", "changed by the plugin"])]),
    Feature(
        "singletons",
        &[
            See("#answer", "the answer is 42"),
            Step(1),
            See("button", "counted 1"),
            Step(2),
            See("h1", "singletons word knows 42"),
            Style("h1", "color", "rgb(0, 100, 0)"),
            Is("location.pathname", "/lazy/word"),
        ],
    ),
    Feature("vite4-react18", &[See("h1", "vite4-react18 works"), Step(1), See("#lazy", "shown lazily"), Style("#lazy", "color", "rgb(128, 0, 128)")]),
    Feature(
        "vite5-commonjs-packages",
        &[
            All("ul", COMMONJS),
            See("ul", "react: function true 18"),
            See("ul", "react-fast-marquee: default export"),
            Step(1),
            See("button", "counted 1"),
        ],
    ),
    Feature(
        "vite6-preact-compat",
        &[See("p", "react calls itself 18.3.1"), Step(1), See("[data-step='1']", "stored 1"), Step(2), See("[data-step='2']", "own 11")],
    ),
    Feature(
        "vite6-svelte-package",
        &[
            See("#elsewhere", "shown elsewhere 0"),
            Step(1),
            See("button", "counted 1"),
            See("#elsewhere", "shown elsewhere 1"),
            See("#lazy", "lazily 1"),
            Style("#lazy", "color", "rgb(0, 100, 0)"),
        ],
    ),
    Feature(
        "vite6-vue-router",
        &[
            Style("h1", "letterSpacing", "3px"),
            Step(1),
            See("button", "counted 1"),
            Step(2),
            See("h1", "vite6-vue-router word 1"),
            Style("h1", "color", "rgb(0, 100, 0)"),
        ],
    ),
    Feature(
        "vite7-react-swc-tailwind4",
        &[
            Style("h1", "color", "rgb(10, 20, 200)"),
            Style("h1", "letterSpacing", "3px"),
            Style("main", "padding", "32px"),
            Style("button", "borderRadius", "8px"),
            Is(
                "[...document.querySelectorAll('li')].map((item) => item.textContent).join()",
                "from-env,by-production,undefined,production,by-define,42,one+two",
            ),
            Is("document.querySelector('img').naturalWidth > 0", "true"),
            Step(1),
            See("button", "counted 1"),
        ],
    ),
    Feature("vite7-solid", &[Step(1), See("button", "counted 1"), See("#lazy", "lazily shown"), Style("#lazy", "color", "rgb(0, 0, 150)")]),
    Feature(
        "vite8-commonjs-packages",
        &[All("ul", COMMONJS), See("ul", "react: function true 19"), See("ul", "react-fast-marquee: exports"), Step(1), See("button", "counted 1")],
    ),
    Feature("vue-define", &[See("p", "options are off"), Step(1), See("button", "counted 1")]),
    Feature("worker-packages", &[See("ul", "1m"), See("ul", "named 2m"), See("ul", "by url 1970")]),
];

/// The fixtures that this file is about.
pub(crate) fn fixtures() -> impl Iterator<Item = &'static str> {
    FEATURES.iter().map(|Feature(name, _)| *name)
}

/// Does it; a page that does not show what it has to fails here.
fn look(browser: &mut Browser, todo: &Do) {
    match todo {
        See(selector, text) => drop(browser.see(selector, text)),
        All(selector, texts) => texts.iter().for_each(|text| drop(browser.see(selector, text))),
        Step(number) => browser.click(&format!("[data-step='{number}']"), ""),
        Style(selector, property, value) => {
            browser.see(selector, "");
            let script = format!("getComputedStyle(document.querySelector({selector:?}))[{property:?}]");
            assert_eq!(browser.eval(&script), *value, "{property} of {selector}");
        }
        Is(script, value) => assert_eq!(browser.eval(&format!("String({script})")), *value, "{script}"),
    }
}

#[tokio::test]
async fn what_projects_use_works_in_the_browser() {
    let mut browser = Browser::start();
    for (Feature(fixture, todo), site) in FEATURES.iter().zip(join_all(FEATURES.iter().map(|Feature(fixture, _)| site(fixture))).await) {
        println!("{fixture}");
        let port = site.daemon.http.address.rsplit(':').next().expect("port");
        assert_eq!(browser.goto(&format!("http://{fixture}.localhost:{port}/")), 200, "{fixture}");
        browser.see("h1", &format!("{fixture} works"));
        for step in *todo {
            look(&mut browser, step);
        }
        assert_eq!((browser.problems(), browser.said()), (json!([]), json!([])), "{fixture}");
    }
}
