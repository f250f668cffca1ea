//! The calls that change something: sync, build, roll back, delete.

use std::collections::BTreeSet;
use std::time::Duration;

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use super::extract::{authorize, authorized_body, bounded_body, parse_json, whole_number};
use super::problems::{OfBuild, OfDelete, OfRollback, OfSync};
use crate::app::App;
use crate::auth::Scope;
use crate::domain::status::Status;
use crate::domain::{BuildId, BuildRecord, Priority, ProjectId, Revision, SourcePath};
use crate::queue::{SyncRequest, scope_of};
use crate::sync::SyncScope;

/// Longest `wait_ms`.
const WAIT_MS_MAX: u64 = 60_000;

/// What changed; without a body, everything is looked at.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct SyncBody {
    /// None named: the source is listed, and only what differs is fetched.
    #[serde(default)]
    changed_files: Option<Vec<ChangedFile>>,
    /// Answer only when the revision is live, has failed, or this time is over; milliseconds.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(maximum = 60000)]
    wait_ms: u64,
    #[serde(default)]
    priority: Priority,
}

/// A file that the caller changed: an object, or just its path.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a file is its path, or an object with `path`, and maybe `type` and `deleted`")]
pub(super) enum ChangedFile {
    /// Its path, relative to the project's `frontend/` (which may stand in front).
    Path(SentPath),
    /// A file of the front end.
    Frontend {
        path: SentPath,
        #[serde(default, rename = "type")]
        _kind: Option<Frontend>,
        /// Taken and not relied on: the source says what is there.
        #[serde(default, rename = "deleted")]
        _deleted: bool,
    },
    /// Any other file: left alone, and listed under `ignored`.
    Other {
        path: String,
        #[serde(rename = "type")]
        #[schema(pattern = "^(?!frontend$)")]
        _kind: String,
        #[serde(default, rename = "deleted")]
        _deleted: bool,
    },
}

/// A path as it was sent, not checked yet.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = SourcePath)]
pub(super) struct SentPath(String);

/// The type of files that are synced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Frontend {
    /// The only one.
    Frontend,
}

/// How to build; without a body, as ever.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(super) struct BuildBody {
    /// Forget the project's caches first.
    #[serde(default)]
    clean: bool,
    /// Answer only when the revision is live, has failed, or this time is over; milliseconds.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(maximum = 60000)]
    wait_ms: u64,
    #[serde(default)]
    priority: Priority,
}

/// Which release is to be live.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct RollbackBody {
    /// A build that is still retained.
    #[schema(required, value_type = BuildId)]
    build_id: Option<String>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Progress {
    /// The sources are what they were.
    NoChanges,
    /// The revision is accepted; its build waits or runs.
    Building,
    /// The revision is live.
    Ready,
    /// Its build failed.
    Error,
}

/// Which revision a request led to, and where it is to be seen.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SyncResponse {
    status: Progress,
    project_id: ProjectId,
    revision: Revision,
    /// Paths whose content is new.
    changes: Vec<String>,
    /// Paths that are gone.
    deleted: Vec<String>,
    /// Paths that were left alone.
    ignored: Vec<String>,
    preview_url: String,
    status_url: String,
    logs_url: String,
    /// With `wait_ms`: the build that was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    build: Option<BuildRecord>,
}

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
    let known = on_runtime(&app, |app| async move { app.intake.delete(&project).await }).await??;
    if known { Ok(HttpResponse::NoContent().finish()) } else { Err(ApiError::UnknownProject) }
}

fn check_wait(wait_ms: u64) -> Result<Duration, ApiError> {
    if wait_ms > WAIT_MS_MAX {
        return Err(ApiError::InvalidBody(format!("at wait_ms: at most {WAIT_MS_MAX}")));
    }
    Ok(Duration::from_millis(wait_ms))
}

/// The paths to look at (`None`: everything, where no file is named), and those to leave alone.
fn split_paths(files: Option<Vec<ChangedFile>>) -> Result<(Option<BTreeSet<SourcePath>>, Vec<String>), ApiError> {
    let Some(files) = files.filter(|files| !files.is_empty()) else { return Ok((None, Vec::new())) };
    let (mut paths, mut ignored) = (BTreeSet::new(), Vec::new());
    for file in files {
        let path = match file {
            ChangedFile::Path(SentPath(path)) | ChangedFile::Frontend { path: SentPath(path), .. } => path,
            ChangedFile::Other { path, .. } => {
                ignored.push(path);
                continue;
            }
        };
        let parsed = SourcePath::parse_request(&path).map_err(|reason| ApiError::InvalidPath { path, reason })?;
        paths.insert(parsed);
    }
    Ok((Some(paths), ignored))
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
async fn on_runtime<T, F>(app: &Data<App>, work: impl FnOnce(Data<App>) -> F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    app.runtime.spawn(work(app.clone())).await.map_err(|e| ApiError::Internal(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_in_both_forms_and_other_types_are_left_alone() {
        let json = r#"{"changed_files": ["frontend/a.ts", {"path": "b.ts", "type": "frontend"}, {"path": "api/x.py", "type": "backend"}, {"path": "c.ts", "deleted": true}]}"#;
        let body: SyncBody = serde_json::from_str(json).expect("json");
        let (paths, ignored) = split_paths(body.changed_files).expect("valid");
        let paths: Vec<_> = paths.expect("some").into_iter().map(String::from).collect();
        assert_eq!((paths, ignored), (vec!["a.ts".into(), "b.ts".into(), "c.ts".into()], vec!["api/x.py".to_owned()]));
        assert!(split_paths(None).expect("valid").0.is_none() && split_paths(Some(Vec::new())).expect("valid").0.is_none());
        let bad = split_paths(Some(vec![ChangedFile::Path(SentPath("../x".into()))]));
        assert!(matches!(bad, Err(ApiError::InvalidPath { .. })));
    }
}
