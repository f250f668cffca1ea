//! The calls that only look: status, builds, projects.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use super::extract::{authorize, query};
use super::problems::{OfBuilds, OfProjects, OfStatus};
use crate::app::App;
use crate::auth::Scope;
use crate::domain::status::{State, Status};
use crate::domain::{BuildId, BuildRecord, ProjectId};
use crate::state::{BuildRow, ProjectFilter, ProjectRow};

/// Rows of a page, where the caller names none, and at most.
const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 500;
/// Longest `q`, in characters.
const SEARCH_CHARS_MAX: usize = 64;

/// Which part of a project's history.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct BuildsQuery {
    /// How many at most.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 500, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(value_type = BuildId, required = false)]
    cursor: Option<String>,
}

/// Which projects.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ProjectsQuery {
    /// How many at most.
    #[param(value_type = u32, required = false, minimum = 1, maximum = 500, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(value_type = ProjectId, required = false)]
    cursor: Option<String>,
    /// Only those that stand so.
    #[param(value_type = State, required = false)]
    state: Option<String>,
    /// Only those whose id contains this.
    #[param(value_type = String, required = false, max_length = 64)]
    q: Option<String>,
}

/// A page of a project's history, newest first.
#[derive(Serialize, ToSchema)]
struct BuildsPage {
    builds: Vec<BuildView>,
    /// Where the next page begins; `null` on the last.
    #[schema(required, value_type = Option<BuildId>)]
    next_cursor: Option<String>,
}

/// A page of the projects, by id.
#[derive(Serialize, ToSchema)]
struct ProjectsPage {
    projects: Vec<ProjectView>,
    /// Where the next page begins; `null` on the last.
    #[schema(required, value_type = Option<ProjectId>)]
    next_cursor: Option<String>,
}

/// A build of the history.
#[derive(Serialize, ToSchema)]
struct BuildView {
    #[serde(flatten)]
    record: BuildRecord,
    /// Its release is still there.
    retained: bool,
    /// Its permalink, where it is retained.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// A project, in short.
#[derive(Serialize, ToSchema)]
struct ProjectView {
    project_id: ProjectId,
    state: State,
    revision: u64,
    live_revision: u64,
    #[schema(required)]
    live_build_id: Option<BuildId>,
    preview_url: String,
}

/// How a project stands.
#[utoipa::path(
    get, path = "/status/{id}", tag = "read", params(("id" = ProjectId, Path, description = "The project")),
    responses(
        (status = 200, description = "The status object", body = Status, links(
            ("log" = (operation_id = "logs", parameters(("id" = "$request.path.id"), ("build" = "$response.body#/live/build_id")))),
            ("rollback" = (
                operation_id = "rollback",
                parameters(("id" = "$request.path.id")),
                request_body = json!({"build_id": "$response.body#/live/build_id"})
            ))
        )),
        OfStatus
    ),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn status(app: Data<App>, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let project: ProjectId = id.parse()?;
    authorize(&app, &request, Scope::Read, Some(&project))?;
    let status = app.board.status(&project).await?.ok_or(ApiError::UnknownProject)?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(status))
}

/// A project's builds, newest first.
#[utoipa::path(
    get, path = "/builds/{id}", tag = "read", params(("id" = ProjectId, Path, description = "The project"), BuildsQuery),
    responses(
        (status = 200, description = "A page of them", body = BuildsPage, links(
            ("log" = (operation_id = "logs", parameters(("id" = "$request.path.id"), ("build" = "$response.body#/builds/0/build_id")))),
            ("next" = (operation_id = "builds", parameters(("id" = "$request.path.id"), ("cursor" = "$response.body#/builds/0/build_id"))))
        )),
        OfBuilds
    ),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn builds(app: Data<App>, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let project: ProjectId = id.parse()?;
    authorize(&app, &request, Scope::Read, Some(&project))?;
    let query: BuildsQuery = query(&request)?;
    let limit = limit(query.limit)?;
    let before = query.cursor.as_deref().map(str::parse::<BuildId>).transpose()?;
    if app.store.project(project.clone()).await?.is_none() {
        return Err(ApiError::UnknownProject);
    }
    let rows = app.store.builds(project.clone(), before, limit).await?;
    let next = next_cursor(&rows, limit, |row| row.record.build_id.to_string());
    let builds: Vec<_> = rows.into_iter().map(|row| build_view(&app, &project, row)).collect();
    Ok(HttpResponse::Ok().json(BuildsPage { builds, next_cursor: next }))
}

/// All projects, by id.
#[utoipa::path(
    get, path = "/projects", tag = "read", params(ProjectsQuery),
    responses(
        (status = 200, description = "A page of them", body = ProjectsPage, links(
            ("status" = (operation_id = "status", parameters(("id" = "$response.body#/projects/0/project_id")))),
            ("builds" = (operation_id = "builds", parameters(("id" = "$response.body#/projects/0/project_id"))))
        )),
        OfProjects
    ),
    security(("token" = []))
)]
pub(super) async fn projects(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    authorize(&app, &request, Scope::Read, None)?;
    let query: ProjectsQuery = query(&request)?;
    let limit = limit(query.limit)?;
    let state = query.state.map(|text| serde_json::from_value(text.into())).transpose();
    let state = state.map_err(|_| ApiError::InvalidQuery("state is queued, building, ready, error or empty".into()))?;
    if query.q.as_ref().is_some_and(|q| q.chars().count() > SEARCH_CHARS_MAX) {
        return Err(ApiError::InvalidQuery(format!("q has at most {SEARCH_CHARS_MAX} characters")));
    }
    let after = query.cursor.as_deref().map(str::parse::<ProjectId>).transpose()?;
    let rows = app.store.projects(ProjectFilter { after, contains: query.q, state, limit }).await?;
    let next = next_cursor(&rows, limit, |row| row.id.to_string());
    let projects: Vec<_> = rows.into_iter().map(|row| project_view(&app, row)).collect();
    Ok(HttpResponse::Ok().json(ProjectsPage { projects, next_cursor: next }))
}

fn limit(asked: Option<u32>) -> Result<u32, ApiError> {
    match asked {
        None => Ok(LIMIT_DEFAULT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(_) => Err(ApiError::InvalidQuery(format!("limit is 1 to {LIMIT_MAX}"))),
    }
}

/// Where the next page begins; none where this one was not full.
fn next_cursor<T>(rows: &[T], limit: u32, name: impl Fn(&T) -> String) -> Option<String> {
    rows.last().filter(|_| rows.len() == limit as usize).map(name)
}

fn build_view(app: &App, project: &ProjectId, row: BuildRow) -> BuildView {
    let url = row.retained.then(|| app.urls.permalink(project, row.record.build_id));
    BuildView { record: row.record, retained: row.retained, url }
}

fn project_view(app: &App, row: ProjectRow) -> ProjectView {
    ProjectView {
        state: row.state(),
        revision: row.wanted.0,
        live_revision: row.live_revision.0,
        live_build_id: row.live_build,
        preview_url: app.urls.preview(&row.id),
        project_id: row.id,
    }
}
