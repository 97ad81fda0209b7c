// What sessions say of the paths at every batch: ratios to the reference, whose rollouts were interleaved with theirs.
"use strict";

RP.side = function () {
  const found = RP.group().batches.map((batch) => [batch, RP.group().side_by_side[batch]]).filter(([, one]) => one);
  document.getElementById("side-section").hidden = !found.length;
  if (!found.length) return;
  const paths = [...new Set(found.flatMap(([, one]) => one.rows.map((row) => row.path)))].filter((path) => !RP.hidden(path));
  const references = [...new Set(found.map(([, one]) => one.reference))].join(", ");
  const row = (one, path) => one.rows.find((other) => other.path === path);
  RP.put("side-title", `Side by side: step time over that of ${references}`);
  RP.put(
    "side-key",
    paths.map((path) => RP.el("span", {}, RP.sign(path), ` ${path}`)),
  );
  RP.draw("side", () => sideChart(found, paths, references));
  RP.put(
    "side-numbers",
    RP.table(
      ["path", ...found.map(([batch]) => `batch ${batch}`)],
      paths.map((path) => [
        path,
        ...found.map(([, one]) => {
          const its = row(one, path);
          if (!its) return "absent";
          const bounds = its.interval ? ` [${its.interval.map(RP.number).join(" .. ")}]` : "";
          return path === one.reference ? "reference" : `${RP.number(its.ratio)} ×${bounds}, ${its.replicates} replicates`;
        }),
      ]),
    ),
    [...new Set(found.flatMap(([, one]) => one.sources))].map((source) => RP.say(source)),
  );
};

// A group of marks for each batch, in it a mark for each path with its interval, or about its range.
function sideChart(found, paths, references) {
  const step = 0.7 / Math.max(1, paths.length);
  const traces = paths.map((path, number) => {
    const places = found
      .map(([batch, one], place) => [place + (number - (paths.length - 1) / 2) * step, one.rows.find((row) => row.path === path), batch])
      .filter(([, row]) => row);
    const bound = (row, side) => (row.interval ? Math.abs(row.interval[side] - row.ratio) : 0);
    return {
      x: places.map(([x]) => x),
      y: places.map(([, row]) => row.ratio),
      mode: "markers",
      marker: RP.marker(path, 11),
      error_y: {
        type: "data",
        symmetric: false,
        array: places.map(([, row]) => bound(row, 1)),
        arrayminus: places.map(([, row]) => bound(row, 0)),
        color: RP.looks(path).color,
        thickness: 2.5,
        width: 5,
      },
      hovertemplate: places.map(
        ([, row, batch]) =>
          `batch ${batch}: ${RP.number(row.ratio)} ×${row.interval ? ` [${row.interval.map(RP.number).join(" .. ")}]` : ""}<extra>${RP.plain(path)}</extra>`,
      ),
    };
  });
  return {
    traces,
    layout: {
      xaxis: {
        tickvals: found.map((_, place) => place),
        ticktext: found.map(([batch]) => `batch ${batch}`),
        range: [-0.5, found.length - 0.5],
        showgrid: false,
        zeroline: false,
      },
      yaxis: { ...RP.axisTitle(`times ${references} (${RP.LOWER})`), ...RP.scale() },
      shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, line: { width: 1.5, dash: "dash", color: RP.looks(references).color } }],
      hovermode: "closest",
    },
  };
}
