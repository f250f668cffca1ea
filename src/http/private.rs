//! Private previews: opened with a `preview` token, which host mode turns into a cookie of that one origin.
//!
//! The token arrives in the address of the iframe. The page's own requests for scripts and images cannot carry it, so
//! the first answer sets a cookie and sends the browser on to the address without the token.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};

use super::error::ApiError;
use super::extract::{Held, bearer, is_token, token_in_address};
use crate::app::App;
use crate::auth::{Credentials, Scope};
use crate::domain::ProjectId;

const COOKIE: &str = "previewd_preview";

/// How a visitor of a private preview is let in.
pub(super) enum Admission {
    /// By a header or the cookie: serve.
    Granted,
    /// By a token in the address: answer with this, which keeps it as a cookie.
    TokenInAddress(HttpResponse),
}

/// Lets a visitor in, or refuses. `own_origin`: host mode, where a cookie reaches this preview alone.
pub(super) fn admit(app: &App, request: &HttpRequest, project: &ProjectId, own_origin: bool) -> Result<Admission, ApiError> {
    let allow = |credentials: Credentials<'_>| app.auth.authorize(credentials, Scope::Preview, Some(project));
    let token = token_in_address(request)?;
    // A `token` that opens nothing may be the app's own: then the cookie decides.
    if let Some(token) = token.as_deref().filter(|_| own_origin)
        && allow(Credentials { project_token: Some(token), ..Credentials::default() }).is_ok()
    {
        return Ok(Admission::TokenInAddress(keep_as_cookie(request, token)));
    }
    allow(Credentials { bearer: bearer(request), project_token: kept(request, token.as_deref(), own_origin), signature: None })?;
    Ok(Admission::Granted)
}

/// What let a visitor in, to be asked again while an answer lasts.
pub(super) fn held(request: &HttpRequest, own_origin: bool) -> Result<Held, ApiError> {
    Ok(Held::new(bearer(request), kept(request, token_in_address(request)?.as_deref(), own_origin)))
}

/// In path mode previews share an origin, and so they would share the cookie.
fn kept<'a>(request: &'a HttpRequest, token: Option<&'a str>, own_origin: bool) -> Option<&'a str> {
    if own_origin { cookie(request) } else { token }
}

fn cookie(request: &HttpRequest) -> Option<&str> {
    let cookies = request.headers().get_all(header::COOKIE).filter_map(|value| value.to_str().ok());
    cookies.flat_map(|cookies| cookies.split(';')).find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

fn keep_as_cookie(request: &HttpRequest, token: &str) -> HttpResponse {
    let rest: Vec<&str> = request.query_string().split('&').filter(|part| !part.is_empty() && !is_token(part)).collect();
    let query = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
    // One slash in front: two, or what browsers take for slashes, would name another host.
    let location = format!("/{}{query}", request.uri().path().trim_start_matches(['/', '\\']));
    // The token was checked, so it has no character that a cookie may not have. It says itself until when it is valid.
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; Secure; SameSite=None; Partitioned");
    HttpResponse::SeeOther()
        .insert_header((header::SET_COOKIE, cookie))
        .insert_header((header::LOCATION, location))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .finish()
}
