// The Vite worker: runs inside the sandbox and drives the project's own Vite (4 to 8) through its public JavaScript API.
// One job a line on stdin, JSON messages on the real stdout, everything that the project prints on stderr.
//
// 1. `ready`, once  2. per job: load the project's Vite  3. `config`: resolved, forced and checked  4. `log`s
// 5. exactly one `done` or `failure`
//
// Invariant: all messages are claims. Code of the project runs in this same process and could forge any of them, so the daemon
// checks the output folder itself and relies on this file only for what it tells the user.

import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { createRequire } from 'node:module';
import { setTimeout } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { Refusal, describeFailure, plain, warningsOf } from './worker-diagnostics.mjs';
import { watchWrites } from './worker-writes.mjs';

const MAX_LINE_BYTES = 64 * 1024;
const MAX_TEXT_CHARS = 16 * 1024;
const MAX_ENTRIES = 32;
const MAX_SECOND_LOAD_MS = 3000;
const WRITE_RETRY_MS = 2;
const CONFIG_FILES = ['js', 'mjs', 'ts', 'cjs', 'mts', 'cts'].map((extension) => `vite.config.${extension}`);
/** Vite before 6 writes the bundled config beside the original, which is read-only here. */
const FIRST_MAJOR_WITH_VITE_TEMP = 6;
/** Before it there are no relative assets (`renderBuiltUrl`), and esbuild came by an install script. */
const FIRST_MAJOR = 3;

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

const exitForReal = process.reallyExit.bind(process);
/** The job that is running; what user code throws outside of any promise of ours is blamed on it. */
let current = null;
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
  const blame = (error) => current && fail(current, error);
  process.on('uncaughtException', blame);
  process.on('unhandledRejection', blame);
  const stuck = () => blame(new Refusal('config', 'The build stopped before its end: it waits for something that never comes.'));
  process.on('beforeExit', stuck);
  process.on('exit', stuck);
}

function refuseExit(call) {
  const refusal = new Refusal('config', `${caller()} called ${call}, which ends the build. Throw an error instead.`);
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

/** The file is named, not looked up in `exports`: it is the ESM entry of all of 4 to 8, and `require` conditions pick another one. */
async function loadVite(root) {
  const manifest = resolveFrom(root, 'vite/package.json');
  if (!manifest) throw new Refusal('config', 'This project does not depend on Vite: no "vite" package was found from its folder.');
  const vite = await import(pathToFileURL(path.join(path.dirname(manifest), 'dist/node/index.js')));
  // What a package in Vite's place has in its manifest is a version of its own.
  const version = vite.version ?? JSON.parse(fs.readFileSync(manifest, 'utf8')).version;
  const major = Number.parseInt(version, 10);
  if (major < FIRST_MAJOR) throw new Refusal('config', `This project uses Vite ${version}; previews are built by Vite ${FIRST_MAJOR} or newer.`);
  return { ...vite, major, bundler: vite.rolldownVersion ? 'rolldown' : 'rollup' };
}

function resolveFrom(root, specifier) {
  try {
    return createRequire(path.join(root, 'package.json')).resolve(specifier);
  } catch {
    return undefined;
  }
}

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
function inlineConfig(job, vite) {
  return {
    configFile: writableConfigFile(job, vite.major) ?? false,
    mode: job.mode,
    clearScreen: false,
    // Takes away only the reporter, which in Vite 8 is native and writes to fd 1 past us; the logger below gets every level.
    logLevel: 'warn',
    customLogger: loggerOf(job),
    plugins: [previewPlugin(job, vite)],
  };
}

function loggerOf(job) {
  const seen = new Set();
  const once = (message) => {
    if (!seen.has(message)) log(job, 'warn', message);
    seen.add(message);
  };
  return {
    hasWarned: false,
    info: (message) => log(job, 'info', message),
    warn: (message) => log(job, ABOUT_VITES_FUTURE.test(message) ? 'info' : 'warn', message),
    warnOnce: once,
    error: (message) => log(job, 'error', message),
    clearScreen: () => {},
    hasErrorLogged: () => false,
  };
}

// --- the forced configuration -----------------------------------------------------------------------------------------------------

/** Post in both senses and last in the list, so no plugin of the project can undo it; `configResolved` forces what one changed later. */
function previewPlugin(job, vite) {
  return {
    name: 'previewd',
    enforce: 'post',
    config: { order: 'post', handler: (config) => forceConfig(job, config) },
    configResolved: { order: 'post', handler: (config) => checkConfig(job, vite, config) },
    buildEnd() {
      job.modules = [...this.getModuleIds()];
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

function checkConfig(job, vite, config) {
  if (job.settled) throw new Error('the job is over, so its build ends here');
  job.viteRoot = config.root;
  Object.assign(config, { base: '/', cacheDir: job.cache_dir, configFile: job.configFile });
  if ('rawBase' in config) config.rawBase = '/';
  if ('decodedBase' in config) config.decodedBase = '/';
  config.env.BASE_URL = '/';
  config.experimental.renderBuiltUrl = renderBuiltUrl;
  for (const build of [config.build, config.environments?.client?.build]) if (build) forceBuild(job, build);
  const entries = entriesOf(config);
  job.configured = true;
  skipCheckers(job, config.plugins);
  announce(job, vite, config, entries);
  warningsOf(job.had.base, config, entries).forEach((message) => log(job, 'warn', message));
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
  const { root, out_dir, cache_dir, mode, env, source_maps } = JSON.parse(line);
  useEnvironment(env ?? {});
  const job = { root: fs.realpathSync(root), out_dir, cache_dir, source_maps, mode: mode ?? 'production', modules: [], warnings: 0 };
  job.finished = new Promise((resolve) => (job.finish = resolve));
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
  process.chdir(job.root);
  const vite = await loadVite(job.root);
  const inline = inlineConfig(job, vite);
  const output = await vite.build(inline).catch(async (error) => {
    throw job.configured || !inline.configFile ? error : await mapped(job, vite, inline, error);
  });
  const assets = new Set([output].flat().flatMap((bundle) => bundle.output.map((file) => file.fileName)));
  const ms = Math.round(performance.now() - start);
  settle(job, { type: 'done', modules: job.modules.length, assets: assets.size, warnings: job.warnings, ms });
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

/** Ends with the first verdict, not with the build's promise: that may never settle after an error outside of it. */
async function run(line) {
  let job;
  try {
    job = parseJob(line);
  } catch (error) {
    return send({ type: 'failure', kind: 'internal', message: `The worker was given a bad job: ${error.message}` });
  }
  current = job;
  build(job).catch((error) => fail(job, error));
  await job.finished;
  current = null;
}

keepStdoutForMessages();
surviveUserCode();
// The daemon stops a build at the first of these, and begins it anew with sources that it may write.
watchWrites(() => current?.root, (file) => current.settled || send({ type: 'refused', path: path.relative(current.root, file) }));
send({ type: 'ready', node: process.versions.node });
for await (const line of readline.createInterface({ input: process.stdin })) await run(line);
exitForReal(0);
