//! What one client may take: a connection, headers, time.
//!
//! Bodies are bounded where they are read (`extract.rs`), what a call does by its own limits. Headers over the limit here
//! get an answer that says so; the server beneath ends connections with ten times as much.

use std::any::Any;
use std::sync::Arc;

use actix_web::ResponseError;
use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::rt::net::TcpStream;
use actix_web::web::Data;
use rustix::net::sockopt::set_tcp_user_timeout;

use super::ApiError;
use crate::app::App;
use crate::metrics::Metrics;

/// Longest path with its query, bytes.
const ADDRESS_BYTES_MAX: usize = 8 * 1024;
/// All header lines together, bytes.
const HEADERS_BYTES_MAX: usize = 32 * 1024;

/// One connection, counted as long as it is open.
struct Connection {
    metrics: Arc<Metrics>,
    /// There were as many as there may be before it came.
    surplus: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.http_connections.dec();
    }
}

/// What is done with every new connection: it is counted, and dropped by the kernel where the client takes nothing of what
/// it asked for during `server.client_timeout_s`.
pub fn on_connect(app: &App) -> impl Fn(&dyn Any, &mut Extensions) + Send + Clone + 'static {
    let (metrics, max) = (app.metrics.clone(), i64::from(app.config.server.max_connections));
    let patience_ms = u32::try_from(app.config.server.client_timeout().as_millis()).unwrap_or(u32::MAX);
    move |stream, connection| {
        let surplus = metrics.http_connections.get() >= max;
        metrics.http_connections.inc();
        connection.insert(Connection { metrics: metrics.clone(), surplus });
        let set = stream.downcast_ref::<TcpStream>().map(|stream| set_tcp_user_timeout(stream, patience_ms));
        if let Some(Err(error)) = set {
            tracing::debug!(%error, "a connection has no time limit for sending");
        }
    }
}

/// Refuses what is beyond the limits.
pub async fn limits(request: ServiceRequest, next: Next<impl MessageBody + 'static>) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let Err(error) = check(&request) else { return Ok(next.call(request).await?.map_into_left_body()) };
    let mut response = error.error_response();
    response.head_mut().set_connection_type(ConnectionType::Close);
    Ok(request.into_response(response).map_into_right_body())
}

fn check(request: &ServiceRequest) -> Result<(), ApiError> {
    if request.conn_data::<Connection>().is_some_and(|connection| connection.surplus) {
        let max = request.app_data::<Data<App>>().map_or(0, |app| app.config.server.max_connections);
        return Err(ApiError::TooManyConnections { max });
    }
    if request.uri().path_and_query().is_some_and(|address| address.as_str().len() > ADDRESS_BYTES_MAX) {
        return Err(ApiError::AddressTooLong { max: ADDRESS_BYTES_MAX });
    }
    let headers: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum();
    if headers > HEADERS_BYTES_MAX {
        return Err(ApiError::HeadersTooLarge { max: HEADERS_BYTES_MAX });
    }
    Ok(())
}
