// Draws figures from the data beside them: some at load, the others when a reader comes near, all before printing.
page.drawing = (() => {
  const AT_ONCE = 3;
  const BUTTONS = 34;
  // As wide as an A4 page between its margins.
  const PRINTED = 640;
  const figures = Array.from(document.querySelectorAll(".figure[data-figure]"));
  const isDrawn = (figure) => figure.classList.contains("js-plotly-plot");
  const isShown = (figure) => figure.getClientRects().length > 0;

  function draw(figure, printing = false) {
    if (isDrawn(figure)) return;
    const { data, layout } = JSON.parse(document.getElementById(figure.dataset.figure).textContent);
    page.trials.unpack(data);
    const group = page.trials.groupOf(figure);
    if (group) page.trials.describe(group, data);
    page.theme.paint(layout, printing);
    page.legend.prepare(figure, layout);
    // Plotly's buttons lie on the upper edge: above the marks there, not on them.
    layout.margin.t = Math.max(layout.margin.t, BUTTONS);
    const linked = group && data.some(page.trials.ofTrials);
    Plotly.newPlot(figure, data, layout, {
      responsive: true,
      displaylogo: false,
      modeBarButtonsToRemove: ["zoomIn2d", "zoomOut2d", "autoScale2d", ...(linked ? [] : ["select2d", "lasso2d"])],
    });
    // With Plotly's buttons in it, it is no image any more; its name stays.
    figure.setAttribute("role", "group");
    page.linking.attach(figure);
    page.legend.attach(figure);
  }

  function repaint(printing) {
    for (const figure of figures.filter(isDrawn)) {
      Plotly.relayout(figure, page.theme.changes(figure.layout, printing));
    }
  }

  const near = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      near.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "600px 0px" });

  // The first trade-offs at once; those of further datasets and models as soon as the page is ready for its reader.
  const atLoad = figures.filter((figure) => figure.hasAttribute("data-at-load") && isShown(figure));
  atLoad.splice(0, AT_ONCE).forEach((figure) => draw(figure));
  function drawNext() {
    if (!atLoad.length) return;
    draw(atLoad.shift());
    requestIdleCallback(drawNext);
  }
  requestIdleCallback(drawNext);
  for (const figure of figures.filter((one) => !isDrawn(one))) near.observe(figure);

  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => repaint(false));

  // Folded figures are printed too; afterwards everything is as it was.
  let unfolded = [];
  window.addEventListener("beforeprint", () => {
    unfolded = Array.from(document.querySelectorAll("details:not([open])")).filter((one) => one.querySelector(".figure"));
    for (const details of unfolded) details.open = true;
    for (const figure of figures) draw(figure, true);
    for (const figure of figures) {
      Plotly.relayout(figure, {
        ...page.theme.changes(figure.layout, true),
        width: Math.min(figure.clientWidth || PRINTED, PRINTED),
      });
    }
  });
  window.addEventListener("afterprint", () => {
    for (const details of unfolded) details.open = false;
    for (const figure of figures) {
      Plotly.relayout(figure, { ...page.theme.changes(figure.layout, false), width: null, autosize: true });
    }
  });

  return { draw };
})();
