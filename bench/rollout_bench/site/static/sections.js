// The sections that stand on metrics not every record has: each shows what there is, or says what is absent.
"use strict";

const shownCases = () => RP.cases().filter((cell) => RP.measured(cell) && !RP.hidden(cell.path));
const middle = (cell, metric) => (cell.metrics[metric] ? cell.metrics[metric][0] : null);
const having = (metric) => shownCases().filter((cell) => cell.metrics[metric]);

// `absent` is a list of paragraphs, each a text or a list of texts and elements.
RP.section = function (id, absent, chart, numbers) {
  document.getElementById(id).hidden = !chart;
  document
    .getElementById(`${id}-absent`)
    .replaceChildren(...absent.map((paragraph) => RP.el("p", { class: "absent" }, paragraph)));
  const details = document.getElementById(`${id}-numbers`);
  details.closest("details").hidden = !numbers;
  details.replaceChildren(...(numbers ? [numbers] : []));
  if (chart) RP.draw(id, chart);
};

// Other groups that have a metric, as links.
function elsewhere(metric) {
  const here = RP.group();
  const others = RP.front.groups.filter(
    (group) => group !== here && group.cases.some((cell) => cell.metrics[metric]),
  );
  if (!others.length) return "";
  const links = others.map((group) =>
    RP.el(
      "a",
      { href: RP.address(RP.chosenBy(group)) },
      RP.groupName(group),
    ),
  );
  return [" It is there for ", ...links.flatMap((link, number) => (number ? ["; ", link] : [link])), "."];
}

// Why a metric is nowhere: what the harness noted, or that it did not measure it at all.
const lacks = function (metric, kind) {
  const noted = [
    ...new Set(
      shownCases()
        .map((cell) => (cell.absent || {})[kind])
        .filter(Boolean),
    ),
  ];
  const why = noted.length ? noted.join("; ") : "the harness that made them did not measure it";
  return `no record of this selection has ${metric}: ${why}.`;
};

const PIPE_PARTS = [
  ["wire_encode_seconds", "encode", "#56b4e9", "/"],
  ["wire_send_seconds", "send", "#0072b2", "\\"],
  ["wire_receive_seconds", "receive", "#cc79a7", "-"],
  ["wire_decode_seconds", "decode", "#8f6200", "|"],
];

// Who computes: the GPU, or the worker's process where there is none.
const computes = (cell) => (cell.metrics.gpu_idle_seconds ? "GPU" : "worker");
const idleSeconds = (cell) => middle(cell, "gpu_idle_seconds") ?? middle(cell, "worker_idle_seconds");
const idleMetric = (cell) => ["gpu_idle_share", "worker_idle_share"].find((metric) => cell.metrics[metric]);

// An engine step in parts that add up to it. The engine waits while the GPU works: of the wait, the GPU's
// time is the GPU's, and what is left of it is the pipe's. What nothing accounts for is the rest of the host.
RP.parts = function (cell) {
  const step = middle(cell, "engine_step_seconds");
  const wait = middle(cell, "wire_wait_seconds");
  const idle = idleSeconds(cell);
  const busy = idle === null ? 0 : Math.max(0, step - idle);
  const parts = {};
  if (idle !== null) parts[computes(cell)] = wait === null ? busy : Math.min(busy, wait);
  for (const [metric, name] of PIPE_PARTS)
    if (middle(cell, metric) !== null) parts[name] = middle(cell, metric);
  if (wait !== null) parts.wait = Math.max(0, wait - busy);
  if (!Object.keys(parts).length) return { "not split": step };
  const known = Object.values(parts).reduce((sum, part) => sum + part, 0);
  return { ...parts, "rest of the host": Math.max(0, step - known) };
};

RP.breakdown = function () {
  const cells = having("engine_step_seconds");
  if (!cells.length) return RP.section("breakdown", [lacks("engine_step_seconds")], null, null);
  const split = cells.map(RP.parts);
  const kinds = [
    ["GPU", "#00795a", ""],
    ["worker", "#00795a", ""],
    ...PIPE_PARTS.slice(0, 2).map(([, ...kind]) => kind),
    ["wait", "#e69f00", "x"],
    ...PIPE_PARTS.slice(2).map(([, ...kind]) => kind),
    ["rest of the host", "#8793a0", ""],
    ["not split", "#8793a0", "."],
  ];
  const parts = kinds
    .map(([name, color, shape]) => ({ name, color, shape, values: split.map((one) => one[name] || 0) }))
    .filter((part) => part.values.some((value) => value > 0));
  const notes = [];
  if (cells.every((cell) => idleSeconds(cell) === null))
    notes.push(`GPU time is absent: ${lacks("gpu_idle_seconds", "idle")}`);
  if (!cells.some((cell) => cell.metrics.wire_encode_seconds))
    notes.push(`The pipe's parts are absent: ${lacks("wire_encode_seconds and the other wire_ times")}`);
  else if (split.some((one) => one["not split"]))
    notes.push(
      "A path whose engine step is not split is not ours: vLLM's own executors do not count encode, send, wait and decode.",
    );
  const cpu = (divisor) => [
    {
      x: cells.map((cell) => (middle(cell, "engine_cpu_seconds") || NaN) / divisor),
      y: cells.map((cell) => RP.plain(cell.path)),
      mode: "markers",
      name: "engine CPU",
      marker: {
        symbol: "line-ns-open",
        size: 22,
        color: RP.dark() ? "#ffffff" : "#111820",
        line: { width: 3 },
      },
      hovertemplate: cells.map(
        (cell) =>
          `engine CPU: ${RP.quantity(middle(cell, "engine_cpu_seconds") || 0, "engine_cpu_seconds")} for each engine step<extra>${RP.plain(cell.path)}</extra>`,
      ),
    },
  ];
  const key = document.getElementById("breakdown-key");
  key.replaceChildren(
    ...parts.map((part) =>
      RP.el(
        "span",
        {},
        RP.el("span", { class: "sign", style: `color:${part.color}`, "aria-hidden": "true" }, "■"),
        ` ${part.name}`,
      ),
    ),
    RP.el("span", {}, "┃ CPU time of the engine's process"),
  );
  RP.section(
    "breakdown",
    notes,
    () =>
      RP.barChart(
        cells.map((cell) => cell.path),
        parts,
        "engine_step_seconds",
        cpu,
      ),
    RP.table(
      ["path", "engine step", ...parts.map((part) => part.name), "engine CPU", ""],
      cells.map((cell, number) => [
        cell.path,
        RP.quantity(middle(cell, "engine_step_seconds"), "engine_step_seconds"),
        ...parts.map((part) => RP.quantity(part.values[number], "seconds")),
        cell.metrics.engine_cpu_seconds
          ? RP.quantity(middle(cell, "engine_cpu_seconds"), "seconds")
          : "absent",
        RP.askButton(RP.caseFigure(cell, "engine_step_seconds")),
      ]),
    ),
  );
};

RP.gpu = function () {
  const colors = (cells) => cells.map((cell) => RP.looks(cell.path).color);
  const idle = shownCases().filter(idleMetric);
  if (!idle.length)
    RP.section(
      "idle",
      [["GPU idle share is absent: ", lacks("gpu_idle_share", "idle"), elsewhere("gpu_idle_share")]],
      null,
      null,
    );
  else {
    const who = idle.every((cell) => cell.metrics.gpu_idle_share) ? "GPU" : "worker";
    const share = (cell) => middle(cell, idleMetric(cell));
    const bars = [{ name: `${who} idle`, colors: colors(idle), values: idle.map(share) }];
    const pipe = (cell) =>
      cell.metrics.pipe_idle_seconds
        ? `${RP.quantity(middle(cell, "pipe_idle_seconds"), "seconds")} of ${RP.quantity(idleSeconds(cell), "seconds")}`
        : "absent";
    RP.section(
      "idle",
      who === "GPU" ? [] : ["No GPU here: this is the time in which the worker's process computed nothing."],
      () =>
        RP.barChart(
          idle.map((cell) => cell.path),
          bars,
          "share",
        ),
      RP.table(
        ["path", `${who} idle`, "explained by the pipe, at most, in an engine step", ""],
        idle.map((cell) => [
          cell.path,
          RP.quantity(share(cell), "share"),
          pipe(cell),
          RP.askButton(RP.caseFigure(cell, idleMetric(cell))),
        ]),
      ),
    );
  }
  const gap = having("roofline_gap_share");
  if (!gap.length)
    return RP.section(
      "roofline",
      [
        [
          "Share of the roofline is absent: ",
          lacks("roofline_gap_share", "roofline"),
          elsewhere("roofline_gap_share"),
        ],
      ],
      null,
      null,
    );
  const reached = (cell) => 1 - middle(cell, "roofline_gap_share");
  RP.section(
    "roofline",
    [],
    () =>
      RP.barChart(
        gap.map((cell) => cell.path),
        [{ name: "of the roofline", colors: colors(gap), values: gap.map(reached) }],
        "share",
        null,
        RP.HIGHER,
      ),
    RP.table(
      ["path", "of the roofline", ""],
      gap.map((cell) => [
        cell.path,
        RP.quantity(reached(cell), "share"),
        RP.askButton(RP.caseFigure(cell, "roofline_gap_share")),
      ]),
    ),
  );
};

// Tokens/s by batch: where it stops growing is the limit.
RP.limit = function () {
  const time = RP.front.step_time;
  const cells = RP.group().cases.filter((cell) => cell.metrics[time] && cell.tokens && !RP.hidden(cell.path));
  const paths = RP.group().paths.filter((path) => cells.some((cell) => cell.path === path));
  if (RP.group().batches.length < 2)
    return RP.section(
      "limit",
      ["One batch alone has been measured: the limit shows where there are more."],
      null,
      null,
    );
  const of = (path) => cells.filter((cell) => cell.path === path).sort((a, b) => a.batch - b.batch);
  RP.section(
    "limit",
    [],
    () => RP.limitChart(paths.map((path) => [path, of(path)])),
    RP.table(
      ["batch", ...paths],
      RP.group().batches.map((batch) => [
        batch,
        ...paths.map((path) => {
          const cell = of(path).find((one) => one.batch === batch);
          return cell
            ? [RP.rate(cell.tokens / cell.metrics[time][0]), " ", RP.askButton(RP.caseFigure(cell, time))]
            : "absent";
        }),
      ]),
    ),
  );
};

RP.tail = function () {
  const names = ["done_50_seconds", "done_90_seconds", "done_99_seconds", RP.front.step_time];
  const cells = having("done_50_seconds");
  if (!cells.length) {
    const why =
      RP.group().workload === "fixed"
        ? "the workload fixed forces the same length on every sequence, so it has no tail."
        : lacks("done_50_seconds, done_90_seconds and done_99_seconds", "tail");
    return RP.section("tail", [[`The tail is absent: ${why}`, elsewhere("done_50_seconds")]], null, null);
  }
  const rows = cells.map((cell) => {
    const there = names
      .map((name, number) => [middle(cell, name), [50, 90, 99, 100][number]])
      .filter(([time]) => time !== null);
    return { path: cell.path, times: there.map(([time]) => time), shares: there.map(([, share]) => share) };
  });
  RP.section(
    "tail",
    [],
    () => RP.tailChart(rows),
    RP.table(
      ["path", "50 %", "90 %", "99 %", "all", "after 90 %", ""],
      cells.map((cell) => [
        cell.path,
        ...names.map((name) => (cell.metrics[name] ? RP.quantity(middle(cell, name), name) : "absent")),
        cell.metrics.tail_share ? RP.quantity(middle(cell, "tail_share"), "tail_share") : "absent",
        RP.askButton(RP.caseFigure(cell, "done_50_seconds")),
      ]),
    ),
  );
};
