// The answer at the top of the front page: which path is fastest side by side, and what each took.
"use strict";

// Cases of a batch that have step time, fastest first, all at the newest commit of them.
function ranking(batch) {
  const time = RP.front.step_time;
  const cells = RP.group().cases.filter((cell) => cell.batch === batch && cell.metrics[time]);
  const newest = Math.max(...cells.map((cell) => cell.at));
  return cells.filter((cell) => cell.at === newest).sort((a, b) => a.metrics[time][0] - b.metrics[time][0]);
}

// A ratio and its bounds, with two digits of the interval's width and two decimals at least, as in report/numbers.
function decimals(bounds) {
  const width = bounds && bounds[0] !== null ? bounds[1] - bounds[0] : 0;
  const digits = width > 1e-4 ? Math.min(4, Math.max(2, 1 - Math.floor(Math.log10(width)))) : 2;
  return (value) => value.toFixed(digits);
}

const perSecond = (cell) => (cell.tokens ? cell.tokens / cell.metrics[RP.front.step_time][0] : null);

// Where no GPU computes, the pipe's share of a step is another.
const onCpu = () => RP.front.machines_without_gpu.includes(RP.group().machine);

RP.answer = function () {
  const time = RP.front.step_time;
  const order = ranking(RP.batch());
  const sessions = RP.group().side_by_side[RP.batch()];
  const traces = (RP.group().traces[RP.batch()] || []).map((one) => [" ", RP.el("a", { href: one.file }, one.name)]);
  const profiled = traces.length ? RP.say("Profiler traces, for Perfetto:", traces) : null;
  if (!order.length && !sessions) {
    RP.put("lead", `No path has been measured at batch ${RP.batch()}.`);
    RP.put("facts", RP.say("What became of each case is further down."), profiled);
    return;
  }
  RP.put("lead", lead(sessions, order));
  const [of, ...table] = sessions ? sideBySide(sessions) : [];
  const facts = [of];
  if (order.length) {
    const [first] = order;
    const rate = perSecond(first);
    facts.push(
      fact(
        `Lowest median: ${first.path}`,
        RP.quantity(first.metrics[time][0], time),
        [RP.interval(first.metrics[time], time), rate && `, ${RP.rate(rate)}`],
        RP.caseFigure(first, time),
      ),
    );
  }
  const ratios = [];
  if (sessions && sessions.rows.some((row) => row.spoilt_rounds)) ratios.push({ warnings: "busy-host" });
  if (sessions && sessions.rows.some((row) => row.over_control)) ratios.push({ warnings: "over-control" });
  if (sessions && sessions.starts[0] < RP.front.least_replicates) {
    if (sessions.starts[0] === 1) ratios.push({ warnings: "one-replicate" });
    if (sessions.starts[1] > 1) ratios.push({ warnings: "few-replicates" });
  }
  const notes = RP.warnings([...order.map((cell) => RP.caseFigure(cell, time)), ...ratios]);
  if (!sessions)
    notes.unshift(
      "Nothing was measured side by side here, so no path is ahead of another. To do so: rollout-perf compare.",
    );
  RP.put(
    "facts",
    facts.filter(Boolean),
    table,
    profiled,
    notes.map((note) => RP.el("p", { class: "note" }, note)),
  );
};

// Which path is fastest, and by how much; or which cannot be told apart, and how far behind the others are.
function lead(sessions, order) {
  const signed = (path) => [RP.sign(path), " ", RP.el("strong", {}, path)];
  const aside = (...content) => RP.el("span", { class: "aside" }, ...content);
  const best = sessions ? sessions.rows[0].path : order[0].path;
  const at = ` at batch ${RP.batch()}`;
  const cpu = sessions ? sessions.on_cpu : onCpu();
  if (!sessions && order.length === 1) return ["Only ", signed(best), ` was measured${at} of the newest commit`];
  if (cpu || !sessions)
    return [
      cpu ? "A CPU's results do not rank paths" : `No clear winner${at}`,
      aside(sessions ? "; lowest side by side: " : "; lowest median: ", signed(best)),
    ];
  const { rows, reference } = sessions;
  if (sessions.fastest) {
    const other = best === reference ? rows[1] : rows.find((row) => row.path === reference);
    const less = 1 - rows[0].ratio / other.ratio;
    return [signed(best), ` is fastest${at}`, aside(`: ${RP.quantity(less, "share")} less step time than ${other.path}`)];
  }
  const { level, behind, unsure } = RP.standing(sessions);
  const [first] = level;
  const gap = (row) => `${row.path} by ${RP.quantity(row.ratio / first.ratio - 1, "share")}`;
  const rest = [
    behind.length ? `; slower than ${first.path}: ${behind.map(gap).join(", ")}` : "",
    unsure.length ? `; not sure, of one engine start: ${unsure.length} more` : "",
  ].join("");
  if (level.length + behind.length === 1) return [`No clear winner${at}`, aside(rest)];
  const names = level.flatMap((row, place) => [place ? (place < level.length - 1 ? ", " : " and ") : "", signed(row.path)]);
  return [
    `No clear winner${at}: `,
    level.length > 1 ? [names, " cannot be told apart"] : [names, " is ahead, with too few replicates to be sure"],
    rest ? aside(rest) : null,
  ];
}

// Rows that cannot be told from the best, those that are slower, and those of one engine start, which have no interval.
RP.standing = function ({ rows }) {
  const known = rows.filter((row) => row.interval);
  const [first] = known;
  const level = known.filter((row) => row.interval[0] <= first.interval[1] && first.interval[0] <= row.interval[1]);
  return { level, behind: known.filter((row) => !level.includes(row)), unsure: rows.filter((row) => !row.interval) };
};

RP.ratio = (row) => `${decimals(row.interval)(row.ratio)} ×${row.interval ? ` ${bounds(row)}` : ""}`;

const bounds = (row) => (row.interval ? `[${row.interval.map(decimals(row.interval)).join(" .. ")}]` : "");

// Of how many engine starts a comparison is, and whether that is enough.
RP.sureness = function ({ starts: [least, most] }) {
  const many = `${least === most ? least : `${least} to ${most}`} engine start${most > 1 ? "s" : ""} of each`;
  return least < RP.front.least_replicates ? `${many}, a firm answer takes ${RP.front.least_replicates}` : many;
};

// What sessions say of the paths: the best ratio of those with an interval, all of them, and where they come from.
function sideBySide(sessions) {
  const { rows, reference } = sessions;
  const first = rows.find((row) => row.interval && row.path !== reference);
  const shown = (row) => decimals(row.interval);
  const made = [RP.sureness(sessions), sessions.measured, sessions.commit && `at ${sessions.commit}`, ...sessions.sources];
  return [
    first ? fact(`Step time of ${first.path}, side by side`, `${shown(first)(first.ratio)} × ${reference}`, [`95 % ${bounds(first)}`]) : null,
    RP.table(
      ["side by side", `ratio to ${reference}`, "95 % interval", "by replicate", "median", "rollouts"],
      rows.map((row) => [
        [RP.sign(row.path), " ", RP.word(row.path)],
        row.path === reference ? "reference" : `${shown(row)(row.ratio)} ×`,
        row.path === reference ? "" : bounds(row) || "one engine start",
        row.path === reference ? "" : row.by_replicate.map(shown(row)).join(" "),
        RP.quantity(row.median, RP.front.step_time),
        row.rounds,
      ]),
    ),
    RP.say(made.filter(Boolean).join(", ")),
  ];
}

function fact(name, value, more, figure) {
  return RP.el(
    "div",
    { class: "fact" },
    RP.el("h2", {}, name, figure ? RP.askButton(figure) : null),
    RP.el("p", { class: "big" }, value),
    RP.el("p", {}, more.filter(Boolean)),
  );
}

RP.matrix = function () {
  const time = RP.front.step_time;
  const group = RP.group();
  const sessions = (batch) => group.side_by_side[batch] || { rows: [] };
  const rows = group.paths.map((path) =>
    RP.el(
      "tr",
      {},
      RP.el("th", { scope: "row" }, RP.sign(path), " ", path),
      group.batches.map((batch) => {
        const cell = group.cases.find((one) => one.path === path && one.batch === batch);
        const leads = sessions(batch).fastest === path;
        const classes = [leads ? "leads" : "", batch === RP.batch() ? "chosen" : ""].join(" ").trim() || null;
        return RP.el(
          "td",
          { class: classes },
          cell ? inside(cell, time, ranking(batch), sessions(batch)) : "not asked for",
        );
      }),
    ),
  );
  const head = group.batches.map((batch) =>
    RP.el(
      "th",
      { scope: "col" },
      RP.el(
        "button",
        {
          type: "button",
          class: "plain",
          "aria-pressed": String(batch === RP.batch()),
          onclick: () => RP.select({ batch: String(batch) }),
        },
        `batch ${batch}`,
      ),
    ),
  );
  const newest = Math.max(...group.cases.map((cell) => cell.at));
  RP.put(
    "matrix",
    RP.downloadable(
      RP.el(
        "table",
        {},
        RP.el(
          "caption",
          {},
          "Step time at ",
          RP.commitLink(newest),
          `, ${RP.date(RP.front.commits.time[newest])}; bold is fastest side by side, × the ratio there; ${RP.LOWER}`,
        ),
        RP.el("thead", {}, RP.el("tr", {}, RP.el("th", { scope: "col" }, "path"), head)),
        RP.el("tbody", {}, rows),
      ),
    ),
  );
};

function inside(cell, time, order, sessions) {
  const value = cell.metrics[time];
  if (!value)
    return RP.el(
      "span",
      { class: "absent", title: cell.reason || "" },
      RP.measured(cell) ? "no step time" : cell.status,
    );
  const row = sessions.rows.find((one) => one.path === cell.path);
  const rate = perSecond(cell);
  const control = cell.metrics.control_ratio;
  const old = order.length && cell.at !== order[0].at ? `at ${RP.commitName(cell.at)} ` : "";
  return [
    RP.el(
      "button",
      { type: "button", class: "value", onclick: () => RP.origin(RP.caseFigure(cell, time)) },
      RP.value(value.slice(0, 1), time),
    ),
    RP.el(
      "small",
      {},
      old,
      row ? RP.el("span", {}, cell.path === sessions.reference ? "reference" : `${decimals(row.interval)(row.ratio)} ×`) : "",
      " ",
      control ? RP.el("span", {}, `${decimals(control.slice(1, 3))(control[0])} × the control `) : "",
      rate ? RP.el("span", {}, RP.rate(rate)) : "",
    ),
  ];
}
