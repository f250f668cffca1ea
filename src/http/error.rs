//! The one error that clients see: `application/problem+json` (RFC 9457) with a stable `code`.
//!
//! Invariant: every error of the floors below is mapped here, by an exhaustive match; what is internal is
//! logged once and never sent. [`Code`] is the one list of codes: the API's description is made from it.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Unauthorized;
use crate::domain::ids::{InvalidBuildId, InvalidProjectId};
use crate::domain::paths::PathError;
use crate::queue::{IntakeError, RollbackError};
use crate::source::SourceError;
use crate::state::StateError;
use crate::sync::SyncError;

/// The media type of every error.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";
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
    #[error("the address is longer than {max} bytes")]
    AddressTooLong { max: usize },
    #[error("the headers are larger than {max} bytes")]
    HeadersTooLarge { max: usize },
    #[error("{max} connections are open, the limit server.max_connections")]
    TooManyConnections { max: u32 },
    #[error("a report has at most {max} bytes")]
    ReportTooLarge { max: usize },
    #[error("the pages of this preview report too often")]
    TooManyReports,
    #[error("{max} event streams are open, as many of server.max_connections as they may take")]
    TooManyStreams { max: usize },
    #[error("the body did not arrive within server.client_timeout_s")]
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

/// The closed set of codes, each with its text, its status and what it means. The text is taken as a `tt`: utoipa does not see through a
/// `literal`.
macro_rules! codes {
    ($($variant:ident => $text:tt, $status:ident, $meaning:literal;)+) => {
        /// The stable name of an error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
        pub(super) enum Code { $(#[doc = $meaning] #[serde(rename = $text)] $variant),+ }

        impl Code {
            /// Every code.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$variant),+];

            /// As callers see it.
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The status that it comes with, always the same.
            pub(super) const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status),+ }
            }

            /// When a caller gets it.
            pub(super) const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

codes! {
    InvalidProjectId => "invalid_project_id", BAD_REQUEST, "the project id has not the form of one";
    InvalidBuildId => "invalid_build_id", BAD_REQUEST, "the build id is no ULID";
    InvalidPath => "invalid_path", BAD_REQUEST, "a path cannot be one of a source file";
    InvalidBody => "invalid_body", BAD_REQUEST, "the body is not the JSON that is expected, `detail` says where";
    InvalidQuery => "invalid_query", BAD_REQUEST, "a value in the query is not what is expected";
    Unauthorized => "unauthorized", UNAUTHORIZED, "no valid credentials for this call on this project";
    UnknownProject => "unknown_project", NOT_FOUND, "no project of this name is known";
    UnknownBuild => "unknown_build", NOT_FOUND, "the project has no such build, or no longer";
    NotFound => "not_found", NOT_FOUND, "there is nothing at this address";
    MethodNotAllowed => "method_not_allowed", METHOD_NOT_ALLOWED, "the address takes other methods, see `Allow`";
    BodyTimeout => "body_timeout", REQUEST_TIMEOUT, "the body did not arrive in time";
    LabelTaken => "label_taken", CONFLICT, "another project has the host name that this one would get";
    BodyTooLarge => "body_too_large", PAYLOAD_TOO_LARGE, "the body is larger than `server.max_body_kb`, or a report than 64 kB";
    AddressTooLong => "address_too_long", URI_TOO_LONG, "the path with its query is too long";
    UnsupportedMediaType => "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "a body is `application/json`";
    FileTooLarge => "file_too_large", UNPROCESSABLE_ENTITY, "a source file is larger than `sync.max_file_mb`";
    TooManyFiles => "too_many_files", UNPROCESSABLE_ENTITY, "the source has more files than `sync.max_files`";
    ProjectTooLarge => "project_too_large", UNPROCESSABLE_ENTITY, "the source is larger than `sync.max_project_mb`";
    PathClash => "path_clash", UNPROCESSABLE_ENTITY, "a source file has the name of a folder";
    QueueFull => "queue_full", TOO_MANY_REQUESTS, "`queue.max_pending` projects wait already";
    TooManyReports => "too_many_reports", TOO_MANY_REQUESTS, "the pages of a preview report more often than is taken";
    HeadersTooLarge => "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too large";
    Internal => "internal", INTERNAL_SERVER_ERROR, "a fault of the daemon, its log says more";
    SourceDenied => "source_denied", BAD_GATEWAY, "the source refuses the daemon's credentials";
    SourceMisconfigured => "source_misconfigured", BAD_GATEWAY, "the source is not where the configuration says";
    SourceCorrupt => "source_corrupt", BAD_GATEWAY, "the source sent other bytes than it said";
    SourceUnavailable => "source_unavailable", SERVICE_UNAVAILABLE, "the source does not answer";
    StateUnavailable => "state_unavailable", SERVICE_UNAVAILABLE, "the daemon's state cannot be read or written right now";
    TooManyConnections => "too_many_connections", SERVICE_UNAVAILABLE, "`server.max_connections` are open already";
    TooManyStreams => "too_many_streams", SERVICE_UNAVAILABLE, "three quarters of `server.max_connections` are event streams already";
    Draining => "draining", SERVICE_UNAVAILABLE, "the daemon is about to stop";
    Disk => "disk", INSUFFICIENT_STORAGE, "the daemon's disk cannot be read or written right now";
}

/// An error as clients see it (RFC 9457).
#[derive(Serialize, ToSchema)]
pub(super) struct Problem {
    /// `urn:previewd:` and the code.
    #[schema(format = "uri")]
    r#type: String,
    /// The name of the status.
    title: &'static str,
    /// The status.
    status: u16,
    /// What went wrong this time, for a person.
    detail: String,
    /// For programs: stable.
    code: Code,
}

impl ApiError {
    /// The stable name of the error.
    fn code(&self) -> Code {
        match self {
            Self::InvalidProjectId(_) => Code::InvalidProjectId,
            Self::InvalidBuildId(_) => Code::InvalidBuildId,
            Self::InvalidPath { .. } => Code::InvalidPath,
            Self::InvalidBody(_) => Code::InvalidBody,
            Self::InvalidQuery(_) => Code::InvalidQuery,
            Self::UnsupportedMediaType => Code::UnsupportedMediaType,
            Self::BodyTooLarge { .. } | Self::ReportTooLarge { .. } => Code::BodyTooLarge,
            Self::TooManyReports => Code::TooManyReports,
            Self::AddressTooLong { .. } => Code::AddressTooLong,
            Self::HeadersTooLarge { .. } => Code::HeadersTooLarge,
            Self::TooManyStreams { .. } => Code::TooManyStreams,
            Self::TooManyConnections { .. } => Code::TooManyConnections,
            Self::BodyTimeout => Code::BodyTimeout,
            Self::Unauthorized(_) => Code::Unauthorized,
            Self::UnknownProject => Code::UnknownProject,
            Self::UnknownBuild => Code::UnknownBuild,
            Self::NotFound => Code::NotFound,
            Self::MethodNotAllowed(_) => Code::MethodNotAllowed,
            Self::Intake(error) => intake_code(error),
            Self::Rollback(error) => rollback_code(error),
            Self::State(error) => state_code(error),
            Self::Internal(_) => Code::Internal,
        }
    }

    /// What a caller is told to wait, seconds, where that is known better than by the status.
    fn known_wait_s(&self) -> Option<u64> {
        match self {
            Self::Intake(IntakeError::Sync(SyncError::Source(error))) => error.retry_after_s(),
            _ => None,
        }
    }

    /// What a caller is told: of a fault of ours no more than that there is one.
    fn detail(&self) -> String {
        match self.code() {
            Code::StateUnavailable => "the state cannot be read or written right now".to_owned(),
            Code::Disk => "the disk here cannot be read or written right now".to_owned(),
            _ => self.to_string(),
        }
    }
}

/// What a caller is told to wait before it tries again, seconds, where that makes sense.
pub(super) fn retry_after_s(status: StatusCode) -> Option<u32> {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some(RETRY_AFTER_S),
        _ => None,
    }
}

fn intake_code(error: &IntakeError) -> Code {
    match error {
        IntakeError::Draining => Code::Draining,
        IntakeError::QueueFull { .. } => Code::QueueFull,
        IntakeError::UnknownProject => Code::UnknownProject,
        IntakeError::Sync(error) => sync_code(error),
        IntakeError::State(error) => state_code(error),
    }
}

fn rollback_code(error: &RollbackError) -> Code {
    match error {
        RollbackError::UnknownProject => Code::UnknownProject,
        RollbackError::UnknownBuild => Code::UnknownBuild,
        RollbackError::Disk(_) => Code::Disk,
        RollbackError::State(error) => state_code(error),
    }
}

fn state_code(error: &StateError) -> Code {
    match error {
        StateError::LabelTaken => Code::LabelTaken,
        StateError::Sqlite(_) | StateError::Decode(_) | StateError::TooNew { .. } | StateError::Stopped => Code::StateUnavailable,
    }
}

fn sync_code(error: &SyncError) -> Code {
    match error {
        SyncError::Source(error) => match error {
            SourceError::Unavailable(_) | SourceError::Unreadable(_) | SourceError::Resting { .. } => Code::SourceUnavailable,
            SourceError::Denied(_) => Code::SourceDenied,
            SourceError::Misconfigured(_) => Code::SourceMisconfigured,
            SourceError::Corrupt { .. } => Code::SourceCorrupt,
            SourceError::TooLarge { .. } => Code::FileTooLarge,
            SourceError::TooManyFiles { .. } => Code::TooManyFiles,
            SourceError::Local(_) => Code::Disk,
        },
        SyncError::ProjectTooLarge { .. } => Code::ProjectTooLarge,
        SyncError::Clash(_) => Code::PathClash,
        SyncError::Disk(_) => Code::Disk,
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code().status()
    }

    fn error_response(&self) -> HttpResponse {
        let code = self.code();
        let status = code.status();
        if self.known_wait_s().is_some() {
            // That it began was logged once; a refusal of each call says nothing more.
            tracing::debug!(code = code.as_str(), error = %self, "a call was refused");
        } else if status.is_server_error() {
            tracing::error!(code = code.as_str(), error = ?self, "a call failed");
        }
        let problem = Problem {
            r#type: format!("urn:previewd:{}", code.as_str()),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.detail(),
            code,
        };
        let mut response = HttpResponse::build(status);
        response.insert_header((CONTENT_TYPE, PROBLEM_JSON));
        if let Some(seconds) = self.known_wait_s().or(retry_after_s(status).map(u64::from)) {
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
