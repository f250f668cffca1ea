//! `GET /logs/{id}`: a build's log as text, as JSON lines, or followed live.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use futures::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use super::extract::{authorize, query};
use super::problems::OfLogs;
use super::sse::{HEARTBEAT, HEARTBEAT_EVERY};
use crate::app::App;
use crate::auth::Scope;
use crate::builder::read_log;
use crate::domain::{BuildId, ProjectId};
use crate::events::{LogFeed, LogLine, Progress};
use crate::state::ProjectRow;

/// How long a follower waits for a build to begin, before the last one's log is shown: proxies cut a silence of 30 s or more.
const BEGIN_WAIT: Duration = Duration::from_secs(25);
/// Which build's log is shown.
const BUILD_HEADER: &str = "x-previewd-build";

/// Which log, and how.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LogsQuery {
    /// A certain build; without it, the one that runs, else the newest.
    #[param(value_type = BuildId, required = false)]
    build: Option<String>,
    /// Answer with Server-Sent Events: an event `log` for each line so far and each that comes, `end` when the build ends.
    /// Where the newest revision waits for its build, the answer waits too, for 25 s at most.
    #[serde(default)]
    follow: bool,
}

/// An event of a log that is followed: for the API's description, which knows events by their fields.
#[derive(ToSchema)]
#[expect(dead_code, reason = "events are written as text")]
pub(super) struct LogEvent {
    event: LogEventKind,
    /// The line's number, from 0.
    #[schema(pattern = "^[0-9]+$")]
    id: Option<String>,
    /// Of `log`, a [`LogLine`].
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// What an event of a log says.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "as above")]
pub(super) enum LogEventKind {
    /// Another line.
    Log,
    /// There will be no more.
    End,
}

/// A build's log: as text, as JSON lines, or followed live.
#[utoipa::path(
    get, path = "/logs/{id}", tag = "read", params(("id" = ProjectId, Path, description = "The project"), LogsQuery),
    responses(
        (status = 200, description = "The log: as text, with `Accept: application/x-ndjson` as one JSON object in each line, with `follow` as Server-Sent Events", content(
            (String = "text/plain"),
            (Vec<LogLine> = "application/x-ndjson"),
            (LogEvent = "text/event-stream")
        ), headers(("x-previewd-build" = BuildId, description = "Which build's log this is"))),
        OfLogs
    ),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn logs(app: Data<App>, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let project: ProjectId = id.parse()?;
    authorize(&app, &request, Scope::Read, Some(&project))?;
    let query: LogsQuery = query(&request)?;
    let follow = query.follow;
    let row = row_to_show(&app, &project, follow && query.build.is_none()).await?;
    let build: BuildId = match query.build {
        Some(text) => text.parse()?,
        None => row.running_build.or(row.last_build).ok_or(ApiError::UnknownBuild)?,
    };
    if app.store.build(project.clone(), build).await?.is_none() {
        return Err(ApiError::UnknownBuild);
    }
    let feed = live(&app, &project, build, row.running_build).await?;
    if let Some(feed) = feed.clone().filter(|_| follow) {
        return Ok(event_stream(build, follow_feed(feed, HEARTBEAT_EVERY)));
    }
    let lines = match feed {
        Some(feed) => feed.since(0),
        None => stored(&app, &project, build).await?,
    };
    if follow {
        let ended = stream::iter(lines.into_iter().enumerate().map(|(n, line)| log_event(n, &line)).chain([end_event()]));
        let ended = ended.map(Ok);
        return Ok(event_stream(build, ended));
    }
    Ok(whole(&request, build, &lines))
}

/// The project's row. Who follows a project whose newest revision waits for its build wants that build's log, not the last
/// one's: for them it is the row as of the moment when that build begins.
async fn row_to_show(app: &App, project: &ProjectId, follows_newest: bool) -> Result<ProjectRow, ApiError> {
    let deadline = Instant::now() + BEGIN_WAIT;
    // Listening before looking: a change in between is heard.
    let mut changes = app.events.statuses();
    loop {
        let row = app.store.project(project.clone()).await?.ok_or(ApiError::UnknownProject)?;
        let waits = row.wanted > row.finished && row.running_build.is_none();
        if !(follows_newest && waits && changes.next_of(project, deadline).await) {
            return Ok(row);
        }
    }
}

/// The log as it grows, where the build runs. It may be asked for before the build has come to its first line.
async fn live(app: &App, project: &ProjectId, build: BuildId, running: Option<BuildId>) -> Result<Option<Arc<LogFeed>>, ApiError> {
    let feed = app.events.log(build);
    if feed.is_some() || running != Some(build) {
        return Ok(feed);
    }
    let feed = app.events.open_log(build);
    // It may have ended in between, and then nobody else would end this log.
    if app.store.project(project.clone()).await?.is_none_or(|row| row.running_build != Some(build)) {
        app.events.close_log(build);
        return Ok(None);
    }
    Ok(Some(feed))
}

async fn stored(app: &Data<App>, project: &ProjectId, build: BuildId) -> Result<Vec<LogLine>, ApiError> {
    let path = app.data.project(project).log(build);
    let read = tokio::task::spawn_blocking(move || read_log(&path)).await.map_err(anyhow::Error::from)?;
    match read {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(ApiError::UnknownBuild),
        lines => Ok(lines.map_err(anyhow::Error::from)?),
    }
}

fn whole(request: &HttpRequest, build: BuildId, lines: &[LogLine]) -> HttpResponse {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let json = accept.contains("json");
    let kind = if json { "application/x-ndjson" } else { "text/plain; charset=utf-8" };
    let text: String = lines.iter().map(|line| if json { json_line(line) + "\n" } else { format!("{line}\n") }).collect();
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, kind)).insert_header((CACHE_CONTROL, "no-store")).insert_header((BUILD_HEADER, build.to_string()));
    response.body(text)
}

fn json_line(line: &LogLine) -> String {
    serde_json::to_string(line).unwrap_or_default()
}

fn event_stream(build: BuildId, events: impl Stream<Item = Result<Bytes, actix_web::Error>> + 'static) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .insert_header((BUILD_HEADER, build.to_string()));
    response.streaming(events)
}

fn log_event(number: usize, line: &LogLine) -> Bytes {
    Bytes::from(format!("id: {number}\nevent: log\ndata: {}\n\n", json_line(line)))
}

fn end_event() -> Bytes {
    Bytes::from_static(b"event: end\ndata: {}\n\n")
}

struct Follower {
    feed: Arc<LogFeed>,
    progress: watch::Receiver<Progress>,
    next: usize,
    ended: bool,
}

/// All lines so far, then each as it comes, then the end; a comment where nothing came for `heartbeat`.
fn follow_feed(feed: Arc<LogFeed>, heartbeat: Duration) -> impl Stream<Item = Result<Bytes, actix_web::Error>> {
    let progress = feed.watch();
    stream::unfold(Follower { feed, progress, next: 0, ended: false }, move |mut follower| async move {
        loop {
            if follower.ended {
                return None;
            }
            let Progress { lines, ended } = *follower.progress.borrow_and_update();
            if lines > follower.next {
                let new = follower.feed.since(follower.next);
                let events = new.iter().enumerate().map(|(n, line)| log_event(follower.next + n, line));
                let chunk: Vec<u8> = events.flatten().collect();
                follower.next += new.len();
                return Some((Ok(Bytes::from(chunk)), follower));
            }
            if !ended {
                match timeout(heartbeat, follower.progress.changed()).await {
                    Err(_) => return Some((Ok(Bytes::from_static(HEARTBEAT)), follower)),
                    Ok(Ok(())) => continue,
                    // Nobody writes it any more.
                    Ok(Err(_)) => {}
                }
            }
            follower.ended = true;
            return Some((Ok(end_event()), follower));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Events, Level};

    #[tokio::test]
    async fn a_silent_build_is_heard_of() {
        let (events, build) = (Events::default(), BuildId::from_parts(1, 0));
        let feed = events.open_log(build);
        let line = |message: &str| LogLine { time: jiff::Timestamp::UNIX_EPOCH, level: Level::Info, message: message.into() };
        feed.push(line("first"));
        let mut stream = std::pin::pin!(follow_feed(feed.clone(), Duration::from_millis(1)));
        let mut next = async || stream.next().await.map(|chunk| String::from_utf8(chunk.expect("a chunk").to_vec()).expect("utf-8"));
        assert!(next().await.expect("a line").starts_with("id: 0\nevent: log\n"));
        assert_eq!([next().await.as_deref(), next().await.as_deref()], [Some(":\n\n"); 2], "nothing happens");
        feed.push(line("second"));
        events.close_log(build);
        assert!(next().await.expect("a line").starts_with("id: 1\nevent: log\n"));
        assert_eq!(next().await.as_deref(), Some("event: end\ndata: {}\n\n"));
        assert_eq!(next().await, None);
    }
}
