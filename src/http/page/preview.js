// The live preview in a frame, beside what it says. Invariant: the frame never has this page's origin, where the token is; where it says something is
// known by the frame, not by what it says of itself; all of it is shown as text.

import { el, webAddress } from './dom.js';

const ENTRIES_MAX = 200;
/** Neither popups nor the top: a preview leads nobody away from here. */
const SANDBOX = 'allow-scripts allow-forms allow-modals allow-downloads';

export class Preview {
  #frame = el('div', { class: 'frame' });
  #list = el('div', { class: 'console', tabindex: '0', role: 'log', 'aria-label': 'Console of the preview' }, el('div', { class: 'hint' }, 'Nothing was printed.'));
  #iframe;

  constructor(signal) {
    const clear = () => this.#list.replaceChildren();
    this.element = el('section', { class: 'card preview' }, this.#frame,
      el('div', {}, el('h3', { class: 'split' }, 'Console', el('button', { type: 'button', click: clear }, 'Clear')), this.#list));
    addEventListener('message', (event) => this.#hear(event), { signal });
    signal.addEventListener('abort', clear);
  }

  /** Shows an address; what is shown already stays: the preview follows releases by itself. */
  show(address) {
    const url = webAddress(address);
    if (!url) {
      if (!this.#frame.firstChild || this.#iframe) this.#frame.replaceChildren(el('p', { class: 'hint empty' }, 'Nothing is live yet.'));
      this.#iframe = undefined;
      return;
    }
    if (this.#iframe?.getAttribute('src') === url) return;
    const sandbox = new URL(url).origin === location.origin ? SANDBOX : `${SANDBOX} allow-same-origin`;
    this.#iframe = el('iframe', { src: url, sandbox, title: 'Live preview', name: 'preview', referrerpolicy: 'strict-origin-when-cross-origin' });
    this.#frame.replaceChildren(this.#iframe);
  }

  #hear({ data, source }) {
    if (!this.#iframe || source !== this.#iframe.contentWindow || data?.previewd !== 1) return;
    const { type, level, text, verdict, detail, count, url, line } = data;
    if (type === 'ready') this.#print('mark', 'loaded');
    else if (type === 'console') this.#print(level, text);
    else if (type === 'error') this.#print('error', `${text}${url ? ` (${url}:${line})` : ''}`);
    else if (type === 'resource' || type === 'request') this.#print('error', text);
    else if (type === 'render') this.#print(verdict === 'rendered' ? 'mark' : 'error', `verdict: ${verdict}${detail ? `, ${detail}` : ''}`);
    else if (type === 'dropped') this.#print('warn', `${count} more messages within a second`);
  }

  #print(level, text) {
    const kind = ['debug', 'log', 'info', 'warn', 'error', 'mark'].includes(level) ? level : 'log';
    if (this.#list.firstChild?.className === 'hint') this.#list.replaceChildren();
    this.#list.append(el('div', { class: kind }, String(text)));
    if (this.#list.children.length > ENTRIES_MAX) this.#list.firstChild.remove();
    this.#list.scrollTop = this.#list.scrollHeight;
  }
}
