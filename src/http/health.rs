//! Health with every check's own verdict, and metrics.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Data;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ApiError, Problem};
use super::problems::{OfAnything, OfMetrics};
use crate::app::App;
use crate::source::CircuitState;

/// How long one check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// Free bytes and inodes under which the disk counts as full.
const DISK_BYTES_MIN: u64 = 256 * 1024 * 1024;
const DISK_INODES_MIN: u64 = 1000;
/// The source is asked at most so often, however often health is.
const SOURCE_EVERY: Duration = Duration::from_secs(5);

/// One check's own verdict.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Check {
    ok: bool,
    /// What was found, for a person.
    detail: String,
}

/// The source's verdict, and its circuit breaker.
#[derive(Debug, Serialize, ToSchema)]
struct SourceCheck {
    ok: bool,
    /// What was found, for a person.
    detail: String,
    circuit: Circuit,
    /// Since when the circuit is closed, or is not.
    since: Timestamp,
}

/// Whether calls go to the source.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Circuit {
    /// They do.
    Closed,
    /// It is being asked whether it is back.
    HalfOpen,
    /// It did not answer several times in a row, and is left alone until the next probe.
    Open,
}

/// How the daemon is.
#[derive(Debug, Serialize, ToSchema)]
struct Health {
    status: Overall,
    /// Missing where nothing was checked: of `/health/live`, and while draining.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Checks>,
}

/// All checks in one word.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Overall {
    /// Nothing is wrong.
    Ok,
    /// A check fails.
    Failing,
    /// It is about to stop.
    Draining,
}

/// Everything that is checked.
#[derive(Debug, Serialize, ToSchema)]
struct Checks {
    source: SourceCheck,
    store: Check,
    disk: Check,
    sandbox: Check,
    queue: Check,
    node: Check,
    pnpm: Check,
}

impl Checks {
    fn all_ok(&self) -> bool {
        let others = [&self.store, &self.disk, &self.sandbox, &self.queue, &self.node, &self.pnpm];
        self.source.ok && others.iter().all(|check| check.ok)
    }
}

fn verdict<T: ToString, E: ToString>(result: Result<T, E>) -> Check {
    match result {
        Ok(detail) => Check { ok: true, detail: detail.to_string() },
        Err(detail) => Check { ok: false, detail: detail.to_string() },
    }
}

/// Every check's verdict.
#[utoipa::path(
    get, path = "/health", tag = "operations",
    responses(
        OfAnything,
        (status = 200, description = "All checks pass", body = Health),
        (status = 503, description = "A check fails", content((Health = "application/json"), (Problem = "application/problem+json")))
    )
)]
pub(super) async fn health(app: Data<App>) -> HttpResponse {
    let checks = check_all(&app).await;
    let ok = checks.all_ok();
    answer(ok, &Health { status: if ok { Overall::Ok } else { Overall::Failing }, checks: Some(checks) })
}

/// Whether the process answers.
#[utoipa::path(get, path = "/health/live", operation_id = "health_live", tag = "operations", responses((status = 200, description = "It does", body = Health), OfAnything))]
pub(super) async fn live() -> HttpResponse {
    answer(true, &Health { status: Overall::Ok, checks: None })
}

/// Like health, and not draining either.
#[utoipa::path(
    get, path = "/health/ready", operation_id = "health_ready", tag = "operations",
    responses(
        OfAnything,
        (status = 200, description = "It takes work", body = Health),
        (status = 503, description = "A check fails, or it is about to stop", content((Health = "application/json"), (Problem = "application/problem+json")))
    )
)]
pub(super) async fn ready(app: Data<App>) -> HttpResponse {
    if app.queue.is_draining() {
        return answer(false, &Health { status: Overall::Draining, checks: None });
    }
    health(app).await
}

fn answer(ok: bool, body: &impl Serialize) -> HttpResponse {
    let mut response = if ok { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.insert_header((CACHE_CONTROL, "no-store")).json(body)
}

async fn check_all(app: &Data<App>) -> Checks {
    let (source, store, disk) = tokio::join!(check_source(app), check_store(app), check_disk(app));
    let tool = |tool: &Result<crate::sandbox::Tool, String>| verdict(tool.as_ref().map(|tool| format!("{} {}", tool.path.display(), tool.version)));
    Checks {
        source,
        disk,
        sandbox: verdict(app.door.verdict()),
        queue: check_queue(app).await,
        node: tool(&app.tools.node),
        pnpm: tool(&app.tools.pnpm),
        store,
    }
}

/// The circuit's word where it is not closed, else one request, or what it found lately.
async fn check_source(app: &Data<App>) -> SourceCheck {
    static LAST: Mutex<Option<(Instant, Timestamp, Check)>> = Mutex::new(None);
    let since = app.source.circuit().since;
    // What was found before the circuit opened or closed is out of date.
    let recent = |(at, then, _): &&(Instant, Timestamp, Check)| at.elapsed() < SOURCE_EVERY && *then == since;
    let last = LAST.lock().ok().and_then(|last| last.as_ref().filter(recent).map(|(_, _, check)| check.clone()));
    let check = if let Some(check) = last {
        check
    } else {
        let check = probe_source(app).await;
        if let Ok(mut last) = LAST.lock() {
            *last = Some((Instant::now(), since, check.clone()));
        }
        check
    };
    let circuit = app.source.circuit();
    let state = match circuit.state {
        CircuitState::Closed => Circuit::Closed,
        CircuitState::HalfOpen => Circuit::HalfOpen,
        CircuitState::Open => Circuit::Open,
    };
    match circuit.why {
        None => SourceCheck { ok: check.ok, detail: check.detail, circuit: state, since: circuit.since },
        Some(why) => {
            let next = circuit.retry_after.as_millis().div_ceil(1000);
            let detail = format!("no answer since {:.0}, asked again in {next} s: {why}", circuit.since);
            SourceCheck { ok: false, detail, circuit: state, since: circuit.since }
        }
    }
}

async fn probe_source(app: &Data<App>) -> Check {
    match tokio::time::timeout(CHECK_TIMEOUT, app.source.probe()).await {
        Ok(result) => verdict(result.map(|()| "reachable")),
        Err(_) => Check { ok: false, detail: format!("no answer in {CHECK_TIMEOUT:?}") },
    }
}

async fn check_store(app: &Data<App>) -> Check {
    match tokio::time::timeout(CHECK_TIMEOUT, app.store.probe()).await {
        Ok(result) => verdict(result.map(|()| "reads and writes")),
        Err(_) => Check { ok: false, detail: format!("no answer in {CHECK_TIMEOUT:?}") },
    }
}

async fn check_disk(app: &Data<App>) -> Check {
    let root = app.data.root().to_owned();
    let stat = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&root)).await;
    let Ok(Ok(stat)) = stat else { return Check { ok: false, detail: "the data directory cannot be looked at".into() } };
    let (free, total) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
    let gauge = |kind: &str, bytes: u64| app.metrics.disk_bytes.with_label_values(&[kind]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    gauge("free", free);
    gauge("total", total);
    // File systems without an inode table report 0 of 0.
    let ok = free >= DISK_BYTES_MIN && (stat.f_files == 0 || stat.f_favail >= DISK_INODES_MIN);
    Check { ok, detail: format!("{} MB and {} inodes free", free / (1024 * 1024), stat.f_favail) }
}

async fn check_queue(app: &Data<App>) -> Check {
    match app.store.pending().await {
        Ok(counts) => {
            let waiting = counts.interactive + counts.background;
            Check { ok: waiting < app.config.queue.max_pending, detail: format!("{waiting} projects wait") }
        }
        Err(error) => Check { ok: false, detail: error.to_string() },
    }
}

/// Metrics, as Prometheus reads them.
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain"), OfMetrics)
)]
pub(super) async fn metrics(app: Data<App>) -> Result<HttpResponse, ApiError> {
    let counts = app.store.pending().await?;
    app.metrics.queue_depth.with_label_values(&["interactive"]).set(counts.interactive.into());
    app.metrics.queue_depth.with_label_values(&["background"]).set(counts.background.into());
    app.metrics.projects.set(i64::try_from(app.store.project_count().await?).unwrap_or(i64::MAX));
    app.metrics.notify_waiting.set(i64::try_from(app.store.outgoing_count().await?).unwrap_or(i64::MAX));
    app.metrics.event_streams.set(i64::try_from(app.events.listeners()).unwrap_or(i64::MAX));
    check_disk(&app).await;
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/plain; version=0.0.4")).body(app.metrics.text()?))
}
