//! The API's own description, OpenAPI 3.1: made from what stands at the handlers and from the types that they take and give.
//!
//! Invariant: it has every route of [`super::ROUTES`] and no other, every code of [`super::error::Code`], and it is the same for everybody:
//! nothing in it depends on a configuration, so it is public.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, Ref, RefOr, Required};
use utoipa::{Modify, OpenApi};

use super::error::Problem;
use super::extract::SIGNATURE_HEADER;
use super::problems::OfAnything;
use super::{control, diagnostics, events, health, layers, logs, openapi, page, preview, read, settings};
use crate::domain::status::RenderReport;
use crate::events::{BuildLine, ConsoleRecord, LogLine, PreviewFailure, PreviewFixed, Published};

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
        events::events,
        diagnostics::diagnostics,
        settings::env,
        settings::set_env,
        settings::clear_env,
        settings::notify,
        settings::set_notify,
        settings::clear_notify,
        health::health,
        health::live,
        health::ready,
        health::metrics,
        page::front_page,
        page::file,
        openapi::openapi,
        layers::layer,
        preview::without_slash,
        preview::by_path,
        preview::report_by_path,
    ),
    components(schemas(Problem, LogLine, BuildLine, ConsoleRecord, Published, RenderReport, PreviewFailure, PreviewFixed)),
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
        document.components.get_or_insert_default().headers.insert("RequestId".to_owned(), RefOr::T(header));
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response {
                    response.headers.insert("x-request-id".to_owned(), RefOr::Ref(Ref::new("#/components/headers/RequestId")));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::super::error::{Code, PROBLEM_JSON};
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
        let public = |path: &str| {
            path == "/" || ["/health", "/metrics", "/openapi.json", "/preview", "/_previewd", "/page/"].iter().any(|prefix| path.starts_with(prefix))
        };
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
