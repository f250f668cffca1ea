/** Signatures and project tokens: HMAC-SHA256 with a webhook secret, by WebCrypto. */

import { SignatureError } from './errors.ts';
import type { Scope, Status } from './types.ts';

/** How far apart the clocks of sender and receiver may be, seconds. */
const TOLERANCE_S = 300;
const text = new TextEncoder();

type Bytes = Uint8Array<ArrayBuffer>;

function key(secret: string, use: 'sign' | 'verify'): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', text.encode(secret), { name: 'HMAC', hash: 'SHA-256' }, false, [use]);
}

function signedBytes(time: string, method: string, pathAndQuery: string, body: Bytes): Bytes {
  const head = text.encode(`${time}.${method}.${pathAndQuery}.`);
  const whole = new Uint8Array(head.length + body.length);
  whole.set(head);
  whole.set(body, head.length);
  return whole;
}

/** The value of `X-Previewd-Signature`. `now` in seconds. */
export async function sign(secret: string, method: string, pathAndQuery: string, body: string, now: number = Date.now() / 1000): Promise<string> {
  const time = String(Math.floor(now));
  const mac = await crypto.subtle.sign('HMAC', await key(secret, 'sign'), signedBytes(time, method, pathAndQuery, text.encode(body)));
  const hex = Array.from(new Uint8Array(mac), (byte) => byte.toString(16).padStart(2, '0')).join('');
  return `t=${time},v1=${hex}`;
}

/** A webhook as it came. */
export interface Webhook {
  headers: Headers | Record<string, string | string[] | undefined>;
  /** As it came, before any parsing. */
  body: string | Uint8Array;
  /** Path and query that it came to, as on the request line. */
  path: string;
  /** `POST` without it. */
  method?: string;
  /** Seconds; the time of now without it. */
  now?: number;
}

/**
 * Checks a webhook that the daemon sent, and gives the status object in it; else throws `SignatureError`. Several secrets may be
 * valid at once, so that they can rotate. The same webhook may come twice: act on its contents, which say how things stand.
 */
export async function verifyWebhook(webhook: Webhook, secrets: string | readonly string[]): Promise<Status> {
  const entries = webhook.headers instanceof Headers ? [...webhook.headers] : Object.entries(webhook.headers);
  const header = String(entries.find(([name]) => name.toLowerCase() === 'x-previewd-signature')?.[1] ?? '');
  const part = (name: string) => header.split(',').map((part) => part.trim()).find((part) => part.startsWith(name))?.slice(name.length) ?? '';
  const [time, given] = [part('t='), part('v1=')];
  if (!/^\d{1,12}$/.test(time)) throw new SignatureError('the signature has no time');
  if (Math.abs((webhook.now ?? Date.now() / 1000) - Number(time)) > TOLERANCE_S) throw new SignatureError('the signature is too old, or from the future');
  if (!/^[0-9a-f]{64}$/i.test(given)) throw new SignatureError('the signature does not fit');
  const mac = Uint8Array.from(given.match(/../g) ?? [], (hex) => parseInt(hex, 16));
  const body: Bytes = typeof webhook.body === 'string' ? text.encode(webhook.body) : new Uint8Array(webhook.body);
  const signed = signedBytes(time, webhook.method ?? 'POST', webhook.path, body);
  // Every secret is tried, each in constant time: WebCrypto's own.
  const tries = [secrets].flat().map(async (secret) => crypto.subtle.verify('HMAC', await key(secret, 'verify'), mac, signed));
  if (!(await Promise.all(tries)).includes(true)) throw new SignatureError('the signature does not fit');
  return JSON.parse(new TextDecoder().decode(body)) as Status;
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** A token (JWT, HS256) that opens one project for `ttlS` seconds: `read` for a front end, `preview` for a private preview. */
export async function mintToken(secret: string, project: string, scope: Scope = 'read', ttlS: number = 3600, now: number = Date.now() / 1000): Promise<string> {
  if (!(ttlS > 0)) throw new RangeError('ttlS is more than 0');
  const parts = [{ alg: 'HS256', typ: 'JWT' }, { sub: project, scope, exp: Math.floor(now + ttlS) }];
  const signed = parts.map((part) => base64url(text.encode(JSON.stringify(part)))).join('.');
  const mac = await crypto.subtle.sign('HMAC', await key(secret, 'sign'), text.encode(signed));
  return `${signed}.${base64url(new Uint8Array(mac))}`;
}
