// A change point's page, from RP.changePoint (data/change-point-SLUG.js).
"use strict";

(function () {
  const found = RP.changePoint;
  const page = found.page;
  const key = page.key;
  const metric = found.metric;
  RP.root = "../";
  RP.notify = (text) => RP.put("messages", RP.el("p", {}, text));
  RP.selection = {
    machine: key.machine,
    preset: key.preset,
    workload: key.workload,
    tp: String(key.tensor_parallel_size),
    env: key.environment,
    batch: String(key.batch),
    metric,
  };
  document.getElementById("back").href = `../index.html${RP.address(RP.selection)}`;

  const pointsOf = (name) => page.points.filter((point) => point.level === name);
  const level = (name) => median(pointsOf(name).map((point) => point.value[0]));
  const fact = (name, value, more) =>
    RP.el(
      "div",
      { class: "fact" },
      RP.el("h2", {}, name),
      RP.el("p", { class: "big" }, value),
      RP.el("p", {}, more),
    );
  const bounds = found.interval ? `99 % interval ${found.interval.map(RP.change).join(" .. ")}` : "counted, so without an interval";

  RP.put(
    "lead",
    RP.sign(found.path),
    " ",
    RP.el("strong", {}, found.path),
    ` got ${found.worse ? "worse" : "better"}: ${RP.title(metric)} ${RP.change(found.ratio)}`,
  );
  RP.put(
    "facts",
    fact("Change", RP.change(found.ratio), bounds),
    fact(
      "Before, after",
      `${RP.quantity(level("before"), metric)} → ${RP.quantity(level("after"), metric)}`,
      `medians of ${pointsOf("before").length} and ${pointsOf("after").length} commits`,
    ),
    fact(
      "Confidence",
      RP.confidence(found),
      found.state !== "lasting"
        ? `${found.state}: one commit shows it, and those after it confirm or withdraw it`
        : found.reverted === null
          ? "not reverted since"
          : ["reverted by ", RP.commitLink(found.reverted)],
    ),
    RP.el(
      "p",
      { class: "where" },
      `${RP.groupName(key)}, ${key.path}, batch ${key.batch}; ${RP.better(metric)}`,
    ),
  );
  RP.put("better", RP.better(metric));

  const figure = function (number, path) {
    const point = page.points[number];
    const column = page.column.paths[path];
    return {
      title: `${path}, ${RP.title(metric)}`,
      value: point.value,
      metric,
      path,
      at: point.at,
      group: key,
      facts: page.column.surroundings[RP.nth(column.from, number)],
      samples: point.samples,
      starts: RP.nth(column.starts, number),
      warnings: RP.nth(column.warnings, number),
      measured: RP.nth(column.measured, number),
      source: RP.nth(column.source, number).replace("{commit}", RP.commitName(point.at)),
    };
  };

  function chart() {
    const [divisor, sign] = RP.unit(Math.max(...page.points.map((point) => point.value[0])), metric);
    const color = {
      before: RP.looks(found.path).color,
      after: found.worse ? RP.bad() : RP.good(),
      null: RP.dark() ? "#8793a0" : "#8793a0",
    };
    const dots = page.points.flatMap((point, number) =>
      point.samples.map((sample, place) => [number + ((place % 5) - 2) * 0.07, sample / divisor, point.level]),
    );
    const places = page.points.map((_, number) => number);
    const across = (name) => {
      const numbers = places.filter((number) => page.points[number].level === name);
      return {
        type: "line",
        x0: numbers[0] - 0.4,
        x1: numbers[numbers.length - 1] + 0.4,
        y0: level(name) / divisor,
        y1: level(name) / divisor,
        line: { color: color[name], width: 3, dash: name === "before" ? "dash" : "solid" },
      };
    };
    const first = page.points.findIndex((point) => point.at === found.first);
    const labelled = places.filter(
      (number) => number % Math.ceil(places.length / (RP.narrow() ? 4 : 12)) === 0,
    );
    return {
      traces: [
        {
          x: dots.map(([x]) => x),
          y: dots.map(([, y]) => y),
          mode: "markers",
          hoverinfo: "skip",
          marker: {
            size: 5,
            opacity: 0.55,
            color: dots.map(([, , name]) => color[name]),
            symbol: dots.map(([, , name]) => (name ? "circle" : "circle-open")),
          },
        },
        {
          x: places,
          y: page.points.map((point) => point.value[0] / divisor),
          mode: "markers",
          marker: {
            symbol: page.points.map((point) =>
              point.level === "after" ? "diamond" : point.level ? "circle" : "circle-open",
            ),
            size: 11,
            color: page.points.map((point) => color[point.level]),
          },
          customdata: places,
          hovertemplate: page.points.map(
            (point) =>
              `${RP.plain(RP.commitName(point.at))} ${RP.quantity(point.value[0], metric)} ${RP.interval(point.value, metric)}<extra></extra>`,
          ),
        },
      ],
      layout: {
        xaxis: {
          tickvals: labelled,
          ticktext: labelled.map((number) => RP.plain(RP.commitName(page.points[number].at))),
          ...RP.axisTitle("commit, oldest to newest"),
          showgrid: false,
          zeroline: false,
        },
        yaxis: RP.axisTitle(`${RP.title(metric)}${sign && `, ${sign}`} (${RP.better(metric)})`),
        shapes: [
          across("before"),
          across("after"),
          {
            type: "line",
            x0: first - 0.5,
            x1: first - 0.5,
            yref: "paper",
            y0: 0,
            y1: 1,
            line: { width: 1.5, dash: "dot", color: color.null },
          },
        ],
        annotations: [
          {
            x: first - 0.5,
            y: 1,
            yref: "paper",
            xanchor: "right",
            yanchor: "top",
            showarrow: false,
            text: "before ",
          },
          {
            x: first - 0.5,
            y: 1,
            yref: "paper",
            xanchor: "left",
            yanchor: "top",
            showarrow: false,
            text: ` after: ${RP.change(found.ratio)}`,
          },
        ],
        hovermode: "closest",
      },
      clicked: ([point]) => point.customdata !== undefined && RP.origin(figure(point.customdata, found.path)),
    };
  }

  function median(values) {
    const sorted = values.slice().sort((a, b) => a - b);
    const half = sorted.length / 2;
    return sorted.length % 2 ? sorted[Math.floor(half)] : (sorted[half - 1] + sorted[half]) / 2;
  }

  RP.put(
    "numbers",
    RP.table(
      ["commit", "level", RP.bounded("median", metric), "samples", ""],
      page.points.map((point, number) => [
        [RP.commitLink(point.at), ` ${RP.front.commits.subject[point.at]}`],
        point.level || "neither",
        RP.value(point.value, metric),
        point.samples.length,
        RP.askButton(figure(number, found.path)),
      ]),
    ),
    RP.warnings(page.points.map((_, number) => figure(number, found.path))).map((text) =>
      RP.el("p", { class: "note" }, text),
    ),
  );

  const [old, fresh] = page.range;
  const compare =
    RP.front.commit_url.endsWith("/commit/{commit}") &&
    RP.front.commit_url.replace("/commit/{commit}", `/compare/${encodeURIComponent(old)}...${encodeURIComponent(fresh)}`);
  RP.put(
    "range",
    RP.table(
      ["", "commit", "date"],
      [
        [
          "last at the old level",
          [RP.commitLink(found.last_before), ` ${RP.front.commits.subject[found.last_before]}`],
          RP.date(RP.front.commits.time[found.last_before]),
        ],
        [
          "first at the new level",
          [RP.commitLink(found.first), ` ${RP.front.commits.subject[found.first]}`],
          RP.date(RP.front.commits.time[found.first]),
        ],
      ],
    ),
    compare
      ? RP.el("p", {}, RP.el("a", { href: compare }, "All changes between them"))
      : command("All commits between them", `git log --oneline ${RP.quote(`${old.slice(0, 8)}..${fresh.slice(0, 8)}`)}`),
  );

  RP.put(
    "environment",
    page.environment.length
      ? RP.table(
          ["", "before", "after"],
          page.environment.map((one) => [one.name, one.before || "not there", one.after || "not there"]),
        )
      : RP.el(
          "p",
          { class: "absent" },
          "No version, driver or GPU differs between the two commits: what changed is in the code, or on the machine.",
        ),
  );

  function command(name, line) {
    const button = RP.el(
      "button",
      {
        type: "button",
        onclick: async () => {
          try {
            await navigator.clipboard.writeText(line);
            button.textContent = "Copied";
          } catch (error) {
            button.textContent = "Select it and copy";
          }
        },
      },
      "Copy",
    );
    return RP.el(
      "div",
      { class: "command" },
      RP.el("h3", {}, name, " ", button),
      RP.el("pre", { tabindex: "0" }, line),
    );
  }
  RP.put(
    "commands",
    ...(page.confirm
      ? [
          command("Measure both commits again, side by side", page.confirm),
          command("Find the commit", page.bisect),
        ]
      : [RP.el("p", { class: "absent" }, "No command can: asv does not track this workload of the series (any more).")]),
  );

  const verdict = (gate) => {
    const one = gate.verdict;
    if (!one) return "did not judge this case and metric";
    const seen = one.detectable
      ? `; the smallest effect it could have seen: ${RP.number(one.detectable * 100)} %`
      : "";
    const ratio = one.ratio
      ? `, ratio ${RP.number(one.ratio)}${one.interval ? ` [${one.interval.map(RP.number).join(" .. ")}]` : ""}`
      : "";
    return [RP.el("strong", {}, one.verdict), ratio, seen];
  };
  RP.put(
    "gates",
    page.gates.length
      ? RP.table(
          ["base to head", "measured", "verdict", "command"],
          page.gates.map((gate) => [
            `${gate.base.slice(0, 8)} .. ${gate.head.slice(0, 8)}`,
            gate.measured_at || "",
            verdict(gate),
            RP.el("code", {}, gate.command || ""),
          ]),
        )
      : RP.el(
          "p",
          { class: "absent" },
          "No gate run over these commits is kept. The first command above makes one.",
        ),
  );

  const draw = () => RP.draw("samples", chart);
  draw();
  RP.bindTheme(draw);
  RP.bindCopy();
})();
