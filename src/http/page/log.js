// A build's log, as it grows. Lines come from the stored log and from events; each is shown once, in the order of its number.

import { call } from './api.js';
import { el, say } from './dom.js';

const LEVELS = ['debug', 'info', 'warn', 'error'];
/** Lines that are kept on the page. */
const LINES_MAX = 5000;

export class Log {
  #title = el('span', { class: 'hint' });
  #lines = el('div', { class: 'log', tabindex: '0', role: 'log', 'aria-label': 'Build log' });
  #build;
  #next = 0;
  #project;
  #signal;

  constructor(project, signal) {
    [this.#project, this.#signal] = [project, signal];
    this.element = el('section', { class: 'card wide' }, el('h3', {}, 'Log ', this.#title), this.#lines);
  }

  /** Shows what there is of a build's log; of the newest without one. */
  async load(build) {
    const query = build ? `?build=${encodeURIComponent(build)}` : '';
    const answer = await call(`/logs/${this.#project}${query}`, { signal: this.#signal, headers: { accept: 'application/x-ndjson' } });
    const text = await answer.text();
    this.#begin(answer.headers.get('x-previewd-build'));
    for (const line of text.split('\n').filter(Boolean)) this.#append(JSON.parse(line));
  }

  /** A line of a build that runs. One that is missing before it is fetched. */
  add(line) {
    if (line.build_id !== this.#build && line.number === 0) this.#begin(line.build_id);
    if (line.build_id === this.#build && line.number < this.#next) return;
    if (line.build_id === this.#build && line.number === this.#next) this.#append(line);
    else this.load(line.build_id).catch(() => {});
  }

  #begin(build) {
    [this.#build, this.#next] = [build, 0];
    this.#lines.replaceChildren();
    say(this.#title, `of ${build}`);
  }

  #append({ time, level, message }) {
    const atEnd = this.#lines.scrollHeight - this.#lines.scrollTop - this.#lines.clientHeight < 40;
    this.#next += 1;
    const known = LEVELS.includes(level) ? level : 'info';
    this.#lines.append(el('div', { class: known }, el('time', {}, String(time).slice(11, 19)), known === 'info' ? '' : el('b', {}, `${known} `), String(message)));
    if (this.#lines.children.length > LINES_MAX) this.#lines.firstChild.remove();
    if (atEnd) this.#lines.scrollTop = this.#lines.scrollHeight;
  }
}
