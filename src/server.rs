//! Starts the daemon, and stops it.
//!
//! Start: bind, open, take up, drive, serve, tell systemd. Stop, on SIGTERM or SIGINT: refuse new work, let builds finish
//! until a deadline, stop accepting, end with code 0.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App as Service, HttpServer};
use anyhow::Context;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::net::TcpSocket;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::config::Config;
use crate::disk::replace;
use crate::http;

/// Connections that are waiting to be accepted at most; the kernel's `net.core.somaxconn` may be lower.
const BACKLOG: u32 = 1024;
/// Beyond `server.max_connections` so many more are taken in, to be told; what comes then waits to be accepted.
const SURPLUS_CONNECTIONS: usize = 512;
/// Descriptors for everything but connections: files, the database, pipes of builds.
const OTHER_DESCRIPTORS: u64 = 2048;
/// A connection without a request is kept open so long.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Requests that are under way at shutdown get so long, seconds.
const REQUESTS_GRACE_S: u64 = 5;

/// Runs the daemon until it is told to stop.
pub async fn serve(mut config: Config) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.server.data_dir).with_context(|| format!("cannot make {}", config.server.data_dir.display()))?;
    // What is made from here on is the daemon's alone; releases are opened to nginx one by one (src/release/).
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    // Children run in other directories, so every path is absolute from here on.
    config.server.data_dir = config.server.data_dir.canonicalize()?;
    let listener = bind(config.server.listen).with_context(|| format!("cannot listen on {}", config.server.listen))?;
    let address = listener.local_addr()?;
    let grace = config.server.shutdown_grace();
    raise_descriptor_limit(config.server.max_connections);
    let app = App::open(config, address.port()).await?;
    let driver = app.queue.start();
    let server = http_server(&app, listener)?;
    let handle = server.handle();
    let mut serving = tokio::spawn(server);
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
    app.door.close().await;
    handle.stop(true).await;
    let _ = std::fs::remove_file(app.data.listen());
    tracing::info!("stopped");
    Ok(())
}

/// Binds by hand: a listener of the standard library has a backlog of its own, and nobody can change that afterwards.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the connections of the last daemon to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
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

fn http_server(app: &Arc<App>, listener: TcpListener) -> anyhow::Result<actix_web::dev::Server> {
    let data = Data::from(app.clone());
    let (config, threads) = (&app.config.server, std::thread::available_parallelism()?.get());
    // Each thread counts its own; that they share the limit is seen to by the requests themselves.
    let per_thread = (config.max_connections as usize + SURPLUS_CONNECTIONS).div_ceil(threads);
    let service = move || Service::new().app_data(data.clone()).wrap(from_fn(http::limits)).wrap(from_fn(http::observe)).configure(http::routes);
    let server = HttpServer::new(service)
        .workers(threads)
        .max_connections(per_thread)
        .on_connect(http::on_connect(app))
        .client_request_timeout(config.client_timeout())
        .keep_alive(KEEP_ALIVE)
        .shutdown_timeout(REQUESTS_GRACE_S)
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
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
