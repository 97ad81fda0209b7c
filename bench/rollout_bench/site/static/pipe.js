// The pipe alone: its section and its chart.
"use strict";

RP.pipe = function () {
  const pipes = RP.front.pipes.filter((pipe) => pipe.machine === RP.group().machine);
  const pipe = pipes.find((one) => one.environment === RP.group().environment) || pipes[0];
  const title = document.getElementById("pipe-title");
  if (!pipe) {
    title.replaceChildren("The pipe alone");
    return RP.section(
      "pipe",
      [`The pipe alone has not been measured on ${RP.group().machine}: rollout-perf pipe measures it.`],
      null,
      null,
    );
  }
  title.replaceChildren("The pipe alone at ", RP.commitLink(pipe.at));
  const paths = Object.keys(pipe.paths);
  const missing = [...Object.entries(pipe.absent), ...Object.entries(pipe.failed)].map(
    ([path, reason]) => `${path}: ${reason}`,
  );
  const sizes = [...new Set(paths.flatMap((path) => Object.keys(pipe.paths[path]).map(Number)))].sort(
    (a, b) => a - b,
  );
  const key = document.getElementById("pipe-key");
  key.replaceChildren(
    ...paths.map((path) => RP.el("span", {}, RP.sign(path), ` ${path}`)),
    RP.el("span", {}, "thick: median, dotted: p99"),
  );
  const versions = Object.entries(pipe.versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(", ");
  RP.section(
    "pipe",
    missing,
    paths.length ? () => RP.pipeChart(pipe, paths) : null,
    RP.el(
      "div",
      {},
      RP.table(
        ["median / p99", ...paths],
        sizes.map((size) => [
          RP.payload(size),
          ...paths.map((path) => {
            const cell = pipe.paths[path][size];
            return cell
              ? `${RP.quantity(cell.p50_seconds, "seconds")} / ${RP.quantity(cell.p99_seconds, "seconds")}`
              : "absent";
          }),
        ]),
      ),
      RP.el(
        "p",
        {},
        `Measured ${pipe.measured.replace("T", " ")} UTC on ${pipe.machine}, ${Math.max(...paths.flatMap((path) => Object.values(pipe.paths[path]).map((cell) => cell.blocks)))} blocks a path and payload; ${versions}; ${pipe.source}. Again: `,
        RP.el("code", {}, pipe.command || "rollout-perf pipe"),
      ),
    ),
  );
};

// Round trips by payload, both axes logarithmic; the bare libraries dashed, the 99th percentile thin.
RP.pipeChart = function (pipe, shown) {
  const traces = [];
  for (const path of shown) {
    const sizes = Object.keys(pipe.paths[path])
      .map(Number)
      .sort((a, b) => a - b);
    const looks = RP.looks(path);
    for (const [name, word, width] of [
      ["p99_seconds", "p99", 1],
      ["p50_seconds", "median", 2.5],
    ]) {
      traces.push({
        x: sizes,
        y: sizes.map((size) => pipe.paths[path][size][name] * 1e6),
        name: RP.plain(path),
        mode: width > 1 ? "lines+markers" : "lines",
        opacity: width > 1 ? 1 : 0.45,
        line: { color: looks.color, dash: width > 1 ? looks.dash : "dot", width },
        marker: RP.marker(path, 9),
        customdata: sizes.map((size) => [path, size]),
        text: sizes.map((size) => RP.quantity(pipe.paths[path][size][name], "seconds")),
        hovertemplate: `${word} %{text}<extra>${RP.plain(path)}</extra>`,
      });
    }
  }
  const sizes = [...new Set(traces.flatMap((trace) => trace.x))].sort((a, b) => a - b);
  const decades = [1, 10, 100, 1000, 1e4, 1e5, 1e6];
  return {
    traces,
    layout: {
      xaxis: { type: "log", tickvals: sizes, ticktext: sizes.map(RP.payload), ...RP.axisTitle("payload") },
      yaxis: {
        type: "log",
        tickvals: decades,
        ticktext: decades.map((one) => RP.quantity(one * 1e-6, "seconds").replace(/\.0+ /, " ")),
        ...RP.axisTitle(`round trip (${RP.LOWER})`),
      },
    },
  };
};
