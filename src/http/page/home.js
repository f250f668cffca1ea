// The first view: what the daemon does now, its charts, and the projects. Asked for again every few seconds while somebody looks.

import { call, json } from './api.js';
import { latencies, proportions } from './charts.js';
import { ago, badge, begun, byId, el, say } from './dom.js';
import { buckets, parse, shares, sum } from './figures.js';

const LIMIT = 200;
const OUTCOMES = { succeeded: 'good', failed: 'bad', timed_out: 'bad', out_of_memory: 'bad', superseded: 'other', cancelled: 'other' };
const LAYERS = { hit: 'good', miss: 'middling', none: 'other' };
const VERDICTS = { rendered: 'good', empty: 'bad', script_error: 'bad', asset_missing: 'bad', unknown: 'other' };

const rows = new Map();

export async function refreshFigures() {
  const samples = parse(await (await call('/metrics')).text());
  const tile = (name, value, detail) => el('div', { class: 'card' }, el('dt', {}, name), el('dd', {}, String(value), detail ? el('small', {}, ` ${detail}`) : undefined));
  const workers = shares(samples, 'workers', 'state', []);
  const waiting = sum(samples, 'queue_depth');
  const interactive = sum(samples, 'queue_depth', { priority: 'interactive' });
  byId('tiles').replaceChildren(
    tile('Building', sum(samples, 'builds_running')),
    ...(workers.length ? [tile('Workers', sum(samples, 'workers'), workers.map(({ key, count }) => `${count} ${key}`).join(', '))] : []),
    tile('Waiting', waiting, waiting ? `${interactive} interactive` : ''),
    tile('Projects', sum(samples, 'projects')),
    tile('Streams', sum(samples, 'event_streams')),
    tile('Disk free', `${(sum(samples, 'disk_bytes', { kind: 'free' }) / 2 ** 30).toFixed(1)} GiB`),
  );
  byId('charts').replaceChildren(
    latencies(buckets(samples, 'edit_to_live_seconds')),
    proportions('Builds that succeeded', shares(samples, 'builds_total', 'outcome', Object.keys(OUTCOMES)), 'succeeded', OUTCOMES),
    proportions('Layer hits', shares(samples, 'layer_total', 'result', Object.keys(LAYERS)), 'hit', LAYERS),
    proportions('Rendered', shares(samples, 'renders_total', 'verdict', Object.keys(VERDICTS)), 'rendered', VERDICTS),
  );
}

export async function refreshHealth() {
  const { status, checks = {} } = await json('/health');
  const overall = byId('overall');
  overall.className = `badge ${status === 'ok' ? 'ready' : 'error'}`;
  say(overall, status === 'ok' ? 'healthy' : status);
  const items = Object.entries(checks).map(([name, { ok, detail }]) =>
    el('li', { class: ok ? '' : 'failing' }, badge(ok ? 'ok' : 'failing'), el('b', {}, name), ' ', el('span', {}, detail)));
  byId('checks').replaceChildren(...items);
}

function row(project) {
  const parts = { id: el('b', {}), state: el('span', {}), revision: el('span', { class: 'hint' }), time: el('span', { class: 'hint' }) };
  const link = el('a', { href: `#/p/${encodeURIComponent(project.project_id)}` }, parts.id, parts.state, parts.revision, parts.time);
  return { item: el('li', {}, link), parts, state: undefined };
}

function update(known, project) {
  const { parts } = known;
  say(parts.id, project.project_id);
  if (known.state !== project.state) parts.state.replaceChildren(badge(project.state));
  known.state = project.state;
  const behind = project.live_revision === project.revision ? '' : ` of ${project.revision}`;
  say(parts.revision, project.live_build_id ? `revision ${project.live_revision}${behind} live` : 'nothing live');
  say(parts.time, project.live_build_id ? `built ${ago(begun(project.live_build_id))}` : '');
}

export async function refreshProjects(signal) {
  const query = new URLSearchParams({ limit: String(LIMIT) });
  for (const [name, field] of [['q', 'search'], ['state', 'state']]) if (byId(field).value) query.set(name, byId(field).value);
  const page = await json(`/projects?${query}`, { signal });
  if (signal?.aborted) return;
  const list = byId('projects');
  const items = page.projects.map((project) => {
    const known = rows.get(project.project_id) ?? row(project);
    rows.set(project.project_id, known);
    update(known, project);
    return known.item;
  });
  // Rows stay the same elements, so that what has the focus keeps it.
  if (items.length !== list.children.length || items.some((item, at) => list.children[at] !== item)) {
    for (const item of [...list.children]) if (!items.includes(item)) item.remove();
    items.forEach((item, at) => list.children[at] !== item && list.insertBefore(item, list.children[at] ?? null));
    for (const [id, known] of rows) if (!known.item.isConnected) rows.delete(id);
  }
  const many = page.next_cursor ? `The first ${items.length}: search for others.` : '';
  say(byId('projects-note'), items.length ? many : 'No such project.');
}

/** Moves the focus in the list by `step`. */
export function move(step) {
  const links = [...byId('projects').querySelectorAll('a')];
  const at = links.indexOf(document.activeElement);
  const next = at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, at + step);
  if (next < 0) byId('search').focus();
  else links[next]?.focus();
}
