/**
 * The client against a running daemon: tests/it/clients.rs starts it and says where it is.
 * `PREVIEWD_URL`, `PREVIEWD_TOKEN`, `PREVIEWD_SECRET`; `PREVIEWD_SOURCE`: the directory that is its source.
 */

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { test } from 'node:test';

import { BuildFailed, Client, NotFound, Unauthorized, type Status, type SyncAnswer } from '../src/index.ts';

const environment = (name: string): string => process.env[`PREVIEWD_${name}`] ?? assert.fail(`PREVIEWD_${name} is not set`);
const [url, token, secret, source] = [environment('URL'), environment('TOKEN'), environment('SECRET'), environment('SOURCE')];
const client = new Client(url, { secret });

const file = (project: string, name: string): string => path.join(source, project, 'frontend', name);

/** Writes a file of the source as a chat backend does: before anybody is told of it. */
function put(project: string, name: string, text: string): void {
  fs.mkdirSync(path.dirname(file(project, name)), { recursive: true });
  fs.writeFileSync(file(project, name), text);
}

function first(project: string): Promise<SyncAnswer> {
  put(project, 'index.html', '<h1>first</h1>');
  return client.sync(project, { created: ['index.html'], waitMs: 30_000 });
}

/** What a browser gets of the preview. Names below `localhost` are this machine, which not every resolver knows; `fetch` sets no Host. */
function shown(status: Status, page = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { host: new URL(status.preview_url).host, accept: 'text/html' };
    http.get(`${url}/${page}`, { headers }, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += chunk)).on('end', () => resolve(text));
    }).on('error', reject);
  });
}

test('a turn of the chat', async () => {
  const project = 'typescript-turn';
  const one = await first(project);
  assert.deepEqual([one.status, one.revision, one.changes], ['ready', 1, ['index.html']]);
  put(project, 'about.html', '<h1>about</h1>');
  put(project, 'index.html', '<h1>second</h1>');
  const turn = await client.sync(project, { created: ['about.html'], updated: ['index.html'] });
  assert.deepEqual([turn.status, turn.revision], ['building', 2]);
  const status = await client.waitUntilLive(project, turn.revision, { timeoutMs: 30_000 });
  assert.match(await shown(status), /second/);
  assert.match(await shown(status, 'about.html'), /about/);
  fs.unlinkSync(file(project, 'about.html'));
  const gone = await client.sync(project, { deleted: ['about.html'], waitMs: 30_000 });
  assert.deepEqual([gone.status, gone.deleted], ['ready', ['about.html']]);
  const again = await client.sync(project, { deleted: ['about.html'], updated: ['index.html'] });
  assert.deepEqual([again.status, again.revision], ['no_changes', gone.revision], 'repeated, it does nothing');
});

test('a failed build is data', async () => {
  const project = 'typescript-failure';
  await first(project);
  fs.unlinkSync(file(project, 'index.html'));
  put(project, 'other.txt', 'no page');
  const failed = await client.sync(project, { created: ['other.txt'], deleted: ['index.html'], waitMs: 30_000 });
  assert.deepEqual([failed.status, failed.build?.outcome, failed.build?.failure?.kind], ['error', 'failed', 'config']);
  const error = await client.waitUntilLive(project, failed.revision).catch((error: unknown) => error);
  assert.ok(error instanceof BuildFailed);
  assert.deepEqual(error.failure, failed.build?.failure);
  assert.equal((await client.status(project)).live?.revision, 1, 'the last good one stays');
});

test('history, rollback and logs', async () => {
  const project = 'typescript-history';
  const old = (await first(project)).build?.build_id ?? assert.fail();
  put(project, 'index.html', '<h1>second</h1>');
  await client.sync(project, { updated: ['index.html'], waitMs: 30_000 });
  const newest = await client.builds(project, { limit: 1 });
  assert.deepEqual([newest.rows[0]?.revision, newest.rows[0]?.retained], [2, true]);
  const older = await client.builds(project, { limit: 1, cursor: newest.nextCursor ?? assert.fail() });
  assert.equal(older.rows[0]?.build_id, old);
  const status = await client.rollback(project, old);
  assert.equal(status.live?.build_id, old);
  assert.match(await shown(status), /first/);
  const text = await client.logs(project, { build: old });
  const lines = [];
  for await (const line of client.followLogs(project, { build: old })) lines.push(line.message);
  assert.ok(lines.length > 0 && lines.length === text.trimEnd().split('\n').length);
  assert.ok(text.includes(lines.at(-1) ?? assert.fail()));
  const built = await client.build(project, { clean: true, waitMs: 30_000 });
  assert.deepEqual([built.status, built.revision], ['ready', 3]);
  for (const revision of [4, 5, 6]) assert.equal((await client.build(project)).revision, revision, 'each in its own right');
});

test('events and diagnostics', async () => {
  const project = 'typescript-events';
  await first(project);
  const events = client.events(project);
  const status = (await events.next()).value ?? assert.fail();
  assert.deepEqual([status.name, status.data['revision']], ['status', 1]);
  fs.unlinkSync(file(project, 'index.html'));
  put(project, 'other.txt', 'no page');
  const failed = await client.sync(project, { created: ['other.txt'], deleted: ['index.html'], waitMs: 30_000 });
  const next = (await events.next()).value ?? assert.fail();
  assert.equal(next.name, 'status');
  await events.return();
  const again = client.events(project, { lastEventId: status.id });
  assert.equal((await again.next()).value?.id, next.id, 'it goes on where it was');
  await again.return();
  const found = await client.diagnostics(project);
  assert.deepEqual([found.build_id, found.entries[0]?.code], [failed.build?.build_id, 'build_config']);
  assert.match(await client.diagnosticsText(project, { maxChars: 1000 }), /\[build_config\]/);
});

test('settings', async () => {
  const project = 'typescript-settings';
  const early = await client.setEnv(project, { VITE_A: 'hidden' }, { root: '.' });
  assert.deepEqual([early.status, early.names, early.root], ['no_changes', ['VITE_A'], '']);
  await first(project);
  assert.deepEqual(await client.env(project), { names: ['VITE_A'], root: '' });
  const cleared = await client.clearEnv(project);
  assert.deepEqual([cleared.status, cleared.revision, cleared.names], ['building', 2, []]);
  assert.deepEqual(await client.setNotifyUrls(project, ['https://chat.example/hook']), ['https://chat.example/hook']);
  assert.deepEqual(await client.notifyUrls(project), ['https://chat.example/hook']);
  await assert.rejects(client.setNotifyUrls(project, ['https://elsewhere.example/']), /notify.hosts/);
  assert.deepEqual(await client.setNotifyUrls(project, []), []);
});

test('credentials', async () => {
  const project = 'typescript-credentials';
  await first(project);
  const browser = await fetch(`${url}/status/${project}?token=${await client.token(project, 'read', 60)}`, { headers: { origin: 'https://chat.example' } });
  assert.deepEqual([browser.status, browser.headers.get('access-control-allow-origin')], [200, '*']);
  const elsewhere = await fetch(`${url}/status/other?token=${await client.token(project)}`);
  assert.deepEqual([elsewhere.status, ((await elsewhere.json()) as { code: string }).code], [401, 'unauthorized']);
  for (const credentials of [{ secret: 'a-secret-that-nobody-has' }, { token: 'a-token-that-nobody-has' }]) {
    const error = await new Client(url, credentials).sync(project, { updated: ['index.html'] }).catch((error: unknown) => error);
    assert.ok(error instanceof Unauthorized);
    assert.deepEqual([error.status, error.code], [401, 'unauthorized']);
  }
});

test('lists and deletion', async () => {
  const project = 'typescript-lists';
  await first(project);
  const operator = new Client(url, { token });
  const names = async (options: { q?: string; pageSize?: number }) => {
    const names = [];
    for await (const row of operator.projects(options)) names.push(row.project_id);
    return names;
  };
  assert.deepEqual(await names({ q: project }), [project]);
  assert.ok((await names({ pageSize: 1 })).length > 2);
  assert.equal(await client.delete(project), true);
  assert.equal(await client.delete(project), false);
  const error = await client.status(project).catch((error: unknown) => error);
  assert.ok(error instanceof NotFound && error.code === 'unknown_project' && error.requestId !== '');
});
