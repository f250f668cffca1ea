/**
 * The client.
 *
 * Invariant: a call is sent again only where that is harmless. A sync does what follows from the source alone, so a second one
 * finds nothing to do; a rollback and a deletion end the same however often they come; a build is at worst made once more.
 */

import { ApiError, BuildFailed, ConnectionFailed, Invalid, NotFound, NotLive } from './errors.ts';
import { EventParser, type Event as StreamEvent } from './events.ts';
import { failure, NOT_OURS, pauseAfter } from './retry.ts';
import { mintToken, sign } from './signing.ts';
import type { Diagnostics, Env, EnvAnswer, HistoryBuild, LogLine, Page, Priority, Project, ProjectEvent, Scope, State, Status, SyncAnswer } from './types.ts';

/** A token that a call mints for itself is valid so long. */
const OWN_TOKEN_TTL_S = 60;
/** Longest `waitMs` of a sync or build: the daemon's limit. */
const WAIT_MAX_MS = 60_000;
/** What an answer may take beyond the `waitMs` that it was asked for. */
const ANSWER_MS = 30_000;
/** Between two looks at a status, from and to. */
const POLL_FIRST_MS = 100;
const POLL_MAX_MS = 2_000;
/** A build may be silent so long: longer than an install and a build together take at most, as configured by default. */
const SILENCE_MS = 450_000;

export interface ClientOptions {
  /** One of `auth.webhook_secrets`: enough for every call on one project. */
  secret?: string;
  /** One of `auth.tokens`: for `projects()` too. */
  token?: string;
  /** Tries of one call at most: 5. */
  tries?: number;
  /** No try of a call begins later than so long after the call, beyond its `waitMs`: 30,000. */
  deadlineMs?: number;
  /** In place of the global one. */
  fetch?: typeof fetch;
}

export interface SyncOptions {
  created?: Iterable<string>;
  updated?: Iterable<string>;
  deleted?: Iterable<string>;
  /** Answer when it is live or has failed, at most so long (0 to 60,000); a failed build is `status: 'error'`. */
  waitMs?: number;
  priority?: Priority;
}

interface Call {
  method: string;
  path: string;
  scope: Scope;
  project?: string;
  query?: Record<string, string | undefined>;
  body?: object;
  signable?: boolean;
  /** A signature of it is taken once. One second's signatures of the same bytes are the same, so each try gets a nonce. */
  once?: boolean;
  accept?: string;
  waitMs?: number;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const path = (call: string, project: string): string => `/${call}/${encodeURIComponent(project)}`;

function diagnosticsCall(project: string, { build, maxChars }: { build?: string; maxChars?: number }, accept: string): Call {
  const query = { build, max_chars: maxChars === undefined ? undefined : String(maxChars) };
  return { method: 'GET', path: path('diagnostics', project), scope: 'read', project, query, accept };
}

export class Client {
  readonly #url: string;
  readonly #secret: string | undefined;
  readonly #token: string | undefined;
  readonly #tries: number;
  readonly #deadlineMs: number;
  readonly #fetch: typeof fetch;

  constructor(url: string, options: ClientOptions) {
    if (options.secret === undefined && options.token === undefined) throw new TypeError('a token or a secret is needed');
    this.#url = url.replace(/\/+$/, '');
    this.#secret = options.secret;
    this.#token = options.token;
    this.#tries = options.tries ?? 5;
    this.#deadlineMs = options.deadlineMs ?? 30_000;
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
  }

  /** Takes over files that are in the source already, and builds. Without any file: whatever differs. */
  async sync(project: string, options: SyncOptions = {}): Promise<SyncAnswer> {
    const files = [...(options.created ?? []), ...(options.updated ?? [])].map((path): object => ({ path }));
    for (const path of options.deleted ?? []) files.push({ path, deleted: true });
    return this.#change('sync-project', project, files.length > 0 ? { changed_files: files } : {}, options);
  }

  /** Builds even if nothing changed; `clean` forgets the project's caches first. */
  async build(project: string, options: { clean?: boolean; waitMs?: number; priority?: Priority } = {}): Promise<SyncAnswer> {
    return this.#change('build', project, { clean: options.clean ?? false }, options);
  }

  /** How the project stands. */
  async status(project: string): Promise<Status> {
    return this.#json({ method: 'GET', path: path('status', project), scope: 'read', project });
  }

  /** A page of the history, newest first. */
  async builds(project: string, options: { limit?: number; cursor?: string } = {}): Promise<Page<HistoryBuild>> {
    const query = { limit: String(options.limit ?? 50), cursor: options.cursor };
    const call = { method: 'GET', path: path('builds', project), scope: 'read', project, query } as const;
    const page = await this.#json<{ builds: HistoryBuild[]; next_cursor: string | null }>(call);
    return { rows: page.builds, nextCursor: page.next_cursor };
  }

  /** A build's log so far, the newest build's without `build`. */
  async logs(project: string, options: { build?: string } = {}): Promise<string> {
    const call = { method: 'GET', path: path('logs', project), scope: 'read', project, query: { build: options.build }, accept: 'text/plain' } as const;
    return (await this.#perform(call)).body;
  }

  /**
   * A build's log, line by line as it comes, to its end. A proxy may cut a stream that is silent: then it is opened again, for the
   * same build, and the lines that were seen already are passed over.
   */
  async *followLogs(project: string, options: { build?: string } = {}): AsyncGenerator<LogLine, void, undefined> {
    let [build, seen] = [options.build, -1];
    const query = () => ({ follow: 'true', build });
    const opened = (headers: Headers) => void (build = headers.get('x-previewd-build') ?? build);
    for await (const event of this.#follow(path('logs', project), project, query, opened)) {
      if (event.name === 'end') return;
      if (event.name !== 'log' || Number(event.id) <= seen) continue;
      seen = Number(event.id);
      yield JSON.parse(event.data) as LogLine;
    }
  }

  /**
   * What happens to a project, as it happens, without an end: how it stands first, or what came since `lastEventId`. A stream that
   * breaks off, because the daemon restarts or a token ran out, is opened again and goes on where it was.
   */
  async *events(project: string, options: { lastEventId?: string } = {}): AsyncGenerator<ProjectEvent, void, undefined> {
    let last = options.lastEventId;
    for await (const event of this.#follow(path('events', project), project, () => ({ last_event_id: last }))) {
      last = event.id;
      yield { name: event.name as ProjectEvent['name'], id: event.id, data: JSON.parse(event.data) as Record<string, unknown> };
    }
  }

  /** What is wrong with a build, the newest that ended without `build`, in at most so many characters (8,000). */
  async diagnostics(project: string, options: { build?: string; maxChars?: number } = {}): Promise<Diagnostics> {
    return this.#json(diagnosticsCall(project, options, 'application/json'));
  }

  /** The same as text that is ready for a model's context. */
  async diagnosticsText(project: string, options: { build?: string; maxChars?: number } = {}): Promise<string> {
    return (await this.#perform(diagnosticsCall(project, options, 'text/plain'))).body;
  }

  /** Which variables a project's builds are given, and where its app is. */
  async env(project: string): Promise<Env> {
    return this.#json({ method: 'GET', path: path('env', project), scope: 'control', project });
  }

  /** Sets what a project's builds are given, in place of all that was set before; where that changes anything, it is built. */
  async setEnv(project: string, vars: Record<string, string>, options: { root?: string } = {}): Promise<EnvAnswer> {
    return this.#json({ method: 'PUT', path: path('env', project), scope: 'control', project, body: { vars, ...options } });
  }

  /** Takes all of it back. */
  async clearEnv(project: string): Promise<EnvAnswer> {
    return this.#json({ method: 'DELETE', path: path('env', project), scope: 'control', project });
  }

  /** Where a project's webhooks go, besides `notify.urls`. */
  async notifyUrls(project: string): Promise<string[]> {
    return (await this.#json<{ urls: string[] }>({ method: 'GET', path: path('notify', project), scope: 'control', project })).urls;
  }

  /** Sets where they go: hosts in `notify.hosts` only. None: nowhere. */
  async setNotifyUrls(project: string, urls: string[]): Promise<string[]> {
    return (await this.#json<{ urls: string[] }>({ method: 'PUT', path: path('notify', project), scope: 'control', project, body: { urls } })).urls;
  }

  /** The events of a stream, which is opened again where it breaks off: with `query` of that moment. */
  async *#follow(
    path: string,
    project: string,
    query: () => Record<string, string | undefined>,
    opens: (headers: Headers) => void = () => undefined,
  ): AsyncGenerator<StreamEvent, void, undefined> {
    const requestId = crypto.randomUUID();
    let lost = 0;
    while (true) {
      const call = { method: 'GET', path, scope: 'read', project, query: query(), accept: 'text/event-stream' } as const;
      const opened = await this.#send(call, requestId, SILENCE_MS).catch((error: unknown) => new ConnectionFailed(String(error), requestId));
      let error: ApiError | ConnectionFailed = new ConnectionFailed('the stream ended early', requestId);
      if (opened instanceof ConnectionFailed) {
        error = opened;
      } else if (!opened.ok) {
        error = failure(opened.status, opened.headers, await opened.text().catch(() => ''), requestId);
      } else {
        opens(opened.headers);
        const parser = new EventParser();
        const reader = opened.body?.getReader();
        try {
          for (let chunk = await read(reader); chunk; chunk = await read(reader)) {
            for (const event of parser.feed(chunk)) {
              lost = 0;
              yield event;
            }
          }
        } finally {
          // Also where the caller has heard enough.
          await reader?.cancel().catch(() => undefined);
        }
      }
      lost += 1;
      const pause = pauseAfter(error, lost);
      if (pause === undefined || lost >= this.#tries) throw error;
      await sleep(pause);
    }
  }

  /** Makes a retained release live again, at once. */
  async rollback(project: string, buildId: string): Promise<Status> {
    return this.#json({ method: 'POST', path: path('rollback', project), scope: 'control', project, body: { build_id: buildId } });
  }

  /** Forgets the project and all of it on the daemon's machine, never the source. Whether it was known. */
  async delete(project: string): Promise<boolean> {
    try {
      await this.#perform({ method: 'DELETE', path: path('projects', project), scope: 'control', project });
      return true;
    } catch (error) {
      // After a lost answer the second try finds it gone.
      if (error instanceof NotFound && error.code === 'unknown_project') return false;
      throw error;
    }
  }

  /** All projects, by name; needs a token. */
  async *projects(options: { state?: State; q?: string; pageSize?: number } = {}): AsyncGenerator<Project, void, undefined> {
    let cursor: string | undefined;
    do {
      const query = { limit: String(options.pageSize ?? 100), state: options.state, q: options.q, cursor };
      const call = { method: 'GET', path: '/projects', scope: 'read', query } as const;
      const page: { projects: Project[]; next_cursor: string | null } = await this.#json(call);
      yield* page.projects;
      cursor = page.next_cursor ?? undefined;
    } while (cursor !== undefined);
  }

  /** Waits until previews show `revision` or a newer one; throws `BuildFailed` where that will not come, `NotLive` where time is over. */
  async waitUntilLive(project: string, revision: number, options: { timeoutMs?: number } = {}): Promise<Status> {
    const timeoutMs = options.timeoutMs ?? 300_000;
    const over = Date.now() + timeoutMs;
    for (let pause = POLL_FIRST_MS; ; pause = Math.min(pause * 2, POLL_MAX_MS)) {
      const status = await this.status(project);
      if (status.live && status.live.revision >= revision) return status;
      if ((status.state === 'ready' || status.state === 'error') && status.revision >= revision) throw new BuildFailed(status);
      if (Date.now() + pause > over) throw new NotLive(`revision ${revision} of ${project} is not live after ${timeoutMs} ms: it is ${status.state}`);
      await sleep(pause * (0.5 + Math.random() / 2));
    }
  }

  /** A token that opens one project for `ttlS` seconds: `read` for a front end, `preview` for a private preview. */
  async token(project: string, scope: Scope = 'read', ttlS: number = 3600): Promise<string> {
    if (this.#secret === undefined) throw new TypeError('a token is signed with a webhook secret, and this client has none');
    return mintToken(this.#secret, project, scope, ttlS);
  }

  async #change(call: string, project: string, body: object, { waitMs = 0, priority = 'interactive' }: SyncOptions): Promise<SyncAnswer> {
    if (!(waitMs >= 0 && waitMs <= WAIT_MAX_MS)) throw new RangeError(`waitMs is 0 to ${WAIT_MAX_MS}`);
    const whole = { ...body, wait_ms: Math.floor(waitMs), priority };
    return this.#json({ method: 'POST', path: path(call, project), scope: 'control', project, body: whole, signable: true, once: call === 'build', waitMs });
  }

  async #json<Answer>(call: Call): Promise<Answer> {
    const reply = await this.#perform(call);
    try {
      return JSON.parse(reply.body) as Answer;
    } catch {
      throw new Invalid(reply.status, 'proxy', NOT_OURS, reply.headers.get('x-request-id') ?? '');
    }
  }

  /** Sends a call until it is answered, refused for good, or out of time. */
  async #perform(call: Call): Promise<{ status: number; headers: Headers; body: string }> {
    const requestId = crypto.randomUUID();
    const over = Date.now() + this.#deadlineMs + (call.waitMs ?? 0);
    for (let tried = 1; ; tried += 1) {
      const left = Math.max(over - Date.now(), 1);
      let error: ApiError | ConnectionFailed;
      try {
        const response = await this.#send(call, requestId, Math.min(left, ANSWER_MS + (call.waitMs ?? 0)));
        const { ok, status, headers } = response;
        const body = await response.text();
        if (ok) return { status, headers, body };
        error = failure(status, headers, body, requestId);
      } catch (cause) {
        if (!(cause instanceof Error) || cause instanceof CallerError) throw cause;
        error = new ConnectionFailed(`${cause.message}${cause.cause instanceof Error ? `: ${cause.cause.message}` : ''}`, requestId);
      }
      const pause = pauseAfter(error, tried);
      if (pause === undefined || tried >= this.#tries || Date.now() + pause > over) throw error;
      await sleep(pause);
    }
  }

  /** One try, with a signature or a token of this moment. */
  async #send(call: Call, requestId: string, timeoutMs: number): Promise<Response> {
    const signed = this.#secret !== undefined && call.signable === true;
    const query = new URLSearchParams(Object.entries(call.query ?? {}).filter((pair): pair is [string, string] => pair[1] !== undefined));
    if (signed && call.once) query.set('nonce', crypto.randomUUID());
    const target = call.path + (query.size > 0 ? `?${query}` : '');
    const body = call.body === undefined ? '' : JSON.stringify(call.body);
    const headers: Record<string, string> = { accept: call.accept ?? 'application/json', 'x-request-id': requestId };
    if (call.body !== undefined) headers['content-type'] = 'application/json';
    if (this.#secret !== undefined && call.signable) headers['x-previewd-signature'] = await sign(this.#secret, call.method, target, body);
    else if (this.#token !== undefined) headers['authorization'] = `Bearer ${this.#token}`;
    else if (this.#secret !== undefined && call.project !== undefined) {
      headers['authorization'] = `Bearer ${await mintToken(this.#secret, call.project, call.scope, OWN_TOKEN_TTL_S)}`;
    } else throw new CallerError('a call on all projects needs a token: a secret opens single projects');
    const init: RequestInit = { method: call.method, headers, redirect: 'manual', signal: AbortSignal.timeout(timeoutMs) };
    return this.#fetch(this.#url + target, body ? { ...init, body } : init);
  }
}

/** The call cannot be made at all. */
class CallerError extends TypeError {}

/** The next bytes; `undefined` at the end, and where the stream broke off. */
async function read(reader: ReadableStreamDefaultReader<Uint8Array> | undefined): Promise<Uint8Array | undefined> {
  return (await reader?.read().catch(() => undefined))?.value;
}
