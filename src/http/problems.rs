//! Which errors each call may answer with, for the API's description (`openapi`).
//!
//! Invariant: a status has one response, whose schema takes the codes that the call may have with it and no other.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use utoipa::IntoResponses;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::error::{Code, PROBLEM_JSON, retry_after_s};

/// What every call may get, before anything of it is looked at.
const OF_EVERY_CALL: [Code; 3] = [Code::AddressTooLong, Code::HeadersTooLarge, Code::TooManyConnections];

/// Sets of errors that calls have in common, besides [`OF_EVERY_CALL`].
macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident: [$($code:ident),* $(,)?];)+) => {
        $(
            $(#[$doc])*
            pub(super) struct $name;

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    problem_responses(&[$(Code::$code),*])
                }
            }
        )+
    };
}

problems! {
    /// Of a sync.
    OfSync: [
        InvalidProjectId, InvalidPath, InvalidBody, InvalidQuery, Unauthorized, BodyTimeout, LabelTaken, BodyTooLarge, UnsupportedMediaType,
        FileTooLarge, TooManyFiles, ProjectTooLarge, PathClash, QueueFull, Internal, SourceDenied, SourceMisconfigured, SourceCorrupt,
        SourceUnavailable, StateUnavailable, Draining, Disk,
    ];
    /// Of a build: it names no paths, but a project that is not known and has no files.
    OfBuild: [
        InvalidProjectId, InvalidBody, InvalidQuery, Unauthorized, UnknownProject, BodyTimeout, LabelTaken, BodyTooLarge, UnsupportedMediaType,
        FileTooLarge, TooManyFiles, ProjectTooLarge, PathClash, QueueFull, Internal, SourceDenied, SourceMisconfigured, SourceCorrupt,
        SourceUnavailable, StateUnavailable, Draining, Disk,
    ];
    /// Of a file of the page.
    OfFiles: [NotFound];
    /// Of a rollback.
    OfRollback: [
        InvalidProjectId, InvalidBuildId, InvalidBody, InvalidQuery, Unauthorized, UnknownProject, UnknownBuild, BodyTimeout, BodyTooLarge,
        UnsupportedMediaType, Internal, StateUnavailable, Disk,
    ];
    /// Of a deletion.
    OfDelete: [InvalidProjectId, InvalidQuery, Unauthorized, UnknownProject, Internal, StateUnavailable, Disk];
    /// Of looking at one project.
    OfStatus: [InvalidProjectId, InvalidQuery, Unauthorized, UnknownProject, Internal, StateUnavailable];
    /// Of a project's history.
    OfBuilds: [InvalidProjectId, InvalidBuildId, InvalidQuery, Unauthorized, UnknownProject, Internal, StateUnavailable];
    /// Of one build's log.
    OfLogs: [InvalidProjectId, InvalidBuildId, InvalidQuery, Unauthorized, UnknownProject, UnknownBuild, Internal, StateUnavailable];
    /// Of one build's diagnostics.
    OfDiagnostics: [InvalidProjectId, InvalidBuildId, InvalidQuery, Unauthorized, UnknownProject, UnknownBuild, Internal, StateUnavailable];
    /// Of looking at what is set for a project, and of taking back where its webhooks go.
    OfSettings: [InvalidProjectId, InvalidQuery, Unauthorized, UnknownProject, Internal, StateUnavailable];
    /// Of setting what a project's builds are given, which may begin one, and of taking it back.
    OfSetEnv: [
        InvalidProjectId, InvalidBody, InvalidQuery, Unauthorized, UnknownProject, BodyTimeout, LabelTaken, BodyTooLarge, UnsupportedMediaType,
        QueueFull, Internal, StateUnavailable, Draining,
    ];
    /// Of setting where a project's webhooks go.
    OfSetNotify: [
        InvalidProjectId, InvalidBody, InvalidQuery, Unauthorized, BodyTimeout, LabelTaken, BodyTooLarge, UnsupportedMediaType, Internal,
        StateUnavailable,
    ];
    /// Of a project's events.
    OfEvents: [InvalidProjectId, InvalidQuery, Unauthorized, UnknownProject, TooManyStreams, Internal, StateUnavailable];
    /// Of the list of projects, whose cursor is a project id.
    OfProjects: [InvalidProjectId, InvalidQuery, Unauthorized, Internal, StateUnavailable];
    /// Of a call that cannot fail by itself.
    OfAnything: [];
    /// Of metrics.
    OfMetrics: [Internal, StateUnavailable];
    /// Of an address that has a project's name in it, and nothing else that could be wrong.
    OfProjectId: [InvalidProjectId];
    /// Of what the preview client reports.
    OfReport: [
        InvalidProjectId, InvalidBody, InvalidQuery, Unauthorized, UnknownBuild, BodyTimeout, BodyTooLarge, TooManyReports, Internal, StateUnavailable,
    ];
    /// Of a preview, besides the pages that it shows itself.
    OfPreview: [InvalidProjectId, InvalidQuery, Unauthorized, UnknownBuild, Internal, StateUnavailable];
}

/// One response for each status, with the codes that it may have.
fn problem_responses(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes.iter().chain(&OF_EVERY_CALL) {
        by_status.entry(code.status().as_u16()).or_default().push(*code);
    }
    by_status.into_iter().map(|(status, codes)| (status.to_string(), RefOr::T(problem_response(status, &codes)))).collect()
}

fn problem_response(status: u16, codes: &[Code]) -> Response {
    let meanings: Vec<_> = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.meaning())).collect();
    let narrowed = ObjectBuilder::new()
        .property("status", ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([status])))
        .property("code", ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes.iter().map(|code| code.as_str()))));
    let schema = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(narrowed);
    let mut response =
        ResponseBuilder::new().description(meanings.join("; ")).content(PROBLEM_JSON, ContentBuilder::new().schema(Some(schema)).build());
    for (name, about) in headers_of(status) {
        let text = ObjectBuilder::new().schema_type(Type::String);
        response = response.header(name, HeaderBuilder::new().schema(Some(text)).description(Some(about)).build());
    }
    response.build()
}

/// The headers that errors of a status have.
fn headers_of(status: u16) -> Vec<(&'static str, &'static str)> {
    let mut headers = Vec::new();
    if status == StatusCode::UNAUTHORIZED.as_u16() {
        headers.push(("WWW-Authenticate", "What is asked for."));
    }
    if StatusCode::from_u16(status).is_ok_and(|status| retry_after_s(status).is_some()) {
        headers.push(("Retry-After", "Seconds to wait before the next try."));
    }
    headers
}
