//! The operator's page, and the demo of the embeddable component: files that are part of the program.
//!
//! Invariants: they hold no secret, so they need no token; all that they show comes from calls that do. Nothing is loaded from
//! elsewhere, and no text becomes markup or script: the policy says so too (`trusted-types 'none'`). A preview that the page shows in a
//! frame never gets the page's own origin, where the operator's token is (see [`without_an_origin`]).

use std::io::Write;
use std::sync::{Arc, LazyLock};

use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::error::ApiError;
use super::preview::accepts;
use super::problems::{OfAnything, OfFiles};
use super::representation::{Conditions, Content, represent};
use crate::app::App;
use crate::domain::ContentHash;
use crate::preview::cache::SmallFile;

/// Name of the page itself among the files.
const PAGE: &str = "index.html";
/// Tells the page to keep the token nowhere: where previews have no other origin, one in the same tab could read what the page left there.
const SHARED_ORIGIN: &str = "<html data-shared-origin";
/// What a preview without an origin of its own may do; see [`without_an_origin`].
const SANDBOX: &str = "sandbox allow-scripts allow-forms allow-modals allow-popups allow-downloads";

/// Every file, by its name below `/page/`.
const FILES: [(&str, &str); 17] = [
    (PAGE, include_str!("page/index.html")),
    ("page.css", include_str!("page/page.css")),
    ("project.css", include_str!("page/project.css")),
    ("main.js", include_str!("page/main.js")),
    ("api.js", include_str!("page/api.js")),
    ("dom.js", include_str!("page/dom.js")),
    ("figures.js", include_str!("page/figures.js")),
    ("charts.js", include_str!("page/charts.js")),
    ("home.js", include_str!("page/home.js")),
    ("project.js", include_str!("page/project.js")),
    ("builds.js", include_str!("page/builds.js")),
    ("log.js", include_str!("page/log.js")),
    ("preview.js", include_str!("page/preview.js")),
    ("previewd-frame.js", include_str!("../../clients/web/previewd-frame.js")),
    ("demo.html", include_str!("../../clients/web/demo.html")),
    ("demo.js", include_str!("../../clients/web/demo.js")),
    ("demo.css", include_str!("../../clients/web/demo.css")),
];

/// A file in both of its forms.
struct Embedded {
    plain: Arc<SmallFile>,
    gzip: Arc<SmallFile>,
}

/// Compressed when the page is first asked for: most runs of the daemon's tests and commands never do.
static EMBEDDED: LazyLock<Vec<Embedded>> = LazyLock::new(|| FILES.iter().map(|(name, text)| Embedded::new(name, text)).collect());

impl Embedded {
    fn new(name: &str, text: &str) -> Self {
        let hash = ContentHash::of(text).to_string();
        let file = |content: Vec<u8>, encoding: Option<&'static str>| {
            let etag = format!("\"{}{}\"", &hash[..16], encoding.map(|name| format!("-{name}")).unwrap_or_default());
            Arc::new(SmallFile { path: name.to_owned(), etag, encoding, content: content.into() })
        };
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        // Writing to memory does not fail.
        let _ = gzip.write_all(text.as_bytes());
        Self { gzip: file(gzip.finish().unwrap_or_default(), Some("gzip")), plain: file(text.as_bytes().to_vec(), None) }
    }
}

/// The operator's page.
#[utoipa::path(
    get, path = "/", tag = "operations",
    responses(
        (status = 200, description = "A page", body = String, content_type = "text/html"),
        (status = 304, description = "It is what `If-None-Match` says"),
        OfAnything
    )
)]
pub(super) async fn front_page(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    answer(&app, &request, PAGE)
}

/// What the operator's page consists of.
#[utoipa::path(
    get, path = "/page/{file}", tag = "operations", params(("file" = String, Path, description = "A name that the page names", example = "main.js")),
    responses(
        (status = 200, description = "The file", content((String = "text/html"), (String = "text/css"), (String = "text/javascript"))),
        (status = 304, description = "It is what `If-None-Match` says"),
        OfFiles
    )
)]
pub(super) async fn file(app: Data<App>, name: Path<String>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    answer(&app, &request, &name)
}

fn answer(app: &App, request: &HttpRequest, name: &str) -> Result<HttpResponse, ApiError> {
    let own;
    let file = if name == PAGE && !app.urls.has_preview_origins() {
        own = Embedded::new(PAGE, &FILES[0].1.replacen("<html", SHARED_ORIGIN, 1));
        &own
    } else {
        EMBEDDED.iter().find(|file| file.plain.path == name).ok_or(ApiError::NotFound)?
    };
    // No parts: nobody resumes a page.
    let conditions = Conditions::of_whole(request.headers());
    let form = if accepts(request.headers(), header::ACCEPT_ENCODING, "gzip") { &file.gzip } else { &file.plain };
    let found = represent(Content::Small(form.clone()), None, false, &conditions).map_err(anyhow::Error::from)?;
    let mut response = HttpResponse::build(found.status);
    response
        .insert_header((header::CONTENT_SECURITY_POLICY, policy(&app.urls.preview_origins())))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .insert_header((header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")))
        // So that no page that a preview opens, or that opened this one, has a hold on it.
        .insert_header(("Cross-Origin-Opener-Policy", "same-origin"));
    Ok(found.complete(&mut response, false))
}

/// What the page may load. Frames: previews, at their own origins, and where they have none at the page's own.
fn policy(previews: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-src 'self' {previews}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

/// The policy of a preview by path that must not have the API's origin, and with it the operator's page and what is kept there.
pub(super) fn without_an_origin(frame_ancestors: &str) -> String {
    format!("{frame_ancestors}; {SANDBOX}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_name_only_files_that_there_are() {
        let known = |name: &str| FILES.iter().any(|(file, _)| *file == name);
        for (name, text) in FILES {
            for quoted in text.split(['"', '\'']) {
                let own = quoted.strip_prefix("./").or_else(|| quoted.strip_prefix("/page/")).filter(|path| !path.contains(['/', '$', ' ', '\n']));
                assert!(own.is_none_or(known), "{name} names {quoted}");
            }
            assert!(!text.contains("innerHTML") && !text.contains("style=\""), "{name}: the policy forbids it");
        }
    }
}
