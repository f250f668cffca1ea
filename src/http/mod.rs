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

use actix_web::guard::{self, GuardContext};
use actix_web::http::header::HOST;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpResponse, Route};

use crate::app::App;
pub use error::ApiError;
pub use observe::observe;

/// Every route.
pub fn routes(config: &mut ServiceConfig) {
    let preview_host = web::scope("").guard(guard::fn_guard(is_preview_host)).default_service(web::to(preview::by_host));
    config
        .service(preview_host)
        .service(resource("/sync-project/{id}", web::post().to(control::sync_project)))
        .service(resource("/build/{id}", web::post().to(control::build)))
        .service(resource("/status/{id}", get().to(read::status)))
        .service(resource("/builds/{id}", get().to(read::builds)))
        .service(resource("/logs/{id}", get().to(logs::logs)))
        .service(resource("/projects", get().to(read::projects)))
        .service(resource("/projects/{id}", web::delete().to(control::delete)))
        .service(resource("/health", get().to(health::health)))
        .service(resource("/health/live", get().to(health::live)))
        .service(resource("/health/ready", get().to(health::ready)))
        .service(resource("/metrics", get().to(health::metrics)))
        .service(resource("/", get().to(health::front_page)))
        .service(web::resource("/preview/{id}").route(web::to(preview::without_slash)))
        .service(web::resource("/preview/{id}/{path:.*}").route(web::to(preview::by_path)))
        .default_service(web::to(not_found));
}

/// `GET`, and `HEAD` wherever there is a `GET`: the server leaves the body out.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// One address with one method; any other method is told so.
fn resource(path: &str, route: Route) -> actix_web::Resource {
    web::resource(path).route(route).default_service(web::to(method_not_allowed))
}

fn is_preview_host(context: &GuardContext<'_>) -> bool {
    let host = context.head().headers().get(HOST).and_then(|host| host.to_str().ok()).or(context.head().uri.host());
    let app = context.app_data::<Data<App>>();
    app.zip(host).is_some_and(|(app, host)| app.urls.host_target(host).is_some())
}

async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotFound)
}

async fn method_not_allowed() -> Result<HttpResponse, ApiError> {
    Err(ApiError::MethodNotAllowed)
}
