// Notices when a plugin writes into the sources, which are read-only: generators of route trees and type declarations do, as part
// of the build. Some of them swallow the error and build on with what was there, so the failed call itself is what counts.
//
// Invariant: every call ends exactly as it would without this; only calls that failed for being refused are told of.

import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Calls that change something, and which of their arguments name it. */
const CHANGING = { appendFile: [0], copyFile: [1], cp: [1], mkdir: [0], mkdtemp: [0], open: [0], rename: [0, 1], rm: [0], unlink: [0], writeFile: [0] };
const DEPENDENCIES = `${path.sep}node_modules${path.sep}`;

/** Calls `refused(path)` for every refused change of something below `root()`. For the life of the process. */
export function watchWrites(root, refused) {
  const look = (name, args, error) => {
    const file = refusal(name, args, error, root());
    if (file) refused(file);
  };
  for (const name of Object.keys(CHANGING)) {
    fs.promises[name] = watchedPromise(name, fs.promises[name], look);
    fs[name] = watchedCallback(name, fs[name], look);
    fs[`${name}Sync`] = watchedSync(name, fs[`${name}Sync`], look);
  }
  syncBuiltinESMExports();
}

function watchedPromise(name, call, look) {
  return async function (...args) {
    try {
      return await call.apply(this, args);
    } catch (error) {
      look(name, args, error);
      throw error;
    }
  };
}

function watchedSync(name, call, look) {
  return function (...args) {
    try {
      return call.apply(this, args);
    } catch (error) {
      look(name, args, error);
      throw error;
    }
  };
}

function watchedCallback(name, call, look) {
  return function (...args) {
    const done = args.at(-1);
    if (typeof done === 'function') {
      args[args.length - 1] = function (error, ...results) {
        if (error) look(name, args, error);
        return done.call(this, error, ...results);
      };
    }
    return call.apply(this, args);
  };
}

/** What was refused below `root`. Node words a recursive `mkdir` on a read-only file system as ENOENT. */
function refusal(name, args, error, root) {
  const readOnly = error?.code === 'EROFS' || (name === 'mkdir' && error?.code === 'ENOENT');
  if (!readOnly || !root) return undefined;
  const files = CHANGING[name].map((at) => absolute(args[at])).filter(Boolean);
  return files.find((file) => file.startsWith(root + path.sep) && !file.includes(DEPENDENCIES));
}

function absolute(file) {
  const isUrl = file instanceof URL && file.protocol === 'file:';
  const name = isUrl ? fileURLToPath(file) : Buffer.isBuffer(file) ? file.toString() : file;
  return typeof name === 'string' ? path.resolve(name) : undefined;
}
