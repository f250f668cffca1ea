// Real Chromium for the tests: commands come as JSON lines on stdin, each is answered by one JSON line on stdout.
//
// Usage: node driver.mjs DIR, where DIR/node_modules has playwright-core. Ends, with the browser, when stdin does.

import { createRequire } from 'node:module';
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';

import { snapshots } from './snapshot.mjs';

const TIMEOUT_MS = 30_000;
/** The machine's own browser, without a sandbox (tests run as root in containers) and without calls home. */
const ARGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  // Takes the place of playwright's own list: with storage partitioning off, as there, framed pages have no storage at all.
  '--disable-features=Translate,MediaRouter,OptimizationHints,AutofillServerCommunication'];

const { chromium } = createRequire(path.join(path.resolve(process.argv[2]), 'package.json'))('playwright-core');
const axe = () => fs.readFileSync(path.join(path.resolve(process.argv[2]), 'node_modules/axe-core/axe.min.js'), 'utf8');
const executablePath = ['chromium', 'chromium-browser', 'google-chrome']
  .flatMap((name) => process.env.PATH.split(':').map((dir) => path.join(dir, name)))
  .find((file) => fs.existsSync(file));
if (!executablePath) throw new Error('no chromium in PATH (Debian: apt-get install chromium)');

const browser = await chromium.launch({ executablePath, args: ARGS });
const page = await browser.newPage();
page.setDefaultTimeout(TIMEOUT_MS);
const problems = [];
/** Browsers ask for an icon by themselves. */
const matters = (text) => !text.includes('favicon');
const note = (text) => matters(text) && problems.push(text);
const said = [];
page.on('console', (message) => {
  if (message.type() === 'error') note(`console: ${message.text()} ${message.location().url}`);
  else said.push(`${message.type()}: ${message.text()}`);
});
page.on('pageerror', (error) => note(`thrown: ${error.message}`));
page.on('response', (response) => response.status() >= 400 && note(`${response.status()}: ${response.url()}`));

/** The page, or the frame of this name in it. */
const within = async (name) => {
  if (!name) return page;
  const frame = await (await page.waitForSelector(`iframe[name="${name}"]`, { state: 'attached' })).contentFrame();
  return frame ?? page;
};

const commands = {
  goto: async ({ url }) => (await page.goto(url, { waitUntil: 'load' }))?.status() ?? null,
  /** Of a page that leaves at once, the browser may say that it was interrupted. */
  visit: async ({ url }) => page.goto(url, { waitUntil: 'commit' }).then(() => null, () => null),
  reload: async () => (await page.reload({ waitUntil: 'load' }))?.status() ?? null,
  /** Waits until the element is there and shows `text`; gives all that it shows. */
  see: async ({ selector, text, frame }) => {
    const target = await within(frame);
    await target.locator(selector).filter({ hasText: text }).first().waitFor();
    return target.locator(selector).first().innerText();
  },
  click: async ({ selector, text }) => page.locator(selector).filter({ hasText: text }).first().click(),
  eval: async ({ script, frame }) => (await within(frame)).evaluate(script),
  /** A page that is loaded anew takes what runs in it along: then it is asked again. */
  until: async ({ script, frame }) => {
    for (const end = Date.now() + TIMEOUT_MS; ; ) {
      const value = await within(frame).then((target) => target.evaluate(script)).catch((error) => Date.now() < end ? null : Promise.reject(error));
      if (value) return value;
      if (Date.now() > end) throw new Error(`never true: ${script}`);
      await new Promise((done) => setTimeout(done, 10));
    }
  },
  type: async ({ selector, text }) => page.locator(selector).first().pressSequentially(text),
  press: async ({ key }) => page.keyboard.press(key),
  gone: async ({ selector }) => page.locator(selector).first().waitFor({ state: 'detached' }),
  scheme: async ({ scheme }) => page.emulateMedia({ colorScheme: scheme }),
  size: async ({ width, height }) => page.setViewportSize({ width, height }),
  screenshot: async ({ file, whole }) => {
    await page.screenshot({ path: file, fullPage: whole });
  },
  /** What is hard to use on the page, by axe-core; previews in frames are others' pages. */
  axe: async () => {
    await page.evaluate(axe());
    const { violations } = await page.evaluate(() => window.axe.run(document, { iframes: false }));
    const bad = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
    return bad.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(' | ')}`);
  },
  /** Pages of their own, at rest; see snapshot.mjs. */
  snapshots: async ({ urls }) => snapshots(browser, urls),
  /** What went wrong since this was asked last. */
  problems: async () => problems.splice(0),
  /** Whatever else the console was told since this was asked last. */
  said: async () => said.splice(0),
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line);
  const answer = await commands[command](options).then((value) => ({ value }), (error) => ({ error: `${error.message}; ${problems.join('; ')}` }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
