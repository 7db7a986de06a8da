// Timelines: each quantity against the steps, a line a layer; last, what was logged beside them.

const timelines = { cursors: [] };

function drawTimelines() {
  const home = find("timelines");
  home.replaceChildren();
  timelines.cursors = [];
  const scalars = Object.keys(data.scalars).length > 0;
  const figures = [...data.quantities, ...(scalars ? [null] : [])].map(() => html("figure", undefined, home)); // all, so that they have their widths
  data.quantities.forEach((q, i) => timeline(figures[i], q));
  if (scalars) logged(figures.at(-1));
  showCursors();
}

function panel(figure, title, words, label) {
  const head = html("figcaption", undefined, figure);
  html("b", title, head);
  if (words) html("span", ` ${words}`, head);
  const root = svg("svg", { role: "img", "aria-label": label }, figure);
  const width = state.print ? 360 : Math.max(280, figure.clientWidth), height = 230;
  root.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const box = { left: 48, right: width - 44, top: 10, bottom: height - 26 };
  const log = state.axis === "log";
  const steps = { place: (step) => box.left + share(step, log) * (box.right - box.left), ticks: stepTicks(log), text: stepText };
  return { root, box, steps, width };
}

function timeline(figure, q) {
  const { root, box, steps, width } = panel(figure, labelOf(q), q.settings, `${labelOf(q)} of each layer against the step`);
  const lines = data.layers.map((_, layer) => data.steps.map((_, step) => estimate(q, step, layer)));
  const shown = [...state.layers].map((layer) => [layer, lines[layer]]);
  const y = axisOf(q, "y", shown.flatMap(([, found]) => found.filter((e) => e.finite)), [box.bottom, box.top]);
  frame(root, box, steps, { ...y, name: "", ticks: ticks(y.range[0], y.range[1], 5) });
  entropies(root, box, { limit: null }, y);
  const many = count.steps > 60;
  const places = [];
  for (const [layer, found] of shown) {
    const color = layerColor(layer);
    let path = "", solid = "", hollow = "", bars = "", pen = "M";
    found.forEach((e, step) => {
      if (!e.finite) { // a line is broken where an estimate failed, not where none was asked for
        if (e.value !== null) pen = "M";
        return;
      }
      const [px, py] = [round(steps.place(data.steps[step])), round(y.place(e.value))];
      places.push({ px, py, step, layer, e });
      path += `${pen}${px} ${py}`;
      pen = "L";
      if (state.bars && e.low !== null) bars += `M${px} ${round(y.place(e.low))}V${round(y.place(e.high))}`;
      if (e.flags.length) hollow += marker(layer, px, py, many ? 1.8 : 3);
      else if (!many) solid += marker(layer, px, py, 3);
    });
    if (bars) svg("path", { fill: "none", stroke: color, opacity: many ? 0.25 : 0.6, d: bars }, root);
    if (path) svg("path", { class: "line", fill: "none", stroke: color, "stroke-width": 1.4, d: path }, root);
    if (solid) svg("path", { class: "solid", fill: color, d: solid }, root);
    if (hollow) svg("path", { class: "hollow", stroke: color, "stroke-width": many ? 0.8 : 1.3, d: hollow }, root);
  }
  cursor(root, box, steps);
  follow(root, width, steps, places, (p) => {
    showTip([[data.layers[p.layer], `step ${stepText(data.steps[p.step])}`], ...told(q, p.e)]);
  });
}

// Loss and its like have the scale on the left, accuracies the one on the right.
function logged(figure) {
  const names = Object.keys(data.scalars);
  const right = names.filter((name) => name.toLowerCase().includes("acc"));
  const left = names.filter((name) => !right.includes(name));
  const { root, box, steps, width } = panel(figure, "Logged", "", `${names.join(", ")} against the step`);
  const places = [];
  const dashes = ["", "7 4", "2 3", "9 3 2 3"];
  [left, right].forEach((group, side) => {
    if (!group.length) return;
    const range = padded(group.flatMap((name) => data.scalars[name].map(([, value]) => value)));
    const place = line(range, [box.bottom, box.top]);
    if (side === 0 || !left.length) frame(root, box, steps, { place, ticks: ticks(range[0], range[1], 5), text: String });
    else for (const tick of ticks(range[0], range[1], 5)) svg("text", { x: box.right + 6, y: round(place(tick)) + 4 }, root, String(tick));
    group.forEach((name, i) => {
      const color = side ? SEVEN[dark() ? "dark" : "light"][1] : SEVEN[dark() ? "dark" : "light"][6];
      const points = data.scalars[name].map(([step, value]) => {
        const point = { px: round(steps.place(step)), py: round(place(value)), step: data.steps.indexOf(step), name, words: `step ${stepText(step)}: ${text(value)}` };
        places.push(point);
        return `${point.px} ${point.py}`;
      });
      svg("path", { class: "line", fill: "none", stroke: color, "stroke-width": 1.6, "stroke-dasharray": dashes[i % 4], d: "M" + points.join("L") }, root);
      if (points.length === 1) svg("circle", { cx: places.at(-1).px, cy: places.at(-1).py, r: 3, fill: color }, root); // a line of one point is not seen
      const order = side * left.length + i;
      svg("path", { stroke: color, "stroke-width": 1.6, "stroke-dasharray": dashes[i % 4], d: `M${box.right - 150} ${box.top + 90 + 16 * order}h24` }, root);
      svg("text", { x: box.right - 120, y: box.top + 94 + 16 * order, class: "outline" }, root, name.length > 18 ? `${name.slice(0, 17)}…` : name);
    });
  });
  cursor(root, box, steps);
  follow(root, width, steps, places, (p) => showTip([[p.name, p.words]]));
}

function cursor(root, box, steps) {
  const made = svg("path", { class: "cursor" }, root);
  timelines.cursors.push(() => made.setAttribute("d", `M${round(steps.place(data.steps[state.step]))} ${box.top}V${box.bottom}`));
}
function showCursors() {
  for (const move of timelines.cursors) move();
}

// Hover tells the nearest point; a click goes to the nearest step.
function follow(root, width, steps, places, tell) {
  const at = (event) => {
    const rect = root.getBoundingClientRect();
    return [((event.clientX - rect.left) * width) / rect.width, ((event.clientY - rect.top) * width) / rect.width];
  };
  root.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    let best = null, least = 18 * 18;
    for (const p of places) {
      const far = (p.px - x) ** 2 + (p.py - y) ** 2;
      if (far < least) [best, least] = [p, far];
    }
    if (best) {
      tell(best);
      moveTip(event);
    } else hideTip();
  });
  root.addEventListener("pointerleave", hideTip);
  root.addEventListener("click", (event) => {
    const [x] = at(event);
    let best = 0;
    data.steps.forEach((step, i) => {
      if (Math.abs(steps.place(step) - x) < Math.abs(steps.place(data.steps[best]) - x)) best = i;
    });
    goTo(best);
  });
}
