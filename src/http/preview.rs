//! Serves previews: in host mode, in path mode, and as permalinks.
//!
//! 1. which project, which release  2. which file (`preview::resolve`)  3. in path mode: rewrite a page
//! 4. conditional, range, headers  5. the body; or, where there is no release yet, a page that says so

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use actix_web::body::SizedStream;
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use http_range::HttpRange;
use tokio_util::io::ReaderStream;

use super::error::ApiError;
use super::extract::authorize;
use crate::app::App;
use crate::auth::Scope;
use crate::domain::status::State;
use crate::domain::{BuildId, ProjectId};
use crate::preview::headers::{CACHE_FOREVER, cache_control, content_type, etag, matches};
use crate::preview::resolve::Found;
use crate::preview::rewrite::for_prefix;
use crate::preview::{LiveRelease, Request, Resolved, Urls, pages, resolve};

/// Files up to this size are read whole, at once, where they are opened.
const WHOLE_BYTES_MAX: u64 = 256 * 1024;
/// Bytes read at once of larger ones.
const CHUNK_BYTES: usize = 64 * 1024;
/// A page longer than this is served as it is in path mode.
const REWRITE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Paths below this are previewd's own on every preview's origin.
const RESERVED: &str = "_previewd/";

/// What a request is about.
struct Target {
    project: ProjectId,
    /// A certain build, by permalink.
    build: Option<BuildId>,
    /// Below the preview's root, still encoded.
    path: String,
    /// Path mode: what stands in front of the preview's root.
    prefix: Option<String>,
}

/// What is answered, once the disk was asked.
enum Answer {
    File { headers: Headers, status: StatusCode, body: Body },
    AddSlash,
    NotFound,
}

enum Body {
    Whole(Bytes),
    Part(File, u64),
    None,
}

struct Headers {
    etag: String,
    content_type: String,
    cache: &'static str,
    encoding: Option<&'static str>,
    range: Option<String>,
    length: u64,
}

/// `GET http://{label}.{preview_domain}/…`
pub(super) async fn by_host(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let host = request.connection_info().host().to_owned();
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or(&host);
    let target = app.urls.host_target(host).ok_or(ApiError::NotFound)?;
    let Some(project) = app.live.project_of_label(&target.label).await? else {
        return Ok(page(&app, StatusCode::NOT_FOUND, pages::empty()));
    };
    let path = request.uri().path().trim_start_matches('/').to_owned();
    serve(&app, &request, Target { project, build: target.build, path, prefix: None }).await
}

/// `GET /preview/{id}` without a slash
pub(super) async fn without_slash(id: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    id.parse::<ProjectId>()?;
    Ok(redirect_with_slash(&request))
}

/// `GET /preview/{id}/…`, `GET /preview/{id}/@{build_id}/…`
pub(super) async fn by_path(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    // Taken from the request line: the router's own value is decoded already.
    let rest = request.uri().path().strip_prefix("/preview/").ok_or(ApiError::NotFound)?;
    let (id, path) = rest.split_once('/').ok_or(ApiError::NotFound)?;
    let project: ProjectId = id.parse()?;
    let prefix = Urls::path_prefix(&project);
    let Some(permalink) = path.strip_prefix('@') else {
        let target = Target { project, build: None, path: path.to_owned(), prefix: Some(prefix) };
        return serve(&app, &request, target).await;
    };
    let Some((build, path)) = permalink.split_once('/') else {
        permalink.parse::<BuildId>()?;
        return Ok(redirect_with_slash(&request));
    };
    let prefix = format!("{prefix}@{build}/");
    serve(&app, &request, Target { build: Some(build.parse()?), path: path.to_owned(), project, prefix: Some(prefix) }).await
}

async fn serve(app: &Data<App>, request: &HttpRequest, target: Target) -> Result<HttpResponse, ApiError> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(ApiError::MethodNotAllowed("GET, HEAD"));
    }
    if app.config.preview.private {
        authorize(app, request, Scope::Preview, Some(&target.project))?;
    }
    let release = match target.build {
        Some(build) => app.live.retained(&target.project, build).await?.ok_or(ApiError::UnknownBuild)?,
        None => match app.live.get(&target.project).await? {
            Some(live) => live,
            None => return no_release(app, &target.project).await,
        },
    };
    if target.path.starts_with(RESERVED) {
        return Ok(page(app, StatusCode::NOT_FOUND, pages::not_found()));
    }
    let navigation = accepts(request.headers(), header::ACCEPT, "text/html");
    Ok(match look_up(app, request, &target, release).await? {
        Answer::File { headers, status, body } => respond(app, &headers, status, body),
        Answer::AddSlash => redirect_with_slash(request),
        Answer::NotFound if navigation => page(app, StatusCode::NOT_FOUND, pages::not_found()),
        Answer::NotFound => preview_headers(app, &mut HttpResponse::NotFound()).content_type("text/plain; charset=utf-8").body("not found\n"),
    })
}

/// Steps 2 to 4, off the async threads.
async fn look_up(app: &Data<App>, request: &HttpRequest, target: &Target, release: LiveRelease) -> Result<Answer, ApiError> {
    let root = app.data.project(&target.project).release(release.build);
    let headers = request.headers();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let conditions = Conditions { if_none_match: text(header::IF_NONE_MATCH), range: text(header::RANGE), if_range: text(header::IF_RANGE) };
    let navigation = accepts(headers, header::ACCEPT, "text/html");
    // A range counts bytes of the file itself, so it gets no compressed copy.
    let compressed = |name: &str| conditions.range.is_none() && accepts(headers, header::ACCEPT_ENCODING, name);
    let (brotli, gzip) = (compressed("br"), compressed("gzip"));
    let (path, prefix, permanent) = (target.path.clone(), target.prefix.clone(), target.build.is_some());
    let work = move || {
        let request = Request { path: &path, navigation, spa: release.spa, brotli: brotli && prefix.is_none(), gzip: gzip && prefix.is_none() };
        let mut resolved = resolve(&root, request)?;
        // Pages are rewritten in path mode, so their compressed copies are of no use there; other files' are.
        if prefix.is_some() && matches!(&resolved, Resolved::File(found) if !is_page(&found.path)) {
            resolved = resolve(&root, Request { brotli, gzip, ..request })?;
        }
        match resolved {
            Resolved::FolderWithoutSlash => Ok(Answer::AddSlash),
            Resolved::NotFound => Ok(Answer::NotFound),
            Resolved::File(found) => answer(*found, prefix.as_deref(), permanent, &conditions),
        }
    };
    let answered: std::io::Result<Answer> = tokio::task::spawn_blocking(work).await.map_err(anyhow::Error::from)?;
    Ok(answered.map_err(anyhow::Error::from)?)
}

fn is_page(path: &str) -> bool {
    path.ends_with(".html") || path.ends_with(".htm")
}

/// What the client has already, or wants a part of.
struct Conditions {
    if_none_match: Option<String>,
    range: Option<String>,
    if_range: Option<String>,
}

fn answer(mut found: Found, prefix: Option<&str>, permanent: bool, conditions: &Conditions) -> std::io::Result<Answer> {
    let rewritten = prefix.filter(|_| is_page(&found.path) && found.metadata.len() <= REWRITE_BYTES_MAX);
    let mut tag = etag(&found.metadata);
    if rewritten.is_some() {
        tag.insert_str(tag.len() - 1, "-p");
    }
    let mut headers = Headers {
        content_type: content_type(&found.path),
        cache: if permanent { CACHE_FOREVER } else { cache_control(&found.path) },
        encoding: found.encoding,
        range: None,
        length: found.metadata.len(),
        etag: tag,
    };
    if conditions.if_none_match.as_deref().is_some_and(|candidates| matches(candidates, &headers.etag)) {
        return Ok(Answer::File { headers, status: StatusCode::NOT_MODIFIED, body: Body::None });
    }
    if let Some(prefix) = rewritten {
        let mut html = Vec::new();
        found.file.read_to_end(&mut html)?;
        let html = for_prefix(&html, prefix);
        headers.length = html.len() as u64;
        return Ok(Answer::File { headers, status: StatusCode::OK, body: Body::Whole(html.into()) });
    }
    // The part is of use only while the file is still the one that the client has the rest of.
    let current = conditions.if_range.as_deref().is_none_or(|tag| tag == headers.etag);
    match conditions.range.as_deref().filter(|_| current).map(|range| HttpRange::parse(range, headers.length)) {
        Some(Ok(ranges)) if ranges.len() == 1 => {
            let (start, length) = (ranges[0].start, ranges[0].length);
            found.file.seek(SeekFrom::Start(start))?;
            headers.range = Some(format!("bytes {start}-{}/{}", start + length - 1, headers.length));
            headers.length = length;
            body_of(found.file, headers, StatusCode::PARTIAL_CONTENT)
        }
        Some(Err(http_range::HttpRangeParseError::NoOverlap)) => {
            headers.range = Some(format!("bytes */{}", headers.length));
            Ok(Answer::File { headers, status: StatusCode::RANGE_NOT_SATISFIABLE, body: Body::None })
        }
        // None, one that cannot be read, or several: the whole file is a right answer (RFC 9110 §14.2).
        _ => body_of(found.file, headers, StatusCode::OK),
    }
}

fn body_of(mut file: File, headers: Headers, status: StatusCode) -> std::io::Result<Answer> {
    let length = headers.length;
    if length > WHOLE_BYTES_MAX {
        return Ok(Answer::File { headers, status, body: Body::Part(file, length) });
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact(&mut bytes)?;
    Ok(Answer::File { headers, status, body: Body::Whole(bytes.into()) })
}

fn respond(app: &App, headers: &Headers, status: StatusCode, body: Body) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    preview_headers(app, &mut response)
        .insert_header((header::ETAG, headers.etag.as_str()))
        .insert_header((header::CACHE_CONTROL, headers.cache))
        .insert_header((header::VARY, "Accept-Encoding"));
    if let Some(range) = &headers.range {
        response.insert_header((header::CONTENT_RANGE, range.as_str()));
    }
    if status == StatusCode::NOT_MODIFIED || status == StatusCode::RANGE_NOT_SATISFIABLE {
        return response.finish();
    }
    response.insert_header((header::CONTENT_TYPE, headers.content_type.as_str())).insert_header((header::ACCEPT_RANGES, "bytes"));
    if let Some(encoding) = headers.encoding {
        response.insert_header((header::CONTENT_ENCODING, encoding));
    }
    match body {
        Body::Whole(bytes) => response.body(bytes),
        Body::None => response.finish(),
        Body::Part(file, length) => {
            let file = tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(file), length);
            response.body(SizedStream::new(length, ReaderStream::with_capacity(file, CHUNK_BYTES)))
        }
    }
}

/// What every answer of a preview says: who may frame it, and that others may load its files.
fn preview_headers<'a>(app: &App, response: &'a mut HttpResponseBuilder) -> &'a mut HttpResponseBuilder {
    response
        .insert_header(("Content-Security-Policy", app.frame_ancestors.as_str()))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .insert_header(("Referrer-Policy", "strict-origin-when-cross-origin"))
        .insert_header(("Cross-Origin-Resource-Policy", "cross-origin"))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
}

/// Step 5, in a preview's place.
async fn no_release(app: &Data<App>, project: &ProjectId) -> Result<HttpResponse, ApiError> {
    let status = app.board.status(project).await?;
    Ok(match status {
        Some(status) if matches!(status.state, State::Queued | State::Building) => page(app, StatusCode::SERVICE_UNAVAILABLE, pages::waiting()),
        Some(status) if status.state == State::Error => {
            let failure = status.last_build.and_then(|build| build.failure);
            page(app, StatusCode::SERVICE_UNAVAILABLE, pages::failed(failure.as_ref()))
        }
        _ => page(app, StatusCode::NOT_FOUND, pages::empty()),
    })
}

fn page(app: &App, status: StatusCode, html: String) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.insert_header((header::RETRY_AFTER, "1"));
    }
    preview_headers(app, &mut response).insert_header((header::CACHE_CONTROL, "no-store")).content_type("text/html; charset=utf-8").body(html)
}

fn redirect_with_slash(request: &HttpRequest) -> HttpResponse {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    // A location that begins with two slashes, or what browsers take for slashes, would lead to another host.
    let location = format!("/{}/{query}", request.uri().path().trim_start_matches(['/', '\\']));
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, location)).insert_header((header::CACHE_CONTROL, "no-cache")).finish()
}

/// Whether a list such as `Accept` names `wanted` and does not refuse it with `q=0`.
fn accepts(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    let list = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    list.split(',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts.next().is_some_and(|value| value.eq_ignore_ascii_case(wanted));
        named && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}
