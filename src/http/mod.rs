//! Floor 5: the HTTP face. Sees [`App`] only; parses at the edge, maps errors at the edge.
//!
//! Two faces share one address: a request whose host is a preview's gets that preview and nothing else; any other gets
//! the API. So a preview's origin can never reach a call of the API.

mod bodies;
mod client;
mod control;
mod diagnostics;
mod error;
mod events;
mod extract;
mod health;
mod layers;
mod limits;
mod logs;
mod observe;
mod openapi;
mod page;
mod preview;
mod private;
mod problems;
mod read;
mod representation;
mod settings;
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
/// The methods of what can be set.
const SETTING: &str = "DELETE, GET, HEAD, PUT";

/// An address, the methods that it takes as `Allow` says them, and what it does.
type Entry = (&'static str, &'static str, fn() -> Vec<Route>);

/// Every route. The description of the API (`openapi`) has the same ones.
const ROUTES: &[Entry] = &[
    ("/sync-project/{id}", "POST", || vec![web::post().to(control::sync_project)]),
    ("/build/{id}", "POST", || vec![web::post().to(control::build)]),
    ("/rollback/{id}", "POST", || vec![web::post().to(control::rollback)]),
    ("/status/{id}", READ, || vec![get().to(read::status).wrap(for_front_ends())]),
    ("/builds/{id}", READ, || vec![get().to(read::builds).wrap(for_front_ends())]),
    ("/logs/{id}", READ, || vec![get().to(logs::logs).wrap(for_front_ends())]),
    ("/events/{id}", READ, || vec![get().to(events::events).wrap(for_front_ends())]),
    ("/diagnostics/{id}", READ, || vec![get().to(diagnostics::diagnostics).wrap(for_front_ends())]),
    ("/env/{id}", SETTING, || vec![get().to(settings::env), web::put().to(settings::set_env), web::delete().to(settings::clear_env)]),
    ("/notify/{id}", SETTING, || vec![get().to(settings::notify), web::put().to(settings::set_notify), web::delete().to(settings::clear_notify)]),
    ("/projects", READ, || vec![get().to(read::projects)]),
    ("/projects/{id}", "DELETE", || vec![web::delete().to(control::delete)]),
    ("/health", READ, || vec![get().to(health::health)]),
    ("/health/live", READ, || vec![get().to(health::live)]),
    ("/health/ready", READ, || vec![get().to(health::ready)]),
    ("/metrics", READ, || vec![get().to(health::metrics)]),
    ("/openapi.json", READ, || vec![get().to(openapi::openapi)]),
    ("/", READ, || vec![get().to(page::front_page)]),
    ("/page/{file}", READ, || vec![get().to(page::file)]),
    ("/_previewd/layers/{edition}/{file}", READ, || vec![get().to(layers::layer)]),
    ("/preview/{id}", READ, || vec![get().to(preview::without_slash)]),
    ("/preview/{id}/_previewd/report", "POST", || vec![web::post().to(preview::report_by_path)]),
    ("/preview/{id}/{path:.*}", READ, || vec![get().to(preview::by_path)]),
];

/// Sets up both faces.
pub fn routes(config: &mut ServiceConfig) {
    let preview_host = web::scope("")
        .guard(guard::fn_guard(|context| is_preview_host(context.app_data::<Data<App>>(), context.head())))
        .default_service(web::to(preview::by_host));
    config.service(preview_host);
    for (path, allow, routes) in ROUTES {
        config.service(resource(path, allow, routes()));
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

/// One address with its routes, which take the methods `allow`; any other method is told so.
fn resource(path: &str, allow: &'static str, routes: Vec<Route>) -> actix_web::Resource {
    let resource = routes.into_iter().fold(web::resource(path), actix_web::Resource::route);
    resource.default_service(web::to(move || async move { Err::<HttpResponse, _>(ApiError::MethodNotAllowed(allow)) }))
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
