/** What the client does when the daemon is busy, away, or not what answers: against a server that fails as it is told. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';

import { ApiError, Client, ConnectionFailed, Invalid, NotFound, Unauthorized, Unavailable, type ClientOptions } from '../src/index.ts';

const SECRET = 'a-webhook-secret-of-ours';

/** `status` 0: the connection is closed without one. */
interface Answer {
  status?: number;
  body?: string;
  headers?: Record<string, string>;
}

interface Seen {
  url: string;
  headers: http.IncomingHttpHeaders;
  body: string;
}

function problem(status: number, code: string, headers: Record<string, string> = {}): Answer {
  return { status, body: JSON.stringify({ type: `urn:previewd:${code}`, title: '', status, detail: 'why', code }), headers };
}

/** Gives the answers one after another, the last one again and again; keeps what it was asked. */
async function against(answers: Answer[], act: (client: Client, seen: Seen[]) => Promise<void>, options: ClientOptions = {}): Promise<void> {
  const seen: Seen[] = [];
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    seen.push({ url: request.url ?? '', headers: request.headers, body });
    const answer = (answers.length > 1 ? answers.shift() : answers[0]) ?? {};
    if (answer.status === 0) return void request.socket.destroy();
    response.writeHead(answer.status ?? 200, answer.headers).end(answer.body ?? '{}');
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  try {
    await act(new Client(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`, { secret: SECRET, ...options }), seen);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test('a busy daemon is asked again, and each try is signed anew', async () => {
  const busy = [problem(503, 'source_unavailable', { 'retry-after': '1' }), problem(429, 'queue_full'), { status: 502, body: '<html>' }, { status: 0 }, {}];
  await against(busy, async (client, seen) => {
    const begun = Date.now();
    await client.sync('demo', { updated: ['a.ts'] });
    assert.ok(Date.now() - begun >= 1000, 'Retry-After');
    assert.equal(seen.length, 5);
    assert.equal(new Set(seen.map(({ headers }) => headers['x-request-id'])).size, 1, 'one call, one id');
    assert.equal(new Set(seen.map(({ body }) => body)).size, 1);
    assert.ok(new Set(seen.map(({ headers }) => headers['x-previewd-signature'])).size > 1, 'a second has passed');
  });
});

test('no two builds have one signature', async () => {
  await against([{ status: 0 }, {}], async (client, seen) => {
    for (let n = 0; n < 3; n += 1) await client.build('demo');
    assert.equal(new Set(seen.map(({ headers }) => headers['x-previewd-signature'])).size, 4);
  });
});

test('what is refused is not sent again', async () => {
  const kinds: [number, string, typeof ApiError][] = [
    [400, 'invalid_path', Invalid],
    [401, 'unauthorized', Unauthorized],
    [404, 'unknown_project', NotFound],
    [409, 'label_taken', Invalid],
    [413, 'body_too_large', Invalid],
    [500, 'internal', Unavailable],
    [502, 'source_denied', Unavailable],
    [507, 'disk', Unavailable],
  ];
  for (const [status, code, kind] of kinds) {
    await against([problem(status, code, { 'x-request-id': 'the-daemons' })], async (client, seen) => {
      const error = await client.build('demo').catch((error: unknown) => error);
      assert.ok(error instanceof kind && error.name === kind.name, code);
      assert.deepEqual([error.status, error.code, error.detail, error.requestId, seen.length], [status, code, 'why', 'the-daemons', 1]);
    });
  }
});

test('tries and time are limited', async () => {
  await against([{ status: 0 }], async (client, seen) => {
    await assert.rejects(client.status('demo'), ConnectionFailed);
    assert.equal(seen.length, 2);
  }, { tries: 2 });
  await against([problem(503, 'draining', { 'retry-after': '60' })], async (client, seen) => {
    const error = await client.status('demo').catch((error: unknown) => error);
    assert.ok(error instanceof Unavailable);
    assert.deepEqual([seen.length, error.retryAfterMs], [1, 60_000], 'no use to wait for what comes too late');
  }, { deadlineMs: 10_000 });
});

test('what is not previewd is told', async () => {
  for (const answer of [{ body: '<html>' }, { status: 302, headers: { location: '/login' } }, { status: 404, body: '<html>' }]) {
    await against([answer], async (client) => {
      await assert.rejects(client.status('demo'), (error: unknown) => error instanceof Invalid && error.code === 'proxy');
    });
  }
});

test('a deletion whose answer was lost ends well', async () => {
  await against([{ status: 0 }, problem(404, 'unknown_project')], async (client, seen) => {
    assert.equal(await client.delete('demo'), false);
    assert.equal(seen.length, 2);
  });
});

test('a log that is cut is taken up where it was', async () => {
  const events = (...numbers: number[]) => numbers.map((n) => `id: ${n}\nevent: log\ndata: ${JSON.stringify({ time: '', level: 'info', message: String(n) })}\n\n`).join('');
  const headers = { 'x-previewd-build': '01B' };
  const answers = [{ body: `${events(0, 1)}id: 2\nevent: lo`, headers }, problem(503, 'draining'), { body: `${events(0, 1, 2)}event: end\ndata: {}\n\n`, headers }];
  await against(answers, async (client, seen) => {
    const lines = [];
    for await (const line of client.followLogs('demo')) lines.push(line.message);
    assert.deepEqual(lines, ['0', '1', '2']);
    assert.deepEqual(seen.map(({ url }) => url), ['/logs/demo?follow=true', ...Array(2).fill('/logs/demo?follow=true&build=01B')]);
  });
  await against([problem(404, 'unknown_project')], async (client) => {
    await assert.rejects(client.followLogs('demo').next(), NotFound);
  });
});

test('no use without credentials', async () => {
  assert.throws(() => new Client('http://127.0.0.1:1', {}), TypeError);
  await assert.rejects(new Client('http://127.0.0.1:1', { secret: SECRET }).projects().next(), TypeError);
  await assert.rejects(new Client('http://127.0.0.1:1', { secret: SECRET }).sync('demo', { waitMs: 60_001 }), RangeError);
});
