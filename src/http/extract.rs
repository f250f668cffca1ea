//! What handlers take out of a request: credentials, bodies, query values.

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::web::{Bytes, BytesMut, Payload};
use futures::StreamExt;
use jiff::Timestamp;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use tokio::time::timeout;

use super::error::ApiError;
use crate::app::App;
use crate::auth::{Credentials, Scope, Signed};
use crate::domain::ProjectId;

pub(super) const SIGNATURE_HEADER: &str = "x-previewd-signature";

/// A credential in an address; every other name in the query is somebody else's.
#[derive(serde::Deserialize)]
struct InAddress {
    token: Option<String>,
}

/// Parses the query string into what the call takes from it; names that it does not know are ignored.
pub(super) fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, ApiError> {
    let parsed = actix_web::web::Query::<T>::from_query(request.query_string());
    parsed.map(actix_web::web::Query::into_inner).map_err(|e| ApiError::InvalidQuery(e.to_string()))
}

/// `?token=…`
pub(super) fn token_in_address(request: &HttpRequest) -> Result<Option<String>, ApiError> {
    Ok(query::<InAddress>(request)?.token)
}

/// Whether a part of a query string (`name=value`) is the token, however its name is written: `%74oken=` is it too.
pub(super) fn is_token(part: &str) -> bool {
    actix_web::web::Query::<InAddress>::from_query(part).is_ok_and(|parsed| parsed.token.is_some())
}

/// Requires `scope`, on one project or (`None`) on all.
pub(super) fn authorize(app: &App, request: &HttpRequest, scope: Scope, project: Option<&ProjectId>) -> Result<(), ApiError> {
    let token = token_in_address(request)?;
    let credentials = Credentials { bearer: bearer(request), project_token: token.as_deref(), signature: None };
    Ok(app.auth.authorize(credentials, scope, project)?)
}

/// What a request showed to be let in, kept for as long as its answer lasts.
pub(super) struct Held {
    bearer: Option<String>,
    project_token: Option<String>,
}

impl Held {
    /// Of a request of the API.
    pub(super) fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        Ok(Self { bearer: bearer(request).map(str::to_owned), project_token: token_in_address(request)? })
    }

    /// A bearer token, or another one in its place.
    pub(super) fn new(bearer: Option<&str>, project_token: Option<&str>) -> Self {
        Self { bearer: bearer.map(str::to_owned), project_token: project_token.map(str::to_owned) }
    }

    /// Whether it opens a project at this moment: a token runs out.
    pub(super) fn opens(&self, app: &App, scope: Scope, project: &ProjectId) -> bool {
        let credentials = Credentials { bearer: self.bearer.as_deref(), project_token: self.project_token.as_deref(), signature: None };
        app.auth.authorize(credentials, scope, Some(project)).is_ok()
    }
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
        // What a sync does follows from the source alone: sent again it does nothing more.
        let once = !path_and_query.starts_with("/sync-project/");
        let signed = Signed { method: request.method().as_str(), path_and_query, body: &body, now: Timestamp::now().as_second(), once };
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

/// Reads a body within `server.max_body_kb` and `server.client_timeout_s`.
pub(super) async fn bounded_body(app: &App, payload: Payload) -> Result<Bytes, ApiError> {
    timeout(app.config.server.client_timeout(), read_body(app, payload)).await.map_err(|_| ApiError::BodyTimeout)?
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

/// Largest whole number that a float has exactly: 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A whole number, also where it is written as `5000.0`: JSON and its schemas know one kind of number, and callers compute with floats.
pub(super) fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole and in range")]
    let from_float = |float: f64| (float.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&float)).then_some(float as u64);
    let whole = number.as_u64().or_else(|| number.as_f64().and_then(from_float));
    whole.ok_or_else(|| D::Error::custom(format_args!("{number} is no whole number from 0")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_may_use_the_names_of_our_queries() {
        let request = actix_web::test::TestRequest::with_uri("/preview/demo/?limit=many&follow=me&state=&token=abc&q=%00").to_http_request();
        assert_eq!(token_in_address(&request).ok().flatten().as_deref(), Some("abc"));
        let twice = actix_web::test::TestRequest::with_uri("/?token=a&token=b").to_http_request();
        assert!(matches!(token_in_address(&twice), Err(ApiError::InvalidQuery(_))));
    }

    #[test]
    fn whole_numbers_come_in_either_form() {
        let read = |text: &str| whole_number(&mut serde_json::Deserializer::from_str(text)).ok();
        for (text, number) in [("0", 0), ("5000", 5000), ("5000.0", 5000), ("5e3", 5000), ("-0.0", 0), ("18446744073709551615", u64::MAX)] {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for text in ["-1", "-1.0", "0.5", "1e300", "\"5\"", "null", "true", "[5]"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
