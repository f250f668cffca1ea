// Calls of the API, and its streams. The token goes into a header, never into an address.

const KEY = 'previewd-token';
const RETRY_MS = { from: 500, to: 10_000 };

/** Where previews share this origin, what is stored is theirs too: then the token is kept by this page alone. */
const store = 'sharedOrigin' in document.documentElement.dataset ? undefined : sessionStorage;

let token = store?.getItem(KEY) ?? '';

export const signedIn = () => token !== '';

export function signIn(value) {
  token = value.trim();
  if (token) store?.setItem(KEY, token);
  else store?.removeItem(KEY);
}

/** The daemon refused the token: the page asks for another. */
export const refused = new EventTarget();

/** What an answer that is no success says. */
export class Refusal extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export async function call(path, { body, headers, ...options } = {}) {
  const sent = { authorization: `Bearer ${token}`, ...(body ? { 'content-type': 'application/json' } : {}), ...headers };
  const answer = await fetch(path, { ...options, cache: 'no-store', headers: sent, body: body && JSON.stringify(body) });
  if (answer.status === 401) refused.dispatchEvent(new Event('refused'));
  // The health that something is wrong with is an answer too.
  if (answer.ok || (path === '/health' && answer.status === 503)) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Refusal(answer.status, problem.detail ?? `${answer.status} ${answer.statusText}`);
}

export const json = async (path, options) => (await call(path, options)).json();

/** Puts Server-Sent Events (WHATWG HTML) together from the text of a stream. */
function parser(onEvent) {
  let [rest, name, data] = ['', '', []];
  let id;
  return (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const [, field, value] = /^([^:]*)(?:: ?)?(.*)$/s.exec(line);
      if (line === '') {
        if (data.length) onEvent(name || 'message', data.join('\n'), id);
        [name, data] = ['', []];
      } else if (field === 'data') data.push(value);
      else if (field === 'event') name = value;
      else if (field === 'id') id = value;
    }
  };
}

const pause = (ms, signal) => new Promise((done) => {
  const timer = setTimeout(done, ms);
  signal.addEventListener('abort', () => (clearTimeout(timer), done()), { once: true });
});

/** Follows a stream until `signal`, again and again, from where it was. `onState` hears whether it is connected. */
export async function follow(path, { signal, onEvent, onState }) {
  let wait = RETRY_MS.from;
  let last;
  while (!signal.aborted) {
    try {
      const answer = await call(path, { signal, headers: last ? { 'last-event-id': last } : {} });
      onState(true);
      wait = RETRY_MS.from;
      const feed = parser((name, data, id) => {
        last = id;
        onEvent(name, JSON.parse(data));
      });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) feed(part.value);
    } catch (error) {
      if (signal.aborted || error.status === 401 || error.status === 404) return;
    }
    onState(false);
    await pause(wait * (0.5 + Math.random()), signal);
    wait = Math.min(wait * 2, RETRY_MS.to);
  }
}
