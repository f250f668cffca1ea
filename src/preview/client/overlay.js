// Why the newest build failed, over the last good release. In a shadow tree, so that no style of the app reaches it, with a style sheet
// that no policy of the page forbids. Nothing is ever parsed as HTML. Loaded by live.js when there is something to show.

const CSS_TEXT = `
:host { all: initial; position: fixed; inset: 0; z-index: 2147483647; display: grid; place-items: end center; pointer-events: none;
  color-scheme: light dark; --text: light-dark(#1c1b22, #f0eff5); --soft: light-dark(#5c5968, #aaa6b8); --face: light-dark(#fff, #1d1b24);
  --code: light-dark(#f5f3f8, #121018); --edge: light-dark(#ddd8e4, #3a3646); --mark: light-dark(#c0243c, #ff7b8a) }
section { pointer-events: auto; box-sizing: border-box; width: min(56rem, 100% - 1rem); max-height: min(34rem, 100vh - 1rem); margin: .5rem;
  display: flex; flex-direction: column; color: var(--text); background: var(--face); border: 1px solid var(--edge);
  border-top: 3px solid var(--mark); border-radius: .6rem; box-shadow: 0 .5rem 2.5rem #0006; font: 15px/1.5 system-ui, sans-serif }
header { display: flex; align-items: center; gap: .75rem; padding: .6rem .6rem .2rem 1rem }
h2 { all: unset; flex: 1; font-weight: 600 }
h2 span { color: var(--mark) }
button { font: inherit; font-size: 13px; color: inherit; background: transparent; border: 1px solid var(--edge); border-radius: .4rem;
  padding: .2rem .7rem; min-height: 2rem; cursor: pointer }
button:hover { background: var(--code) }
:focus-visible { outline: 2px solid var(--mark); outline-offset: 1px }
div { overflow: auto; padding: 0 1rem 1rem }
p { margin: 0; color: var(--soft); font-size: 13px; overflow-wrap: anywhere }
pre { margin: .5rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, monospace }
pre + pre { padding: .6rem .8rem; background: var(--code); border-radius: .4rem; white-space: pre; overflow: auto }`;

/** Puts the overlay into `document`; gives its element. `dismiss` takes it away again. */
function draw(document, { kind, message, file, line, column, frame }, dismiss) {
  const element = (name, ...children) => {
    const made = document.createElement(name);
    made.append(...children.filter(Boolean));
    return made;
  };
  const place = file && [file, line, line && column].filter(Boolean).join(':');
  const close = element('button', 'Dismiss');
  close.type = 'button';
  close.onclick = dismiss;
  const title = element('h2', element('span', 'Build failed'), kind && ` · ${kind}`);
  const about = element('p', place && `${place} · `, 'The preview shows the last version that worked.');
  const body = element('div', about, element('pre', message), frame && element('pre', frame));
  // So that the keyboard can scroll it.
  body.tabIndex = 0;
  const section = element('section', element('header', title, close), body);
  section.setAttribute('role', 'alert');
  section.onkeydown = ({ key }) => key === 'Escape' && dismiss();
  const overlay = document.createElement('previewd-overlay');
  const root = overlay.attachShadow({ mode: 'open' });
  // Of the page's own realm: a sheet of another document is refused.
  const sheet = new document.defaultView.CSSStyleSheet();
  sheet.replaceSync(CSS_TEXT);
  root.adoptedStyleSheets = [sheet];
  root.append(section);
  // Not into `body`, which is the app's.
  document.documentElement.append(overlay);
  return overlay;
}

(window[Symbol.for('previewd')] ??= {}).draw = draw;
