//! Serves previews: in host mode, in path mode, and as permalinks.
//!
//! 1. which project, which release; is it private?  2. which file (`preview::resolve`)
//! 3. how it is answered (`representation`); or, where there is no release yet, a page that says so

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::client;
use super::error::{ApiError, Problem};
use super::events;
use super::layers::{self, LAYERS};
use super::private::{self, Admission};
use super::problems::{OfPreview, OfProjectId, OfReport};
use super::representation::{Conditions, Content, Representation, is_page, represent};
use crate::app::App;
use crate::auth::Scope;
use crate::domain::status::State;
use crate::domain::{BuildId, ProjectId};
use crate::preview::cache::Asked;
use crate::preview::report::Report;
use crate::preview::{LiveRelease, Request, Resolved, Urls, pages, resolve};
use crate::release::stand_in;

/// Paths below this are previewd's own on every preview's origin.
const RESERVED: &str = "_previewd/";
/// Where a preview's pages hear of new releases and failures.
const EVENTS: &str = "_previewd/events";

/// Where the preview client reports to.
const REPORT: &str = "_previewd/report";

/// What a browser says that it asks for (Fetch Metadata); only of trustworthy addresses: https and this machine.
const FETCH_DEST: &str = "sec-fetch-dest";

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
    File(Box<Representation>),
    AddSlash,
    NotFound,
}

/// `GET http://{label}.{preview_domain}/…`
pub(super) async fn by_host(app: Data<App>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    if request.uri().path().starts_with(LAYERS) && matches!(*request.method(), Method::GET | Method::HEAD) {
        return layers::layer(app, request).await;
    }
    let host = request.connection_info().host().to_owned();
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or(&host);
    let target = app.urls.host_target(host).ok_or(ApiError::NotFound)?;
    let Some(project) = app.live.project_of_label(&target.label).await? else {
        return Ok(page(&app, StatusCode::NOT_FOUND, pages::empty()));
    };
    let path = request.uri().path().trim_start_matches('/').to_owned();
    if path == REPORT {
        return report(&app, &request, payload, &project, true).await;
    }
    serve(&app, &request, Target { project, build: target.build, path, prefix: None }).await
}

/// What the preview client found out about a page of the preview: what it printed, what failed in it, and whether it rendered. All of it is
/// a claim. Anything in the body that is not known is ignored.
#[utoipa::path(
    post, path = "/preview/{id}/_previewd/report", operation_id = "preview_report", tag = "previews",
    params(("id" = ProjectId, Path, description = "The project")),
    request_body(content = Report, content_type = "application/json", description = "At most 64 kB. Any type of content is taken: browsers send plain text without a preflight"),
    responses((status = 204, description = "Taken"), OfReport),
    security((), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn report_by_path(app: Data<App>, id: Path<String>, request: HttpRequest, payload: Payload) -> Result<HttpResponse, ApiError> {
    report(&app, &request, payload, &id.parse()?, false).await
}

async fn report(app: &Data<App>, request: &HttpRequest, payload: Payload, project: &ProjectId, own_origin: bool) -> Result<HttpResponse, ApiError> {
    if *request.method() != Method::POST {
        return Err(ApiError::MethodNotAllowed("POST"));
    }
    if app.config.preview.private {
        private::admit(app, request, project, own_origin)?;
    }
    client::report(app, payload, project).await
}

/// A preview's address without its slash.
#[utoipa::path(
    get, path = "/preview/{id}", operation_id = "preview_without_slash", tag = "previews", params(("id" = ProjectId, Path, description = "The project")),
    responses((status = 308, description = "With the slash", headers(("Location" = String))), OfProjectId)
)]
pub(super) async fn without_slash(id: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    id.parse::<ProjectId>()?;
    Ok(redirect_with_slash(&request))
}

/// A file of the live release, or below `@{build_id}/` of a retained build.
#[utoipa::path(
    get, path = "/preview/{id}/{path}", operation_id = "preview", tag = "previews",
    params(("id" = ProjectId, Path, description = "The project"), ("path" = String, Path, description = "The file's path, with any number of slashes; may be empty", example = "index.html")),
    responses(
        OfPreview,
        (status = 200, description = "The file", body = [u8], content_type = "*/*"),
        (status = 206, description = "A part of it, as `Range` asked", body = [u8], content_type = "*/*"),
        (status = 304, description = "It is what `If-None-Match` says"),
        (status = 308, description = "A folder, with its slash", headers(("Location" = String))),
        (status = 404, description = "No such file or build, or nothing was ever published", content((String = "text/html"), (String = "text/plain"), (Problem = "application/problem+json"))),
        (status = 416, description = "It has no such part"),
        (status = 503, description = "The first build waits, runs or failed: a page that says so", content((String = "text/html"), (Problem = "application/problem+json"))),
    ),
    security((), ("project_token" = []), ("project_token_in_address" = []))
)]
pub(super) async fn by_path(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    // Taken from the request line: the router's own value is decoded already.
    let rest = request.uri().path().strip_prefix("/preview/").ok_or(ApiError::NotFound)?;
    let (id, path) = rest.split_once('/').ok_or(ApiError::NotFound)?;
    let project: ProjectId = id.parse()?;
    let prefix = Urls::path_prefix(&project);
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    // A folder of the app may begin with `@` too; only what reads as a build id is a permalink.
    let target = match (first.strip_prefix('@').and_then(|build| build.parse::<BuildId>().ok()), rest) {
        (Some(_), None) => return Ok(redirect_with_slash(&request)),
        (Some(build), Some(rest)) => Target { project, build: Some(build), path: rest.to_owned(), prefix: Some(format!("{prefix}{first}/")) },
        (None, _) => Target { project, build: None, path: path.to_owned(), prefix: Some(prefix) },
    };
    let mut response = serve(&app, &request, target).await?;
    if app.urls.has_preview_origins() {
        keep_apart(&app, &request, &mut response);
    }
    Ok(response)
}

/// Takes a preview by path its origin, which is the operator's page's, unless the browser says that it is all of a tab: in a frame of a
/// frame on that page it could reach what is kept there. Where previews have no other origin there is no such frame (`page`).
fn keep_apart(app: &App, request: &HttpRequest, response: &mut HttpResponse) {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static(FETCH_DEST));
    let alone = request.headers().get(FETCH_DEST).is_some_and(|dest| dest == "document");
    if let Ok(policy) = HeaderValue::from_str(&super::page::without_an_origin(&app.frame_ancestors))
        && !alone
    {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
}

async fn serve(app: &Data<App>, request: &HttpRequest, target: Target) -> Result<HttpResponse, ApiError> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(ApiError::MethodNotAllowed("GET, HEAD"));
    }
    if app.config.preview.private
        && let Admission::TokenInAddress(response) = private::admit(app, request, &target.project, target.prefix.is_none())?
    {
        return Ok(response);
    }
    if let Some(name) = target.path.strip_prefix(RESERVED)
        && let Some(script) = client::script(app, request, name, target.build.is_none())
    {
        return Ok(script);
    }
    if target.build.is_none() && target.path == EVENTS {
        return follow(app, request, &target).await;
    }
    let release = match target.build {
        Some(build) => app.live.retained(&target.project, build).await?.ok_or(ApiError::UnknownBuild)?,
        None => match app.live.get(&target.project).await? {
            Some(live) => live,
            None => return no_release(app, &target.project).await,
        },
    };
    if target.path.starts_with(RESERVED) {
        return Ok(page(app, StatusCode::NOT_FOUND, pages::not_found("")));
    }
    let navigation = accepts(request.headers(), header::ACCEPT, "text/html");
    Ok(match look_up(app, request, &target, release).await? {
        Answer::File(file) => {
            let mut response = HttpResponse::build(file.status);
            file.complete(preview_headers(app, &mut response), app.config.preview.private)
        }
        Answer::AddSlash => redirect_with_slash(request),
        Answer::NotFound if navigation => {
            // So that it becomes the page that it stands in for, once a release has that.
            let address = format!("{}{}", target.prefix.as_deref().map_or("", |prefix| prefix.trim_end_matches('/')), app.client.address());
            let client = if app.config.preview.inject { stand_in(&address, release.build) } else { String::new() };
            page(app, StatusCode::NOT_FOUND, pages::not_found(&client))
        }
        Answer::NotFound => preview_headers(app, &mut HttpResponse::NotFound()).content_type("text/plain; charset=utf-8").body("not found\n"),
    })
}

/// What happens to the preview, for its own pages. A permalink never changes, so it has no such address.
async fn follow(app: &Data<App>, request: &HttpRequest, target: &Target) -> Result<HttpResponse, ApiError> {
    let private = app.config.preview.private.then(|| private::held(request, target.prefix.is_none())).transpose()?;
    let (seen, project) = (app.clone(), target.project.clone());
    let allowed = move || private.as_ref().is_none_or(|held| held.opens(&seen, Scope::Preview, &project));
    let mut response = HttpResponse::Ok();
    preview_headers(app, &mut response);
    events::of_preview(app, request, &mut response, &target.project, allowed).await
}

/// Steps 2 and 3: from memory where the file was asked for before, else off the async threads.
async fn look_up(app: &Data<App>, request: &HttpRequest, target: &Target, release: LiveRelease) -> Result<Answer, ApiError> {
    let headers = request.headers();
    let conditions = Conditions::of(headers);
    let Encodings { brotli, gzip } = Encodings::accepted(headers, &conditions);
    let permanent = target.build.is_some();
    // Pages are rewritten in path mode, which takes its time, and for which their compressed copies are of no use.
    let rewritten = |path: &str| target.prefix.is_some() && is_page(path);
    let kept = app.live.files.get(Asked { build: release.build, brotli, gzip, path: &target.path });
    if let Some(file) = kept.filter(|file| !rewritten(&file.path)) {
        let answer = represent(Content::Small(file), None, permanent, &conditions).map_err(anyhow::Error::from)?;
        return Ok(Answer::File(Box::new(answer)));
    }
    let navigation = accepts(headers, header::ACCEPT, "text/html");
    let (app, project, path, prefix) = (app.clone(), target.project.clone(), target.path.clone(), target.prefix.clone());
    let work = move || {
        let root = app.data.project(&project).release(release.build);
        let asked = Asked { build: release.build, brotli, gzip, path: &path };
        let request = Request { path: &path, navigation, spa: release.spa, brotli: brotli && prefix.is_none(), gzip: gzip && prefix.is_none() };
        let mut resolved = resolve(&root, request)?;
        let mut page = false;
        if prefix.is_some()
            && let Resolved::File(found) = &resolved
        {
            page = is_page(&found.path);
            if !page {
                resolved = resolve(&root, Request { brotli, gzip, ..request })?;
            }
        }
        match resolved {
            Resolved::FolderWithoutSlash => Ok(Answer::AddSlash),
            Resolved::NotFound => Ok(Answer::NotFound),
            Resolved::File(found) => {
                let content = Content::read(*found)?;
                if let Content::Small(file) = &content
                    && !page
                {
                    app.live.files.put(&project, asked, file);
                }
                Ok(Answer::File(Box::new(represent(content, prefix.as_deref(), permanent, &conditions)?)))
            }
        }
    };
    let answered: std::io::Result<Answer> = tokio::task::spawn_blocking(work).await.map_err(anyhow::Error::from)?;
    Ok(answered.map_err(anyhow::Error::from)?)
}

/// How an answer may be compressed.
pub(super) struct Encodings {
    pub(super) brotli: bool,
    pub(super) gzip: bool,
}

impl Encodings {
    pub(super) fn accepted(headers: &HeaderMap, conditions: &Conditions) -> Self {
        let compressed = |name: &str| conditions.allow_compressed() && accepts(headers, header::ACCEPT_ENCODING, name);
        Self { brotli: compressed("br"), gzip: compressed("gzip") }
    }
}

/// What every answer of a preview says: who may frame it, and that others may load its files.
pub(super) fn preview_headers<'a>(app: &App, response: &'a mut HttpResponseBuilder) -> &'a mut HttpResponseBuilder {
    if let Some(policy) = app.config.preview.embedder_policy.header() {
        response.insert_header(("Cross-Origin-Embedder-Policy", policy));
    }
    response
        .insert_header((header::CONTENT_SECURITY_POLICY, app.frame_ancestors.as_str()))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .insert_header((header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin")))
        .insert_header((header::CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin")))
        .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")))
}

/// In a preview's place.
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
pub(super) fn accepts(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    let list = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    list.split(',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts.next().is_some_and(|value| value.eq_ignore_ascii_case(wanted));
        named && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}
