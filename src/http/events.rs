//! `GET /events/{id}`, and what a preview's own origin is told at `/_previewd/events`.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures::Stream;
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use super::extract::{Held, authorize, query};
use super::problems::OfEvents;
use super::sse::{self, HEARTBEAT_EVERY, Streaming};
use crate::app::App;
use crate::auth::Scope;
use crate::domain::ProjectId;
use crate::domain::status::Status;
use crate::events::{Audience, PreviewEvent, PublishReason, Published};

/// Longest `for_s`, seconds.
const FOR_S_MAX: u64 = 3600;

/// From where, and for how long.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventsQuery {
    /// The id of the last event that the caller had, as the header `Last-Event-ID` says it, which browsers send by themselves
    /// when they open a lost stream again. With one that is not known (any more) `status` comes first, as without one.
    #[param(value_type = String, required = false)]
    last_event_id: Option<String>,
    /// End after so many seconds; 0: what is there now. Without it the stream goes on.
    #[param(value_type = u64, required = false, maximum = 3600)]
    for_s: Option<u64>,
}

/// An event of a project: for the API's description, which knows events by their fields.
#[derive(ToSchema)]
#[expect(dead_code, reason = "events are written as text")]
pub(super) struct ProjectEvent {
    event: ProjectEventKind,
    /// To come back with.
    #[schema(pattern = "^[0-9a-f]{8}-[0-9]+$")]
    id: String,
    /// Of `status` a `Status`, of `log` a `BuildLine`, of `published` a `Published`, of `render` a `RenderReport`, of `console` a
    /// `ConsoleRecord`.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// What an event of a project says.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "as above")]
pub(super) enum ProjectEventKind {
    /// It stands otherwise now.
    Status,
    /// A line of the log of a build that runs.
    Log,
    /// Another release is live.
    Published,
    /// A release was looked at in a browser.
    Render,
    /// A page of the preview said something.
    Console,
}

/// What happens to a project, as it happens: Server-Sent Events, `status` first.
#[utoipa::path(
    get, path = "/events/{id}", tag = "read", params(("id" = ProjectId, Path, description = "The project"), EventsQuery),
    responses(
        (status = 200, description = "The events: how the project stands, where the caller brings no `Last-Event-ID` that is still known; then what happens. A comment comes every 15 s where nothing does", content((ProjectEvent = "text/event-stream"))),
        OfEvents
    ),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn events(app: Data<App>, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let project: ProjectId = id.parse()?;
    authorize(&app, &request, Scope::Read, Some(&project))?;
    let query: EventsQuery = query(&request)?;
    if query.for_s.is_some_and(|seconds| seconds > FOR_S_MAX) {
        return Err(ApiError::InvalidQuery(format!("for_s is 0 to {FOR_S_MAX}")));
    }
    sse::check_room(&app)?;
    let held = Held::of(&request)?;
    // Following before looking: what comes in between is told, at worst twice.
    let listener = app.events.follow(&project, Audience::Api, sse::last_id(request.headers(), query.last_event_id.as_deref()));
    let status = status_of(&app, &project).await?;
    let first = if listener.is_fresh() { vec![listener.state("status", &status)] } else { Vec::new() };
    let until = query.for_s.map(|seconds| Instant::now() + std::time::Duration::from_secs(seconds));
    let seen = app.clone();
    let allowed = move || held.opens(&seen, Scope::Read, &project);
    let streaming = Streaming { listener, first, allowed, until, heartbeat: HEARTBEAT_EVERY };
    Ok(answer(&mut HttpResponse::Ok(), &request, streaming.body()))
}

/// `GET /_previewd/events` on a preview's own origin: new releases, and failures of the newest build. Whoever may see the preview
/// was let in before; `allowed` says whether that still holds.
pub(super) async fn of_preview(
    app: &Data<App>,
    request: &HttpRequest,
    response: &mut HttpResponseBuilder,
    project: &ProjectId,
    allowed: impl Fn() -> bool + 'static,
) -> Result<HttpResponse, ApiError> {
    sse::check_room(app)?;
    let mut listener = app.events.follow(project, Audience::Preview, sse::last_id(request.headers(), None));
    let status = status_of(app, project).await?;
    let first = if listener.is_fresh() { current(&status) } else { Vec::new() };
    if let Some(last) = status.last_build.as_ref().filter(|_| listener.is_fresh()) {
        listener.knows_of(last.build_id);
    }
    let first = first.iter().map(|event| listener.state(event.name(), event)).collect();
    let streaming = Streaming { listener, first, allowed, until: None, heartbeat: HEARTBEAT_EVERY };
    Ok(answer(response, request, streaming.body()))
}

/// How a project that is followed stands. Of a name that nobody has nothing is kept.
async fn status_of(app: &App, project: &ProjectId) -> Result<Status, ApiError> {
    let status = app.board.status(project).await?;
    if status.is_none() {
        app.events.end(project);
    }
    status.ok_or(ApiError::UnknownProject)
}

/// How a project stands, for its open previews: what is live, and what the newest build came to.
fn current(status: &Status) -> Vec<PreviewEvent> {
    let live = status.live.as_ref().map(|live| {
        PreviewEvent::Published(Published {
            build_id: live.build_id,
            revision: live.revision,
            reason: PublishReason::Current,
            previous_build_id: None,
            styles_only: false,
            styles: Vec::new(),
        })
    });
    let last = status.last_build.as_ref().and_then(PreviewEvent::of_last_build);
    live.into_iter().chain(last).collect()
}

fn answer(
    response: &mut HttpResponseBuilder,
    request: &HttpRequest,
    body: impl Stream<Item = Result<actix_web::web::Bytes, actix_web::Error>> + 'static,
) -> HttpResponse {
    response.insert_header((CONTENT_TYPE, "text/event-stream")).insert_header((CACHE_CONTROL, "no-store")).insert_header(("X-Accel-Buffering", "no"));
    if sse::is_head(request) { response.finish() } else { response.streaming(body) }
}
