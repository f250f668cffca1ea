//! Every Prometheus metric, in one place (API.md, "Metrics").
//!
//! It lies on floor 1, not above the queue, because everything from the source upward counts
//! something. No metric has a per-project label: their number must not grow with projects.

use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

/// Upper bounds, in seconds, for things between a warm rebuild and a build's time limit.
const BUCKETS_S: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

const CIRCUIT_HELP: &str =
    "Circuit breaker towards the source: 0 closed (calls go through), 1 half-open (one probe is under way), 2 open (it is left alone).";

/// The handles; counting is lock-free.
#[derive(Debug)]
#[expect(missing_docs, reason = "each has its help text below")]
pub struct Metrics {
    registry: Registry,
    pub http_requests: IntCounterVec,
    pub http_seconds: HistogramVec,
    pub http_connections: IntGauge,
    pub event_streams: IntGauge,
    pub sync_seconds: HistogramVec,
    pub sync_files: IntCounterVec,
    pub sync_bytes: IntCounter,
    pub queue_depth: IntGaugeVec,
    pub queue_wait_seconds: HistogramVec,
    pub builds: IntCounterVec,
    pub build_seconds: HistogramVec,
    pub builds_running: IntGauge,
    pub layer: IntCounterVec,
    pub workers: IntGaugeVec,
    pub edit_to_live_seconds: HistogramVec,
    pub renders: IntCounterVec,
    pub notify: IntCounterVec,
    pub notify_waiting: IntGauge,
    pub source_requests: IntCounterVec,
    pub source_circuit: IntGauge,
    pub disk_bytes: IntGaugeVec,
    pub projects: IntGauge,
}

impl Metrics {
    /// Makes and registers all of them.
    pub fn new() -> anyhow::Result<Self> {
        let r = Registry::new();
        let metrics = Self {
            http_requests: counters(&r, "http_requests_total", "HTTP requests answered.", &["route", "method", "status"])?,
            http_seconds: histograms(&r, "http_request_seconds", "Time to answer an HTTP request.", &["route"])?,
            http_connections: register(&r, IntGauge::with_opts(named("http_connections", "Connections that are open."))?)?,
            event_streams: register(&r, IntGauge::with_opts(named("event_streams", "Event streams that are open."))?)?,
            sync_seconds: histograms(&r, "sync_seconds", "Time to take over a project's changes from the source.", &[])?,
            sync_files: counters(&r, "sync_files_total", "Files looked at by syncs.", &["result"])?,
            sync_bytes: register(&r, IntCounter::with_opts(named("sync_bytes_total", "Bytes fetched by syncs."))?)?,
            queue_depth: gauges(&r, "queue_depth", "Projects that wait for a build.", &["priority"])?,
            queue_wait_seconds: histograms(&r, "queue_wait_seconds", "Time from accepted to claimed.", &[])?,
            builds: counters(&r, "builds_total", "Builds that ended.", &["outcome", "mode"])?,
            build_seconds: histograms(&r, "build_seconds", "Time of a build, by phase.", &["phase"])?,
            builds_running: register(&r, IntGauge::with_opts(named("builds_running", "Builds that run now."))?)?,
            layer: counters(&r, "layer_total", "Builds by whether their dependencies were there already.", &["result"])?,
            workers: gauges(
                &r,
                "workers",
                "Build workers: idle (wait for a project), bound (wait for their project's next build), busy.",
                &["state"],
            )?,
            edit_to_live_seconds: histograms(&r, "edit_to_live_seconds", "Time from a sync's arrival to its release being live.", &[])?,
            renders: counters(&r, "renders_total", "Releases by what browsers made of them.", &["verdict"])?,
            notify: counters(&r, "notify_total", "Tries to deliver a webhook, and webhooks given up.", &["result"])?,
            notify_waiting: register(&r, IntGauge::with_opts(named("notify_waiting", "Webhooks that are still to be delivered."))?)?,
            source_requests: counters(&r, "source_requests_total", "Requests to the source.", &["op", "result"])?,
            source_circuit: register(&r, IntGauge::with_opts(named("source_circuit_state", CIRCUIT_HELP))?)?,
            disk_bytes: gauges(&r, "disk_bytes", "The file system that holds the data directory.", &["kind"])?,
            projects: register(&r, IntGauge::with_opts(named("projects", "Projects known."))?)?,
            registry: r,
        };
        for priority in crate::domain::Priority::ALL {
            // A depth of 0 is worth showing from the start.
            metrics.queue_depth.with_label_values(&[priority.as_str()]).set(0);
        }
        for result in ["delivered", "retried", "given_up"] {
            let _ = metrics.notify.with_label_values(&[result]);
        }
        for verdict in crate::domain::status::Verdict::ALL {
            let _ = metrics.renders.with_label_values(&[verdict.as_str()]);
        }
        Ok(metrics)
    }

    /// All metrics as Prometheus text.
    pub fn text(&self) -> anyhow::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn named(name: &str, help: &str) -> Opts {
    Opts::new(format!("previewd_{name}"), help)
}

fn register<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, collector: C) -> anyhow::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> anyhow::Result<IntCounterVec> {
    register(r, IntCounterVec::new(named(name, help), labels)?)
}

fn gauges(r: &Registry, name: &str, help: &str, labels: &[&str]) -> anyhow::Result<IntGaugeVec> {
    register(r, IntGaugeVec::new(named(name, help), labels)?)
}

fn histograms(r: &Registry, name: &str, help: &str, labels: &[&str]) -> anyhow::Result<HistogramVec> {
    let options = HistogramOpts::from(named(name, help)).buckets(BUCKETS_S.to_vec());
    let vec = register(r, HistogramVec::new(options, labels)?)?;
    if labels.is_empty() {
        // Shown with a count of 0 before its first observation.
        let _ = vec.with_label_values::<&str>(&[]);
    }
    Ok(vec)
}

/// Observes a duration without labels.
pub fn observe(histogram: &HistogramVec, elapsed: std::time::Duration) {
    histogram.with_label_values::<&str>(&[]).observe(elapsed.as_secs_f64());
}
