// One chart over the shared time axis: what all of them have in common.

/** The narrow screen of a phone has less room beside charts. */
const isNarrow = () => window.innerWidth < 600;
const sideWidth = () => (isNarrow() ? 62 : 104);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const FONT = "12px system-ui, sans-serif";

/** What is said of the thing under the pointer: one element for all charts. */
const tip = el("div", { id: "tip", role: "tooltip", hidden: true });

function tell(lines, event) {
  tip.hidden = !lines;
  if (!lines) return;
  tip.replaceChildren(...lines.filter(Boolean).map((line, place) => el("div", { class: place === 0 ? "tip-head" : null }, line)));
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, document.documentElement.clientWidth - width - 8))}px`;
  tip.style.top = `${event.clientY + 18 + height > window.innerHeight ? event.clientY - height - 12 : event.clientY + 18}px`;
}

/**
 * Makes a chart in `place` and gives it the view's span. `key` says what looks mean, where a legend
 * cannot; `spans` are bands over everything, `{ from, to, color, lines }`; `at(time, left, top, u)`
 * gives the lines of what is under the pointer, or nothing.
 */
function chart(place, view, { title, about, key, height, data, series, axis, scale, paint, at, spans }) {
  const header = el(
    "div",
    { class: "chart-head" },
    el("span", { class: "chart-title", title: about }, title),
    key
      ? el(
          "span",
          { class: "key" },
          key.map(([look, text]) => el("span", {}, el("i", { class: `swatch ${look}` }), text)),
        )
      : null,
  );
  const box = el("div", { class: "chart", role: "img", "aria-label": `${title}: ${about}` });
  place.append(header, box);
  const bands = (u) => {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    if (paint) paint(u, ctx);
    for (const span of spans) {
      const [from, to] = [u.valToPos(span.from, "x", true), u.valToPos(span.to, "x", true)];
      ctx.fillStyle = color(span.color);
      ctx.fillRect(from, bbox.top, Math.max(to - from, 1.5 * devicePixelRatio), bbox.height);
    }
    ctx.restore();
  };
  const line = () => color("line");
  const ink = () => color("muted");
  const u = new uPlot(
    {
      width: Math.max(box.clientWidth, 280),
      height,
      series: [{ label: "time", value: (u) => (u.cursor.left >= 0 ? seconds(u.posToVal(u.cursor.left, "x")) : "–") }, ...series],
      scales: { x: { time: false, min: view.span[0], max: view.span[1], auto: false }, y: scale },
      axes: [
        {
          stroke: ink,
          font: FONT,
          size: 26,
          gap: 3,
          grid: { stroke: line, width: 1 },
          ticks: { stroke: line, size: 4 },
          values: (_, all) => all.map((value) => `${short(value)} s`),
        },
        { stroke: ink, font: FONT, size: sideWidth, gap: 4, grid: { stroke: line, width: 1 }, ticks: { show: false }, ...axis },
      ],
      // Half of the last moment's label stands beyond it.
      padding: [6, 24, 0, 0],
      legend: { show: series.some((one) => one.label), mount: (_, legend) => header.append(legend) },
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: false },
        sync: { key: "time", scales: ["x", null] },
        // What holds at a moment is what was said last, not what is said next to it.
        dataIdx: (u, _, nearest, time) => (nearest > 0 && u.data[0][nearest] > time ? nearest - 1 : nearest),
        bind: {
          dblclick: () => () => {
            view.all();
            return null;
          },
        },
      },
      hooks: {
        draw: [bands],
        setSelect: [
          (self) => {
            const { left, width } = self.select;
            if (width < 4) return;
            const [from, to] = [self.posToVal(left, "x"), self.posToVal(left + width, "x")];
            self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            view.show(from, to);
          },
        ],
      },
    },
    data,
    box,
  );
  const over = (event) => {
    const rect = u.over.getBoundingClientRect();
    const [left, top] = [event.clientX - rect.left, event.clientY - rect.top];
    const time = u.posToVal(left, "x");
    const band = spans.findLast((span) => time >= span.from && time <= span.to);
    tell((at && at(time, left, top, u)) || (band && band.lines), event);
  };
  u.over.addEventListener("pointermove", over);
  u.over.addEventListener("pointerdown", over);
  u.over.addEventListener("pointerleave", () => tell(null));
  view.followers.add(([min, max]) => u.setScale("x", { min, max }));
  return u;
}

/** Says which moment is under a place of the screen; `null` beside the charts. */
function timeOver(charts) {
  return (clientX) => {
    const rect = charts[0].over.getBoundingClientRect();
    return clientX < rect.left || clientX > rect.right ? null : charts[0].posToVal(clientX - rect.left, "x");
  };
}
