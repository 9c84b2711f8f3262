// The panel of one configuration: what it is, what it reaches beside the references, what it costs, its command.
page.panel = (() => {
  let opened = null;
  let opener = null;

  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    return Object.assign(made, attributes);
  };
  const row = (...cells) => {
    const made = element("tr");
    made.append(...cells);
    return made;
  };

  function valueCell(value, ...notes) {
    const cell = element("td", value || "—");
    if (!value) cell.title = "not measured";
    for (const note of notes.filter(Boolean)) cell.append(element("span", note, { className: "interval" }));
    return cell;
  }

  function fill(group, box, own) {
    const { table } = group;
    const part = (name) => box.querySelector(`[data-part="${name}"]`);
    part("title").textContent = `${own.method}: ${own.id}`;
    part("outcome").textContent = `${own.outcome[0].toUpperCase()}${own.outcome.slice(1)}.`;
    const places = own.fronts.map((name) => `On the front of ${name}`);
    if (own.recommended) places.unshift("Recommended for this dataset and model");
    part("places").replaceChildren(...places.map((text) => element("li", text)));
    part("settings").replaceChildren(
      ...own.settings.map(([name, value]) => element("code", `${name}=${value}`, { className: "pair" })),
    );
    const heads = ["Value", table.halves ? "This one, report half" : "This one"];
    if (table.halves) heads.push("Selection half");
    heads.push(...table.references.map(([name]) => name));
    part("head").replaceChildren(row(...heads.map((text) => element("th", text, { scope: "col" }))));
    part("values").replaceChildren(...table.metrics.map(([short, label, direction], place) => {
      const up = direction === "maximize";
      const head = element("th", `${short} `, { scope: "row", title: label });
      const arrow = element("span", up ? "↑" : "↓", { title: up ? "higher is better" : "lower is better" });
      arrow.setAttribute("role", "img");
      arrow.setAttribute("aria-label", arrow.title);
      head.append(arrow);
      const [value, interval, spread, chosen] = own.values[place];
      const cells = [valueCell(value, interval, spread)];
      if (table.halves) cells.push(valueCell(chosen));
      return row(head, ...cells, ...table.references.map(([, values]) => valueCell(values[place])));
    }));
    part("costs").replaceChildren(...own.costs.map(([name, text]) => {
      const made = element("div");
      made.append(element("dt", name), element("dd", text));
      return made;
    }));
    part("command").hidden = own.command === null;
    part("pair").textContent = own.pair ? `This reproduces its numbers for forgetting ${own.pair}:` : "";
    part("command").querySelector("code").textContent = own.command || "";
  }

  function show(group, id) {
    const own = group.trial(id);
    if (!own) return;
    if (opened) opened.hidden = true;
    else opener = document.activeElement;
    opened = document.getElementById(`panel-${group.slug}`);
    fill(group, opened, own);
    opened.hidden = false;
    opened.scrollTop = 0;
    opened.querySelector('[data-part="title"]').focus({ preventScroll: true });
    document.getElementById(`pick-${group.slug}`).value = id;
  }

  function close() {
    if (!opened) return;
    opened.hidden = true;
    const picker = document.getElementById(`pick-${opened.id.slice("panel-".length)}`);
    const back = opener && opener.isConnected && opener !== document.body ? opener : picker;
    opened = opener = null;
    back.focus({ preventScroll: true });
  }

  // What is recommended first, then the fronts, then the others, as the study tried them.
  function choices(group) {
    const sorted = { "Recommended": [], "On a front": [], "Other configurations": [] };
    for (const id of group.ids) {
      const own = group.trial(id);
      const name = own.recommended ? "Recommended" : own.fronts.length ? "On a front" : "Other configurations";
      const values = group.brief(own).filter((one) => one.value).map((one) => `${one.name} ${one.value}`);
      sorted[name].push(element("option", [`${own.method} ${id}`, ...values].join(", "), { value: id }));
    }
    return Object.entries(sorted).filter(([, options]) => options.length).map(([label, options]) => {
      const made = element("optgroup", undefined, { label });
      made.append(...options);
      return made;
    });
  }

  for (const group of page.trials.groups) {
    const picker = document.getElementById(`pick-${group.slug}`);
    const form = picker.closest("form");
    form.hidden = false;
    picker.append(...choices(group));
    const chosen = () => {
      page.linking.highlight(group, [picker.value]);
      show(group, picker.value);
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      chosen();
    });
    picker.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      chosen();
    });
    document.getElementById(`panel-${group.slug}`).querySelector('[data-part="close"]').addEventListener("click", close);
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });

  return { show, close };
})();
