// Numbers and units for people, elements without HTML strings, and each path's looks. Names come from
// results/ and may hold anything: they reach the page as text nodes, and charts through RP.plain.
"use strict";

window.RP = window.RP || {};

// A number below zero has the minus sign, not a hyphen, as report/numbers has it.
const minus = (text) => text.replace("-", "−");

RP.number = function (value) {
  const size = Math.abs(value);
  return minus(value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 0.0995 || size === 0 ? 2 : 3));
};

// What data/front.js says of a metric: title, unit, better, exact, meaning.
RP.metric = (name) => (Object.hasOwn(RP.front.metrics, name) ? RP.front.metrics[name] : null);

// A word that the glossary explains, as a link to where it does. Its addresses are seen from the folder of this sheet.
RP.word = function (text, word = text) {
  if (!Object.hasOwn(RP.front.words, word)) return text;
  const sheet = document.querySelector("link[rel=stylesheet]").href;
  return RP.el("a", { class: "word", href: new URL(RP.front.words[word], sheet).href }, text);
};

RP.title = (name) => (RP.metric(name) || { title: name }).title;

// The unit of a metric; a unit itself may be given too.
RP.unitOf = (name) => (RP.metric(name) || { unit: name }).unit;

RP.LOWER = "lower is better ↓";
RP.HIGHER = "higher is better ↑";
RP.better = (name) => ((RP.metric(name) || {}).better === "higher" ? RP.HIGHER : RP.LOWER);

// Divisor and sign of the unit that reads best for a value of the metric.
RP.unit = function (value, name) {
  const size = Math.abs(value);
  const unit = RP.unitOf(name);
  if (unit === "seconds") {
    return size >= 1 ? [1, "s"] : size >= 1e-3 ? [1e-3, "ms"] : [1e-6, "µs"];
  }
  if (unit === "bytes") {
    const power = Math.min(3, Math.max(0, Math.floor(Math.log2(size || 1) / 10)));
    return [1024 ** power, ["B", "KiB", "MiB", "GiB"][power]];
  }
  return unit === "share" ? [0.01, "%"] : [1, ""]; // of a count its title says what is counted
};

RP.quantity = function (value, name) {
  const [divisor, sign] = RP.unit(value, name);
  return `${RP.number(value / divisor)} ${sign}`.trim();
};

const isExact = (name) => Boolean((RP.metric(name) || {}).exact);

// The title of what has an interval; an exact metric has none.
RP.bounded = (title, name) => (isExact(name) ? title : `${title}, 99 % interval`);

// The interval of a value, in the unit of the value; few samples give none.
RP.interval = function (value, name) {
  const [divisor] = RP.unit(value[0], name || "");
  if (value[1] === null && isExact(name)) return "";
  if (value[1] === null) return "(too few samples for an interval)";
  return `[${RP.number(value[1] / divisor)} .. ${RP.number(value[2] / divisor)}]`;
};

// All that tells a group, or a series without its path, from others.
RP.groupName = (group) =>
  [
    group.machine,
    group.environment,
    group.preset,
    `tensor-parallel size ${group.tensor_parallel_size}`,
    `workload ${group.workload}`,
  ]
    .filter(Boolean)
    .join(", ");

RP.rate = (perSecond) => `${Math.round(perSecond).toLocaleString("en")} tokens/s`;

RP.payload = (size) =>
  size < 1024 ? `${size} B` : size < 1024 ** 2 ? `${size / 1024} KiB` : `${size / 1024 ** 2} MiB`;

RP.date = (seconds) => (seconds ? new Date(seconds * 1000).toISOString().slice(0, 10) : "no date");

// A chart's library reads a little HTML in its labels, and values of its own in %{...}.
RP.plain = (text) =>
  String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/%\{/g, "&#37;{");

// el("a", {href: "x", onclick: f}, "text", child): an element.
RP.el = function (tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
};

// Okabe and Ito's colours, darker on white and lighter on black; no two paths share sign and colour.
const LOOKS = {
  "vllm-mp": ["#4d5663", "#b6c0cc", "square", "dash"],
  zmq: ["#0067a5", "#5db9f0", "circle", "solid"],
  ray: ["#c44e00", "#ff9350", "diamond", "solid"],
  sync: ["#00795a", "#3fcfa5", "triangle-up", "solid"],
  "vllm-ray": ["#a03d76", "#eba3cb", "cross", "dashdot"],
  "ray-graph": ["#8f6200", "#f2c14e", "star", "solid"],
  "verl-zmq": ["#3b4cc0", "#a3b1ff", "circle-open", "dot"],
  "verl-ray": ["#7b4a2a", "#d8a57f", "diamond-open", "dot"],
  "bare-zmq": ["#0067a5", "#5db9f0", "circle-open", "dash"],
  "bare-ray-graph": ["#8f6200", "#f2c14e", "star-open", "dash"],
  "bare-ray": ["#c44e00", "#ff9350", "diamond-open", "dash"],
  // Entries, of whatever path.
  "@zmq": ["#0067a5", "#5db9f0", "pentagon", "solid"],
  "@zmq-plain": ["#3b4cc0", "#a3b1ff", "pentagon-open", "dot"],
  "@http": ["#8a1538", "#f78fa7", "hexagram", "solid"],
  "@http-router": ["#a03d76", "#eba3cb", "cross-open", "dot"],
  "@ray": ["#c44e00", "#ff9350", "triangle-up", "solid"],
  "@ray-group": ["#8f6200", "#f2c14e", "triangle-down", "dashdot"],
  "@ray-batch": ["#00795a", "#3fcfa5", "star-open", "longdash"],
};
const OTHERS = [
  ["#6a3d9a", "#c6a5f0", "triangle-down", "longdash"],
  ["#00757d", "#52d1da", "pentagon", "longdashdot"],
  ["#8a1538", "#f78fa7", "hexagram", "longdash"],
];
const SIGNS = {
  square: "■",
  circle: "●",
  diamond: "◆",
  "triangle-up": "▲",
  cross: "✚",
  "cross-open": "✛",
  star: "★",
  "star-open": "☆",
  "circle-open": "○",
  "diamond-open": "◇",
  "triangle-down": "▼",
  pentagon: "⬟",
  "pentagon-open": "⬠",
  hexagram: "✶",
};

RP.dark = function () {
  if (RP.printing) return false;
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

RP.looks = function (path) {
  let sum = 0;
  for (const letter of path) sum += letter.charCodeAt(0);
  const named = [path, path.replace(/^[^@]*/, "")].find((name) => Object.hasOwn(LOOKS, name));
  const [light, dark, symbol, dash] = named ? LOOKS[named] : OTHERS[sum % OTHERS.length];
  return { color: RP.dark() ? dark : light, symbol, dash, sign: SIGNS[symbol] };
};

RP.sign = (path) =>
  RP.el(
    "span",
    { class: "sign", style: `color:${RP.looks(path).color}`, "aria-hidden": "true" },
    RP.looks(path).sign,
  );

// As `change` of report/numbers.
RP.change = function (ratio) {
  const by = ratio - 1;
  if (by > 9.995) return "> +999 %";
  return `${by < 0 ? "" : "+"}${minus((by * 100).toFixed(Math.abs(by) < 0.9995 ? 1 : 0))} %`;
};

// Of a change point. Never "100 %".
RP.confidence = ({ confidence, interval }) =>
  !interval ? "exact" : confidence > 0.999 ? "over 99.9 %" : `${Math.floor(confidence * 1000) / 10} %`;

// A version, driver or GPU that is another: {name, before, after}.
RP.changed = (what) => `${what.name} ${what.before || "none"} → ${what.after || "none"}`;

RP.bad = () => (RP.dark() ? "#ff9350" : "#b34700");

RP.good = () => (RP.dark() ? "#5db9f0" : "#0067a5");

// The content of the element of that id, and a paragraph that says what is absent.
RP.put = (id, ...content) =>
  document.getElementById(id).replaceChildren(...content.flat(Infinity).filter((one) => one !== null));
RP.say = (...content) => RP.el("p", { class: "absent" }, ...content);
