// The Vite worker: runs inside the sandbox and drives the project's own Vite (4 to 8) through its public JavaScript API.
// One job a line on stdin, JSON messages on the real stdout, everything that the project prints on stderr.
//
// 1. `ready`, once  2. perhaps a job to warm up: what a layer's builds need is loaded, no project is there yet  3. per build: `took`
// 4. the project's Vite; `config`: resolved, forced and checked  5. `log`s  6. what came of the layer  7. exactly one `done`, `failure`
// or `stale`
//
// A process builds one project, again and again: what Vite and its plugins made of the configuration is kept for the next build, until
// a file that it was made from changes (`stale`: another process is needed). An edition of the layer that turns out not to fit leads
// to a plain build, at once.
//
// Invariant: all messages are claims. Code of the project runs in this same process and could forge any of them, so the daemon
// checks the output folder itself and relies on this file only for what it tells the user.

import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { Refusal, describeFailure, plain, warningsOf } from './worker-diagnostics.mjs';
import { LayeredBuild } from './worker-layer.mjs';
import { concerns, noteReads, watchReads } from './worker-reads.mjs';
import { loadVite, resolveFrom } from './worker-vite.mjs';
import { watchWrites } from './worker-writes.mjs';

const MAX_LINE_BYTES = 64 * 1024;
const MAX_TEXT_CHARS = 16 * 1024;
const MAX_ENTRIES = 32;
const MAX_SECOND_LOAD_MS = 3000;
const WRITE_RETRY_MS = 2;
const CONFIG_FILES = ['js', 'mjs', 'ts', 'cjs', 'mts', 'cts'].map((extension) => `vite.config.${extension}`);
/** Vite before 6 writes the bundled config beside the original, which is read-only here. */
const FIRST_MAJOR_WITH_VITE_TEMP = 6;

/** They build nothing, cost seconds and end the build over what `vite` itself does not care for: type and lint errors. */
const CHECKERS = /^(?:vite-plugin-checker|vite-plugin-eslint2?|vite:eslint|vite:stylelint|vite-plugin-stylelint)$/;
/** Vite 8 says this of every config with `__dirname`, which works, and works here. */
const ABOUT_VITES_FUTURE = /unsupported by `configLoader: 'native'`/;

/** Each by the name of a plugin that it cannot do without. */
const SERVER_FRAMEWORKS = [
  ['TanStack Start', /^tanstack-(?:\w+-)?start\b/],
  ['SvelteKit', /^vite-plugin-sveltekit\b/],
  ['React Router', /^react-router$/],
];

/** Packages that builds load besides Vite, as far as their names tell. */
const BUILD_TOOLS =
  /^(?:@vitejs\/plugin-|vite-plugin-|vite-tsconfig-paths$|@tailwindcss\/|tailwindcss$|postcss$|autoprefixer$|@sveltejs\/vite-plugin|@preact\/preset|unplugin-|rollup-plugin|lovable-tagger$)/;
const WANTS_AT_ONCE = 50;
/** Ends what a build printed on stderr, which is another pipe than that of the messages. */
const END_OF_PRINTED = 'previewd:end';

const exitForReal = process.reallyExit.bind(process);
/** The job that is running; what user code throws outside of any promise of ours is blamed on it. */
let current = null;
/** What is kept from build to build. */
let session = null;
/** A build was given up half-way and may still go on here: the next one needs another process. */
let spent = false;
/** What the job's environment took the place of: names with the values that they had. */
let given = [];

// --- messages ---------------------------------------------------------------------------------------------------------------------

/** Begins with a newline of its own: a child process of the project may share fd 1 and have left half a line there. */
const send = (message) => writeAll(1, Buffer.from(`\n${encode(message)}`));

function writeAll(fd, bytes) {
  for (let sent = 0; sent < bytes.length; ) {
    try {
      sent += fs.writeSync(fd, bytes, sent);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, WRITE_RETRY_MS);
    }
  }
}

/** Well-formed strings only: a lone surrogate is valid JSON for JavaScript but not for the daemon's parser. */
function encode(message) {
  for (let limit = MAX_TEXT_CHARS; ; limit >>= 1) {
    const clip = (_, value) => (typeof value === 'string' ? clipped(value, limit).toWellFormed() : value);
    const line = `${JSON.stringify(message, clip)}\n`;
    if (Buffer.byteLength(line) < MAX_LINE_BYTES) return line;
  }
}

const clipped = (text, limit) => (text.length > limit ? `${text.slice(0, limit)}…` : text);

function log(job, level, message) {
  if (job.settled) return;
  if (level === 'warn') job.warnings++;
  const text = plain(message).replaceAll(`${job.root}/`, '').trim();
  if (text) send({ type: 'log', level, message: text });
}

/** What a job left behind may still call this: only the first verdict counts. */
function settle(job, message) {
  if (job.settled) return;
  job.settled = true;
  if (job.stub) fs.rmSync(job.stub, { force: true });
  writeAll(2, Buffer.from(`\n${END_OF_PRINTED} ${job.job}\n`));
  send(message);
  job.finish();
}

const fail = (job, error) => settle(job, { type: 'failure', ...describeFailure(error, diagnosticContext(job)) });

function diagnosticContext(job) {
  const roots = [job.root, job.viteRoot].filter(Boolean);
  return { root: job.root, roots, configFile: job.configFile, configured: job.configured, mapped: job.mapped, modules: job.modules };
}

// --- guards -----------------------------------------------------------------------------------------------------------------------

/**
 * stdout is the protocol's; the daemon reads stderr as the build's log. Node's own writing to a pipe queues in memory what the pipe
 * does not take, without end where a plugin prints in a loop: this waits for the daemon, which stops a build that prints too much.
 */
function keepStdoutForMessages() {
  const write = (chunk, encoding, done) => {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, typeof encoding === 'string' ? encoding : 'utf8') : chunk;
    writeAll(2, bytes);
    const callback = typeof encoding === 'function' ? encoding : done;
    if (typeof callback === 'function') process.nextTick(callback);
    return true;
  };
  process.stdout.write = write;
  process.stderr.write = write;
}

/** A silent end would leave the user without a reason, so every way for user code to end the process becomes a failure first. */
function surviveUserCode() {
  process.exit = (code) => refuseExit(`process.exit(${code ?? ''})`);
  process.reallyExit = process.exit;
  process.abort = () => refuseExit('process.abort()');
  const blame = (error) => {
    if (!current) return;
    spent = true;
    fail(current, error);
  };
  process.on('uncaughtException', blame);
  process.on('unhandledRejection', blame);
  const stuck = () => blame(new Refusal('config', 'The build stopped before its end: it waits for something that never comes.'));
  process.on('beforeExit', stuck);
  process.on('exit', stuck);
}

function refuseExit(call) {
  const refusal = new Refusal('config', `${caller()} called ${call}, which ends the build. Throw an error instead.`);
  spent = true;
  if (current) fail(current, refusal);
  throw refusal;
}

function caller() {
  const frames = (new Error().stack ?? '').split('\n').slice(3);
  const packages = frames.map((frame) => frame.match(/.*\/node_modules\/((?:@[^/]+\/)?[^/.][^/]*)\//)?.[1]);
  const first = packages.find(Boolean);
  const fromConfig = frames.some((frame) => frame.includes('vite.config.'));
  return fromConfig || !first || first === 'vite' ? 'The Vite config or a plugin in it' : `The package "${first}"`;
}

// --- the project's Vite and its config --------------------------------------------------------------------------------------------

const findConfigFile = (root) => CONFIG_FILES.map((name) => path.join(root, name)).find((file) => fs.existsSync(file));

/**
 * Vite 4 and 5 get a stub inside the writable `.vite-temp` that re-exports the real config: they bundle it from there, so their
 * temporary file lands there too, while `__dirname` and the like still are the original's. CommonJS configs are never written.
 */
function writableConfigFile(job, major) {
  if (!job.configFile || major >= FIRST_MAJOR_WITH_VITE_TEMP || !isModule(job)) return job.configFile;
  const dir = path.join(job.root, 'node_modules/.vite-temp');
  const stub = path.join(dir, `${path.basename(job.configFile)}.${process.pid}-${Date.now()}.mts`);
  try {
    fs.mkdirSync(dir, { recursive: true });
    fs.writeFileSync(stub, `export { default } from ${JSON.stringify(job.configFile)};\n`);
  } catch {
    return job.configFile;
  }
  job.stub = stub;
  return stub;
}

function isModule({ configFile, root }) {
  if (/\.[cm][jt]s$/.test(configFile)) return /\.m[jt]s$/.test(configFile);
  for (let dir = root; ; dir = path.dirname(dir)) {
    const manifest = path.join(dir, 'package.json');
    if (fs.existsSync(manifest)) return JSON.parse(fs.readFileSync(manifest, 'utf8')).type === 'module';
    if (dir === path.dirname(dir)) return false;
  }
}

/** `root` is not given: inline options would win over a config that says `root: 'client'`; the working directory is the default. */
function inlineConfig(kept) {
  return {
    configFile: writableConfigFile(kept.job, kept.vite.major) ?? false,
    mode: kept.job.mode,
    clearScreen: false,
    // Takes away only the reporter, which in Vite 8 is native and writes to fd 1 past us; the logger below gets every level.
    logLevel: 'warn',
    customLogger: loggerOf(kept),
    plugins: [kept.layer.plugin(), previewPlugin(kept)],
  };
}

function loggerOf(kept) {
  const once = (message) => {
    const seen = (kept.job.warnedOnce ??= new Set());
    if (!seen.has(message)) log(kept.job, 'warn', message);
    seen.add(message);
  };
  return {
    hasWarned: false,
    info: (message) => log(kept.job, 'info', message),
    warn: (message) => log(kept.job, ABOUT_VITES_FUTURE.test(message) ? 'info' : 'warn', message),
    warnOnce: once,
    error: (message) => log(kept.job, 'error', message),
    clearScreen: () => {},
    hasErrorLogged: () => false,
  };
}

// --- the forced configuration -----------------------------------------------------------------------------------------------------

/** Post in both senses and last in the list, so no plugin of the project can undo it; `configResolved` forces what one changed later. */
function previewPlugin(kept) {
  return {
    name: 'previewd',
    enforce: 'post',
    config: { order: 'post', handler: (config) => forceConfig(kept.job, config) },
    configResolved: { order: 'post', handler: (config) => checkConfig(kept, config) },
    buildStart() {
      kept.reads ??= kept.endReads();
    },
    buildEnd() {
      kept.job.modules = [...this.getModuleIds()];
    },
  };
}

function forceConfig(job, config) {
  job.viteRoot = path.resolve(config.root ?? job.root);
  job.had = { base: config.base ?? '/', outDir: config.build?.outDir ?? 'dist' };
  config.build ??= {};
  dropLibraryMode(job, config.build, config.plugins);
  config.base = '/';
  config.cacheDir = job.cache_dir;
  config.experimental = { ...config.experimental, renderBuiltUrl };
  replaceTerser(job, config.build);
  for (const build of [config.build, config.environments?.client?.build]) if (build) forceBuild(job, build);
}

/** `output.dir` and `output.file` would win over `outDir`, `output.sourcemap` over `sourcemap`. Sizes are not reported since gzip costs more than some builds. */
function forceBuild(job, build) {
  Object.assign(build, { outDir: job.out_dir, emptyOutDir: false, write: true, watch: null, ssr: false, reportCompressedSize: false, sourcemap: job.source_maps === 'linked' || 'hidden' });
  for (const options of [build.rollupOptions, build.rolldownOptions]) {
    // Rolldown's records for Vite DevTools, beside the dependencies, which are read-only.
    delete options?.devtools;
    for (const output of [options?.output ?? []].flat()) {
      delete output.dir;
      delete output.file;
      delete output.sourcemap;
    }
  }
}

/** Named and not installed, it ends the build after all the work is done; a preview is as good with Vite's own minifier. */
function replaceTerser(job, build) {
  if (build.minify !== 'terser' || resolveFrom(job.viteRoot, 'terser')) return;
  delete build.minify;
  log(job, 'warn', "build.minify is 'terser', which the project does not depend on: Vite's own minifier is used");
}

/**
 * One build serves `/` and `/preview/{id}/`: scripts and styles name their assets relative to themselves and work under any prefix,
 * and only the HTML, whose URLs start at `/`, is rewritten when it is served.
 */
function renderBuiltUrl(filename, { hostType }) {
  return hostType === 'html' ? `/${filename}` : { relative: true };
}

/** A library or server build that also has a page can be previewed: the page is what the user wants to see. */
function dropLibraryMode(job, build, plugins) {
  const options = [build.rollupOptions, build.rolldownOptions].filter(Boolean);
  const input = options.find((option) => option.input)?.input;
  const reason = build.lib ? 'build.lib' : build.ssr ? 'build.ssr' : input && !htmlInputs(input).length ? 'the input option' : undefined;
  if (!reason || htmlInputs(input).length) {
    build.lib = false;
    return;
  }
  if (!fs.existsSync(path.join(job.viteRoot, 'index.html'))) {
    throw noPage(plugins, `This project has no HTML page to preview: ${reason} is set, and there is no index.html.`);
  }
  log(job, 'warn', `${reason} is ignored: the preview is built from index.html`);
  build.lib = false;
  for (const option of options) for (const key of ['input', 'external', 'output']) delete option[key];
}

/** Frameworks that have a server render each page have none to build. */
function noPage(plugins, message) {
  const names = [plugins ?? []].flat(Infinity).map((plugin) => plugin?.name);
  const [framework] = SERVER_FRAMEWORKS.find(([, pattern]) => names.some((name) => pattern.test(name))) ?? [];
  const reason = `This is a ${framework} project, whose pages are rendered by a server. A preview shows what runs in the browser alone.`;
  return new Refusal('config', framework ? reason : message);
}

const htmlInputs = (input) => inputsOf(input).filter((file) => file.endsWith('.html'));

function inputsOf(input) {
  if (!input) return [];
  return (typeof input === 'string' ? [input] : Object.values(input)).filter((file) => typeof file === 'string');
}

function checkConfig(kept, config) {
  const { job, vite } = kept;
  if (job.settled || kept !== session) throw new Error('the job is over, so its build ends here');
  job.viteRoot = config.root;
  Object.assign(config, { base: '/', cacheDir: job.cache_dir, configFile: job.configFile });
  if ('rawBase' in config) config.rawBase = '/';
  if ('decodedBase' in config) config.decodedBase = '/';
  config.env.BASE_URL = '/';
  config.experimental.renderBuiltUrl = renderBuiltUrl;
  for (const build of [config.build, config.environments?.client?.build]) if (build) forceBuild(job, build);
  const entries = entriesOf(config);
  skipCheckers(job, config.plugins);
  kept.layer.configure(config, job.root);
  const { had, viteRoot } = job;
  kept.introduce = (to) => {
    Object.assign(to, { had, viteRoot, configured: true });
    announce(to, vite, config, entries);
    warningsOf(had.base, config, entries).forEach((message) => log(to, 'warn', message));
  };
  kept.introduce(job);
}

function skipCheckers(job, plugins) {
  for (const plugin of plugins.filter(({ name }) => CHECKERS.test(name))) {
    for (const key of Object.keys(plugin)) if (key !== 'name') delete plugin[key];
    log(job, 'info', `${plugin.name} is skipped: a preview is built whatever it finds`);
  }
}

function entriesOf({ root, build, plugins }) {
  const input = build.rolldownOptions?.input ?? build.rollupOptions?.input;
  if (!input) return ['index.html'];
  const pages = htmlInputs(input);
  if (!pages.length) throw noPage(plugins, 'This project builds no HTML page, so there is nothing to preview.');
  return pages.map((page) => path.relative(root, path.resolve(root, page)));
}

function announce(job, vite, config, entries) {
  send({
    type: 'config',
    vite: vite.version,
    bundler: vite.bundler,
    root: config.root,
    base: job.had.base,
    out_dir: job.had.outDir,
    assets_dir: config.build.assetsDir,
    spa: (config.appType ?? 'spa') === 'spa' && entries.length === 1,
    entries: entries.slice(0, MAX_ENTRIES),
  });
}

// --- jobs -------------------------------------------------------------------------------------------------------------------------

function parseJob(line) {
  const job = { mode: 'production', editions: [], changed: [], env: {}, ...JSON.parse(line), modules: [], warnings: 0 };
  useEnvironment(job.env);
  job.finished = new Promise((resolve) => (job.finish = resolve));
  if (job.warm) return job;
  job.root = fs.realpathSync(job.root);
  job.configFile = findConfigFile(job.root);
  return job;
}

/** Vite lets the environment win over `.env` files. What the last job was given is gone with it. */
function useEnvironment(env) {
  for (const [name, value] of given) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  given = Object.keys(env).map((name) => [name, process.env[name]]);
  Object.assign(process.env, env);
}

async function build(job) {
  const start = performance.now();
  send({ type: 'took' });
  process.chdir(job.root);
  if (spent || (session && isStale(job))) return settle(job, { type: 'stale' });
  const output = await attempt(job);
  const assets = new Set([output].flat().flatMap((bundle) => bundle.output.map((file) => file.fileName)));
  const ms = Math.round(performance.now() - start);
  tellLayer(session.layer);
  settle(job, { type: 'done', modules: job.modules.length, assets: assets.size, warnings: job.warnings, ms });
}

/** `changed` names what has changed since the build before, from the project's folder: `path`, or `+path` where it is new or gone. */
function isStale(job) {
  if (!session.reads || session.job.root !== job.root || JSON.stringify(session.job.env) !== JSON.stringify(job.env)) return true;
  return job.changed.some((change) => {
    const isNewOrGone = change.startsWith('+');
    return concerns(session.reads, path.join(job.work, isNewOrGone ? change.slice(1) : change), isNewOrGone);
  });
}

/**
 * With what was kept; anew where that fails, since plugins that have built before may fail where new ones don't; and plainly where the
 * layer does not fit.
 */
async function attempt(job) {
  for (let plain = job.plain, reused = Boolean(session?.builder); ; reused = false) {
    if (!reused) session = await begin(job, plain);
    session.job = job;
    const { layer } = session;
    try {
      if (reused) session.introduce(job);
      return await once();
    } catch (error) {
      if (job.settled) throw error;
      if (layer.failed) {
        log(job, 'info', `a plain build is needed: ${layer.failed}`);
        tellLayer(layer);
        plain = layer.failed;
      } else if (!reused) {
        session = null;
        throw error;
      }
    }
  }
}

async function begin(job, plain) {
  const endReads = noteReads();
  const vite = await loadVite(job.root);
  return { job, vite, endReads, layer: new LayeredBuild({ editions: job.editions, plain }), reads: undefined, builder: undefined, introduce: undefined };
}

/** Since Vite 6 a builder can build again, with plugins that know what they did before. */
async function once() {
  const { job, vite } = session;
  const inline = session.builder ? undefined : inlineConfig(session);
  try {
    if (!vite.createBuilder) return await vite.build(inline);
    if (session.builder) copyPublicFiles(job);
    session.builder ??= await vite.createBuilder(inline, true);
    return await session.builder.build(Object.values(session.builder.environments)[0]);
  } catch (error) {
    throw job.configured || !inline?.configFile ? error : await mapped(job, vite, inline, error);
  }
}

/** Vite does so for the first build of a builder alone. */
function copyPublicFiles(job) {
  const { publicDir, build } = Object.values(session.builder.environments)[0].config;
  if (publicDir && build.copyPublicDir && fs.existsSync(publicDir)) fs.cpSync(publicDir, job.out_dir, { recursive: true });
}

function tellLayer({ edition, reason, failed, variant, wants }) {
  const files = [...wants];
  for (let n = 0; n < files.length; n += WANTS_AT_ONCE) send({ type: 'wants', files: files.slice(n, n + WANTS_AT_ONCE) });
  send({ type: 'layer', edition: failed ? undefined : edition?.id, reason: failed ?? reason, variant });
}

/**
 * Source maps cost some 50 ms of every build, so they are only on for a second load of a config that failed: it throws the same again,
 * with the lines that the user knows.
 */
async function mapped(job, vite, { configFile }, error) {
  process.setSourceMapsEnabled(true);
  try {
    const load = vite.loadConfigFromFile({ command: 'build', mode: job.mode }, configFile, job.root, 'silent');
    await Promise.race([load, setTimeout(MAX_SECOND_LOAD_MS, undefined, { ref: false })]);
    return error;
  } catch (again) {
    job.mapped = again?.message === error?.message && Boolean(again?.stack);
    return job.mapped ? again : error;
  } finally {
    process.setSourceMapsEnabled(false);
  }
}

/** Loads what builds on a layer will need, and builds a page of nothing, so that what is loaded late is there too. */
async function warmUp(job) {
  const { root, work } = job;
  // Some tools remember for good where they were loaded.
  process.chdir(work);
  const vite = await loadVite(root);
  const { dependencies, devDependencies } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
  const tools = Object.keys({ ...dependencies, ...devDependencies }).filter((name) => BUILD_TOOLS.test(name));
  const script = path.join(root, 'node_modules/.vite-temp', 'previewd-warm.mjs');
  fs.writeFileSync(script, tools.map((name) => `await import(${JSON.stringify(name)}).catch(() => {});\n`).join(''));
  await import(pathToFileURL(script));
  const page = path.join(job.cache_dir, 'warm-up');
  fs.mkdirSync(page, { recursive: true });
  fs.writeFileSync(path.join(page, 'index.html'), '<script type="module" src="/main.ts"></script>');
  fs.writeFileSync(path.join(page, 'main.ts'), 'import "./main.css"; const text: string = "warm"; document.title = text;');
  fs.writeFileSync(path.join(page, 'main.css'), 'body { color: red }');
  const options = { root: page, configFile: false, envFile: false, publicDir: false, logLevel: 'silent', css: { postcss: {} }, build: { write: false } };
  await vite.build({ ...options, cacheDir: job.cache_dir });
  settle(job, { type: 'warmed' });
}

/** Ends with the first verdict, not with the build's promise: that may never settle after an error outside of it. */
async function run(line) {
  let job;
  try {
    job = parseJob(line);
  } catch (error) {
    return send({ type: 'failure', kind: 'internal', message: `The worker was given a bad job: ${error.message}` });
  }
  current = job;
  (job.warm ? warmUp(job) : build(job)).catch((error) => fail(job, error));
  await job.finished;
  current = null;
}

keepStdoutForMessages();
surviveUserCode();
watchReads();
// The daemon stops a build at the first of these, and begins it anew with sources that it may write.
watchWrites(() => current?.root, (file) => current.settled || send({ type: 'refused', path: path.relative(current.root, file) }));
send({ type: 'ready', node: process.versions.node });
for await (const line of readline.createInterface({ input: process.stdin })) await run(line);
exitForReal(0);
