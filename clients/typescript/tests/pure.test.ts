/** Signatures, tokens, back-off and event streams, without a daemon. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EventParser } from '../src/events.ts';
import { ApiError, ConnectionFailed, mintToken, previewMessage, sign, SignatureError, verifyWebhook, type Webhook } from '../src/index.ts';
import { pauseAfter, retryAfter } from '../src/retry.ts';

const SECRET = 'a-webhook-secret-of-ours';

test('the signature is the documented one', async () => {
  // printf '1.POST./sync-project/demo.{}' | openssl dgst -sha256 -hmac a-webhook-secret-of-ours
  const documented = 'cd2cafaba98776a110175a7d44cf2666f7bd56600a546ce2ab482c752979d403';
  assert.equal(await sign(SECRET, 'POST', '/sync-project/demo', '{}', 1.9), `t=1,v1=${documented}`);
});

test('webhooks are verified', async () => {
  const body = '{"project_id":"demo"}';
  const signature = await sign(SECRET, 'POST', '/hook?x=1', body, 1000);
  const good: Webhook = { headers: { 'X-Previewd-Signature': signature }, body, path: '/hook?x=1', now: 1000 };
  for (const same of [good, { ...good, now: 700 }, { ...good, now: 1300 }, { ...good, body: new TextEncoder().encode(body), headers: new Headers({ 'x-previewd-signature': signature }) }]) {
    assert.equal((await verifyWebhook(same, ['another', SECRET])).project_id, 'demo');
  }
  const bent: Webhook[] = [
    { ...good, body: `${body} ` },
    { ...good, path: '/hook' },
    { ...good, method: 'PUT' },
    { ...good, now: 699 },
    { ...good, now: 1301 },
    ...[{}, ...['', 't=1000', 't=,v1=', 't=1e3,v1=00', 't=1000,v1=ü', `${signature}0`].map((value) => ({ 'x-previewd-signature': value }))].map((headers) => ({ ...good, headers })),
  ];
  for (const webhook of bent) await assert.rejects(verifyWebhook(webhook, SECRET), SignatureError, JSON.stringify(webhook));
  await assert.rejects(verifyWebhook(good, 'another'), SignatureError);
  await assert.rejects(verifyWebhook(good, []), SignatureError);
});

test('tokens say what they open', async () => {
  const [header = '', claims = ''] = (await mintToken(SECRET, 'demo', 'preview', 60, 1000.5)).split('.');
  assert.deepEqual(JSON.parse(Buffer.from(header, 'base64url').toString()), { alg: 'HS256', typ: 'JWT' });
  assert.deepEqual(JSON.parse(Buffer.from(claims, 'base64url').toString()), { sub: 'demo', scope: 'preview', exp: 1060 });
  await assert.rejects(mintToken(SECRET, 'demo', 'read', 0), RangeError);
});

test('pauses double up to a limit, above what the daemon asks for', () => {
  const most = () => 1;
  const pause = (status: number, tried = 1, after?: number, code = 'proxy') => pauseAfter(new ApiError(status, code, '', '', after), tried, most);
  assert.deepEqual([1, 2, 3, 9].map((tried) => pause(503, tried)), [250, 500, 1000, 8000]);
  assert.equal(pauseAfter(new ConnectionFailed('', ''), 2, () => 0), 0);
  assert.deepEqual(Array.from({ length: 300 }, (_, n) => n + 300).filter((status) => pause(status) !== undefined), [429, 502, 503, 504]);
  assert.equal(pause(502, 1, undefined, 'source_denied'), undefined);
  assert.equal(pause(429, 1, 3000), 3250);
  assert.equal(retryAfter(' 7 '), 7000);
  assert.equal(retryAfter(new Date(1_005_000).toUTCString(), 1_000_000), 5000);
  assert.equal(retryAfter(new Date(1000).toUTCString(), 1_000_000), 0);
  for (const nonsense of [null, '', 'soon', '-1', '1.5']) assert.equal(retryAfter(nonsense), undefined);
});

test('a message is taken from the frame of the preview alone', () => {
  const frame = {};
  const data = { previewd: 1, type: 'render', build: '01J', page: '/', verdict: 'empty' };
  const told = previewMessage({ data, source: frame }, frame);
  assert.equal(told?.type === 'render' && told.verdict, 'empty');
  assert.equal(previewMessage({ data, source: {} }, frame), undefined);
  assert.equal(previewMessage({ data, source: null }, null), undefined);
  for (const other of [null, 'previewd', {}, { previewd: 2, type: 'render' }, { previewd: 1 }, { type: 'render' }]) {
    assert.equal(previewMessage({ data: other, source: frame }, frame), undefined);
  }
});

test('events are put together however they are cut', () => {
  const stream = Buffer.from(': hello\nid: 3\nevent: log\ndata: {"a":"ü\u2028"}\ndata: x\n\nretry: 1\n\ndata:end\r\n\r\n');
  const expected = [{ name: 'log', id: '3', data: '{"a":"ü\u2028"}\nx' }, { name: 'message', id: '3', data: 'end' }];
  for (const size of [1, 2, 7, stream.length]) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < stream.length; at += size) events.push(...parser.feed(stream.subarray(at, at + size)));
    assert.deepEqual(events, expected, String(size));
  }
});
