//! Floor 5: the HTTP face. Sees [`App`] only; parses at the edge, maps errors at the edge.
//!
//! Two faces share one address: a request whose host is a preview's gets that preview and nothing else; any other gets
//! the API. So a preview's origin can never reach a call of the API.

mod control;
mod error;
mod extract;
mod health;
mod logs;
mod observe;
mod preview;
mod private;
mod read;
mod representation;

use actix_web::dev::RequestHead;
use actix_web::guard;
use actix_web::http::header::HOST;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpResponse, Route};

use crate::app::App;
pub use error::ApiError;
pub use observe::observe;

/// The methods of an address that is only read.
const READ: &str = "GET, HEAD";

/// Every route.
pub fn routes(config: &mut ServiceConfig) {
    let preview_host = web::scope("")
        .guard(guard::fn_guard(|context| is_preview_host(context.app_data::<Data<App>>(), context.head())))
        .default_service(web::to(preview::by_host));
    config
        .service(preview_host)
        .service(resource("/sync-project/{id}", "POST", web::post().to(control::sync_project)))
        .service(resource("/build/{id}", "POST", web::post().to(control::build)))
        .service(resource("/rollback/{id}", "POST", web::post().to(control::rollback)))
        .service(resource("/status/{id}", READ, get().to(read::status)))
        .service(resource("/builds/{id}", READ, get().to(read::builds)))
        .service(resource("/logs/{id}", READ, get().to(logs::logs)))
        .service(resource("/projects", READ, get().to(read::projects)))
        .service(resource("/projects/{id}", "DELETE", web::delete().to(control::delete)))
        .service(resource("/health", READ, get().to(health::health)))
        .service(resource("/health/live", READ, get().to(health::live)))
        .service(resource("/health/ready", READ, get().to(health::ready)))
        .service(resource("/metrics", READ, get().to(health::metrics)))
        .service(resource("/", READ, get().to(health::front_page)))
        .service(web::resource("/preview/{id}").route(web::to(preview::without_slash)))
        .service(web::resource("/preview/{id}/{path:.*}").route(web::to(preview::by_path)))
        .default_service(web::to(not_found));
}

/// `GET`, and `HEAD` wherever there is a `GET`: the server leaves the body out.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
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
