// Draws every panel with plotly.js. A panel's data stands in a JSON element inside it; colours there are names that the style sheet resolves.
"use strict";
(() => {
  const names = ["himo", "plain", "before", "extra0", "extra1", "extra2"];
  const panels = [...document.querySelectorAll(".panel")].map((element) => {
    const data = element.querySelector("script");
    const content = JSON.parse(data.textContent);
    data.remove();
    return { element, content };
  });

  function draw() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => (names.includes(name) ? style.getPropertyValue("--" + name).trim() : name);
    const ink = style.getPropertyValue("--ink").trim();
    const rule = style.getPropertyValue("--rule").trim();
    const font = { family: style.getPropertyValue("--sans").trim(), size: 13, color: ink };
    const axis = { gridcolor: rule, linecolor: rule, zerolinecolor: rule, ticks: "", automargin: true, fixedrange: false };
    return panels.map(({ element, content }) => {
      const lying = content.traces.some((trace) => trace.orientation === "h"); // bars
      const traces = structuredClone(content.traces).map((trace) => {
        if (trace.line && trace.line.color) trace.line.color = color(trace.line.color);
        if (trace.marker && trace.marker.color) trace.marker.color = color(trace.marker.color);
        if (trace.fillcolor) trace.fillcolor = color(trace.fillcolor);
        return trace;
      });
      const layout = {
        font,
        showlegend: false,
        hovermode: lying ? "closest" : "x unified",
        hoverlabel: { bgcolor: style.getPropertyValue("--paper").trim(), bordercolor: rule, font },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        margin: { l: 8, r: 12, t: content.title ? 36 : 12, b: 8 },
        title: content.title ? { text: content.title, x: 0, xref: "paper", xanchor: "left", font: { size: 14, color: ink }, automargin: false, y: 0.98, yanchor: "top" } : undefined,
        xaxis: { ...axis, ...content.xaxis, showgrid: lying, title: { text: content.xTitle, standoff: 8 } },
        yaxis: { ...axis, ...content.yaxis, showgrid: !lying, title: { text: content.yTitle, standoff: 8 } },
        bargap: 0.25,
        barmode: content.stacked ? "stack" : "group",
      };
      return Plotly.react(element, traces, layout, { responsive: true, displaylogo: false, displayModeBar: false });
    });
  }

  // A table that is wider than its place says so; nothing else would, where scroll bars hide.
  const hints = [...document.querySelectorAll(".wide")].map((wide) => () => { wide.previousElementSibling.hidden = wide.scrollWidth <= wide.clientWidth; });
  const showHints = () => hints.forEach((show) => show());
  showHints();
  addEventListener("resize", showHints);
  document.querySelectorAll("details").forEach((one) => one.addEventListener("toggle", showHints)); // what is folded away has no width

  // The count of drawn panels stands on the root element, for whoever waits for the page.
  const ready = () => Promise.all(draw()).then((drawn) => { document.documentElement.dataset.drawn = String(drawn.length); });
  ready();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", ready);
})();
