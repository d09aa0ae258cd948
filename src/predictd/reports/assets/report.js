// Tells the values of the era under the pointer, or chosen with the arrow keys, from the chart's own table.
"use strict";
document.documentElement.classList.add("js");
for (const figure of document.querySelectorAll("figure.chart")) {
  const reading = figure.querySelector(".reading");
  const table = figure.querySelector("table.values");
  if (!reading || !table) continue;
  const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent);
  const rows = table.tBodies[0].rows;
  let chosen = -1;

  const show = (number) => {
    chosen = Math.min(Math.max(number, 0), rows.length - 1);
    const [era, ...values] = [...rows[chosen].cells].map((cell) => cell.textContent);
    reading.textContent = `era ${era}: ` + values.map((value, at) => `${names[at]} ${value}`).join(", ");
    for (const other of figure.querySelectorAll("svg.plot")) {
      const cursor = other.querySelector(".cursor");
      const x = Number(other.dataset.left) + (chosen + 0.5) * Number(other.dataset.step);
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      cursor.setAttribute("visibility", "visible");
    }
  };
  const hide = () => {
    chosen = -1;
    reading.textContent = "";
    for (const cursor of figure.querySelectorAll(".cursor")) cursor.setAttribute("visibility", "hidden");
  };

  for (const plot of figure.querySelectorAll("svg.plot")) {
    plot.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
      show(Math.floor((at.x - Number(plot.dataset.left)) / Number(plot.dataset.step)));
    });
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("blur", hide);
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) {
        show(chosen < 0 ? (step > 0 ? 0 : rows.length - 1) : chosen + step);
        event.preventDefault();
      }
    });
  }
}
