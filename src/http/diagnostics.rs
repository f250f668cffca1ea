//! `GET /diagnostics/{id}`: what is wrong with one build, short enough for a model's context.

use actix_web::http::header::{ACCEPT, CACHE_CONTROL};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::ApiError;
use super::extract::{authorize, query};
use super::problems::OfDiagnostics;
use crate::app::App;
use crate::auth::Scope;
use crate::domain::{BuildId, ProjectId};
use crate::queue::Diagnostics;

/// `max_chars` where the caller names none, at least and at most.
const MAX_CHARS_DEFAULT: usize = 8_000;
const MAX_CHARS: std::ops::RangeInclusive<usize> = 1_000..=100_000;

/// Of which build, and how much.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DiagnosticsQuery {
    /// A certain build; without it, the newest that has ended.
    #[param(value_type = BuildId, required = false)]
    build: Option<String>,
    /// How long the answer may be, in characters. Frames and stacks go first, then whole entries, the last ones first.
    #[param(value_type = u32, required = false, minimum = 1000, maximum = 100_000, default = 8000)]
    max_chars: Option<usize>,
}

/// What is wrong with one build: its failure, warnings, run-time errors, console errors, failed requests, and whether it rendered.
#[utoipa::path(
    get, path = "/diagnostics/{id}", tag = "read", params(("id" = ProjectId, Path, description = "The project"), DiagnosticsQuery),
    responses(
        (status = 200, description = "As JSON, or with `Accept: text/plain` as text that is ready for a model's context", content(
            (Diagnostics = "application/json"),
            (String = "text/plain")
        )),
        OfDiagnostics
    ),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn diagnostics(app: Data<App>, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let project: ProjectId = id.parse()?;
    authorize(&app, &request, Scope::Read, Some(&project))?;
    let query: DiagnosticsQuery = query(&request)?;
    let max_chars = query.max_chars.unwrap_or(MAX_CHARS_DEFAULT);
    if !MAX_CHARS.contains(&max_chars) {
        return Err(ApiError::InvalidQuery(format!("max_chars is {} to {}", MAX_CHARS.start(), MAX_CHARS.end())));
    }
    let row = app.store.project(project.clone()).await?.ok_or(ApiError::UnknownProject)?;
    let build: BuildId = match query.build {
        Some(text) => text.parse()?,
        None => row.last_build.ok_or(ApiError::UnknownBuild)?,
    };
    let found = app.reports.diagnostics(&project, build, max_chars).await?.ok_or(ApiError::UnknownBuild)?;
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store"));
    if accept.contains("text/plain") && !accept.contains("json") {
        return Ok(response.content_type("text/plain; charset=utf-8").body(found.text()));
    }
    Ok(response.json(found))
}
