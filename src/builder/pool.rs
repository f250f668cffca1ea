//! Warm workers: those that wait for their project's next build, and those that wait for a project.
//!
//! 1. a build takes its project's place, with the worker that built it before; or one where a worker of its layer waits; or an empty one
//! 2. afterwards the place is given back, and stays until it is too old, too large, too long unused, or until others need its memory
//! 3. in the background, workers are started for the layers that are in use, with Vite and the plugins loaded
//!
//! Invariant: a worker that has built for a project never serves another, and all workers that wait stand still. A worker that is gone
//! costs a slower build, nothing else.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::time::interval;

use super::job::MB;
use super::place::Place;
use super::worker::Worker;
use crate::config;
use crate::domain::{DataDir, ProjectId};
use crate::metrics::Metrics;
use crate::sandbox::Door;

/// Between two looks at who has waited too long.
const TEND_EVERY: Duration = Duration::from_secs(5);
/// What a worker that waits for a project is reckoned to take before it is there, bytes.
const WAITING_BYTES: u64 = 150 * MB;
/// A layer that was not used for so long gets no workers in advance.
const LAYER_IN_USE: Duration = Duration::from_mins(10);

/// All that wait.
#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    worker: Arc<Worker>,
    data: Arc<DataDir>,
    metrics: Arc<Metrics>,
    config: config::Pool,
    /// One worker is started in advance at a time: builds go first.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    bound: HashMap<ProjectId, Place>,
    /// By the folder of the layer whose packages they have loaded.
    waiting: HashMap<PathBuf, Vec<Place>>,
    /// When layers were last used.
    layers: HashMap<PathBuf, Instant>,
    /// Layers for which a worker is being started.
    starting: HashSet<PathBuf>,
    busy: i64,
    closed: bool,
}

impl Pool {
    /// Begins to look after itself; ends its workers when `door` is closed.
    pub(super) fn start(worker: Arc<Worker>, data: Arc<DataDir>, metrics: Arc<Metrics>, config: config::Pool, door: Arc<Door>) -> Arc<Self> {
        let (state, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        let pool = Arc::new(Self { state, worker, data, metrics, config, turn });
        tokio::spawn(tend(Arc::downgrade(&pool), door));
        pool
    }

    /// Whether workers are kept at all.
    pub(super) fn keeps(&self) -> bool {
        self.config.memory_mb > 0
    }

    /// The place where `project` was built before, or an empty one.
    pub(super) async fn take(&self, project: &ProjectId) -> std::io::Result<Place> {
        let place = self.with(|state| {
            state.busy += 1;
            state.bound.remove(project)
        });
        let mut place = match place {
            Some(place) => place,
            None => Place::create(&self.data).await.inspect_err(|_| self.with(|state| state.busy -= 1))?,
        };
        place.used = Instant::now();
        Ok(place)
    }

    /// Where a worker waits that has loaded what is in `root`, a folder of a layer.
    pub(super) fn take_waiting(&self, root: &Path) -> Option<Place> {
        self.with(|state| {
            state.layers.insert(root.to_owned(), Instant::now());
            let places = state.waiting.get_mut(root)?;
            let place = places.pop();
            if places.is_empty() {
                state.waiting.remove(root);
            }
            place
        })
    }

    /// Step 2. Without a worker the place is given up.
    pub(super) fn give_back(&self, project: &ProjectId, place: Place) {
        let fits = place.worker.as_ref().is_some_and(|worker| {
            worker.bytes <= u64::from(self.config.worker_mb) * MB
                && worker.jobs < self.config.builds
                && worker.born.elapsed() < Duration::from_secs(self.config.age_s.into())
        });
        let gone = self.with(|state| {
            state.busy -= 1;
            let mut gone = Vec::new();
            if fits && !state.closed {
                gone.extend(state.bound.insert(project.clone(), place));
            } else {
                gone.push(place);
            }
            gone.extend(state.beyond(u64::from(self.config.memory_mb) * MB));
            gone
        });
        end_all(gone);
    }

    /// Step 3, for a layer whose folder `root` was just used: in the background.
    pub(super) fn prepare(self: &Arc<Self>, root: &Path) {
        let wanted = self.with(|state| {
            let there = state.waiting.get(root).map_or(0, Vec::len);
            let room = state.bytes() + WAITING_BYTES <= u64::from(self.config.memory_mb) * MB;
            !state.closed && room && there < self.config.per_layer as usize && state.starting.insert(root.to_owned())
        });
        if wanted {
            let (pool, root) = (self.clone(), root.to_owned());
            tokio::spawn(async move {
                let turn = pool.turn.lock().await;
                let place = pool.start_one(&root).await;
                drop(turn);
                let gone = pool.with(|state| {
                    state.starting.remove(&root);
                    let Some(place) = place else { return Vec::new() };
                    if state.closed {
                        return vec![place];
                    }
                    state.waiting.entry(root).or_default().push(place);
                    state.beyond(u64::from(pool.config.memory_mb) * MB)
                });
                end_all(gone);
            });
        }
    }

    async fn start_one(&self, root: &Path) -> Option<Place> {
        let mut place = Place::create(&self.data).await.ok()?;
        let temp = super::workspace::vite_temp_of(root)?;
        let mut worker = match self.worker.start(&place.slot, vec![temp], false).await {
            Ok(worker) => worker,
            Err(error) => {
                tracing::debug!(%error, "no worker could be started in advance");
                return None;
            }
        };
        let warmed = self.worker.warm(&mut worker, &place.slot, root).await;
        place.worker = Some(worker);
        if !warmed {
            tracing::warn!(layer = %root.display(), "a worker could not load what builds of a layer need");
            end_all(vec![place]);
            return None;
        }
        Some(place)
    }

    /// Ends what waits for the project, and waits until it is gone.
    pub(super) async fn forget(&self, project: &ProjectId) {
        let place = self.with(|state| state.bound.remove(project));
        if let Some(mut place) = place {
            place.dismiss().await;
        }
    }

    /// Ends who has waited too long, and who has died.
    fn tend(&self) {
        let (idle, age) = (Duration::from_secs(self.config.idle_s.into()), Duration::from_secs(self.config.age_s.into()));
        let outlived = |place: &mut Place| {
            let dead = place.worker.as_mut().is_none_or(|worker| !worker.child.is_alive() || worker.born.elapsed() > age);
            dead || place.used.elapsed() > idle
        };
        let gone = self.with(|state| {
            let mut gone: Vec<Place> = state.bound.extract_if(|_, place| outlived(place)).map(|(_, place)| place).collect();
            for (root, places) in &mut state.waiting {
                let unused = state.layers.get(root).is_none_or(|used| used.elapsed() > LAYER_IN_USE);
                gone.extend(places.extract_if(.., |place| unused || outlived(place)));
            }
            state.waiting.retain(|_, places| !places.is_empty());
            state.layers.retain(|_, used| used.elapsed() <= LAYER_IN_USE);
            gone
        });
        end_all(gone);
    }

    fn close(&self) {
        let gone = self.with(|state| {
            state.closed = true;
            let waiting = std::mem::take(&mut state.waiting).into_values().flatten();
            std::mem::take(&mut state.bound).into_values().chain(waiting).collect()
        });
        end_all(gone);
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state: MutexGuard<'_, State> = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state);
        let waiting: usize = state.waiting.values().map(Vec::len).sum();
        for (name, count) in [("idle", count(waiting)), ("bound", count(state.bound.len())), ("busy", state.busy)] {
            self.metrics.workers.with_label_values(&[name]).set(count);
        }
        result
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl State {
    fn bytes(&self) -> u64 {
        let waiting = self.waiting.values().flatten();
        self.bound.values().chain(waiting).map(Place::bytes).sum()
    }

    /// Takes out who has to go so that the others take no more than `limit` bytes: the least recently used first.
    fn beyond(&mut self, limit: u64) -> Vec<Place> {
        let mut gone = Vec::new();
        while self.bytes() > limit {
            let bound = self.bound.iter().min_by_key(|(_, place)| place.used).map(|(project, place)| (place.used, project.clone()));
            let used = |root: &PathBuf| self.layers.get(root).copied();
            let waiting = self.waiting.keys().min_by_key(|root| used(root)).map(|root| (used(root), root.clone()));
            let place = match (bound, waiting) {
                (Some((bound, project)), Some((layer, _))) if layer.is_some_and(|layer| bound < layer) => self.bound.remove(&project),
                (_, Some((_, root))) => {
                    let place = self.waiting.get_mut(&root).and_then(Vec::pop);
                    self.waiting.retain(|_, places| !places.is_empty());
                    place
                }
                (Some((_, project)), None) => self.bound.remove(&project),
                (None, None) => break,
            };
            gone.extend(place);
        }
        gone
    }
}

/// Nobody waits for the end of workers that stand still.
fn end_all(places: Vec<Place>) {
    for mut place in places {
        tokio::spawn(async move { place.dismiss().await });
    }
}

async fn tend(pool: Weak<Pool>, door: Arc<Door>) {
    let mut ticks = interval(TEND_EVERY);
    loop {
        let closing = tokio::select! {
            _ = ticks.tick() => false,
            () = door.closing() => true,
        };
        let Some(pool) = pool.upgrade() else { return };
        if closing {
            return pool.close();
        }
        pool.tend();
    }
}
