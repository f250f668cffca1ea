// Hears of new releases and failures, and brings the page up to date.
//
// Invariants: a retained build never changes. All tabs that show one preview share one connection, for a browser has only six to an
// origin. Whoever connects is told how things stand, so nothing that was missed matters.

const RETRY_MS = 250;
const RETRY_MAX_MS = 10_000;
const AGAIN_MS = 10_000;

let newest = build;

function reload(to) {
  if (to !== newest) return;
  // Reloaded for this very build, and the page is still another: an old copy came from somewhere. Not at once again.
  const last = recall('reloaded');
  const pause = last?.to === to ? last.at + AGAIN_MS - Date.now() : 0;
  if (pause > 0) return setTimeout(reload, pause, to);
  remember('reloaded', { to, at: Date.now() });
  remember('loads', []);
  attempt(keep);
  location.reload();
}

/** Styles alone changed: each takes the place of its old one, which goes when the new one is there. */
async function swap({ build_id: to, styles }) {
  const links = [...document.querySelectorAll('link[rel~=stylesheet]')];
  const pathOf = (file) => new URL(`../${encodeURI(file)}`, base).pathname;
  const pairs = styles.map(({ from, to: file }) => [links.find(({ href }) => href && new URL(href).pathname === pathOf(from)), pathOf(file)]);
  // One that another sheet imports is not seen from here.
  if (pairs.some(([link]) => !link)) return reload(to);
  await Promise.all(pairs.map(([link, path]) => new Promise((done, fail) => {
    const fresh = link.cloneNode();
    fresh.href = `${new URL(path, base)}?${to}`;
    fresh.onload = () => done(link.remove());
    fresh.onerror = fail;
    link.after(fresh);
  })));
  build = to;
  lookAfter();
  // Vite says so of a lazy part that the new release has by another name.
  addEventListener('vite:preloadError', () => location.reload());
}

let overlay;
let shown;
let dismissed;

function hide() {
  shown = null;
  overlay?.remove();
}

/** Drawn by a part of its own, which most pages never need. It is loaded like the connection is made. */
function show(failure) {
  hide();
  if (dismissed === failure.build_id) return;
  shown = failure;
  const draw = () => {
    if (shown !== failure) return;
    overlay?.remove();
    overlay = view[MARK].draw(document, failure, () => {
      dismissed = failure.build_id;
      hide();
    });
  };
  if (view[MARK]?.draw) return draw();
  const part = view.document.createElement('script');
  part.src = script.src.replace('client', 'overlay');
  part.onload = draw;
  view.document.documentElement.append(part);
}

const hear = {
  published(release) {
    newest = release.build_id;
    if (newest === build) return;
    tellParent('published', { to: newest });
    if (release.styles_only && release.previous_build_id === build && !standIn) swap(release).catch(() => reload(newest));
    else reload(newest);
  },
  failed(failure) {
    tellParent('failed', { failure });
    show(failure);
  },
  fixed() {
    tellParent('fixed');
    hide();
  },
};

/** What was heard last, for a tab that comes later. */
const latest = {};

function receive(name, data) {
  latest[name === 'published' ? name : 'outcome'] = [name, data];
  attempt(() => hear[name](data));
}

function connect(share) {
  let pause = RETRY_MS;
  let stream;
  const start = () => {
    stream?.close();
    stream = new view.EventSource(`${base}events`);
    stream.onopen = () => (pause = RETRY_MS);
    for (const name of Object.keys(hear)) {
      stream.addEventListener(name, (event) => {
        const data = JSON.parse(event.data);
        share?.([name, data]);
        receive(name, data);
      });
    }
    stream.onerror = () => {
      stream.close();
      setTimeout(start, pause * (0.5 + Math.random()));
      pause = Math.min(pause * 2, RETRY_MAX_MS);
    };
  };
  start();
}

function listen() {
  const name = `previewd:${base}`;
  const channel = new BroadcastChannel(name);
  let leads;
  channel.onmessage = ({ data }) => {
    if (!leads) data && receive(...data);
    else if (!data) Object.values(latest).forEach((last) => channel.postMessage(last));
  };
  channel.postMessage(null);
  return navigator.locks.request(name, () => {
    leads = true;
    connect((heard) => channel.postMessage(heard));
    // For as long as this page lives.
    return new Promise(() => {});
  });
}

if (CONFIG.live && build) {
  // There are no locks without TLS outside of this machine, and none in a frame without an origin: that one connects before a policy counts.
  try {
    if (origin === 'null') connect();
    else listen().catch(() => connect());
  } catch {
    connect();
  }
}
