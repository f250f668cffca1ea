//! Real Chromium, driven through `tests/browser/driver.mjs`.
//!
//! `scripts/test` installs playwright-core into `target/tools`; `PREVIEWD_TEST_TOOLS` names another place.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use super::guard;

/// A browser with one page. Its calls block: a test that uses it does nothing else meanwhile.
pub(crate) struct Browser {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// Where the tests' own tools are.
pub(crate) fn tools() -> PathBuf {
    std::env::var_os("PREVIEWD_TEST_TOOLS").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools"), PathBuf::from)
}

impl Browser {
    pub(crate) fn start() -> Self {
        assert!(tools().join("node_modules/playwright-core").is_dir(), "playwright-core is not in {}: scripts/test installs it", tools().display());
        let mut command = guard::command("node");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/driver.mjs")).arg(tools());
        // What Chromium leaves in its temporary directory goes with everything else.
        command.env("TMPDIR", guard::base()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = guard::spawn(command);
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("stdout"));
        Self { process, commands, answers }
    }

    /// A command of the driver, answered.
    pub(super) fn call(&mut self, command: &str, mut options: Value) -> Value {
        options["command"] = json!(command);
        writeln!(self.commands.as_mut().expect("open"), "{options}").expect("the driver runs");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the driver answers");
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{command}: {e}: {line:?}"));
        assert!(answer["error"].is_null(), "{options}: {}", answer["error"]);
        answer["value"].take()
    }

    /// Opens an address; its status.
    pub(crate) fn goto(&mut self, url: &str) -> Value {
        self.call("goto", json!({ "url": url }))
    }

    /// Opens an address whose page may never come to rest.
    pub(crate) fn visit(&mut self, url: &str) {
        self.call("visit", json!({ "url": url }));
    }

    /// Loads the page again; its status.
    pub(crate) fn reload(&mut self) -> Value {
        self.call("reload", json!({}))
    }

    /// Waits until the element shows the text; all that it shows.
    pub(crate) fn see(&mut self, selector: &str, text: &str) -> String {
        self.call("see", json!({ "selector": selector, "text": text })).as_str().expect("text").to_owned()
    }

    /// The same in the frame of this name.
    pub(crate) fn see_in(&mut self, frame: &str, selector: &str, text: &str) -> String {
        self.call("see", json!({ "frame": frame, "selector": selector, "text": text })).as_str().expect("text").to_owned()
    }

    /// The value of an expression in the frame of this name.
    pub(crate) fn eval_in(&mut self, frame: &str, script: &str) -> Value {
        self.call("eval", json!({ "frame": frame, "script": script }))
    }

    pub(crate) fn click(&mut self, selector: &str, text: &str) {
        self.call("click", json!({ "selector": selector, "text": text }));
    }

    /// The value of an expression in the page.
    pub(crate) fn eval(&mut self, script: &str) -> Value {
        self.call("eval", json!({ "script": script }))
    }

    /// Waits until an expression in the page is true; its value.
    pub(crate) fn until(&mut self, script: &str) -> Value {
        self.call("until", json!({ "script": script }))
    }

    /// The same in the frame of this name.
    pub(crate) fn until_in(&mut self, frame: &str, script: &str) -> Value {
        self.call("until", json!({ "frame": frame, "script": script }))
    }

    /// Types as a person does.
    pub(crate) fn type_into(&mut self, selector: &str, text: &str) {
        self.call("type", json!({ "selector": selector, "text": text }));
    }

    /// Presses a key, as `KeyboardEvent.key` names it.
    pub(crate) fn press(&mut self, key: &str) {
        self.call("press", json!({ "key": key }));
    }

    /// What axe-core finds to be seriously wrong with the page as it is shown now.
    pub(crate) fn axe(&mut self) -> Value {
        self.call("axe", json!({}))
    }

    /// Waits until there is no such element.
    pub(crate) fn gone(&mut self, selector: &str) {
        self.call("gone", json!({ "selector": selector }));
    }

    /// What the person prefers: `light` or `dark`.
    pub(crate) fn scheme(&mut self, scheme: &str) {
        self.call("scheme", json!({ "scheme": scheme }));
    }

    /// Resizes the window, and keeps a picture of it in `target/screenshots/`.
    pub(crate) fn screenshot(&mut self, name: &str, width: u32, height: u32) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&dir).expect("mkdir");
        self.call("size", json!({ "width": width, "height": height }));
        self.call("screenshot", json!({ "file": dir.join(format!("{name}.png")) }));
    }

    /// The same of the whole page, in both schemes and on a wide screen and a phone.
    pub(crate) fn screenshots(&mut self, name: &str) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&dir).expect("mkdir");
        for (scheme, width, height) in [("light", 1280, 900), ("light", 390, 844), ("dark", 1280, 900), ("dark", 390, 844)] {
            self.scheme(scheme);
            self.call("size", json!({ "width": width, "height": height }));
            self.call("screenshot", json!({ "file": dir.join(format!("{name}-{width}-{scheme}.png")), "whole": true }));
            let wide = "document.documentElement.scrollWidth > innerWidth";
            assert_eq!(self.eval(wide), false, "{name}: something is wider than {width}");
        }
        self.call("size", json!({ "width": 1280, "height": 900 }));
    }

    /// Console errors, exceptions and failed requests since this was asked last.
    pub(crate) fn problems(&mut self) -> Value {
        self.call("problems", json!({}))
    }

    /// What else the console was told since this was asked last: warnings, information.
    pub(crate) fn said(&mut self) -> Value {
        self.call("said", json!({}))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver closes the browser at the end of its input.
        drop(self.commands.take());
        let _ = self.process.wait();
    }
}
