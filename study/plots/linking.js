// The same configurations, highlighted in every figure of their dataset x model.
page.linking = (() => {
  const OVERLAY = "highlighted";
  const highlighted = new Map();
  // Figures whose outline is taken away, of which Plotly tells as if a reader had selected nothing.
  const unoutlining = new Set();
  // How opaque the lines of a figure are while nothing is highlighted.
  const usual = new WeakMap();
  // Long lists are read in the figures.
  const LISTED = 20;

  const drawnIn = (group) => Array.from(group.root.querySelectorAll(".figure.js-plotly-plot"));
  const opaque = (color) => String(color).replace(/^rgba\((.*),[^,]*\)$/, "rgb($1)");
  const hasMarks = (trace) => (trace.mode || "markers").includes("markers");

  // Marks are dimmed by Plotly; lines are dimmed whole, and those of highlighted trials drawn again above them.
  function apply(figure, ids) {
    const before = figure.data.flatMap((trace, place) => (trace.meta === OVERLAY ? [place] : []));
    if (before.length) Plotly.deleteTraces(figure, before);
    const scatters = figure.data.flatMap((trace, place) => ((trace.type || "scatter") === "scatter" ? [place] : []));
    const chosen = scatters.map((place) => {
      const trace = figure.data[place];
      if (!ids || !page.trials.ofTrials(trace)) return null;
      return trace.customdata.flatMap((id, point) => (ids.has(id) ? [point] : []));
    });
    if (scatters.length) Plotly.restyle(figure, { selectedpoints: chosen }, scatters);
    const lines = scatters.filter((place) => page.trials.ofTrials(figure.data[place]) && !hasMarks(figure.data[place]));
    if (!lines.length) return;
    if (!usual.has(figure)) usual.set(figure, lines.map((place) => figure.data[place].opacity ?? 1));
    Plotly.restyle(figure, { opacity: usual.get(figure).map((opacity) => (ids ? 0.15 * opacity : opacity)) }, lines);
    if (!ids) return;
    Plotly.addTraces(figure, lines.map((place) => {
      const trace = figure.data[place];
      const kept = (values) => Array.from(values, (value, point) => (ids.has(trace.customdata[point]) ? value : null));
      const { xaxis, yaxis, line, legendgroup, visible } = trace;
      return {
        type: "scatter", mode: "lines", x: kept(trace.x), y: kept(trace.y), xaxis, yaxis, legendgroup, visible,
        line: line && line.color ? { ...line, color: opaque(line.color), width: 3 } : { width: 3 }, hoverinfo: "skip", showlegend: false, meta: OVERLAY,
      };
    }));
  }

  // As long as there is the outline of a box or lasso, Plotly dims what is outside of it, Retrain too.
  function unoutlined(figure) {
    if (!(figure.layout.selections || []).length) return;
    unoutlining.add(figure);
    Plotly.relayout(figure, { selections: [] }).then(() => unoutlining.delete(figure));
  }

  function highlight(group, given) {
    const ids = new Set(given.filter((id) => id !== null && id !== undefined));
    if (!ids.size) return clear(group);
    highlighted.set(group, ids);
    for (const figure of drawnIn(group)) {
      unoutlined(figure);
      apply(figure, ids);
    }
    tell(group, ids);
  }

  function clear(group) {
    if (!highlighted.delete(group)) return;
    for (const figure of drawnIn(group)) {
      unoutlined(figure);
      apply(figure, null);
    }
    tell(group, new Set());
  }

  function tell(group, ids) {
    const box = document.getElementById(`highlights-${group.slug}`);
    const part = (name) => box.querySelector(`[data-part="${name}"]`);
    box.classList.toggle("shown", ids.size > 0);
    part("count").textContent = ids.size
      ? `${ids.size.toLocaleString("en")} configuration${ids.size === 1 ? "" : "s"} highlighted in every figure of ${group.table.title}`
      : "";
    const rows = Array.from(ids).slice(0, LISTED).map((id) => {
      const row = document.createElement("tr");
      const head = row.appendChild(document.createElement("th"));
      head.scope = "row";
      const button = head.appendChild(document.createElement("button"));
      button.type = "button";
      button.textContent = id;
      button.addEventListener("click", () => page.panel.show(group, id));
      const own = group.trial(id);
      for (const text of own ? [own.method, ...group.brief(own).map((one) => one.value || "—")] : []) {
        row.appendChild(document.createElement("td")).textContent = text;
      }
      return row;
    });
    if (ids.size > LISTED) {
      const row = document.createElement("tr");
      const cell = row.appendChild(document.createElement("td"));
      cell.colSpan = 6;
      cell.textContent = `and ${(ids.size - LISTED).toLocaleString("en")} more`;
      rows.push(row);
    }
    part("rows").replaceChildren(...rows);
  }

  // A figure that was just drawn: what is done in it, and what was highlighted before.
  function attach(figure) {
    const group = page.trials.groupOf(figure);
    if (!group || !figure.data.some(page.trials.ofTrials)) return;
    const trialsOf = (event) => event.points.filter((point) => page.trials.ofTrials(point.data))
      .map((point) => point.customdata).filter((id) => id !== null && id !== undefined);
    figure.on("plotly_selected", (event) => {
      // Plotly writes the outline down once it has told of it.
      if (event && !unoutlining.has(figure)) setTimeout(() => highlight(group, trialsOf(event)), 0);
    });
    figure.on("plotly_deselect", () => clear(group));
    figure.on("plotly_doubleclick", () => clear(group));
    figure.on("plotly_click", (event) => {
      const [id] = trialsOf(event);
      if (id === undefined) return;
      highlight(group, [id]);
      page.panel.show(group, id);
    });
    if (highlighted.has(group)) apply(figure, highlighted.get(group));
  }

  for (const group of page.trials.groups) {
    const box = document.getElementById(`highlights-${group.slug}`);
    box.querySelector('[data-part="clear"]').addEventListener("click", () => {
      clear(group);
      document.getElementById(`pick-${group.slug}`).focus();
    });
  }

  return { attach, highlight, clear };
})();
