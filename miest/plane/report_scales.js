// Numbers to places and colours. What the page knows is in `data`, what the reader chose is in `state`.

const data = JSON.parse(document.getElementById("data").textContent);
const count = { steps: data.steps.length, layers: data.layers.length };
const state = {
  x: data.x, y: data.y, units: "nats", trail: "past", bars: true, axis: "log",
  step: count.steps - 1, layers: new Set(data.layers.keys()), near: null, playing: false, print: false,
};
const find = (id) => document.getElementById(id);
const dark = () => !state.print && matchMedia("(prefers-color-scheme: dark)").matches;

// One estimate: a number in the chosen units with its ends, or the reason why there is none.
function estimate(q, step, layer) {
  const at = step * count.layers + layer;
  const factor = factorOf(q);
  const value = q.value[at];
  const finite = typeof value === "number";
  return {
    finite, value: finite ? value * factor : value,
    low: finite && q.low[at] !== null ? q.low[at] * factor : null,
    high: finite && q.high[at] !== null ? q.high[at] * factor : null,
    flags: data.flags[q.flags[at]], notes: data.notes[q.notes[at]],
  };
}
const factorOf = (q) => (q.information && state.units === "bits" ? 1 / Math.LN2 : 1);
const unitOf = (q) => (q.information ? state.units : "");
const labelOf = (q) => q.name + (q.information ? ` (${state.units})` : "") + (q.bound ? `, ${q.bound}` : "");

const stepText = (step) => step.toLocaleString("en-US");
function text(value) {
  if (value === null) return "not estimated";
  if (typeof value === "string") return value;
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 1e5) ? value.toExponential(2) : value.toFixed(size < 10 ? 3 : 2);
}

// Steps: linear up to the first positive step and logarithmic beyond, so that step 0 has a place.
const span = { low: data.steps[0], high: data.steps[count.steps - 1], first: data.steps.find((step) => step > 0) || 1 };
function share(step, log) {
  if (span.high === span.low) return 1;
  const place = log ? (s) => Math.log1p(s / span.first) : (s) => s;
  return (place(step) - place(span.low)) / (place(span.high) - place(span.low));
}
function stepTicks(log) {
  if (!log || span.high === span.low) return count.steps <= 6 ? data.steps : ticks(span.low, span.high, 6).filter(Number.isInteger);
  const found = span.low === 0 ? [0] : [];
  for (let power = Math.ceil(Math.log10(span.first)); 10 ** power * 2 <= span.high; power++) found.push(10 ** power);
  if (found.length < 2) found.push(span.first);
  return [...new Set([...found, span.high])];
}

function ticks(low, high, most) {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const gap = [1, 2, 5, 10].map((m) => m * power).find((g) => g >= rough);
  const found = [];
  for (let i = Math.ceil(low / gap - 1e-9); i * gap <= high + gap * 1e-9; i++) found.push(Number((i * gap).toPrecision(12)));
  return found;
}
function padded(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return [low - room, high + room];
}
const line = (from, to) => (value) => to[0] + ((value - from[0]) / (from[1] - from[0])) * (to[1] - to[0]);

// Viridis, without the end that the background swallows; distinct for the common forms of colour blindness.
const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"]
  .map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
function viridis(t) {
  const at = (dark() ? 0.2 + 0.8 * t : 0.94 * t) * (VIRIDIS.length - 1);
  const i = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return `rgb(${VIRIDIS[i].map((c, k) => Math.round(c + (VIRIDIS[i + 1][k] - c) * (at - i))).join(",")})`;
}
const stepColor = (step) => viridis(share(data.steps[step], data.log));
const SEVEN = { light: ["#0072B2", "#D55E00", "#009E73", "#C0629A", "#B97F00", "#2D9BD8", "#222222"],
                dark: ["#4FA8E0", "#F0803C", "#2CC295", "#E29AC4", "#EBB23A", "#8FD0F5", "#EEEEEE"] };
function layerColor(layer) {
  if (count.layers <= SEVEN.light.length) return SEVEN[dark() ? "dark" : "light"][layer];
  return viridis(layer / (count.layers - 1));
}

// Markers as pieces of a path, so that all points of a step are one element.
const MARKERS = [
  (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
  (x, y, r) => `M${x - 0.9 * r} ${y - 0.9 * r}h${1.8 * r}v${1.8 * r}h${-1.8 * r}z`,
  (x, y, r) => `M${x} ${y - 1.15 * r}l${1.1 * r} ${2 * r}h${-2.2 * r}z`,
  (x, y, r) => `M${x} ${y - 1.25 * r}l${1.1 * r} ${1.25 * r}l${-1.1 * r} ${1.25 * r}l${-1.1 * r} ${-1.25 * r}z`,
  (x, y, r) => `M${x} ${y + 1.15 * r}l${1.1 * r} ${-2 * r}h${-2.2 * r}z`,
  (x, y, r) => `M${x - 0.4 * r} ${y - 1.1 * r}h${0.8 * r}v${0.7 * r}h${0.7 * r}v${0.8 * r}h${-0.7 * r}v${0.7 * r}h${-0.8 * r}v${-0.7 * r}h${-0.7 * r}v${-0.8 * r}h${0.7 * r}z`,
  (x, y, r) => `M${x - 1.2 * r} ${y}l${0.6 * r} ${-r}h${1.2 * r}l${0.6 * r} ${r}l${-0.6 * r} ${r}h${-1.2 * r}z`,
];
const marker = (layer, x, y, r) => MARKERS[layer % MARKERS.length](round(x), round(y), r);
const round = (value) => Math.round(value * 10) / 10;

function svg(tag, attributes, parent, words) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (words !== undefined) made.textContent = words;
  if (parent) parent.append(made);
  return made;
}
function html(tag, words, parent, kind) {
  const made = document.createElement(tag);
  if (words !== undefined) made.textContent = words;
  if (kind) made.className = kind;
  if (parent) parent.append(made);
  return made;
}

// Axes of one picture: grid, numbers and names. `x` and `y` are {range, place, ticks, name, text}.
function frame(root, box, x, y) {
  const group = svg("g", { "aria-hidden": "true" }, root);
  for (const tick of y.ticks) {
    const at = round(y.place(tick));
    svg("path", { class: "grid", d: `M${box.left} ${at}H${box.right}` }, group);
    svg("text", { x: box.left - 7, y: at + 4, "text-anchor": "end" }, group, y.text(tick));
  }
  for (const tick of x.ticks) {
    const at = round(x.place(tick));
    svg("path", { class: "grid", d: `M${at} ${box.top}V${box.bottom}` }, group);
    svg("text", { x: at, y: box.bottom + 17, "text-anchor": "middle" }, group, x.text(tick));
  }
  svg("path", { class: "frame", d: `M${box.left} ${box.top}V${box.bottom}H${box.right}` }, group);
  const middle = (box.left + box.right) / 2;
  if (x.name) svg("text", { class: "label", x: middle, y: box.bottom + 37, "text-anchor": "middle" }, group, x.name);
  if (y.name) svg("text", { class: "label", transform: `translate(14 ${(box.top + box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, group, y.name);
  return group;
}
