/** What a preview tells the page around its iframe, by `postMessage`. `previewd` is the version of the format: a new one may only add. */

import type { Failure } from './types.ts';

interface Envelope {
  previewd: 1;
  /** Of the page that tells it. */
  build: string;
  /** Its path and query. */
  page: string;
}

/** A place in the published files, as the browser gives it. The daemon's `console` events have the place in the sources. */
interface Place {
  url?: string;
  line?: number;
  column?: number;
}

export type Verdict = 'rendered' | 'empty' | 'script_error' | 'asset_missing';

/** The preview client runs; what the app says comes after it. */
export type ReadyMessage = Envelope & { type: 'ready' };
/** The app called `console.…`; `text` is all arguments as a console shows them, at most 4,000 characters. */
export type ConsoleMessage = Envelope & { type: 'console'; level: 'debug' | 'log' | 'info' | 'warn' | 'error'; text: string };
/** An error that nothing caught, or a promise that was rejected. */
export type ErrorMessage = Envelope & Place & { type: 'error'; source: 'error' | 'rejection'; text: string; stack?: string };
/** An image, script or stylesheet that could not be loaded, or that the page's own policy blocked. */
export type ResourceMessage = Envelope & { type: 'resource'; text: string; url: string };
/** A `fetch` or `XMLHttpRequest` that failed (without `status`), or was answered with 400 or more. */
export type RequestMessage = Envelope & { type: 'request'; text: string; url: string; status?: number };
/** So many were not told: more than 100 within a second. */
export type DroppedMessage = Envelope & { type: 'dropped'; count: number };
/** Whether the page shows anything; told again where that changes. `detail` is the first error. */
export type RenderMessage = Envelope & { type: 'render'; verdict: Verdict; detail?: string };
/** Another build is live: the page is about to become one of `to`. */
export type PublishedMessage = Envelope & { type: 'published'; to: string };
/** The newest build failed; the page still shows the last good one, and the failure over it. */
export type FailedMessage = Envelope & { type: 'failed'; failure: Failure & { build_id: string; revision: number } };
/** The newest build did not fail; told also where none had. */
export type FixedMessage = Envelope & { type: 'fixed' };

export type PreviewMessage =
  | ReadyMessage
  | ConsoleMessage
  | ErrorMessage
  | ResourceMessage
  | RequestMessage
  | DroppedMessage
  | RenderMessage
  | PublishedMessage
  | FailedMessage
  | FixedMessage;

/**
 * The message in an event of `window`, where it is one of the preview in `frame` (an iframe's `contentWindow`); else `undefined`. Of which frame it is
 * decides, not of which origin: a sandboxed frame may have none. All in it is what code that nobody reviewed says: show it as text.
 */
export function previewMessage(event: { data: unknown; source: unknown }, frame: unknown): PreviewMessage | undefined {
  const { data } = event;
  const isOurs = typeof data === 'object' && data !== null && 'previewd' in data && data.previewd === 1 && 'type' in data && typeof data.type === 'string';
  return frame && event.source === frame && isOurs ? (data as PreviewMessage) : undefined;
}
