// What a page is once it has come to rest: its DOM, its computed styles and what went wrong, as text that can be compared.
//
// Two builds of one project are loaded under the same conditions: each in a context of its own (no cache, no storage), the same window, the
// same clock, the same random numbers, no animations. What two equal builds may still differ in is levelled: addresses of the build and
// of its assets, ids made at run time, positions in minified code. Scripts, preloads and style sheets are left out of the DOM: how a page is loaded is no
// part of what it shows, and what styles do is seen in the computed ones.
//
// A page may have steps: elements with data-step="1", "2" … are clicked in turn, and the page is looked at after each.

/** A page rests when nothing was loaded and nothing changed for this long. */
const QUIET_MS = 400;
/** Pages that never rest (tickers, sockets) are looked at as they are by then. */
const RESTLESS_MS = 8_000;
const STEP_TIMEOUT_MS = 10_000;
/** Elements whose styles are taken; of longer pages every nth. */
const ELEMENTS = 200;
const CONTEXT = {
  viewport: { width: 1280, height: 800 }, locale: 'en-US', timezoneId: 'UTC', colorScheme: 'light', reducedMotion: 'reduce', serviceWorkers: 'block',
};
const PROPERTIES = [
  'display', 'position', 'visibility', 'opacity', 'width', 'height', 'margin', 'padding', 'overflow', 'z-index', 'color', 'background-color', 'background-image',
  'border-width', 'border-color', 'border-radius', 'box-shadow', 'font-family', 'font-size', 'font-weight', 'font-style', 'line-height', 'text-align',
  'text-decoration-line', 'text-transform', 'transform', 'flex-direction', 'justify-content', 'align-items', 'gap', 'grid-template-columns',
];

/** Runs in the page before anything of it: the clock starts at a fixed time, chance is seeded, and changes are noticed in shadow trees too. */
function prepare() {
  const RealDate = Date;
  const shift = RealDate.UTC(2026, 0, 5, 12) - RealDate.now();
  const now = () => RealDate.now() + shift;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args, self) => Reflect.construct(target, args.length ? args : [now()], self),
    apply: () => new RealDate(now()).toString(),
    get: (target, key) => (key === 'now' ? now : Reflect.get(target, key)),
  });
  RealDate.prototype.constructor = Date;

  let seed = 1;
  // mulberry32
  const random = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  Math.random = random;
  Crypto.prototype.getRandomValues = (array) => {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    bytes.forEach((_, index) => (bytes[index] = random() * 256));
    return array;
  };
  Crypto.prototype.randomUUID = () => '10000000-1000-4000-8000-100000000000'.replace(/[018]/g, () => Math.floor(random() * 16).toString(16));

  globalThis.__changedAt = performance.now();
  const observer = new MutationObserver(() => (globalThis.__changedAt = performance.now()));
  const watch = (root) => observer.observe(root, { subtree: true, childList: true, attributes: true, characterData: true });
  watch(document);
  const { attachShadow } = Element.prototype;
  Element.prototype.attachShadow = function (options) {
    const root = attachShadow.call(this, options);
    watch(root);
    return root;
  };
}

/** Runs in the page: its DOM as indented lines, and the styles of its elements. */
function look({ properties, most }) {
  for (const animation of document.getAnimations()) {
    const endless = animation.effect?.getComputedTiming().endTime === Infinity;
    if (endless) animation.cancel();
    else animation.finish();
  }
  const loading = new Set(['modulepreload', 'preload', 'prefetch', 'stylesheet', 'dns-prefetch', 'preconnect']);
  const left = (node) =>
    ['script', 'style', 'template', 'noscript'].includes(node.localName) || (node.localName === 'link' && [...node.relList].some((rel) => loading.has(rel)));
  /** What an element is beyond its attributes. */
  const state = (node) => {
    if (node instanceof HTMLInputElement || node instanceof HTMLTextAreaElement) return ` {value ${JSON.stringify(node.value)}${node.checked ? ', checked' : ''}}`;
    if (node instanceof HTMLImageElement) return node.complete && node.naturalWidth ? ' {shown}' : ' {not shown}';
    return '';
  };
  const lines = [];
  const elements = [];
  const visit = (node, depth, path) => {
    if (node.nodeType === Node.TEXT_NODE) {
      const text = node.data.replace(/\s+/g, ' ').trim();
      if (text) lines.push('  '.repeat(depth) + text);
      return;
    }
    if (node.nodeType !== Node.ELEMENT_NODE || left(node)) return;
    const attributes = [...node.attributes].filter(({ name }) => name !== 'nonce').map(({ name, value }) => ` ${name}="${value}"`).sort();
    lines.push(`${'  '.repeat(depth)}<${node.localName}${attributes.join('')}>${state(node)}`);
    if (document.body?.contains(node) || node.getRootNode() !== document) elements.push([path, node]);
    const children = [...(node.shadowRoot?.childNodes ?? []), ...(node.contentDocument?.childNodes ?? []), ...node.childNodes];
    let place = 0;
    for (const child of children) visit(child, depth + 1, child.nodeType === Node.ELEMENT_NODE ? `${path}>${child.localName}:${++place}` : path);
  };
  visit(document.documentElement, 0, 'html');
  const step = Math.max(1, Math.ceil(elements.length / most));
  const styles = elements.filter((_, index) => index % step === 0).map(([element, node]) => {
    const style = getComputedStyle(node);
    return { element, values: Object.fromEntries(properties.map((property) => [property, style.getPropertyValue(property)])) };
  });
  return { lines, styles, path: location.pathname + location.search + location.hash };
}

/** Makes a text of one build read like the same text of another. */
function leveller(url) {
  const { host, pathname } = new URL(url);
  const build = host.match(/^([0-9a-z]{26})--/)?.[1] ?? pathname.match(/@([0-9A-Za-z]{26})\//)?.[1];
  const prefix = pathname.match(/^.*\/@[0-9A-Za-z]{26}\//)?.[0] ?? pathname.match(/^\/preview\/[^/]+\//)?.[0];
  return (text) => {
    let level = text.replaceAll(`//${host}`, '//{host}');
    if (prefix) level = level.replaceAll(prefix, '/');
    if (build) level = level.replaceAll(build, '{build}').replaceAll(build.toUpperCase(), '{build}');
    return level
      .replace(/\/_previewd\/layers\/[^/\s"')]+/g, '/_previewd/layers/{layer}')
      .replace(/-[\w-]{8}(?=\.[a-z][a-z0-9]{1,11}\b)/g, '-{hash}')
      .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi, '{uuid}')
      // React's useId in its three spellings, Swiper's and Headless UI's counters.
      .replace(/:[rR][0-9a-z]*:|«[rR][0-9a-z]*»|\b_[rR]_[0-9a-z]*_/g, '{id}')
      .replace(/\b(swiper-wrapper|headlessui-[a-z-]+)-[0-9a-f]+\b/g, '$1-{id}');
  };
}

/** An error's text without what minifying makes of it: its stack, positions, and names of one or two letters. */
const withoutCode = (text) => text.split('\n').filter((line) => !/^\s+at /.test(line)).join('\n')
  .replace(/:\d+:\d+/g, '')
  .replace(/(^|[\s("'])(?:[A-Za-z_$][\w$]?\.)*[A-Za-z_$][\w$]?(?= is not (?:a function|a constructor|defined|iterable))/g, '$1{name}');

/** Hears what a page says and loads. */
function listen(page) {
  const heard = { problems: new Set(), said: [], loading: new Set(), at: Date.now() };
  const problem = (text) => text.includes('favicon') || heard.problems.add(text);
  page.on('console', (message) => {
    const { url } = message.location();
    if (['error', 'warning'].includes(message.type())) problem(`console ${message.type()}: ${withoutCode(message.text())}${message.text().startsWith('Failed to load') ? ` ${url}` : ''}`);
    else heard.said.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => problem(`thrown: ${withoutCode(String(error?.message ?? error))}`));
  page.on('response', (response) => response.status() >= 400 && problem(`${response.status()}: ${response.url()}`));
  page.on('request', (request) => {
    heard.at = Date.now();
    if (!['eventsource', 'websocket', 'ping', 'media'].includes(request.resourceType())) heard.loading.add(request);
  });
  const ended = (request) => {
    heard.at = Date.now();
    heard.loading.delete(request);
  };
  page.on('requestfinished', ended);
  page.on('requestfailed', (request) => {
    ended(request);
    problem(`failed: ${request.url()} ${request.failure()?.errorText}`);
  });
  return heard;
}

async function rest(page, heard) {
  const deadline = Date.now() + RESTLESS_MS;
  for (;;) {
    const unchanged = await page.evaluate(() => document.fonts.ready.then(() => performance.now() - globalThis.__changedAt)).catch(() => 0);
    const wait = QUIET_MS - Math.min(unchanged, Date.now() - heard.at);
    if ((wait <= 0 && heard.loading.size === 0) || Date.now() > deadline) return;
    await page.waitForTimeout(Math.max(wait, 20));
  }
}

/** Looks at the page, then after each of its steps. */
async function looks(page, heard) {
  const seen = [await page.evaluate(look, { properties: PROPERTIES, most: ELEMENTS })];
  for (;;) {
    const next = page.locator(`[data-step="${seen.length}"]`).first();
    if ((await next.count()) === 0) return seen;
    await next.click({ timeout: STEP_TIMEOUT_MS });
    await rest(page, heard);
    seen.push(await page.evaluate(look, { properties: PROPERTIES, most: ELEMENTS }));
  }
}

async function snapshot(browser, url) {
  const context = await browser.newContext(CONTEXT);
  try {
    await context.addInitScript(prepare);
    const page = await context.newPage();
    const heard = listen(page);
    const response = await page.goto(url, { waitUntil: 'load' });
    await rest(page, heard);
    const seen = await looks(page, heard);
    const level = leveller(url);
    const levelled = (values) => Object.fromEntries(Object.entries(values).map(([name, value]) => [name, level(value)]));
    const after = (step) => (step ? `after step ${step}: ` : '');
    return {
      dom: seen.flatMap(({ path, lines }, step) => [`${after(step)}${response?.status()} ${path}`, ...lines].map(level)),
      styles: seen.flatMap(({ styles }, step) => styles.map(({ element, values }) => ({ element: after(step) + element, values: levelled(values) }))),
      problems: [...heard.problems].map(level),
      said: heard.said,
    };
  } finally {
    await context.close();
  }
}

/** The pages at these addresses, all at once. */
export const snapshots = (browser, urls) => Promise.all(urls.map((url) => snapshot(browser, url)));
