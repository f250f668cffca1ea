/** `<previewd-frame>`: see previewd-frame.js. The shapes of statuses, failures and messages are those of the API and of docs/INTEGRATING.md. */

export type PreviewdState = 'loading' | 'empty' | 'building' | 'ready' | 'error' | 'unreachable' | 'refused';

export interface PreviewdFailure {
  kind: string;
  message: string;
  file?: string;
  /** From 1. */
  line?: number;
  /** From 1. */
  column?: number;
  frame?: string;
}

export interface PreviewdStatus {
  project_id: string;
  state: 'queued' | 'building' | 'ready' | 'error' | 'empty';
  revision: number;
  live: { build_id: string; revision: number; published_at: string; url: string } | null;
  last_build: ({ build_id: string; revision: number; outcome?: string; failure?: PreviewdFailure } & Record<string, unknown>) | null;
  running: { build_id: string; revision: number } | null;
  render: { build_id: string; verdict: string; detail?: string } | null;
  preview_url: string;
}

export interface PreviewdFrameEvents {
  'previewd-status': CustomEvent<PreviewdStatus>;
  /** Another release is live; with `reason` `current`, it was so already when the element connected. */
  'previewd-published': CustomEvent<{ build_id: string; revision: number; reason: 'build' | 'rollback' | 'current'; styles_only: boolean }>;
  /** Once for each build that failed. */
  'previewd-failed': CustomEvent<PreviewdFailure & { build_id: string; revision: number }>;
  /** `from` `preview`: a message of the page in the frame, at once. `from` `daemon`: the same of any visitor, with its place in the sources. */
  'previewd-console': CustomEvent<{ from: 'preview' | 'daemon' } & Record<string, unknown>>;
  'previewd-render': CustomEvent<{ build_id: string; verdict: string; detail?: string; by: string }>;
}

export declare class PreviewdFrame extends HTMLElement {
  /** Gives a token of scope `read`; asked again whenever the element connects. */
  tokenProvider: (() => string | Promise<string>) | undefined;
  readonly state: PreviewdState;
  readonly status: PreviewdStatus | null;
  addEventListener<K extends keyof PreviewdFrameEvents>(type: K, listener: (event: PreviewdFrameEvents[K]) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
}

declare global {
  interface HTMLElementTagNameMap {
    'previewd-frame': PreviewdFrame;
  }
}
