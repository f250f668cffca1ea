//! Floor 5: the HTTP face. Sees [`App`] only; parses at the edge, maps errors at the edge.
//!
//! Two faces share one address: a request whose host is a preview's gets that preview and nothing else; any other gets
//! the API. So a preview's origin can never reach a call of the API.

mod bodies;
mod client;
mod control;
mod error;
mod events;
mod extract;
mod health;
mod limits;
mod logs;
mod observe;
mod openapi;
mod preview;
mod private;
mod problems;
mod read;
mod representation;
mod sse;

use actix_web::dev::RequestHead;
use actix_web::guard;
use actix_web::http::header::HOST;
use actix_web::middleware::DefaultHeaders;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpResponse, Route};

use crate::app::App;
pub use error::ApiError;
pub use limits::{limits, on_connect};
pub use observe::observe;
pub use openapi::document;

/// The methods of an address that is only read.
const READ: &str = "GET, HEAD";

/// An address, the methods that it takes as `Allow` says them, and what it does.
type Entry = (&'static str, &'static str, fn() -> Route);

/// Every route. The description of the API (`openapi`) has the same ones.
const ROUTES: &[Entry] = &[
    ("/sync-project/{id}", "POST", || web::post().to(control::sync_project)),
    ("/build/{id}", "POST", || web::post().to(control::build)),
    ("/rollback/{id}", "POST", || web::post().to(control::rollback)),
    ("/status/{id}", READ, || get().to(read::status).wrap(for_front_ends())),
    ("/builds/{id}", READ, || get().to(read::builds).wrap(for_front_ends())),
    ("/logs/{id}", READ, || get().to(logs::logs).wrap(for_front_ends())),
    ("/events/{id}", READ, || get().to(events::events).wrap(for_front_ends())),
    ("/projects", READ, || get().to(read::projects)),
    ("/projects/{id}", "DELETE", || web::delete().to(control::delete)),
    ("/health", READ, || get().to(health::health)),
    ("/health/live", READ, || get().to(health::live)),
    ("/health/ready", READ, || get().to(health::ready)),
    ("/metrics", READ, || get().to(health::metrics)),
    ("/openapi.json", READ, || get().to(openapi::openapi)),
    ("/", READ, || get().to(health::front_page)),
    ("/preview/{id}", READ, || get().to(preview::without_slash)),
    ("/preview/{id}/_previewd/report", "POST", || web::post().to(preview::report_by_path)),
    ("/preview/{id}/{path:.*}", READ, || get().to(preview::by_path)),
];

/// Sets up both faces.
pub fn routes(config: &mut ServiceConfig) {
    let preview_host = web::scope("")
        .guard(guard::fn_guard(|context| is_preview_host(context.app_data::<Data<App>>(), context.head())))
        .default_service(web::to(preview::by_host));
    config.service(preview_host);
    for (path, allow, route) in ROUTES {
        config.service(resource(path, allow, route()));
    }
    config.default_service(web::to(not_found));
}

/// `GET`, and `HEAD` wherever there is a `GET`: the server leaves the body out.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A chat's front end follows a project with `?token=…`, from an origin of its own. Any origin may read the answer: what opens
/// it is the token alone, nothing that a browser would add by itself. Preflights stay unanswered.
fn for_front_ends() -> DefaultHeaders {
    DefaultHeaders::new().add(("Access-Control-Allow-Origin", "*")).add(("Access-Control-Expose-Headers", "x-request-id, x-previewd-build"))
}

/// One address with one route, which takes the methods `allow`; any other method is told so.
fn resource(path: &str, allow: &'static str, route: Route) -> actix_web::Resource {
    web::resource(path).route(route).default_service(web::to(move || async move { Err::<HttpResponse, _>(ApiError::MethodNotAllowed(allow)) }))
}

/// Whether a request is for a preview's origin.
fn is_preview_host(app: Option<&Data<App>>, request: &RequestHead) -> bool {
    // Bytes that are no text must not make a preview's name one of the API's.
    let named = request.headers().get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
    let host = named.as_deref().or(request.uri.host());
    app.zip(host).is_some_and(|(app, host)| app.urls.host_target(host).is_some())
}

async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotFound)
}
