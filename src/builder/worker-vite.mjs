// The Vite of a project or layer, found and loaded: shared by the worker and the bundler.

import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Refusal } from './worker-diagnostics.mjs';

/** Before it there are no relative assets (`renderBuiltUrl`), and esbuild came by an install script. */
const FIRST_MAJOR = 3;

/** The file is named, not looked up in `exports`: it is the ESM entry of all of 4 to 8, and `require` conditions pick another one. */
export async function loadVite(root) {
  const manifest = resolveFrom(root, 'vite/package.json');
  if (!manifest) throw new Refusal('config', 'This project does not depend on Vite: no "vite" package was found from its folder.');
  const vite = await import(pathToFileURL(path.join(path.dirname(manifest), 'dist/node/index.js')));
  // What a package in Vite's place has in its manifest is a version of its own.
  const version = vite.version ?? JSON.parse(fs.readFileSync(manifest, 'utf8')).version;
  const major = Number.parseInt(version, 10);
  if (major < FIRST_MAJOR) throw new Refusal('config', `This project uses Vite ${version}; previews are built by Vite ${FIRST_MAJOR} or newer.`);
  return { ...vite, major, bundler: vite.rolldownVersion ? 'rolldown' : 'rollup' };
}

export function resolveFrom(root, specifier) {
  try {
    return createRequire(path.join(root, 'package.json')).resolve(specifier);
  } catch {
    return undefined;
  }
}

const NODE_MODULES = `${path.sep}node_modules${path.sep}`;

/** The folder of the package that `file` belongs to; `undefined` for what is no package's. */
export function packageDir(file) {
  const at = file.lastIndexOf(NODE_MODULES);
  if (at < 0) return undefined;
  const start = at + NODE_MODULES.length;
  const [scope, name] = file.slice(start).split(path.sep, 2);
  return file.slice(0, start) + (scope.startsWith('@') ? path.join(scope, name ?? '') : scope);
}

/** A module's file, without the query that plugins add to names. */
export const fileOf = (id) => id.replace(/[?#].*$/s, '');
