// The timeline of one session: rates, buffer, rungs, edges, decisions, one below the other.

const TRACKS = { video: 0, audio: 1 };
const LINK_COLORS = ["link-0", "link-1", "link-2", "link-3"];

/** Draws a session and gives its charts. */
function timeline(place, view, run, player) {
  const attempts = attemptsOf(player);
  const spans = spansOf(player);
  const charts = [
    rates(place, view, run, player, attempts, spans),
    buffers(place, view, player, spans),
    rungs(place, view, player, spans),
    edges(place, view, run, player, attempts, spans),
    decisions(place, view, player, spans),
  ].filter(Boolean);
  return charts;
}

function spansOf(player) {
  const shift = player.begins_s;
  const report = player.report;
  const start = report.startup_s ?? report.wall_s;
  const spans = [
    {
      from: shift,
      to: shift + start,
      color: "start-band",
      lines: [report.startup_s === null ? "nothing was shown" : `start-up: ${seconds(start)}`],
    },
  ];
  for (const stall of report.stalls) {
    spans.push({
      from: shift + stall.at_s,
      to: shift + stall.at_s + stall.duration_s,
      color: "stall-band",
      lines: [`stalled for ${seconds(stall.duration_s)}: ${stall.cause}`, `at ${seconds(shift + stall.at_s)}`],
    });
  }
  return spans;
}

function stepSeries(label, stroke, more) {
  return {
    label,
    stroke: () => color(stroke),
    width: 2,
    paths: uPlot.paths.stepped({ align: 1 }),
    points: { show: false },
    value: (_, value) => (value === null || value === undefined ? "–" : short(value)),
    ...more,
  };
}

function rates(place, view, run, player, attempts, spans) {
  const end = endOf(player);
  const used = usedRate(attempts, player.begins_s, end);
  // A burst at the start, or a link far wider than what is used, would press everything else flat.
  const range = () => {
    const [from, to] = view.span;
    const most = used.reduce((largest, row) => (row[0] >= from && row[0] <= to ? Math.max(largest, row[1]) : largest), 0.1);
    return [0, Math.max(most, Math.min(Math.max(...offered, 0), 3 * most)) * 1.08];
  };
  const mbits = (link) => link.rate_bps.map(([at, bps]) => [at, bps === null ? null : bps / 1e6]);
  // Links that never say a rate bound nothing.
  const links = run.links.filter((link) => link.rate_bps.some((row) => row[1] !== null));
  const offered = links.flatMap((link) => link.rate_bps.map((row) => (row[1] ?? 0) / 1e6));
  const series = links.map((link, place) =>
    link.link === "last mile"
      ? stepSeries("offered: last mile", "last-mile", { width: 2 })
      : stepSeries(`offered: ${link.link}`, LINK_COLORS[place % LINK_COLORS.length], { width: 1.5, dash: [4, 2 + 3 * (place % 3)] }),
  );
  return chart(place, view, {
    title: "Rate, Mbit/s",
    about: "What links offered, and what all attempts together brought",
    height: 150,
    spans,
    data: steps([used, ...links.map(mbits)], Math.max(end, view.whole[1])),
    series: [stepSeries("used", "used", { fill: () => color("used-fill"), width: 1.5 }), ...series],
    scale: { range },
    axis: { values: (_, all) => all.map(short) },
  });
}

/** What edges sent to all sessions of a run together, also to those that are not in the document. */
function loads(place, view, run) {
  const most = run.load.reduce((largest, load) => load.bytes.reduce((most, sent) => Math.max(most, sent), largest), 1);
  const seconds = Math.max(...run.load.map((load) => load.bytes.length));
  const functions = run.load.map((load) => load.bytes.map((sent, second) => [second, (sent * 8) / 1e6]));
  return chart(place, view, {
    title: "Load, Mbit/s",
    about: "What each edge sent to all sessions together",
    height: 130,
    spans: [],
    data: until(seconds, functions),
    series: run.load.map((load, place) =>
      stepSeries(load.edge, LINK_COLORS[place % LINK_COLORS.length], { width: 1.5, dash: place < LINK_COLORS.length ? [] : [4, 3] }),
    ),
    scale: { range: [0, (most * 8.6) / 1e6], auto: false },
    axis: { values: (_, all) => all.map(short) },
  });
}

function buffers(place, view, player, spans) {
  const rows = player.report.buffer;
  const most = rows.reduce((largest, row) => Math.max(largest, row[1], row[2]), 1);
  const line = (label, stroke) => ({
    label,
    stroke: () => color(stroke),
    width: 2,
    points: { show: false },
    value: (_, value) => (value === null || value === undefined ? "–" : seconds(value)),
  });
  return chart(place, view, {
    title: "Buffer level, s",
    about: "Media after the playhead",
    height: 120,
    spans,
    data: [rows.map((row) => row[0] + player.begins_s), rows.map((row) => row[1]), rows.map((row) => row[2])],
    series: [line("picture", "video"), line("sound", "audio")],
    scale: { range: [0, most * 1.08], auto: false },
    axis: { values: (_, all) => all.map(short) },
  });
}

function rungs(place, view, player, spans) {
  const { ladder, asked, shown } = rungsOf(player);
  if (!ladder.length) return null;
  const name = (_, value) =>
    value === null || value === undefined ? "–" : `${ladder[value].representation}, ${rate(ladder[value].bitrate_bps)}`;
  const series = shown
    ? [
        stepSeries("asked for", "asked", { width: 1.5, dash: [3, 3], value: name }),
        stepSeries("shown", "video", { width: 2.5, value: name }),
      ]
    : [stepSeries("asked for (when it was shown does not follow from this report)", "video", { value: name })];
  return chart(place, view, {
    title: "Rung",
    about: "Of each segment: when it was asked for, and when it was shown",
    height: Math.min(60 + 18 * ladder.length, 190),
    spans,
    data: until(endOf(player), shown ? [asked, shown] : [asked]),
    series,
    scale: { range: [-0.5, ladder.length - 0.5], auto: false },
    axis: {
      splits: () => ladder.map((_, rung) => rung),
      filter: (_, splits) => splits,
      values: () => ladder.map((rung) => tick(rung.bitrate_bps)),
    },
  });
}

/** The lanes: the backend where it was asked, edges as the report names them, and whoever else something happened to. */
function edgeNames(run, player, attempts) {
  const names = [
    ...attempts.map((attempt) => attempt.edge).filter((edge) => edge === "backend"),
    ...player.report.edges.map((edge) => edge.id),
    ...attempts.map((attempt) => attempt.edge),
    ...faultsOf(run, player).map((receipt) => receipt.edge),
  ];
  return [...new Set(names)];
}

/** Faults that this player may have met. */
function faultsOf(run, player) {
  return run.receipts.filter((receipt) => receipt.player === null || receipt.player === player.player);
}

function edges(place, view, run, player, attempts, spans) {
  const names = edgeNames(run, player, attempts);
  if (!names.length) return null;
  const bars = attempts.map((attempt) => ({
    lane: names.indexOf(attempt.edge),
    part: TRACKS[attempt.fetch.track] ?? 2,
    parts: 3,
    from: attempt.from,
    to: attempt.to,
    first: attempt.first,
    look: attempt.result,
    lines: () => attemptLines(attempt),
  }));
  const marks = faultsOf(run, player).map((receipt) => ({
    lane: names.indexOf(receipt.edge),
    at: receipt.at_s,
    mark: "fault",
    look: "fault",
    lines: () => faultLines(receipt),
  }));
  return lanes(place, view, {
    title: "Edges",
    about: "Attempts: picture above, sound in the middle, all else below",
    names,
    laneHeight: names.length > 12 ? 26 : 34,
    items: [...bars, ...marks],
    spans,
    key: [
      ["ok", "ok (faint: no byte yet)"],
      ["failed", "failed"],
      ["cancelled", "cancelled"],
      ["running", "running at the end"],
      ["fault", "fault"],
      ["stall-band", "stall"],
    ],
  });
}

function attemptLines(attempt) {
  return [
    `${objectOf(attempt.fetch)} from ${attempt.edge}: ${attempt.result}${attempt.code ? `, ${attempt.code}` : ""}`,
    `${seconds(attempt.from)} to ${seconds(attempt.to)} (first byte ${attempt.first === null ? "never" : `after ${seconds(attempt.first - attempt.from)}`})`,
    `${bytes(attempt.bytes)} from byte ${attempt.offset.toLocaleString("en")} on${attempt.wasted_bytes ? `, ${bytes(attempt.wasted_bytes)} of them for nothing` : ""}`,
    [attempt.protocol ?? "no connection", attempt.cold ? "new connection" : null, attempt.hedge ? "beside another attempt" : null]
      .filter(Boolean)
      .join(", "),
  ];
}

function faultLines(receipt) {
  return [
    `fault: ${receipt.id && receipt.id !== receipt.fault ? `${receipt.id} (${receipt.fault})` : receipt.fault} at ${receipt.edge}`,
    `at ${seconds(receipt.at_s)}${receipt.player ? `, to a request of ${receipt.player}` : ""}`,
    receipt.path
      ? `${receipt.path}${receipt.offset === null ? "" : `, from byte ${receipt.offset.toLocaleString("en")} on`}`
      : "no request in particular",
  ];
}

const KINDS = [
  "playback",
  "race",
  "edge",
  "failover",
  "hedge",
  "blame",
  "probe",
  "rung",
  "replace",
  "abandon",
  "policy",
  "track",
  "refresh",
  "watchdog",
];
const LOOKS = {
  failover: "failed",
  blame: "failed",
  abandon: "cancelled",
  hedge: "cancelled",
  watchdog: "failed",
  rung: "video",
  replace: "video",
  edge: "used",
  race: "used",
};

function decisions(place, view, player, spans) {
  const all = player.report.decisions;
  if (!all.length) return null;
  const kinds = [...new Set([...KINDS, ...all.map((decision) => decision.kind)])].filter((kind) =>
    all.some((decision) => decision.kind === kind),
  );
  const items = all.map((decision) => ({
    lane: kinds.indexOf(decision.kind),
    at: decision.at_s + player.begins_s,
    mark: "decision",
    look: LOOKS[decision.kind] ?? "muted",
    lines: () => decisionLines(decision, player.begins_s),
  }));
  return lanes(place, view, { title: "Decisions", about: "Point at one for its reason", names: kinds, laneHeight: 18, items, spans });
}

function decisionLines(decision, shift) {
  return [
    `${decision.kind}: ${decision.chosen}`,
    decision.why,
    `at ${seconds(decision.at_s + shift)}`,
    named(decision.inputs) || null,
    decision.scores ? `held to be worth: ${named(decision.scores)}` : null,
  ];
}
