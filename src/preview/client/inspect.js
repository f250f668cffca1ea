// Any value as one text, as a console shows it.
//
// Invariant: nothing throws, no getter of a plain object is called (a Proxy's traps and an error's own fields are), and the text is
// bounded, and so is the work, whatever the value is.

const TEXT_CHARS = 4000;
const STRING_CHARS = 1000;
const VALUES = 300;
const DEPTH = 4;
const MEMBERS = 50;

const clip = (text, max = TEXT_CHARS) => (text.length > max ? `${text.slice(0, max)}…` : text);

function inspect(root) {
  let values = VALUES;
  const above = [];

  const member = (owner, key) => {
    const { value, get } = Object.getOwnPropertyDescriptor(owner, key) ?? {};
    return get ? '(…)' : show(value);
  };
  const list = (iterable, each, mark, size) => {
    const texts = [];
    for (const one of iterable) {
      if (texts.length >= MEMBERS || values < 0) break;
      texts.push(each(one));
    }
    return `${mark[0]}${texts.join(', ')}${size > texts.length ? ', …' : ''}${mark[1]}`;
  };
  const counted = (kind, value, each) => {
    // The engine's own, also where the app's class has another.
    const size = Reflect.get(kind.prototype, 'size', value);
    return `${kind.name}(${size}) ${list(kind.prototype[Symbol.iterator].call(value), each, '{}', size)}`;
  };

  function show(value) {
    if (--values < 0) return '…';
    if (typeof value === 'string') return above.length ? JSON.stringify(clip(value, STRING_CHARS)) : clip(value);
    if (typeof value === 'bigint') return `${value}n`;
    if (typeof value === 'function') return 'ƒ';
    if (value === null || typeof value !== 'object') return String(value);
    if (above.includes(value)) return '[cycle]';
    if (above.length >= DEPTH) return '{…}';
    above.push(value);
    const text = attempt(() => object(value), '[inaccessible]');
    above.pop();
    return text;
  }

  function object(value) {
    if (Array.isArray(value)) return list(Array(Math.min(value.length, MEMBERS)).keys(), (at) => member(value, at), '[]', value.length);
    if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
    if (value instanceof Error || value instanceof DOMException) return describe(value);
    if (value instanceof Node) return value.nodeType === 1 ? clip(plain(value).outerHTML, STRING_CHARS) : value.nodeName;
    if (value instanceof Map) return counted(Map, value, ([key, of]) => `${show(key)} => ${show(of)}`);
    if (value instanceof Set) return counted(Set, value, show);
    if (value instanceof Date) return Date.prototype.toJSON.call(value);
    if (value instanceof RegExp) return `/${value.source}/`;
    const keys = Object.keys(value);
    const maker = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(value) ?? {}, 'constructor')?.value;
    const name = maker && maker !== Object ? `${Object.getOwnPropertyDescriptor(maker, 'name')?.value} ` : '';
    return name + list(keys, (key) => `${key}: ${member(value, key)}`, '{}', keys.length);
  }

  return attempt(() => clip(show(root)), '[inaccessible]');
}

/** An element's own tag, in a document without components that would wake up. */
function plain(element) {
  const copy = document.implementation.createHTMLDocument('').createElement(element.localName);
  for (const name of ['id', 'class', 'src', 'href']) if (element.hasAttribute(name)) copy.setAttribute(name, element.getAttribute(name));
  return copy;
}

/** What an error says, and where it was made; `stack` is the engine's, in some browsers with the message and in others without. */
function describe(error) {
  const { stack = '' } = error;
  const title = `${error.name}: ${error.message}`;
  return clip(stack.includes(error.message) ? stack : `${title}\n${stack}`);
}

/** What a console would print for these arguments, `%s` and the like filled in. */
function line(args) {
  const [first, ...rest] = args;
  const start = typeof first === 'string' ? first.replace(/%[sdifoOc]/g, (mark) => (rest.length ? (mark === '%c' ? (rest.shift(), '') : inspect(rest.shift())) : mark)) : inspect(first);
  return clip([start, ...rest.map(inspect)].join(' '));
}
