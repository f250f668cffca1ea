/** What the daemon answers, as it answers it. A newer daemon may add keys; none goes away. */

export type Priority = 'interactive' | 'background';
export type Scope = 'read' | 'control' | 'preview';
export type State = 'queued' | 'building' | 'ready' | 'error' | 'empty';
export type Outcome = 'succeeded' | 'failed' | 'timed_out' | 'out_of_memory' | 'superseded' | 'cancelled';

/** Why a build failed, and where: for a person, or for the model that wrote the code. */
export interface Failure {
  kind: 'compile' | 'resolve' | 'install' | 'config' | 'timeout' | 'memory' | 'output' | 'internal';
  message: string;
  file?: string;
  line?: number;
  column?: number;
  frame?: string;
}

/** Where a build's time went, milliseconds. */
export interface Timings {
  sync: number;
  queued: number;
  install: number;
  build: number;
  publish: number;
  total: number;
}

export interface Build {
  build_id: string;
  revision: number;
  outcome: Outcome | null;
  mode: 'layered' | 'plain' | 'static' | null;
  mode_reason?: string;
  worker: 'warm' | 'cold';
  layer: 'hit' | 'miss' | 'none';
  lockfile?: string;
  timings_ms: Timings;
  failure?: Failure;
  warnings?: string[];
  spa?: boolean;
  started_at: string;
  finished_at?: string;
}

/** A build in the history; `url` is its permalink, where its release is still kept. */
export interface HistoryBuild extends Build {
  retained: boolean;
  url?: string;
}

/** What previews show now. */
export interface Live {
  build_id: string;
  revision: number;
  published_at: string;
  url: string;
}

/** How a project stands. */
export interface Status {
  project_id: string;
  state: State;
  revision: number;
  live: Live | null;
  last_build: Build | null;
  render: { build_id: string; verdict: 'rendered' | 'empty' | 'script_error' | 'asset_missing' | 'unknown'; detail?: string } | null;
  preview_url: string;
}

/** The answer to a sync or a build; `build` is there when `waitMs` was, and the build has ended. */
export interface SyncAnswer {
  status: 'no_changes' | 'building' | 'ready' | 'error';
  project_id: string;
  revision: number;
  changes: string[];
  deleted: string[];
  ignored: string[];
  preview_url: string;
  status_url: string;
  logs_url: string;
  build?: Build | null;
}

export interface Project {
  project_id: string;
  state: State;
  revision: number;
  live_revision: number;
  live_build_id: string | null;
  preview_url: string;
}

export interface LogLine {
  time: string;
  level: 'info' | 'warn' | 'error';
  message: string;
}

/** Something that happened to a project. */
export interface ProjectEvent {
  name: 'status' | 'log' | 'published' | 'render' | 'console';
  /** To come back with. */
  id: string;
  /** A `Status`, a log line with its `build_id` and `number`, what was published, how a release rendered, or what a page said. */
  data: Record<string, unknown>;
}

export type DiagnosticCode =
  | `build_${Failure['kind']}`
  | 'build_warning'
  | 'runtime_error'
  | 'unhandled_rejection'
  | 'console_error'
  | 'resource_failed'
  | 'request_failed'
  | 'render_empty'
  | 'render_script_error'
  | 'render_asset_missing';

/** Something that is wrong with a build, and where. */
export interface Diagnostic {
  code: DiagnosticCode;
  message: string;
  count: number;
  file?: string;
  line?: number;
  column?: number;
  frame?: string;
  stack?: string;
}

/** All that is known to be wrong with one build, the most telling first; `omitted` had no room. */
export interface Diagnostics {
  build_id: string;
  revision: number;
  outcome: Outcome | null;
  render: NonNullable<Status['render']>;
  entries: Diagnostic[];
  omitted: number;
}

/** What a project's builds are given besides its sources: names without values, and the app's folder where that was said. */
export interface Env {
  names: string[];
  root: string | null;
}

/** What was set, and the revision that is built for it. */
export interface EnvAnswer extends Env {
  status: 'building' | 'no_changes';
  revision: number;
}

/** Rows, and where the next page begins (`null`: this is the last). */
export interface Page<Row> {
  rows: Row[];
  nextCursor: string | null;
}
