// Keeps over a reload of ours what a person did to the page: how far it is scrolled, and what was typed into it.
//
// Invariant: passwords and files are never kept, and nothing is put where somebody has typed again.

const KEEP_MS = 15_000;
const RESTORE_MS = 3000;
const ELEMENTS_KEPT = 50;
const VALUE_CHARS = 20_000;
const typed = new Set();
const scrolled = new Set();

addEventListener('input', ({ target, isTrusted }) => isTrusted && typed.add(target), true);
addEventListener('scroll', ({ target }) => scrolled.add(target.documentElement ?? target), true);

/** Where an element stands: found again in a page that has the same form. */
function pathOf(node) {
  const { id, parentElement } = node;
  if (id) return `#${CSS.escape(id)}`;
  return parentElement ? `${pathOf(parentElement)}>:nth-child(${[...parentElement.children].indexOf(node) + 1})` : ':root';
}

function keep() {
  const each = (set, take) => [...set].filter((node) => node.isConnected).slice(-ELEMENTS_KEPT).flatMap((node) => attempt(() => take(node), []));
  remember('kept', {
    at: Date.now(),
    page: page(),
    fields: each(typed, (field) => {
      const { type, checked, value } = field;
      return /^(password|file)$/.test(type) || value?.length > VALUE_CHARS ? [] : [[pathOf(field), type, value, checked]];
    }),
    places: each(scrolled, (node) => [[pathOf(node), node.scrollLeft, node.scrollTop]]),
  });
}

/** Frameworks listen for `input`, and take a value for theirs that was set on the element itself: they are told as a person tells them. */
function put([path, type, value, checked]) {
  const field = document.querySelector(path);
  if (!field) return true;
  if (field.type !== type || typed.has(field)) return false;
  if (checked !== undefined && /^(checkbox|radio)$/.test(type)) {
    if (field.checked !== checked) field.click();
  } else if (field.value !== value) {
    Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), 'value').set.call(field, value);
    for (const name of ['input', 'change']) field.dispatchEvent(new Event(name, { bubbles: true }));
  }
  // The next reload keeps it too.
  typed.add(field);
  return false;
}

function restore() {
  const kept = recall('kept');
  remember('kept', null);
  if (kept?.page !== page() || Date.now() - kept.at > KEEP_MS) return;
  let { fields, places } = kept;
  const until = performance.now() + RESTORE_MS;
  for (const name of ['wheel', 'touchmove', 'keydown']) addEventListener(name, () => (places = []), { capture: true, passive: true });
  const step = () => {
    fields = fields.filter((field) => attempt(() => put(field)));
    places = places.filter(([path, left, top]) => {
      const found = document.querySelector(path);
      found?.scrollTo({ left, top, behavior: 'instant' });
      return !found || Math.abs(found.scrollTop - top) > 1;
    });
    if (fields.concat(places).length && performance.now() < until) setTimeout(step, 50);
  };
  step();
}

addEventListener('DOMContentLoaded', () => attempt(restore));
