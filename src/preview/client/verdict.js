// Did it render? Looked at a few times after the page has loaded, until nobody waits any longer.
//
// Invariant: what is seen counts more than what was printed. An app that logs a thousand errors and shows something has rendered; one
// that shows nothing, or still only its own "Loading…" after its scripts failed, has not.

/** After `load`. What fails at start has failed by the second look; apps that fetch first get all of them. */
const LOOKS_MS = [150, 1000, 2500, 5000, 10_000];
const FAILED_AFTER_MS = 1000;
const ELEMENTS = 3000;
/** Text of a page that waits for its script. */
const PLACEHOLDER_CHARS = 120;
const LOADS = 8;
const LOADS_MS = 15_000;

const isShown = (element) => (element.checkVisibility
  ? element.checkVisibility({ opacityProperty: true, visibilityProperty: true })
  : element.getClientRects().length > 0);

/** Something to be seen that is no text: a picture, a control, a drawn box; or a component that keeps to itself what is in it. */
function isThing(element) {
  const { localName } = element;
  const { width, height } = element.getBoundingClientRect();
  if (width < 2 || height < 2 || !isShown(element)) return false;
  if (localName === 'img') return element.naturalWidth > 0;
  if (/^(svg|canvas|video|iframe|object|embed|input|button|select|textarea|progress|meter|hr|audio)$/.test(localName)) return true;
  if (localName.includes('-') && !element.shadowRoot && !element.firstChild) return true;
  const { backgroundImage, backgroundColor } = getComputedStyle(element);
  // A coloured box is something, a coloured page is not.
  return backgroundImage !== 'none' || (!/, 0\)$/.test(backgroundColor) && (width < innerWidth * 0.9 || height < innerHeight * 0.9));
}

/** Characters that are to be seen; any number where a thing is, or where a component draws. */
function look(root, inside = Infinity) {
  let [chars, left] = [0, ELEMENTS];
  const visit = (node, weight) => {
    for (let child = node.firstChild; child && left-- > 0 && chars <= PLACEHOLDER_CHARS; child = child.nextSibling) {
      if (child.nodeType === 3) {
        const text = child.data.trim();
        if (text && isShown(child.parentElement ?? node.host)) chars += text.length * weight;
      } else if (child.nodeType === 1 && !isOurs(child) && !/^(script|style|template|noscript)$/.test(child.localName)) {
        if (isThing(child)) chars = inside;
        visit(child, weight);
        if (child.shadowRoot) visit(child.shadowRoot, inside);
      }
    }
  };
  if (root) visit(root, 1);
  return chars;
}

/** Whether a script has put anything into the page after it was parsed. */
let touched = false;
document.addEventListener('readystatechange', () => {
  const watcher = new MutationObserver(() => watcher.disconnect((touched = true)));
  if (document.body) watcher.observe(document.body, { childList: true, characterData: true, subtree: true });
}, { once: true });

function judge(ms) {
  const chars = look(document.body);
  const [trouble] = troubles;
  if (chars && !(trouble && !touched && chars <= PLACEHOLDER_CHARS)) return { verdict: 'rendered', detail: trouble?.detail };
  if (trouble && ms >= FAILED_AFTER_MS) return trouble;
  return ms === LOOKS_MS.at(-1) && { verdict: 'empty', detail: 'the page shows nothing' };
}

let told;

function tell(found) {
  const key = build + found.verdict;
  if (key === told) return;
  told = key;
  render = found;
  tellParent('render', found);
  flush();
}

/** Looks at the build that the page shows now. */
const lookAfter = () => LOOKS_MS.forEach((ms) => setTimeout(() => attempt(() => {
  const found = judge(ms);
  if (found) tell(found);
  if (ms === FAILED_AFTER_MS) remember('loads', []);
}), ms));

if (build && !standIn) {
  // A page that leaves itself again and again never comes to be looked at.
  const loads = (recall('loads') ?? []).filter((at) => Date.now() - at < LOADS_MS);
  if (loads.push(Date.now()) === LOADS) tell({ verdict: 'script_error', detail: 'the page redirects or reloads itself without end' });
  remember('loads', loads);
  addEventListener('load', lookAfter);
}
