//! The preview client's own addresses on a preview's origin: its scripts, and where it reports to.
//!
//! Invariant: a report is taken from whoever may see the preview, and is a claim (`preview::report`). It is bounded in size and in number
//! before anything is done for it.

use std::time::Instant;

use actix_web::http::header;
use actix_web::web::{Bytes, BytesMut, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures::StreamExt;
use tokio::time::timeout;

use super::error::ApiError;
use super::preview::{accepts, preview_headers};
use super::representation::{Conditions, Content, represent};
use crate::app::App;
use crate::domain::ProjectId;
use crate::preview::report::{REPORT_BYTES_MAX, Report};
use crate::release::SourceMaps;

/// The client's file `name`, if it is one. `live`: for the pages of a live release.
pub(super) fn script(app: &Data<App>, request: &HttpRequest, name: &str, live: bool) -> Option<HttpResponse> {
    let conditions = Conditions::of(request.headers());
    let compressed = |name: &str| conditions.allow_compressed() && accepts(request.headers(), header::ACCEPT_ENCODING, name);
    let (file, fixed) = app.client.file(name, request.query_string(), live, compressed("br"), compressed("gzip"))?;
    // From memory, so nothing can go wrong.
    let found = represent(Content::Small(file), None, fixed, &conditions).ok()?;
    let mut response = HttpResponse::build(found.status);
    Some(found.complete(preview_headers(app, &mut response), app.config.preview.private))
}

/// Takes a report in. Who sends it may see the preview.
pub(super) async fn report(app: &Data<App>, payload: Payload, project: &ProjectId) -> Result<HttpResponse, ApiError> {
    if !app.throttle.admits(project, Instant::now()) {
        return Err(ApiError::TooManyReports);
    }
    let body = timeout(app.config.server.client_timeout(), read(payload)).await.map_err(|_| ApiError::BodyTimeout)??;
    // Whatever it says of itself: from a frame without an origin browsers send plain text only, unasked.
    let report: Report = serde_json::from_slice(&body).map_err(|e| ApiError::InvalidBody(e.to_string()))?;
    let build = report.build;
    app.store.build(project.clone(), build).await?.ok_or(ApiError::UnknownBuild)?;
    let render = report.render();
    let (dir, owner) = (app.data.project(project), project.clone());
    let map = move || {
        let mut maps = SourceMaps::new(vec![dir.maps(build), dir.release(build)], dir.frontend());
        report.records(&owner, &mut maps)
    };
    // One at a time: maps are large in memory.
    let turn = app.mapping.acquire().await.map_err(anyhow::Error::from)?;
    let records = tokio::task::spawn_blocking(map).await.map_err(anyhow::Error::from)?;
    drop(turn);
    for record in records {
        app.reports.note_console(project, record);
    }
    if let Some(render) = render {
        app.reports.note_render(project, render).await?;
    }
    Ok(preview_headers(app, &mut HttpResponse::NoContent()).insert_header((header::CACHE_CONTROL, "no-store")).finish())
}

async fn read(mut payload: Payload) -> Result<Bytes, ApiError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|e| ApiError::InvalidBody(format!("the body did not arrive whole: {e}")))?;
        if body.len() + chunk.len() > REPORT_BYTES_MAX {
            return Err(ApiError::ReportTooLarge { max: REPORT_BYTES_MAX });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
