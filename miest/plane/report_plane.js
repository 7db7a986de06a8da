// The plane: a line for each step through its layers. The step in hand is drawn over the trail of the others.

const plane = { root: find("plane"), points: [], groups: [], now: null, ring: null, box: null, size: [0, 0] };

function drawPlane() {
  const root = plane.root;
  const [qx, qy] = [data.quantities[state.x], data.quantities[state.y]];
  const width = state.print ? 720 : Math.max(300, root.parentElement.clientWidth);
  const height = Math.round(Math.min(660, Math.max(330, width * 0.68)));
  const box = { left: 62, right: width - 74, top: 14, bottom: height - 48 };
  root.replaceChildren();
  root.setAttribute("viewBox", `0 0 ${width} ${height}`);
  collectPoints(qx, qy);
  const x = axisOf(qx, "x", plane.points.map((p) => p.x), [box.left, box.right]);
  const y = axisOf(qy, "y", plane.points.map((p) => p.y), [box.bottom, box.top]);
  frame(root, box, x, y);
  entropies(root, box, x, y);
  for (const point of plane.points) {
    point.px = x.place(point.x.value);
    point.py = y.place(point.y.value);
  }
  Object.assign(plane, { x, y, box, size: [width, height] });
  const trail = svg("g", { id: "trail", "aria-hidden": "true" }, root);
  const crowd = Math.min(1, Math.sqrt(60 / count.steps));
  const radius = Math.min(4.2, Math.max(1.7, 4.2 * Math.sqrt(Math.sqrt(200 / (plane.points.length + 1)))));
  plane.groups = data.steps.map((_, step) => {
    const group = svg("g", { "data-step": step }, trail);
    drawStep(group, step, { radius, width: 1, line: Math.max(0.14, 0.6 * crowd), bar: Math.max(0.12, 0.5 * crowd), cross: 3.5 });
    return group;
  });
  colorBar(root, box);
  plane.now = svg("g", { id: "current", "aria-hidden": "true" }, root);
  plane.ring = svg("path", { class: "halo", d: "" }, root);
  showStep();
  caption(qx, qy);
}

function collectPoints(qx, qy) {
  plane.points = [];
  plane.byStep = data.steps.map(() => []);
  const wrong = new Set(data.chain ? [...qx.wrong, ...qy.wrong] : []);
  for (let step = 0; step < count.steps; step++) {
    for (let layer = 0; layer < count.layers; layer++) {
      if (!state.layers.has(layer)) continue;
      const [x, y] = [estimate(qx, step, layer), estimate(qy, step, layer)];
      if (!x.finite || !y.finite) continue;
      const point = { step, layer, x, y, doubtful: x.flags.length + y.flags.length > 0, wrong: wrong.has(step * count.layers + layer) };
      plane.points.push(point);
      plane.byStep[step].push(point);
    }
  }
}

function axisOf(q, axis, found, pixels) {
  const values = found.flatMap((e) => (state.bars && e.low !== null ? [e.value, e.low, e.high] : [e.value]));
  const range = padded(values);
  const entropy = data.references[q.axis];
  const limit = entropy ? { name: entropy.name, value: entropy.value * factorOf(q) } : null;
  const near = limit !== null && limit.value <= range[1] + (range[1] - range[0]);
  if (near && limit.value > range[1]) range[1] = limit.value + 0.04 * (limit.value - range[0]);
  const most = axis === "x" ? Math.max(4, (pixels[1] - pixels[0]) / 60) : 7;
  return { range, place: line(range, pixels), ticks: ticks(range[0], range[1], most), name: labelOf(q), text: (v) => String(v), limit, near };
}

// H(X) and H(Y): a dashed line, or a note at the edge where it is far outside.
function entropies(root, box, x, y) {
  const group = svg("g", { "aria-hidden": "true" }, root);
  for (const [axis, upright] of [[x, true], [y, false]]) {
    if (!axis.limit) continue;
    const words = `${axis.limit.name} = ${axis.limit.value.toFixed(2)}`;
    const at = round(axis.place(axis.limit.value));
    if (upright && axis.near) {
      svg("path", { class: "entropy", d: `M${at} ${box.top}V${box.bottom}` }, group);
      svg("text", { transform: `translate(${at - 5} ${box.bottom - 8}) rotate(-90)` }, group, words);
    } else if (upright) {
      svg("text", { x: box.right, y: box.bottom - 6, "text-anchor": "end" }, group, `${words} →`);
    } else if (axis.near) {
      svg("path", { class: "entropy", d: `M${box.left} ${at}H${box.right}` }, group);
      svg("text", { x: box.left + 6, y: at - 5 }, group, words);
    } else {
      svg("text", { x: box.left + 6, y: box.top + 8 }, group, `${words} ↑`);
    }
  }
}

function drawStep(group, step, look) {
  const points = plane.byStep[step];
  if (!points.length) return;
  const color = stepColor(step);
  const { x, y } = plane;
  const d = "M" + points.map((p) => `${round(p.px)} ${round(p.py)}`).join("L");
  if (look.under) svg("path", { class: "under", d }, group);
  svg("path", { fill: "none", stroke: color, "stroke-width": look.width, opacity: look.line, d }, group);
  let bars = "", solid = "", hollow = "", crosses = "";
  for (const p of points) {
    if (state.bars && p.x.low !== null) bars += `M${round(x.place(p.x.low))} ${round(p.py)}H${round(x.place(p.x.high))}`;
    if (state.bars && p.y.low !== null) bars += `M${round(p.px)} ${round(y.place(p.y.low))}V${round(y.place(p.y.high))}`;
    const shape = marker(p.layer, p.px, p.py, look.radius);
    if (p.doubtful) hollow += shape;
    else solid += shape;
    if (p.wrong) crosses += cross(p.px, p.py, look.cross);
  }
  if (bars) svg("path", { fill: "none", stroke: color, "stroke-width": 1, opacity: look.bar, d: bars }, group);
  if (look.under) svg("path", { class: "under", d: solid + hollow }, group);
  if (solid) svg("path", { class: "solid", fill: color, d: solid }, group);
  if (hollow) svg("path", { class: "hollow", stroke: color, "stroke-width": 1.4, d: hollow }, group);
  if (crosses) {
    svg("path", { class: "wrong-under", d: crosses }, group);
    svg("path", { class: "wrong", d: crosses }, group);
  }
}
const cross = (x, y, r) => `M${round(x - r)} ${round(y - r)}l${2 * r} ${2 * r}m0 ${-2 * r}l${-2 * r} ${2 * r}`;

function colorBar(root, box) {
  const group = svg("g", { "aria-hidden": "true" }, root);
  const left = box.right + 14;
  const place = (step) => box.bottom - share(step, data.log) * (box.bottom - box.top);
  const slices = 64;
  for (let i = 0; i < slices; i++) {
    const high = (box.bottom - box.top) / slices;
    svg("rect", { x: left, y: round(box.bottom - (i + 1) * high), width: 10, height: round(high + 0.6), fill: viridis((i + 0.5) / slices) }, group);
  }
  for (const tick of stepTicks(data.log)) svg("text", { x: left + 14, y: place(tick) + 4 }, group, stepText(tick));
  svg("text", { x: left - 2, y: box.bottom + 17 }, group, "step");
  plane.mark = svg("path", { class: "frame" }, group);
  plane.markAt = (step) => `M${left - 5} ${round(place(data.steps[step]))}h20`;
}

// What changes from step to step: which of the trail is seen, and the step in hand.
function showStep() {
  plane.groups.forEach((group, step) => {
    const seen = state.trail === "all" || (state.trail === "past" && step <= state.step);
    if (seen) group.removeAttribute("display");
    else group.setAttribute("display", "none");
  });
  plane.now.replaceChildren();
  drawStep(plane.now, state.step, { radius: 6, width: 2.4, line: 1, bar: 0.9, cross: 5, under: true });
  const points = plane.byStep[state.step];
  const taken = [];
  for (const p of points.length <= 12 ? points : []) { // names where they fit
    const name = data.layers[p.layer];
    const wide = 7 * name.length, free = (b) => Math.abs(b[1] - p.py) > 14 || p.px + 10 > b[0] + b[2] || p.px + 10 + wide < b[0];
    if (name.length > 24 || p.px + 10 + wide > plane.box.right || !taken.every(free)) continue;
    taken.push([p.px + 10, p.py, wide]);
    svg("text", { class: "name outline", x: round(p.px + 10), y: round(p.py - 8) }, plane.now, name);
  }
  plane.mark.setAttribute("d", plane.markAt(state.step));
  plane.root.setAttribute("aria-label", `Information plane at step ${stepText(data.steps[state.step])}: ` +
    `${labelOf(data.quantities[state.x])} across, ${labelOf(data.quantities[state.y])} up, ${points.length} layers`);
  ring();
}

function ring() {
  const p = state.near;
  const seen = p && plane.points.includes(p);
  plane.ring.setAttribute("d", seen ? MARKERS[0](round(p.px), round(p.py), p.step === state.step ? 10 : 7) : "");
}

function caption(qx, qy) {
  const both = qx === qy ? [qx] : [qx, qy];
  const hollow = plane.points.filter((p) => p.doubtful).length;
  const words = both.map((q) => `${q.name}${q.bound ? `, ${q.bound}` : ""}: ${q.settings}.`);
  words.push(data.n);
  if (hollow) words.push(`Hollow: ${hollow.toLocaleString("en-US")} of ${plane.points.length.toLocaleString("en-US")} points are flagged.`);
  words.push(...(data.chain ? both.map((q) => q.processing) : [data.branched]));
  find("caption").textContent = words.join(" ");
}

// The visible point nearest to a place in the picture, if one is near.
function nearest(event) {
  const rect = plane.root.getBoundingClientRect();
  const scale = plane.size[0] / rect.width;
  const [x, y] = [(event.clientX - rect.left) * scale, (event.clientY - rect.top) * scale];
  let best = null, least = 20 * 20;
  for (const p of plane.points) {
    if (p.step !== state.step && (state.trail === "none" || (state.trail === "past" && p.step > state.step))) continue;
    const far = (p.px - x) ** 2 + (p.py - y) ** 2 - (p.step === state.step ? 16 : 0);
    if (far < least) [best, least] = [p, far];
  }
  return best;
}
