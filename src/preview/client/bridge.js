// Tells the page around this one, at once, and the daemon, in small batches, what the app prints and what goes wrong in it.
//
// Invariants: messages go to exact origins that the configuration names. Both ways are capped, so an app that prints without end costs
// a counter. Everything that the app calls behaves as without this.

const PARENT_PER_S = 100;
const BATCH_MS = 400;
const BATCH_ENTRIES = 20;
const ENTRIES_PER_PAGE = 200;
const LOOPBACK = /^https?:\/\/((.+\.)?localhost|127\.0\.0\.1)(:\d+)?$/;

/** The origin of the page around, where the browser tells it; else each that it may be, of which the browser takes the right one. */
const named = CONFIG.origins.map((origin) => attempt(() => new URL(origin).origin));
const mayHear = (origin) => origin === location.origin || (named.length ? named.includes(origin) : LOOPBACK.test(origin));
const around = location.ancestorOrigins?.[0] ?? attempt(() => new URL(document.referrer).origin);
const known = location.ancestorOrigins?.length || (around && around !== location.origin);
const targets = !framed ? [] : known ? [around].filter(mayHear) : named.length ? named : ['*'];

let second = 0;
let sent = 0;
let dropped = 0;

function tellParent(type, fields) {
  for (const origin of targets) attempt(() => parent.postMessage({ previewd: 1, type, build, page: page(), ...fields }, origin));
}

/** Whether as much was told within this second as may be. What was not is counted. */
function full() {
  const now = Math.floor(performance.now() / 1000);
  if (now !== second) {
    if (dropped) tellParent('dropped', { count: dropped });
    second = now;
    sent = dropped = 0;
  }
  if (sent++ < PARENT_PER_S) return false;
  dropped++;
  return true;
}

const waiting = new Map();
let accepted = 0;
let timer;
let render;

/** The same again is counted, not sent again. */
function report(entry) {
  const key = JSON.stringify(entry);
  if (waiting.has(key)) waiting.get(key).count++;
  else if (accepted < ENTRIES_PER_PAGE && waiting.size < BATCH_ENTRIES) {
    accepted++;
    waiting.set(key, { ...entry, count: 1 });
  }
  timer ??= setTimeout(flush, BATCH_MS);
}

function flush() {
  timer = undefined;
  if (standIn || !build || !(waiting.size || render)) return;
  const body = JSON.stringify({ build, page: page(), entries: [...waiting.values()], render });
  waiting.clear();
  render = undefined;
  // One address takes the reports of all builds. Plain text needs no preflight where this frame has no origin. Kept alive, where it is small enough: the page may be on its way out.
  const options = { method: 'POST', mode: 'no-cors', credentials: 'include', keepalive: body.length < 2e4, body };
  const fetch = view === window ? nativeFetch : view.fetch;
  fetch.call(view, `${base.replace(/@\w+\//, '')}report`, options).catch(() => {});
}

/** What may be why a page stays empty, the first of it first. */
const troubles = [];

/** What browsers (and Vite's loader of styles) say of a lazy part that is not there. */
const MISSING_MODULE = /imported module|Importing a module|preload CSS/;

function threw(source, error, message, place) {
  if (full()) return;
  const isError = attempt(() => error instanceof Error);
  const stack = isError ? attempt(() => describe(error)) : undefined;
  const text = isError ? clip(attempt(() => `${error.name}: ${error.message}`, '')) : message ?? inspect(error);
  tellParent('error', { source, text, stack, ...place });
  report({ source, text, stack, ...place });
  troubles.push({ verdict: MISSING_MODULE.test(text) ? 'asset_missing' : 'script_error', detail: text });
}

function failed(source, text, fields) {
  if (full()) return;
  tellParent(source, { text, ...fields });
  report({ source, text, ...fields });
}

for (const level of ['debug', 'log', 'info', 'warn', 'error']) {
  const native = console[level];
  let telling = false;
  console[level] = (...args) => {
    // What telling it prints (a Proxy's trap may) is not told too.
    if (!telling && !full()) {
      telling = true;
      attempt(() => {
        const text = line(args);
        tellParent('console', { level, text });
        // What an app prints besides is its own business.
        if (level === 'error' || level === 'warn') report({ source: 'console', level, text });
      });
      telling = false;
    }
    native.apply(console, args);
  };
}

addEventListener('error', (event) => attempt(() => {
  const { target, error, message, filename: url, lineno: line, colno: column } = event;
  if (!(target instanceof Element)) return threw('error', error, message, { url, line, column });
  if (isOurs(target)) return;
  const address = target.currentSrc || target.src || target.href || '';
  const text = `could not be loaded: <${target.localName}> ${clip(String(address), 500)}`;
  failed('resource', text, { url: String(address) });
  if (target.localName === 'script' || /style|modulepreload/.test(target.rel)) troubles.push({ verdict: 'asset_missing', detail: text });
}), true);

addEventListener('unhandledrejection', ({ reason }) => attempt(() => threw('rejection', reason)));

document.addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI: url, disposition }) => {
  if (disposition !== 'enforce' || url.startsWith(base)) return;
  const text = `blocked by the page's Content-Security-Policy (${effectiveDirective}): ${clip(url, 500)}`;
  failed('resource', text, { url });
  // The same script's own error comes too, and says less.
  if (/^script/.test(effectiveDirective)) troubles.unshift({ verdict: 'script_error', detail: text });
});

function requested(method = 'GET', address, status, error) {
  const url = attempt(() => new URL(address?.url ?? address, document.baseURI).href, '');
  failed('request', `${method} ${clip(url, 500)}: ${status || error?.message || 'no answer'}`, { url, status });
}

if (nativeFetch) {
  window.fetch = function fetch(...args) {
    const tell = (status, error) => attempt(() => requested(args[1]?.method ?? args[0]?.method, args[0], status, error));
    return nativeFetch.apply(this, args).then((answer) => {
      if (answer.status >= 400) tell(answer.status);
      return answer;
    }, (error) => {
      if (error?.name !== 'AbortError') tell(undefined, error);
      throw error;
    });
  };
}

const { open } = XMLHttpRequest.prototype;
XMLHttpRequest.prototype.open = function (...args) {
  for (const type of ['load', 'error']) {
    this.addEventListener(type, () => (type === 'error' || this.status >= 400) && requested(args[0], args[1], this.status || undefined));
  }
  return open.apply(this, args);
};

addEventListener('pagehide', flush);
tellParent('ready');
