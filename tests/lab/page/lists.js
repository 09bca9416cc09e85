// What the timeline shows, as tables: for those who cannot see charts, and for those who look for a word.

/** Makes them; `place` is where the session's timeline is. */
function lists(run, player, name, place) {
  const shift = player.begins_s;
  const report = player.report;
  const at = (time) => seconds(time + shift);
  const list = (title, rows, columns, text, when) =>
    rows.length
      ? folded(
          `${title} (${rows.length.toLocaleString("en")})`,
          () =>
            table({
              caption: `${title} of ${name}`,
              rows,
              columns,
              text,
              search: `Search ${title.toLowerCase()}`,
              onpick: (row) => goTo(place, when(row)),
            }).element,
        )
      : null;
  const made = [
    list(
      "Decisions",
      report.decisions,
      [
        { name: "At", of: (one) => at(one.at_s) },
        { name: "Kind", of: (one) => one.kind },
        { name: "Chosen", of: (one) => one.chosen },
        { name: "Why", of: (one) => one.why },
        { name: "Inputs", of: (one) => named(one.inputs) },
        { name: "Scores", of: (one) => named(one.scores) },
      ],
      (one) => `${one.kind} ${one.chosen} ${one.why} ${named(one.inputs)} ${named(one.scores)}`,
      (one) => one.at_s + shift,
    ),
    list(
      "Stalls",
      report.stalls,
      [
        { name: "At", of: (one) => at(one.at_s) },
        { name: "Duration", of: (one) => seconds(one.duration_s), number: true },
        { name: "Cause", of: (one) => one.cause },
      ],
      (one) => one.cause,
      (one) => one.at_s + shift,
    ),
    list(
      "Failovers",
      report.failovers,
      [
        { name: "At", of: (one) => at(one.at_s) },
        { name: "Track", of: (one) => one.track ?? "" },
        { name: "From", of: (one) => one.from },
        { name: "To", of: (one) => one.to },
        { name: "Reason", of: (one) => one.reason },
        { name: "Noticed after", of: (one) => seconds(one.detected_s), number: true },
        { name: "First byte after", of: (one) => seconds(one.first_byte_s), number: true },
        { name: "Wasted", of: (one) => bytes(one.wasted_bytes), number: true },
      ],
      (one) => `${one.from} ${one.to} ${one.reason} ${one.track}`,
      (one) => one.at_s + shift,
    ),
    list(
      "Faults",
      faultsOf(run, player),
      [
        { name: "At", of: (one) => seconds(one.at_s) },
        { name: "Fault", of: (one) => one.fault },
        { name: "Name", of: (one) => one.id ?? "" },
        { name: "Edge", of: (one) => one.edge },
        { name: "Request", of: (one) => one.path ?? "" },
        { name: "From byte", of: (one) => (one.offset === null ? "" : one.offset.toLocaleString("en")), number: true },
      ],
      (one) => `${one.fault} ${one.id} ${one.edge} ${one.path}`,
      (one) => one.at_s,
    ),
    list(
      "Segments",
      report.segments,
      [
        { name: "Asked at", of: (one) => at(one.requested_s) },
        { name: "Track", of: (one) => one.track },
        { name: "Segment", of: (one) => one.index, number: true },
        { name: "Rung", of: (one) => `${one.representation}, ${rate(one.bitrate_bps)}` },
        { name: "Size", of: (one) => bytes(one.bytes), number: true },
        { name: "First byte after", of: (one) => seconds(one.first_byte_s - one.requested_s), number: true },
        { name: "Done after", of: (one) => seconds(one.done_s - one.requested_s), number: true },
      ],
      (one) => `${one.track} ${one.index} ${one.representation}`,
      (one) => one.requested_s + shift,
    ),
    list(
      "Attempts",
      attemptsOf(player),
      [
        { name: "From", of: (one) => seconds(one.from) },
        { name: "To", of: (one) => seconds(one.to) },
        { name: "Object", of: (one) => objectOf(one.fetch) },
        { name: "Edge", of: (one) => one.edge },
        { name: "Result", of: (one) => [one.result, one.code].filter(Boolean).join(", ") },
        { name: "Bytes", of: (one) => bytes(one.bytes), number: true },
        { name: "From byte", of: (one) => one.offset.toLocaleString("en"), number: true },
        { name: "Wasted", of: (one) => bytes(one.wasted_bytes), number: true },
        { name: "Over", of: (one) => one.protocol ?? "" },
      ],
      (one) => `${objectOf(one.fetch)} ${one.edge} ${one.result} ${one.code} ${one.protocol}`,
      (one) => one.from,
    ),
    list(
      "Edges",
      report.edges,
      [
        { name: "Edge", of: (one) => one.id },
        { name: "State at the end", of: (one) => one.state },
        { name: "First byte, p50", of: (one) => (one.ttfb_ms.p50 === null ? "–" : `${short(one.ttfb_ms.p50)} ms`), number: true },
        { name: "p95", of: (one) => (one.ttfb_ms.p95 === null ? "–" : `${short(one.ttfb_ms.p95)} ms`), number: true },
        { name: "Rate", of: (one) => (one.throughput_bps === null ? "–" : rate(one.throughput_bps)), number: true },
        { name: "Bytes", of: (one) => bytes(one.bytes), number: true },
        { name: "Failures", of: (one) => one.failures, number: true },
      ],
      (one) => `${one.id} ${one.state}`,
      () => shift,
    ),
    list(
      "Links",
      run.links.flatMap((link) => link.rate_bps.map(([from, bps]) => ({ link: link.link, from, bps }))),
      [
        { name: "From", of: (one) => seconds(one.from) },
        { name: "Link", of: (one) => one.link },
        { name: "Rate", of: (one) => rate(one.bps), number: true },
      ],
      (one) => one.link,
      (one) => one.from,
    ),
    list(
      "Load",
      Array.from({ length: Math.max(0, ...run.load.map((load) => load.bytes.length)) }, (_, second) => second),
      [
        { name: "In second", of: (second) => seconds(second) },
        ...run.load.map((load) => ({ name: load.edge, of: (second) => bytes(load.bytes[second] ?? 0), number: true })),
      ],
      (second) => seconds(second),
      (second) => second,
    ),
    list(
      "Buffer",
      report.buffer,
      [
        { name: "At", of: (row) => at(row[0]) },
        { name: "Picture", of: (row) => seconds(row[1]), number: true },
        { name: "Sound", of: (row) => seconds(row[2]), number: true },
      ],
      (row) => at(row[0]),
      (row) => row[0] + shift,
    ),
  ];
  return el("section", { class: "lists", "aria-label": `Tables of ${name}` }, el("h4", {}, `As tables: ${name}`), made);
}
