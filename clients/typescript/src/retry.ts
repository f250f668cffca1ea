/** What an answer means, and whether and when a call is sent again. Pure. */

import { ApiError, ConnectionFailed, Invalid, NotFound, Unauthorized, Unavailable } from './errors.ts';

/** The pause before the second try is up to this, doubled with each further one, up to the other. */
const BACKOFF_FIRST_MS = 250;
const BACKOFF_MAX_MS = 8_000;
const RETRIED: readonly number[] = [429, 502, 503, 504];
export const NOT_OURS = "the answer is not previewd's: what is at this address, or in front of it?";

/**
 * How long to wait before the next try; `undefined`: do not try again. Exponential with full jitter. `Retry-After` is a floor
 * under it, so that callers who were sent away together come back apart.
 */
export function pauseAfter(error: ApiError | ConnectionFailed, tried: number, random: () => number = Math.random): number | undefined {
  const backoff = random() * Math.min(BACKOFF_FIRST_MS * 2 ** (tried - 1), BACKOFF_MAX_MS);
  if (error instanceof ConnectionFailed) return backoff;
  // A 502 of the daemon's own says that the source refuses it or is set up wrongly: minutes would not help.
  if (!RETRIED.includes(error.status) || (error.status === 502 && error.code !== 'proxy')) return undefined;
  return (error.retryAfterMs ?? 0) + backoff;
}

/** The error that an answer is. */
export function failure(status: number, headers: Headers, body: string, requestId: string): ApiError {
  let [code, detail] = ['proxy', NOT_OURS];
  try {
    const problem: unknown = JSON.parse(body);
    if (typeof problem === 'object' && problem !== null && 'code' in problem && 'detail' in problem) {
      [code, detail] = [String(problem.code), String(problem.detail)];
    }
  } catch {
    // Not JSON: not the daemon's.
  }
  const kind = status === 429 || status >= 500 ? Unavailable : status === 401 ? Unauthorized : status === 404 ? NotFound : Invalid;
  return new kind(status, code, detail, headers.get('x-request-id') ?? requestId, retryAfter(headers.get('retry-after')));
}

/** `Retry-After` in milliseconds: a number of seconds, or a date. */
export function retryAfter(header: string | null, now: number = Date.now()): number | undefined {
  const value = header?.trim() ?? '';
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  // Dates have a name of a day in front; what JavaScript would take for one besides is none.
  const date = /^[A-Z][a-z]{2}, /.test(value) ? Date.parse(value) : NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
