/** What can go wrong. A failed build is none of it, except where a call promises that a revision is live. */

import type { Failure, Status } from './types.ts';

/** Everything that this package throws on purpose. */
export class PreviewdError extends Error {
  constructor(message: string) {
    super(message);
    this.name = new.target.name;
  }
}

/**
 * The daemon, or a proxy in front of it, refused a call. `code` is stable (docs/INTEGRATING.md lists all); `proxy` where the
 * answer was not the daemon's.
 */
export class ApiError extends PreviewdError {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly requestId: string;
  readonly retryAfterMs: number | undefined;

  constructor(status: number, code: string, detail: string, requestId: string, retryAfterMs?: number) {
    super(`${detail} (${code}, status ${status}, request ${requestId})`);
    this.status = status;
    this.code = code;
    this.detail = detail;
    this.requestId = requestId;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The request is not one that can be done (4xx): sending it again changes nothing. */
export class Invalid extends ApiError {}
/** 401: token, signature or project token; also a clock that is more than 300 s off. */
export class Unauthorized extends Invalid {}
/** 404: no such project, or no such build. */
export class NotFound extends Invalid {}
/** 429 or 5xx, still after all tries: the same call may succeed after `retryAfterMs`, or when an operator has acted. */
export class Unavailable extends ApiError {}

/** No answer, after all tries. The call may have been done all the same. */
export class ConnectionFailed extends PreviewdError {
  readonly status = 0 as const;
  readonly code = 'connection' as const;
  readonly detail: string;
  readonly requestId: string;

  constructor(detail: string, requestId: string) {
    super(`${detail} (request ${requestId})`);
    this.detail = detail;
    this.requestId = requestId;
  }
}

/** A revision was awaited, and it will not go live: its build failed, or a rollback came in between. */
export class BuildFailed extends PreviewdError {
  readonly status: Status;
  readonly failure: Failure | undefined;

  constructor(status: Status) {
    const failure = status.last_build?.failure;
    const told = failure ? `${failure.kind}: ${failure.message}` : `the project is ${status.state}`;
    super(`revision ${status.revision} of ${status.project_id} did not go live: ${told}`);
    this.status = status;
    this.failure = failure;
  }
}

/** A revision was awaited, and time was over first. */
export class NotLive extends PreviewdError {}
/** A webhook is not from who it should be, not whole, or too old. */
export class SignatureError extends PreviewdError {}
