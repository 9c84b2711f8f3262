// The slider of a dial: moves its marks in the figures of its group, and says the numbers of where it stands.
page.dial = (() => {
  for (const slider of document.querySelectorAll("input[data-dial]")) {
    const { scales, names, rows } = JSON.parse(document.getElementById(`${slider.dataset.dial}-rows`).textContent);
    const output = document.getElementById(`${slider.dataset.dial}-output`);
    const mark = `dial ${slider.dataset.dial}`;
    slider.closest(".dial").querySelector(".slider").hidden = false;

    function move() {
      const place = Number(slider.value);
      const told = names.map((name, index) => `${name} ${rows[place][index]}`).join(", ");
      output.textContent = `${scales[place]} of the update: ${told}`;
      slider.setAttribute("aria-valuetext", output.textContent);
      for (const figure of slider.closest(".group").querySelectorAll(".figure.js-plotly-plot")) {
        figure.data.forEach((trace, index) => {
          if (trace.meta !== mark) return;
          const [x, y] = trace.customdata[place];
          Plotly.restyle(figure, { x: [[x]], y: [[y]] }, [index]);
        });
      }
    }

    slider.addEventListener("input", move);
    move();
  }
})();
