//! The calls that change something: sync, build, roll back, delete.

use std::collections::BTreeSet;
use std::time::Duration;

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::extract::{authorize, authorized_body, bounded_body, parse_json};
use crate::app::App;
use crate::auth::Scope;
use crate::domain::status::Status;
use crate::domain::{BuildId, BuildRecord, Priority, ProjectId, Revision, SourcePath};
use crate::queue::{SyncRequest, scope_of};
use crate::sync::SyncScope;

/// Longest `wait_ms`.
const WAIT_MS_MAX: u64 = 60_000;
/// The type of files that are synced; others are left alone.
const FRONTEND: &str = "frontend";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SyncBody {
    changed_files: Option<Vec<ChangedFile>>,
    wait_ms: u64,
    priority: Priority,
}

/// A file that the caller changed: an object, or just its path.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ChangedFile {
    Path(String),
    Object {
        path: String,
        #[serde(default)]
        r#type: Option<String>,
        /// Taken and not relied on: the source says what is there.
        #[serde(default, rename = "deleted")]
        _deleted: bool,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BuildBody {
    clean: bool,
    wait_ms: u64,
    priority: Priority,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RollbackBody {
    build_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct SyncResponse {
    status: &'static str,
    project_id: ProjectId,
    revision: Revision,
    changes: Vec<String>,
    deleted: Vec<String>,
    ignored: Vec<String>,
    preview_url: String,
    status_url: String,
    logs_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    build: Option<BuildRecord>,
}

/// `POST /sync-project/{id}`
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

/// `POST /build/{id}`
pub(super) async fn build(app: Data<App>, id: Path<String>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    let project: ProjectId = id.parse()?;
    let body = authorized_body(&app, &request, payload, &project).await?;
    let body: BuildBody = parse_json(&request, &body)?;
    let wait = check_wait(body.wait_ms)?;
    let scope = if body.clean { SyncScope::Anew } else { SyncScope::Everything };
    let sync = SyncRequest { scope, priority: body.priority, force: true, clean: body.clean };
    take_in(&app, project, sync, Vec::new(), wait).await
}

/// `POST /rollback/{id}`
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

/// `DELETE /projects/{id}`
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
        let (path, kind) = match file {
            ChangedFile::Path(path) => (path, None),
            ChangedFile::Object { path, r#type, .. } => (path, r#type),
        };
        if kind.is_some_and(|kind| kind != FRONTEND) {
            ignored.push(path);
            continue;
        }
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
        status: if answer.building { "building" } else { "no_changes" },
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

fn verdict(status: &Status, revision: Revision) -> &'static str {
    if status.live.as_ref().is_some_and(|live| live.revision >= revision) { "ready" } else { "error" }
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
        let bad = split_paths(Some(vec![ChangedFile::Path("../x".into())]));
        assert!(matches!(bad, Err(ApiError::InvalidPath { .. })));
    }
}
