//! The API's own description, OpenAPI 3.1: made from what stands at the handlers and from the types that they take and give.
//!
//! Invariant: it has every route of [`super::ROUTES`] and no other, every code of [`Code`], and it is the same for everybody:
//! nothing in it depends on a configuration, so it is public.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, Required, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi};

use super::error::{Code, PROBLEM_JSON, Problem, retry_after_s};
use super::extract::SIGNATURE_HEADER;
use super::{control, health, logs, openapi, preview, read};
use crate::events::LogLine;

/// In front of everything.
const ABOUT: &str = "A webhook in, a live preview out. Every answer carries `x-request-id`, taken over from the request where it is sane; \
`HEAD` is answered wherever `GET` is; any other method gets 405 with `Allow`. Every error is `application/problem+json` (RFC 9457) with a \
stable `code`. Unknown names in a query or a body are ignored. Previews in host mode, `http://{label}.{preview_domain}/…`, are origins of \
their own and no part of this description: `preview_url` says where a project's is.";

#[derive(OpenApi)]
#[openapi(
    info(title = "previewd", description = ABOUT),
    paths(
        control::sync_project,
        control::build,
        control::rollback,
        control::delete,
        read::status,
        read::builds,
        read::projects,
        logs::logs,
        health::health,
        health::live,
        health::ready,
        health::metrics,
        health::front_page,
        openapi::openapi,
        preview::without_slash,
        preview::by_path,
    ),
    components(schemas(Problem, LogLine)),
    tags(
        (name = "control", description = "Calls that change something."),
        (name = "read", description = "Calls that only look."),
        (name = "previews", description = "What was built, in path mode."),
        (name = "operations", description = "For whoever runs the daemon.")
    ),
    modifiers(&Credentials, &EveryAnswer, &EmptyBodies)
)]
struct Api;

/// The description, as JSON text that ends with a line break.
pub fn document() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| Api::openapi().to_pretty_json().unwrap_or_default() + "\n");
    &TEXT
}

/// This description.
#[utoipa::path(
    get, path = "/openapi.json", tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"), OfAnything)
)]
pub(super) async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(document())
}

/// The ways to show who calls.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut Document) {
        let bearer = |about: &str| Http::builder().scheme(HttpAuthScheme::Bearer).description(Some(about));
        let token = bearer("One of `auth.tokens`, or where none is configured the token in `{data_dir}/token`. It opens everything.");
        let of_project = "A JWT (HS256, signed with one of `auth.webhook_secrets`; `sub`: the project, `scope`: `read`, `control` or `preview`, `exp`). It opens one project.";
        let signature = "`t=UNIX_SECONDS,v1=HEX`, where HEX is HMAC-SHA256(secret, `{t}.{METHOD}.{path-and-query}.{body}`), `t` within 300 s and the secret one of `auth.webhook_secrets`.";
        let schemes = [
            ("token", SecurityScheme::Http(token.build())),
            ("project_token", SecurityScheme::Http(bearer(of_project).bearer_format("JWT").build())),
            ("project_token_in_address", SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::with_description("token", of_project)))),
            ("signature", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(SIGNATURE_HEADER, signature)))),
        ];
        let components = document.components.get_or_insert_default();
        components.security_schemes.extend(schemes.map(|(name, scheme)| (name.to_owned(), RefOr::T(scheme))));
    }
}

/// What `http::observe` adds.
struct EveryAnswer;

impl Modify for EveryAnswer {
    fn modify(&self, document: &mut Document) {
        let id = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9._-]{1,128}$"));
        let header = HeaderBuilder::new().schema(Some(id)).description(Some("The request's id, as in the daemon's log.")).build();
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response {
                    response.headers.insert("x-request-id".to_owned(), RefOr::T(header.clone()));
                }
            }
        }
    }
}

/// An empty body stands for `{}` (`extract::parse_json`), so a body is required only where `{}` would not do.
struct EmptyBodies;

impl Modify for EmptyBodies {
    fn modify(&self, document: &mut Document) {
        let schemas = document.components.as_ref().map(|components| components.schemas.clone()).unwrap_or_default();
        let needs_nothing = |schema: &RefOr<Schema>| {
            let RefOr::Ref(reference) = schema else { return false };
            let named = reference.ref_location.rsplit('/').next().and_then(|name| schemas.get(name));
            matches!(named, Some(RefOr::T(Schema::Object(object))) if object.required.is_empty())
        };
        for body in document.paths.paths.values_mut().flat_map(operations).filter_map(|operation| operation.request_body.as_mut()) {
            let RefOr::T(body) = body else { continue };
            let optional =
                body.content.values().all(|content| matches!(content, RefOr::T(content) if content.schema.as_ref().is_some_and(needs_nothing)));
            body.required = Some(if optional { Required::False } else { Required::True });
        }
    }
}

/// The operations of a path; there are those that routes of ours can have.
fn operations(path: &mut utoipa::openapi::PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.post, &mut path.put, &mut path.delete].into_iter().flatten()
}

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
    /// Of the list of projects, whose cursor is a project id.
    OfProjects: [InvalidProjectId, InvalidQuery, Unauthorized, Internal, StateUnavailable];
    /// Of a call that cannot fail by itself.
    OfAnything: [];
    /// Of metrics.
    OfMetrics: [Internal, StateUnavailable];
    /// Of an address that has a project's name in it, and nothing else that could be wrong.
    OfProjectId: [InvalidProjectId];
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::super::{READ, ROUTES};
    use super::*;

    fn parsed() -> Value {
        serde_json::from_str(document()).expect("JSON")
    }

    /// `Allow` of an address with these methods.
    fn allow(methods: &serde_json::Map<String, Value>) -> String {
        let names = methods.keys().filter(|name| name.chars().all(char::is_alphabetic) && *name != "parameters");
        let names: Vec<_> = names.map(|name| if name == "get" { READ.to_owned() } else { name.to_uppercase() }).collect();
        names.join(", ")
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let routed: BTreeSet<(String, String)> = ROUTES.iter().map(|(path, allow, _)| (path.replace(":.*}", "}"), (*allow).to_owned())).collect();
        let document = parsed();
        let paths = document["paths"].as_object().expect("paths");
        let described: BTreeSet<(String, String)> = paths.iter().map(|(path, item)| (path.clone(), allow(item.as_object().expect("item")))).collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn every_code_is_described_where_it_may_come() {
        let document = parsed();
        let texts = |value: &Value| value.as_array().expect("array").iter().map(|v| v.as_str().expect("text").to_owned()).collect::<BTreeSet<_>>();
        let all: BTreeSet<String> = Code::ALL.iter().map(|code| code.as_str().to_owned()).collect();
        assert_eq!(texts(&document["components"]["schemas"]["Code"]["enum"]), all);

        let mut used = BTreeSet::new();
        for response in document["paths"].as_object().expect("paths").values().flat_map(|path| path.as_object().expect("item").values()) {
            for response in response["responses"].as_object().expect("responses").values() {
                let narrowed = &response["content"][PROBLEM_JSON]["schema"]["allOf"][1]["properties"]["code"]["enum"];
                used.extend(narrowed.as_array().map(|_| texts(narrowed)).unwrap_or_default());
            }
        }
        // What an address or a method that is not described gets.
        used.extend([Code::NotFound, Code::MethodNotAllowed].map(|code| code.as_str().to_owned()));
        assert_eq!(used, all);
    }

    #[test]
    fn every_call_says_who_may_make_it() {
        let document = parsed();
        let schemes: BTreeSet<_> = document["components"]["securitySchemes"].as_object().expect("schemes").keys().cloned().collect();
        let public = |path: &str| path == "/" || ["/health", "/metrics", "/openapi.json", "/preview"].iter().any(|prefix| path.starts_with(prefix));
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("item") {
                let security = operation["security"].as_array().cloned().unwrap_or_default();
                let named: BTreeSet<_> = security.iter().flat_map(|one| one.as_object().expect("object").keys().cloned()).collect();
                assert!(named.is_subset(&schemes), "{method} {path}: {named:?}");
                let open = security.is_empty() || security.contains(&json!({}));
                assert_eq!(open, public(path), "{method} {path}");
                assert_eq!(open && !path.starts_with("/preview/{id}/"), operation["responses"].get("401").is_none(), "{method} {path}");
            }
        }
    }
}
