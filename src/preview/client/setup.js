// What all parts share. The daemon puts `CONFIG` in front (src/preview/client.rs): `origins` that may hear of this preview (none:
// any of this machine), `live`: false for a retained build, which never changes.
//
// Invariant: the app never notices. What fails here fails silently, nothing of the page is kept from running, and what the page
// replaces later (fetch, timers) is used as it was when this file ran, which is before everything else.

const script = document.currentScript;
const MARK = Symbol.for('previewd');
const framed = parent !== window;
if (!script || window[MARK]) return;
try {
  // A frame that the app made of itself: its own page tells everything already.
  if (framed && parent[MARK]) return;
} catch {
  // Another origin's, as it should be.
}
window[MARK] = {};

/** What a build's page says of itself, whichever cache it came through. A page of the daemon's own (`standIn`) shows no build. */
let { build, standIn } = script.dataset;
const base = new URL('./', script.src).href;
const page = () => location.pathname + location.search;
const { setTimeout, fetch: nativeFetch } = window;

const attempt = (work, otherwise) => {
  try {
    return work();
  } catch {
    return otherwise;
  }
};

/**
 * A policy in the page (`<meta http-equiv>`) may forbid connections. It counts from where it stands, after this script, and an empty
 * frame that is made now keeps the policy of now. Only pages that have one get such a frame.
 */
let view = window;
if ('csp' in script.dataset) {
  const frame = document.createElement('iframe');
  frame.style.display = 'none';
  document.documentElement.append(frame);
  // Another origin's, where this page has none.
  view = attempt(() => frame.contentWindow.document.defaultView) ?? window;
}
const isOurs = (node) => node.localName === 'previewd-overlay' || node.contentWindow === view;

/** What this tab remembers over reloads, for each frame in it by its place; there is none in a sandboxed frame without an origin. */
const place = `previewd:${framed ? Object.values(parent).indexOf(window) : ''}:`;
const recall = (key) => attempt(() => JSON.parse(sessionStorage[place + key]));
const remember = (key, value) => attempt(() => (sessionStorage[place + key] = JSON.stringify(value)));
