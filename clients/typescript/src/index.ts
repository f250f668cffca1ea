/**
 * Calls previewd from a chat backend.
 *
 *     const client = new Client('http://127.0.0.1:8080', { secret: '…' });
 *     const answer = await client.sync('demo', { created: ['src/New.tsx'], updated: ['src/App.tsx'], waitMs: 30_000 });
 *
 * Nothing but `fetch` and WebCrypto is used, so it runs in Node, Deno, Bun and on edges.
 */

export { Client, type ClientOptions, type SyncOptions } from './client.ts';
export { ApiError, BuildFailed, ConnectionFailed, Invalid, NotFound, NotLive, PreviewdError, SignatureError, Unauthorized, Unavailable } from './errors.ts';
export { mintToken, sign, verifyWebhook, type Webhook } from './signing.ts';
export { previewMessage } from './messages.ts';
export type * from './messages.ts';
export type * from './types.ts';
