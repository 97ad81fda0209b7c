// Where a figure comes from: a dialog, asked for by clicking a point or a button of a table's row.
"use strict";

const WORKLOAD_WORDS = {
  prompts: "prompts",
  samples: "samples a prompt",
  prompt_tokens: "prompt tokens",
  output_tokens: "output tokens",
  seed: "seed",
  fingerprint: "fingerprint",
};

RP.workload = function (load) {
  const known = Object.keys(WORKLOAD_WORDS).filter((name) => load[name] !== undefined && load[name] !== null);
  const many = (value) =>
    typeof value === "object" ? `${value.min} to ${value.max}, median ${value.median}` : value;
  return [
    `${load.name}, batch ${load.batch}`,
    ...known.map((name) => `${WORKLOAD_WORDS[name]} ${many(load[name])}`),
  ].join("; ");
};

// The commands that make the figure again: at its commit with asv, and by hand with what is checked out.
RP.again = function (facts, path, at, group) {
  const load = facts.workload;
  const made = facts.command || "";
  const hash = RP.commitName(at);
  const lines = [];
  if (made && made !== "asv run") lines.push(made);
  else lines.push(`asv run ${RP.quote(`${hash}^!`)} --machine ${RP.quote(group.machine)} --record-samples`);
  const size = group.tensor_parallel_size > 1 ? ` --tp ${RP.quote(group.tensor_parallel_size)}` : "";
  const [prompt, output, samples, seed] = ["prompt_tokens", "output_tokens", "samples", "seed"].map((name) =>
    RP.quote(load[name]),
  );
  const lengths = ` --prompt-tokens ${prompt} --output-tokens ${output} --samples ${samples}`;
  const work = { fixed: lengths, grpo: " --workload grpo", verl: " --workload verl" };
  if (Object.hasOwn(work, load.name)) {
    const cell = `--path ${RP.quote(path)} --preset ${RP.quote(group.preset)} --batch ${load.batch}`;
    lines.push(`rollout-perf measure ${cell}${work[load.name]} --seed ${seed}${size}`);
  }
  return lines;
};

RP.quote = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${String(word).replace(/'/g, "'\\''")}'`);

// A figure: {title, value, metric, path, at, group, facts, samples (list or number), starts, warnings (words of
// RP.front.warnings), measured, source}
RP.origin = function (figure) {
  const { facts, group } = figure;
  const machine = RP.front.machines[group.machine] || {};
  const environment = facts.environment || {};
  const hardware = [
    environment.GPU || machine.gpu || "no GPU facts",
    facts.cpu || machine.cpu,
    facts.cores && `${facts.cores} cores`,
  ];
  const count = Array.isArray(figure.samples) ? figure.samples.length : figure.samples;
  const rows = [
    [
      "value",
      `${RP.bounded(RP.quantity(figure.value[0], figure.metric), figure.metric)} ${RP.interval(figure.value, figure.metric)}`,
    ],
    ["commit", [RP.commitLink(figure.at), ` ${RP.front.commits.subject[figure.at] || ""}`]],
    ["measured", figure.measured ? `${figure.measured.replace("T", " ")} UTC` : "no time kept"],
    ["samples", `${count}, from ${figure.starts} engine start${figure.starts > 1 ? "s" : ""}`],
    ...RP.warnings([figure]).map((text) => ["warning", text]),
    ["machine", [group.machine, ...hardware].filter(Boolean).join(", ")],
    ["environment", group.environment],
    ["workload", RP.workload(facts.workload)],
    ["preset", `${group.preset}, tensor-parallel size ${group.tensor_parallel_size}`],
    ["executor", [facts.executor, facts.channel].filter(Boolean).join(", ") || "not kept"],
    [
      "versions",
      Object.entries(environment)
        .map(([name, version]) => `${name} ${version}`)
        .join(", ") || "not kept",
    ],
    ["file", figure.source],
    ["again", RP.again(facts, figure.path, figure.at, group).map((line) => RP.el("pre", {}, line))],
  ];
  if (Array.isArray(figure.samples)) {
    rows.splice(4, 0, ["each", figure.samples.map((one) => RP.quantity(one, figure.metric)).join(", ")]);
  }
  const list = rows.map(([name, content]) => [RP.el("dt", {}, name), RP.el("dd", {}, content)]);
  RP.dialog([RP.sign(figure.path), ` ${figure.title}`], RP.el("dl", {}, list));
};

// Show something over the page.
RP.dialog = function (title, content) {
  const dialog = document.getElementById("origin");
  dialog.replaceChildren(
    RP.el("form", { method: "dialog" }, RP.el("h2", {}, title), RP.el("button", { autofocus: true }, "Close")),
    content,
  );
  if (!dialog.open) dialog.showModal();
};

// The figure of a cell at its newest commit.
RP.caseFigure = (cell, metric) => ({
  title: `${cell.path}, ${RP.title(metric)}`,
  value: cell.metrics[metric],
  metric,
  path: cell.path,
  at: cell.at,
  group: RP.group(),
  facts: cell,
  samples: cell.metrics[metric][3],
  starts: cell.starts,
  warnings: cell.warnings[metric] || "",
  measured: cell.measured,
  source: cell.source,
});

// The figure of a point of a column; that of the newest commit has its samples too.
RP.columnFigure = function (content, path, number, metric, group = RP.group()) {
  const column = content.paths[path];
  const at = column.at[number];
  const cell = group === RP.group() && RP.cases().find((one) => one.path === path && one.at === at && one.metrics[metric]);
  if (cell) return RP.caseFigure(cell, metric);
  const facts = content.surroundings[RP.nth(column.from, number)];
  return {
    title: `${path}, ${RP.title(metric)}`,
    value: RP.row(content, path)[number][1],
    metric,
    path,
    at,
    group,
    facts,
    samples: RP.nth(column.samples, number),
    starts: RP.nth(column.starts, number),
    warnings: RP.nth(column.warnings, number),
    measured: RP.nth(column.measured, number),
    source: RP.nth(column.source, number).replace("{commit}", RP.commitName(at)),
  };
};

// What a reader must know of some figures, each once.
RP.warnings = function (figures) {
  const words = new Set(figures.flatMap((figure) => figure.warnings.split(" ")).filter(Boolean));
  return [...words].map((word) => {
    const text = RP.front.warnings[word];
    return `${text[0].toUpperCase()}${text.slice(1)}.`;
  });
};

RP.askButton = (figure) =>
  RP.el(
    "button",
    {
      type: "button",
      class: "ask",
      onclick: () => RP.origin(figure),
      "aria-label": `Where ${figure.title} comes from`,
    },
    "?",
  );
