// The table of trials of each dataset x model, and what it says of one: a hover text, its command, its values.
page.trials = (() => {
  // Plotly reads tags and entities in texts.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  // How many texts a metric has in a row: shown value, interval, spread, value on the selection half.
  const TEXTS = 4;

  function read(script) {
    const table = JSON.parse(script.textContent);
    const text = (place) => table.texts[place];
    const rows = new Map(table.trials.map((row) => [row[0], row]));
    const hovers = new Map();

    function trial(id) {
      const row = rows.get(id);
      if (!row) return null;
      const [, method, outcome, words, values, costs, fronts, head] = row;
      const assigned = (place) => {
        const [name, value, word] = table.words[place];
        return word || `${name}=${value}`;
      };
      return {
        id,
        method: text(method),
        outcome: text(outcome),
        settings: words.map((place) => table.words[place].slice(0, 2)),
        values: table.metrics.map((metric, place) => values.slice(TEXTS * place, TEXTS * (place + 1)).map(text)),
        costs: table.costs.map((name, place) => [name, text(costs[place])]).filter((pair) => pair[1]),
        fronts: fronts.map((place) => table.fronts[place]),
        recommended: id === table.recommended,
        pair: head < 0 ? null : table.heads[head][1],
        command: head < 0 ? null
          : [table.heads[head][0], ...[...words, ...table.tail].map((place) => `--set ${assigned(place)}`)].join(" "),
      };
    }

    // The four values of the paper lead every group's metrics that has them.
    function brief(own, names = ["UA", "RA", "TA", "MIA-Efficacy"]) {
      return names.map((name) => {
        const place = table.metrics.findIndex((metric) => metric[0] === name);
        return { name, value: place < 0 ? "" : own.values[place][0], spread: place < 0 ? "" : own.values[place][2] };
      });
    }

    function hover(id) {
      if (id === null || id === undefined) return "";
      if (!hovers.has(id)) {
        const own = trial(id);
        const lines = own === null ? [`<b>${plain(id)}</b>`] : [
          `<b>${plain(own.method)}</b>  ${plain(id)}`,
          ...brief(own).filter((one) => one.value).map((one) => `${one.name} ${one.value} ${one.spread}`.trim()),
          ...own.settings.map(([name, value]) => plain(`${name}: ${value}`)),
          `<i>${plain(own.outcome)}</i>`,
        ];
        hovers.set(id, lines.join("<br>"));
      }
      return hovers.get(id);
    }

    const root = script.closest(".group") || script.parentElement;
    return { root, slug: script.id.slice("trials-".length), table, ids: [...rows.keys()], trial, brief, hover };
  }

  const groups = Array.from(document.querySelectorAll('script[type="application/json"][id^="trials-"]'), read);
  const groupOf = (element) => groups.find((group) => group.root.contains(element)) || null;
  // Ids that repeat along a trace are written once, with their places.
  function unpack(traces) {
    for (const trace of traces.filter((one) => one.meta === "trials" && one.customdata && one.customdata.trials)) {
      const { trials, places } = trace.customdata;
      trace.customdata = places.map((place) => (place === null ? null : trials[place]));
    }
  }

  const ofTrials = (trace) => trace.meta === "trials" && Array.isArray(trace.customdata);

  // Gives traces of trials their hover texts, behind those that they have, and how they look beside highlighted ones.
  function describe(group, traces) {
    for (const trace of traces.filter(ofTrials)) {
      const own = Array.isArray(trace.hovertext) ? trace.hovertext : [];
      trace.hovertext = trace.customdata.map((id, place) => [own[place], group.hover(id)].filter(Boolean).join("<br>"));
      trace.hoverinfo = "text";
      const size = trace.marker && typeof trace.marker.size === "number" ? trace.marker.size + 3 : undefined;
      trace.selected = trace.selected || { marker: { opacity: 1, size } };
      trace.unselected = trace.unselected || { marker: { opacity: 0.1 } };
    }
  }

  return { groups, groupOf, ofTrials, unpack, describe };
})();
