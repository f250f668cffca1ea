//! A build by the project's own Vite.
//!
//! 1. dependencies: the layer of the project's dependency set, installed where it is new; an import that only another layout of the
//!    same dependencies offers leads back to here, once for each layout, and is remembered for the set
//! 2. the generators that the project names  3. a worker: the one that built the project before, if all that it knows still holds; one
//!    that waits for a project of the layer; a new one  4. build; with sources that may be written where it turns out to need that
//! 5. what came of the layer: what the next edition should have, or why none can serve
//!
//! Invariant: what a build says of itself decides what is told and which worker is kept, never what is read or published.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::editions::Wish;
use super::generate::{self, Generated};
use super::install::{self, Layer, LayerResult};
use super::job::{Done, Job, Run};
use super::messages::FailureClaim;
use super::place::{Place, Purpose};
use super::{BuildRequest, Builder, workspace};
use crate::disk::{blocking, remove_tree};
use crate::domain::build::{LayerUse, Worker, truncate};
use crate::domain::{BuildRecord, Failure, FailureKind, Manifest, Mode};
use crate::state::EditionRow;

/// Said of a plain build where a layer is not there yet.
const NOT_READY: &str = "the layer is not ready yet";
/// Said of one that a layer would not make faster.
const NO_PACKAGES: &str = "the app imports no packages that a layer could have";
/// Said of one that was asked for.
const CLEAN: &str = "a clean build takes nothing from a layer";
/// Longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 500;

impl Builder {
    /// All of it.
    pub(super) async fn build_with_vite(
        &self,
        request: &BuildRequest<'_>,
        record: &mut BuildRecord,
        place: &mut Place,
        manifest: &Manifest,
        folder: String,
        env: BTreeMap<String, String>,
    ) -> anyhow::Result<Run> {
        let failed = |failure| Ok(Run::Failed { failure, claim: None });
        if let Some(why) = self.worker.missing() {
            return failed(Failure::new(FailureKind::Internal, why));
        }
        let set = match self.installer.read_set(&place.slot.work(), manifest, &folder, request.log).await? {
            Ok(set) => set,
            Err(failure) => return failed(failure),
        };
        let mut job = Job { env, ..self.job(request, record, place, folder) };
        let mut layout = self.installer.known_layout(&set).await?;
        let mut generated = false;
        loop {
            let begun = Instant::now();
            let result = self.installer.layer(&set, layout, request.log, request.cancel).await;
            if !matches!(&result, Ok(LayerResult::Ready(layer)) if layer.hit) {
                record.timings_ms.install += millis(begun.elapsed());
            }
            let layer = match result? {
                LayerResult::Ready(layer) => layer,
                LayerResult::Failed(failure) => return failed(failure),
                LayerResult::Cancelled => return Ok(Run::Cancelled),
            };
            self.note_layer(record, &layer, begun.elapsed());
            job.vite_temp = prepare(&job, &layer).await?;
            let begun = Instant::now();
            if !generated {
                let ended = generate::run(&self.worker, &job, &place.slot, request.log, request.cancel).await;
                record.timings_ms.build += millis(begun.elapsed());
                match ended? {
                    Generated::Nothing => {}
                    Generated::Done => {
                        // What a script wrote is known to nobody: neither what has changed, nor whose it was before.
                        place.dismiss().await;
                        place.forget_sources();
                        job.generated = true;
                        job.vite_temp = prepare(&job, &layer).await?;
                    }
                    Generated::Ended(run) => {
                        place.forget_sources();
                        return Ok(run);
                    }
                }
                generated = true;
            }
            let begun = Instant::now();
            let (editions, rows) = self.editions.of(&layer).await?;
            job.plain = if request.clean { Some(CLEAN.to_owned()) } else { self.known_to_be_plain(request, &editions) };
            job.editions = editions;
            let run = self.run_worker(&mut job, request, record, place, &layer).await?;
            let elapsed = begun.elapsed();
            record.timings_ms.build += millis(elapsed);
            self.metrics.build_seconds.with_label_values(&["build"]).observe(elapsed.as_secs_f64());
            match run {
                Run::Refused(path) => {
                    request.log.info(format!("the build writes into its sources ({path}): it begins anew with copies of them"));
                    self.learnt().entry(request.project.clone()).or_default().writes = true;
                    job.writable = true;
                }
                Run::Done(done) => return Ok(Run::Done(self.note_mode(request, record, &job, &layer, &rows, done))),
                Run::Failed { claim: Some(claim), failure } => match other_layout(&layer, &claim) {
                    Some((next, reason)) => {
                        request.log.warn(format!("{reason}: trying again with the {} layout", next.as_str()));
                        self.installer.learn(&set, next, &reason).await?;
                        layout = next;
                    }
                    None => return Ok(Run::Failed { claim: Some(claim), failure }),
                },
                run => return Ok(run),
            }
        }
    }

    fn job(&self, request: &BuildRequest<'_>, record: &BuildRecord, place: &Place, app: String) -> Job {
        let writes = self.learnt().get(request.project).is_some_and(|learnt| learnt.writes);
        Job {
            build: record.build_id,
            work: place.slot.work(),
            app,
            out: place.slot.out(),
            vite_temp: Vec::new(),
            env: BTreeMap::new(),
            public_maps: self.public_maps,
            writable: self.worker.needs_copies() || writes,
            generated: false,
            editions: Vec::new(),
            plain: None,
            changed: Vec::new(),
        }
    }

    fn known_to_be_plain(&self, request: &BuildRequest<'_>, editions: &[PathBuf]) -> Option<String> {
        let learnt = self.learnt();
        let (known, reason) = learnt.get(request.project)?.plain.as_ref()?;
        (known == editions).then(|| reason.clone())
    }

    /// Steps 3 and 4. What a worker that has built before cannot do, a new one may.
    async fn run_worker(
        &self,
        job: &mut Job,
        request: &BuildRequest<'_>,
        record: &mut BuildRecord,
        place: &mut Place,
        layer: &Layer,
    ) -> anyhow::Result<Run> {
        if job.writable || job.generated || !self.pool.keeps() {
            return self.run_alone(job, request, record, place).await;
        }
        let purpose = Purpose { layer: layer.dir.clone(), app: job.app.clone(), editions: job.editions.clone() };
        let root = (layer.root == job.app).then(|| layer.dir.clone());
        loop {
            let fits = place.purpose.as_ref() == Some(&purpose) && place.worker.as_ref().is_some_and(|worker| worker.vite_temp == job.vite_temp);
            if !fits {
                place.dismiss().await;
            }
            if place.worker.is_none()
                && let Some(root) = &root
                && let Some(waiting) = self.pool.take_waiting(root)
            {
                place.move_to(waiting).await?;
                (job.work, job.out) = (place.slot.work(), place.slot.out());
            }
            let session = match place.worker.take() {
                Some(session) => session,
                None => self.worker.start(&place.slot, job.vite_temp.clone(), false).await?,
            };
            let (waited, knows_it) = (session.waited(), session.jobs > 0);
            record.worker = if waited { Worker::Warm } else { Worker::Cold };
            request.soon_done.store(knows_it, Ordering::Relaxed);
            job.changed = place.take_changes();
            empty(&job.out).await?;
            let (run, kept) = self.worker.build(session, job, &place.slot, request.log, request.cancel).await?;
            // What a clean build leaves is of no use for the next, which is none.
            place.purpose = (kept.is_some() && !request.clean).then(|| purpose.clone());
            place.worker = kept;
            request.soon_done.store(false, Ordering::Relaxed);
            if let Some(root) = root.as_ref().filter(|_| !knows_it) {
                self.pool.prepare(root);
            }
            match run {
                Run::Useless if waited => request.log.info("the configuration has changed, or the worker was lost: a new worker builds"),
                run => return Ok(run),
            }
        }
    }

    /// Where the build may write into the sources it gets copies and a worker of its own, and only plain files of what it leaves stay:
    /// this daemon walks `work/`.
    async fn run_alone(&self, job: &mut Job, request: &BuildRequest<'_>, record: &mut BuildRecord, place: &mut Place) -> anyhow::Result<Run> {
        place.dismiss().await;
        record.worker = Worker::Cold;
        let work = job.work.clone();
        if job.writable {
            blocking(move || workspace::own_copies(&work)).await?;
        }
        empty(&job.out).await?;
        let session = self.worker.start(&place.slot, job.vite_temp.clone(), job.writable).await?;
        let (run, session) = self.worker.build(session, job, &place.slot, request.log, request.cancel).await?;
        if let Some(session) = session {
            session.end().await;
        }
        if job.writable {
            let work = job.work.clone();
            blocking(move || workspace::keep_plain(&work).or_else(|_| remove_tree(&work))).await?;
            place.forget_sources();
        }
        Ok(run)
    }

    fn note_layer(&self, record: &mut BuildRecord, layer: &Layer, elapsed: Duration) {
        record.layer = if layer.hit && record.layer != LayerUse::Miss { LayerUse::Hit } else { LayerUse::Miss };
        record.lockfile = Some(layer.lockfile.clone());
        self.metrics.layer.with_label_values(&[if layer.hit { "hit" } else { "miss" }]).inc();
        if !layer.hit {
            self.metrics.build_seconds.with_label_values(&["install"]).observe(elapsed.as_secs_f64());
        }
    }

    /// Step 5.
    fn note_mode(
        &self,
        request: &BuildRequest<'_>,
        record: &mut BuildRecord,
        job: &Job,
        layer: &Layer,
        rows: &[EditionRow],
        mut done: Box<Done>,
    ) -> Box<Done> {
        let claim = std::mem::take(&mut done.layer);
        let names: HashSet<_> = job.editions.iter().filter_map(|dir| dir.file_name()?.to_str()).collect();
        let edition = claim.edition.filter(|edition| names.contains(edition.as_str()));
        record.mode = Some(if edition.is_some() { Mode::Layered } else { Mode::Plain });
        let failure = rows.iter().find(|row| Some(&row.variant) == claim.variant.as_ref()).and_then(|row| row.failure.as_ref());
        record.mode_reason = match (&edition, &claim.reason, failure) {
            (Some(_), _, _) => None,
            (None, Some(reason), _) => Some(truncate(reason.clone(), REASON_CHARS_MAX)),
            (None, None, Some(failure)) => Some(truncate(format!("the layer could not be made: {failure}"), REASON_CHARS_MAX)),
            (None, None, None) if done.wants.is_empty() => Some(NO_PACKAGES.to_owned()),
            (None, None, None) => Some(NOT_READY.to_owned()),
        };
        record.edition = edition;
        if let Some(reason) = claim.reason.filter(|_| !request.clean) {
            self.learnt().entry(request.project.clone()).or_default().plain = Some((job.editions.clone(), reason));
        }
        if !layer.importers.is_empty()
            && let Some(variant) = claim.variant
        {
            let files = std::mem::take(&mut done.wants);
            done.wish = Some(Wish { layer: layer.clone(), app: job.app.clone(), variant, files }).filter(|wish| !wish.files.is_empty());
        }
        done
    }
}

/// Whether another layout of the same dependencies would offer what could not be resolved.
fn other_layout(layer: &Layer, claim: &FailureClaim) -> Option<(install::Layout, String)> {
    let (package, by_project) = claim.unresolved_package()?;
    if !layer.contains(package) {
        return None;
    }
    let next = layer.layout.next(by_project)?;
    let who = if by_project { "the project" } else { "one of its dependencies" };
    Some((next, format!("{who} imports {package}, which it does not declare")))
}

/// The layer's dependencies in place.
async fn prepare(job: &Job, layer: &Layer) -> io::Result<Vec<PathBuf>> {
    let (work, app, layer) = (job.work.clone(), job.app.clone(), layer.clone());
    blocking(move || workspace::link_dependencies(&work, &layer, &app)).await
}

/// An empty output folder.
async fn empty(out: &Path) -> io::Result<()> {
    let out = out.to_owned();
    blocking(move || {
        remove_tree(&out)?;
        std::fs::create_dir_all(&out)
    })
    .await
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
