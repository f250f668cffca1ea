// The demo: a chat-like page around one <previewd-frame>. Address: demo.html#project=demo&token=…[&base=https://build.example][&fallback=…]. The token is in
// the fragment, which is not sent to any server. Texts of builds and previews go in as text.

const frame = document.querySelector('previewd-frame');
const messages = document.getElementById('messages');
const MESSAGES_MAX = 100;

function say(who, text, code) {
  const item = document.createElement('li');
  item.className = who;
  item.append(text);
  if (code) {
    const pre = document.createElement('pre');
    pre.tabIndex = 0;
    pre.append(code);
    item.append(pre);
  }
  messages.append(item);
  if (messages.children.length > MESSAGES_MAX) messages.firstChild.remove();
  item.scrollIntoView({ block: 'nearest' });
}

let state;
frame.addEventListener('previewd-status', ({ detail }) => {
  if (detail.state === 'building' && state !== 'building') say('bot', `I am building revision ${detail.revision}.`);
  state = detail.state;
});
frame.addEventListener('previewd-published', ({ detail }) => detail.reason !== 'current' && say('bot good', `Revision ${detail.revision} is live.`));
frame.addEventListener('previewd-failed', ({ detail }) => {
  const place = detail.file ? ` in ${detail.file}${detail.line ? `, line ${detail.line}` : ''}` : '';
  say('bot bad', `Revision ${detail.revision} does not build: ${detail.message}${place}`, detail.frame);
});
frame.addEventListener('previewd-render', ({ detail }) => detail.verdict !== 'rendered' && say('bot bad', `The preview shows nothing (${detail.verdict}): ${detail.detail ?? ''}`));
frame.addEventListener('previewd-console', ({ detail }) => {
  if (detail.from === 'preview' && (detail.type === 'error' || detail.level === 'error')) say('bot bad', `The app says: ${detail.text}`);
});

/** What the address names. */
function begin() {
  const named = new URLSearchParams(location.hash.slice(1));
  say('user', `Show me "${named.get('project') ?? 'demo'}". (Edit it in demo-app/src, then run scripts/demo again.)`);
  if (named.has('fallback')) frame.setAttribute('fallback-url', named.get('fallback'));
  frame.setAttribute('token', named.get('token') ?? '');
  frame.setAttribute('base-url', named.get('base') ?? location.origin);
  frame.setAttribute('project', named.get('project') ?? 'demo');
}

addEventListener('hashchange', () => location.reload());
begin();
