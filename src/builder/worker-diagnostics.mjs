// What the user is told: whatever a build threw becomes one `failure`, whatever builds well but may stay blank becomes warnings.
//
// Invariant: describeFailure never throws and always gives a kind and a non-empty message, whatever the value is: it was thrown by
// the project's own code. Fields that are not known are absent, never guessed.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';

const MAX_MESSAGE_LINES = 6;
const MAX_LISTED_VARIABLES = 20;
const FRAME_CONTEXT_LINES = 3;
const MAX_FRAME_LINE_CHARS = 160;
const MAX_SOURCE_BYTES = 1024 * 1024;
/** Texts are cut before any pattern sees them: some patterns look at every part of a path, which is slow on a megabyte without blanks. */
const MAX_ERROR_CHARS = 16 * 1024;

/** A failure that the worker itself found and can word better than any tool. */
export class Refusal extends Error {
  constructor(kind, message, fields = {}) {
    super(message);
    this.failure = { kind, message, ...fields };
  }
}

/**
 * `context`: `root` (the job's), `roots` (where relative paths may start), `configFile` (absolute, or undefined),
 * `configured` (whether the Vite config was resolved when this was thrown), `mapped` (whether the error's stack went through source
 * maps), `modules` (ids, for errors that name no file).
 */
export function describeFailure(error, context) {
  try {
    return error instanceof Refusal ? error.failure : describe(error, context);
  } catch {
    return { kind: context.configured ? 'internal' : 'config', message: 'The build threw a value that cannot be described.' };
  }
}

export const plain = (text) => stripVTControlCharacters(String(text).slice(0, MAX_ERROR_CHARS));

function describe(error, context) {
  const facts = gather(error);
  const failure =
    brokenJson(facts, context) ?? missingEntry(facts, context) ?? unresolved(facts, context) ?? generic(facts, context);
  if (facts.more > 0) failure.message += `\n(and ${facts.more} more)`;
  return shown(failure, facts, context);
}

/** esbuild and Rolldown wrap their errors in `errors`; the first of them says more than the summary around it. */
function gather(error) {
  const outer = error !== null && typeof error === 'object' ? error : { message: `The build threw: ${String(error)}` };
  const errors = Array.isArray(outer.errors) ? outer.errors : [];
  const inner = errors[0] ?? outer;
  return {
    outer,
    inner,
    more: Math.max(0, errors.length - 1),
    text: plain(inner.text || inner.reason || inner.message || outer.message || 'The build failed without a message.'),
    full: plain(inner.message || inner.text || outer.message || ''),
    stack: plain(inner.stack ?? outer.stack ?? ''),
    code: inner.pluginCode ?? inner.code ?? outer.code,
    plugin: String(inner.plugin ?? outer.plugin ?? ''),
    id: inner.id || outer.id || undefined,
  };
}

function generic(facts, context) {
  const place = position(facts) ?? (context.mapped ? configFrame(facts, context) : null);
  const isConfig = !context.configured || /Failed to load PostCSS config/.test(facts.text);
  const file = place?.file ?? facts.id ?? (isConfig ? facts.text.match(/\(@(.+?)\)/)?.[1] ?? context.configFile : undefined);
  const outside = !file && !facts.plugin && !facts.code;
  const at = unknownUtility(facts, file, context) ?? place;
  const by = !at && facts.plugin && !facts.plugin.startsWith('vite:') ? ` (in plugin ${facts.plugin})` : '';
  return {
    kind: isConfig ? 'config' : outside ? 'internal' : 'compile',
    message: headline(facts.text, context, file) + by,
    file,
    line: file && at?.line,
    column: file && at?.column,
  };
}

/** Tailwind 4 blames a whole stylesheet for one unknown class in `@apply`. */
function unknownUtility({ text }, file, context) {
  const name = text.match(/Cannot apply unknown utility class [`'"]([^`'"]+)[`'"]/)?.[1];
  const source = name && sourceOf(file, context) && readSource(sourceOf(file, context));
  const rule = source ? source.search(new RegExp(`@apply[^;}]*?[\\s]${escaped(name)}(?![\\w-])`)) : -1;
  return rule < 0 ? undefined : lineAndColumn(source, source.indexOf(name, rule));
}

/**
 * Lines count from 1 everywhere. Columns do not, and this gives all of them from 1:
 * esbuild `location` from 0; Rollup, Rolldown, Babel, Svelte and Vite's Lightning CSS `loc` from 0; Vue's template compiler `loc` from 1;
 * PostCSS and Sass `line`/`column` from 1 (Vite's `loc` of the same error is from 0 or 1, by version); the box that Rolldown, OXC
 * and SWC draw in their text from 1, and it has the file even where `id` is missing.
 */
function position({ outer, inner, full, plugin, code }) {
  if (inner.location) return placed(inner.location.file, inner.location.line, inner.location.column + 1);
  const box = full.match(/[╭,]─+\[\s*(.+?):(\d+):(\d+)\s*\]/);
  if (box) return placed(box[1], Number(box[2]), Number(box[3]));
  if (Number.isInteger(inner.line) && Number.isInteger(inner.column)) return placed(inner.file, inner.line, inner.column);
  const loc = inner.loc ?? outer.loc;
  if (!Number.isInteger(loc?.line)) return null;
  const fromOne = plugin === 'vite:vue' && code !== 'BABEL_PARSER_SYNTAX_ERROR';
  return placed(loc.file, loc.line, loc.column + (fromOne ? 0 : 1));
}

const placed = (file, line, column) => ({ file: file || undefined, line, column: Number.isInteger(column) ? column : undefined });

/** Vite runs a bundled copy of the config, so only a mapped stack has the original's lines. */
function configFrame({ stack }, { configFile }) {
  const frame = stack.match(new RegExp(`${escaped(path.basename(configFile))}:(\\d+):(\\d+)`));
  return frame && placed(configFile, Number(frame[1]), Number(frame[2]));
}

/** Each of these: pattern, then what its groups are. Worded by Rollup, Rolldown, esbuild, Vite, Node, enhanced-resolve, postcss-import. */
const UNRESOLVED = [
  [/failed to resolve import "([^"]+)" from "([^"]+)"/i, 'specifier', 'importer'],
  [/Could not resolve ["']([^"']+)["'](?: (?:from|in) ["']?([^"'\n]+)["']?)?/, 'specifier', 'importer'],
  [/Could not load (.+?)(?: \(imported by ([^)]+)\))?: ENOENT/, 'specifier', 'importer'],
  [/\[UNLOADABLE_DEPENDENCY\] Could not load (.+)/, 'specifier'],
  [/Failed to resolve (\S+) from ([^\n]+)/, 'specifier', 'importer'],
  [/"([^"]+)" is not exported under the conditions .*? from package \S*?node_modules\/((?:@[^/\s]+\/)?[^/\s]+)/, 'subpath', 'package'],
  [/Missing "([^"]+)" specifier in "([^"]+)" package/, 'subpath', 'package'],
  [/Package subpath '([^']+)' is not defined by "exports" in .*?\/node_modules\/((?:@[^/]+\/)?[^/]+)\/package\.json/, 'subpath', 'package'],
  [/Cannot find (?:package|module) ["']([^"']+)["'] imported from ["']?([^"'\n]+)/, 'specifier', 'importer'],
  [/Cannot find (?:package|module) ["']([^"']+)["'](?:\s+Require stack:\s+- ([^\n]+))?/, 'specifier', 'importer'],
  [/Can't resolve ["']([^"']+)["']/, 'specifier'],
  [/ENOENT: no such file or directory, open ["']([^"'/][^"']*)["']/, 'specifier'],
];

function unresolved(facts, context) {
  const found = firstMatch(facts.full || facts.text);
  if (!found) return null;
  const place = position(facts);
  const importer = sourceOf(found.importer ?? place?.file ?? facts.id, context) ?? (context.configured ? undefined : context.configFile);
  const specifier = found.specifier ?? path.posix.join(found.package, found.subpath);
  const at = place?.line ? place : locate(specifier, importer);
  const by = importer ? ` imported by ${relative(importer, context)}` : '';
  return {
    kind: 'resolve',
    message: `Could not resolve "${cleaned(specifier, context)}"${by}`,
    file: isDependency(importer) ? undefined : importer,
    line: at?.line,
    column: at?.column,
    package: found.package ?? packageOf(specifier, context.root),
    importer,
  };
}

function firstMatch(text) {
  for (const [pattern, ...names] of UNRESOLVED) {
    const match = text.match(pattern);
    if (match) return Object.fromEntries(names.map((name, i) => [name, match[i + 1]?.trim()]));
  }
  return null;
}

/** The package that a bare specifier names; aliases (`@/x`), virtual modules, builtins and folders of the project are none. */
function packageOf(specifier, root) {
  const name = specifier.match(/^(?:@[a-z0-9_][\w.-]*\/)?[a-z0-9_][\w.-]*(?=\/|$)/i)?.[0];
  return name && !fs.existsSync(path.join(root, name)) ? name : undefined;
}

/** Where the importer says it: an alias may have become an absolute path by then, so its last segment has to do. */
function locate(specifier, importer) {
  const source = importer && readSource(importer);
  if (!source) return null;
  const tail = escaped(specifier.split('/').pop());
  const index = source.search(new RegExp(`(?=${tail}["'\`)])(?<=["'\`(=]|["'\`][^"'\`\\n]*/)`));
  return index < 0 ? null : lineAndColumn(source, lastQuote(source, index));
}

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

function lastQuote(source, index) {
  while (index > 0 && !/["'`\n(=]/.test(source[index - 1])) index--;
  return Math.max(0, index - 1);
}

/** Rollup's JSON plugin gives no position, Rolldown's no file: parse again what might be it. */
function brokenJson({ text, plugin, id }, context) {
  if (plugin !== 'vite:json' && !text.includes('builtin:vite-json')) return null;
  const candidates = [id, ...context.modules].map((module) => sourceOf(module, context)).filter((file) => file?.endsWith('.json'));
  for (const file of candidates) {
    const source = readSource(file)?.replace(/^\uFEFF/, '');
    if (source === undefined || !jsonError(source)) continue;
    const message = `${relative(file, context)} is not valid JSON: ${jsonError(source).message.replace(/, (?:\.{3})?".*/s, '')}`;
    return { kind: 'compile', message, file, ...lineAndColumn(source, jsonErrorOffset(source)) };
  }
  return null;
}

function jsonError(source) {
  try {
    JSON.parse(source);
  } catch (error) {
    return error;
  }
}

/** Node 20 names no offset for most JSON errors. It is where the text stops being the beginning of something valid. */
function jsonErrorOffset(source) {
  let low = 0;
  let high = source.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    const error = jsonError(source.slice(0, middle));
    const offset = Number(error?.message.match(/at position (\d+)/)?.[1] ?? -1);
    const onlyTooShort = !error || /end of JSON|Unterminated/.test(error.message) || offset >= middle;
    if (onlyTooShort) low = middle;
    else high = middle - 1;
  }
  return low;
}

function missingEntry({ code, text }, context) {
  const entry = text.match(/(?:Could not|Cannot) resolve entry module "?(.+?)"?\.?(?:\n|$)/)?.[1];
  if (code !== 'UNRESOLVED_ENTRY' && !entry) return null;
  const name = path.basename(entry ?? 'index.html');
  const wanted = entry ? relative(sourceOf(entry, context) ?? entry, context) : name;
  const elsewhere = ['public', 'src', 'client', 'frontend', 'app'].find((dir) => fs.existsSync(path.join(context.root, dir, name)));
  const hint = elsewhere ? ` There is ${elsewhere}/${name}, but Vite needs it at its root.` : '';
  return { kind: 'config', message: `The entry ${wanted} is missing: Vite builds an app from its HTML page.${hint}`, file: undefined };
}

const NOISE = [
  /^plugin `[^`]+` threw an error\s+Caused by:\s+/,
  /^(?:Build|Transform) failed with \d+ errors?:\s*/,
  /^\[plugin [^\]]+\](?:\s+\S+ \(\d+:\d+\):)?\s*/,
  /^\[[\w@/:.-]+\]:?\s+/,
  /^(?:\w*Error|Internal server error|tailwindcss):\s+/,
];
const DETAIL_BELOW = /\n\s*(?:at \S|[╭╷│,]|file: |Stack backtrace|Require stack|\d+\s*[|│:])|\n\(@\//;

/** The sentence a person needs, without the prefixes, frames and stacks that tools put around it. */
function headline(text, context, file) {
  let head = cleaned(text, context).trim();
  const place = file && relative(sourceOf(file, context) ?? file, context);
  for (let before; before !== head; ) {
    before = head;
    for (const noise of NOISE) head = head.replace(noise, '');
    if (place && head.startsWith(place)) head = head.slice(place.length).replace(/^(?: \(\d+:\d+\):?|(?::\d+){1,2}:?|:)\s+/, '');
  }
  const end = head.search(DETAIL_BELOW);
  // Babel's and Vue's positions inside a message count differently from ours, and would contradict them.
  const lines = (end > 0 ? head.slice(0, end) : head).split('\n').map((line) => line.replace(/\s*\(\d+:\d+\)$/, '').trimEnd());
  return lines.filter((line) => line && line !== place).slice(0, MAX_MESSAGE_LINES).join('\n') || plain(text).slice(0, MAX_FRAME_LINE_CHARS);
}

/** Paths as the author of the project knows them. */
function cleaned(text, { root }) {
  return text
    .replaceAll('file://', '')
    .replaceAll(`${root}/`, '')
    .replace(/\/[^\s"'()]{0,512}\/node_modules\/(?!\.)/g, 'node_modules/')
    .replace(/(?:[^\s"'()]{0,512}\/)?(vite\.config\.[cm]?[jt]s)\.[\w.-]*timestamp-[\w-]+\.mjs/g, '$1');
}

/** What leaves the worker: relative paths, a frame, and no empty field. */
function shown(failure, facts, context) {
  const source = sourceOf(failure.file, context);
  const lines = source && failure.line ? readSource(source)?.split(/\r?\n/) : undefined;
  // A position past the end of its line is one in generated code.
  const beyond = lines && failure.column > (lines[failure.line - 1]?.length ?? 0) + 1;
  const column = beyond ? undefined : counted(failure.column);
  return {
    ...failure,
    line: counted(failure.line),
    column,
    file: source && relative(source, context),
    frame: codeFrame(lines, failure.line, column) ?? toolFrame(facts),
    importer: failure.importer && relative(failure.importer, context),
  };
}

/** The daemon reads these as 32-bit numbers and would drop the whole message over another. */
const counted = (value) => (Number.isInteger(value) && value > 0 && value < 2 ** 31 ? value : undefined);

function codeFrame(lines, line, column) {
  if (!lines || line > lines.length) return undefined;
  const first = Math.max(1, line - FRAME_CONTEXT_LINES);
  const last = Math.min(lines.length, line + FRAME_CONTEXT_LINES);
  const width = String(last).length;
  const rows = [];
  for (let n = first; n <= last; n++) {
    rows.push(`${n === line ? '>' : ' '} ${String(n).padStart(width)} | ${lines[n - 1].slice(0, MAX_FRAME_LINE_CHARS)}`.trimEnd());
    const caretFits = n === line && column > 0 && column <= MAX_FRAME_LINE_CHARS;
    // Tabs are kept, so that the caret stands where the viewer's tab width puts the character above it.
    if (caretFits) rows.push(`  ${' '.repeat(width)} | ${lines[n - 1].slice(0, column - 1).padEnd(column - 1).replace(/[^\t]/g, ' ')}^`);
  }
  return rows.join('\n');
}

function toolFrame({ inner, outer }) {
  const frame = inner.frame ?? outer.frame;
  return typeof frame === 'string' && frame.trim() ? plain(frame).replace(/^\s*\n|\s+$/g, '') : undefined;
}

/** An id as tools give it (absolute, relative to some root, a file URL, with a query, a config's temporary copy) as a file that exists. */
function sourceOf(id, { roots, configFile }) {
  if (typeof id !== 'string' || !id || id.startsWith('\0')) return undefined;
  const bare = (id.startsWith('file://') ? fileURLToPath(id) : id).replace(/[?#].*$/, '');
  const isCopy = configFile && path.basename(bare).startsWith(`${path.basename(configFile)}.`) && bare.includes('.timestamp-');
  if (isCopy) return configFile;
  return roots.map((root) => path.resolve(root, bare)).find((file) => fs.statSync(file, { throwIfNoEntry: false })?.isFile());
}

const isDependency = (file) => file?.includes('/node_modules/') ?? false;

function relative(file, { root }) {
  const dependency = file.lastIndexOf('/node_modules/');
  if (dependency >= 0) return file.slice(dependency + 1);
  return path.isAbsolute(file) ? path.relative(root, file) : file;
}

function readSource(file) {
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  return stat?.isFile() && stat.size <= MAX_SOURCE_BYTES ? fs.readFileSync(file, 'utf8') : undefined;
}

function lineAndColumn(source, offset) {
  const before = source.slice(0, offset);
  return { line: before.split('\n').length, column: offset - before.lastIndexOf('\n') };
}

/** What builds well and then shows a blank page, as far as it can be known beforehand. `base` is the project's own. */
export function warningsOf(base, config, entries) {
  return [baseWarning(base), variablesWarning(config), ...entries.map((entry) => pageWarning(config.root, entry))].filter(Boolean);
}

function baseWarning(base) {
  return ['/', './', ''].includes(base) ? undefined : `base "${base}" of the Vite config is overridden by "/": a preview is served at the root`;
}

function variablesWarning({ root, envDir, env, envPrefix }) {
  const prefixes = [envPrefix ?? 'VITE_'].flat();
  const dir = typeof envDir === 'string' ? path.resolve(root, envDir) : root;
  const examples = ['.env.example', '.env.sample'].map((name) => readSource(path.join(dir, name)) ?? '');
  const named = examples.flatMap((text) => [...text.matchAll(/^[ \t]*(?:export[ \t]+)?(\w+)[ \t]*=/gm)]);
  const wanted = new Set(named.map(([, name]) => name).filter((name) => prefixes.some((prefix) => name.startsWith(prefix))));
  const missing = [...wanted].filter((name) => !(name in env));
  if (!missing.length) return undefined;
  const more = missing.length > MAX_LISTED_VARIABLES ? `, and ${missing.length - MAX_LISTED_VARIABLES} more` : '';
  const list = missing.slice(0, MAX_LISTED_VARIABLES).join(', ');
  return `variables that the example env file names are not set, so the app may not start: ${list}${more}`;
}

function pageWarning(root, entry) {
  const file = path.resolve(root, entry);
  const page = readSource(file)?.replace(/<!--[\s\S]*?-->/g, '');
  if (page === undefined) return undefined;
  const main = /<script\b[^>]*\btype\s*=\s*["']?module\b/i.test(page) ? undefined : mainBeside(file);
  if (main && !page.includes(path.basename(main))) return `${entry} does not load ${main}, so the app never starts: it needs <script type="module" src="/${main}"></script>`;
  const loadsSomething = /<script\b|<style\b|<link\b[^>]*\bstylesheet\b/i.test(page);
  return loadsSomething ? undefined : `${entry} loads no script and no stylesheet: the page shows only what is in that file`;
}

/** What a page usually loads. Some builders start it by themselves, and their exports have pages that do not. */
function mainBeside(page) {
  const names = ['', 'src/'].flatMap((dir) => ['index', 'main'].flatMap((name) => ['tsx', 'jsx', 'ts', 'js'].map((type) => `${dir}${name}.${type}`)));
  return path.basename(page) === 'index.html' ? names.find((name) => fs.existsSync(path.join(path.dirname(page), name))) : undefined;
}
