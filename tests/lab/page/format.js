// Numbers as people read them, and elements that hold text. All text of the document gets into the page here, as text.

/** Makes an element. Attributes that begin with `on` are listeners; children are elements or text, never markup. */
function el(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(
    ...children
      .flat()
      .filter((child) => child !== null && child !== undefined)
      .map((child) => (child instanceof Node ? child : String(child))),
  );
  return made;
}

/** A number with so many digits as say something. */
function short(number) {
  if (number === null || number === undefined || !Number.isFinite(number)) return "–";
  const size = Math.abs(number);
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4;
  const text = number.toFixed(digits);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** A moment or span: seconds, to the millisecond. */
function seconds(number) {
  return number === null || number === undefined ? "–" : `${Number(number.toFixed(3))} s`;
}

function bytes(number) {
  if (number === null || number === undefined) return "–";
  if (number >= 1e6) return `${short(number / 1e6)} MB`;
  return number >= 1e3 ? `${short(number / 1e3)} kB` : `${number} B`;
}

function rate(bps) {
  if (bps === null || bps === undefined) return "no limit";
  return bps >= 1e6 ? `${short(bps / 1e6)} Mbit/s` : `${short(bps / 1e3)} kbit/s`;
}

/** A rate beside a chart, where a phone has little room. */
function tick(bps) {
  return isNarrow() ? rate(bps).replace("bit/s", "") : rate(bps);
}

/** A figure by its name, whose end is its unit: `rate_bps`, `size_bytes`, `ttfb_s`. */
function figure(name, number) {
  if (name.endsWith("_bps")) return rate(number);
  if (name.endsWith("_kbps")) return rate(number * 1e3);
  if (name.endsWith("_bytes")) return bytes(number);
  if (name.endsWith("_s")) return seconds(number);
  return short(number);
}

function named(numbers) {
  return Object.entries(numbers || {})
    .map(([name, number]) => `${name.replace(/_(bps|kbps|bytes|s)$/, "").replaceAll("_", " ")} ${figure(name, number)}`)
    .join(", ");
}

/** "1 seed", "2 seeds". */
function count(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

function verdictMark(passed) {
  return el("span", { class: `mark ${passed ? "good" : "bad"}` }, passed ? "✓ passed" : "✗ failed");
}

/** A table of many rows keeps the page light: it shows so many, and more when asked. */
const ROWS_AT_ONCE = 100;

/**
 * Makes a table. `columns` are `{ name, of(row), number }`, where `of` gives text or an element; `search` adds a field that
 * keeps the rows whose `text(row)` contains what is typed; `onpick(row)` makes rows buttons.
 */
function table({ caption, columns, rows, search, text, onpick }) {
  const body = el("tbody");
  const told = el("p", { class: "muted", role: "status" });
  const more = el("button", { type: "button", onclick: () => show(shown + ROWS_AT_ONCE) }, "Show more");
  let wanted = rows;
  let shown = 0;
  const row = (one) => {
    const cells = columns.map((column, place) => {
      const content = column.of(one);
      const picks = onpick && place === 0;
      return el(
        place === 0 ? "th" : "td",
        { class: column.number ? "number" : null, scope: place === 0 ? "row" : null },
        picks ? el("button", { type: "button", class: "pick", onclick: () => onpick(one) }, content) : content,
      );
    });
    return el("tr", {}, cells);
  };
  const show = (most) => {
    shown = Math.min(most, wanted.length);
    body.replaceChildren(...wanted.slice(0, shown).map(row));
    more.hidden = shown >= wanted.length;
    told.textContent =
      wanted.length === rows.length && shown === rows.length && !search
        ? ""
        : `${shown} of ${wanted.length} shown${wanted.length < rows.length ? `, ${rows.length} in all` : ""}`;
  };
  const keep = (keeps) => {
    wanted = rows.filter(keeps);
    show(ROWS_AT_ONCE);
  };
  const field =
    search &&
    el("input", {
      type: "search",
      "aria-label": search,
      placeholder: search,
      oninput: (event) => {
        const words = event.target.value.toLowerCase();
        keep((one) => text(one).toLowerCase().includes(words));
      },
    });
  const head = el(
    "tr",
    {},
    columns.map((column) => el("th", { scope: "col", class: column.number ? "number" : null }, column.name)),
  );
  const made = el(
    "div",
    { class: "table" },
    field || null,
    el(
      "div",
      { class: rows.length > 30 ? "scroll long" : "scroll", tabindex: "0", role: "region", "aria-label": caption },
      el("table", { class: columns.length > 5 ? "wide" : null }, el("caption", { class: "unseen" }, caption), el("thead", {}, head), body),
    ),
    told,
    more,
  );
  show(ROWS_AT_ONCE);
  return { element: made, keep };
}

/** A part that is folded, and made when it is opened first. */
function folded(summary, make) {
  const made = el(
    "details",
    {
      ontoggle: () => {
        if (made.open && made.children.length === 1) made.append(make());
      },
    },
    el("summary", {}, summary),
  );
  return made;
}
