//! One daemon for all tests that only build fixtures and look at them: they share its store, its layers and its workers.
//!
//! Each test has projects of its own; a fixture that several tests look at is built once.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::Value;
use tokio::sync::OnceCell;

use super::Daemon;
use super::http::Answer;

static DAEMON: OnceCell<Daemon> = OnceCell::const_new();
static BUILT: LazyLock<Mutex<HashMap<String, Arc<OnceCell<Value>>>>> = LazyLock::new(Mutex::default);

/// The shared daemon.
pub(crate) async fn daemon() -> &'static Daemon {
    DAEMON.get_or_init(Daemon::start).await
}

/// A fixture that was built by the shared daemon, as the project of the same name.
pub(crate) struct Site {
    pub(crate) daemon: &'static Daemon,
    pub(crate) name: String,
    /// The last build's record.
    pub(crate) build: Value,
}

/// Builds a fixture, once; it has to become ready.
pub(crate) async fn site(fixture: &str) -> Site {
    let daemon = daemon().await;
    let once = BUILT.lock().expect("built").entry(fixture.to_owned()).or_default().clone();
    let build = once
        .get_or_init(async || {
            daemon.push_fixture(fixture, fixture);
            let answer = daemon.sync_and_wait(fixture).await;
            assert_ne!(answer["status"], "error", "{fixture}: {answer:#}");
            let status = daemon.settled(fixture).await;
            assert_eq!(status["state"], "ready", "{fixture}: {status:#}");
            status["last_build"].clone()
        })
        .await;
    Site { daemon, name: fixture.to_owned(), build: build.clone() }
}

impl Site {
    /// A file of the preview, in host mode, asked for as scripts ask.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.daemon.preview(&self.name, path).await
    }

    /// The same, asked for as a navigation asks.
    pub(crate) async fn navigate(&self, path: &str) -> Answer {
        self.daemon.http.preview(&self.name, path, &[("accept", "text/html,*/*;q=0.8")]).await
    }

    /// In path mode.
    pub(crate) async fn get_by_path(&self, path: &str) -> Answer {
        let request = self.daemon.http.request(reqwest::Method::GET, &format!("/preview/{}{path}", self.name));
        super::http::Http::send(request).await
    }

    /// The addresses that a page names under `/assets/`.
    pub(crate) async fn assets(&self, page: &str) -> Vec<String> {
        let page = self.get(page).await;
        assert_eq!(page.status, 200, "{}: {}", self.name, page.text());
        page.text().split('"').filter(|text| text.starts_with("/assets/")).map(str::to_owned).collect()
    }

    /// The first of them with such an ending.
    pub(crate) async fn asset(&self, ending: &str) -> String {
        let assets = self.assets("/").await;
        assets.iter().find(|path| path.ends_with(ending)).unwrap_or_else(|| panic!("no {ending} in {assets:?}")).clone()
    }

    /// A page and everything that it loads, one after the other.
    pub(crate) async fn bundle(&self, page: &str) -> String {
        let mut bundle = self.get(page).await.text();
        for asset in self.assets(page).await {
            let answer = self.get(&asset).await;
            assert_eq!(answer.status, 200, "{}{asset}", self.name);
            bundle += &answer.text();
        }
        bundle
    }

    /// The build's warnings.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.build["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }
}
