// Charts of lanes: bars and marks one above the other, drawn on the canvas, found again under the pointer.

/**
 * Makes a chart of lanes. `items` are `{ lane, part, parts, from, to, first, look, lines() }` for bars, which fill one of `parts` of
 * their lane, and `{ lane, at, mark, look, lines() }` for marks.
 */
function lanes(place, view, { title, about, names, laneHeight, items, spans, key }) {
  const bars = items.filter((item) => item.mark === undefined);
  const marks = items.filter((item) => item.mark !== undefined);
  const middle = (u, item, device) => u.valToPos(item.lane + 0.5, "y", device);
  const barBox = (u, item, device) => {
    const ratio = device ? devicePixelRatio : 1;
    const room = (laneHeight - 8) * ratio;
    const top = middle(u, item, device) - room / 2 + (room / item.parts) * item.part;
    const [from, to] = [u.valToPos(item.from, "x", device), u.valToPos(item.to, "x", device)];
    // What follows at once stays apart where there is room for it.
    const gap = to - from > 4 * ratio ? ratio : 0;
    return { left: from, right: Math.max(to - gap, from + 2 * ratio), top, height: room / item.parts - ratio };
  };
  const paint = (u, ctx) => {
    const ratio = devicePixelRatio;
    const { min, max } = u.scales.x;
    for (const item of bars) {
      if (item.to < min || item.from > max) continue;
      paintBar(
        ctx,
        item,
        barBox(u, item, true),
        item.first === null || item.first === undefined ? null : u.valToPos(item.first, "x", true),
        ratio,
      );
    }
    for (const item of marks) {
      if (item.at < min || item.at > max) continue;
      paintMark(
        ctx,
        item,
        u.valToPos(item.at, "x", true),
        middle(u, item, true) - (item.mark === "fault" ? (laneHeight / 2 - 5) * ratio : 0),
        ratio,
      );
    }
  };
  const at = (time, left, top, u) => {
    let best = null;
    for (const item of marks) {
      const away = Math.hypot(
        u.valToPos(item.at, "x") - left,
        (middle(u, item) - (item.mark === "fault" ? laneHeight / 2 - 5 : 0) - top) * 0.8,
      );
      if (away < 9 && (!best || away <= best.away)) best = { away, item };
    }
    if (best) {
      const together = marks.filter(
        (item) => item !== best.item && item.lane === best.item.lane && item.at === best.item.at && item.mark === best.item.mark,
      );
      return [...best.item.lines(), together.length ? `and ${together.length} more at this moment: see the list below` : null];
    }
    const bar = bars.findLast((item) => {
      const box = barBox(u, item);
      return left >= box.left - 1 && left <= box.right + 1 && top >= box.top - 1 && top <= box.top + box.height + 1;
    });
    return bar && bar.lines();
  };
  return chart(place, view, {
    title,
    about,
    key,
    height: names.length * laneHeight + 34,
    data: [
      [view.whole[0], view.whole[1]],
      [null, null],
    ],
    series: [{}],
    spans,
    paint,
    at,
    scale: { range: [0, names.length], dir: -1, auto: false },
    axis: {
      splits: () => names.map((_, lane) => lane + 0.5),
      filter: (_, splits) => splits,
      grid: { show: false },
      values: () => names.map((name) => fit(name)),
    },
  });
}

/** Shortens a name to the room beside a chart. */
function fit(name) {
  const most = isNarrow() ? 8 : 14;
  return name.length > most ? `${name.slice(0, most - 1)}…` : name;
}

/** What came is full, what was waited for is faint; what failed ends in a stroke, what was ended is hollow, so that colour is not all. */
function paintBar(ctx, item, box, first, ratio) {
  const width = box.right - box.left;
  ctx.fillStyle = ctx.strokeStyle = color(item.look);
  ctx.globalAlpha = 0.3;
  ctx.fillRect(box.left, box.top, width, box.height);
  ctx.globalAlpha = 1;
  if (item.look === "cancelled") {
    ctx.lineWidth = ratio;
    ctx.strokeRect(box.left + ratio / 2, box.top + ratio / 2, Math.max(width - ratio, ratio), Math.max(box.height - ratio, ratio));
  } else if (first !== null) {
    ctx.fillRect(first, box.top, Math.max(box.right - first, 1.5 * ratio), box.height);
  }
  if (item.look === "failed") ctx.fillRect(box.right - 2 * ratio, box.top - 2 * ratio, 3 * ratio, box.height + 4 * ratio);
}

function paintMark(ctx, item, x, y, ratio) {
  const size = 5 * ratio;
  ctx.fillStyle = color(item.look);
  ctx.strokeStyle = color("page");
  ctx.lineWidth = 1.5 * ratio;
  ctx.beginPath();
  if (item.mark === "fault") {
    ctx.moveTo(x - size, y - size);
    ctx.lineTo(x + size, y - size);
    ctx.lineTo(x, y + size);
    ctx.closePath();
  } else {
    ctx.arc(x, y, 4 * ratio, 0, 2 * Math.PI);
  }
  ctx.stroke();
  ctx.fill();
}
