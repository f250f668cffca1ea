//! The calls that change something: sync, build, roll back, delete.

use std::time::Duration;

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::bodies::{BuildBody, Progress, RollbackBody, SyncBody, SyncResponse, split_paths};
use super::error::ApiError;
use super::extract::{authorize, authorized_body, bounded_body, parse_json};
use super::problems::{OfBuild, OfDelete, OfRollback, OfSync};
use crate::app::App;
use crate::auth::Scope;
use crate::domain::status::Status;
use crate::domain::{BuildId, ProjectId, Revision, SourcePath};
use crate::queue::{SyncRequest, scope_of};
use crate::sync::SyncScope;

/// Longest `wait_ms`.
const WAIT_MS_MAX: u64 = 60_000;

/// Takes over changed files from the source, then builds if anything really changed.
#[utoipa::path(
    post, path = "/sync-project/{id}", tag = "control", params(("id" = ProjectId, Path, description = "The project")), request_body = SyncBody,
    responses(
        (status = 200, description = "Nothing is to be built, or with `wait_ms` its build has ended", body = SyncResponse, links(
            ("status" = (operation_id = "status", parameters(("id" = "$request.path.id")))),
            ("builds" = (operation_id = "builds", parameters(("id" = "$request.path.id")))),
            ("logs" = (operation_id = "logs", parameters(("id" = "$request.path.id")))),
            ("delete" = (operation_id = "delete_project", parameters(("id" = "$request.path.id")))),
            ("rollback" = (operation_id = "rollback", parameters(("id" = "$request.path.id")), request_body = json!({"build_id": "$response.body#/build/build_id"})))
        )),
        (status = 202, description = "Accepted, and durable: its build follows", body = SyncResponse, links(
            ("status" = (operation_id = "status", parameters(("id" = "$request.path.id")))),
            ("builds" = (operation_id = "builds", parameters(("id" = "$request.path.id")))),
            ("logs" = (operation_id = "logs", parameters(("id" = "$request.path.id")))),
            ("delete" = (operation_id = "delete_project", parameters(("id" = "$request.path.id"))))
        )),
        OfSync
    ),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []), ("signature" = []))
)]
pub(super) async fn sync_project(app: Data<App>, id: Path<String>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let project: ProjectId = id.parse()?;
    let body = authorized_body(&app, &request, payload, &project).await?;
    let body: SyncBody = parse_json(&request, &body)?;
    let wait = check_wait(body.wait_ms)?;
    let (paths, ignored) = split_paths(body.changed_files)?;
    app.metrics.sync_files.with_label_values(&["ignored"]).inc_by(ignored.len() as u64);
    let sync = SyncRequest { scope: scope_of(paths), priority: body.priority, force: false, clean: false };
    take_in(&app, project, sync, ignored, wait).await
}

/// Builds now, even if nothing changed.
#[utoipa::path(
    post, path = "/build/{id}", tag = "control", params(("id" = ProjectId, Path, description = "The project")), request_body = BuildBody,
    responses(
        (status = 200, description = "Nothing is to be built, or with `wait_ms` its build has ended", body = SyncResponse, links(
            ("status" = (operation_id = "status", parameters(("id" = "$request.path.id")))),
            ("builds" = (operation_id = "builds", parameters(("id" = "$request.path.id")))),
            ("logs" = (operation_id = "logs", parameters(("id" = "$request.path.id")))),
            ("delete" = (operation_id = "delete_project", parameters(("id" = "$request.path.id")))),
            ("rollback" = (operation_id = "rollback", parameters(("id" = "$request.path.id")), request_body = json!({"build_id": "$response.body#/build/build_id"})))
        )),
        (status = 202, description = "Accepted, and durable: its build follows", body = SyncResponse, links(
            ("status" = (operation_id = "status", parameters(("id" = "$request.path.id")))),
            ("builds" = (operation_id = "builds", parameters(("id" = "$request.path.id")))),
            ("logs" = (operation_id = "logs", parameters(("id" = "$request.path.id")))),
            ("delete" = (operation_id = "delete_project", parameters(("id" = "$request.path.id"))))
        )),
        OfBuild
    ),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []), ("signature" = []))
)]
pub(super) async fn build(app: Data<App>, id: Path<String>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let project: ProjectId = id.parse()?;
    let body = authorized_body(&app, &request, payload, &project).await?;
    let body: BuildBody = parse_json(&request, &body)?;
    let wait = check_wait(body.wait_ms)?;
    let scope = if body.clean { SyncScope::Anew } else { SyncScope::Everything };
    let sync = SyncRequest { scope, priority: body.priority, force: true, clean: body.clean };
    take_in(&app, project, sync, Vec::new(), wait).await
}

/// Makes a retained release live again, at once.
#[utoipa::path(
    post, path = "/rollback/{id}", tag = "control", params(("id" = ProjectId, Path, description = "The project")), request_body = RollbackBody,
    responses((status = 200, description = "It is live: the status object", body = Status), OfRollback),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn rollback(app: Data<App>, id: Path<String>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let project: ProjectId = id.parse()?;
    authorize(&app, &request, Scope::Control, Some(&project))?;
    let body = bounded_body(&app, payload).await?;
    let body: RollbackBody = parse_json(&request, &body)?;
    let build: BuildId = body.build_id.ok_or_else(|| ApiError::InvalidBody("at build_id: it is missing".into()))?.parse()?;
    let of = project.clone();
    on_runtime(&app, |app| async move { app.queue.roll_back(&of, build).await }).await??;
    let status = app.board.status(&project).await?.ok_or(ApiError::UnknownProject)?;
    Ok(HttpResponse::Ok().json(status))
}

/// Forgets the project and everything of it on this machine, never the source.
#[utoipa::path(
    delete, path = "/projects/{id}", operation_id = "delete_project", tag = "control", params(("id" = ProjectId, Path, description = "The project")),
    responses((status = 204, description = "Forgotten"), OfDelete),
    security(("token" = []), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn delete(app: Data<App>, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let project: ProjectId = id.parse()?;
    authorize(&app, &request, Scope::Control, Some(&project))?;
    let known = on_runtime(&app, |app| async move {
        let known = app.intake.delete(&project).await;
        app.reports.forget(&project);
        known
    });
    let known = known.await??;
    if known { Ok(HttpResponse::NoContent().finish()) } else { Err(ApiError::UnknownProject) }
}

fn check_wait(wait_ms: u64) -> Result<Duration, ApiError> {
    if wait_ms > WAIT_MS_MAX {
        return Err(ApiError::InvalidBody(format!("at wait_ms: at most {WAIT_MS_MAX}")));
    }
    Ok(Duration::from_millis(wait_ms))
}

async fn take_in(app: &Data<App>, project: ProjectId, sync: SyncRequest, ignored: Vec<String>, wait: Duration) -> Result<HttpResponse, ApiError> {
    let of = project.clone();
    let answer = on_runtime(app, |app| async move { app.intake.sync(&of, sync).await }).await??;
    let mut ignored = ignored;
    ignored.extend(answer.rejected.into_iter().map(|(name, _)| name));
    let texts = |paths: Vec<SourcePath>| paths.into_iter().map(String::from).collect();
    let mut response = SyncResponse {
        status: if answer.building { Progress::Building } else { Progress::NoChanges },
        revision: answer.revision,
        changes: texts(answer.changes),
        deleted: texts(answer.deleted),
        ignored,
        preview_url: app.urls.preview(&project),
        status_url: app.urls.call("status", &project),
        logs_url: app.urls.call("logs", &project),
        build: None,
        project_id: project,
    };
    if !answer.building && answer.finished {
        return Ok(HttpResponse::Ok().json(response));
    }
    if !wait.is_zero()
        && let Some(status) = app.intake.wait(&response.project_id, answer.revision, wait).await?
    {
        response.status = verdict(&status, answer.revision);
        response.build = status.last_build;
        return Ok(HttpResponse::Ok().json(response));
    }
    Ok(if answer.building { HttpResponse::Accepted() } else { HttpResponse::Ok() }.json(response))
}

fn verdict(status: &Status, revision: Revision) -> Progress {
    if status.live.as_ref().is_some_and(|live| live.revision >= revision) { Progress::Ready } else { Progress::Error }
}

/// Runs `work` where it goes on even if the caller hangs up: a sync that has begun comes to its end.
pub(super) async fn on_runtime<T, F>(app: &Data<App>, work: impl FnOnce(Data<App>) -> F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    app.runtime.spawn(work(app.clone())).await.map_err(|e| ApiError::Internal(e.into()))
}
