//! Starts the daemon, and stops it.
//!
//! Start: listen, open, take up, drive, serve, tell systemd. Stop, on SIGTERM or SIGINT: refuse new work, let builds finish
//! until a deadline, leave new connections to the next daemon, answer those that are open, end with code 0.
//!
//! Invariant: a stop cuts no request off that was sent before its connection was said to close. Whoever keeps a connection
//! is told so with its next answer, for `LAME_DUCK` at least; where the listener is inherited, nobody is refused either.

mod listener;
mod watchdog;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::Data;
use actix_web::{App as Service, HttpServer};
use anyhow::Context;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::config::{Config, Environment};
use crate::disk::replace;
use crate::http;
use crate::queue::STOP_DEADLINE;
use crate::sandbox::CLOSE_DEADLINE;
use listener::Listeners;

/// Beyond `server.max_connections` so many more are taken in, to be told; what comes then waits to be accepted.
const SURPLUS_CONNECTIONS: usize = 512;
/// Descriptors for everything but connections: files, the database, pipes of builds.
const OTHER_DESCRIPTORS: u64 = 2048;
/// A connection without a request is kept open so long.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Before connections are closed they are served for so long, with the word that each answer is the last: a client that asks
/// at least that often never meets a connection that closes under its request. Long enough, too, for everything that
/// was accepted to reach the thread that serves it: what has not is dropped when the server stops.
const LAME_DUCK: Duration = Duration::from_millis(500);
/// Requests that are under way at shutdown get so long, seconds.
const REQUESTS_GRACE_S: u64 = 5;

/// How long a stop takes at the longest, up to the last answer: what `TimeoutStopSec=` has to be longer than.
pub fn stop_deadline(config: &Config) -> Duration {
    config.server.shutdown_grace() + STOP_DEADLINE + CLOSE_DEADLINE + LAME_DUCK + Duration::from_secs(REQUESTS_GRACE_S)
}

/// Runs the daemon until it is told to stop.
pub async fn serve(mut config: Config, env: Environment) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.server.data_dir).with_context(|| format!("cannot make {}", config.server.data_dir.display()))?;
    // What is made from here on is the daemon's alone; releases are opened to nginx one by one (src/release/).
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    // Children run in other directories, so every path is absolute from here on.
    config.server.data_dir = config.server.data_dir.canonicalize()?;
    let listeners = Listeners::open(&config)?;
    let (address, inherited) = (listeners.address, listeners.inherited);
    let grace = config.server.shutdown_grace();
    raise_descriptor_limit(config.server.max_connections);
    let app = App::open(config, &env, address.port()).await?;
    let driver = app.queue.start();
    let delivering = app.notifier.start();
    let server = http_server(&app, listeners)?;
    let handle = server.handle();
    let mut serving = tokio::spawn(server);
    let fed = app.clone();
    let feeding = tokio::spawn(async move { watchdog::feed(&fed).await });
    announce(&app, address)?;

    tokio::select! {
        () = stop_signal() => {}
        ended = &mut serving => {
            ended?.context("the HTTP server ended")?;
        }
    }
    tracing::info!("stopping: new work is refused, running builds may finish");
    notify(NotifyState::Stopping);
    app.queue.drain(driver, grace).await;
    // What is under way is delivered by the next daemon.
    drop(delivering);
    app.door.close().await;
    // Their clients come back to the next daemon.
    app.events.end_all();
    let _ = std::fs::remove_file(app.data.listen());
    leave(&handle, inherited).await;
    feeding.abort();
    tracing::info!("stopped");
    Ok(())
}

/// Closes what is open, without cutting a request off.
async fn leave(handle: &ServerHandle, inherited: bool) {
    if inherited {
        // What connects from now on waits in the kernel for the next daemon.
        handle.pause().await;
    }
    tokio::time::sleep(LAME_DUCK).await;
    handle.stop(true).await;
}

/// Shells and some init systems give 1,024 descriptors, with leave to take more.
fn raise_descriptor_limit(max_connections: u32) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let needed = u64::from(max_connections) + OTHER_DESCRIPTORS;
    if let Some(most) = limit.maximum.filter(|most| *most < needed) {
        tracing::warn!(most, needed, "fewer files may be open than server.max_connections needs; raise the limit (LimitNOFILE=, ulimit -n)");
    }
}

fn http_server(app: &Arc<App>, listeners: Listeners) -> anyhow::Result<actix_web::dev::Server> {
    let data = Data::from(app.clone());
    let (config, threads) = (&app.config.server, std::thread::available_parallelism()?.get());
    // Each thread counts its own; that they share the limit is seen to by the requests themselves.
    let per_thread = (config.max_connections as usize + SURPLUS_CONNECTIONS).div_ceil(threads);
    let service = move || {
        let service = Service::new().app_data(data.clone()).wrap(from_fn(http::limits)).wrap(from_fn(http::observe));
        service.wrap(from_fn(last_answers)).configure(http::routes)
    };
    let server = HttpServer::new(service)
        .workers(threads)
        .max_connections(per_thread)
        .on_connect(http::on_connect(app))
        .client_request_timeout(config.client_timeout())
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(REQUESTS_GRACE_S)
        .disable_signals();
    let server = listeners.all.into_iter().try_fold(server, HttpServer::listen)?;
    Ok(server.run())
}

/// Says `Connection: close` once the daemon stops: who sends a next request opens a connection for it, which the next daemon
/// may answer.
async fn last_answers(request: ServiceRequest, next: Next<impl MessageBody>) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let app = request.app_data::<Data<App>>().cloned();
    let mut response = next.call(request).await?;
    if app.is_some_and(|app| app.queue.is_draining()) {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// Says where we are: in the log, in `{data_dir}/listen`, to systemd.
fn announce(app: &App, address: SocketAddr) -> anyhow::Result<()> {
    replace(&app.data.listen(), address.to_string().as_bytes())?;
    tracing::info!(%address, data_dir = %app.data.root().display(), "previewd {} listens", env!("CARGO_PKG_VERSION"));
    if app.auth.is_generated() {
        let token = std::fs::read_to_string(app.data.token()).unwrap_or_default();
        tracing::info!("operator's page: {}/#token={token}", app.urls.public());
    }
    for (name, tool) in [("node", &app.tools.node), ("pnpm", &app.tools.pnpm)] {
        if let Err(why) = tool {
            tracing::error!(%why, "{name} is missing: builds will fail until it is there");
        }
    }
    notify(NotifyState::Ready);
    Ok(())
}

fn notify(state: NotifyState<'_>) {
    // Not under systemd: nobody to tell.
    let _ = sd_notify::notify(&[state]);
}

async fn stop_signal() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
