//! Around every request: its id, its metrics, its log line.

use std::time::Instant;

use actix_web::HttpRequest;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;

use super::is_preview_host;
use crate::app::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken over, in characters.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// Gives the request an id (the caller's where it is sane), counts it, and logs it.
pub async fn observe(request: ServiceRequest, next: Next<impl MessageBody>) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let begun = Instant::now();
    let id = request_id(&request);
    let (method, path) = (request.method().clone(), request.path().to_owned());
    let app = request.app_data::<Data<App>>().cloned();
    let mut response = next.call(request).await?;
    let route = route(app.as_ref(), response.request());
    let (status, elapsed) = (response.status().as_u16(), begun.elapsed());
    if let Some(app) = app {
        app.metrics.http_requests.with_label_values(&[route.as_str(), method_label(method.as_str()), &status.to_string()]).inc();
        app.metrics.http_seconds.with_label_values(&[route.as_str()]).observe(elapsed.as_secs_f64());
    }
    tracing::debug!(request_id = %id, %method, path, status, elapsed_us = elapsed.as_micros(), "answered");
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    Ok(response)
}

/// What a request counts as. The pattern alone would not do: it knows nothing of hosts.
fn route(app: Option<&Data<App>>, request: &HttpRequest) -> String {
    if is_preview_host(app, request.head()) {
        return "preview".to_owned();
    }
    request.match_pattern().unwrap_or_else(|| "unmatched".to_owned())
}

fn request_id(request: &ServiceRequest) -> String {
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let sane = |id: &&str| !id.is_empty() && id.len() <= REQUEST_ID_CHARS_MAX && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    given.filter(sane).map_or_else(|| format!("{:032x}", rand::random::<u128>()), str::to_owned)
}

/// A method that callers make up must not make up a metric.
fn method_label(method: &str) -> &str {
    if ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"].contains(&method) { method } else { "OTHER" }
}
