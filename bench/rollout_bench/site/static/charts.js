// The small charts of the front page: bars, the tail, the limit. Each returns what RP.draw takes.
"use strict";

// Bars from left to right, one a path, of one or more parts.
RP.barChart = function (paths, parts, metric, extra, better) {
  const total = (number) => parts.reduce((sum, part) => sum + (part.values[number] || 0), 0);
  const [divisor, sign] = RP.unit(Math.max(0, ...paths.map((_, number) => total(number))), metric);
  return {
    traces: [
      ...parts.map((part) => ({
        type: "bar",
        orientation: "h",
        name: part.name,
        x: part.values.map((value) => (value || 0) / divisor),
        y: paths.map(RP.plain),
        marker: {
          color: part.colors || part.color,
          pattern: {
            shape: part.shape || "",
            fgcolor: RP.dark() ? "#10161d" : "#ffffff",
            size: 7,
            solidity: 0.25,
            fillmode: "overlay",
          },
        },
        customdata: paths.map((path) => path),
        hovertemplate: part.values.map(
          (value) => `${part.name}: ${RP.quantity(value || 0, metric)}<extra>%{y}</extra>`,
        ),
      })),
      ...((extra && extra(divisor)) || []),
    ],
    layout: {
      barmode: "stack",
      bargap: 0.35,
      xaxis: {
        ...RP.axisTitle(`${sign ? `${sign}, ` : ""}${better || RP.better(metric)}`),
        rangemode: "tozero",
        ...(RP.unitOf(metric) === "share" ? { range: [0, 100] } : {}),
      },
      yaxis: { autorange: "reversed", showgrid: false },
      height: 90 + paths.length * 40,
    },
  };
};

// How much of a rollout is done by when, from the times at which 50, 90, 99 and 100 % of it were.
RP.tailChart = function (rows) {
  const [divisor, sign] = RP.unit(
    Math.max(...rows.map((row) => row.times[row.times.length - 1])),
    "seconds",
  );
  return {
    traces: rows.map((row) => ({
      x: row.times.map((time) => time / divisor),
      y: row.shares,
      mode: "lines+markers",
      name: RP.plain(row.path),
      line: { color: RP.looks(row.path).color, dash: RP.looks(row.path).dash, width: 2.25 },
      marker: RP.marker(row.path, 9),
      hovertemplate: `%{y} % done after %{x:.4~g} ${sign}<extra>${RP.plain(row.path)}</extra>`,
    })),
    layout: {
      xaxis: {
        ...RP.axisTitle(`since the rollout was submitted, ${sign} (further left is better ←)`),
        rangemode: "tozero",
      },
      yaxis: { ...RP.axisTitle("sequences done, %"), tickvals: [50, 90, 99], range: [45, 104] },
    },
  };
};

// Tokens/s over the batch, on a logarithmic axis of batches.
RP.limitChart = function (rows) {
  const rate = (cell) => cell.tokens / cell.metrics[RP.front.step_time][0];
  const batches = [...new Set(rows.flatMap(([, cells]) => cells.map((cell) => cell.batch)))].sort(
    (a, b) => a - b,
  );
  return {
    traces: rows.map(([path, cells]) => ({
      x: cells.map((cell) => cell.batch),
      y: cells.map(rate),
      mode: "lines+markers",
      name: RP.plain(path),
      line: {
        color: RP.looks(path).color,
        dash: path === RP.front.reference ? "dash" : RP.looks(path).dash,
        width: 2.25,
      },
      marker: RP.marker(path, 9),
      hovertemplate: cells.map(
        (cell) => `${RP.rate(rate(cell))} at batch ${cell.batch}<extra>${RP.plain(path)}</extra>`,
      ),
    })),
    layout: {
      xaxis: { type: "log", tickvals: batches, ...RP.axisTitle("batch") },
      yaxis: { ...RP.axisTitle(`tokens/s (${RP.HIGHER})`), rangemode: "tozero", ...RP.scale() },
    },
  };
};
