// Tells the names that CommonJS modules export, by loading them: `{file: [name…]}` as one line on stdout.

import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const say = process.stdout.write.bind(process.stdout);
// What modules print while they load is nobody's business.
process.stdout.write = () => true;
process.on('uncaughtException', () => {});
process.on('unhandledRejection', () => {});

const names = {};
for (const file of process.argv.slice(2)) {
  try {
    names[file] = Object.keys(require(file));
  } catch {
    // It needs a browser: it can be imported whole.
  }
}
say(`\n${JSON.stringify(names)}`, () => process.exit(0));
