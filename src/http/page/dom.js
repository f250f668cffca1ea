// Puts elements together. Invariant: text is always a text node, an attribute never a handler and never an address that runs something: what the
// page shows was written by code that nobody reviewed.

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(name, String(value));
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/** An element; a function among the attributes listens to the event of that name. */
export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

/** Only addresses of pages. */
export const webAddress = (text) => (typeof text === 'string' && /^https?:\/\//.test(text) ? text : undefined);

/** Sets a text only where it changed, so that a reader of the screen is not told it again. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A state, outcome or verdict; its colour follows from the word, and the word is there for who sees no colour. */
export const badge = (word) => el('span', { class: `badge ${String(word).replace(/[^a-z_]/g, '')}` }, String(word).replaceAll('_', ' '));

export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s` : `${Math.round(ms / 60_000)} min`;
}

const STEPS = [['day', 86_400], ['hour', 3600], ['minute', 60], ['second', 1]];
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'short' });

/** How long ago a moment was. */
export function ago(moment) {
  const seconds = Math.max(0, (Date.now() - moment) / 1000);
  const [unit, size] = STEPS.find(([, size]) => seconds >= size) ?? STEPS.at(-1);
  return relative.format(-Math.floor(seconds / size), unit);
}

const BASE32 = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** When a build began: its id, a ULID, begins with the time. */
export const begun = (build) => [...String(build).slice(0, 10).toUpperCase()].reduce((time, digit) => time * 32 + BASE32.indexOf(digit), 0);
