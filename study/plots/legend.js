// One legend and one zoom for several figures: those in the same `.linked` element.
page.legend = (() => {
  const figuresOf = (button) => Array.from(button.closest(".linked").querySelectorAll(".figure.js-plotly-plot"));
  // Figures that move because a button was pressed: Plotly tells of that later.
  const zooming = new Set();

  function press(button, on) {
    button.setAttribute("aria-pressed", String(on));
  }

  for (const button of document.querySelectorAll("button[data-legend]")) {
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      press(button, on);
      for (const figure of figuresOf(button)) {
        const traces = figure.data.flatMap((trace, place) => (trace.legendgroup === button.dataset.legend ? [place] : []));
        if (traces.length) Plotly.restyle(figure, { visible: on }, traces);
      }
    });
  }

  function zoom(figure, ranges) {
    zooming.add(figure);
    Plotly.relayout(figure, ranges
      ? { "xaxis.range": ranges[0], "yaxis.range": ranges[1] }
      : { "xaxis.autorange": true, "yaxis.autorange": true });
  }

  for (const bar of document.querySelectorAll(".zoom")) {
    bar.hidden = false;
    for (const button of bar.querySelectorAll("button[data-zoom]")) {
      button.addEventListener("click", () => {
        for (const other of bar.querySelectorAll("button[data-zoom]")) press(other, other === button);
        const ranges = JSON.parse(button.dataset.zoom);
        for (const figure of figuresOf(button)) {
          if (!ranges || ranges[figure.id]) zoom(figure, ranges && ranges[figure.id]);
        }
      });
    }
  }

  // Figures under such a legend have none of their own.
  function prepare(figure, layout) {
    if (figure.closest(".linked")) layout.showlegend = false;
  }

  // Once somebody moves one figure by itself, they show neither all nor the corner together.
  function attach(figure) {
    const bar = figure.closest(".linked") && figure.closest(".linked").querySelector(".zoom");
    if (!bar) return;
    figure.on("plotly_relayout", (changed) => {
      if (!Object.keys(changed).some((name) => /^[xy]axis\.(range|autorange)/.test(name)) || zooming.delete(figure)) return;
      for (const button of bar.querySelectorAll("button[data-zoom]")) press(button, false);
    });
  }

  return { prepare, attach };
})();
