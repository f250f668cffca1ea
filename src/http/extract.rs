//! What handlers take out of a request: credentials, bodies, query values.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::web::{Bytes, BytesMut, Payload};
use futures::StreamExt;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::ApiError;
use crate::app::App;
use crate::auth::{Credentials, Scope, Signed};
use crate::domain::ProjectId;

const SIGNATURE_HEADER: &str = "x-previewd-signature";
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything that a query string of ours can hold; unknown names are ignored.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Query {
    pub(super) build: Option<String>,
    pub(super) follow: Option<bool>,
    pub(super) limit: Option<u32>,
    pub(super) cursor: Option<String>,
    pub(super) state: Option<String>,
    pub(super) q: Option<String>,
    pub(super) token: Option<String>,
}

/// Parses the query string.
pub(super) fn query(request: &HttpRequest) -> Result<Query, ApiError> {
    let parsed = actix_web::web::Query::<Query>::from_query(request.query_string());
    parsed.map(actix_web::web::Query::into_inner).map_err(|e| ApiError::InvalidQuery(e.to_string()))
}

/// Requires `scope`, on one project or (`None`) on all.
pub(super) fn authorize(app: &App, request: &HttpRequest, scope: Scope, project: Option<&ProjectId>) -> Result<(), ApiError> {
    let query = query(request)?;
    let credentials = Credentials { bearer: bearer(request), project_token: query.token.as_deref(), signature: None };
    Ok(app.auth.authorize(credentials, scope, project)?)
}

/// Requires the right to control one project, by token or by a signature over the request, and reads its body. Without a
/// signature, nothing of the body is read before the caller is known.
pub(super) async fn authorized_body(app: &App, request: &HttpRequest, payload: Payload, project: &ProjectId) -> Result<Bytes, ApiError> {
    let signature = request.headers().get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok());
    let signed_only = signature.is_some() && bearer(request).is_none();
    if !signed_only {
        authorize(app, request, Scope::Control, Some(project))?;
    }
    let body = bounded_body(app, payload).await?;
    if signed_only {
        let path_and_query = request.uri().path_and_query().map_or("/", |p| p.as_str());
        let signed = Signed { method: request.method().as_str(), path_and_query, body: &body, now: Timestamp::now().as_second() };
        app.auth.authorize_signed(Credentials { signature, ..Credentials::default() }, project, signed)?;
    }
    Ok(body)
}

/// The token of `Authorization: Bearer …`.
pub(super) fn bearer(request: &HttpRequest) -> Option<&str> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Reads a body within `server.max_body_kb` and [`BODY_TIMEOUT`].
pub(super) async fn bounded_body(app: &App, payload: Payload) -> Result<Bytes, ApiError> {
    timeout(BODY_TIMEOUT, read_body(app, payload)).await.map_err(|_| ApiError::BodyTimeout)?
}

/// Reads a body of at most `server.max_body_kb`.
async fn read_body(app: &App, mut payload: Payload) -> Result<Bytes, ApiError> {
    let limit_kb = app.config.server.max_body_kb;
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|e| ApiError::InvalidBody(format!("the body did not arrive whole: {e}")))?;
        if body.len() + chunk.len() > limit_kb as usize * 1024 {
            return Err(ApiError::BodyTooLarge { limit_kb });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Parses a JSON body; an empty one is the default.
pub(super) fn parse_json<T: DeserializeOwned + Default>(request: &HttpRequest, body: &[u8]) -> Result<T, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    // A form or plain text is what a page in a browser may send anywhere without being asked.
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return Err(ApiError::UnsupportedMediaType);
    }
    // Serde would take a list for a struct, by position.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(ApiError::InvalidBody("a body is a JSON object".into()));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|e| ApiError::InvalidBody(format!("at {}: {}", e.path(), e.inner())))
}
