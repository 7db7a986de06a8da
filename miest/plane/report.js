// What the reader does: choices, playing, the tooltip, the keyboard, the table of the step in hand.

function goTo(step) {
  state.step = Math.min(count.steps - 1, Math.max(0, step));
  if (state.near && state.near.step !== state.step) state.near = null;
  const words = `step ${stepText(data.steps[state.step])}`;
  find("step").value = state.step;
  find("step").setAttribute("aria-valuetext", words);
  find("at").textContent = words;
  showStep();
  showCursors();
  drawTable();
}

function redraw() {
  state.near = null;
  hideTip();
  drawSwatches();
  drawPlane();
  drawTimelines();
  drawTable();
}

// Playing: all steps in some ten seconds, however many they are.
let clock = null;
function play(on) {
  state.playing = on;
  clearTimeout(clock);
  find("play").textContent = on ? "Pause" : "Play";
  if (!on) return;
  if (state.step === count.steps - 1) goTo(0);
  const stride = Math.max(1, Math.round(count.steps / 400));
  const tick = () => {
    goTo(state.step + stride);
    if (state.step === count.steps - 1) play(false);
    else clock = setTimeout(tick, wait());
  };
  const wait = () => Math.min(700, Math.max(25, 10000 / count.steps)) / Number(find("speed").value);
  clock = setTimeout(tick, wait());
}

// What is known of one estimate, as lines of [name, words, doubt].
function told(q, e) {
  const unit = unitOf(q);
  const bars = e.low !== null ? `, ${q.level} ${text(e.low)} to ${text(e.high)}` : "";
  const lines = [[labelOf(q).replace(` (${unit})`, ""), `${text(e.value)}${e.finite && unit ? ` ${unit}` : ""}${bars}`]];
  for (const flag of e.flags) lines.push([flag, data.words[flag] || "", true]);
  if (!e.flags.length || !e.finite) for (const note of e.notes) lines.push(["", note]);
  return lines;
}
function toldPoint(p) {
  const [qx, qy] = [data.quantities[state.x], data.quantities[state.y]];
  const lines = [[data.layers[p.layer], `step ${stepText(data.steps[p.step])}`], ...told(qx, p.x)];
  if (qx !== qy) lines.push(...told(qy, p.y));
  if (p.wrong) lines.push(["×", "more than the layer before it has, beyond the errors of both: no processing can do that", true]);
  return lines;
}

function showTip(lines) {
  const tip = find("tip");
  tip.replaceChildren();
  for (const [name, words, doubt] of lines) {
    const row = html("p", undefined, tip, doubt ? "doubt" : "");
    if (name) html("b", name, row);
    row.append(name ? ` ${words}` : words);
  }
  tip.hidden = false;
}
function moveTip(event) {
  const tip = find("tip");
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${event.clientY + height + 24 > innerHeight ? Math.max(4, event.clientY - height - 12) : event.clientY + 16}px`;
}
function hideTip() {
  find("tip").hidden = true;
}
function point(p, event) {
  if (p !== state.near) {
    state.near = p;
    ring();
    drawTable();
    if (p) showTip(toldPoint(p));
  }
  if (!p) return hideTip();
  find("tip").hidden = false;
  moveTip(event);
}

const plain = (flag) => flag.toLowerCase().replaceAll("_", " ");

function drawTable() {
  const [qx, qy] = [data.quantities[state.x], data.quantities[state.y]];
  const both = qx === qy ? [qx] : [qx, qy];
  const table = find("now");
  table.caption.textContent = `At step ${stepText(data.steps[state.step])}`;
  const head = html("tr");
  html("th", "layer", head).scope = "col";
  for (const q of both) html("th", labelOf(q), head, "number").scope = "col";
  html("th", "doubts", head).scope = "col";
  table.tHead.replaceChildren(head);
  const rows = [];
  for (const layer of state.layers) {
    const found = both.map((q) => estimate(q, state.step, layer));
    const row = html("tr", undefined, undefined, state.near && state.near.layer === layer ? "chosen" : "");
    html("th", data.layers[layer], row).scope = "row";
    for (const e of found) {
      const cell = html("td", text(e.value), row, "number");
      if (e.low !== null) html("span", `${text(e.low)} to ${text(e.high)}`, cell, "range");
    }
    const flags = [...new Set(found.flatMap((e) => e.flags))];
    const failures = found.filter((e) => !e.finite).flatMap((e) => e.notes);
    html("td", [...flags.map(plain), ...failures].join("; "), row, "why");
    rows.push(row);
  }
  table.tBodies[0].replaceChildren(...rows);
}

function drawSwatches() {
  document.querySelectorAll("#layers .swatch path").forEach((path, layer) => path.setAttribute("fill", layerColor(layer)));
}
function layerChoices() {
  const list = html("div", undefined, find("layers"), "list");
  const boxes = data.layers.map((name, layer) => {
    const label = html("label", undefined, list);
    const box = html("input", undefined, label);
    box.type = "checkbox";
    box.checked = true;
    const swatch = svg("svg", { class: "swatch", viewBox: "-7 -7 14 14", "aria-hidden": "true" }, label);
    svg("path", { d: marker(layer, 0, 0, 5) }, swatch);
    html("span", name, label);
    box.addEventListener("change", () => choose(boxes));
    return box;
  });
  for (const [words, on] of [["all", true], ["none", false]]) {
    const button = html("button", words, find("layers"));
    button.type = "button";
    button.setAttribute("aria-label", `Show ${words} of the layers`);
    button.addEventListener("click", () => {
      for (const box of boxes) box.checked = on;
      choose(boxes);
    });
  }
}
function choose(boxes) {
  state.layers = new Set(boxes.flatMap((box, layer) => (box.checked ? [layer] : [])));
  redraw();
}

function axisChoices() {
  const groups = [["x", "about the input"], ["y", "about the label"], [null, "other"]];
  for (const axis of ["x", "y"]) {
    for (const [of, words] of groups) {
      const some = data.quantities.map((q, i) => [q, i]).filter(([q]) => q.axis === of);
      if (!some.length) continue;
      const group = html("optgroup", undefined, find(axis));
      group.label = words;
      for (const [q, i] of some) html("option", `${q.name}: ${q.settings}`, group).value = i;
    }
    find(axis).value = state[axis];
    find(axis).addEventListener("change", (event) => {
      state[axis] = Number(event.target.value);
      redraw();
    });
  }
}

function keys(event) {
  const points = plane.byStep[state.step];
  const at = state.near ? points.indexOf(state.near) : -1;
  const moves = {
    ArrowLeft: () => goTo(state.step - 1), ArrowRight: () => goTo(state.step + 1),
    Home: () => goTo(0), End: () => goTo(count.steps - 1), " ": () => play(!state.playing),
    ArrowDown: () => walk(points[Math.min(points.length - 1, at + 1)]), ArrowUp: () => walk(points[Math.max(0, at - 1)]),
    Escape: () => point(null),
  };
  if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  moves[event.key]();
  if (event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End") {
    const lines = state.near ? toldPoint(state.near) : [[`step ${stepText(data.steps[state.step])}`, `${points.length} layers`]];
    find("said").textContent = lines.map(([name, words]) => `${name} ${words}`.trim()).join(", ");
  }
}
function walk(p) {
  if (!p) return;
  const rect = plane.root.getBoundingClientRect();
  const scale = rect.width / plane.size[0];
  point(p, { clientX: rect.left + p.px * scale, clientY: rect.top + p.py * scale });
}

function start() {
  for (const section of document.querySelectorAll(".drawn")) section.hidden = false;
  layerChoices();
  axisChoices();
  find("step").max = count.steps - 1;
  find("step").addEventListener("input", (event) => goTo(Number(event.target.value)));
  find("play").addEventListener("click", () => play(!state.playing));
  find("back").addEventListener("click", () => goTo(state.step - 1));
  find("on").addEventListener("click", () => goTo(state.step + 1));
  for (const id of ["units", "trail", "axis"]) {
    find(id).addEventListener("change", (event) => {
      state[id] = event.target.value;
      redraw();
    });
  }
  find("bars").addEventListener("change", (event) => {
    state.bars = event.target.checked;
    redraw();
  });
  plane.root.addEventListener("pointermove", (event) => point(nearest(event), event));
  plane.root.addEventListener("pointerleave", () => point(null));
  plane.root.addEventListener("blur", () => point(null));
  plane.root.addEventListener("keydown", keys);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    state.print = true;
    redraw();
  });
  addEventListener("afterprint", () => {
    state.print = false;
    redraw();
  });
  let wide = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== wide) redraw();
    wide = innerWidth;
  });
  redraw();
  goTo(state.step);
}
start();
