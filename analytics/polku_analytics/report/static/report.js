// Draws the plots that HTML alone cannot: the paths, the orders over time, and the lifecycle. Everything else on the page works
// without this script, and the tables below the plots hold the same figures.
(() => {
  "use strict";
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const drawn = new Map();
  const number = new Intl.NumberFormat("en");
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const theme = () => ({
    ink: style("--ink"), soft: style("--soft"), line: style("--line"), card: style("--card"),
    accent: style("--accent"), warm: style("--warm"), font: style("--sans"),
  });
  const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
  const duration = (seconds) => {
    if (seconds === null) return "";
    if (seconds < 120) return `${Math.round(seconds)} s`;
    if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
    if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
    return `${(seconds / 86400).toFixed(1)} days`;
  };

  const tooltip = (t) => ({
    backgroundColor: t.card, borderColor: t.line, textStyle: { color: t.ink, fontFamily: t.font, fontSize: 13 }, confine: true,
  });

  function sankey(t) {
    const paths = figures.paths;
    const titles = new Map(paths.nodes.map((node) => [node.name, node.title]));
    return {
      textStyle: { fontFamily: t.font },
      tooltip: {
        ...tooltip(t),
        formatter: ({ dataType, data }) => dataType === "edge"
          ? `${escaped(titles.get(data.source))} → ${escaped(titles.get(data.target))}<br><b>${number.format(data.value)}</b> people` +
            (data.seconds === null ? "" : `<br>median ${duration(data.seconds)} later`)
          : `${escaped(data.title)}<br><b>${number.format(data.people)}</b> people at step ${data.depth + 1}`,
      },
      series: [{
        type: "sankey", left: 4, right: 132, top: 10, bottom: 10, nodeWidth: 12, nodeGap: 20, draggable: false, layoutIterations: 48,
        emphasis: { focus: "adjacency" },
        data: paths.nodes.map((node) => ({
          // Without a value a node is as high as its bands, and who leaves would not be drawn.
          name: node.name, title: node.title, people: node.people, value: node.people, depth: node.step - 1,
          itemStyle: { color: style(`--stage-${node.stage}`), borderWidth: 0 },
        })),
        links: paths.links,
        label: {
          color: t.ink, fontSize: 13, distance: 7, textBorderColor: t.card, textBorderWidth: 3,
          formatter: ({ data }) => `{n|${data.title}}  {v|${number.format(data.people)}}`,
          rich: {
            n: { color: t.ink, fontSize: 13, textBorderColor: t.card, textBorderWidth: 3 },
            v: { color: t.soft, fontSize: 12, textBorderColor: t.card, textBorderWidth: 3 },
          },
        },
        lineStyle: { color: "source", opacity: 0.28, curveness: 0.5 },
      }],
    };
  }

  function series(t, width) {
    const data = figures.orders;
    const isNarrow = width < 560;
    const axis = { axisLine: { lineStyle: { color: t.line } }, axisTick: { show: false }, axisLabel: { color: t.soft, fontSize: 12 } };
    const value = (name, grid) => ({
      ...axis, type: "value", gridIndex: grid, name, nameLocation: "end", nameGap: 12,
      nameTextStyle: { color: t.soft, fontSize: 13, align: "left", padding: [0, 0, 0, isNarrow ? -36 : -44] },
      splitNumber: 3, splitLine: { lineStyle: { color: t.line } }, axisLine: { show: false },
      axisLabel: { color: t.soft, fontSize: 12, formatter: (v) => compact.format(v) },
    });
    const left = isNarrow ? 40 : 52;
    const faded = (list, color) => list.map((v, i) => ({ value: v, itemStyle: { color, opacity: data.partial[i] ? 0.4 : 1 } }));
    return {
      textStyle: { fontFamily: t.font },
      axisPointer: { link: [{ xAxisIndex: "all" }] },
      tooltip: {
        ...tooltip(t), trigger: "axis", axisPointer: { type: "shadow", shadowStyle: { opacity: 0.08 } },
        formatter: (items) => {
          const i = items[0].dataIndex;
          return `${escaped(data.labels[i])}${data.partial[i] ? " (not a whole " + data.bucket + ")" : ""}<br>` +
            `<b>${number.format(data.orders[i])}</b> ${data.orders[i] === 1 ? "order" : "orders"}<br>` +
            (data.revenue[i] === null ? "revenue not known" : `<b>${number.format(Math.round(data.revenue[i]))}</b> ${escaped(data.currency)}`);
        },
      },
      grid: [
        { left, right: 12, top: 34, height: 134 },
        { left, right: 12, top: 226, height: 134 },
      ],
      xAxis: [0, 1].map((grid) => ({
        ...axis, type: "category", gridIndex: grid, data: data.labels,
        axisLabel: { show: grid === 1, color: t.soft, fontSize: 12, hideOverlap: true },
        name: grid === 1 ? `${data.bucket === "day" ? "day" : data.bucket + " beginning on"} (${figures.time_zone})` : "", nameLocation: "middle", nameGap: 30,
        nameTextStyle: { color: t.soft, fontSize: 13 },
      })),
      yAxis: [value(`orders per ${data.bucket}`, 0), value(`revenue per ${data.bucket}${data.currency ? ", " + data.currency : ""}`, 1)],
      series: [
        { type: "bar", data: faded(data.orders, t.accent), barCategoryGap: "22%", itemStyle: { borderRadius: [3, 3, 0, 0] } },
        { type: "bar", xAxisIndex: 1, yAxisIndex: 1, data: faded(data.revenue, t.warm), barCategoryGap: "22%", itemStyle: { borderRadius: [3, 3, 0, 0] } },
      ],
    };
  }

  function lifecycle(t, width) {
    const data = figures.lifecycle;
    const isNarrow = width < 560;
    const said = {
      new: "new", returning: `there the ${data.interval} before too`, resurrecting: "back after a pause", dormant: "no longer there",
    };
    const colors = { new: t.accent, returning: style("--accent-soft"), resurrecting: style("--stage-6"), dormant: t.warm };
    return {
      textStyle: { fontFamily: t.font },
      tooltip: {
        ...tooltip(t), trigger: "axis", axisPointer: { type: "shadow", shadowStyle: { opacity: 0.08 } },
        formatter: (items) => {
          const i = items[0].dataIndex;
          return `${escaped(data.labels[i])}${data.complete[i] ? "" : ` (the ${data.interval} is not over)`}<br>` +
            Object.keys(said).filter((name) => data[name][i] !== null)
              .map((name) => `<b>${number.format(data[name][i])}</b> ${said[name]}`).join("<br>");
        },
      },
      grid: { left: isNarrow ? 44 : 56, right: 12, top: 34, bottom: 44 },
      xAxis: {
        type: "category", data: data.labels, axisLine: { onZero: true, lineStyle: { color: t.soft } }, axisTick: { show: false },
        axisLabel: { color: t.soft, fontSize: 12, hideOverlap: true, margin: 10 },
        // The line lies at 0, the labels below the bars of those who are gone.
        offset: 0, position: "bottom", name: `${data.interval} beginning on (${figures.time_zone})`, nameLocation: "middle", nameGap: 30,
        nameTextStyle: { color: t.soft, fontSize: 13 },
      },
      yAxis: {
        type: "value", name: `people per ${data.interval}`, nameLocation: "end", nameGap: 12,
        nameTextStyle: { color: t.soft, fontSize: 13, align: "left", padding: [0, 0, 0, isNarrow ? -36 : -44] },
        splitNumber: 4, splitLine: { lineStyle: { color: t.line } }, axisLine: { show: false },
        axisLabel: { color: t.soft, fontSize: 12, formatter: (v) => compact.format(Math.abs(v)) },
      },
      series: Object.keys(said).map((name) => ({
        type: "bar", stack: "people", barCategoryGap: "22%",
        data: data[name].map((v, i) => ({
          value: name === "dormant" && v !== null ? -v : v, itemStyle: { color: colors[name], opacity: data.complete[i] ? 1 : 0.4 },
        })),
      })),
    };
  }

  const plots = { sankey, series, lifecycle };

  function draw(element) {
    const chart = drawn.get(element) ?? echarts.init(element, null, { renderer: "svg" });
    drawn.set(element, chart);
    const options = plots[element.dataset.plot](theme(), element.clientWidth);
    chart.setOption({ ...options, animation: false, aria: { enabled: false } }, true);
  }

  const elements = [...document.querySelectorAll("[data-plot]")];
  elements.forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => elements.forEach(draw));
  const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => { drawn.get(target).resize(); draw(target); }));
  elements.forEach((element) => observer.observe(element));
})();
