// <previewd-frame>: a project's live preview as one element, with what a person wants to know of it. No dependencies, no build step.
//
//   import './previewd-frame.js';
//   <previewd-frame base-url="https://build.example" project="demo" token="…"></previewd-frame>
//
// Attributes: `base-url`, `project`, `token` (scope `read`), `fallback-url` (shown where the daemon cannot be reached and nothing is shown yet), `console`
// (its panel is open). Property: `tokenProvider`, a function that gives a token or a promise of one; asked again whenever the token is refused. `state` and
// `status` may be read. Events, which bubble: `previewd-status`, `previewd-published`, `previewd-failed`, `previewd-console`, `previewd-render`.
//
// Invariants: what a preview shows stays until there is something newer to show. All texts of builds and previews are text nodes: code that nobody
// reviewed wrote them. Where a message comes from is known by its frame.

const RETRY_MS = { from: 500, to: 15_000 };
const ENTRIES_MAX = 200;
const SANDBOX = 'allow-scripts allow-forms allow-modals allow-popups allow-downloads';
const NAMES = ['status', 'published', 'render', 'console'];

const STYLE = `
  :host { display: grid; grid-template-rows: auto minmax(0, 1fr) auto auto; min-height: 16rem; border: 1px solid #8886; border-radius: 10px; overflow: hidden;
    color-scheme: light dark; background: light-dark(#fff, #1c1f25); color: light-dark(#1b1f26, #e7eaf0); font: 14px/1.5 system-ui, sans-serif; }
  :host([hidden]) { display: none; }
  [hidden] { display: none !important; }
  .bar { display: flex; align-items: center; gap: 8px; padding: 6px 10px; border-bottom: 1px solid #8884; }
  .dot { width: 10px; height: 10px; border-radius: 50%; background: #8a93a2; flex: none; }
  .ready .dot { background: #2d9a5c; } .error .dot { background: #d0433c; } .building .dot, .loading .dot { background: #2f6fe0; } .unreachable .dot { background: #d69a1c; }
  .text { flex: 1; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
  .view { position: relative; background: #fff; min-height: 8rem; }
  iframe { display: block; width: 100%; height: 100%; border: 0; position: absolute; inset: 0; }
  .wait { position: absolute; inset: 0; display: grid; place-items: center; margin: 0; padding: 1rem; text-align: center; background: light-dark(#f6f7f9, #14161a); }
  .progress { position: absolute; inset: 0 0 auto; height: 3px; overflow: hidden; }
  .progress::after { content: ''; position: absolute; inset: 0; width: 40%; background: #2f6fe0; }
  .failure { max-height: 14rem; overflow: auto; border-top: 3px solid #d0433c; background: light-dark(#fdeceb, #3a1a18); }
  .failure summary { overflow-wrap: anywhere; font-weight: 600; }
  pre { margin: 0; padding: 0 10px 8px; white-space: pre-wrap; font: 12px/1.5 ui-monospace, 'DejaVu Sans Mono', monospace; }
  pre.frame { white-space: pre; overflow-x: auto; }
  details:not(.failure) { border-top: 1px solid #8884; }
  summary { padding: 6px 10px; cursor: pointer; }
  :focus-visible { outline: 3px solid light-dark(#1f5bd0, #8ab4ff); outline-offset: -3px; }
  .list { max-height: 11rem; overflow: auto; font: 12px/1.6 ui-monospace, 'DejaVu Sans Mono', monospace; }
  .list > * { padding: 0 10px; white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid transparent; }
  .list > .warn { border-color: #d69a1c; } .list > .error { border-color: #d0433c; color: light-dark(#8c1d17, #ffbcb7); }
  @media (prefers-reduced-motion: no-preference) { .progress::after { animation: run 1.2s ease-in-out infinite; } @keyframes run { from { translate: -100%; } to { translate: 250%; } } }
`;

const TEXTS = {
  loading: 'Connecting…',
  empty: 'Nothing was built yet',
  building: 'Building…',
  ready: 'Live',
  error: 'The newest build failed',
  unreachable: 'The preview server cannot be reached: trying again',
  refused: 'The preview may not be shown: the token was refused',
};

const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};

const webAddress = (text) => (typeof text === 'string' && /^https?:\/\//.test(text) ? text : undefined);

export class PreviewdFrame extends HTMLElement {
  static observedAttributes = ['base-url', 'project', 'token', 'console'];

  /** Gives a token of scope `read`, or a promise of one. Set before the element is connected, or set again to begin anew. */
  #tokenProvider;
  #root = this.attachShadow({ mode: 'open' });
  #parts;
  #iframe;
  #source;
  #timer;
  #run = 0;
  #wait = RETRY_MS.from;
  #last = '';
  #errors = 0;
  /** The preview's own client loads releases by itself; without it the frame is loaded anew. */
  #follows = false;
  #shown;
  #failed;
  #state = 'loading';
  #status = null;

  constructor() {
    super();
    const style = new CSSStyleSheet();
    style.replaceSync(STYLE);
    this.#root.adoptedStyleSheets = [style];
    const text = make('span', { className: 'text' });
    text.setAttribute('role', 'status');
    const failure = make('details', { className: 'failure', hidden: true });
    const list = make('div', { className: 'list', tabIndex: 0, ariaLabel: 'Console of the preview' });
    list.setAttribute('role', 'log');
    const count = make('span', { textContent: 'Console' });
    const panel = make('details', {}, make('summary', {}, count), list);
    panel.addEventListener('toggle', () => this.toggleAttribute('console', panel.open));
    const bar = make('div', { className: 'bar loading' }, make('span', { className: 'dot' }), text);
    const wait = make('p', { className: 'wait', textContent: TEXTS.loading });
    const progress = make('div', { className: 'progress' });
    const view = make('div', { className: 'view' }, wait, progress);
    this.#parts = { bar, text, view, wait, progress, failure, panel, list, count };
    this.#root.append(bar, view, failure, panel);
  }

  get tokenProvider() {
    return this.#tokenProvider;
  }

  set tokenProvider(provider) {
    this.#tokenProvider = provider;
    this.#begin();
  }

  /** `loading`, `empty`, `building`, `ready`, `error`, `unreachable` or `refused`. */
  get state() {
    return this.#state;
  }

  /** The daemon's last word (its status object), or `null`. */
  get status() {
    return this.#status;
  }

  connectedCallback() {
    addEventListener('message', this.#hear);
    this.#begin();
  }

  disconnectedCallback() {
    removeEventListener('message', this.#hear);
    this.#end();
  }

  attributeChangedCallback(name, before, after) {
    if (name === 'console') this.#parts.panel.open = after !== null;
    else if (before !== after) {
      if (name !== 'token') this.#forget();
      this.#begin();
    }
  }

  /** Another project: nothing of the one before is shown. */
  #forget() {
    this.#iframe?.remove();
    [this.#iframe, this.#shown, this.#failed, this.#status, this.#last, this.#follows] = [undefined, undefined, undefined, null, '', false];
    this.#errors = 0;
    this.#parts.list.replaceChildren();
    this.#parts.count.textContent = 'Console';
    this.#parts.failure.hidden = true;
    this.#become('loading');
  }

  #end() {
    this.#run++;
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = undefined;
  }

  #begin() {
    this.#end();
    if (this.isConnected && this.getAttribute('project') && this.getAttribute('base-url') !== null) this.#connect(this.#run);
  }

  #address(call, query) {
    const base = new URL(`${this.getAttribute('base-url').replace(/\/+$/, '')}/`, document.baseURI);
    return `${new URL(`${call}/${encodeURIComponent(this.getAttribute('project'))}`, base)}?${new URLSearchParams(query)}`;
  }

  /** Asks how the project stands, then follows its events. The first call says what an `EventSource` cannot: why it was refused. */
  async #connect(run) {
    const stale = () => run !== this.#run;
    try {
      const token = (await this.#tokenProvider?.()) ?? this.getAttribute('token') ?? '';
      if (stale()) return;
      const answer = await fetch(this.#address('status', { token }), { cache: 'no-store' });
      const status = answer.ok ? await answer.json() : undefined;
      if (stale()) return;
      if (status) this.#stands(status);
      else if (answer.status === 401) this.#become('refused');
      else if (answer.status === 404) this.#become('empty');
      else throw new Error(String(answer.status));
      if (status) this.#follow(token, run);
      else this.#again(run);
    } catch {
      if (stale()) return;
      this.#unreachable();
      this.#again(run);
    }
  }

  #follow(token, run) {
    const source = new EventSource(this.#address('events', this.#last ? { token, last_event_id: this.#last } : { token }));
    this.#source = source;
    source.onopen = () => (this.#wait = RETRY_MS.from);
    // Opened anew by hand: with a token that is still good, and after asking why.
    source.onerror = () => {
      source.close();
      if (run === this.#run) this.#again(run);
    };
    for (const name of NAMES) {
      source.addEventListener(name, (event) => {
        if (run !== this.#run) return;
        this.#last = event.lastEventId;
        this.#told(name, JSON.parse(event.data));
      });
    }
  }

  #again(run) {
    this.#timer = setTimeout(() => run === this.#run && this.#connect(run), this.#wait * (0.5 + Math.random()));
    this.#wait = Math.min(this.#wait * 2, RETRY_MS.to);
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(`previewd-${name}`, { detail, bubbles: true, composed: true }));
  }

  #told(name, data) {
    if (name === 'status') return this.#stands(data);
    if (name === 'published') {
      this.#tell('published', data);
      if (data.reason !== 'current') this.#published(data.build_id);
    } else if (name === 'render') this.#tell('render', data);
    else this.#tell('console', { from: 'daemon', ...data });
  }

  #stands(status) {
    this.#status = status;
    const { state, live, last_build: last } = status;
    if (live) this.#show(webAddress(status.preview_url), live.build_id);
    this.#become({ queued: 'building', building: 'building', ready: 'ready', error: 'error' }[state] ?? 'empty', live?.revision);
    const failure = state === 'error' ? last?.failure : undefined;
    if (failure) this.#fail(failure);
    // While the next build runs, what was wrong with the last one stays to be read.
    else if (state === 'ready') this.#parts.failure.hidden = true;
    this.#tell('status', status);
    if (failure && this.#failed !== last.build_id) {
      this.#failed = last.build_id;
      this.#tell('failed', { build_id: last.build_id, revision: last.revision, ...failure });
    }
  }

  #become(state, revision) {
    this.#state = state;
    const { bar, text, wait, progress } = this.#parts;
    const words = state === 'ready' && revision ? `Live: revision ${revision}` : TEXTS[state];
    bar.className = `bar ${state}`;
    if (text.textContent !== words) text.textContent = words;
    progress.hidden = state !== 'building' && state !== 'loading';
    wait.hidden = this.#iframe !== undefined;
    wait.textContent = state === 'building' ? 'The first build runs…' : words;
    this.setAttribute('state', state);
  }

  #show(url, build) {
    if (!url) return;
    if (this.#iframe?.getAttribute('src') !== url) {
      this.#load(url);
    } else if (this.#shown !== build && !this.#follows) this.#load(url);
    this.#shown = build;
  }

  #load(url) {
    this.#iframe?.remove();
    // Of this page's own origin (path mode) it could reach this page.
    const own = new URL(url).origin === location.origin;
    this.#iframe = make('iframe', { title: 'Live preview', referrerPolicy: 'strict-origin-when-cross-origin', allow: 'clipboard-write; fullscreen' });
    this.#iframe.setAttribute('sandbox', own ? SANDBOX : `${SANDBOX} allow-same-origin`);
    this.#iframe.src = url;
    this.#follows = false;
    this.#parts.view.prepend(this.#iframe);
    this.#parts.wait.hidden = true;
  }

  #published(build) {
    if (this.#iframe && !this.#follows && this.#shown !== build) this.#load(this.#iframe.src);
    this.#shown = build;
  }

  #unreachable() {
    const fallback = this.getAttribute('fallback-url');
    // What is shown already is better.
    if (!this.#iframe && fallback) {
      const url = webAddress(new URL(fallback, document.baseURI).href);
      if (url) this.#load(url);
    }
    this.#become('unreachable');
  }

  #fail({ kind, message, file, line, column, frame }) {
    const place = file ? ` in ${file}${line ? `:${line}${column ? `:${column}` : ''}` : ''}` : '';
    const parts = [make('summary', { textContent: `${kind} error${place}` }), make('pre', { textContent: message })];
    if (frame) parts.push(make('pre', { className: 'frame', tabIndex: 0, textContent: frame }));
    this.#parts.failure.replaceChildren(...parts);
    this.#parts.failure.hidden = false;
    // The preview's own client shows the rest over the page.
    this.#parts.failure.open = !this.#follows;
  }

  /** What the preview says to the page around it (docs/INTEGRATING.md). */
  #hear = ({ data, source }) => {
    if (!this.#iframe || source !== this.#iframe.contentWindow || data?.previewd !== 1) return;
    this.#follows = true;
    const { type, level, text, url, line, count } = data;
    if (type === 'console') this.#print(level, text);
    else if (type === 'error') this.#print('error', `${text}${url ? ` (${url}:${line})` : ''}`);
    else if (type === 'resource' || type === 'request') this.#print('error', text);
    else if (type === 'dropped') this.#print('warn', `${count} more messages within a second`);
    else return;
    this.#tell('console', { from: 'preview', ...data });
  };

  #print(level, text) {
    const { list, count } = this.#parts;
    list.append(make('div', { className: level === 'error' || level === 'warn' ? level : 'log', textContent: String(text) }));
    if (list.children.length > ENTRIES_MAX) list.firstChild.remove();
    list.scrollTop = list.scrollHeight;
    if (level === 'error') this.#errors++;
    count.textContent = this.#errors ? `Console (${this.#errors} ${this.#errors === 1 ? 'error' : 'errors'})` : 'Console';
  }
}

if (!customElements.get('previewd-frame')) customElements.define('previewd-frame', PreviewdFrame);
