//! Server-Sent Events of a project: what the streams of the API and of previews' own origins have in common.
//!
//! 1. how things stand, where the caller brings no id that is still known  2. what comes, as it comes  3. a comment where nothing does
//!
//! Invariant: a stream ends as soon as (give or take a heart-beat) what opened it no longer would: a token that ran out, a
//! project that was deleted. It also ends where its reader is too slow, and when the daemon stops. An `EventSource` comes back
//! by itself, with the id of what it had last.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;
use actix_web::web::Bytes;
use futures::stream::{self, Stream};
use tokio::time::Instant;

use super::error::ApiError;
use crate::app::App;
use crate::events::{Listener, Next};

/// While nothing happens listeners get a comment so often: proxies cut connections that say nothing, many after 30 s or a
/// minute, and a client that has gone is noticed by it.
pub(super) const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// A line that readers of events pass over (WHATWG HTML, "Server-sent events").
pub(super) const HEARTBEAT: &[u8] = b":\n\n";
/// How long a client that lost its stream waits before it comes back, milliseconds, from and to: not all at once after a restart.
const RETRY_MS: std::ops::Range<u32> = 500..2000;
/// Streams may take so many of `server.max_connections`, in percent: the rest is for calls and previews.
const CONNECTIONS_PERCENT: usize = 75;

/// What a client had last: as a browser says it when it comes back, or in the address where it opens a stream anew by hand.
pub(super) fn last_id<'a>(headers: &'a HeaderMap, in_address: Option<&'a str>) -> Option<&'a str> {
    headers.get("last-event-id").and_then(|value| value.to_str().ok()).or(in_address)
}

/// Refuses a stream where there are too many.
pub(super) fn check_room(app: &App) -> Result<(), ApiError> {
    let max = app.config.server.max_connections;
    if app.events.listeners() * 100 >= max as usize * CONNECTIONS_PERCENT {
        return Err(ApiError::TooManyStreams { max: max as usize * CONNECTIONS_PERCENT / 100 });
    }
    Ok(())
}

/// Whether only the headers are asked for.
pub(super) fn is_head(request: &HttpRequest) -> bool {
    request.method() == actix_web::http::Method::HEAD
}

/// A stream, and when and why it ends.
pub(super) struct Streaming<A> {
    pub(super) listener: Listener,
    /// How things stand, told first.
    pub(super) first: Vec<Bytes>,
    /// Whether what opened it would still open it.
    pub(super) allowed: A,
    /// When it ends at the latest.
    pub(super) until: Option<Instant>,
    pub(super) heartbeat: Duration,
}

impl<A: Fn() -> bool> Streaming<A> {
    /// What is sent.
    pub(super) fn body(mut self) -> impl Stream<Item = Result<Bytes, actix_web::Error>> {
        let retry = Bytes::from(format!("retry: {}\n\n", rand::random_range(RETRY_MS)));
        self.first.insert(0, retry);
        // Popped from the end.
        self.first.reverse();
        let checked = Instant::now();
        stream::unfold((self, checked), |(mut streaming, mut checked)| async move {
            if let Some(first) = streaming.first.pop() {
                return Some((Ok(first), (streaming, checked)));
            }
            if checked.elapsed() >= streaming.heartbeat {
                checked = Instant::now();
                if !(streaming.allowed)() {
                    return None;
                }
            }
            let left = streaming.until.map(|until| until.saturating_duration_since(Instant::now()));
            let patience = left.unwrap_or(streaming.heartbeat).min(streaming.heartbeat);
            let chunk = match streaming.listener.next(patience).await {
                Next::Event(frame) => frame,
                Next::Silence if left.is_some_and(|left| left <= patience) => return None,
                Next::Silence => Bytes::from_static(HEARTBEAT),
                Next::Behind | Next::Closed => return None,
            };
            Some((Ok(chunk), (streaming, checked)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::StreamExt;

    use super::*;
    use crate::domain::{BuildId, ProjectId};
    use crate::events::{Audience, BuildLine, Event, Events, Level, LogLine};

    const SOON: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn a_stream_tells_how_things_stand_then_what_comes_and_ends_with_its_token() {
        let (events, project): (_, ProjectId) = (Events::default(), "demo".parse().expect("id"));
        let listener = events.follow(&project, Audience::Api, None);
        let (first, valid) = (vec![listener.state("status", &1)], Arc::new(AtomicBool::new(true)));
        let asked = valid.clone();
        let streaming = Streaming { listener, first, allowed: move || asked.load(Ordering::SeqCst), until: None, heartbeat: SOON };
        let mut body = std::pin::pin!(streaming.body());
        let mut next = async || body.next().await.map(|chunk| String::from_utf8(chunk.expect("a chunk").to_vec()).expect("utf-8"));
        assert!(next().await.expect("retry").starts_with("retry: "));
        assert!(next().await.expect("status").contains("event: status\ndata: 1\n\n"));
        assert_eq!([next().await.as_deref(), next().await.as_deref()], [Some(":\n\n"); 2], "nothing happens");
        let line = LogLine { time: jiff::Timestamp::UNIX_EPOCH, level: Level::Info, message: "a line".into() };
        events.publish(&project, &Event::Log(BuildLine { build_id: BuildId::from_parts(1, 0), number: 0, line }));
        assert!(next().await.expect("a line").contains("a line"));
        valid.store(false, Ordering::SeqCst);
        let rest = async { while next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(5), rest).await.expect("it ends with its token");
    }

    #[tokio::test]
    async fn a_poll_gets_what_is_there() {
        let (events, project): (_, ProjectId) = (Events::default(), "demo".parse().expect("id"));
        let listener = events.follow(&project, Audience::Api, None);
        let streaming = Streaming { listener, first: Vec::new(), allowed: || true, until: Some(Instant::now()), heartbeat: HEARTBEAT_EVERY };
        let chunks: Vec<_> = streaming.body().collect().await;
        assert_eq!(chunks.len(), 1, "only how long to wait before the next one");
    }
}
