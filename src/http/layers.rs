//! Serves what previews share: the modules of layers, on every origin alike.
//!
//! They are published packages and nothing of a project, named by what is in them: anybody may have them, for ever.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::error::ApiError;
use super::preview::{Encodings, preview_headers};
use super::problems::OfMetrics;
use super::representation::{Conditions, Content, represent};
use crate::app::App;
use crate::preview::{Request, Resolved, resolve};

/// Where they are.
pub(super) const LAYERS: &str = "/_previewd/layers/";
/// Digits of an edition's name.
const ID_CHARS: usize = 32;

/// A module of an edition of a layer.
#[utoipa::path(
    get, path = "/_previewd/layers/{edition}/{file}", operation_id = "layer", tag = "previews",
    params(("edition" = String, Path, description = "The edition, as pages name it"), ("file" = String, Path, description = "The module's file")),
    responses(
        OfMetrics,
        (status = 200, description = "The module", body = [u8], content_type = "*/*"),
        (status = 206, description = "A part of it, as `Range` asked", body = [u8], content_type = "*/*"),
        (status = 304, description = "It is what `If-None-Match` says"),
        (status = 404, description = "There is none", content((String = "text/plain"))),
        (status = 416, description = "It has no such part"),
    ),
    security(())
)]
pub(super) async fn layer(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let found = request.uri().path().strip_prefix(LAYERS).and_then(|rest| rest.split_once('/')).filter(|(edition, _)| is_id(edition));
    if let Some((edition, file)) = found {
        let (root, file) = (app.data.layer_public(edition), file.to_owned());
        let conditions = Conditions::of(request.headers());
        let Encodings { brotli, gzip } = Encodings::accepted(request.headers(), &conditions);
        let look = move || {
            Ok(match resolve(&root, Request { path: &file, navigation: false, spa: false, brotli, gzip })? {
                Resolved::File(found) => Some(represent(Content::read(*found)?, None, true, &conditions)?),
                Resolved::FolderWithoutSlash | Resolved::NotFound => None,
            })
        };
        if let Some(module) = crate::disk::blocking(look).await.map_err(anyhow::Error::from)? {
            let mut response = HttpResponse::build(module.status());
            return Ok(module.complete(preview_headers(&app, &mut response), false));
        }
    }
    let mut response = HttpResponse::build(StatusCode::NOT_FOUND);
    Ok(preview_headers(&app, &mut response).content_type("text/plain; charset=utf-8").body("not found\n"))
}

fn is_id(text: &str) -> bool {
    text.len() == ID_CHARS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
