// Draws the report's figures from the data beside them, follows the page's colours, and copies texts.
"use strict";

(function () {
  const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
  const figures = Array.from(document.querySelectorAll(".figure[data-figure]"));

  // The page's own colours; printed pages are always light.
  function colours(printing) {
    if (printing) return { ink: "#1b1f24", grid: "rgba(0,0,0,0.15)", paper: "#ffffff" };
    const style = getComputedStyle(document.documentElement);
    return {
      ink: style.getPropertyValue("--ink").trim(),
      grid: style.getPropertyValue("--grid").trim(),
      paper: style.getPropertyValue("--paper").trim(),
    };
  }

  function themed(layout, printing) {
    const { ink, grid, paper } = colours(printing);
    layout.font.color = ink;
    layout.hoverlabel.bgcolor = paper;
    layout.hoverlabel.font.color = ink;
    for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      layout[name].gridcolor = grid;
      layout[name].linecolor = grid;
    }
    return layout;
  }

  function draw(printing) {
    for (const figure of figures) {
      const spec = JSON.parse(document.getElementById(figure.dataset.figure).textContent);
      Plotly.react(figure, spec.data, themed(spec.layout, printing), CONFIG);
    }
  }

  draw(false);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(false));
  window.addEventListener("beforeprint", () => draw(true));
  window.addEventListener("afterprint", () => draw(false));

  async function copy(source) {
    if (navigator.clipboard && window.isSecureContext) {
      await navigator.clipboard.writeText(source.textContent);
      return;
    }
    const range = document.createRange();
    range.selectNodeContents(source);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    if (!document.execCommand("copy")) throw new Error("the browser refused to copy");
  }

  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const label = button.dataset.label || button.textContent;
      button.dataset.label = label;
      try {
        await copy(document.getElementById(button.dataset.copy));
        button.textContent = "Copied";
      } catch (error) {
        button.textContent = "Select and copy by hand";
      }
      setTimeout(() => { button.textContent = label; }, 2000);
    });
  }
})();
