// A project's last builds: where their time went, and which of them can be live again.

import { json } from './api.js';
import { phases, timings } from './charts.js';
import { ago, badge, begun, duration, el, say, webAddress } from './dom.js';

const SHOWN = 15;

export class Builds {
  #rows = el('tbody');
  #note = el('p', { class: 'hint', role: 'status' });
  #project;
  #showLog;

  constructor(project, showLog) {
    [this.#project, this.#showLog] = [project, showLog];
    const head = el('tr', {}, ...['Begun', 'Revision', 'Outcome', 'Where the time went', 'Total', 'Actions'].map((name) => el('th', { scope: 'col' }, name)));
    const table = el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Builds' }, el('table', {}, el('thead', {}, head), this.#rows));
    this.element = el('section', { class: 'card wide' }, el('h3', { class: 'split' }, 'Builds', phases()), table, this.#note);
  }

  async refresh(live, signal) {
    const { builds } = await json(`/builds/${this.#project}?limit=${SHOWN}`, { signal });
    const longest = Math.max(...builds.map((build) => build.timings_ms?.total ?? 0));
    const focused = document.activeElement?.dataset?.key;
    this.#rows.replaceChildren(...builds.map((build) => this.#row(build, build.build_id === live, longest)));
    if (focused) [...this.#rows.querySelectorAll('[data-key]')].find((node) => node.dataset.key === focused)?.focus();
    if (!builds.length) say(this.#note, 'Nothing was built yet.');
  }

  #row(build, isLive, longest) {
    const id = build.build_id;
    const button = (name, work) => el('button', { type: 'button', 'data-key': `${name} ${id}`, 'aria-label': `${name}: build ${id}`, click: work }, name);
    const url = webAddress(build.url);
    const total = build.timings_ms?.total;
    return el('tr', { class: isLive ? 'live' : '', 'data-build': id },
      el('td', { title: id }, ago(begun(id))),
      el('td', {}, String(build.revision)),
      el('td', {}, badge(build.outcome ?? 'running')),
      el('td', {}, build.timings_ms ? timings(build.timings_ms, longest) : ''),
      el('td', { class: 'number' }, total === undefined ? '' : duration(total)),
      el('td', { class: 'actions' }, isLive ? badge('live') : build.retained ? button('Make live', () => this.#rollBack(id)) : undefined,
        button('Log', () => this.#showLog(id)), url ? el('a', { href: url, target: '_blank', rel: 'noopener noreferrer', 'aria-label': `Open build ${id}` }, 'Open') : undefined));
  }

  async #rollBack(build) {
    say(this.#note, 'Making it live…');
    const done = await json(`/rollback/${this.#project}`, { method: 'POST', body: { build_id: build } }).then(() => true, (error) => say(this.#note, error.message));
    if (!done) return;
    say(this.#note, `Build ${build} is live. The next sync builds what is in the source.`);
    await this.refresh(build).catch(() => {});
  }
}
