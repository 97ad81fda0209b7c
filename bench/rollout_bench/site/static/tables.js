// Tables, each with buttons that give its rows as CSV and JSON: numbers in base units where a cell has one.
"use strict";

// A value with its interval as text; a download takes the numbers.
RP.value = (value, metric) =>
  RP.el(
    "span",
    { "data-numbers": JSON.stringify(value.slice(0, 3)), "data-unit": RP.unitOf(metric) },
    RP.quantity(value[0], metric),
    value.length > 1 ? ` ${RP.interval(value, metric)}`.trimEnd() : "",
  );

// A table whose first column names its rows; a cell is a text, an element or a list of them.
RP.table = function (titles, rows) {
  const head = RP.el(
    "tr",
    {},
    titles.map((title) => (title ? RP.el("th", { scope: "col" }, RP.word(title)) : RP.el("td"))),
  );
  const line = (row) =>
    RP.el(
      "tr",
      {},
      row.map((cell, place) => (place ? RP.el("td", {}, cell) : RP.el("th", { scope: "row" }, cell))),
    );
  return RP.downloadable(RP.el("table", {}, RP.el("thead", {}, head), RP.el("tbody", {}, rows.map(line))));
};

// A table of the page with its buttons below.
RP.downloadable = function (table) {
  const button = (kind, made) =>
    RP.el("button", { type: "button", class: "plain", onclick: () => save(table, kind, made(contentOf(table))) }, kind.toUpperCase());
  return RP.el("div", { class: "scroll" }, table, RP.el("p", { class: "download" }, "Download: ", button("csv", csv), " ", button("json", json)));
};

// Titles and rows. A cell with a value gives three columns, or one where it has no interval.
function contentOf(table) {
  const cells = (row) => [...row.cells].map(contentOfCell);
  const titles = cells(table.tHead.rows[0]);
  const rows = [...table.tBodies[0].rows].map(cells);
  const kept = titles.map((title, place) => ({ title, place })).filter(({ title, place }) => title || rows.some((row) => row[place] !== ""));
  const columns = kept.flatMap(({ title, place }) => {
    const numbers = rows.map((row) => row[place]).filter((cell) => cell && cell.numbers);
    if (!numbers.length) return [[title, (row) => row[place]]];
    const name = [title, numbers[0].unit && `(${numbers[0].unit})`].filter(Boolean).join(" ");
    const at = (number) => (row) => (row[place].numbers ? (row[place].numbers[number] ?? null) : row[place] || null);
    const bounded = numbers.some((cell) => cell.numbers.length > 1);
    return [[name, at(0)], ...(bounded ? [[`${name} low`, at(1)], [`${name} high`, at(2)]] : [])];
  });
  return { titles: columns.map(([name]) => name), rows: rows.map((row) => columns.map(([, get]) => get(row))) };
}

function contentOfCell(cell) {
  const value = cell.querySelector("[data-numbers]");
  if (value) return { numbers: JSON.parse(value.dataset.numbers), unit: value.dataset.unit };
  return plainText(cell);
}

function plainText(element) {
  const copy = element.cloneNode(true);
  copy.querySelectorAll(".ask, .sign, .better").forEach((part) => part.remove());
  return copy.textContent.trim().replace(/\s+/g, " ");
}

// What a spreadsheet would take for a formula stays text.
const plainCell = (cell) => (typeof cell === "string" && /^([=@]|[+-](?![\d.]))/.test(cell) ? `'${cell}` : (cell ?? ""));

const csv = ({ titles, rows }) =>
  [titles, ...rows].map((row) => row.map((cell) => `"${String(plainCell(cell)).replace(/"/g, '""')}"`).join(",")).join("\r\n") + "\r\n";

const json = ({ titles, rows }) =>
  JSON.stringify(rows.map((row) => Object.fromEntries(row.map((cell, place) => [titles[place] || "case", cell]))), null, 1);

function save(table, kind, text) {
  const heading = table.closest("section, dialog").querySelector("h1, h2, h3");
  const name = plainText(heading).toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 60);
  const address = URL.createObjectURL(new Blob([text], { type: kind === "csv" ? "text/csv" : "application/json" }));
  RP.el("a", { href: address, download: `rollout-perf-${name}.${kind}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
