// One project: how it stands, its preview, its builds, what is wrong with it, and its log; all of it as events tell.

import { follow, json } from './api.js';
import { Builds } from './builds.js';
import { badge, byId, duration, el, say, webAddress } from './dom.js';
import { Log } from './log.js';
import { Preview } from './preview.js';

/** Diagnostics follow what pages report, but not each single report. */
const CALM_MS = 600;

const place = ({ file, line, column }) => (file ? `${file}${line ? `:${line}${column ? `:${column}` : ''}` : ''}` : undefined);

function summary(status) {
  const { live, last_build: last, render } = status;
  const fact = (name, ...value) => el('div', {}, el('dt', {}, name), el('dd', {}, ...value));
  return el('dl', { class: 'facts' },
    fact('Live', live ? `revision ${live.revision}` : 'nothing', live && live.revision < status.revision ? ` of ${status.revision}` : ''),
    last ? fact('Last build', badge(last.outcome ?? 'running'), last.timings_ms ? ` ${duration(last.timings_ms.total)}` : '') : undefined,
    last ? fact('Made', `${last.mode ?? '?'}, layer ${last.layer ?? '?'}, worker ${last.worker ?? '?'}`) : undefined,
    render ? fact('In the browser', badge(render.verdict), render.detail ? ` ${render.detail}` : '') : undefined,
    status.sandbox === 'off' ? fact('Sandbox', badge('off'), ' builds run without protection') : undefined);
}

function failure(found) {
  return el('section', { class: 'card failure', 'aria-label': 'Why the newest build failed' },
    el('h3', {}, `${found.kind}: `, place(found) ?? 'the newest build failed'), el('pre', {}, found.message), found.frame ? el('pre', { class: 'code', tabindex: '0' }, found.frame) : undefined);
}

function diagnostic(entry) {
  return el('li', {}, badge(entry.code), entry.count > 1 ? ` ×${entry.count} ` : ' ', place(entry) ? el('code', {}, place(entry)) : undefined,
    el('pre', {}, entry.message), entry.frame ? el('pre', { class: 'code', tabindex: '0' }, entry.frame) : undefined);
}

class View {
  constructor(project, signal) {
    [this.project, this.signal] = [project, signal];
    this.state = el('span', { role: 'status' });
    this.connection = el('span', { class: 'hint', role: 'status' });
    this.links = el('span');
    this.summary = el('div');
    this.failure = el('div');
    this.diagnostics = el('ul', { class: 'diagnostics' });
    this.log = new Log(project, signal);
    this.preview = new Preview(signal);
    this.builds = new Builds(project, (build) => this.log.load(build).then(() => this.log.element.scrollIntoView({ block: 'nearest' }), () => {}));
    this.title = el('h2', { tabindex: '-1' }, project);
    byId('project').replaceChildren(
      el('div', { class: 'title-row' }, el('a', { href: '#/', class: 'back' }, '← Projects'), this.title, this.state, this.links, this.connection),
      this.summary, this.failure, this.preview.element, this.builds.element,
      el('section', { class: 'card wide' }, el('h3', {}, 'Diagnostics'), this.diagnostics), this.log.element);
    this.title.focus({ preventScroll: true });
  }

  stands(status) {
    this.status = status;
    this.state.replaceChildren(badge(status.state));
    this.summary.replaceChildren(summary(status));
    const wrong = status.state === 'error' ? status.last_build?.failure : undefined;
    this.failure.replaceChildren(...(wrong ? [failure(wrong)] : []));
    const url = webAddress(status.preview_url);
    this.links.replaceChildren(...(url ? [el('a', { href: url, target: '_blank', rel: 'noopener noreferrer' }, 'Open the preview')] : []));
    this.preview.show(status.live ? status.preview_url : undefined);
    this.look();
  }

  /** Builds and diagnostics, once for what comes together. */
  look() {
    this.timer ??= setTimeout(async () => {
      this.timer = undefined;
      if (this.signal.aborted) return;
      await this.builds.refresh(this.status?.live?.build_id, this.signal).catch(() => {});
      const { entries, omitted } = await json(`/diagnostics/${this.project}`, { signal: this.signal }).catch(() => ({ entries: [], omitted: 0 }));
      const items = entries.map(diagnostic);
      if (omitted) items.push(el('li', { class: 'hint' }, `${omitted} more`));
      this.diagnostics.replaceChildren(...(items.length ? items : [el('li', { class: 'hint' }, 'Nothing is known to be wrong.')]));
    }, this.status ? CALM_MS : 0);
  }

  hear(name, data) {
    if (name === 'status') this.stands(data);
    else if (name === 'log') this.log.add(data);
    else this.look();
  }
}

/** Shows a project until `signal`. */
export async function open(project, signal) {
  const view = new View(project, signal);
  view.log.load().catch(() => {});
  const status = await json(`/status/${project}`, { signal }).catch((error) => error);
  if (signal.aborted) return;
  if (status instanceof Error) {
    say(view.connection, status.status === 404 ? 'There is no such project.' : status.message);
    if (status.status === 404) return;
  } else view.stands(status);
  const onState = (connected) => say(view.connection, connected ? '' : 'Connecting again…');
  await follow(`/events/${project}`, { signal, onState, onEvent: (name, data) => view.hear(name, data) });
}
