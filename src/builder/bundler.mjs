// The bundler: runs inside the sandbox, without any project, and makes an edition of a layer: the packages that projects import,
// bundled once into ES modules that all of them share. One job on stdin, one line of JSON on stdout.
//
// 1. a facade for each entry, so that CommonJS packages have named exports too
// 2. all entries in one run of the layer's own Vite, so that what they share is there once
// 3. packages that do not belong in a layer are found and left out, with all that needs them; again until none is left
// 4. the modules, and `edition.json`, which tells workers what is in there
//
// Invariant: no file of a project is read and no configuration of one runs here; what a project's configuration means for packages
// (conditions, aliases, definitions) comes as data, the variant, and is part of the edition's name.

import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { fileOf, loadVite, packageDir } from './worker-vite.mjs';

const ROUNDS_MAX = 8;
const NAMES_TIMEOUT_MS = 10_000;
const NAMES_BYTES_MAX = 16 * 1024 * 1024;
const EXPORTS_MAX = 10_000;
const PLAIN_MODULE = /\.(?:js|mjs|cjs|json)$/;
/** Of `import.meta.env`: the same for every project. */
const SAME_FOR_ALL = ['MODE', 'PROD', 'DEV', 'SSR'];
/** Constants that a configuration may define for packages too. */
const DEFINABLE = /\b__[A-Z][A-Z0-9_]*__\b/g;
const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u;

const { value: line } = await readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]().next();
const job = JSON.parse(line);
const entriesDir = path.join(job.cache_dir, 'entries');
const vite = await loadVite(job.root);

/** @typedef {{file: string, key: string}} Entry a package's module that is to be imported by name, and the name of its facade */

// --- facades ----------------------------------------------------------------------------------------------------------------------

/** Named for people who look at a browser's network panel: `react-dom__client`. */
function named(files) {
  const taken = new Set();
  return files.map((file) => {
    const dir = packageDir(file) ?? path.dirname(file);
    const name = dir.slice(dir.lastIndexOf('node_modules/') + 'node_modules/'.length);
    const inner = path.relative(dir, file).replace(/\.[cm]?js$/, '').replace(/(?:^|\/)index$/, '');
    const wish = [name, inner].filter(Boolean).join('__').replace(/[^A-Za-z0-9_-]+/g, '-').replace(/^-+/, '');
    let key = wish;
    for (let n = 2; taken.has(key.toLowerCase()); n++) key = `${wish}-${n}`;
    taken.add(key.toLowerCase());
    return { file, key };
  });
}

const facadeOf = (entry) => path.join(entriesDir, `${entry.key}.js`);

/** What the package itself exports by `export`, or `undefined` where it is CommonJS. */
function exportsOf(context, code) {
  let body;
  try {
    ({ body } = context.parse(code));
  } catch {
    return undefined;
  }
  const declares = (type) => body.some((node) => node.type.startsWith(type));
  if (!declares('Export') && !declares('Import')) return undefined;
  const named = body.filter(({ type }) => type === 'ExportNamedDeclaration').flatMap(({ specifiers }) => specifiers);
  const isDefault = ({ exported }) => (exported.name ?? exported.value) === 'default';
  return { default: body.some(({ type }) => type === 'ExportDefaultDeclaration') || named.some(isDefault) };
}

async function writeFacades(context, entries) {
  fs.rmSync(entriesDir, { recursive: true, force: true });
  fs.mkdirSync(entriesDir, { recursive: true });
  // Bundlers treat a default import of a CommonJS package differently in a package that calls itself a module.
  fs.writeFileSync(path.join(entriesDir, 'package.json'), JSON.stringify({ type: job.variant.type }));
  const common = [];
  for (const entry of entries) {
    const own = exportsOf(context, fs.readFileSync(entry.file, 'utf8'));
    if (!own) common.push(entry);
    const from = JSON.stringify(entry.file);
    if (own) fs.writeFileSync(facadeOf(entry), `export * from ${from};\n${own.default ? `export { default } from ${from};\n` : ''}`);
  }
  const names = await namesOf(common.map(({ file }) => file));
  for (const entry of common) {
    const list = ['default', ...(names.get(entry.file) ?? []).filter((name) => IDENTIFIER.test(name) && name !== 'default')];
    fs.writeFileSync(facadeOf(entry), `export { ${list.slice(0, EXPORTS_MAX).join(', ')} } from ${JSON.stringify(entry.file)};\n`);
  }
}

/** The names that CommonJS modules export, by asking them: in a process of their own, since some end or block the one that they are in. */
async function namesOf(files) {
  const asked = async (some) => {
    const script = path.join(path.dirname(fileURLToPath(import.meta.url)), 'bundler-names.mjs');
    const options = { timeout: NAMES_TIMEOUT_MS, killSignal: 'SIGKILL', maxBuffer: NAMES_BYTES_MAX };
    const { stdout } = await promisify(execFile)(process.execPath, [script, ...some], options);
    return Object.entries(JSON.parse(stdout.slice(stdout.lastIndexOf('\n') + 1)));
  };
  if (!files.length) return new Map();
  try {
    return new Map(await asked(files));
  } catch {
    const each = await Promise.all(files.map((file) => asked([file]).catch(() => [])));
    return new Map(each.flat());
  }
}

// --- one run ----------------------------------------------------------------------------------------------------------------------

/** Bundles `entries`; tells the output, the graph of modules, and which modules do not belong in a layer. */
async function run(entries) {
  const seen = { misfits: new Map(), graph: new Map(), words: new Set(), output: [] };
  const plugin = {
    name: 'previewd:layer',
    enforce: 'pre',
    buildStart() {
      return writeFacades(this, entries);
    },
    async resolveId(source, importer, options) {
      if (!importer || /^[./\0]/.test(source)) return null;
      const resolved = await this.resolve(source, importer, { ...options, skipSelf: true });
      if (resolved) return resolved;
      seen.misfits.set(fileOf(importer), `imports ${source}, which is not there`);
      return { id: source, external: true };
    },
    transform(code, id) {
      if (id.startsWith('\0') || id.startsWith(entriesDir)) return null;
      if (isTiedToItsPlace(this, code)) seen.misfits.set(fileOf(id), 'depends on where it lies or on a project’s settings');
      for (const word of code.match(DEFINABLE) ?? []) seen.words.add(word);
      return null;
    },
    buildEnd() {
      for (const id of this.getModuleIds()) {
        const { importedIds = [], dynamicallyImportedIds = [] } = this.getModuleInfo(id) ?? {};
        seen.graph.set(id, [...importedIds, ...dynamicallyImportedIds]);
        if (!id.startsWith('\0') && (id.includes('?') || !PLAIN_MODULE.test(id))) seen.misfits.set(fileOf(id), `is not a plain module: ${path.basename(id)}`);
      }
    },
  };
  const { alias, conditions, mainFields, dedupe, define } = job.variant;
  const built = await vite.build({
    root: job.root,
    configFile: false,
    envFile: false,
    publicDir: false,
    base: './',
    mode: 'production',
    logLevel: 'silent',
    cacheDir: path.join(job.cache_dir, 'vite'),
    define,
    resolve: { alias, dedupe, ...(conditions && { conditions }), ...(mainFields && { mainFields }) },
    plugins: [plugin],
    css: { postcss: {} },
    build: {
      write: false,
      modulePreload: false,
      reportCompressedSize: false,
      rollupOptions: {
        input: Object.fromEntries(entries.map((entry) => [entry.key, facadeOf(entry)])),
        preserveEntrySignatures: 'strict',
        output: { format: 'es', entryFileNames: '[name].js', chunkFileNames: 'shared-[hash].js' },
      },
    },
  });
  seen.output = [built].flat()[0].output;
  return seen;
}

/** Whether a module asks where it lies, or for a project's settings: that works only inside of the project's own build. */
function isTiedToItsPlace(context, code) {
  if (!code.includes('import.meta')) return false;
  try {
    const todo = [context.parse(code)];
    while (todo.length) {
      const node = todo.pop();
      const { object, property } = node.type === 'MemberExpression' ? node : {};
      if (object?.type === 'MemberExpression' && isMeta(object, 'env')) {
        if (!SAME_FOR_ALL.includes(property.name)) return true;
        continue;
      }
      // Whether there is an environment at all is the same for all; and none is there that reloads modules.
      if (isMeta(node, 'env') || isMeta(node, 'hot')) continue;
      if (node.type === 'MetaProperty' && node.meta?.name === 'import') return true;
      for (const value of Object.values(node)) if (value && typeof value === 'object') todo.push(...[value].flat().filter((each) => typeof each?.type === 'string'));
    }
    return false;
  } catch {
    return true;
  }
}

const isMeta = ({ object, property }, name) => object?.type === 'MetaProperty' && property?.name === name;

/** Packages of `misfits`, and of every entry that leads to one of them. */
function leftOut(entries, { graph, misfits }, before) {
  const out = new Map(before);
  for (const [file, reason] of misfits) if (packageDir(file)) out.set(packageDir(file), reason);
  for (let grown = true; grown; ) {
    grown = false;
    for (const entry of entries.filter(({ file }) => !out.has(packageDir(file)))) {
      const culprit = leadsTo(graph, entry.file, (file) => misfits.has(file) || out.has(packageDir(file)));
      if (!culprit) continue;
      const dir = packageDir(culprit) ?? culprit;
      out.set(packageDir(entry.file), `needs ${path.basename(dir)}, which cannot be in a layer`);
      grown = true;
    }
  }
  return out;
}

function leadsTo(graph, from, isIt) {
  const todo = [from];
  const seen = new Set(todo);
  while (todo.length) {
    const id = todo.pop();
    // CommonJS plugins stand proxies of their own between modules.
    const file = fileOf(id.replace(/^\0/, ''));
    if (id !== from && isIt(file)) return file;
    for (const next of graph.get(id) ?? []) if (!seen.has(next)) seen.add(next) && todo.push(next);
  }
  return undefined;
}

// --- the edition ------------------------------------------------------------------------------------------------------------------

async function make() {
  let excluded = new Map();
  const wished = await wishes();
  for (let round = 0; round < ROUNDS_MAX; round++) {
    const entries = named(wished.filter((file) => !excluded.has(packageDir(file))));
    if (!entries.length) throw new Error('none of the packages can be in a layer');
    let seen;
    try {
      seen = await run(entries);
    } catch (error) {
      const file = [error?.id, error?.loc?.file, ...(error?.watchFiles ?? [])].find((name) => typeof name === 'string' && packageDir(fileOf(name)));
      if (!file || excluded.has(packageDir(fileOf(file)))) throw error;
      excluded.set(packageDir(fileOf(file)), `does not bundle: ${String(error.message).split('\n')[0]}`);
      continue;
    }
    const grown = leftOut(entries, seen, excluded);
    if (grown.size === excluded.size) return write(entries, seen, excluded);
    excluded = grown;
  }
  throw new Error('too many packages cannot be in a layer');
}

/** The entries that were asked for, and the main modules of packages that the manifest names, where there are such. */
async function wishes() {
  const config = await vite.resolveConfig({ root: job.root, configFile: false, envFile: false, logLevel: 'silent', resolve: resolveOptions() }, 'build', 'production');
  const resolve = config.createResolver();
  const files = new Set(job.files);
  for (const name of job.extras) {
    const file = await resolve(name, path.join(job.root, 'index.html')).catch(() => undefined);
    if (file && path.isAbsolute(file) && /\.[cm]?js$/.test(file) && packageDir(file)) files.add(file);
  }
  return [...files].sort();
}

function resolveOptions() {
  const { alias, conditions, mainFields, dedupe } = job.variant;
  return { alias, dedupe, ...(conditions && { conditions }), ...(mainFields && { mainFields }) };
}

function write(entries, seen, excluded) {
  const modules = path.join(job.out_dir, 'public');
  fs.mkdirSync(modules, { recursive: true });
  const chunks = new Map(seen.output.filter(({ type }) => type === 'chunk').map((chunk) => [chunk.fileName, chunk]));
  for (const file of seen.output) fs.writeFileSync(path.join(modules, file.fileName), file.type === 'chunk' ? file.code : file.source);
  const edition = { variant: JSON.stringify(job.variant), entries: {}, excluded: Object.fromEntries(excluded), packages: [], words: [...seen.words] };
  for (const entry of entries) {
    const chunk = chunks.get(`${entry.key}.js`);
    edition.entries[entry.file] = { file: chunk.fileName, exports: chunk.exports, needs: closure(chunks, chunk) };
  }
  edition.packages = [...new Set([...seen.graph.keys()].map((id) => packageDir(fileOf(id.replace(/^\0/, '')))).filter(Boolean))];
  fs.writeFileSync(path.join(job.out_dir, 'edition.json'), JSON.stringify(edition));
  return { entries: entries.length, modules: seen.graph.size, excluded: excluded.size };
}

/** The other files that a module needs before it runs. */
function closure(chunks, from) {
  const found = new Set();
  const todo = [...from.imports];
  while (todo.length) {
    const name = todo.pop();
    if (!chunks.has(name) || found.has(name)) continue;
    found.add(name);
    todo.push(...chunks.get(name).imports);
  }
  return [...found];
}

const say = (message) => fs.writeSync(1, `${JSON.stringify(message)}\n`);
try {
  say({ type: 'edition', ...(await make()) });
} catch (error) {
  say({ type: 'failed', message: String(error?.message ?? error).slice(0, 2000) });
}
process.exit(0);
