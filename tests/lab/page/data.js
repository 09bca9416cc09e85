// The document, and what charts need of it.

const summary = JSON.parse(document.getElementById("summary").textContent);
const runs = new Map();

/** A run in full; read when it is first looked at, since a document may hold hundreds. */
function runOf(id) {
  if (!runs.has(id)) runs.set(id, JSON.parse(document.getElementById(`run-${id}`).textContent));
  return runs.get(id);
}

/** The scenarios of all reports: `of` is the place of their report, `id` theirs in it, `place` theirs in the page. */
const scenarios = summary.reports.flatMap((report, of) => report.scenarios.map((scenario, id) => ({ ...scenario, report, of, id })));
scenarios.forEach((scenario, place) => {
  scenario.place = place;
});

/** The scenario of the other report that this one is compared with. */
function counterpart(scenario) {
  const [mine, theirs] = scenario.of === 0 ? ["a", "b"] : ["b", "a"];
  const pair = summary.comparison.find((one) => one[mine] === scenario.id);
  return pair ? scenarios.find((one) => one.of !== scenario.of && one.id === pair[theirs]) : null;
}

/** All attempts of a session with what they are of, in the run's time. */
function attemptsOf(player) {
  const shift = player.begins_s;
  return player.report.fetches.flatMap((fetch) =>
    fetch.attempts.map((attempt) => ({
      ...attempt,
      fetch,
      from: attempt.start_s + shift,
      to: Math.max(attempt.end_s, attempt.start_s) + shift,
      first: attempt.first_byte_s === null ? null : attempt.first_byte_s + shift,
    })),
  );
}

/** What a fetch is of, in words. */
function objectOf(fetch) {
  const place = fetch.segment === null ? "" : ` ${fetch.segment}`;
  return [fetch.kind === "media" ? null : fetch.kind, fetch.track, fetch.representation].filter(Boolean).join(" ") + place;
}

/** When the last thing of a session was. */
function endOf(player) {
  const report = player.report;
  const row = report.buffer.at(-1);
  return player.begins_s + Math.max(report.wall_s, row ? row[0] : 0, 1);
}

/** Times, and for each of many step functions (rows of time and value) what holds from then on. */
function steps(functions, end) {
  const times = [...new Set(functions.flatMap((rows) => rows.map((row) => row[0])).concat(end))]
    .filter((at) => at <= end)
    .sort((a, b) => a - b);
  const columns = functions.map((rows) => {
    let next = 0;
    let value = null;
    return times.map((at) => {
      while (next < rows.length && rows[next][0] <= at) value = rows[next++][1];
      return value;
    });
  });
  return [times, ...columns];
}

/** The same, of which nothing holds any more after the end. */
function until(end, functions) {
  const [times, ...columns] = steps(functions, end);
  return [[...times, end + 1e-3], ...columns.map((column) => [...column, null])];
}

const BINS = 1200;

/** The rate at which bytes came, in step rows of at least half a second: each attempt's bytes count evenly from its first to its last. */
function usedRate(attempts, begin, end) {
  const width = Math.max(0.5, (end - begin) / BINS);
  const bins = new Array(Math.ceil((end - begin) / width) + 1).fill(0);
  for (const attempt of attempts) {
    if (!attempt.bytes) continue;
    const from = (attempt.first ?? attempt.from) - begin;
    const to = Math.max(attempt.to - begin, from + 1e-3);
    for (let bin = Math.max(0, Math.floor(from / width)); bin < bins.length && bin * width < to; bin++) {
      const part = Math.min(to, (bin + 1) * width) - Math.max(from, bin * width);
      bins[bin] += (attempt.bytes * part) / (to - from);
    }
  }
  return bins.map((sum, bin) => [begin + bin * width, (sum * 8) / width / 1e6]);
}

/** The rungs of a session, lowest first, and the segments that are of them: the picture's, or the sound's where there is none. */
function rungsOf(player) {
  const report = player.report;
  const track = report.segments.some((segment) => segment.track === "video") ? "video" : "audio";
  const segments = report.segments.filter((segment) => segment.track === track);
  const ladder = [...report.content.ladder];
  for (const segment of segments) {
    if (!ladder.some((rung) => rung.representation === segment.representation))
      ladder.push({ representation: segment.representation, bitrate_bps: segment.bitrate_bps });
  }
  ladder.sort((a, b) => a.bitrate_bps - b.bitrate_bps);
  const rung = (segment) => ladder.findIndex((one) => one.representation === segment.representation);
  const asked = segments.map((segment) => [segment.requested_s + player.begins_s, rung(segment)]).sort((a, b) => a[0] - b[0]);
  return { ladder, asked, shown: shownRungs(player, segments, rung) };
}

/**
 * From when on each segment's rung was on the screen. A report says when segments came, not when they were shown: that follows
 * from start-up, durations and stalls, unless the viewer sought or held the picture. Then the answer is `null`.
 */
function shownRungs(player, segments, rung) {
  const report = player.report;
  if (report.startup_s === null) return null;
  const times = report.startup_s + report.played_s + report.stalled_s;
  if (report.wall_s > times + 2) return null;
  const byIndex = new Map();
  for (const segment of segments) {
    if (!byIndex.has(segment.index)) byIndex.set(segment.index, []);
    byIndex.get(segment.index).push(segment);
  }
  const order = [...byIndex.keys()].sort((a, b) => a - b);
  if (order.some((index, place) => place > 0 && index !== order[place - 1] + 1)) return null;
  const stalls = [...report.stalls];
  const rows = [];
  let at = report.startup_s;
  for (const index of order) {
    const candidates = byIndex.get(index);
    while (stalls.length && stalls[0].at_s <= at + 0.05) at = Math.max(at, stalls[0].at_s + stalls.shift().duration_s);
    if (at > report.wall_s) break;
    // Of a segment that was fetched again at a better rung, what was there in time.
    const shown = candidates.filter((segment) => segment.done_s <= at).at(-1) || candidates[0];
    rows.push([at + player.begins_s, rung(shown)]);
    let left = shown.duration_s;
    while (stalls.length && stalls[0].at_s < at + left - 0.05) {
      const stall = stalls.shift();
      left -= Math.max(0, stall.at_s - at);
      at = stall.at_s + stall.duration_s;
    }
    at += left;
  }
  return rows;
}
