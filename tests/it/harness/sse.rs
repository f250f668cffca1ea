//! Server-Sent Events as a browser reads them.

use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tokio::time::timeout;

/// A build that installs nothing takes well under a second; a busy machine takes longer.
const PATIENCE: Duration = Duration::from_mins(1);

/// An event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

/// A stream that is open.
pub(crate) struct Stream {
    pub(crate) response: Response,
    text: String,
}

impl Stream {
    /// Opens one; the answer has to be a stream.
    pub(crate) async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event; none where the stream ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default();
                if field("event").is_empty() {
                    continue;
                }
                let data = serde_json::from_str(field("data")).expect("JSON");
                return Some(Event { id: field("id").to_owned(), name: field("event").to_owned(), data });
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("something comes").ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).expect("utf-8"));
        }
    }

    /// Events up to and with the first that `is_last` takes.
    pub(crate) async fn until(&mut self, is_last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut all = Vec::new();
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("the stream ended after {all:#?}"));
            let last = is_last(&event);
            all.push(event);
            if last {
                return all;
            }
        }
    }
}
