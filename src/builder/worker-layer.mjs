// What of a build comes from a layer: imports of packages that an edition of the layer has are left as they are, as URLs of its modules.
//
// 1. what the configuration means for packages: the variant, or why no layer can serve this project
// 2. the edition for it  3. each import of a package: in the edition, left out of it on purpose, or missing
// 4. nothing may be there twice, and nothing may be missing: else the build is made plainly, and says why
//
// Invariant: a module is either in the edition or in the build, never in both. What is missing is only told here (`wants`): the daemon
// has the next edition made.

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileOf, packageDir } from './worker-vite.mjs';

const LAYERS_URL = '/_previewd/layers';
const PLAIN_MODULE = /\.[cm]?js$/;
const RELATIVE_OR_VIRTUAL = /^[./\0]|^[a-z][a-z0-9+.-]*:|\?/i;
const VARIANT_CHARS_MAX = 8 * 1024;
/** Constants that packages are known to be built around. Others of the same form are the app's own, until a package uses one. */
const KNOWN_CONSTANT = /^__(?:VUE|INTLIFY|FEATURE)_/;
const APPS_CONSTANT = /^__[A-Z0-9_]*__$/;

/** They change packages too, or what imports of them mean. By the name of a plugin. */
const REACH_INTO_PACKAGES = [
  [/^vite:legacy/, 'the legacy plugin builds for browsers without modules'],
  [/node-polyfills/, 'Node.js polyfills are put into packages'],
  [/federation/, 'module federation decides where packages come from'],
  [/^(?:vite-plugin-externals|vite:externals|vite-plugin-cdn-import|vite:cdn-import|external-globals)/, 'a plugin has packages come from elsewhere'],
  [/^inject$/, 'a plugin puts imports into packages'],
];

/** Vite's own plugins, and those that are known to look at an app's modules alone. */
const LEAVES_PACKAGES_ALONE =
  /^(?:vite:|alias$|commonjs$|builtin:|native:|rolldown|previewd|@tailwindcss\/vite|vite-plugin-svelte|vite-tsconfig-paths|lovable-tagger|vite-plugin-component-tagger)/;
const SHARED_STATE = /\b(?:window|globalThis|self|global|document|process|localStorage|sessionStorage|navigator|Object\.assign|defineProperty)\b/;

/** A build that cannot be made with the layer; the message says why. */
export class Unlayered extends Error {}

export class LayeredBuild {
  /** `editions`: folders of the layer's editions, newest first. `plain`: why none can serve, as far as is known already. */
  constructor({ editions = [], plain }) {
    this.editions = editions;
    this.reason = plain;
    this.edition = undefined;
    this.variant = undefined;
    this.wants = new Set();
    this.decisions = new Map();
    this.setups = new Map();
    this.meddler = undefined;
    this.failed = undefined;
  }

  /** Step 1 and 2, with the resolved configuration, before anything is built. */
  configure(config, root) {
    this.reason ??= reachesIntoPackages(config);
    if (this.reason) return;
    const unknown = config.plugins.filter(mayChangePackages);
    for (const plugin of unknown) this.observe(plugin);
    const editions = this.editions.map(read).filter(Boolean);
    const words = new Set(editions.flatMap(({ words }) => words));
    const { variant, reason } = variantOf(config, root, words, unknown);
    this.variant = variant;
    this.reason = reason;
    this.edition = reason ? undefined : editions.find((edition) => edition.variant === variant);
    if (this.edition) dropNamedChunks(config);
  }

  /**
   * A plugin that nobody knows is watched: whether it has a hand in packages. An edition's name holds the plugin's code, and it is made of
   * packages alone that the plugin was seen to leave alone, so what was seen holds for all that use the edition.
   */
  observe(plugin) {
    const isPackage = (id) => typeof id === 'string' && Boolean(packageDir(fileOf(id))) && PLAIN_MODULE.test(fileOf(id));
    const noteIf = (meddles, what) => {
      if (meddles) this.meddler ??= `the plugin ${plugin.name} ${what}`;
    };
    watchHook(plugin, 'transform', (result, code, id) => noteIf(isPackage(id) && codeOf(result) !== undefined && codeOf(result) !== code, 'changes packages'));
    watchHook(plugin, 'load', (result, id) => noteIf(isPackage(id) && codeOf(result) !== undefined, 'changes packages'));
    watchHook(plugin, 'resolveId', (result, _, importer) => noteIf(isPackage(importer) && Boolean(result), 'decides what packages import'));
  }

  plugin() {
    const layer = this;
    return {
      name: 'previewd:layer',
      enforce: 'pre',
      resolveId(source, importer, options) {
        if (!importer || layer.reason || RELATIVE_OR_VIRTUAL.test(source) || path.isAbsolute(source)) return null;
        return layer.resolve(this, source, importer, options);
      },
      buildEnd(error) {
        if (layer.meddler) layer.giveUp();
        if (error || !layer.edition) return;
        layer.checkTwice(this.getModuleIds());
        layer.checkOrder(this);
      },
      generateBundle(_, bundle) {
        layer.checkExports(Object.values(bundle));
      },
      transformIndexHtml: { order: 'post', enforce: 'post', handler: tags, transform: tags },
    };
    function tags(html, { chunk, bundle }) {
      return chunk && bundle ? layer.preloads(chunk, bundle) : undefined;
    }
  }

  resolve(context, source, importer, options) {
    // Packages resolve what they import by where they lie, a project's files all alike within a folder.
    const key = `${path.dirname(importer)}\0${options?.kind === 'require-call'}\0${source}`;
    let decision = this.decisions.get(key);
    if (!decision) this.decisions.set(key, (decision = this.decide(context, source, importer, options)));
    return decision;
  }

  /** Step 3. */
  async decide(context, source, importer, options) {
    const resolved = await context.resolve(source, importer, { ...options, skipSelf: true });
    if (!resolved || resolved.external) return resolved;
    const file = fileOf(resolved.id);
    const dir = packageDir(file);
    if (!dir || file !== resolved.id || !PLAIN_MODULE.test(file)) return resolved;
    if (!this.edition) {
      if (!packageDir(importer)) this.wants.add(file);
      return resolved;
    }
    if (dir in this.edition.excluded) return resolved;
    const entry = this.edition.entries[file];
    if (!entry) {
      this.wants.add(file);
      if (this.edition.packages.has(dir)) this.fail(`${path.relative(path.dirname(dir), file)} is not in the layer yet`);
      return resolved;
    }
    if (options?.kind === 'require-call') this.fail(`${nameOf(packageDir(importer) ?? importer)} is CommonJS and requires ${source}`);
    return { id: this.url(entry.file), external: true, moduleSideEffects: resolved.moduleSideEffects ?? true };
  }

  url(file) {
    return `${LAYERS_URL}/${this.edition.id}/${file}`;
  }

  /** Step 4. */
  checkTwice(ids) {
    for (const id of ids) {
      const file = fileOf(id.replace(/^\0/, ''));
      const dir = packageDir(file);
      if (dir && PLAIN_MODULE.test(file) && this.edition.packages.has(dir) && !(dir in this.edition.excluded)) {
        this.wants.add(file);
        this.fail(`${nameOf(dir)} would be there twice`);
      }
    }
  }

  /** Modules of a layer run before the build's own, whichever is imported first: that matters where one of ours sets something up. */
  checkOrder(context) {
    for (const id of context.getModuleIds()) if (context.getModuleInfo(id)?.isEntry) this.checkOrderOf(context, id);
  }

  /** Visits modules in the order in which they would run in a plain build. */
  checkOrderOf(context, entry) {
    const seen = new Set();
    let early;
    for (const todo = [{ id: entry }]; todo.length; ) {
      const { id, imported } = todo.pop();
      if (imported) {
        if (!early && this.setsUp(context, id)) early = path.basename(fileOf(id));
      } else if (!seen.has(id)) {
        seen.add(id);
        if (early && id.startsWith(LAYERS_URL)) this.fail(`${early} changes what packages see, and runs before one of them`);
        todo.push({ id, imported: true });
        const next = context.getModuleInfo(id)?.importedIds ?? [];
        todo.push(...[...next].reverse().map((each) => ({ id: each })));
      }
    }
  }

  /** Whether a module changes what others see as soon as it is loaded. */
  setsUp(context, id) {
    const { code } = context.getModuleInfo(id) ?? {};
    if (!code || !SHARED_STATE.test(code) || packageDir(id) || id.startsWith('\0')) return false;
    const known = this.setups.get(id);
    if (known?.code === code) return known.does;
    const does = changesSharedState(context, code);
    this.setups.set(id, { code, does });
    return does;
  }

  checkExports(files) {
    if (!this.edition) return;
    const entries = new Map(Object.values(this.edition.entries).map((entry) => [this.url(entry.file), entry]));
    for (const { importedBindings = {} } of files) {
      for (const [url, names] of Object.entries(importedBindings)) {
        const missing = names.find((name) => name !== '*' && entries.has(url) && !entries.get(url).exports.includes(name));
        if (missing) this.fail(`${path.basename(url, '.js')} does not export ${missing} by name`);
      }
    }
  }

  /** What a plugin has a hand in belongs in no edition, so none is asked for. */
  giveUp() {
    this.wants.clear();
    if (this.edition) this.fail(this.meddler);
    this.reason ??= this.meddler;
  }

  fail(reason) {
    this.failed ??= reason;
    throw new Unlayered(reason);
  }

  /** What a page's first module needs of the layer is asked for with the page, not when the module has been read. */
  preloads(chunk, bundle) {
    if (!this.edition) return undefined;
    const byUrl = new Map(Object.values(this.edition.entries).map((entry) => [this.url(entry.file), entry]));
    const found = new Set();
    const seen = new Set();
    for (const todo = [...chunk.imports]; todo.length; ) {
      const name = todo.pop();
      if (seen.has(name)) continue;
      seen.add(name);
      todo.push(...(bundle[name]?.imports ?? []));
      const entry = byUrl.get(name);
      if (entry) [entry.file, ...entry.needs].forEach((file) => found.add(this.url(file)));
    }
    return [...found].map((href) => ({ tag: 'link', attrs: { rel: 'modulepreload', crossorigin: true, href }, injectTo: 'head' }));
  }
}

/** By its statements outside of functions. One that cannot be parsed here is taken for harmless: it failed elsewhere, or is no script. */
function changesSharedState(context, code) {
  const isDefinition = ({ type }) => /^(?:Import|Export|Function|Class)/.test(type) && type !== 'ExportNamedDeclaration';
  const holdsCall = ({ type }) => /^(?:ExpressionStatement|If|Try|For|While|Block|Switch)/.test(type);
  try {
    return context.parse(code).body.some((node) => !isDefinition(node) && holdsCall(node) && SHARED_STATE.test(code.slice(node.start, node.end)));
  } catch {
    return false;
  }
}

const nameOf = (dir) => dir.slice(dir.lastIndexOf('node_modules/') + 'node_modules/'.length);

function read(dir) {
  try {
    const edition = JSON.parse(fs.readFileSync(path.join(dir, 'edition.json'), 'utf8'));
    return { ...edition, id: path.basename(dir), packages: new Set(edition.packages) };
  } catch {
    return undefined;
  }
}

// --- the variant ------------------------------------------------------------------------------------------------------------------

function reachesIntoPackages({ plugins, build }) {
  const [, reason] = REACH_INTO_PACKAGES.find(([pattern]) => plugins.some(({ name }) => pattern.test(name))) ?? [];
  if (reason) return reason;
  for (const options of [build.rollupOptions, build.rolldownOptions]) {
    if ([options?.external ?? []].flat().length) return 'build.rollupOptions.external has packages come from elsewhere';
    const outputs = [options?.output ?? []].flat();
    if (outputs.length > 1) return 'the configuration has several outputs';
    if (outputs.some(({ format, preserveModules }) => preserveModules || !['es', 'esm', 'module', undefined].includes(format))) {
      return 'the output is not one of ES modules';
    }
  }
  return undefined;
}

function mayChangePackages({ name, transform, load, resolveId }) {
  return Boolean(transform || load || resolveId) && !LEAVES_PACKAGES_ALONE.test(name);
}

const handlerOf = (hook) => (typeof hook === 'function' ? hook : hook?.handler);
const codeOf = (result) => (typeof result === 'string' ? result : result?.code);

/** Calls `look` with what a hook returned, and with its arguments. */
function watchHook(plugin, name, look) {
  const handler = handlerOf(plugin[name]);
  if (!handler) return;
  const watched = function (...args) {
    const result = handler.apply(this, args);
    if (typeof result?.then === 'function') return result.then((value) => (look(value, ...args), value));
    look(result, ...args);
    return result;
  };
  if (typeof plugin[name] === 'function') plugin[name] = watched;
  else plugin[name] = { ...plugin[name], handler: watched };
}

function fingerprint(plugin) {
  const hooks = ['transform', 'load', 'resolveId'].map((name) => String(handlerOf(plugin[name]) ?? ''));
  return `${plugin.name}:${createHash('sha256').update(hooks.join('\0')).digest('hex').slice(0, 16)}`;
}

/** All that a configuration says and packages feel, as text that is the same for the same. */
function variantOf(config, root, words, unknown) {
  const { alias, reason } = aliases(config, root);
  if (reason) return { reason };
  const { conditions, mainFields, dedupe } = config.resolve;
  const define = {};
  for (const [key, value] of Object.entries(config.define ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (key.startsWith('import.meta.')) continue;
    if (APPS_CONSTANT.test(key) && !KNOWN_CONSTANT.test(key) && !words.has(key)) continue;
    define[key] = typeof value === 'string' ? value : JSON.stringify(value);
  }
  const plugins = unknown.map(fingerprint);
  const variant = JSON.stringify({ alias, conditions, dedupe: [...(dedupe ?? [])].sort(), define, mainFields, plugins, type: moduleType(root) });
  return variant.length > VARIANT_CHARS_MAX ? { reason: 'the configuration defines too much for packages' } : { variant };
}

/** Those that mean packages. One that leads from a package into the project has its packages build with the project. */
function aliases({ resolve, root: viteRoot }, root) {
  const alias = [];
  for (const { find, replacement } of resolve.alias) {
    const names = typeof find === 'string' ? [find] : installed(root).filter((name) => find.test(name));
    if (find instanceof RegExp && (!names.length || /@vite\\?\//.test(find.source))) continue;
    // Made up by a plugin for development.
    if (typeof replacement === 'string' && replacement.startsWith('/@')) continue;
    if (names.every((name) => /^(?:[./~#$\0]|@(?:\/|$))/.test(name))) continue;
    const leadsToPackage = typeof replacement === 'string' && (/^[\w@]/.test(replacement) || replacement.includes('/node_modules/'));
    if (typeof find === 'string' && leadsToPackage) alias.push({ find, replacement });
    else if (names.some((name) => installed(root).includes(packageName(name)))) return { reason: `the alias ${find} leads from a package into the project` };
  }
  return { alias };
}

const packageName = (name) => name.split('/', name.startsWith('@') ? 2 : 1).join('/');

/** The packages that are there, from the app's folder upward. */
function installed(root) {
  const names = [];
  for (let dir = root; ; dir = path.dirname(dir)) {
    const folder = path.join(dir, 'node_modules');
    for (const name of list(folder)) names.push(...(name.startsWith('@') ? list(path.join(folder, name)).map((inner) => `${name}/${inner}`) : [name]));
    if (dir === path.dirname(dir)) return names;
  }
}

function list(folder) {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}

function moduleType(root) {
  for (let dir = root; ; dir = path.dirname(dir)) {
    const file = path.join(dir, 'package.json');
    if (fs.existsSync(file)) return JSON.parse(fs.readFileSync(file, 'utf8')).type === 'module' ? 'module' : 'commonjs';
    if (dir === path.dirname(dir)) return 'commonjs';
  }
}

/** Chunks that are named for packages have nothing in them any more, and bundlers object to that. */
function dropNamedChunks({ build, environments }) {
  for (const options of [build, environments?.client?.build].flatMap((one) => [one?.rollupOptions, one?.rolldownOptions])) {
    for (const output of [options?.output ?? []].flat()) if (typeof output.manualChunks === 'object') delete output.manualChunks;
  }
}
