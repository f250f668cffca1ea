//! The one error that clients see: `application/problem+json` (RFC 9457) with a stable `code`.
//!
//! Invariant: every error of the floors below is mapped here, by an exhaustive match; what is internal is
//! logged once and never sent.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use crate::auth::Unauthorized;
use crate::domain::ids::{InvalidBuildId, InvalidProjectId};
use crate::domain::paths::PathError;
use crate::queue::{IntakeError, RollbackError};
use crate::source::SourceError;
use crate::state::StateError;
use crate::sync::SyncError;

/// The media type of every error.
const PROBLEM_JSON: &str = "application/problem+json";
/// What a caller is told to wait, seconds, where no better figure is known.
const RETRY_AFTER_S: u32 = 2;

/// Why a call was not done.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum ApiError {
    #[error(transparent)]
    InvalidProjectId(#[from] InvalidProjectId),
    #[error(transparent)]
    InvalidBuildId(#[from] InvalidBuildId),
    #[error("{path:?}: {reason}")]
    InvalidPath { path: String, reason: PathError },
    #[error("{0}")]
    InvalidBody(String),
    #[error("{0}")]
    InvalidQuery(String),
    #[error("a body is JSON: send it with Content-Type: application/json")]
    UnsupportedMediaType,
    #[error("the body is larger than {limit_kb} kB, the limit server.max_body_kb")]
    BodyTooLarge { limit_kb: u32 },
    #[error("the body did not arrive in time")]
    BodyTimeout,
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    #[error("no project of this name is known")]
    UnknownProject,
    #[error("this project has no such build, or its release is no longer kept")]
    UnknownBuild,
    #[error("there is nothing at this address")]
    NotFound,
    /// Which methods it takes, as `Allow` says it.
    #[error("this address takes {0} only")]
    MethodNotAllowed(&'static str),
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error(transparent)]
    Rollback(#[from] RollbackError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("something went wrong here; the log says more")]
    Internal(#[from] anyhow::Error),
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: String,
    code: &'a str,
}

impl ApiError {
    /// The stable name of the error, and its status.
    fn code(&self) -> (&'static str, StatusCode) {
        match self {
            Self::InvalidProjectId(_) => ("invalid_project_id", StatusCode::BAD_REQUEST),
            Self::InvalidBuildId(_) => ("invalid_build_id", StatusCode::BAD_REQUEST),
            Self::InvalidPath { .. } => ("invalid_path", StatusCode::BAD_REQUEST),
            Self::InvalidBody(_) => ("invalid_body", StatusCode::BAD_REQUEST),
            Self::InvalidQuery(_) => ("invalid_query", StatusCode::BAD_REQUEST),
            Self::UnsupportedMediaType => ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::BodyTooLarge { .. } => ("body_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::BodyTimeout => ("body_timeout", StatusCode::REQUEST_TIMEOUT),
            Self::Unauthorized(_) => ("unauthorized", StatusCode::UNAUTHORIZED),
            Self::UnknownProject => ("unknown_project", StatusCode::NOT_FOUND),
            Self::UnknownBuild => ("unknown_build", StatusCode::NOT_FOUND),
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed(_) => ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED),
            Self::Intake(error) => intake_code(error),
            Self::Rollback(error) => rollback_code(error),
            Self::State(error) => state_code(error),
            Self::Internal(_) => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// What a caller is told: of a fault of ours no more than that there is one.
    fn detail(&self) -> String {
        match self.code().0 {
            "state_unavailable" => "the state cannot be read or written right now".to_owned(),
            "disk" => "the disk here cannot be read or written right now".to_owned(),
            _ => self.to_string(),
        }
    }

    fn retry_after_s(&self) -> Option<u32> {
        match self.code().1 {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some(RETRY_AFTER_S),
            _ => None,
        }
    }
}

fn intake_code(error: &IntakeError) -> (&'static str, StatusCode) {
    match error {
        IntakeError::Draining => ("draining", StatusCode::SERVICE_UNAVAILABLE),
        IntakeError::QueueFull { .. } => ("queue_full", StatusCode::TOO_MANY_REQUESTS),
        IntakeError::UnknownProject => ("unknown_project", StatusCode::NOT_FOUND),
        IntakeError::Sync(error) => sync_code(error),
        IntakeError::State(error) => state_code(error),
    }
}

fn rollback_code(error: &RollbackError) -> (&'static str, StatusCode) {
    match error {
        RollbackError::UnknownProject => ("unknown_project", StatusCode::NOT_FOUND),
        RollbackError::UnknownBuild => ("unknown_build", StatusCode::NOT_FOUND),
        RollbackError::Disk(_) => ("disk", StatusCode::INSUFFICIENT_STORAGE),
        RollbackError::State(error) => state_code(error),
    }
}

fn state_code(error: &StateError) -> (&'static str, StatusCode) {
    match error {
        StateError::LabelTaken => ("label_taken", StatusCode::CONFLICT),
        StateError::Sqlite(_) | StateError::Decode(_) | StateError::TooNew { .. } | StateError::Stopped => {
            ("state_unavailable", StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

fn sync_code(error: &SyncError) -> (&'static str, StatusCode) {
    match error {
        SyncError::Source(error) => match error {
            SourceError::Unavailable(_) => ("source_unavailable", StatusCode::SERVICE_UNAVAILABLE),
            SourceError::Denied(_) => ("source_denied", StatusCode::BAD_GATEWAY),
            SourceError::Misconfigured(_) => ("source_misconfigured", StatusCode::BAD_GATEWAY),
            SourceError::Corrupt { .. } => ("source_corrupt", StatusCode::BAD_GATEWAY),
            SourceError::TooLarge { .. } => ("file_too_large", StatusCode::UNPROCESSABLE_ENTITY),
            SourceError::TooManyFiles { .. } => ("too_many_files", StatusCode::UNPROCESSABLE_ENTITY),
            SourceError::Local(_) => ("disk", StatusCode::INSUFFICIENT_STORAGE),
        },
        SyncError::ProjectTooLarge { .. } => ("project_too_large", StatusCode::UNPROCESSABLE_ENTITY),
        SyncError::Clash(_) => ("path_clash", StatusCode::UNPROCESSABLE_ENTITY),
        SyncError::Disk(_) => ("disk", StatusCode::INSUFFICIENT_STORAGE),
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code().1
    }

    fn error_response(&self) -> HttpResponse {
        let (code, status) = self.code();
        if status.is_server_error() {
            tracing::error!(code, error = ?self, "a call failed");
        }
        let problem = Problem {
            r#type: format!("urn:previewd:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.detail(),
            code,
        };
        let mut response = HttpResponse::build(status);
        response.insert_header((CONTENT_TYPE, PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_s() {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if let Self::MethodNotAllowed(allow) = self {
            response.insert_header((ALLOW, *allow));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.insert_header(("WWW-Authenticate", "Bearer realm=\"previewd\""));
        }
        response.body(serde_json::to_vec(&problem).unwrap_or_default())
    }
}
