// The span of time that is looked at: one for all timelines of the page.

/** Tells all who follow it whenever it changes. */
class View {
  constructor() {
    this.followers = new Set();
    this.whole = [0, 1];
    this.span = [0, 1];
  }

  /** Begins anew with a span that holds everything. */
  begin(end) {
    this.followers.clear();
    this.whole = [0, end];
    this.span = [0, end];
  }

  show(from, to) {
    const [least, most] = this.whole;
    const width = Math.min(Math.max(to - from, 0.05), most - least);
    const begin = Math.min(Math.max(from, least), most - width);
    this.span = [begin, begin + width];
    for (const follower of this.followers) follower(this.span);
  }

  all() {
    this.show(...this.whole);
  }

  /** Makes the span so many times as long around a moment (its middle, where none is given). */
  zoom(factor, around) {
    const [from, to] = this.span;
    const at = around ?? (from + to) / 2;
    this.show(at - (at - from) * factor, at + (to - at) * factor);
  }

  /** Moves by a share of the span. */
  pan(share) {
    const [from, to] = this.span;
    this.show(from + (to - from) * share, to + (to - from) * share);
  }

  /** Goes to a moment, near enough to see it. */
  goTo(at) {
    const half = Math.min((this.span[1] - this.span[0]) / 2, 10);
    this.show(at - half, at + half);
  }
}

const KEYS = {
  ArrowLeft: (view) => view.pan(-0.2),
  ArrowRight: (view) => view.pan(0.2),
  "+": (view) => view.zoom(0.5),
  "=": (view) => view.zoom(0.5),
  "-": (view) => view.zoom(2),
  0: (view) => view.all(),
  Home: (view) => view.all(),
};

/** Buttons for those who have no wheel, and keys for those who have no mouse. */
function toolbar(view) {
  const button = (text, says, does) => el("button", { type: "button", "aria-label": says, title: says, onclick: does }, text);
  const told = el("span", { class: "muted", role: "status" });
  const tell = ([from, to]) => {
    told.textContent = `${seconds(Number(from.toFixed(1)))} to ${seconds(Number(to.toFixed(1)))}`;
  };
  view.followers.add(tell);
  tell(view.span);
  return el(
    "div",
    { class: "toolbar", role: "toolbar", "aria-label": "Time axis" },
    button("−", "Zoom out", () => view.zoom(2)),
    button("+", "Zoom in", () => view.zoom(0.5)),
    button("◀", "Earlier", () => view.pan(-0.5)),
    button("▶", "Later", () => view.pan(0.5)),
    button("Whole", "Show the whole run", () => view.all()),
    told,
    el("span", { class: "muted hint" }, "Drag: zoom. Double click: whole. Ctrl+wheel: zoom, Shift+wheel: move. Keys: ← → + − 0"),
  );
}

/** Follows keys, wheel and fingers over an element; `timeAt(clientX)` says which moment is there. */
function steer(view, element, timeAt) {
  element.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, button") || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key](view);
  });
  element.addEventListener(
    "wheel",
    (event) => {
      const at = timeAt(event.clientX);
      if (at === null || !(event.ctrlKey || event.shiftKey)) return;
      event.preventDefault();
      const turned = event.deltaY || event.deltaX;
      if (event.ctrlKey) view.zoom(turned > 0 ? 1.25 : 0.8, at);
      else view.pan(turned > 0 ? 0.1 : -0.1);
    },
    { passive: false },
  );
  const fingers = new Map();
  element.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch" && timeAt(event.clientX) !== null) fingers.set(event.pointerId, event.clientX);
  });
  for (const over of ["pointerup", "pointercancel"]) element.addEventListener(over, (event) => fingers.delete(event.pointerId));
  element.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (before === undefined) return;
    const other = [...fingers].find(([id]) => id !== event.pointerId);
    const [was, is] = [timeAt(before), timeAt(event.clientX)];
    fingers.set(event.pointerId, event.clientX);
    if (was === null || is === null) return;
    if (!other) {
      view.show(view.span[0] + was - is, view.span[1] + was - is);
      return;
    }
    // Two fingers: the moment under the other one stays where it is.
    const held = timeAt(other[1]);
    if (held !== null && Math.abs(is - held) > 1e-6) view.zoom(Math.min(Math.max(Math.abs((was - held) / (is - held)), 0.5), 2), held);
  });
}
