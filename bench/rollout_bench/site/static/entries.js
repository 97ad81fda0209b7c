// How requests reach an engine: the step time behind each entry against the requests in flight, of sessions.
"use strict";

RP.entries = function () {
  const behind = (path) => path.includes("@");
  const found = RP.group()
    .batches.map((batch) => [batch, RP.group().side_by_side[batch]])
    .filter(([, one]) => one && one.rows.some((row) => behind(row.path)));
  document.getElementById("entries-section").hidden = found.length < 2;
  if (found.length < 2) return;
  const all = [...new Set(found.flatMap(([, one]) => one.rows.map((row) => row.path)))];
  const bare = new Set(all.filter(behind).map((path) => path.split("@")[0]));
  const paths = all.filter((path) => (behind(path) || bare.has(path)) && !RP.hidden(path));
  const of = (path) =>
    found
      .map(([batch, one]) => [batch, one.rows.find((row) => row.path === path), one.tokens])
      .filter(([, row]) => row)
      .map(([batch, row, tokens]) => ({ batch, seconds: row.median, rate: tokens / row.median }));
  RP.put(
    "entries-key",
    paths.map((path) => RP.el("span", {}, RP.sign(path), ` ${path}${behind(path) ? "" : " (entry local)"}`)),
  );
  RP.draw("entries", () => entriesChart(paths.map((path) => [path, of(path)])));
  const saturates = (path) => {
    const at = RP.group().saturation[path];
    return at === undefined ? "too few batches" : at === null ? "not yet" : `at ${at}`;
  };
  RP.put(
    "entries-numbers",
    RP.table(
      ["path and entry", ...found.map(([batch]) => `${batch} in flight`), "saturates"],
      paths.map((path) => [
        path,
        ...found.map(([batch]) => {
          const one = of(path).find((other) => other.batch === batch);
          return one ? `${RP.quantity(one.seconds, "seconds")}, ${RP.rate(one.rate)}` : "absent";
        }),
        saturates(path),
      ]),
    ),
    [...new Set(found.flatMap(([, one]) => one.sources))].map((source) => RP.say(source)),
  );
  RP.put("ways", RP.front.ways.map((titles) => waysTable(titles, paths, RP.group().ways[RP.batch()] || {})));
};

// Where the time of a request goes at the chosen batch, or what it costs whom: the metrics that any path has.
function waysTable(titles, paths, ways) {
  const there = Object.keys(titles).filter((name) => paths.some((path) => ways[path] && name in ways[path]));
  if (!there.length) return null;
  return RP.table(
    [`${RP.batch()} in flight`, ...there.map((name) => titles[name])],
    paths
      .filter((path) => ways[path])
      .map((path) => [path, ...there.map((name) => (name in ways[path] ? RP.quantity(ways[path][name], name) : ""))]),
  );
}

function entriesChart(rows) {
  const batches = [...new Set(rows.flatMap(([, points]) => points.map((one) => one.batch)))].sort((a, b) => a - b);
  const seconds = [-4, -3, -2, -1, 0, 1, 2].flatMap((power) => [1, 2, 5].map((one) => one * 10 ** power));
  return {
    traces: rows.map(([path, points]) => ({
      x: points.map((one) => one.batch),
      y: points.map((one) => one.seconds),
      mode: "lines+markers",
      name: RP.plain(path),
      line: { color: RP.looks(path).color, dash: RP.looks(path).dash, width: 2.25 },
      marker: RP.marker(path, 9),
      hovertemplate: points.map(
        (one) =>
          `${RP.quantity(one.seconds, "seconds")} with ${one.batch} in flight, ${RP.rate(one.rate)}<extra>${RP.plain(path)}</extra>`,
      ),
    })),
    layout: {
      xaxis: { type: "log", tickvals: batches, ...RP.axisTitle("requests in flight") },
      yaxis: {
        type: "log",
        tickvals: seconds,
        ticktext: seconds.map((one) => RP.quantity(one, "seconds")),
        ...RP.axisTitle(`step time (${RP.LOWER})`),
      },
    },
  };
}
