// The answer at the top of the front page: which path leads, by how much, since when, at every batch.
"use strict";

// Cases of a batch that have step time, fastest first, all at the newest commit of them.
function ranking(batch) {
  const time = RP.front.step_time;
  const cells = RP.group().cases.filter((cell) => cell.batch === batch && cell.metrics[time]);
  const newest = Math.max(...cells.map((cell) => cell.at));
  return cells.filter((cell) => cell.at === newest).sort((a, b) => a.metrics[time][0] - b.metrics[time][0]);
}

const perSecond = (cell) => (cell.tokens ? cell.tokens / cell.metrics[RP.front.step_time][0] : null);

RP.answer = function () {
  const time = RP.front.step_time;
  const order = ranking(RP.batch());
  const said = RP.group().answers[RP.batch()];
  if (!order.length || !said) {
    RP.put("lead", `No path has been measured at batch ${RP.batch()}.`);
    RP.put("facts", RP.say("Further down stands what became of each case."));
    return;
  }
  const [first, second] = order;
  const base = order.find((cell) => cell.path === RP.front.reference);
  const clear = !said.level.length;
  RP.put(
    "lead",
    RP.sign(first.path),
    " ",
    RP.el("strong", {}, first.path),
    clear ? " is fastest" : " leads",
    ` at batch ${RP.batch()}`,
    clear ? "" : RP.el("span", { class: "aside" }, ", too close to call"),
  );
  const rate = perSecond(first);
  const facts = [
    fact(
      "Step time",
      RP.quantity(first.metrics[time][0], time),
      [RP.interval(first.metrics[time], time), rate && `, ${RP.rate(rate)}`],
      RP.caseFigure(first, time),
    ),
  ];
  if (base && base !== first) {
    const ratio = RP.ratio(first.metrics[time], base.metrics[time]);
    facts.push(
      fact(
        `Against ${base.path}`,
        `${RP.number(ratio[0])} ×`,
        [`${RP.interval(ratio)}, ${saved(ratio[0])}`],
        RP.caseFigure(base, time),
      ),
    );
  } else if (second) {
    facts.push(
      fact(
        `Next: ${second.path}`,
        `${RP.number(second.metrics[time][0] / first.metrics[time][0])} ×`,
        ["as long; the leader is the reference itself"],
        RP.caseFigure(second, time),
      ),
    );
  }
  const commits = `${said.commits} commit${said.commits > 1 ? "s" : ""} in a row`;
  facts.push(
    fact("Since", RP.commitLink(said.since), [
      `${RP.date(RP.front.commits.time[said.since])}, ${commits}`,
      said.before ? `; before it ${said.before}` : "",
    ]),
  );
  const notes = [];
  if (!clear) notes.push(`Too close to call against ${said.level.join(", ")}: the 99 % intervals overlap.`);
  notes.push(...RP.warnings(order.map((cell) => RP.caseFigure(cell, time))));
  RP.put(
    "facts",
    facts,
    notes.map((note) => RP.el("p", { class: "note" }, note)),
  );
};

const saved = (ratio) =>
  ratio < 1 ? `${RP.number((1 - ratio) * 100)} % less time` : `${RP.number((ratio - 1) * 100)} % more time`;

function fact(name, value, more, figure) {
  return RP.el(
    "div",
    { class: "fact" },
    RP.el("h3", {}, name, figure ? RP.askButton(figure) : null),
    RP.el("p", { class: "big" }, value),
    RP.el("p", {}, more.filter(Boolean)),
  );
}

RP.matrix = function () {
  const time = RP.front.step_time;
  const group = RP.group();
  const best = Object.fromEntries(group.batches.map((batch) => [batch, (ranking(batch)[0] || {}).path]));
  const rows = group.paths.map((path) =>
    RP.el(
      "tr",
      {},
      RP.el("th", { scope: "row" }, RP.sign(path), " ", path),
      group.batches.map((batch) => {
        const cell = group.cases.find((one) => one.path === path && one.batch === batch);
        const leads = best[batch] === path;
        const classes = [leads ? "leads" : "", batch === RP.batch() ? "chosen" : ""].join(" ").trim() || null;
        return RP.el(
          "td",
          { class: classes },
          cell ? inside(cell, time, ranking(batch), leads) : "not asked for",
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
    RP.el(
      "table",
      {},
      RP.el(
        "caption",
        {},
        "Step time at ",
        RP.commitLink(newest),
        `, ${RP.date(RP.front.commits.time[newest])}; ★ is the lowest of its batch; × is against ${RP.front.reference}; ${RP.LOWER}`,
      ),
      RP.el("thead", {}, RP.el("tr", {}, RP.el("th", { scope: "col" }, "path"), head)),
      RP.el("tbody", {}, rows),
    ),
  );
};

function inside(cell, time, order, leads) {
  const value = cell.metrics[time];
  if (!value)
    return RP.el(
      "span",
      { class: "absent", title: cell.reason || "" },
      RP.measured(cell) ? "no step time" : cell.status,
    );
  const base = order.find((one) => one.path === RP.front.reference);
  const rate = perSecond(cell);
  const old = order.length && cell.at !== order[0].at ? ` at ${RP.commitName(cell.at)}` : "";
  return [
    RP.el(
      "button",
      { type: "button", class: "value", onclick: () => RP.origin(RP.caseFigure(cell, time)) },
      leads ? "★ " : "",
      RP.quantity(value[0], time),
    ),
    RP.el(
      "small",
      {},
      base && base.at === cell.at
        ? RP.el("span", {}, cell === base ? "reference" : `${RP.number(value[0] / base.metrics[time][0])} ×`)
        : old,
      " ",
      rate ? RP.el("span", {}, RP.rate(rate)) : "",
    ),
  ];
}
