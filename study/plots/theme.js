// The one name of the page's scripts, and the page's colours as figures take them. Printed pages are always light.
"use strict";

const page = {};

page.theme = (() => {
  const PRINTED = { ink: "#1b1f24", soft: "#57606a", grid: "rgba(0,0,0,0.15)", paper: "#ffffff" };

  function colours(printing) {
    if (printing) return PRINTED;
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(`--${name}`).trim();
    return { ink: value("ink"), soft: value("soft"), grid: value("grid"), paper: value("paper") };
  }

  // What changes in a layout, by the names that Plotly.relayout takes.
  function changes(layout, printing) {
    const { ink, soft, grid, paper } = colours(printing);
    const found = {
      "font.color": ink, "hoverlabel.bgcolor": paper, "hoverlabel.font.color": ink,
      "modebar.bgcolor": "rgba(0,0,0,0)", "modebar.color": soft, "modebar.activecolor": ink,
    };
    for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      found[`${name}.gridcolor`] = grid;
      found[`${name}.linecolor`] = grid;
    }
    return found;
  }

  // A layout that is not drawn yet, with the same changes.
  function paint(layout, printing) {
    for (const [path, value] of Object.entries(changes(layout, printing))) {
      const names = path.split(".");
      const last = names.pop();
      let place = layout;
      for (const name of names) place = place[name] = place[name] || {};
      place[last] = value;
    }
  }

  return { changes, paint };
})();
