//! Talks to a running daemon.

use std::fs;
use std::io::Write;

use anyhow::{Context, bail};
use futures::StreamExt;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use super::Daemon;
use crate::config::Config;
use crate::domain::{BuildId, DataDir, ProjectId};

/// A client with an address and a token.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    /// Finds the daemon: as said, or as it wrote to the data directory of `config`.
    pub(super) fn new(config: &Config, daemon: &Daemon) -> anyhow::Result<Self> {
        let data = DataDir::new(&config.server.data_dir);
        let url = match &daemon.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => find_daemon(&data)?,
        };
        let token = daemon.token.clone().or_else(|| config.auth.tokens.first().cloned()).or_else(|| fs::read_to_string(data.token()).ok());
        let token = token.context("no token: say it with PREVIEWD_TOKEN")?.trim().to_owned();
        // A daemon on this machine is not reached through a proxy.
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { http, url, token })
    }

    /// The status object of a project.
    pub(super) async fn status(&self, project: &ProjectId) -> anyhow::Result<Value> {
        Ok(self.send(self.http.get(format!("{}/status/{project}", self.url))).await?.json().await?)
    }

    /// Syncs a project.
    pub(super) async fn sync(&self, project: &ProjectId, body: &Value) -> anyhow::Result<Value> {
        Ok(self.send(self.http.post(format!("{}/sync-project/{project}", self.url)).json(body)).await?.json().await?)
    }

    /// Prints a build's log to standard output.
    pub(super) async fn print_logs(&self, project: &ProjectId, build: Option<BuildId>, follow: bool) -> anyhow::Result<()> {
        let mut query = vec![("follow", follow.to_string())];
        query.extend(build.map(|build| ("build", build.to_string())));
        let request = self.http.get(format!("{}/logs/{project}", self.url)).query(&query);
        let mut body = self.send(request).await?.bytes_stream();
        let mut rest = Vec::new();
        let mut out = std::io::stdout();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.context("the log ended early")?;
            if !follow {
                out.write_all(&chunk)?;
                continue;
            }
            rest.extend_from_slice(&chunk);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                print_event_line(&mut out, &String::from_utf8_lossy(&line))?;
            }
        }
        Ok(())
    }

    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.bearer_auth(&self.token).send().await.with_context(|| format!("the daemon at {} does not answer", self.url))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem: Value = response.json().await.unwrap_or_default();
        match (problem["code"].as_str(), problem["detail"].as_str()) {
            (Some(code), Some(detail)) => bail!("{detail} ({code})"),
            _ => bail!("the daemon answered {status}"),
        }
    }
}

/// The address that a daemon wrote to its data directory.
fn find_daemon(data: &DataDir) -> anyhow::Result<String> {
    let missing = || format!("no daemon runs on {} (say where it is with --url or PREVIEWD_URL)", data.root().display());
    let address = fs::read_to_string(data.listen()).with_context(missing)?;
    Ok(format!("http://{}", address.trim()))
}

/// Prints the log line that a line of an event stream carries, if it does.
fn print_event_line(out: &mut impl Write, line: &str) -> anyhow::Result<()> {
    if let Some(line) = line.strip_prefix("data: ").and_then(|data| serde_json::from_str::<crate::events::LogLine>(data).ok()) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
