// What the apps' generators share: their files and the committed lockfile are written into a folder.

import fs from 'node:fs';
import path from 'node:path';

/** `files`: path to text. `home`: the generator's folder, which holds the lockfile that belongs to the app's package.json. */
export function write(target, files, home) {
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(target, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, text);
  }
  fs.copyFileSync(path.join(home, 'pnpm-lock.yaml'), path.join(target, 'pnpm-lock.yaml'));
}

/** The one argument of a generator without options. */
export function folderArgument([target, ...others]) {
  if (!target || others.length > 0) {
    console.error('usage: node generate.mjs DIR');
    process.exit(2);
  }
  return target;
}

export const json = (value) => `${JSON.stringify(value, null, 2)}\n`;
