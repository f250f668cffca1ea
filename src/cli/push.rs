//! `previewd push DIR --project ID`: what a chat backend does, by hand.
//!
//! 1. read the folder  2. compare with the source  3. copy what differs, delete what is gone  4. sync
//! 5. follow the build, print the preview's address

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use ignore::WalkBuilder;
use indicatif::{ProgressBar, ProgressStyle};
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::Daemon;
use super::client::Client;
use crate::config::Config;
use crate::domain::{ContentHash, ProjectId, SourcePath};
use crate::metrics::Metrics;
use crate::source::{Fetched, Listed, Source};

/// Folders that are never part of a project's sources.
const SKIPPED: &[&str] = &["node_modules", ".git"];
/// Changed paths that are named to the daemon; with more, everything is reconciled.
const NAMED_MAX: usize = 2000;
/// Between two looks at the build.
const POLL: Duration = Duration::from_millis(100);
/// A build that takes longer than this goes on without us.
const PATIENCE: Duration = Duration::from_mins(10);

#[derive(Debug, Args)]
pub(super) struct Push {
    /// The folder with the app.
    dir: PathBuf,
    /// The project; made where it is new.
    #[arg(long)]
    project: ProjectId,
    #[command(flatten)]
    daemon: Daemon,
}

/// What differs between the folder and the source.
#[derive(Default)]
struct Difference {
    put: Vec<(SourcePath, PathBuf)>,
    delete: Vec<SourcePath>,
}

impl Push {
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<()> {
        let client = Client::new(config, &self.daemon)?;
        let source = Source::open(config, &|name| std::env::var(name).ok(), Arc::new(Metrics::new()?))?;
        let view = View::new();
        let local = read_folder(&self.dir)?;
        if local.is_empty() {
            bail!("{} has no files", self.dir.display());
        }
        source.prepare().await?;
        let difference = compare(config, &source, &self.project, local).await?;
        self.copy(config, &source, &difference, &view).await?;
        let body = request_body(&difference);
        let answer = client.sync(&self.project, &body).await?;
        let revision = answer["revision"].as_u64().context("the daemon's answer has no revision")?;
        match answer["status"].as_str() {
            Some("building") => step(&format!("accepted as revision {revision}")),
            _ => step("nothing changed"),
        }
        self.follow(&client, revision, &view).await
    }

    async fn copy(&self, config: &Config, source: &Source, difference: &Difference, view: &View) -> anyhow::Result<()> {
        let bar = view.bar(difference.put.len() as u64);
        let bytes: Vec<u64> = stream::iter(&difference.put)
            .map(|(path, file)| {
                let bar = &bar;
                async move {
                    let content = tokio::fs::read(file).await.with_context(|| format!("cannot read {}", file.display()))?;
                    let size = content.len() as u64;
                    source.put(&self.project, path, content).await?;
                    bar.inc(1);
                    bar.set_message(path.to_string());
                    anyhow::Ok(size)
                }
            })
            .buffer_unordered(config.sync.concurrency)
            .try_collect()
            .await?;
        for path in &difference.delete {
            source.delete(&self.project, path).await?;
        }
        bar.finish_and_clear();
        let total: u64 = bytes.iter().sum();
        step(&format!("copied {} files ({total} bytes), deleted {}", bytes.len(), difference.delete.len()));
        Ok(())
    }

    /// Waits until the revision is live, or has failed.
    async fn follow(&self, client: &Client, revision: u64, view: &View) -> anyhow::Result<()> {
        let begun = Instant::now();
        let spinner = view.spinner();
        let mut shown = String::new();
        while begun.elapsed() < PATIENCE {
            let status = client.status(&self.project).await?;
            let state = status["state"].as_str().unwrap_or_default().to_owned();
            let settled = matches!(&*state, "ready" | "error" | "empty");
            if settled && status["revision"].as_u64() >= Some(revision) {
                spinner.finish_and_clear();
                return conclude(&status);
            }
            if state != shown {
                view.phase(&spinner, &state);
                shown = state;
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("the build still runs after {} s; see `previewd status {}`", PATIENCE.as_secs(), self.project)
    }
}

fn conclude(status: &Value) -> anyhow::Result<()> {
    let build = &status["last_build"];
    for warning in build["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        step(&format!("warning: {warning}"));
    }
    if status["state"] == "ready" {
        let ms = |name: &str| build["timings_ms"][name].as_u64().unwrap_or_default();
        step(&format!(
            "live after {} ms (sync {}, install {}, build {}, publish {})",
            ms("total"),
            ms("sync"),
            ms("install"),
            ms("build"),
            ms("publish")
        ));
        println!("{}", status["preview_url"].as_str().unwrap_or_default());
        return Ok(());
    }
    let failure = &build["failure"];
    let text = |name: &str| failure[name].as_str().unwrap_or_default();
    if let Some(frame) = failure["frame"].as_str() {
        step(frame);
    }
    let place = match (failure["file"].as_str(), failure["line"].as_u64()) {
        (Some(file), Some(line)) => format!("{file}:{line}: "),
        (Some(file), None) => format!("{file}: "),
        _ => String::new(),
    };
    bail!("the build failed: {}: {place}{}", text("kind"), text("message"))
}

fn request_body(difference: &Difference) -> Value {
    let paths: Vec<&SourcePath> = difference.put.iter().map(|(path, _)| path).chain(&difference.delete).collect();
    if paths.is_empty() || paths.len() > NAMED_MAX { json!({}) } else { json!({ "changed_files": paths }) }
}

/// Every file of the folder that belongs to the project: what git would keep, and `.env` files, which it would not.
fn read_folder(dir: &Path) -> anyhow::Result<BTreeMap<SourcePath, PathBuf>> {
    if !dir.is_dir() {
        bail!("{} is not a folder", dir.display());
    }
    let mut files = BTreeMap::new();
    let walk = |builder: &mut WalkBuilder| {
        let skip = |entry: &ignore::DirEntry| !entry.file_name().to_str().is_some_and(|name| SKIPPED.contains(&name));
        builder.hidden(false).parents(false).git_global(false).git_exclude(false).require_git(false).filter_entry(skip).build()
    };
    let kept = walk(&mut WalkBuilder::new(dir));
    let environment = walk(WalkBuilder::new(dir).git_ignore(false).ignore(false))
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(".env")));
    for entry in kept.chain(environment) {
        let entry = entry?;
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        let relative = entry.path().strip_prefix(dir)?.to_str().with_context(|| format!("{} is not UTF-8", entry.path().display()))?;
        let path = SourcePath::parse(relative).with_context(|| format!("{relative} cannot be synced"))?;
        files.insert(path, entry.path().to_owned());
    }
    Ok(files)
}

async fn compare(config: &Config, source: &Source, project: &ProjectId, local: BTreeMap<SourcePath, PathBuf>) -> anyhow::Result<Difference> {
    let listing = source.list(project, config.sync.max_files).await?;
    let there: BTreeMap<SourcePath, Listed> = listing.files.into_iter().map(|file| (file.path.clone(), file)).collect();
    let mut difference = Difference { put: Vec::new(), delete: there.keys().filter(|path| !local.contains_key(*path)).cloned().collect() };
    for (path, file) in local {
        let same = match there.get(&path) {
            Some(listed) => is_same(source, project, listed, &file).await?,
            None => false,
        };
        if !same {
            difference.put.push((path, file));
        }
    }
    Ok(difference)
}

/// Whether the source holds the same content: by MD5 where it keeps that, else by reading it.
async fn is_same(source: &Source, project: &ProjectId, listed: &Listed, file: &Path) -> anyhow::Result<bool> {
    let content = tokio::fs::read(file).await.with_context(|| format!("cannot read {}", file.display()))?;
    if content.len() as u64 != listed.size {
        return Ok(false);
    }
    if let Some(md5) = listed.md5 {
        return Ok(md5 == <[u8; 16]>::from(Md5::digest(&content)));
    }
    let into = std::env::temp_dir().join(format!("previewd-push-{:016x}", rand::random::<u64>()));
    let fetched = source.fetch(project, &listed.path, None, &into, listed.size).await;
    let _ = tokio::fs::remove_file(&into).await;
    Ok(matches!(fetched?, Fetched::File(file) if file.sha256 == ContentHash::of(&content)))
}

/// Says how far it is.
fn step(text: &str) {
    eprintln!("{text}");
}

/// What is shown on the way: a bar on a terminal, plain lines elsewhere. Only the address goes to standard output.
struct View {
    terminal: bool,
}

impl View {
    fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal() }
    }

    fn phase(&self, spinner: &ProgressBar, state: &str) {
        spinner.set_message(state.to_owned());
        if !self.terminal {
            eprintln!("{state}");
        }
    }

    fn bar(&self, files: u64) -> ProgressBar {
        if !self.terminal {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("copying {bar:30} {pos}/{len} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(files).with_style(style)
    }

    fn spinner(&self) -> ProgressBar {
        if !self.terminal {
            return ProgressBar::hidden();
        }
        let spinner = ProgressBar::new_spinner();
        spinner.enable_steady_tick(POLL);
        spinner
    }
}
