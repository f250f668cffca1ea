// Notes which files of a project its configuration was made from: Vite's own, and what plugins look at before the build begins.
// When one of them changes, a worker that has the configuration in memory is of no use any more.
//
// Invariant: every call ends exactly as it would without this.

import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const LOOKING = ['access', 'lstat', 'opendir', 'open', 'readFile', 'readdir', 'realpath', 'stat'];
const NOTED_MAX = 20_000;

/** Files that tools read on their own, or cache for the life of a process. */
const ALWAYS = /(?:^|\/)(?:package\.json|[tj]sconfig[^/]*\.json|\.env[^/]*|\.(?:babel|swc|postcss|browserslist|npm)rc[^/]*|(?:vite|postcss|tailwind|svelte|babel|uno|windi|panda|vue|quasar)\.config\.[^/]+)$/;

let noted;

/** From now on, until the function that is given back is called: that tells what was looked at. */
export function noteReads() {
  const mine = new Set();
  noted = mine;
  return () => {
    if (noted === mine) noted = undefined;
    return mine;
  };
}

/** Whether a change of `file` (absolute) or of what its folder holds was seen by a configuration made from `reads`. */
export function concerns(reads, file, isNewOrGone) {
  return ALWAYS.test(file) || reads.has(file) || (isNewOrGone && reads.has(path.dirname(file)));
}

/** For the life of the process. */
export function watchReads() {
  const watched = (call) =>
    function (file, ...rest) {
      if (noted) note(file);
      return call.call(this, file, ...rest);
    };
  for (const name of LOOKING) {
    if (fs.promises[name]) fs.promises[name] = watched(fs.promises[name]);
    fs[name] = keepingProperties(watched(fs[name]), fs[name]);
    fs[`${name}Sync`] = keepingProperties(watched(fs[`${name}Sync`]), fs[`${name}Sync`]);
  }
  fs.existsSync = watched(fs.existsSync);
  syncBuiltinESMExports();
}

/** `fs.realpath.native`, and what `util.promisify` looks for. */
const keepingProperties = (made, from) => Object.defineProperties(made, Object.getOwnPropertyDescriptors(from));

function note(file) {
  const name = file instanceof URL && file.protocol === 'file:' ? fileURLToPath(file) : file;
  if (typeof name === 'string' && noted.size < NOTED_MAX && !name.includes('node_modules')) noted.add(path.resolve(name));
}
