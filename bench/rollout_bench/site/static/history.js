// The two large charts of the front page: over the commits, and the paths at one. Each returns what RP.draw takes.
"use strict";

RP.marker = (path, size) => {
  const looks = RP.looks(path);
  return {
    symbol: looks.symbol,
    size,
    color: looks.color,
    line: { width: looks.symbol.endsWith("open") ? 2 : 0, color: looks.color },
  };
};

// A metric by path over the commits, the interval as a band, what changed around it marked.
RP.historyChart = function (content, metric) {
  const group = RP.group();
  const paths = group.paths.filter((path) => content.paths[path] && !RP.hidden(path));
  const largest = Math.max(0, ...paths.flatMap((path) => RP.row(content, path).map(([, value]) => value[0])));
  const percent = RP.selection.values === "percent";
  const [unit, sign] = percent ? [1, "% of the oldest"] : RP.unit(largest, metric);
  const divisors = Object.fromEntries(
    paths.map((path) => [path, percent ? RP.row(content, path).find(([at]) => RP.within(at))?.[1][0] / 100 || 1 : unit]),
  );
  const places = [...new Set(paths.flatMap((path) => content.paths[path].at))].sort((a, b) => a - b);
  const many = places.length > 40; // markers would hide the line, and cost time
  const bands = [];
  const lines = [];
  for (const path of paths) {
    const row = RP.row(content, path);
    const looks = RP.looks(path);
    const x = row.map(([at]) => at);
    const divisor = divisors[path];
    bands.push({
      x: [...x, ...x.slice().reverse()],
      y: [
        ...row.map(([, value]) => (value[2] ?? value[0]) / divisor),
        ...row.map(([, value]) => (value[1] ?? value[0]) / divisor).reverse(),
      ],
      fill: "toself",
      fillcolor: RP.fade(looks.color, 0.13),
      line: { width: 0 },
      mode: "lines",
      hoverinfo: "skip",
    });
    lines.push({
      x,
      y: row.map(([, value]) => value[0] / divisor),
      name: RP.plain(path),
      mode: many ? "lines" : "lines+markers",
      line: {
        color: looks.color,
        dash: path === RP.front.reference ? "dash" : looks.dash,
        width: many ? 1.5 : 2.25,
      },
      marker: RP.marker(path, 9),
      customdata: row.map(([, , number]) => [path, number]),
      text: row.map(([, value]) => RP.interval(value, metric)),
      hovertemplate: `%{y:.4~g} ${sign} %{text}<extra>${RP.plain(path)}</extra>`,
    });
  }
  const marks = RP.marks(group, metric, content, divisors);
  const zoomed = places.filter(RP.within);
  const seen = zoomed.length ? zoomed : places;
  const labelled = seen.filter(
    (_, number) => number % Math.ceil(seen.length / (RP.narrow() ? 4 : 10)) === 0,
  );
  const chosen = RP.chosenCommit();
  const ticks = { tickvals: labelled, ticktext: labelled.map((at) => RP.plain(RP.commitName(at))) };
  return {
    traces: [...bands, ...lines, ...marks.traces],
    layout: {
      xaxis: {
        ...ticks,
        ...RP.axisTitle("commit, oldest to newest"),
        range: spread(seen),
        showgrid: false,
        zeroline: false,
      },
      yaxis: {
        ...RP.axisTitle(`${RP.title(metric)}${sign && `, ${sign}`} (${RP.better(metric)})`),
        ...RP.scale(),
        fixedrange: true,
      },
      hovermode: "closest",
      shapes: [...marks.shapes, ...(chosen === null ? [] : [upright(chosen, "solid", 0.9)])],
      annotations: marks.annotations,
    },
    zoomed: (event) => {
      if (event["xaxis.autorange"]) return RP.select({ from: "", to: "" });
      const [low, high] = [event["xaxis.range[0]"], event["xaxis.range[1]"]];
      const inside = places.filter((at) => at >= low && at <= high);
      if (low !== undefined) RP.select(inside.length ? { from: RP.commitName(inside[0]), to: RP.commitName(inside[inside.length - 1]) } : {});
    },
    clicked: ([point]) => {
      const given = point.customdata;
      if (given && given.page) location.href = `change-points/${given.page}.html`;
      else if (given) RP.origin(RP.columnFigure(content, given[0], given[1], metric));
    },
  };
};

const spread = (places) =>
  places.length
    ? [
        places[0] - Math.max(0.4, places.length / 60),
        places[places.length - 1] + Math.max(0.4, places.length / 60),
      ]
    : [0, 1];

const upright = (at, dash, opacity) => ({
  type: "line",
  x0: at,
  x1: at,
  yref: "paper",
  y0: 0,
  y1: 1,
  opacity,
  line: { width: 1.5, dash, color: RP.dark() ? "#aab6c3" : "#52606d" },
});

// Marks on the history: dotted where a dependency changed, an arrow at a change point.
RP.marks = function (group, metric, content, divisors) {
  const shapes = group.changes.map((change) => upright(change.at - 0.5, "dot", 0.7));
  const few = group.changes.length <= (RP.narrow() ? 2 : 6);
  const annotations = few
    ? group.changes.map((change) => ({
        x: change.at - 0.5,
        y: 1,
        yref: "paper",
        xanchor: "left",
        yanchor: "top",
        showarrow: false,
        text: RP.plain(
          change.what.slice(0, 2).map(RP.changed).join(", ") + (change.what.length > 2 ? ` and ${change.what.length - 2} more` : ""),
        ),
      }))
    : [];
  const found = RP.front.change_points.filter(
    (one) =>
      one.group === group.id && one.batch === RP.batch() && one.metric === metric && !RP.hidden(one.path),
  );
  const points = found
    .map((one) => [one, RP.row(content, one.path).find(([at]) => at === one.first)])
    .filter(([, row]) => row);
  const traces = points.length
    ? [
        {
          x: points.map(([one]) => one.first),
          y: points.map(([one, row]) => row[1][0] / divisors[one.path]),
          mode: "markers+text",
          marker: {
            symbol: points.map(([one]) => (one.up ? "arrow-up" : "arrow-down")),
            size: 17,
            color: points.map(([one]) => (one.worse ? RP.bad() : RP.good())),
            line: { width: 1.5, color: RP.dark() ? "#10161d" : "#ffffff" },
          },
          text: points.map(([one]) => RP.change(one.ratio)),
          textposition: "top center",
          customdata: points.map(([one]) => ({ page: one.slug })),
          hovertemplate: points.map(
            ([one]) =>
              `${RP.plain(one.path)}: ${RP.change(one.ratio)}, ${one.worse ? "worse" : "better"}. Click for its page<extra></extra>`,
          ),
        },
      ]
    : [];
  return { shapes, annotations, traces };
};

// The paths beside each other at one commit: median, interval, each sample, and the reference as a line.
RP.compareChart = function (entries, metric) {
  const base = entries.find((one) => one.path === RP.front.reference);
  const percent = RP.selection.values === "percent" && base && base.value[0];
  const [divisor, sign] = percent
    ? [base.value[0] / 100, `% of ${base.path}`]
    : RP.unit(Math.max(0, ...entries.map((one) => one.value[0])), metric);
  const names = entries.map((one) => RP.plain(one.path));
  const dots = entries.flatMap((one, number) =>
    (one.samples || []).map((sample, place) => [sample, number + ((place % 3) - 1) * 0.12, one.path]),
  );
  const traces = [
    {
      x: dots.map(([value]) => value / divisor),
      y: dots.map(([, y]) => y),
      mode: "markers",
      hoverinfo: "skip",
      marker: { size: 6, opacity: 0.45, color: dots.map(([, , path]) => RP.looks(path).color) },
    },
    ...entries.map((one, number) => ({
      x: [one.value[0] / divisor],
      y: [number],
      mode: "markers",
      marker: { ...RP.marker(one.path, 14) },
      error_x: {
        type: "data",
        symmetric: false,
        array: [((one.value[2] ?? one.value[0]) - one.value[0]) / divisor],
        arrayminus: [(one.value[0] - (one.value[1] ?? one.value[0])) / divisor],
        color: RP.looks(one.path).color,
        thickness: 2.5,
        width: 7,
      },
      customdata: [number],
      hovertemplate: `${RP.quantity(one.value[0], metric)} ${RP.interval(one.value, metric)}<extra>${RP.plain(one.path)}</extra>`,
    })),
  ];
  return {
    traces,
    layout: {
      xaxis: {
        ...RP.axisTitle(`${RP.title(metric)}${sign && `, ${sign}`} (${RP.better(metric)})`),
        rangemode: "tozero",
        ...RP.scale(),
      },
      yaxis: {
        tickvals: names.map((_, number) => number),
        ticktext: names,
        range: [entries.length - 0.4, -0.6],
        showgrid: false,
        zeroline: false,
      },
      shapes: base ? [{ ...upright(base.value[0] / divisor, "dash", 0.8) }] : [],
      height: 110 + entries.length * 46,
    },
    clicked: ([point]) => point.customdata !== undefined && RP.origin(entries[point.customdata].figure),
  };
};
