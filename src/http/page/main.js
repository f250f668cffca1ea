// The page: who is signed in, which view is shown, and the keys. Each view asks for what it shows only while it is looked at.

import { json, refused, signIn, signedIn } from './api.js';
import { byId, say } from './dom.js';
import { move, refreshFigures, refreshHealth, refreshProjects } from './home.js';
import { open } from './project.js';

const PROJECTS_MS = 2000;
const FIGURES_MS = 4000;
const HEALTH_MS = 10_000;

let view = new AbortController();
let search = new AbortController();

/** Asks again and again, one after the other, while the page can be seen. */
async function repeat(work, ms, signal) {
  while (!signal.aborted) {
    if (!document.hidden) {
      await work(signal).then(() => say(byId('connection'), ''), (error) => {
        if (!signal.aborted) say(byId('connection'), error.status ? error.message : 'The daemon does not answer.');
      });
    }
    await new Promise((done) => setTimeout(done, ms));
  }
}

function show(name) {
  for (const id of ['sign-in', 'home', 'project']) byId(id).hidden = id !== name;
  for (const id of ['sign-out', 'overall', 'keys']) byId(id).hidden = name === 'sign-in';
}

/** Shows what the address names. */
function route() {
  view.abort();
  view = new AbortController();
  if (!signedIn()) {
    show('sign-in');
    document.title = 'previewd';
    byId('token').focus();
    return;
  }
  repeat(refreshHealth, HEALTH_MS, view.signal);
  const [, project] = /^#\/p\/([\w-]+)$/.exec(location.hash) ?? [];
  show(project ? 'project' : 'home');
  document.title = project ? `${project} · previewd` : 'previewd';
  if (project) return open(project, view.signal);
  repeat(refreshProjects, PROJECTS_MS, view.signal);
  repeat(refreshFigures, FIGURES_MS, view.signal);
}

/** Takes the token that the daemon's link carries out of the address and of the history. */
function takeToken() {
  const [, token] = /^#token=(.+)$/.exec(location.hash) ?? [];
  if (!token) return;
  signIn(decodeURIComponent(token));
  history.replaceState(null, '', '/');
}

byId('sign-in').addEventListener('submit', async (event) => {
  event.preventDefault();
  say(byId('sign-in-problem'), '');
  signIn(byId('token').value);
  const problem = await json('/projects?limit=1').then(() => '', (error) => (error.status === 401 ? 'This token is not valid.' : error.message));
  byId('token').value = '';
  if (problem) {
    signIn('');
    say(byId('sign-in-problem'), problem);
  } else route();
});

byId('sign-out').addEventListener('click', () => {
  signIn('');
  location.hash = '#/';
  route();
});

refused.addEventListener('refused', () => {
  if (byId('sign-in').hidden) {
    signIn('');
    route();
    say(byId('sign-in-problem'), 'The token is not valid any more.');
  }
});

for (const field of ['search', 'state']) {
  byId(field).addEventListener('input', () => {
    search.abort();
    search = new AbortController();
    refreshProjects(search.signal).catch(() => {});
  });
}

const typing = (target) => target.closest('input, select, textarea') !== null;

addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId('sign-in').hidden === false) return;
  const { key, target } = event;
  const home = !byId('home').hidden;
  const inList = home && (target.id === 'search' || target.closest('#projects') || target === document.body);
  if (key === '/' && !typing(target)) {
    if (!home) location.hash = '#/';
    byId('home').hidden = false;
    byId('search').focus();
  } else if (key === 'Escape' && !home) {
    location.hash = '#/';
  } else if (key === 'Escape' && target.id === 'search') {
    byId('search').value = '';
    byId('search').dispatchEvent(new Event('input'));
    byId('search').blur();
  } else if (inList && (key === 'ArrowDown' || key === 'ArrowUp')) {
    if (target.closest('#projects a') === document.querySelector('#projects a') && key === 'ArrowUp') byId('search').focus();
    else move(key === 'ArrowDown' ? 1 : -1);
  } else if (key === 'Enter' && target.id === 'search') {
    document.querySelector('#projects a')?.click();
  } else return;
  event.preventDefault();
});

addEventListener('hashchange', () => {
  takeToken();
  route();
});
takeToken();
route();
