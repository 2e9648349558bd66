// Draws every figure in the house look, again when the reader's colour scheme changes, and light and narrow for print;
// marks in the navigation the page that is being read.

const root = document.documentElement;
const PRINT_WIDTH = 640;
const CONFIG = { displayModeBar: false, responsive: true };
const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

// A figure may call a colour by its name in report.css, so that one method has one colour in all figures and schemes.
function figureIn(script) {
  return JSON.parse(script.textContent, (key, value) => (key === "color" && typeof value === "string" && colour(value)) || value);
}

function houseLook() {
  const axis = {
    automargin: true, fixedrange: true, gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("line"),
    ticks: "outside", ticklen: 8, tickcolor: "rgba(0,0,0,0)", tickfont: { color: colour("muted") }, title: { font: { size: 13, color: colour("muted") }, standoff: 12 },
  };
  return {
    layout: {
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("ink") },
      colorway: [1, 2, 3, 4, 5, 6].map((number) => colour(`series-${number}`)),
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 8, r: 16, t: 8, b: 8 }, height: 380, dragmode: false,
      xaxis: axis, yaxis: axis, bargap: 0.3, bargroupgap: 0.1,
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", traceorder: "normal", itemclick: false, itemdoubleclick: false },
      hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("line"), font: { color: colour("ink") } },
      shapedefaults: { line: { color: colour("muted"), width: 1.5 } },
    },
  };
}

function draw(width) {
  const template = houseLook();
  for (const script of document.querySelectorAll("script[data-figure]")) {
    const { data, layout } = figureIn(script);
    Plotly.react(script.dataset.figure, data, { ...layout, template, ...(width ? { width } : {}) }, CONFIG);
  }
}

function markCurrentPage() {
  const pages = [...document.querySelectorAll(".page")];
  const current = pages.findLast((page) => page.getBoundingClientRect().top < innerHeight / 3) ?? pages[0];
  for (const link of document.querySelectorAll("nav a")) {
    const isCurrent = link.hash === `#${current.id}`;
    if (isCurrent) link.closest("nav").scrollLeft = link.offsetLeft - 16;
    link.setAttribute("aria-current", isCurrent);
  }
}

draw();
markCurrentPage();
addEventListener("scroll", markCurrentPage, { passive: true });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
addEventListener("beforeprint", () => { root.classList.add("printing"); draw(PRINT_WIDTH); });
addEventListener("afterprint", () => { root.classList.remove("printing"); draw(); });
